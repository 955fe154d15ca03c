"""Word to the processes that answer: somebody was erased, so throw away what is kept of it beside the database.

Each holds a shared lock while it hears, and answers what it threw away. What was said while it did not hear is made up
for as soon as it does.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import orjson

from bridge import errors, log, store
from bridge.store import Store

SQL = store.queries("wiping")
_CHANNEL = "bridge_wipe"
_HEARS = store.lock_key("wipe")
_BEAT = 5.0
_AGAIN = 0.5
_LOG = log.get()

Wipe = Callable[[str], Awaitable[Mapping[str, int]]]
"""Throws away what is kept of the erased of a tenant ("": of any), and says how much of what that was."""


@dataclass(frozen=True, slots=True)
class Wiped:
    """What processes threw away, by what it was; `heard`: so many did, `silent`: so many did not say so in time."""

    gone: Mapping[str, int]
    heard: int
    silent: int


async def heed(db: Store, wipe: Wipe) -> None:
    """Wipe whenever it is asked for, until cancelled."""
    while True:
        try:
            await _heed(db, wipe)
        except (errors.Unavailable, TimeoutError) as fault:
            _LOG.debug("wipe.deaf", reason=str(fault))
        await asyncio.sleep(_AGAIN)


async def _heed(db: Store, wipe: Wipe) -> None:
    asked: asyncio.Queue[str] = asyncio.Queue()
    async with db.session() as session:
        async with asyncio.timeout(_BEAT):
            await session.listen(_CHANNEL, asked.put_nowait)
            await session.execute("select pg_advisory_lock_shared($1)", _HEARS)
            me = await session.value("select pg_backend_pid()")
        await wipe("")
        while True:
            words = await _within(asked)
            if words is None:
                async with asyncio.timeout(_BEAT):
                    await session.execute("select 1")
                continue
            tenant, channel = orjson.loads(words)
            try:
                gone = await wipe(tenant)
            except errors.Unavailable as fault:
                _LOG.error("wipe.failed", tenant=tenant, reason=str(fault))
                continue
            async with asyncio.timeout(_BEAT):
                await session.execute("select pg_notify($1, $2)", channel, orjson.dumps([me, dict(gone)]).decode())


async def ask(db: Store, tenant: str, patience: float = 10.0) -> Wiped:
    """Have every process that hears wipe what it keeps of the tenant's erased, and wait for its word."""
    told: asyncio.Queue[str] = asyncio.Queue()
    channel = f"bridge_wiped_{uuid.uuid4().hex}"
    gone: Counter[str] = Counter()
    async with db.session() as session:
        await session.listen(channel, told.put_nowait)
        hearing = {row["pid"] for row in await session.fetch(SQL["hearing"], _HEARS)}
        await session.execute("select pg_notify($1, $2)", _CHANNEL, orjson.dumps([tenant, channel]).decode())
        done: set[int] = set()
        end = asyncio.get_running_loop().time() + patience
        while hearing - done and asyncio.get_running_loop().time() < end:
            words = await _within(told, 1.0)
            if words is None:
                # Who is gone keeps nothing in memory, and looks at its files when it comes back.
                hearing &= {row["pid"] for row in await session.fetch(SQL["hearing"], _HEARS)} | done
                continue
            process, counts = orjson.loads(words)
            done.add(process)
            gone.update(counts)
    return Wiped(gone, len(done), len(hearing - done))


async def _within(said: asyncio.Queue[str], seconds: float = _BEAT) -> str | None:
    """The next word, None where there is none for so long."""
    try:
        async with asyncio.timeout(seconds):
            return await said.get()
    except TimeoutError:
        return None
