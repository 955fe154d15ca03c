"""Readings on behalf of who asks: few at a time, few of one server, and one for all who want the same at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Hashable
from typing import Any

from bridge.pbxsync import apart
from bridge.pbxsync.apart import Order
from bridge.pbxsync.lines import Lines
from bridge.server.access import Access
from bridge.server.peers import Throttle
from bridge.store import Store

MOST, MOST_OF_ONE = 8, 2
SECONDS = 120.0


Read = Callable[[Order], Awaitable[Lines]]
"""Has an order read."""


class Busy(Exception):
    """As much is being read as may be."""


class _Reading:
    def __init__(self, task: asyncio.Task[Lines]) -> None:
        self.task = task
        self.readers = 0


class Errands:
    """What all tenants' helper URLs share, under one configuration after the other.

    `seconds` is how long one reading may take; `read` does it, in a process of its own if nothing else is said.
    """

    def __init__(
        self, db: Store, throttle: Throttle | None = None, seconds: float = SECONDS, read: Read = apart.read
    ) -> None:
        self.db = db
        self.read = read
        self.throttle = throttle or Throttle()
        self.seconds = seconds
        self.access = Access("pbxsync.busy")
        self._running: dict[Hashable, _Reading] = {}
        self._servers: Counter[Hashable] = Counter()

    @property
    def under_way(self) -> int:
        """How many readings there are."""
        return self._servers.total()

    @contextlib.asynccontextmanager
    async def lines(
        self, wanted: Hashable, server: Hashable, read: Callable[[], Coroutine[Any, Any, Lines]]
    ) -> AsyncIterator[Lines]:
        """What `read` gives, or whoever reads the very same already; raises Busy, TimeoutError, and what it raises."""
        reading = self._running.get(wanted) or self._begin(wanted, server, read)
        reading.readers += 1
        try:
            yield await asyncio.shield(reading.task)
        finally:
            reading.readers -= 1
            if not reading.readers:
                self._end(wanted, reading)

    def _begin(self, wanted: Hashable, server: Hashable, read: Callable[[], Coroutine[Any, Any, Lines]]) -> _Reading:
        if self.under_way >= MOST or self._servers[server] >= MOST_OF_ONE:
            raise Busy
        self._servers[server] += 1
        reading = self._running[wanted] = _Reading(asyncio.create_task(self._in_time(read)))

        def done(task: asyncio.Task[Lines]) -> None:
            self._servers -= Counter([server])
            self._forget(wanted, reading)
            _tidy(reading)

        reading.task.add_done_callback(done)
        return reading

    async def _in_time(self, read: Callable[[], Coroutine[Any, Any, Lines]]) -> Lines:
        async with asyncio.timeout(self.seconds):
            return await read()

    def _end(self, wanted: Hashable, reading: _Reading) -> None:
        """Nobody waits for it any more, or nobody reads what it gave."""
        self._forget(wanted, reading)
        reading.task.cancel()
        _tidy(reading)

    def _forget(self, wanted: Hashable, reading: _Reading) -> None:
        if self._running.get(wanted) is reading:
            del self._running[wanted]


def _tidy(reading: _Reading) -> None:
    """Close what was read and is read by nobody; a fault that nobody waits for any more is no news."""
    task = reading.task
    if task.done() and not task.cancelled() and task.exception() is None and not reading.readers:
        task.result().close()
