"""A button in the CONNECTOR, asked for once or again, done once whatever dies; from a real database."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from daemons import until
from hooks import answering
from listed import Listed

from bridge import errors, keys, status, workflow_queue, workflows
from bridge.actions import Action, Made
from bridge.config import Tenant
from bridge.store import Store
from bridge.workflow_queue import Queue

INPUTS = {
    "contactCrmId": "crm:7",
    "originatorNumber": "41215522000",
    "destinationNumber": "101",
    "direction": "incoming",
    "startedTime": "2026-11-21T10:00:00Z",
}


class Crm(Listed):
    """A source that remembers what it made by the action's key, as real ones do; `faults` are raised first."""

    def __init__(self) -> None:
        super().__init__()
        self.made: dict[str, Action] = {}
        self.tries: list[Action] = []
        self.faults: list[Exception] = []
        self.lost = False
        self.slow = 0.0

    async def act(self, action: Action) -> Made:
        self.tries.append(action)
        await asyncio.sleep(self.slow)
        if self.faults:
            fault = self.faults.pop(0)
            if isinstance(fault, errors.Unsettled):
                self.made[action.key] = action
            raise fault
        self.made[action.key] = action
        return Made(f"T{len(self.made)}", f"https://crm.example.com/T{len(self.made)}")


def tenant_of(_name: str = "default", _url: str = "http://127.0.0.1:1", **workflow: keys.Workflow) -> Tenant:
    connector = keys.Connector(token="t", workflow=workflow or {"CallFlow": keys.Workflow(action="log-call")})
    crm = keys.SuiteCrm(url=_url, username="u", password="p")
    sources = {"crm": crm, "list": keys.File(path=Path("unused"))}
    return Tenant(_name, "LU", 5, sources, {}, connector, {}, None, None)


class Bench:
    """A database, a CRM, and daemons that work; `others` are tenants whose CRMs, all of them `hung`, never answer."""

    def __init__(self, db: Store) -> None:
        self.db = db
        self.crm, self.hung = Crm(), Crm()
        self.hung.slow = 3600
        self.tenant = tenant_of()
        self.others: list[Tenant] = []

    @contextlib.asynccontextmanager
    async def lend(self, tenant: Tenant, name: str) -> AsyncIterator[Any]:
        crm = self.hung if tenant in self.others else self.crm
        yield crm if name == "crm" else Listed()

    @contextlib.asynccontextmanager
    async def working(self, daemons: int = 1) -> AsyncIterator[list[asyncio.Task[None]]]:
        tenants = {tenant.name: tenant for tenant in (self.tenant, *self.others)}
        tasks = [asyncio.create_task(Queue(self.db, tenants, self.lend).work()) for _ in range(daemons)]
        try:
            yield tasks
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def ask(self, name: str = "CallFlow", patience: float = 5.0, **inputs: Any) -> Mapping[str, str]:
        assert self.tenant.connector is not None
        workflow = self.tenant.connector.workflow[name]
        return await workflows.ask(self.db, self.tenant, name, workflow, {**INPUTS, **inputs}, patience)

    async def owe(self, tenant: Tenant, number: int = 0, tries: int = 0) -> None:
        """A call that is owed for a while already, after so many tries."""
        assert tenant.connector is not None
        inputs = {**INPUTS, "startedTime": f"2026-11-20T10:00:{number:02}"}
        await workflows.ask(self.db, tenant, "CallFlow", tenant.connector.workflow["CallFlow"], inputs, 0.0)
        await self.db.execute(
            "update workflow_call set tries = $2, due_at = now() - interval '1 hour'"
            " where tenant = $1 and told ->> 'started' = $3",
            tenant.name,
            tries,
            f"{inputs['startedTime']}+00:00",
        )

    async def state(self) -> list[str]:
        return [row["state"] for row in await self.db.fetch("select state from workflow_call order by asked_at")]


@pytest.fixture
def bench(db: Store) -> Bench:
    return Bench(db)


async def test_a_call_is_logged_and_what_was_made_is_answered(bench: Bench) -> None:
    async with bench.working():
        assert await bench.ask() == {"id": "T1", "url": "https://crm.example.com/T1"}
    [action] = bench.crm.tries
    assert (action.kind, action.contact, action.subject) == ("log-call", "7", "Call from 41215522000")
    assert await bench.state() == ["done"]


async def test_the_same_call_asked_again_makes_nothing_and_gives_the_same_answer(bench: Bench) -> None:
    async with bench.working(3):
        answers = await asyncio.gather(*(bench.ask() for _ in range(10)))
        assert [dict(answer) for answer in answers] == [{"id": "T1", "url": "https://crm.example.com/T1"}] * 10
        assert await bench.ask(endedTime="2026-11-21T10:05:00Z") == answers[0]
        assert await bench.ask(startedTime="2026-11-21T11:00:00Z") == {"id": "T2", "url": "https://crm.example.com/T2"}
    assert len(bench.crm.tries) == 2


async def test_after_a_day_it_is_another_call(bench: Bench) -> None:
    async with bench.working():
        await bench.ask()
        await bench.db.execute("update workflow_call set done_at = now() - interval '25 hours'")
        assert (await bench.ask())["id"] == "T1"
    assert len(bench.crm.tries) == 2


async def test_a_slow_crm_is_answered_with_nothing_and_the_work_is_done_once(bench: Bench) -> None:
    bench.crm.slow = 0.5
    async with bench.working():
        assert await bench.ask(patience=0.1) == {}
        assert await bench.ask(patience=5.0) == {"id": "T1", "url": "https://crm.example.com/T1"}
    assert len(bench.crm.tries) == 1


async def test_what_no_daemon_does_now_a_later_one_does(bench: Bench) -> None:
    assert await bench.ask(patience=0.1) == {}
    assert await bench.state() == ["due"]
    async with bench.working():
        assert (await bench.ask())["id"] == "T1"


async def test_a_daemon_that_dies_in_the_act_is_followed_by_one_that_finds_it_made(bench: Bench) -> None:
    bench.crm.slow = 30
    async with bench.working():
        assert await bench.ask(patience=0.3) == {}
    assert await bench.state() == ["doing"]
    await bench.db.execute("update workflow_call set due_at = now()")
    bench.crm.slow = 0
    async with bench.working():
        assert (await bench.ask())["id"] == "T1"
    assert len({action.key for action in bench.crm.tries}) == 1


@pytest.mark.parametrize("fault", [errors.Unavailable("away"), errors.Unsettled("lost"), errors.Denied("no")])
async def test_a_crm_that_is_away_gets_it_later(bench: Bench, fault: errors.BridgeError) -> None:
    bench.crm.faults = [fault]
    async with bench.working():
        assert await bench.ask() == {"id": "T1", "url": "https://crm.example.com/T1"}
    assert len(bench.crm.made) == 1


async def test_what_the_crm_refuses_is_listed_and_can_be_tried_again(bench: Bench) -> None:
    bench.crm.faults = [errors.Refused("FIELD_INTEGRITY_EXCEPTION", "the contact is gone")]
    async with bench.working():
        assert await bench.ask() == {}
        assert await bench.state() == ["failed"]
        [refusal] = await status.refusals(bench.db, [bench.tenant])
        assert (refusal.sink, refusal.number, refusal.name, refusal.code) == (
            "crm",
            "41215522000",
            "CallFlow",
            "FIELD_INTEGRITY_EXCEPTION",
        )
        assert await status.retry(bench.db, [bench.tenant]) == 1
        assert (await bench.ask())["id"] == "T1"


async def test_a_caller_of_no_crm_goes_where_the_workflow_says(bench: Bench) -> None:
    bench.tenant = tenant_of(CallFlow=keys.Workflow(action="ticket", source="crm"), Other=keys.Workflow(action="note"))
    async with bench.working():
        assert (await bench.ask(contactCrmId=""))["id"] == "T1"
        assert (await bench.ask(contactCrmId="list:3"))["id"] == "T2"
        assert await bench.ask("Other", contactCrmId="", patience=0.5) == {}
    assert [(one.kind, one.contact) for one in bench.crm.tries] == [("ticket", ""), ("ticket", "")]


class Hook:
    """A webhook that keeps what it is told; `statuses` answer first."""

    def __init__(self) -> None:
        self.told: list[tuple[bytes, Mapping[str, str]]] = []
        self.statuses: list[int] = []
        self.answer: Any = {"id": 17, "url": "https://hooks.example.com/17"}

    @contextlib.asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        async def answer(request: web.BaseRequest) -> web.Response:
            self.told.append((await request.read(), dict(request.headers)))
            if self.statuses:
                return web.Response(status=self.statuses.pop(0))
            return web.json_response(self.answer)

        async with answering(answer) as url:
            yield f"{url}/calls"


async def test_a_webhook_is_told_with_a_signature(bench: Bench) -> None:
    hook = Hook()
    async with hook.serve() as url:
        bench.tenant = tenant_of(CallFlow=keys.Workflow(action="webhook", url=url, secret="s3cret"))
        async with bench.working():
            assert await bench.ask() == {"id": "17", "url": "https://hooks.example.com/17"}
    [(body, headers)] = hook.told
    assert headers["X-Bridge-Signature"] == "sha256=" + hmac.new(b"s3cret", body, hashlib.sha256).hexdigest()
    told = json.loads(body)
    assert told["contact"] == {"source": "crm", "id": "7", "url": ""}
    assert (told["workflow"], told["call"]["number"]) == ("CallFlow", "41215522000")
    assert headers["Idempotency-Key"] == told["key"]


async def test_a_webhook_that_fails_is_told_again_and_one_that_refuses_is_not(bench: Bench) -> None:
    hook = Hook()
    async with hook.serve() as url:
        bench.tenant = tenant_of(CallFlow=keys.Workflow(action="webhook", url=url))
        async with bench.working():
            hook.statuses = [500]
            assert (await bench.ask())["id"] == "17"
            hook.statuses = [422]
            assert await bench.ask(startedTime="") == {}
    assert len(hook.told) == 3
    assert len({headers["Idempotency-Key"] for _, headers in hook.told}) == 2
    [refusal] = await status.refusals(bench.db, [bench.tenant])
    assert (refusal.sink, refusal.code) == ("webhook", "HTTP_422")


@pytest.mark.parametrize(
    ("said", "made"),
    [
        ({"id": "a\0b", "url": "https://hooks.example.com/\0"}, {"id": "a b", "url": "https://hooks.example.com/ "}),
        ({"id": {"x": 1}, "url": ["u"]}, {"id": "", "url": ""}),
        ({"id": True, "url": "javascript:alert(1)"}, {"id": "", "url": ""}),
        ([], {"id": "", "url": ""}),
    ],
)
async def test_a_webhook_may_answer_anything(bench: Bench, said: Any, made: Any) -> None:
    hook = Hook()
    hook.answer = said
    async with hook.serve() as url:
        bench.tenant = tenant_of(CallFlow=keys.Workflow(action="webhook", url=url))
        async with bench.working():
            assert await bench.ask() == made
    assert len(hook.told) == 1


async def test_a_refusal_in_words_that_no_database_takes_is_kept(bench: Bench) -> None:
    bench.crm.faults = [errors.Refused("A\0B", "the CRM says \0")]
    async with bench.working():
        assert await bench.ask() == {}
    [refusal] = await status.refusals(bench.db, [bench.tenant])
    assert (refusal.code, refusal.reason, len(bench.crm.tries)) == ("A B", "the CRM says  ", 1)


async def test_what_fails_unexpectedly_is_tried_again_like_what_is_away(bench: Bench) -> None:
    bench.crm.faults = [KeyError("unforeseen")]
    async with bench.working():
        assert (await bench.ask())["id"] == "T1"
    assert len(bench.crm.tries) == 2


async def test_a_tenant_that_is_configured_anew_meanwhile_loses_no_time(bench: Bench) -> None:
    tenants = {"default": bench.tenant}

    class Reloading(Queue):
        async def _do(self, *job: Any) -> None:
            tenants.clear()
            await super()._do(*job)

    work = asyncio.create_task(Reloading(bench.db, tenants, bench.lend).work())
    try:
        assert (await bench.ask())["id"] == "T1"
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


async def test_what_is_written_down_is_answered_in_time_whatever_the_database_does(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    asking = asyncio.create_task(bench.ask(patience=1.5))
    while await bench.state() != ["due"]:
        await asyncio.sleep(0.02)
    async with bench.db.session() as session, session.transaction():
        await session.execute("lock table workflow_call in access exclusive mode")
        assert await asking == {}
        monkeypatch.setattr(workflows, "PATIENCE", 0.3)
        with pytest.raises(errors.Unavailable):
            await bench.ask(startedTime="")
    assert set(await bench.state()) == {"due"}


async def test_several_that_come_due_beside_one_take_the_one_place_that_is_left(bench: Bench) -> None:
    bench.crm.slow = 30
    for number in range(5):
        await bench.ask(startedTime=str(number), patience=0.0)
    await bench.db.execute(
        "update workflow_call set tries = 1, due_at = now() + interval '0.5 second'"
        " where key <> (select key from workflow_call order by asked_at limit 1)"
    )
    async with bench.working():
        await asyncio.sleep(2.0)
    assert len(bench.crm.tries) == 2


async def test_one_slow_crm_leaves_room_for_the_others(bench: Bench) -> None:
    hook = Hook()
    async with hook.serve() as url:
        bench.tenant = tenant_of(
            CallFlow=keys.Workflow(action="log-call"), Hook=keys.Workflow(action="webhook", url=url)
        )
        bench.crm.slow = 30
        async with bench.working():
            waiting = [asyncio.create_task(bench.ask(startedTime=str(n), patience=1.0)) for n in range(20)]
            await asyncio.sleep(0.2)
            assert (await bench.ask("Hook", contactCrmId=""))["id"] == "17"
            await asyncio.gather(*waiting)
    assert len(bench.crm.tries) == 2


async def test_a_host_that_hangs_for_many_tenants_leaves_room_for_the_others(bench: Bench) -> None:
    bench.others = [tenant_of(f"t{n}", f"http://crm.example.com/{n}") for n in range(20)]
    for tenant in bench.others:
        await bench.owe(tenant)
    async with bench.working():
        assert (await bench.ask())["id"] == "T1"
        await until(lambda: len(bench.hung.tries) == 8, 5)
        assert (await bench.ask(startedTime=""))["id"] == "T2"
        await asyncio.sleep(1.2)  # the queue looks again
    assert len(bench.hung.tries) == 8


async def test_webhooks_at_one_host_get_no_more_of_it_than_crms(bench: Bench) -> None:
    over = asyncio.Event()
    told = []

    async def answer(request: web.BaseRequest) -> web.Response:
        told.append(await request.read())
        await over.wait()
        return web.json_response({})

    async with answering(answer) as url:
        hook = keys.Workflow(action="webhook", url=url)
        bench.others = [tenant_of(f"t{n}", f"http://crm{n}.example.com", CallFlow=hook) for n in range(12)]
        for tenant in bench.others:
            await bench.owe(tenant)
        async with bench.working():
            await until(lambda: len(told) == 8, 5)
            assert (await bench.ask())["id"] == "T1"
            assert len(told) == 8
            over.set()
            await until(lambda: len(told) == 12, 5)


async def test_one_tenant_gets_a_part_of_the_room(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    crms = {f"crm{n}": keys.SuiteCrm(url=f"http://{n}.example.com", username="u", password="p") for n in range(5)}
    flows = {name: keys.Workflow(action="log-call", source=name) for name in crms}
    bench.tenant = dataclasses.replace(tenant_of(**flows), sources=crms)
    bench.crm.slow = 30
    asked = []

    @contextlib.asynccontextmanager
    async def lend(_tenant: Tenant, name: str) -> AsyncIterator[Any]:
        asked.append(name)
        yield bench.crm

    monkeypatch.setattr(bench, "lend", lend)
    for name in flows:
        await bench.ask(name, contactCrmId="", patience=0.0)
    async with bench.working():
        await until(lambda: len(asked) >= 4, 5)
        await asyncio.sleep(1.2)
    assert len(asked) == 4


async def test_what_failed_before_gets_a_part_of_the_room(bench: Bench) -> None:
    bench.others = [tenant_of(f"t{n}", f"http://crm{n}.example.com") for n in range(70)]
    for tenant in bench.others:
        await bench.owe(tenant, tries=3)
    async with bench.working():
        await until(lambda: len(bench.hung.tries) == 32, 10)
        assert (await bench.ask())["id"] == "T1"
        assert len(bench.hung.tries) == 32


async def test_a_call_of_now_comes_before_those_that_are_tried_again(bench: Bench) -> None:
    for number in range(30):
        await bench.owe(bench.tenant, number, tries=3)
    bench.crm.slow = 0.3
    async with bench.working():
        assert (await bench.ask(patience=2.5)).keys() == {"id", "url"}
        assert len(bench.crm.made) < 15


async def test_what_takes_longer_than_it_is_held_is_not_begun_again_beside_itself(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workflow_queue, "_LEASE", 0.1)
    bench.crm.slow = 1.5
    async with bench.working():
        assert (await bench.ask())["id"] == "T1"
    assert len(bench.crm.tries) == 1


async def test_no_clock_that_was_set_back_makes_a_call_wait(bench: Bench) -> None:
    await bench.owe(bench.tenant, 1, tries=1)
    await bench.db.execute("update workflow_call set due_at = now() + interval '2 hours'")
    await bench.owe(tenant_of(), 2)
    await bench.db.execute("update workflow_call set due_at = now() + interval '10 minutes' where tries = 0")
    async with bench.working():
        await until(lambda: len(bench.crm.made) == 2, 5)


async def test_nobody_is_told_to_come_back_later_than_a_clock_would_be_wrong(bench: Bench) -> None:
    bench.crm.faults = [errors.Unavailable("a day", after=86400.0)]
    async with bench.working():
        assert await bench.ask(patience=0.5) == {}
        assert await bench.state() == ["due"]
    wait = await bench.db.value("select extract(epoch from due_at - now())::float8 from workflow_call")
    assert 3500 < wait <= 3600
