"""The lookups that this process answered last, for the admin's page: in memory alone, and not for long."""

from __future__ import annotations

import time
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

_MOST = 200
_KEPT = 3600.0
"""Seconds after which a lookup is no longer shown."""
_LONGEST = 8 * 1024
"""Bytes of the longest answer that is kept."""
_SETTLES = 1.0
"""Seconds after a person was erased in which an answer from before may still be given."""


@dataclass(frozen=True, slots=True)
class Lookup:
    """One of them. `answer`: the JSON that was said, b"" where that was too long; `at`: seconds since 1970."""

    tenant: str
    at: float
    asked: str
    answer: bytes
    seconds: float


class Recent:
    """A ring: whoever answers notes, whoever shows reads."""

    def __init__(self, most: int = _MOST, clock: Callable[[], float] = time.time) -> None:
        self._ring: deque[tuple[str, float, str, bytes, float]] = deque(maxlen=most)
        self._clock = clock
        self._wiped: dict[str, float] = {}
        _RINGS.add(self)

    def note(self, tenant: str, asked: str, answer: bytes, seconds: float) -> None:
        """A lookup was answered."""
        now = self._clock()
        if self._wiped and now - seconds < self._wiped.get(tenant, 0.0):
            return
        self._ring.append((tenant, now, asked[:64], answer if len(answer) <= _LONGEST else b"", seconds))

    def of(self, tenant: str) -> list[Lookup]:
        """Those of a tenant, the newest first."""
        self._prune()
        return [Lookup(*one) for one in reversed(self._ring) if one[0] == tenant]

    def wipe(self, tenant: str) -> int:
        """Throw away those of a tenant ("": of all), and soon none that began before; how many."""
        now = self._clock()
        self._wiped = {name: until for name, until in self._wiped.items() if until > now}
        if tenant:
            self._wiped[tenant] = now + _SETTLES
        kept = [one for one in self._ring if tenant and one[0] != tenant]
        gone = len(self._ring) - len(kept)
        self._ring.clear()
        self._ring.extend(kept)
        return gone

    def _prune(self) -> None:
        oldest = self._clock() - _KEPT
        while self._ring and self._ring[0][1] < oldest:
            self._ring.popleft()


_RINGS: weakref.WeakSet[Recent] = weakref.WeakSet()
"""All of this process, whichever of its parts has made them."""


def wipe(tenant: str) -> int:
    """Throw away a tenant's lookups wherever this process keeps some; how many."""
    return sum(ring.wipe(tenant) for ring in list(_RINGS))
