"""Runs that a command asks for: done by the daemon where one works, else by the command itself.

A second login could end the daemon's own session (Sugar allows one a platform), so `bridge sync` beside a daemon has
the daemon do it and follows. Both ways go through `perform`, which tells what happens as small dictionaries:
`{"event": "reading", "source", "read"}`, `{"event": "source", …a report…}`, `{"event": "would", …}`,
`{"event": "sinks", "waiting"}`, `{"event": "end", "undelivered": {sink: reason}}`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import orjson

from bridge import assembly, errors, extension_outbox, health, log, outbox, store, sync
from bridge.claims import Claim
from bridge.config import Tenant
from bridge.sources import Source
from bridge.store import Store

SQL = store.queries("asks")
_LOG = log.get()
_ASK = "bridge_ask"
_REMEMBERED = 1000
_AWAY = 30.0
"""Seconds that sinks which do not answer are waited for."""
_LIGHT = 10
"""How many times longer than it takes to look at what waits there is no look."""
_ALIVE = store.lock_key("worker")
Said = dict[str, Any]
Emit = Callable[[Said], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Request:
    """One `bridge sync`. No sources: all."""

    tenant: str
    sources: tuple[str, ...] = ()
    full: bool = False
    dry: bool = False
    push: bool = True
    patience: float = 60.0


class Hands(Protocol):
    """Whoever does what is asked for: the tenants that are its own, and what it works with."""

    @property
    def mine(self) -> Mapping[str, Tenant]:
        """The tenants that it works for now."""
        ...

    def claim(self, tenant: str) -> Claim:
        """What holds one of them in a transaction."""
        ...

    def lend(self, tenant: Tenant, name: str) -> AbstractAsyncContextManager[Source]:
        """A source, for the block."""
        ...

    def wake(self) -> None:
        """Something may be due in the outboxes."""
        ...


async def perform(db: Store, tenant: Tenant, request: Request, emit: Emit, hands: Hands) -> None:
    """Run the sources one after the other, then wait until the sinks have taken what changed."""
    for name in request.sources or tuple(tenant.sources):
        await emit({"event": "source", **asdict(await _run(db, tenant, name, request, emit, hands))})
        hands.wake()
    undelivered = {}
    if request.push and not request.dry:
        undelivered = await _until_delivered(db, tenant, request.patience, emit, hands.wake)
    await emit({"event": "end", "undelivered": undelivered})


async def _run(db: Store, tenant: Tenant, name: str, request: Request, emit: Emit, hands: Hands) -> sync.Report:
    told = asyncio.get_running_loop().time
    last = 0.0
    pending: set[asyncio.Task[None]] = set()

    def progress(read: int) -> None:
        nonlocal last
        if told() - last > 0.2:
            last = told()
            task = asyncio.ensure_future(emit({"event": "reading", "source": name, "read": read}))
            pending.add(task)
            task.add_done_callback(pending.discard)

    # A file is read again whenever it is asked for: it costs little, and its times may lie.
    full = request.full or tenant.sources[name].type == "file"
    try:
        async with hands.lend(tenant, name) as source:
            job, claim = assembly.job(tenant, name), hands.claim(tenant.name)
            return await sync.run(db, job, source, full=full, dry=request.dry, progress=progress, claim=claim)
    except (errors.Denied, errors.Unavailable, errors.Unsupported) as fault:
        return sync.Report(name, error=str(fault))
    finally:
        await asyncio.gather(*pending)


async def _until_delivered(
    db: Store, tenant: Tenant, patience: float, emit: Emit, wake: Callable[[], None]
) -> dict[str, str]:
    """Wait for every sink; the reasons of those that took nothing for `patience` seconds, or refuse our key.

    Where all that are owed something fail, sooner.
    """
    await db.execute(health.SQL["probe_now"], tenant.name)
    wake()
    least: dict[str, int] = {}
    moved = time.monotonic()
    while True:
        looked_at = time.monotonic()
        left, undelivered, working = {}, {}, False
        for name, sink in tenant.sinks.items():
            waiting = 0
            if sink.contacts:
                waiting += await db.value(outbox.SQL["waiting"], tenant.name, name)
            if sink.extensions:
                waiting += await db.value(extension_outbox.SQL["waiting"], tenant.name, name)
            if waiting:
                left[name] = waiting
                state = await db.row(health.SQL["state"], tenant.name, name)
                undelivered[name] = (state and state["error"]) or f"{waiting} pushes wait"
                working = working or not (state and state["error"])
                if state and state["denied"] and state["waits"]:
                    del left[name]
        if any(count < least.get(name, count + 1) for name, count in left.items()):
            least, moved = left, time.monotonic()
        await emit({"event": "sinks", "waiting": sum(left.values())})
        if not left or time.monotonic() - moved > (patience if working else min(patience, _AWAY)):
            return undelivered
        # To count millions that wait takes a while, and takes it from those who deliver them.
        await asyncio.sleep(max(0.1, _LIGHT * (time.monotonic() - looked_at)))


# Asking the daemon


async def workers(db: Store) -> set[int]:
    """The database's processes behind which daemons wait for what commands ask; a new one after every restart."""
    return {row["pid"] for row in await db.fetch(SQL["workers"], _ALIVE)}


async def daemon_works(db: Store) -> bool:
    """Whether a daemon works on this database."""
    return bool(await workers(db))


async def ask(db: Store, request: Request) -> AsyncIterator[Said]:
    """Have the daemon do it, and follow; Unavailable where it went away, or does not know the source."""
    heard: asyncio.Queue[Said] = asyncio.Queue()
    name = uuid.uuid4().hex
    asked = await workers(db)
    async with db.session() as session:
        await session.listen(f"bridge_said_{name}", lambda payload: heard.put_nowait(orjson.loads(payload)))
        words = orjson.dumps({"answer": name, **asdict(request)}).decode()
        await session.execute("select pg_notify($1, $2)", _ASK, words)
        begun = False
        while True:
            try:
                async with asyncio.timeout(5 if begun else 2):
                    said = await heard.get()
                begun = True
            except TimeoutError:
                if asked & await workers(db):
                    if not begun:
                        # The tenant may just go from one daemon to another; whoever has begun does not begin again.
                        await session.execute("select pg_notify($1, $2)", _ASK, words)
                    continue
                raise errors.Unavailable("the daemon went away before it was done: ask again") from None
            if said.get("error") and said["event"] == "end":
                raise errors.Unavailable(said["error"])
            yield said
            if said["event"] == "end":
                return


async def serve(db: Store, hands: Hands) -> None:
    """In the daemon: do what commands ask for, until cancelled. Raises Unavailable when the database is lost."""
    asked: asyncio.Queue[Said] = asyncio.Queue()
    begun: deque[str] = deque(maxlen=_REMEMBERED)
    try:
        async with db.session() as session, asyncio.TaskGroup() as group:
            await session.execute("select pg_advisory_lock_shared($1)", _ALIVE)
            await session.listen(_ASK, lambda payload: asked.put_nowait(orjson.loads(payload)))
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(5):
                        words = await asked.get()
                    if words["answer"] not in begun and await _ours(db, hands, words["tenant"]):
                        begun.append(words["answer"])
                        group.create_task(_answer(db, words, hands))
                await session.execute("select 1")
    except ExceptionGroup as faults:
        lost, others = faults.split(errors.Unavailable)
        if lost is None or others is not None:
            raise
        raise errors.Unavailable(str(lost.exceptions[0])) from faults


async def _ours(db: Store, hands: Hands, tenant: str) -> bool:
    """Whether it is ours to answer: the tenant is, or is nobody's and so unknown to all."""
    return tenant in hands.mine or not await db.value(SQL["enlisted"], tenant)


async def _answer(db: Store, words: Said, hands: Hands) -> None:
    channel = f"bridge_said_{words.pop('answer')}"

    async def emit(said: Said) -> None:
        for part in _parts(said):
            await db.execute("select pg_notify($1, $2)", channel, orjson.dumps(part).decode())

    request = Request(**{**words, "sources": tuple(words["sources"])})
    tenant = hands.mine.get(request.tenant)
    if tenant is None or not set(request.sources) <= set(tenant.sources):
        unknown = "the daemon does not know what is asked for: its configuration is older, reload it (SIGHUP)"
        await emit({"event": "end", "undelivered": {}, "error": unknown})
        return
    await emit({"event": "begun"})
    _LOG.info("sync.asked", sources=list(request.sources), full=request.full, dry=request.dry)
    try:
        await perform(db, tenant, request, emit, hands)
    except errors.Unavailable as fault:
        _LOG.warning("sync.interrupted", reason=str(fault))
        with contextlib.suppress(errors.Unavailable):
            await emit({"event": "end", "undelivered": {}, "error": str(fault)})


def _parts(said: Said) -> Sequence[Said]:
    """What fits into notifications of at most 8,000 bytes: a dry run's list goes ahead in pieces."""
    would = said.get("would") or ()
    if not would:
        return [said]
    pieces = [{"event": "would", "would": would[n : n + 20]} for n in range(0, len(would), 20)]
    return [*pieces, {**said, "would": ()}]
