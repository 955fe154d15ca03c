"""One event for each request while they are few; a busy second is summed up instead."""

from __future__ import annotations

import time
from typing import Any

from bridge import log

MOST = 20
"""Events in a second. More than so many calls a second nobody reads, and writing them would slow the answers."""
_LOG = log.get()


class Access:
    """The log of who was answered what. No token, no query, and of a number only its ends."""

    def __init__(self, busy: str = "lookup.busy") -> None:
        self._busy = busy
        self._second = 0
        self._written = 0
        self._left_out = 0

    def due(self) -> bool:
        """Whether the next event is to be written; one that is not is counted."""
        second = int(time.monotonic())
        if second != self._second:
            if self._left_out:
                _LOG.info(self._busy, left_out=self._left_out)
            self._second, self._written, self._left_out = second, 0, 0
        if self._written >= MOST:
            self._left_out += 1
            return False
        self._written += 1
        return True

    def write(self, event: str, **fields: Any) -> None:
        """One event that was due."""
        _LOG.info(event, **fields)


def masked(number: str) -> str:
    """Enough of a number to recognise it by, and not enough to call it."""
    return f"{number[:4]}…{number[-2:]}" if len(number) >= 9 else "…" + number[-1:]
