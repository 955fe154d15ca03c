"""vCard 2.1, 3.0 and 4.0, as address books really write it: files of many cards, and one card at a time."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from bridge import errors
from bridge.contact import Record
from bridge.formats import NO_FIELDS, Fields, Ids, Unreadable, stream
from bridge.formats.vcard import card
from bridge.formats.vcard.lines import USUAL, Heads, Lines, Properties, quick
from bridge.formats.vcard.write import write

__all__ = ["read", "read_one", "write"]

_BEGIN = "BEGIN:VCARD\n"
_END = "\nEND:VCARD\n"
_LARGE = 1 << 18


class _Wanted(NamedTuple):
    """What the admin wants of cards beside what we know: `titles` pairs a title with a property's name, upper case."""

    heads: Heads
    titles: tuple[tuple[str, str], ...]


@functools.lru_cache(64)
def _remembered(fields: tuple[tuple[str, str], ...]) -> _Wanted:
    titles = tuple((title, name.upper()) for title, name in fields)
    return _Wanted(Heads(name for _, name in titles), titles)


def _wanted(fields: Fields) -> _Wanted:
    return _remembered(tuple(fields.items())) if fields else _USUAL


_USUAL = _Wanted(USUAL, ())


def read(chunks: Iterable[bytes], fields: Fields = NO_FIELDS) -> Iterator[Record | Unreadable]:
    """Every card's contact, but of groups; Unavailable where the last card has no end, or there is no card.

    The id is the card's UID. Without one, or with one that came before, it is made of name and company.
    """
    ids = Ids()
    wanted = _wanted(fields)

    def choose(own: str, name: str, company: str) -> str:
        return own if own and ids.take(own) else ids.make(name, company)

    reader = Lines(wanted.heads)
    place = junk = 0
    for properties in _cards(chunks, reader, wanted.heads):
        if properties is None:
            junk += 1
            if junk == 1:
                yield Unreadable(f"after card {place}", "there is text outside of the cards")
            continue
        place, junk = place + 1, 0
        try:
            found = card.record(properties, choose, "", wanted.titles)
        except ValueError as wrong:
            yield Unreadable(card.uid(properties.single.get("UID", "")) or f"card {place}", str(wrong))
            continue
        if found:
            yield found
    if not place and not reader.lists:
        raise errors.Unavailable("there is no vCard in it: none begins with BEGIN:VCARD")
    if junk:
        raise errors.Unavailable("behind the last vCard there is other text, an error perhaps: cards may be missing")


def read_one(data: bytes, id: str, version: str = "", fields: Fields = NO_FIELDS) -> Record | None:
    """The contact of one resource, its first card that is no group; None where there are only groups.

    Raises ValueError where it is no card, or one that says nothing of anybody. A missing end is forgiven.
    """
    text = stream.unix(stream.clean(data)).removeprefix(b"\xef\xbb\xbf").strip() + b"\n"
    wanted = _wanted(fields)
    reader = Lines(wanted.heads)
    groups = 0
    for properties in _resource(text, reader, wanted.heads):
        if properties is None:
            continue
        found = card.record(properties, lambda *_: id, version, wanted.titles)
        if found:
            return found
        groups += 1
    if not groups and not reader.lists:
        raise ValueError("it is no vCard: it does not begin with BEGIN:VCARD")
    return None


def _resource(data: bytes, reader: Lines, heads: Heads) -> Iterator[Properties | None]:
    if data.startswith(_BEGIN.encode()) and data.endswith(_END.encode()):
        yield from _portion(data[: -len(_END)], reader, heads)
    else:
        yield from reader.feed(data)
    yield from reader.finish()


def _cards(chunks: Iterable[bytes], reader: Lines, heads: Heads) -> Iterator[Properties | None]:
    """Each card's properties, None for text outside of cards. A card that becomes large is read as it comes."""
    end = _END.encode()
    held: list[bytes] = []
    size = 0
    for block in stream.blocks(chunks):
        held.append(block)
        size += len(block)
        data = b""
        if end[1:] in block:
            data = b"".join(held)
            cut = data.rfind(end)
            if cut >= 0:
                yield from _portion(data[:cut], reader, heads)
                held = [data[cut + len(end) :]]
                size = len(held[0])
        if size > _LARGE:
            yield from reader.feed(b"".join(held))
            held, size = [], 0
    if size:
        yield from reader.feed(b"".join(held))
    yield from (rest for rest in reader.finish() if rest is None)
    if not reader.idle:
        raise errors.Unavailable("the vCards end inside a card: the rest is missing")


def _portion(data: bytes, reader: Lines, heads: Heads) -> Iterator[Properties | None]:
    """The cards in whole cards' bytes that lack but the last END."""
    pieces: list[str] | list[bytes]
    try:
        pieces = data.decode().split(_END)
    except UnicodeDecodeError:
        pieces = data.split(_END.encode())
    for piece in pieces:
        found = _quick(piece, heads) if reader.idle else None
        if found is not None:
            yield found
        else:
            raw = piece.encode() if isinstance(piece, str) else piece
            yield from reader.feed(raw + _END.encode())


def _quick(piece: str | bytes, heads: Heads) -> Properties | None:
    if isinstance(piece, bytes):
        try:
            piece = piece.decode()
        except UnicodeDecodeError:
            return None
    piece = piece.lstrip("\n")
    return quick(piece[len(_BEGIN) :], heads) if piece.startswith(_BEGIN) else None
