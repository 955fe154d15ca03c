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
from bridge.slots import Key, Limits, Slots, Waiting
from bridge.store import Store

SQL = store.queries("deliveries")
_LOG = log.get()
_LIMITS = Limits(total=64, tenant=8, host=16, slow=32)
_POLL = 0.5
"""Seconds between looks at what is owed; a push that another process caused waits no longer."""
_LIGHT, _LONGEST = 20, 2.0
"""How many times longer than it takes to look there is no look, so that it stays under a twentieth of the time; and for
how many seconds at the most."""
_LINGER, _HASTE = 3.0, 0.1
"""Seconds that a sink is kept open with nothing to do; while others wait and it does not fail."""
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
        self._waiting = Waiting()
        self._doubtful: set[Key] = set()
        self._leaving: set[str] = set()
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Something may be due."""
        for delivery in self._open.values():
            delivery.wake()
        self._wake.set()

    def take_up(self, tenants: Iterable[Tenant]) -> None:
        """Deliver for these tenants; whoever did so before may have died over it."""
        for tenant in tenants:
            self._leaving.discard(tenant.name)
            self._doubtful.update((tenant.name, name) for name in tenant.sinks if self._delivers((tenant.name, name)))
        self._wake.set()

    async def let_go(self, tenants: Collection[str]) -> None:
        """Deliver nothing more for these tenants; what is under way is waited for a little."""
        self._leaving.update(tenants)  # they are still among `mine`, as they were told before
        await assembly.broken_off(task for key, task in self._running.items() if key[0] in tenants)

    async def work(self) -> None:
        """Deliver until cancelled; Unavailable when the database is lost."""
        try:
            while True:
                self._wake.clear()
                began = time.monotonic()
                await self._look()
                # Whatever wakes it: where thousands are owed something each look is long.
                await asyncio.sleep(min(_LONGEST, _LIGHT * (time.monotonic() - began)))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_POLL):
                        await self._wake.wait()
        finally:
            self._waiting = Waiting()
            await assembly.broken_off(self._running.values())

    async def _look(self) -> None:
        """Find every sink that is owed something, and begin with those that have room."""
        if not self._claims.heard:
            return
        await self._recover()
        due = {(row["tenant"], row["sink"]): row["failing"] for row in await self._db.fetch(SQL["due"])}
        self._waiting.renew(
            {
                key: (slots.host(self._mine[key[0]].sinks[key[1]].url), failing)
                for key, failing in due.items()
                if self._may_begin(key)
            }
        )
        self._begin()

    def _may_begin(self, key: Key) -> bool:
        return key not in self._running and key not in self._doubtful and self._delivers(key)

    def _begin(self) -> None:
        """Begin with those who wait, as far as there is room."""
        while self._claims.heard and (found := self._waiting.next(self._slots)):
            key, host, failing = found
            if self._may_begin(key):
                self._slots.enter(key, host, slow=failing)
                task = self._running[key] = asyncio.create_task(self._deliver(key))
                task.add_done_callback(partial(self._ended, key))

    async def _recover(self) -> None:
        """Have settled soon what was sent and not answered for."""
        self._doubtful = {key for key in self._doubtful if self._delivers(key)}
        if doubtful := sorted(self._doubtful - self._running.keys()):
            await recover(
                self._db, {(tenant, name): self._mine[tenant].sinks[name].timeout for tenant, name in doubtful}
            )
            self._doubtful.difference_update(doubtful)

    def _delivers(self, key: Key) -> bool:
        if key[0] in self._leaving or key[0] not in self._mine:
            return False
        sink = self._mine[key[0]].sinks.get(key[1])
        return sink is not None and assembly.delivers(sink)

    def _ended(self, key: Key, _task: asyncio.Task[None]) -> None:
        self._slots.leave(key)
        del self._running[key]
        self._begin()

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
            await asyncio.sleep(_HASTE if self._waiting else _POLL)
            # One that fails keeps its place for as long as it would alone: so thousands that fail are tried at leisure.
            linger = _HASTE if self._waiting and not delivery.failing else _LINGER
            if delivery.idle > linger or (self._waiting and time.monotonic() - began > _LONG):
                delivery.rest()
                return


async def recover(db: Store, timeouts: Mapping[Key, float]) -> None:
    """Have these sinks settle soon what was sent and not answered for, by somebody who may have died since.

    `timeouts`: the seconds that each sink has for an answer.
    """
    waits = [min(timeout, 5.0) for timeout in timeouts.values()]
    for query in ("recover_contacts", "recover_extensions"):
        await db.execute(SQL[query], [tenant for tenant, _ in timeouts], [name for _, name in timeouts], waits)
