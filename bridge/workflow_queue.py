"""The workflows that are owed: taken by one daemon of several, done in the CRM or at a webhook, once.

What is taken is held for a while at a time: should this daemon die, another one takes it, and finds by the action's
key what was made already. Should it only have been frozen, it makes nothing more before it has renewed its hold.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import msgspec
import orjson

from bridge import calls, client, errors, log, shown, slots, store
from bridge.actions import Kind, Made
from bridge.calls import Told
from bridge.config import Tenant
from bridge.keys import Workflow
from bridge.pushes import pause
from bridge.slots import Key, Limits, Slots
from bridge.sources import Source, WithActions
from bridge.store import Connection, Store
from bridge.workflows import CHANNEL

SQL = store.queries("workflow_queue")
_LOG = log.get()
_LIMITS, _PER_PLACE = Limits(total=64, tenant=4, host=8, slow=32), 2
"""Those that were tried before count as slow ones; a place is a source or a webhook."""
_LEASE, _RENEW = 20.0, 5.0
_GOOD = 10.0
"""Seconds that this daemon trusts its hold on a job: less than others wait before they take it."""
_LONGEST = 3600.0
"""Seconds from one try to the next at the most; what is due later than that is due by a clock that was set back."""
_POLL = 1.0
_PRUNE = 3600.0
_TOLD = msgspec.json.Decoder(Told)

Lend = Callable[[Tenant, str], AbstractAsyncContextManager[Source]]


@dataclass(frozen=True, slots=True)
class Job:
    """One row of `workflow_call` that this daemon has taken."""

    tenant: str
    key: str
    workflow: str
    action: str
    source: str
    told: Told
    contact: str
    contact_url: str
    tries: int

    @property
    def place(self) -> tuple[bool, str]:
        """Where it is done: whether at a webhook, and the name of the source or the workflow."""
        webhook = self.action == "webhook"
        return webhook, self.workflow if webhook else self.source


@dataclass
class _Doing:
    """A job under way; `held`: when this daemon last made sure that nobody else does it."""

    job: Job
    task: asyncio.Task[None]
    held: float


class Queue:
    """Does what is owed to these tenants; `lend` gives their sources."""

    def __init__(self, db: Store, tenants: Mapping[str, Tenant], lend: Lend) -> None:
        self._db = db
        self._tenants = tenants
        self._lend = lend
        self._running: dict[Key, _Doing] = {}
        self._slots = Slots(_LIMITS)
        self._wake = asyncio.Event()

    async def work(self) -> None:
        """Work until cancelled; raises Unavailable when the database is lost."""
        loop = asyncio.get_running_loop()
        pruned = renewed = float("-inf")
        try:
            async with self._db.session() as session:
                await session.listen(CHANNEL, lambda _payload: self._wake.set())
                while True:
                    self._wake.clear()
                    if loop.time() - pruned > _PRUNE:
                        pruned = loop.time()
                        await session.execute(SQL["prune"])
                    if loop.time() - renewed > _RENEW:
                        renewed = loop.time()
                        await self._hold(session)
                    await self._take(session)
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(_POLL):
                            await self._wake.wait()
        finally:
            under_way = [doing.task for doing in self._running.values()]
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    async def _hold(self, session: Connection) -> None:
        """Go on holding what is under way, but what another daemon has taken."""
        began, jobs = _now(), [doing.job for doing in self._running.values()]
        columns = [job.tenant for job in jobs], [job.key for job in jobs], [job.tries for job in jobs]
        for row in await session.fetch(SQL["hold"], *columns, _LEASE):
            if doing := self._running.get((row["tenant"], row["key"])):
                doing.held = began

    async def _take(self, session: Connection) -> None:
        """Begin as much as there is room for, one by one, for each may fill its source, tenant or host."""
        while not self._slots.full:
            busy, crowded = self._slots.crowds()
            tenants = {name: tenant for name, tenant in self._tenants.items() if name not in busy}
            counts = Counter((doing.job.tenant, *doing.job.place) for doing in self._running.values())
            shut = [place for place, count in counts.items() if count >= _PER_PLACE]
            for name, tenant in tenants.items() if crowded else ():
                shut += [(name, *place) for place, host in _hosts(tenant) if host in crowded]
            began, running = _now(), list(self._running)
            rows = await session.fetch(
                SQL["take"],
                list(tenants),
                *([place[n] for place in shut] for n in range(3)),
                *([key[n] for key in running] for n in range(2)),
                self._slots.slowed,
                _LEASE,
                _LONGEST,
            )
            if not rows:
                return
            job = Job(**{**rows[0], "told": _TOLD.decode(rows[0]["told"])})
            # As the tenant is now: it may be configured anew before the job's turn comes.
            self._begin(job, tenants[job.tenant], began)

    def _begin(self, job: Job, tenant: Tenant, began: float) -> None:
        key = job.tenant, job.key
        self._slots.enter(key, dict(_hosts(tenant)).get(job.place, ""), slow=job.tries > 1)
        task = asyncio.create_task(self._do(job, tenant))
        self._running[key] = _Doing(job, task, began)
        task.add_done_callback(partial(self._ended, key))

    def _check(self, key: Key) -> None:
        """Fenced where another daemon may have taken it, as this one could not renew its hold on it for a while."""
        doing = self._running.get(key)
        if doing is None or _now() - doing.held > _GOOD:
            raise errors.Fenced("this has not been held for a while: another may be doing it")

    def _ended(self, key: Key, task: asyncio.Task[None]) -> None:
        self._slots.leave(key)
        del self._running[key]
        self._wake.set()
        if not task.cancelled() and (fault := task.exception()) and not isinstance(fault, errors.Unavailable):
            _LOG.error("workflow.lost", exc_info=fault)

    async def _do(self, job: Job, tenant: Tenant) -> None:
        """Do it, and write down what came of it."""
        client.FENCE.set(partial(self._check, (job.tenant, job.key)))
        try:
            made = await self._act(job, tenant)
        except (errors.Refused, errors.Unsupported) as fault:
            code = fault.code if isinstance(fault, errors.Refused) else "UNSUPPORTED"
            _LOG.error("workflow.failed", workflow=job.workflow, source=job.source, code=code, reason=str(fault))
            await self._note("failed", job, job.tries, code, str(fault))
        except (errors.Denied, errors.Unavailable) as fault:
            after = fault.after if isinstance(fault, errors.Unavailable) else None
            wait = min(_LONGEST, after or pause(job.tries + 1))
            _LOG.warning(
                "workflow.later", workflow=job.workflow, source=job.source, reason=str(fault), again_in=round(wait, 1)
            )
            await self._note("later", job, job.tries, wait, str(fault))
        except Exception:
            # The last resort of a job: it is tried again as one whose CRM is away, and never in a tight circle.
            _LOG.exception("workflow.crashed", workflow=job.workflow, source=job.source)
            reason = "this failed, and the log of bridge says why"
            await self._note("later", job, job.tries, pause(job.tries + 1), reason)
        else:
            _LOG.info("workflow.done", workflow=job.workflow, source=job.source, made=made.id)
            await self._note("done", job, made.id, made.url)

    async def _note(self, outcome: str, job: Job, *said: str | float) -> None:
        """Write down what came of it, in texts that PostgreSQL takes, for they are a CRM's or a webhook's."""
        words = [one.replace("\0", " ") if isinstance(one, str) else one for one in said]
        await self._db.execute(SQL[outcome], job.tenant, job.key, *words)

    async def _act(self, job: Job, tenant: Tenant) -> Made:
        if job.action == "webhook":
            workflow = tenant.connector.workflow.get(job.workflow) if tenant.connector else None
            if workflow is None or not workflow.url:
                raise errors.Unsupported(f"[connector.workflow.{job.workflow}] is no webhook any more")
            return await _post(workflow, tenant, job)
        if job.source not in tenant.sources:
            raise errors.Unsupported(f"[source.{job.source}] is not in the configuration any more")
        async with self._lend(tenant, job.source) as source:
            if not hasattr(source, "act"):
                kind = tenant.sources[job.source].type
                raise errors.Unsupported(f"[source.{job.source}]: nothing can be written to a source of type {kind!r}")
            action = calls.action(cast("Kind", job.action), job.key, job.told, job.contact, job.contact_url)
            return await cast("WithActions", source).act(action)


def _hosts(tenant: Tenant) -> Iterator[tuple[tuple[bool, str], str]]:
    """Each place, and whom it asks."""
    for name, table in tenant.sources.items():
        yield (False, name), slots.host(getattr(table, "url", ""))
    for name, workflow in tenant.connector.workflow.items() if tenant.connector else ():
        yield (True, name), slots.host(workflow.url)


def _now() -> float:
    """Seconds that go on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


async def _post(workflow: Workflow, tenant: Tenant, job: Job) -> Made:
    """Tell the webhook; its 2xx is done, its other 4xx is for good."""
    assert tenant.connector is not None
    body = orjson.dumps(_document(job))
    secret = (workflow.secret or tenant.connector.tokens[0])[:]
    signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    headers = {
        "Content-Type": "application/json",
        "X-Bridge-Signature": f"sha256={signature}",
        "Idempotency-Key": job.key,
    }
    http = client.Client(workflow.url[:], timeout=10.0)
    refusals = [status for status in range(400, 500) if status not in (408, 425, 429)]
    try:
        got = await http.request("POST", body=body, headers=headers, accept=refusals, repeat=True, redirects=False)
    finally:
        await http.close()
    if got.status >= 400:
        raise errors.Refused(f"HTTP_{got.status}", f"the webhook of {job.workflow} answers {got.status}")
    said = _parsed(got.body)
    id, url = said.get("id"), said.get("url")
    return Made(str(id) if type(id) in (str, int) else "", shown.http(url) if isinstance(url, str) else "")


def _document(job: Job) -> Mapping[str, Any]:
    """What a webhook is told of a call."""
    told = job.told
    return {
        "workflow": job.workflow,
        "key": job.key,
        "contact": {"source": job.source, "id": job.contact, "url": job.contact_url},
        "user": told.user,
        "call": msgspec.to_builtins(told.call) | {"seconds": told.call.seconds},
        "more": dict(told.more),
    }


def _parsed(body: bytes) -> Mapping[str, Any]:
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return said if isinstance(said, dict) else {}
