"""A file of contacts, in any of `bridge.formats`: read again, whole, whenever it has changed."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from bridge import errors, formats
from bridge.contact import Record
from bridge.sources import Cursor, Known, Page, Unreadable

if TYPE_CHECKING:
    from bridge import keys

PAGE = 1000
_PIECE = 1 << 18


def open(name: str, keys: keys.File) -> File:
    """The source `name`; the file is not touched before the first call."""
    return File(keys.path, keys.format)


class File:
    """Reads one file. The cursor tells which state of it was read, so that an unchanged file is not opened."""

    def __init__(self, path: Path, format: str) -> None:
        self._path = path
        self._format = format

    async def check(self) -> str:
        """Read it through, and say how much is in it."""
        return await asyncio.to_thread(self._count)

    async def read(self, since: Cursor | None, known: Known) -> AsyncIterator[Page]:
        """Everything, or one empty page where the file is as the cursor says."""
        before = await asyncio.to_thread(self._state)
        if since is not None and dict(since) == before:
            yield Page(cursor=before)
            return
        items = formats.read(self._pieces(), self._format, self._path.name)
        # In a thread: a text book is grouped at its end, and a disk may be slow; the loop goes on meanwhile.
        while some := await asyncio.to_thread(lambda: list(islice(items, PAGE))):
            yield _page(some)
        if await asyncio.to_thread(self._state) != before:
            raise errors.Unavailable(f"{self._path} was changed while it was read: the next run reads it again")
        yield Page(cursor=before, complete=True)

    async def close(self) -> None:
        """Nothing is held between calls."""

    def _count(self) -> str:
        format = self._format
        if format == "auto":
            head = next(self._pieces(), b"")
            format = formats.detect(head, self._path.name) if head.strip() else "empty"
        contacts = unreadable = 0
        for item in formats.read(self._pieces(), self._format, self._path.name):
            if isinstance(item, Record):
                contacts += 1
            else:
                unreadable += 1
        said = f"{contacts:,} contacts in {self._path.name} ({format})"
        return f"{said}, {unreadable:,} could not be read" if unreadable else said

    def _state(self) -> dict[str, int | str]:
        """What tells this state of the file from another, and how it is read."""
        try:
            found = self._path.stat()
        except OSError as wrong:
            raise self._unavailable(wrong) from None
        if not stat.S_ISREG(found.st_mode):
            raise errors.Unavailable(f"{self._path} is {'a directory' if stat.S_ISDIR(found.st_mode) else 'no file'}")
        return {
            "inode": found.st_ino,
            "size": found.st_size,
            "mtime_ns": found.st_mtime_ns,
            "format": self._format,
        }

    def _pieces(self) -> Iterator[bytes]:
        self._state()
        try:
            with self._path.open("rb", buffering=0) as file:
                while piece := file.read(_PIECE):
                    yield piece
        except OSError as wrong:
            raise self._unavailable(wrong) from None

    def _unavailable(self, wrong: OSError) -> errors.Unavailable:
        return errors.Unavailable(f"{self._path} cannot be read: {(wrong.strerror or 'input/output error').lower()}")


def _page(items: list[Record | formats.Unreadable]) -> Page:
    return Page(
        records=[item for item in items if isinstance(item, Record)],
        unreadable=[Unreadable(item.id, item.reason) for item in items if not isinstance(item, Record)],
    )
