"""A source that says what the test tells it, page by page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from bridge import errors
from bridge.contact import Kind, RawNumber, Record
from bridge.sources import Cursor, Known, Page


def record(id: str, name: str = "", *numbers: str | RawNumber, kind: Kind = "work", **more: Any) -> Record:
    """A record with a display name and numbers of one kind; a number may be a RawNumber."""
    raws = tuple(n if isinstance(n, RawNumber) else RawNumber(n, kind) for n in numbers)
    first, _, last = name.partition(" ")
    return Record(id=id, first_name=first, last_name=last, display_name=name, numbers=raws, **more)


class Listed:
    """Reads `pages`, or `records` as one complete page; `fail` is raised before the last page."""

    def __init__(self, *records: Record) -> None:
        self.records: list[Record] = list(records)
        self.pages: Sequence[Page] | None = None
        self.fail: errors.BridgeError | None = None
        self.asked: list[Cursor | None] = []

    async def check(self) -> str:
        return f"{len(self.records)} contacts"

    async def read(self, since: Cursor | None, known: Known) -> AsyncIterator[Page]:
        self.asked.append(since)
        if self.pages is not None:
            for page in self.pages:
                yield page
        else:
            yield Page(records=self.records)
        if self.fail:
            raise self.fail
        if self.pages is None:
            yield Page(cursor={"n": len(self.asked)}, complete=True)

    async def close(self) -> None:
        return None
