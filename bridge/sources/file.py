"""A file of contacts, in any of `bridge.formats`: read again, whole, whenever it has changed."""

from __future__ import annotations

import asyncio
import contextlib
import stat
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from io import FileIO
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from bridge import errors, formats
from bridge.contact import Record
from bridge.formats import apart as reading
from bridge.formats.apart import Part
from bridge.sources import Cursor, Known, Lacking, Page, Unreadable

if TYPE_CHECKING:
    from bridge import keys

PAGE = 1000
_PIECE = 1 << 18
_LARGE = 8 << 20
"""Bytes beyond which a process of its own reads the file, while what it has read is normalised and stored."""


def open(name: str, keys: keys.File) -> File:
    """The source `name`; the file is not touched before the first call."""
    return File(keys.path, keys.format, keys.fields)


class File:
    """Reads one file. The cursor tells which state of it was read, so that an unchanged file is not opened."""

    def __init__(self, path: Path, format: str, fields: formats.Fields = formats.NO_FIELDS) -> None:
        self._path = path
        self._format = format
        self._fields = fields

    async def check(self) -> str:
        """Read it through, and say how much is in it."""
        return await asyncio.to_thread(self._count)

    async def read(self, since: Cursor | None, known: Known) -> AsyncIterator[Page]:
        """Everything, or one empty page where the file is as the cursor says."""
        before = await asyncio.to_thread(self._state)
        if since is not None and dict(since) == before:
            yield Page(cursor=before)
            return
        lacking = Lacking(self._fields)
        async with contextlib.aclosing(self._parts(apart=int(before["size"]) > _LARGE)) as parts:
            async for part in parts:
                lacking.look(part.records)
                yield Page(
                    records=part.records,
                    unreadable=[Unreadable(one.id, one.reason) for one in part.unreadable],
                )
        if await asyncio.to_thread(self._state) != before:
            raise errors.Unavailable(f"{self._path} was changed while it was read: the next run reads it again")
        yield Page(notes=lacking.notes(), cursor=before, complete=True)

    async def _parts(self, *, apart: bool) -> AsyncGenerator[Part, None]:
        if apart:
            file = await asyncio.to_thread(self._open)
            with file:
                async with contextlib.aclosing(self._apart(file)) as parts:
                    async for part in parts:
                        yield part
            return
        items = formats.read(self._pieces(), self._format, self._path.name, self._fields)
        # In a thread: a text book is grouped at its end, and a disk may be slow; the loop goes on meanwhile.
        while some := await asyncio.to_thread(lambda: list(islice(items, PAGE))):
            yield reading.part(some)

    def _apart(self, file: FileIO) -> AsyncGenerator[Part, None]:
        return reading.read(file, self._format, self._path.name, PAGE, self._fields)

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

    def _open(self) -> FileIO:
        self._state()
        try:
            return self._path.open("rb", buffering=0)
        except OSError as wrong:
            raise self._unavailable(wrong) from None

    def _pieces(self) -> Iterator[bytes]:
        with self._open() as file:
            try:
                while piece := file.read(_PIECE):
                    yield piece
            except OSError as wrong:
                raise self._unavailable(wrong) from None

    def _unavailable(self, wrong: OSError) -> errors.Unavailable:
        return errors.Unavailable(f"{self._path} cannot be read: {(wrong.strerror or 'input/output error').lower()}")
