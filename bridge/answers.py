"""Finished answers to lookups, kept until a number that they depend on changes. No I/O, bounded in count and bytes.

An answer has its place from before its question reaches the database. Word of a change takes the place away, so
that an answer that may have been read before the change finds none and is not kept.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable

_OVERHEAD = 600
"""Bytes that an answer takes here beside its own."""


class Place:
    """Where one answer goes; `numbers` are the (tenant, number) pairs that it depends on."""

    __slots__ = ("body", "key", "numbers", "open")

    def __init__(self, key: Hashable, numbers: tuple[tuple[str, str], ...]) -> None:
        self.key = key
        self.numbers = numbers
        self.body: bytes | None = None
        self.open = True


class Answers:
    """The answers by what was asked, the least recently asked going first."""

    def __init__(self, most: int = 20_000, most_bytes: int = 32_000_000) -> None:
        self._most, self._most_bytes = most, most_bytes
        self._bytes = 0
        self._places: OrderedDict[Hashable, Place] = OrderedDict()
        self._by_number: dict[tuple[str, str], set[Place]] = {}
        self.live = False
        """Whether word of changes arrives; without it nothing is kept."""

    def get(self, key: Hashable) -> bytes | None:
        """The answer, if it is here and still right."""
        place = self._places.get(key)
        if place is None:
            return None
        self._places.move_to_end(key)
        return place.body

    def begin(self, key: Hashable, numbers: Iterable[tuple[str, str]]) -> Place | None:
        """A place for an answer whose question is about to be asked; None where it is not to be kept."""
        if not self.live or key in self._places:
            return None
        place = Place(key, tuple(numbers))
        self._places[key] = place
        for number in place.numbers:
            self._by_number.setdefault(number, set()).add(place)
        if len(self._places) > self._most:
            self._drop(next(iter(self._places.values())))
        return place

    def fill(self, place: Place, body: bytes) -> None:
        """Keep the answer, if its place is still there."""
        if not place.open:
            return
        place.body = body
        self._bytes += len(body) + _OVERHEAD
        while self._bytes > self._most_bytes:
            self._drop(next(iter(self._places.values())))

    def give_up(self, place: Place) -> None:
        """The question found no answer."""
        if place.open and place.body is None:
            self._drop(place)

    def changed(self, tenant: str, numbers: Iterable[str]) -> None:
        """Forget what depends on any of these numbers."""
        for number in numbers:
            for place in tuple(self._by_number.get((tenant, number), ())):
                self._drop(place)

    def changed_all(self, tenant: str) -> None:
        """Forget what depends on any number of the tenant."""
        for place in [place for place in self._places.values() if any(tenant == of for of, _ in place.numbers)]:
            self._drop(place)

    def clear(self) -> None:
        """Forget all."""
        for place in self._places.values():
            place.open = False
        self._places.clear()
        self._by_number.clear()
        self._bytes = 0

    def _drop(self, place: Place) -> None:
        place.open = False
        del self._places[place.key]
        if place.body is not None:
            self._bytes -= len(place.body) + _OVERHEAD
        for number in place.numbers:
            places = self._by_number[number]
            places.discard(place)
            if not places:
                del self._by_number[number]
