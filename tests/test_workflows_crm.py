"""A call written into each CRM, end to end: read, looked up, asked for over HTTP, made once."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import salesforce_orgs
from daemons import until
from served import TOKEN, configured, serving

from bridge import assembly, keys, sync, workflow_queue, workflows
from bridge.config import Tenant
from bridge.demo import crms
from bridge.demo.sample import Person
from bridge.sources import Source
from bridge.sources.salesforce import actions
from bridge.store import Store
from bridge.workflow_queue import Queue

ALEXA = Person("Alexa", "Holiday", "White Cross Co", "+41 21 552 20 00", "")
CALL = {
    "originatorNumber": "41215522000",
    "originatorName": "Alexa Holiday",
    "destinationNumber": "101",
    "direction": "incoming",
    "startedTime": "2026-11-21T10:00:00Z",
    "answeredTime": "2026-11-21T10:00:10Z",
    "endedTime": "2026-11-21T10:01:43Z",
}


@pytest.mark.parametrize("action", ["log-call", "ticket", "task", "note"])
@pytest.mark.parametrize("crm", ["salesforce", "sugarcrm", "suitecrm", "zimbra", "carddav"])
async def test_a_call_is_written_into_the_crm_that_the_caller_came_from(
    db: Store, tmp_path: Path, crm: crms.Name, action: str
) -> None:
    stand = crms.make(crm)
    stand.put_person("1", ALEXA)
    async with stand.serve() as url:
        table = "\n".join(f"{key} = {orjson.dumps(value).decode()}" for key, value in stand.table(url).items())
        workflow = f'[connector.workflow.CallFlow]\naction = "{action}"\n'
        told = configured(tmp_path, workflow, more=f"[source.crm]\n{table}\n")
        tenant = told.tenants["default"]
        source = assembly.source(tenant, "crm")

        @contextlib.asynccontextmanager
        async def lend(_tenant: Tenant, _name: str) -> AsyncIterator[Source]:
            yield source

        await sync.run(db, assembly.job(tenant, "crm"), source)
        working = asyncio.create_task(Queue(db, told.tenants, lend).work())
        try:
            async with serving(db, told) as served:
                [found] = await served.ask("41215522000")
                inputs = {**CALL, "contactCrmId": found["id"]}

                async def ask() -> dict[str, str]:
                    headers = {"X-Execution-Token": TOKEN}
                    where = f"{served.url}/services/CallFlow"
                    async with served.session.post(where, json={"inputs": inputs}, headers=headers) as reply:
                        assert reply.status == 200
                        document: dict[str, str] = await reply.json()
                        return document

                made = await ask()
                assert made["id"]
                assert made["url"].startswith("http") or (made["url"] == "" and crm in ("zimbra", "carddav"))
                assert await ask() == made
                # Even where the queue has lost its memory, the CRM's own mark tells that it was done.
                await db.execute("delete from workflow_call")
                assert await ask() == made
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
            await source.close()


@pytest.mark.parametrize("awake", [0.0, 0.5])
async def test_a_daemon_that_is_frozen_before_it_makes_a_task_makes_none_when_another_did(
    db: Store, dsn: str, monkeypatch: pytest.MonkeyPatch, awake: float
) -> None:
    """It goes on with it at once, or after it had the time to renew its hold on whatever is still its own."""
    for name, seconds in (("_LEASE", 1.0), ("_GOOD", 0.5), ("_RENEW", 0.2), ("_POLL", 0.1)):
        monkeypatch.setattr(workflow_queue, name, seconds)
    frozen, thawed = threading.Event(), threading.Event()
    links = actions.links

    async def freezing(*words: Any) -> Any:
        if threading.current_thread() is not threading.main_thread() and not frozen.is_set():
            frozen.set()
            assert thawed.wait(20)  # nothing else of this daemon goes on either
            await asyncio.sleep(awake)
        return await links(*words)

    monkeypatch.setattr(actions, "links", freezing)
    async with salesforce_orgs.served() as crm:
        crm.org.now = datetime.datetime.now(datetime.UTC)
        table = keys.Salesforce.model_validate({"url": crm.url, **salesforce_orgs.SECRETS})
        workflow = keys.Workflow(action="log-call", source="crm")
        connector = keys.Connector(token="t", workflow={"CallFlow": workflow})
        tenant = Tenant("default", "LU", 5, {"crm": table}, {}, connector, {}, None, None)
        assert await workflows.ask(db, tenant, "CallFlow", workflow, CALL, patience=0.0) == {}

        async def work(own: Store, enough: threading.Event, last: bool) -> None:
            """A daemon, until this is enough and it has done what it had begun; `last`: not before that."""
            busy = set()

            @contextlib.asynccontextmanager
            async def lend(_tenant: Tenant, _name: str) -> AsyncIterator[Source]:
                task = asyncio.current_task()
                busy.add(task)
                async with salesforce_orgs.opened(crm.url) as source:
                    yield source
                if last:
                    await until(enough.is_set)

            working = asyncio.create_task(Queue(own, {"default": tenant}, lend).work())
            try:
                await until(lambda: enough.is_set() and all(task.done() for task in busy), 20)
            finally:
                working.cancel()
                await asyncio.gather(working, return_exceptions=True)

        async def frozen_one() -> None:
            own = Store(dsn)
            try:
                await work(own, thawed, last=False)
            finally:
                await own.close()

        first = asyncio.create_task(asyncio.to_thread(asyncio.run, frozen_one()))
        try:
            assert await asyncio.to_thread(frozen.wait, 10)
            enough = threading.Event()
            second = asyncio.create_task(work(db, enough, last=True))
            await until(lambda: crm.org.ids("Task"), 10, "the other one makes it")
        finally:
            thawed.set()
            await first
        enough.set()
        await second
        assert len(crm.org.ids("Task")) == 1
        assert await db.value("select state from workflow_call") == "done"
