"""Runs the sources of the tenants that this process holds, each when it is due.

Whatever is slow or fails in one tenant is that tenant's alone: what failed or was slow the last time gets a part of
the room, no tenant and no host gets all of it, and of what is due the longest first.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

from bridge import assembly, errors, keys, log, pace, slots, store, sync
from bridge.claims import Claim, Claims
from bridge.config import Tenant
from bridge.slots import Key, Limits, Slots
from bridge.sources import Source
from bridge.store import Store
from bridge.sync import Job

SQL = store.queries("runs")
_LOG = log.get()
_LIMITS = Limits(total=16, tenant=4, host=4, slow=8)
_SLOW = 10.0
"""Seconds from which a run is a slow one."""
_LOOK = 60.0
"""Seconds after which the database is asked anew what is due: a command may have run or let something through."""
_LEAST = 0.2
"""Seconds between two runs of a source, whatever comes of them."""

Lend = Callable[[Tenant, str], AbstractAsyncContextManager[Source]]


@dataclass
class _Place:
    """One source in the timetable; `due` on the loop's clock, inf: to be found out; `ready`: it waits for room."""

    job: Job
    host: str
    due: float = float("inf")
    ready: bool = False
    full: bool = True
    slow: bool = False
    ran: bool = False


class Runs:
    """The timetable of the sources of `mine`, which its owner changes as tenants come and go."""

    def __init__(
        self, db: Store, mine: Mapping[str, Tenant], lend: Lend, claims: Claims, done: Callable[[], None]
    ) -> None:
        self._db = db
        self._mine = mine
        self._lend = lend
        self._claims = claims
        self._done = done
        self._places: dict[Key, _Place] = {}
        self._ahead: list[tuple[float, Key]] = []
        self._ready: dict[str, deque[Key]] = {}
        self._slots = Slots(_LIMITS)
        self._running: dict[Key, asyncio.Task[None]] = {}
        self._wake = asyncio.Event()

    def take_up(self, tenants: Iterable[Tenant]) -> None:
        """Enter the sources of these tenants; what is known of them decides when they are due."""
        for tenant in tenants:
            for name, table in tenant.sources.items():
                self._places[tenant.name, name] = _Place(
                    assembly.job(tenant, name), slots.host(getattr(table, "url", ""))
                )
        self._wake.set()

    async def let_go(self, tenants: Collection[str]) -> None:
        """Strike out the sources of these tenants; runs of them that are under way are broken off."""
        for key in [key for key in self._places if key[0] in tenants]:
            del self._places[key]
        for host, queue in self._ready.items():
            self._ready[host] = deque(key for key in queue if key in self._places)
        await assembly.broken_off(task for key, task in self._running.items() if key[0] in tenants)

    async def work(self) -> None:
        """Run what is due, until cancelled; Unavailable when the database is lost."""
        loop = asyncio.get_running_loop()
        looked = float("-inf")
        try:
            while True:
                self._wake.clear()
                if loop.time() - looked > _LOOK:
                    looked = loop.time()
                    await self._look({key[0] for key in self._places})
                else:
                    await self._look({key[0] for key, place in self._places.items() if self._unknown(key, place)})
                self._begin(loop.time())
                soon = self._ahead[0][0] - loop.time() if self._ahead else _LOOK
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(max(soon, 0.0), _LOOK)):
                        await self._wake.wait()
        finally:
            await assembly.broken_off(self._running.values())

    def _unknown(self, key: Key, place: _Place) -> bool:
        return place.due == float("inf") and key not in self._running

    async def _look(self, tenants: Collection[str]) -> None:
        """Find out when the sources of these tenants are due."""
        if not tenants:
            return
        rows = {(row["tenant"], row["name"]): row for row in await self._db.fetch(SQL["states"], list(tenants))}
        now = asyncio.get_running_loop().time()
        for key, place in self._places.items():
            # What waits for room keeps its turn: a host that hangs would be waited for by more at each look.
            if key[0] in tenants and key not in self._running and not place.ready:
                state, table = rows.get(key), self._mine[key[0]].sources[key[1]]
                wait, place.full = due(state, table, place.job.rules)
                place.slow = place.slow or bool(state and state["failures"])
                place.due = now + (max(wait, _LEAST) if place.ran else wait)
                heapq.heappush(self._ahead, (place.due, key))
        if len(self._ahead) > 4 * len(self._places) + 64:
            self._ahead = [(place.due, key) for key, place in self._places.items() if key not in self._running]
            heapq.heapify(self._ahead)

    def _begin(self, now: float) -> None:
        """Begin what is due and has room, of each host in turn."""
        while self._ahead and self._ahead[0][0] <= now:
            when, key = heapq.heappop(self._ahead)
            place = self._places.get(key)
            if place and place.due == when and key not in self._running and not place.ready:
                place.ready = True
                self._ready.setdefault(place.host, deque()).append(key)
        for host in list(self._ready):
            if self._slots.full:
                return
            queue = self._ready.pop(host)
            for _ in range(len(queue)):
                if self._slots.crowded(host):
                    break
                self._begin_one(queue.popleft(), queue)
            if queue:
                self._ready[host] = queue

    def _begin_one(self, key: Key, queue: deque[Key]) -> None:
        place = self._places.get(key)
        if place is None or not place.ready:
            return  # it is gone, or is in the timetable anew
        if not self._slots.room(key, place.host, slow=place.slow):
            queue.append(key)
            return
        place.ready = False
        self._slots.enter(key, place.host, slow=place.slow)
        task = self._running[key] = asyncio.create_task(self._run(key, place))
        task.add_done_callback(partial(self._ended, key))

    def _ended(self, key: Key, _task: asyncio.Task[None]) -> None:
        self._slots.leave(key)
        del self._running[key]
        if key in self._places:
            self._places[key].due, self._places[key].ran = float("inf"), True
        self._wake.set()

    async def _run(self, key: Key, place: _Place) -> None:
        tenant, name = self._mine[key[0]], key[1]
        began = time.monotonic()
        try:
            async with self._lend(tenant, name) as source:
                ended = await run_logged(self._db, place.job, source, self._claims.of(key[0]), full=place.full)
        except errors.Unsupported as lack:
            _LOG.error("source.unsupported", source=name, tenant=tenant.name, reason=str(lack))
            self._places.pop(key, None)
            return
        place.slow = ended is None or time.monotonic() - began > _SLOW
        self._done()


def due(state: Any, table: keys.SourceKeys, rules: bytes) -> tuple[float, bool]:
    """Seconds until this source is due, and whether in full; `state`: a row of the query `states`, or None."""
    if state is None or state["tried"] is None:
        return 0.0, True
    if bytes(state["rules"]) != rules and not state["failures"]:
        return 0.0, True  # it was told anew what to read, or how
    # What was before now by a clock that was set back since is as old as nobody knows.
    full = state["full"] is None or not 0 <= state["full"] < table.full
    if state["tried"] < 0:
        return 0.0, full
    return max(0.0, pace.interval(table.every, state["failures"], denied=state["denied"]) - state["tried"]), full


async def run_logged(
    db: Store, job: Job, source: Source, claim: Claim | None = None, *, full: bool
) -> sync.Report | None:
    """One run whose outcome goes to the log; None where it failed."""
    try:
        report = await sync.run(db, job, source, full=full, claim=claim)
    except errors.Denied as fault:
        _LOG.error("run.denied", source=job.source, tenant=job.tenant, reason=str(fault))
        return None
    except errors.Unavailable as fault:
        _LOG.warning("run.failed", source=job.source, tenant=job.tenant, reason=str(fault))
        return None
    counts = {k: v for k, v in report.public().items() if k not in ("source", "error") and (v or k == "seconds")}
    quiet = report.unchanged and not report.full and not (report.added or report.changed or report.removed)
    (_LOG.debug if quiet else _LOG.info)("run.done", source=job.source, tenant=job.tenant, full=report.full, **counts)
    if report.held and report.new_hold:
        _LOG.error("run.held", source=job.source, tenant=job.tenant, held=report.held, reason=report.why_held)
    return report
