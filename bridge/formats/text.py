"""Mixvoip's text, one number a line: `number:name` and up to three tags, `number:name:tag:tag`.

Lines of one name are one contact, wherever in the file they stand: helpers sort by number as well as by name. So the
lines are held until the end, packed as they are (a million in some 40 MB), and taken apart in groups.
"""

from __future__ import annotations

import re
import tempfile
import zlib
from collections.abc import Iterable, Iterator

from bridge import errors
from bridge.contact import Contact, RawNumber, Record
from bridge.formats import NO_FIELDS, Fields, Unreadable, name_id, stream
from bridge.numbers import Dialling

MAX_BOOK = 512 << 20
"""Bytes of a book that are held; twenty million lines are no phone book."""

_GROUP = 2 << 20
_TAGS = 3
"""Tags of a line at the most: phones of Mixvoip's show no more."""
_NUMBER = re.compile(r"(?=.{0,63}?[\d*#])[\d*#+()./\s-]{1,64}")


def read(chunks: Iterable[bytes], _fields: Fields = NO_FIELDS) -> Iterator[Record | Unreadable]:
    """One contact a name, its numbers in the order of the file; Unavailable where no line is any."""
    held: list[bytes] = []
    size = bad = at = 0
    for block in stream.blocks(chunks):
        good = bytearray()
        for line in block[:-1].split(b"\n"):
            at += 1
            if reason := _wrong(line):
                bad += 1
                yield Unreadable(f"line {at}", reason)
            elif line.strip():
                good += line + b"\n"
        held.append(bytes(good))
        size += len(good)
        if size > MAX_BOOK:
            raise errors.Unavailable(f"more than {MAX_BOOK >> 20} MB of lines: this is no phone book")
    if bad and not size:
        raise errors.Unavailable("no line of it is number:name: this is no phone book")
    for group in _groups(held, 1 + size // _GROUP):
        yield from _contacts(group)


def _wrong(line: bytes) -> str:
    """What keeps the line from being read, if anything; a blank line is nothing."""
    number, colon, rest = line.partition(b":")
    if not colon:
        return "it is not number:name" if number.strip() else ""
    if not _NUMBER.fullmatch(stream.decode(number).strip()):
        return "what stands before the colon is no number"
    return "" if rest.partition(b":")[0].strip() else "there is no name behind the number"


def _groups(held: list[bytes], count: int) -> Iterator[bytes]:
    """The lines in so many parts, all lines of a name in the same one; `held` is used up."""
    if count == 1:
        yield b"".join(held)
        return
    parts = [bytearray() for _ in range(count)]
    held.reverse()
    while held:
        for line in held.pop()[:-1].split(b"\n"):
            if line:
                parts[zlib.crc32(_name(line).encode()) % count] += line + b"\n"
    parts.reverse()
    while parts:
        yield bytes(parts.pop())


def _name(line: bytes) -> str:
    return stream.one_line(stream.decode(line).split(":", 2)[1])


def _contacts(lines: bytes) -> Iterator[Record]:
    found: dict[str, tuple[dict[str, None], dict[str, None]]] = {}
    for line in lines.split(b"\n")[:-1]:
        number, name, *tags = stream.decode(line).split(":")
        numbers, labels = found.setdefault(stream.one_line(name), ({}, {}))
        numbers[number.strip()] = None
        labels.update((label, None) for tag in tags if (label := stream.one_line(tag)))
    for name, (numbers, labels) in found.items():
        yield Record(id=name_id(name), display_name=name, numbers=tuple(map(RawNumber, numbers)), tags=tuple(labels))


def write(contacts: Iterable[Contact], dialling: Dialling) -> Iterator[bytes]:
    """One line a number and no number twice; the tags are the company and the contact's own, three at the most.

    Of several contacts the first has it whose own number it is, else the first whose company's.
    """
    given: set[str] = set()
    with tempfile.SpooledTemporaryFile(max_size=1 << 20) as of_companies:
        for contact in contacts:
            name = _field(contact.name)
            if not name:
                continue
            tags = dict.fromkeys(tag for tag in map(_field, (contact.company, *contact.tags)) if tag and tag != name)
            line = ":".join([name, *list(tags)[:_TAGS]])
            for number in contact.numbers:
                shown = dialling.spell(number.key) if number.key else ""
                if not shown or shown in given:
                    continue
                if number.company:
                    of_companies.write(f"{shown}:{line}\n".encode())
                else:
                    given.add(shown)
                    yield f"{shown}:{line}\n".encode()
        of_companies.seek(0)
        for told in of_companies:
            shown = told.split(b":", 1)[0].decode()
            if shown not in given:
                given.add(shown)
                yield told


def _field(text: str) -> str:
    """No colon, no line break, no double blank: the format has no escape."""
    return " ".join(stream.one_line(text.replace(":", " ")).split())
