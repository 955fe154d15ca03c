"""One event for each request while they are few; a busy second is summed up instead."""

from __future__ import annotations

import time
from typing import Any

from bridge import log

MOST = 50
"""Events in a second. More than so many calls a second nobody reads, and writing them would slow the answers."""
_LOG = log.get()


class Access:
    """The log of who was answered what. No token, no query, and of a number only its ends."""

    def __init__(self) -> None:
        self._second = 0
        self._written = 0
        self._left_out = 0

    def note(self, event: str, **fields: Any) -> None:
        """Write the event, or count it."""
        if not self.quiet():
            _LOG.info(event, **fields)

    def quiet(self) -> bool:
        """Whether this second has had its events; counts what is asked for."""
        second = int(time.monotonic())
        if second != self._second:
            if self._left_out:
                _LOG.info("lookup.busy", left_out=self._left_out)
            self._second, self._written, self._left_out = second, 0, 0
        if self._written >= MOST:
            self._left_out += 1
            return True
        self._written += 1
        return False


def masked(number: str) -> str:
    """Enough of a number to recognise it by, and not enough to call it."""
    return f"{number[:4]}…{number[-2:]}" if len(number) >= 9 else "…" + number[-1:]
