"""Finished answers to lookups, kept until a number that they depend on changes. No I/O, bounded in count and bytes.

Changes are counted, and each number knows the count at which it last changed. An answer is right while that of none
of its numbers is later than the count from before its question was asked: so an answer that may have been read
before a change is never given, whichever of the two comes first.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Hashable, Iterable
from typing import NamedTuple

_OVERHEAD = 500
"""Bytes that an answer takes here beside its own."""
_ALL = ""
"""Stands for every number of a tenant."""

Number = tuple[str, str]
"""A tenant and a number of it."""
Key = tuple[Hashable, str]
"""What an answer is kept by: whose directory it is of, and the text that was asked."""


class Asked(NamedTuple):
    """What an answer depends on, and the count of changes before it was asked for."""

    tenant: str
    numbers: tuple[str, ...]
    after: int


class Answers:
    """The answers by what was asked, the least recently asked going first."""

    def __init__(self, most: int = 20_000, most_bytes: int = 32_000_000) -> None:
        self._most, self._most_bytes = most, most_bytes
        self.bytes = 0
        """What all of them take."""
        self._count = 0
        self._forgotten = 0
        self._changed: dict[Number, int] = {}
        self._kept: OrderedDict[Key, tuple[Asked, bytes]] = OrderedDict()
        self.live = False
        """Whether word of changes arrives; without it nothing is kept."""

    def get(self, key: Key) -> bytes | None:
        """The answer, if it is here and still right."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        if not self._right(kept[0]):
            self._drop(key)
            return None
        self._kept.move_to_end(key)
        return kept[1]

    def asking(self, tenant: str, numbers: Iterable[str]) -> Asked:
        """To be called before the question is: what its answer depends on."""
        return Asked(tenant, tuple(numbers), self._count)

    def keep(self, key: Key, asked: Asked, body: bytes) -> None:
        """Keep an answer, if nothing that it depends on has changed since it was asked for."""
        if not self.live or not self._right(asked):
            return
        if key in self._kept:
            self._drop(key)
        self._kept[key] = (asked, body)
        self.bytes += _size(key, body)
        while len(self._kept) > self._most or self.bytes > self._most_bytes:
            self._drop(next(iter(self._kept)))

    def changed(self, tenant: str, numbers: Iterable[str]) -> None:
        """Answers that depend on any of these numbers are right no more."""
        self._count += 1
        if not self._kept:
            self._forgotten = self._count  # nothing is here that could be wrong; what is being asked for is not kept
            return
        for number in numbers:
            self._changed[tenant, number] = self._count
        if len(self._changed) > self._most:
            self.clear()

    def changed_all(self, tenant: str) -> None:
        """Answers that depend on any number of the tenant are right no more."""
        self.changed(tenant, (_ALL,))

    def clear(self) -> None:
        """Forget all; what is being asked for is not kept, either."""
        self._count += 1
        self._forgotten = self._count
        self._changed.clear()
        self._kept.clear()
        self.bytes = 0

    def forget(self, tenant: str = "") -> None:
        """Let go of the answers of a tenant ("": of all); what is being asked for is not kept, either."""
        if not tenant:
            self.clear()
            return
        for key in [key for key, (asked, _) in self._kept.items() if asked.tenant == tenant]:
            self._drop(key)
        # What is said next of all its numbers says it of each that has changed.
        self._changed = {number: count for number, count in self._changed.items() if number[0] != tenant}
        self.changed_all(tenant)

    def _right(self, asked: Asked) -> bool:
        tenant, numbers, after = asked
        if after == self._count:
            return True  # nothing has changed at all
        if after < self._forgotten or self._changed.get((tenant, _ALL), 0) > after:
            return False
        return all(self._changed.get((tenant, number), 0) <= after for number in numbers)

    def _drop(self, key: Key) -> None:
        _, body = self._kept.pop(key)
        self.bytes -= _size(key, body)


def _size(key: Key, body: bytes) -> int:
    """Bytes that an answer takes."""
    return sys.getsizeof(key[1]) + len(body) + _OVERHEAD
