"""Whether a sink may be sent to: what its outboxes know of its failures, kept in the table `sink`.

A sink that fails time and again is left in peace for a growing while, then tried with one push; one that refuses our
key is tried once a minute, rising to once in fifteen.
"""

from __future__ import annotations

import random
import time

from bridge import errors, log, store
from bridge.store import Connection

SQL = store.queries("health")
_LOG = log.get()
_PROBE = (60.0, 900.0)
"""Seconds between probes of a sink that refuses our key: the first pause, and the longest."""
_SAID = 5.0
"""Seconds for which an answer that did what was asked need not be noted again."""


class Health:
    """The health of one sink; `tolerance`: failures in a row that may be each push's own."""

    def __init__(self, tenant: str, sink: str, tolerance: int) -> None:
        self._key = (tenant, sink)
        self._tolerance = tolerance
        self._failures = 0
        self._failed_for = 0.0
        self._well_said = 0.0
        self.trying_one = False
        """Whether it failed, so that one push at a time is tried."""
        self.halted = False
        """Whether nothing more may be sent before `waits` was asked."""

    async def waits(self, session: Connection) -> bool:
        """Whether nothing may be sent now."""
        state = await session.row(SQL["state"], *self._key)
        self.trying_one = bool(state and state["error"])
        self.halted = bool(state and state["waits"])
        self._failed_for = state["failed_for"] if state else 0.0
        return self.halted

    async def good(self, connection: Connection) -> None:
        """It did what was asked."""
        self._failures = 0
        if self.trying_one or time.monotonic() - self._well_said > _SAID:
            self._well_said = time.monotonic()
            await connection.execute(SQL["well"], *self._key)

    def answered(self) -> None:
        """It answered, if not as was wished."""
        self._failures = 0

    async def failed(self, connection: Connection, fault: errors.Unavailable) -> None:
        """Nobody answered; where that is so for any of several pushes, the sink as a whole is left in peace.

        Each time for as long again as it has failed, whoever tried it before, and a minute at the most.
        """
        self._failures += 1
        if self.trying_one or self._failures >= self._tolerance:
            wait = fault.after or min(60.0, max(self._failed_for, 0.5)) * random.uniform(0.8, 1.2)
            _LOG.warning("sink.unavailable", sink=self._key[1], reason=str(fault), again_in=round(wait, 1))
            self.halted = True
            await connection.execute(SQL["failing"], *self._key, str(fault), "", 0, wait)

    async def denied(self, connection: Connection, fault: errors.Denied) -> None:
        """The key is refused: nothing more is sent but probes."""
        self.halted = True
        state = await connection.row(SQL["state"], *self._key)
        if state and state["denied"] and state["waits"]:
            return  # several were under way: one word of it is enough
        probes = (state["probes"] if state else 0) + 1
        wait = min(_PROBE[1], _PROBE[0] * 2 ** (probes - 1))
        _LOG.error("sink.denied", sink=self._key[1], code=fault.code, reason=str(fault), probe_in=wait)
        await connection.execute(SQL["failing"], *self._key, str(fault), fault.code or "DENIED", probes, wait)
