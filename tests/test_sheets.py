"""Sheets of contacts with long texts, and what a sheet says that it takes. See test_nearby.py for the rest."""

from __future__ import annotations

import random
import string
import zlib
from collections.abc import Sequence

import pytest

from bridge import sheets
from bridge.sheets import Maker, Sheet
from bridge.shown import Compact

PIECE = 8_192


def words(size: int, seed: int) -> bytes:
    """A text that cannot be compressed to nothing."""
    return "".join(random.Random(seed).choices(string.ascii_lowercase + " ", k=size)).encode()


def made(contacts: Sequence[Compact]) -> Sheet:
    """A sheet in which each has the number of its place."""
    maker = Maker()
    for key, contact in enumerate(contacts):
        maker.contact(key, "crm", contact)
    for key in range(len(contacts)):
        maker.number(number(key), key)
    return maker.sheet()


def number(place: int) -> str:
    return f"+352{621000000 + place}"


@pytest.fixture
def unpacked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The size of each text that was unpacked."""
    sizes: list[int] = []

    def decompress(piece: bytes) -> bytes:
        text = zlib.decompress(piece)
        sizes.append(len(text))
        return text

    monkeypatch.setattr(sheets, "zlib", type("", (), {"compress": zlib.compress, "decompress": decompress}))
    return sizes


@pytest.mark.parametrize("size", [100, 300, 1_000, 8_191, 8_192, 8_193, 10_000, 70_000])
def test_of_long_texts_none_is_unpacked_for_the_sake_of_another(size: int, unpacked: list[int]) -> None:
    contacts = [Compact(words(size, n), words(size, n % 7)) for n in range(64)]
    sheet = made(contacts)
    assert [sheet.find(number(n), 1) for n in range(64)] == [[("crm", one)] for one in contacts]
    assert len(unpacked) == 2 * 64
    assert max(unpacked) <= max(size, PIECE + 32)


def test_texts_of_all_sizes_among_each_other_are_each_found(unpacked: list[int]) -> None:
    sizes = random.Random(1).choices((0, 1, 20, 300, 3_000, 10_000), (9, 9, 90, 20, 4, 4), k=3_000)
    contacts = [Compact(words(size, n), words(sizes[-n], n)) for n, size in enumerate(sizes)]
    sheet = made(contacts)
    assert [sheet.find(number(n), 1) for n in range(3_000)] == [[("crm", one)] for one in contacts]
    assert max(unpacked) <= 10_000
    held = sum(len(one.own) + len(one.common) for one in contacts)
    assert sheet.bytes < held


def test_long_texts_that_are_looked_out_for_again_are_counted() -> None:
    maker = Maker()
    for n in range(100):
        maker.contact(n, "crm", Compact(b"Ann", b"%d" % n * 10_000))
    assert maker.bytes > 1_000_000
    assert maker.sheet().bytes < 100_000


def test_what_is_stale_is_counted_while_a_sheet_is_made_and_then() -> None:
    maker = Maker()
    before = maker.bytes
    maker.stale.update(map(number, range(100)))
    assert 8_000 < maker.bytes - before < 20_000
    sheet = maker.sheet()
    before = sheet.bytes
    sheet.stale.update(map(number, range(200)))
    assert 8_000 < sheet.bytes - before == sheet.grown // 2
