"""What a caller of a CardDAV source keeps, in memory, and small cards to fill books with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from bridge import keys
from bridge.contact import Record
from bridge.demo.dav import Book
from bridge.sources import Cursor, Source, Unreadable, Versions, carddav


def card(name: str, number: str = "+49 30 123456", *more: str, uid: str = "") -> str:
    """A small vCard; `uid` is its name where none is given."""
    head = ("BEGIN:VCARD", "VERSION:3.0", f"UID:{uid or name}", f"FN:{name}", f"TEL;TYPE=work:{number}")
    return "\r\n".join([*head, *more, "END:VCARD", ""])


def filled(count: int = 5, path: str = "/dav/alice/book/", name: str = "Book") -> Book:
    """A stand-in's book with cards `0.vcf` and so on, named as the book with a number."""
    book = Book(path, name)
    for number in range(count):
        book.put(f"{number}.vcf", card(f"{name} {number}"))
    return book


@asynccontextmanager
async def opened(url: str, **more: object) -> AsyncIterator[Source]:
    """A source of these keys, closed again."""
    given = {"url": url, "timeout": "5s", **more}
    source = carddav.open("book", keys.CardDav.model_validate(given))
    try:
        yield source
    finally:
        await source.close()


@dataclass
class Mirror:
    """Applies pages as `bridge.sources.Page` says, and nothing of a run that does not end."""

    records: dict[str, Record] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    unreadable: dict[str, Unreadable] = field(default_factory=dict)
    cursor: Cursor | None = None
    complete: bool = False
    read: int = 0

    async def known(self, listed: Versions) -> set[str]:
        """Those of the listed that are held at that very version."""
        return {identity for identity, version in listed if self.versions.get(identity) == version}

    async def run(self, source: Source, *, full: bool = False) -> Mirror:
        """One run, by the cursor of the last one or full."""
        after = Mirror(dict(self.records), dict(self.versions))
        named: set[str] = set()
        spared: tuple[str, ...] = ()
        async for page in source.read(None if full else self.cursor, self.known):
            assert after.cursor is None, "a page after the last one"
            for identity in page.removed:
                after.records.pop(identity, None)
                after.versions.pop(identity, None)
            for record in page.records:
                after.records[record.id], after.versions[record.id] = record, record.version
            for bad in page.unreadable:
                after.unreadable[bad.id], after.versions[bad.id] = bad, bad.version or self.versions.get(bad.id, "")
            named |= {record.id for record in page.records} | {bad.id for bad in page.unreadable} | set(page.kept)
            after.read += len(page.records)
            spared += tuple(page.spared)
            after.cursor, after.complete = page.cursor, page.complete
        assert after.cursor is not None
        if after.complete:
            after.records = {
                identity: record
                for identity, record in after.records.items()
                if identity in named or identity.startswith(spared)
            }
        self.__dict__.update(after.__dict__)
        return self

    @property
    def names(self) -> list[str]:
        """The display names held."""
        return sorted(record.display_name for record in self.records.values())
