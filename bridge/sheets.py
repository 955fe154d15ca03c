"""One tenant's directory in memory: who has which number, in as few bytes as that takes. No I/O.

A number is an integer of 64 bits in a sorted array, beside it stands the place of the contact; what is shown of
contacts is compressed, and what one has in common with others is there once. A sheet is never changed after it
was made: it is told which numbers have changed since, and of those it says nothing any more. Arrays and texts are no
business of Python's collector of garbage, however many they hold.
"""

from __future__ import annotations

import zlib
from array import array
from bisect import bisect_left, bisect_right

from bridge.shown import Compact


class _Digits(dict[int, str]):
    """Hexadecimal digits for the characters of a number, and what is none for any other."""

    def __missing__(self, _: int) -> str:
        return "-"


_DIGITS = _Digits((ord(character), f"{place:x}") for place, character in enumerate("#*+0123456789", 1))
_LENGTH = 16
"""Characters of the longest number that fits into an integer, E.164 with its plus among them."""
_TOGETHER, _LARGEST = 16, 8_192
"""Texts that are compressed as one, and their bytes, whichever is less. Twice as many of the usual ones take a sixth
less, and as all are unpacked for the sake of one, half as long again."""
_LONG = 65_536
"""Bytes of the longest text that is compressed: zlib takes about a millisecond for it, as little as it may try."""
_BETWEEN = b"\0"
_OVERHEAD, _ODD, _OBJECT = 3_000, 250, 50
"""Bytes that a sheet takes beside what it holds, a number that does not fit into an integer, and an object of bytes."""
_PROBES, _PROBED = 16_384, 250
"""How many texts are looked out for again, as contacts of one company come together, and the bytes that each takes, or
more if it is longer."""
_STALE = 120
"""Bytes that a number takes which has changed."""

_NOBODY = array("I")

Held = tuple[str, Compact]
"""The source of a contact, and what is shown of it."""


class _Texts:
    """Many texts, none with a NUL, by the places that they were given; a few at a time are compressed."""

    __slots__ = ("_ends", "_length", "_loose", "_pieces", "_places", "bytes")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._ends = array("I")
        """For each piece the place after that of its last text."""
        self._loose: list[bytes] = []
        self._length = 0
        self._places = 0
        self.bytes = 0

    def add(self, text: bytes) -> int:
        """Its place."""
        if len(self._loose) == _TOGETHER or (self._loose and self._length + len(text) > _LARGEST):
            self.pack()
        self._loose.append(text)
        self._length += len(text)
        self.bytes += len(text) + _OBJECT
        self._places += 1
        return self._places - 1

    def pack(self) -> None:
        """Compress what is not."""
        piece = _compressed(_BETWEEN.join(self._loose))
        self._pieces.append(piece)
        self._ends.append(self._places)
        self.bytes += len(piece) + _OBJECT - self._length - _OBJECT * len(self._loose)
        self._loose, self._length = [], 0

    def at(self, place: int) -> bytes:
        """One that is compressed."""
        piece = place // _TOGETHER
        if self._ends[piece] <= place:
            piece = bisect_right(self._ends, place, piece)  # pieces before it hold less, their texts being long
        return zlib.decompress(self._pieces[piece]).split(_BETWEEN)[place - self._ends[piece]]


class Sheet:
    """Every number of a tenant, as it was at one moment, but for the `stale` ones: they have changed since."""

    def __init__(self, made: Maker) -> None:
        self._made = made
        self.size = len(made.numbers)
        """How many numbers there are, one for each contact that has it."""
        self.stale = made.stale
        self.asked = 0.0
        """When it was last asked, by the clock of whoever holds it."""

    @property
    def bytes(self) -> int:
        """What it takes."""
        return self._made.bytes

    @property
    def grown(self) -> int:
        """By how much that has grown since it was made, for what is stale."""
        return _STALE * len(self.stale)

    def find(self, number: str, most: int) -> list[Held] | None:
        """The first `most` who have it by the rule, [] for nobody; None where that is not known any more."""
        if number in self.stale:
            return None
        made, packed = self._made, _packed(number)
        if packed is None:
            return [made.held(place) for place in made.odd.get(number, _NOBODY)[:most]]
        numbers, at = made.numbers, bisect_left(made.numbers, packed)
        found: list[Held] = []
        while at < len(numbers) and numbers[at] == packed and len(found) < most:
            found.append(made.held(made.places[at]))
            at += 1
        return found


class Maker:
    """Makes a sheet: first of all contacts, in the order of their keys, then of all numbers, in that of characters."""

    def __init__(self) -> None:
        self.numbers = array("Q")
        self.places = array("I")
        self.odd: dict[str, array[int]] = {}
        self.stale: set[str] = set()
        """Numbers that have changed since the moment of which the sheet will be."""
        self._sources: dict[str, int] = {}
        self._names: list[str] = []
        self._source_of = array("H")
        self._own, self._common, self._common_of = _Texts(), _Texts(), array("I")
        self._probed: dict[bytes, int] = {}
        self._probing = 0
        self._keys = array("q")
        self._odd = 0

    @property
    def bytes(self) -> int:
        """What it takes."""
        making = 8 * len(self._keys) + self._probing
        held = self._own.bytes + self._common.bytes + 6 * len(self._common_of) + 12 * len(self.numbers)
        return _OVERHEAD + held + _ODD * self._odd + making + _STALE * len(self.stale)

    def contact(self, key: int, source: str, contact: Compact) -> None:
        """The next contact; `key` is greater than that of the last one."""
        common = self._probed.get(contact.common)
        if common is None:
            if len(self._probed) == _PROBES:
                self._probed.clear()
                self._probing = 0
            self._probed[contact.common] = common = self._common.add(contact.common)
            self._probing += max(_PROBED, len(contact.common))
        if source not in self._sources:
            self._sources[source] = len(self._names)
            self._names.append(source)
        self._keys.append(key)
        self._source_of.append(self._sources[source])
        self._common_of.append(common)
        self._own.add(contact.own)

    def number(self, number: str, key: int) -> None:
        """The next number, which the contact with this key has; those who have the same one come as they rank."""
        place = bisect_left(self._keys, key)
        packed = _packed(number)
        if packed is None:
            self.odd.setdefault(number, array("I")).append(place)
            self._odd += 1
            return
        assert not self.numbers or self.numbers[-1] <= packed, "numbers out of order"
        self.numbers.append(packed)
        self.places.append(place)

    def sheet(self) -> Sheet:
        """What was made; nothing can be added to it."""
        self._probed, self._probing, self._keys = {}, 0, array("q")
        self._own.pack()
        self._common.pack()
        return Sheet(self)

    def held(self, place: int) -> Held:
        """The contact at a place."""
        shown = Compact(self._own.at(place), self._common.at(self._common_of[place]))
        return self._names[self._source_of[place]], shown


def _compressed(text: bytes) -> bytes:
    """In a form that zlib unpacks, made without keeping lookups waiting: the longer, the less is tried."""
    if len(text) <= _LARGEST:
        return zlib.compress(text)
    return zlib.compress(text, 1 if len(text) <= _LONG else 0)


def _packed(number: str) -> int | None:
    """The number as an integer in the order of its characters; None for what does not fit into one."""
    if len(number) > _LENGTH:
        return None
    try:
        return int(number.translate(_DIGITS).ljust(_LENGTH, "0"), 16)
    except ValueError:
        return None
