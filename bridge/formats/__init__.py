"""The contract of a format: how a phone book is spelled in a file or in an answer.

Each format is a module that offers

    def read(chunks: Iterable[bytes], fields: Fields) -> Iterator[Record | Unreadable]
    def write(contacts: Iterable[Contact], dialling: Dialling) -> Iterator[bytes]

(`sessioncloud` two of each: `read_json`, `write_xml` …). It holds a chunk and one contact at a time, never the book;
only `text`, whose contacts are spread over lines, holds its lines. Formats know nothing of each other: what they share
is here and in `stream`. What `fields` names are a vCard's properties, a CSV's columns, the keys or elements of
SessionCloud; text has no names.
"""

from __future__ import annotations

import hashlib
import importlib
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from bridge import errors
from bridge.contact import Contact, Record
from bridge.formats import stream
from bridge.numbers import AS_KEPT, Dialling

Format = Literal["json", "xml", "text", "csv", "vcard"]
FORMATS: tuple[Format, ...] = get_args(Format)

_MODULES = {
    "json": ("sessioncloud", "_json"),
    "xml": ("sessioncloud", "_xml"),
    "text": ("text", ""),
    "csv": ("csv", ""),
    "vcard": ("vcard", ""),
}
_PIECE = 1 << 16

Fields = Mapping[str, str]
"""Fields beside those that we know, to be a contact's custom ones: titles, each with the name that the format has."""
NO_FIELDS: Fields = {}


@dataclass(frozen=True, slots=True)
class Unreadable:
    """One line, object or card that could not be read; `id` is its own where it shows one, else its place."""

    id: str
    reason: str


class Ids:
    """Ids for the contacts of one input; it remembers no more than eleven to twenty-two bytes each."""

    def __init__(self) -> None:
        self._marks = array("q", bytes(8 << 10))  # a hash table with a place in four free; 0 is free
        self._count = 0
        self._repeats: dict[str, int] = {}

    def take(self, own: str) -> bool:
        """Whether a contact may have the id that it brought: false where one before it did."""
        mark = hash(own) or 1
        place = self._place(mark)
        if self._marks[place]:
            return False
        self._marks[place] = mark
        self._count += 1
        if self._count * 4 > len(self._marks) * 3:
            marks, self._marks = self._marks, array("q", bytes(16 * len(self._marks)))
            for one in filter(None, marks):
                self._marks[self._place(one)] = one
        return True

    def _place(self, mark: int) -> int:
        """Where the mark stands, or the free place for it."""
        marks, last = self._marks, len(self._marks) - 1
        at = mark & last
        while (found := marks[at]) and found != mark:
            at = (at + 1) & last
        return at

    def make(self, *parts: str) -> str:
        """The `name_id`, with an ordinal behind it where it came before."""
        stem = name_id(*parts)
        if self.take(stem):
            return stem
        self._repeats[stem] = ordinal = self._repeats.get(stem, 1) + 1
        return f"{stem}-{ordinal}"


def name_id(*parts: str) -> str:
    """An id from what a contact is called, where it brings none; the same in every run."""
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=12).hexdigest()


def detect(head: bytes, name: str = "") -> Format:
    """The format of what begins with `head`; a file's name only decides where the content does not.

    Raises Unavailable where it is none that we read.
    """
    return stream.sniff(stream.open([head])[0], name)


def read(
    chunks: Iterable[bytes], format: str = "auto", name: str = "", fields: Fields = NO_FIELDS
) -> Iterator[Record | Unreadable]:
    """Every contact in the chunks, however they are cut; a bad line, object or card loses only itself.

    Raises Unavailable, possibly after contacts were yielded, where the whole cannot be trusted: cut short, another
    format, an HTML page, no text. Nothing but white space yields nothing. `name`, a file's, is a hint for "auto".
    """
    head, rest = stream.open(chunks)
    if not head:
        return
    kind = stream.sniff(head, name) if format == "auto" else format
    yield from _function(kind, "read")(rest, fields)


def write(contacts: Iterable[Contact], format: str, dialling: Dialling = AS_KEPT) -> Iterator[bytes]:
    """The contacts as a phone book, in pieces of about 64 kB, their numbers spelled as `dialling` says."""
    held = bytearray()
    for piece in _function(format, "write")(contacts, dialling):
        held += piece
        if len(held) >= _PIECE:
            yield bytes(held)
            held.clear()
    if held:
        yield bytes(held)


def shown_id(contact: Contact) -> str:
    """An id for the world outside: always the same for the same contact, and none of the CRM's own."""
    return hashlib.blake2b(f"{contact.source}\0{contact.id}".encode(), digest_size=12).hexdigest()


def _function(format: str, verb: str) -> Any:
    if format not in _MODULES:
        raise errors.Unsupported(f"there is no format {format!r}: it is one of {', '.join(FORMATS)}")
    module, suffix = _MODULES[format]
    return getattr(importlib.import_module(f"bridge.formats.{module}"), verb + suffix)
