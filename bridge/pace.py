"""How often a source is looked at."""

from __future__ import annotations

_PROBE = (60.0, 900.0)
"""Seconds from one try of refused credentials to the next, at first and at most."""


def interval(every: float, failures: int, *, denied: bool) -> float:
    """Seconds from one try of a source to the next.

    A failed run is repeated sooner than `every`; refused credentials are tried once a minute, rising to fifteen.
    """
    if denied:
        return min(_PROBE[1], _PROBE[0] * 2.0 ** min(max(failures - 1, 0), 10))
    if failures:
        return min(every, 5.0 * 2.0 ** min(failures - 1, 10))
    return every
