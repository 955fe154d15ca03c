"""Contacts on their way to Mixvoip's lines: in memory while they are few, in temporary files where they are many.

A number that several have goes to a person before a company, then to whom the CRM changed last, then to the first.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterable
from typing import IO

from bridge import errors, formats, normalise
from bridge.contact import Contact, Number
from bridge.forgotten import Forgotten
from bridge.sources import Page

MOST = 2_000_000
"""Numbers that are taken in; more are no phone book, and no PBX takes them."""
_IN_MEMORY = 1 << 20
_ROWS = 2000

_TABLE = """
pragma journal_mode = off;
pragma synchronous = off;
create table line (n integer primary key, id text, number text, company integer, modified real, name text, firm text);
create index line_id on line (id);
"""
_BEST = """
select number, name, firm from (
    select *, row_number() over (
        partition by number order by company, modified desc nulls last, n
    ) as place from line
) where place = 1 order by number
"""


class Lines:
    """The whole answer, to be read by anybody from any place in it; `count` lines."""

    def __init__(self) -> None:
        self.size = self.count = 0
        self._file = _spool()

    def add(self, piece: bytes) -> None:
        """Some lines more."""
        self.size += self._file.write(piece)
        self.count += piece.count(b"\n")

    def piece(self, at: int, size: int = 1 << 16) -> bytes:
        """So many bytes from there on."""
        self._file.seek(at)
        return self._file.read(size)

    def close(self) -> None:
        """Nothing is left of it."""
        self._file.close()


class Gathering:
    """What the pages of a full run say, the later one counting; used by one thread at a time."""

    def __init__(self, region: str, internal_digits: int, forgotten: Forgotten) -> None:
        self._region = region
        self._digits = internal_digits
        self._forgotten = forgotten
        self._count = 0
        # A database without a name is SQLite's own: in its cache, and in a file that nobody can open beyond that.
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._db.executescript(_TABLE)

    def add(self, page: Page) -> None:
        """Take in one page."""
        self._db.execute("begin")
        self._drop(record.id for record in page.records)
        self._drop(page.removed)
        rows: list[tuple[object, ...]] = []
        for record in page.records:
            contact = normalise.normalise(record, "pbxsync", self._region, self._digits)
            if not contact.name.strip(": ") or self._forgotten.keeps_out(contact):
                continue
            modified = record.modified.timestamp() if record.modified else None
            rows += (
                (record.id, one.key, one.company, modified, contact.name, contact.company)
                for one in contact.numbers
                if one.key
            )
        self._db.executemany(
            "insert into line (id, number, company, modified, name, firm) values (?, ?, ?, ?, ?, ?)", rows
        )
        self._db.execute("commit")
        self._count += len(rows)
        if self._count > MOST:
            raise errors.Unavailable(f"more than {MOST} numbers: this is no phone book")

    def write(self, lines: Lines) -> None:
        """All of it, one line a number."""
        rows = self._db.execute(_BEST)
        while some := rows.fetchmany(_ROWS):
            for piece in formats.write(map(_contact, some), "text"):
                lines.add(piece)

    def close(self) -> None:
        """Nothing is left of it."""
        self._db.close()

    def _drop(self, ids: Iterable[str]) -> None:
        self._db.executemany("delete from line where id = ?", ((id,) for id in ids))


def _spool() -> IO[bytes]:
    return tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)


def _contact(row: tuple[str, str, str]) -> Contact:
    number, name, firm = row
    return Contact("pbxsync", "", display_name=name, company=firm, numbers=(Number(number, "other", number),))
