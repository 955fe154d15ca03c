"""The lookups that this process answered last, for the admin's page: in memory alone, and not for long."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

_MOST = 200
_KEPT = 3600.0
"""Seconds after which a lookup is no longer shown. Whoever is forgotten everywhere else, is then forgotten here."""
_LONGEST = 8 * 1024
"""Bytes of the longest answer that is kept."""


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

    def note(self, tenant: str, asked: str, answer: bytes, seconds: float) -> None:
        """A lookup was answered."""
        self._ring.append((tenant, self._clock(), asked[:64], answer if len(answer) <= _LONGEST else b"", seconds))

    def of(self, tenant: str) -> list[Lookup]:
        """Those of a tenant, the newest first."""
        self._prune()
        return [Lookup(*one) for one in reversed(self._ring) if one[0] == tenant]

    def _prune(self) -> None:
        oldest = self._clock() - _KEPT
        while self._ring and self._ring[0][1] < oldest:
            self._ring.popleft()
