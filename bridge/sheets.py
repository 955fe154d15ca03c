"""One tenant's directory in memory: who has which number, in as few bytes as that takes. No I/O.

A number is an integer of 64 bits in a sorted array, beside it stands the place of the contact; what is shown of a
contact are slices of long texts, and what it has in common with others is there once. A sheet is never changed after it
was made: it is told which numbers have changed since, and of those it says nothing any more. Arrays and texts are no
business of Python's collector of garbage, however many they hold.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left

from bridge.shown import Compact


class _Digits(dict[int, str]):
    """Hexadecimal digits for the characters of a number, and what is none for any other."""

    def __missing__(self, _: int) -> str:
        return "-"


_DIGITS = _Digits((ord(character), f"{place:x}") for place, character in enumerate("#*+0123456789", 1))
_LENGTH = 16
"""Characters of the longest number that fits into an integer, E.164 with its plus among them."""
_PIECE = 4096
_OVERHEAD, _ODD = 3_000, 250
"""Bytes that a sheet takes beside what it holds, and a number that does not fit into an integer."""
_PROBED = 150
"""Bytes that a text takes while it is looked out for again."""

Held = tuple[str, Compact]
"""The source of a contact, and what is shown of it."""


class _Texts:
    """Many short texts in few objects, by the places that they were given."""

    __slots__ = ("_end", "_ends", "_loose", "_pieces")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._ends = array("I")
        self._loose: list[bytes] = []
        self._end = 0

    def add(self, text: bytes) -> int:
        """Its place."""
        if len(self._loose) == _PIECE:
            self._pieces.append(b"".join(self._loose))
            self._loose, self._end = [], 0
        self._loose.append(text)
        self._end += len(text)
        self._ends.append(self._end)
        return len(self._ends) - 1

    def at(self, place: int) -> bytes:
        piece, index = divmod(place, _PIECE)
        if piece == len(self._pieces):
            return self._loose[index]
        begin = self._ends[place - 1] if index else 0
        return self._pieces[piece][begin : self._ends[place]]


class Sheet:
    """Every number of a tenant, as it was at one moment, but for the `stale` ones: they have changed since."""

    def __init__(self, made: Maker) -> None:
        self._made = made
        self.bytes = made.bytes
        self.size = len(made.numbers)
        """How many numbers there are, one for each contact that has it."""
        self.stale = made.stale
        self.asked = 0.0
        """When it was last asked, by the clock of whoever holds it."""

    def find(self, number: str) -> list[Held] | None:
        """Who has it, in the order of the rule, [] for nobody; None where that is not known any more."""
        if number in self.stale:
            return None
        made, packed = self._made, _packed(number)
        if packed is None:
            return [made.held(place) for place in made.odd.get(number, ())]
        numbers, at = made.numbers, bisect_left(made.numbers, packed)
        found: list[Held] = []
        while at < len(numbers) and numbers[at] == packed:
            found.append(made.held(made.places[at]))
            at += 1
        return found


class Maker:
    """Makes a sheet: first of all contacts, in the order of their keys, then of all numbers, in that of characters."""

    def __init__(self) -> None:
        self.numbers = array("Q")
        self.places = array("I")
        self.odd: dict[str, array[int]] = {}
        self.bytes = _OVERHEAD
        self.stale: set[str] = set()
        """Numbers that have changed since the moment of which the sheet will be."""
        self._sources: dict[str, int] = {}
        self._names: list[str] = []
        self._source_of = array("H")
        self._own, self._common, self._common_of = _Texts(), _Texts(), array("I")
        self._probed: dict[bytes, int] = {}
        self._keys = array("q")

    def contact(self, key: int, source: str, contact: Compact) -> None:
        """The next contact; `key` is greater than that of the last one."""
        common = self._probed.get(contact.common)
        if common is None:
            self._probed[contact.common] = common = self._common.add(contact.common)
            self.bytes += len(contact.common) + _PROBED
        if source not in self._sources:
            self._sources[source] = len(self._names)
            self._names.append(source)
        self._keys.append(key)
        self._source_of.append(self._sources[source])
        self._common_of.append(common)
        self._own.add(contact.own)
        self.bytes += len(contact.own) + 18

    def number(self, number: str, key: int) -> None:
        """The next number, which the contact with this key has; those who have the same one come as they rank."""
        place = bisect_left(self._keys, key)
        packed = _packed(number)
        if packed is None:
            self.odd.setdefault(number, array("I")).append(place)
            self.bytes += _ODD
            return
        assert not self.numbers or self.numbers[-1] <= packed, "numbers out of order"
        self.numbers.append(packed)
        self.places.append(place)
        self.bytes += 12

    def sheet(self) -> Sheet:
        """What was made; nothing can be added to it."""
        self.bytes -= _PROBED * len(self._probed) + 8 * len(self._keys)
        self._probed, self._keys = {}, array("q")
        return Sheet(self)

    def held(self, place: int) -> Held:
        """The contact at a place."""
        shown = Compact(self._own.at(place), self._common.at(self._common_of[place]))
        return self._names[self._source_of[place]], shown


def _packed(number: str) -> int | None:
    """The number as an integer in the order of its characters; None for what does not fit into one."""
    if len(number) > _LENGTH:
        return None
    try:
        return int(number.translate(_DIGITS).ljust(_LENGTH, "0"), 16)
    except ValueError:
        return None
