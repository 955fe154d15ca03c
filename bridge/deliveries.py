"""Delivers what the sinks of the tenants that this process holds are owed.

A sink that is owed nothing costs nothing: one question to the database finds those that are. A sink that fails or is
owed very much starves nobody: failing ones get a part of the room, and whoever was busy for long rests when others
wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Collection, Iterable, Mapping
from functools import partial

from bridge import assembly, errors, log, slots, store
from bridge.assembly import Delivery
from bridge.claims import Claims
from bridge.config import Tenant
from bridge.slots import Key, Limits, Slots
from bridge.store import Store

SQL = store.queries("deliveries")
_LOG = log.get()
_LIMITS = Limits(total=64, tenant=8, host=16, slow=32)
_POLL = 0.5
"""Seconds between looks at what is owed; a push that another process caused waits no longer."""
_LIGHT = 20
"""How many times longer than it takes to look there is no look: so it stays under a twentieth of the time."""
_LINGER = 3.0
"""Seconds that a sink is kept open with nothing to do."""
_LONG = 30.0
"""Seconds after which a busy sink makes room for others that wait."""


class Deliveries:
    """Delivers to the sinks of `mine`, which its owner changes as tenants come and go."""

    def __init__(self, db: Store, mine: Mapping[str, Tenant], claims: Claims) -> None:
        self._db = db
        self._mine = mine
        self._claims = claims
        self._slots = Slots(_LIMITS)
        self._open: dict[Key, Delivery] = {}
        self._running: dict[Key, asyncio.Task[None]] = {}
        self._waiting: dict[Key, None] = {}
        self._doubtful: set[Key] = set()
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Something may be due."""
        for delivery in self._open.values():
            delivery.wake()
        self._wake.set()

    def take_up(self, tenants: Iterable[Tenant]) -> None:
        """Deliver for these tenants; whoever did so before may have died over it."""
        for tenant in tenants:
            self._doubtful.update((tenant.name, name) for name in tenant.sinks if self._delivers((tenant.name, name)))
        self._wake.set()

    async def let_go(self, tenants: Collection[str]) -> None:
        """Deliver nothing more for these tenants; what is under way is waited for a little."""
        await assembly.broken_off(task for key, task in self._running.items() if key[0] in tenants)

    async def work(self) -> None:
        """Deliver until cancelled; Unavailable when the database is lost."""
        try:
            while True:
                self._wake.clear()
                began = time.monotonic()
                await self._look()
                pause = max(_POLL, _LIGHT * (time.monotonic() - began))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._wake.wait()
        finally:
            await assembly.broken_off(self._running.values())

    async def _look(self) -> None:
        """Begin with every sink that is owed something and has room."""
        if not self._claims.heard:
            return
        await self._recover()
        rows = {(row["tenant"], row["sink"]): row["failing"] for row in await self._db.fetch(SQL["due"])}
        # In the order in which they were found to wait: whoever waits longest is next.
        waiting = dict.fromkeys([*(key for key in self._waiting if key in rows), *rows])
        self._waiting = {}
        for key in waiting:
            if key in self._running or key in self._doubtful or not self._delivers(key):
                continue
            host = slots.host(self._mine[key[0]].sinks[key[1]].url)
            if self._slots.room(key, host, slow=rows[key]):
                self._slots.enter(key, host, slow=rows[key])
                task = self._running[key] = asyncio.create_task(self._deliver(key))
                task.add_done_callback(partial(self._ended, key))
            else:
                self._waiting[key] = None

    async def _recover(self) -> None:
        """Have settled soon what was sent and not answered for."""
        self._doubtful = {key for key in self._doubtful if self._delivers(key)}
        if doubtful := sorted(self._doubtful - self._running.keys()):
            await recover(
                self._db, {(tenant, name): self._mine[tenant].sinks[name].timeout for tenant, name in doubtful}
            )
            self._doubtful.difference_update(doubtful)

    def _delivers(self, key: Key) -> bool:
        sink = self._mine[key[0]].sinks.get(key[1]) if key[0] in self._mine else None
        return sink is not None and assembly.delivers(sink)

    def _ended(self, key: Key, _task: asyncio.Task[None]) -> None:
        self._slots.leave(key)
        del self._running[key]
        if self._waiting:
            self._wake.set()

    async def _deliver(self, key: Key) -> None:
        """Deliver to one sink until it is owed nothing more, or others have waited long enough."""
        delivery = assembly.delivery(self._db.of(key[0]), self._mine[key[0]], key[1], self._claims.of(key[0]))
        self._open[key] = delivery
        resting = asyncio.create_task(self._rest(delivery))
        self._doubtful.add(key)
        try:
            await delivery.drain()
            self._doubtful.discard(key)
        except errors.Unavailable as fault:
            _LOG.warning("sink.interrupted", tenant=key[0], sink=key[1], reason=str(fault))
        finally:
            resting.cancel()
            del self._open[key]
            await delivery.sink.close()

    async def _rest(self, delivery: Delivery) -> None:
        """Have it rest in time."""
        began = time.monotonic()
        while True:
            await asyncio.sleep(_POLL)
            if delivery.idle > _LINGER or (self._waiting and time.monotonic() - began > _LONG):
                delivery.rest()
                return


async def recover(db: Store, timeouts: Mapping[Key, float]) -> None:
    """Have these sinks settle soon what was sent and not answered for, by somebody who may have died since.

    `timeouts`: the seconds that each sink has for an answer.
    """
    waits = [min(timeout, 5.0) for timeout in timeouts.values()]
    for query in ("recover_contacts", "recover_extensions"):
        await db.execute(SQL[query], [tenant for tenant, _ in timeouts], [name for _, name in timeouts], waits)
