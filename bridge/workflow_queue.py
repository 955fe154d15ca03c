"""The workflows that are owed: taken by one daemon of several, done in the CRM or at a webhook, once.

What is taken is held for a while at a time: should this daemon die, another one takes it, and finds by the action's
key what was made already.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, cast

import msgspec
import orjson

from bridge import calls, client, errors, log, shown, store
from bridge.actions import Kind, Made
from bridge.calls import Told
from bridge.config import Tenant
from bridge.keys import Workflow
from bridge.pushes import pause
from bridge.sources import Source, WithActions
from bridge.store import Connection, Store
from bridge.workflows import CHANNEL

SQL = store.queries("workflow_queue")
_LOG = log.get()
_AT_ONCE, _PER_SOURCE = 8, 2
_LEASE = 20.0
_RENEW = 5.0
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


class Queue:
    """Does what is owed to these tenants; `lend` gives their sources."""

    def __init__(self, db: Store, tenants: Mapping[str, Tenant], lend: Lend) -> None:
        self._db = db
        self._tenants = tenants
        self._lend = lend
        self._running: dict[asyncio.Task[None], Job] = {}
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
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    async def _hold(self, session: Connection) -> None:
        held = list(self._running.values())
        await session.execute(SQL["hold"], [job.tenant for job in held], [job.key for job in held], _LEASE)

    async def _take(self, session: Connection) -> None:
        """Begin as much as there is room for, one by one, for no source gets more than a few at a time."""
        while len(self._running) < _AT_ONCE:
            doing = Counter((job.tenant, job.source) for job in self._running.values())
            full = [place for place, count in doing.items() if count >= _PER_SOURCE]
            tenants = dict(self._tenants)
            rows = await session.fetch(SQL["take"], list(tenants), [t for t, _ in full], [s for _, s in full], _LEASE)
            if not rows:
                return
            job = Job(**{**rows[0], "told": _TOLD.decode(rows[0]["told"])})
            # As the tenant is now: it may be configured anew before the job's turn comes.
            task = asyncio.create_task(self._do(job, tenants[job.tenant]))
            self._running[task] = job
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        self._wake.set()
        if not task.cancelled() and (fault := task.exception()) and not isinstance(fault, errors.Unavailable):
            _LOG.error("workflow.lost", exc_info=fault)

    async def _do(self, job: Job, tenant: Tenant) -> None:
        """Do it, and write down what came of it."""
        try:
            made = await self._act(job, tenant)
        except (errors.Refused, errors.Unsupported) as fault:
            code = fault.code if isinstance(fault, errors.Refused) else "UNSUPPORTED"
            _LOG.error("workflow.failed", workflow=job.workflow, source=job.source, code=code, reason=str(fault))
            await self._note("failed", job, job.tries, code, str(fault))
        except (errors.Denied, errors.Unavailable) as fault:
            wait = (fault.after if isinstance(fault, errors.Unavailable) else None) or pause(job.tries + 1)
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
