"""A multistatus answer, read piece by piece: rows come out as their elements end. No I/O.

A document type, a wrong root element or a root that never ends make it no answer at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat

from bridge import client, errors

MOST_TEXT = 16 << 20
"""Characters of one property: more than any card should hold."""

_CARD = "urn:ietf:params:xml:ns:carddav "
_TEXTS = {
    "DAV: getetag": "etag",
    "DAV: displayname": "name",
    "DAV: sync-token": "token",
    "DAV: getcontenttype": "type",
    "http://calendarserver.org/ns/ getctag": "ctag",
    f"{_CARD}address-data": "data",
}
_HREFS = {"DAV: current-user-principal": "principals", f"{_CARD}addressbook-home-set": "homes"}
_ILLEGAL = bytes(sorted(set(range(32)) - set(b"\t\n\r")))


class Foreign(errors.Unavailable):
    """The answer is not WebDAV's."""


class Broken(errors.Unavailable):
    """The XML is not well-formed: something in one row may have spoilt it."""


@dataclass(slots=True)
class Row:
    """What a multistatus says of one resource; `status` is 0 where it gives properties instead."""

    href: str = ""
    status: int = 0
    etag: str = ""
    name: str = ""
    token: str = ""
    ctag: str = ""
    type: str = ""
    data: str = ""
    huge: bool = False
    kinds: set[str] = field(default_factory=set)
    reports: set[str] = field(default_factory=set)
    principals: list[str] = field(default_factory=list)
    homes: list[str] = field(default_factory=list)

    @property
    def book(self) -> bool:
        """It is an address book."""
        return "addressbook" in self.kinds

    @property
    def folder(self) -> bool:
        """It is a collection of some kind."""
        return "collection" in self.kinds or self.book


class Multistatus:
    """Reads one answer; `token` is the one that follows the rows."""

    def __init__(self, host: str) -> None:
        self.token = ""
        self._host = host
        self._path: list[str] = []
        self._row = Row()
        self._found: dict[str, Any] = {}
        self._status = 0
        self._text: list[str] | None = None
        self._size = 0
        self._rows: list[Row] = []
        self._parser = expat.ParserCreate(namespace_separator=" ")
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters
        self._parser.StartDoctypeDeclHandler = self._doctype

    def feed(self, chunk: bytes) -> list[Row]:
        """The rows that this piece completes; control characters that XML forbids are left out."""
        try:
            self._parser.Parse(chunk.translate(None, _ILLEGAL), False)
        except expat.ExpatError as fault:
            if not self._path:
                raise Foreign(f"{self._host} answers with something that is not WebDAV") from None
            raise Broken(f"{self._host} answers with XML that is not well-formed (line {fault.lineno})") from None
        rows, self._rows = self._rows, []
        return rows

    def close(self) -> None:
        """The answer ended; raises where its root element did not."""
        try:
            self._parser.Parse(b"", True)
        except expat.ExpatError:
            raise errors.Unavailable(f"{self._host} answers with XML that is cut short") from None

    def _doctype(self, *_: object) -> None:
        raise Foreign(f"{self._host} answers with something that is not WebDAV (a document type)")

    def _start(self, name: str, _: dict[str, str]) -> None:
        depth = len(self._path)
        if depth == 0 and name != "DAV: multistatus":
            raise Foreign(f"{self._host} answers with something that is not WebDAV ({name.split(' ')[-1][:40]})")
        parent = self._path[-1] if self._path else ""
        self._path.append(name)
        if depth == 1 and name == "DAV: response":
            self._row = Row()
        elif name == "DAV: propstat":
            self._found, self._status = {}, 0
        elif parent == "DAV: resourcetype":
            self._found.setdefault("kinds", set()).add(name.split(" ")[-1])
        elif parent == "DAV: report":
            self._found.setdefault("reports", set()).add(name.split(" ")[-1])
        elif name in _TEXTS or name in ("DAV: href", "DAV: status"):
            self._text, self._size = [], 0

    def _characters(self, text: str) -> None:
        if self._text is None:
            return
        self._size += len(text)
        if self._size <= MOST_TEXT:
            self._text.append(text)

    def _end(self, name: str) -> None:
        self._path.pop()
        parent = self._path[-1] if self._path else ""
        if self._text is not None:
            text = "".join(self._text).strip() if self._size <= MOST_TEXT else ""
            self._text = None
            self._take(name, parent, text)
        if name == "DAV: propstat" and (self._status == 0 or 200 <= self._status < 300):
            for attribute, value in self._found.items():
                setattr(self._row, attribute, value)
        elif name == "DAV: response" and len(self._path) == 1:
            self._rows.append(self._row)

    def _take(self, name: str, parent: str, text: str) -> None:
        if name == "DAV: href" and parent == "DAV: response":
            self._row.href = self._row.href or text
        elif name == "DAV: href" and parent in _HREFS:
            self._found.setdefault(_HREFS[parent], []).append(text)
        elif name == "DAV: status" and parent == "DAV: response":
            self._row.status = _status(text)
        elif name == "DAV: status" and parent == "DAV: propstat":
            self._status = _status(text)
        elif name == "DAV: sync-token" and len(self._path) == 1:
            self.token = text
        elif parent == "DAV: prop" and name in _TEXTS:
            self._found[_TEXTS[name]] = text
            self._found["huge"] = self._found.get("huge", False) or self._size > MOST_TEXT


def _status(text: str) -> int:
    words = text.split()
    return int(words[1]) if len(words) > 1 and words[1].isdigit() else 0


async def rows(spool: client.Spool, document: Multistatus) -> AsyncGenerator[Row]:
    """The rows of a spooled answer, to its very end; others get their turn between the pieces."""
    for chunk in spool.chunks():
        for row in document.feed(chunk):
            yield row
        await asyncio.sleep(0)
    document.close()
