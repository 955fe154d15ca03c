"""Queries over REST, read to their end: page by page, and on from the last row where a cursor or its time ran out."""

from __future__ import annotations

import datetime
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from bridge import client, errors
from bridge.sources.salesforce import answers, soql
from bridge.sources.salesforce.calls import Calls

Rows = AsyncGenerator[list[list[str]]]
"""Pages of rows, each with a text a column; nothing is ""."""

STUCK = 6
"""Times that a query may be cut in pieces, or begun again, without a row read in between."""
PIECE, LEAST = 2000, 100
"""Rows of one query, where one for all of them takes too long: at first, and at the least."""

_LOCATOR = ("INVALID_QUERY_LOCATOR", "INVALID_QUERY_CURSOR")
_SECOND = datetime.timedelta(seconds=1)


class Stale(Exception):
    """The changes since the cursor cannot be told, or not for less than everything costs."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What to read: all rows by Id, or those stamped from `since` on by their stamps.

    `columns` begin with Id and SystemModstamp; `deleted`: rows in the recycle bin too; more than `most`: Stale.
    """

    table: str
    columns: Sequence[str]
    where: str = ""
    since: datetime.datetime | None = None
    deleted: bool = False
    most: int = 0


@dataclass(slots=True)
class _Place:
    """How far a reading has come: behind the row (`stamp`, `id`), towards `until`, `limit` rows at a time."""

    since: datetime.datetime | None
    stamp: str = ""
    id: str = ""
    until: datetime.datetime | None = None
    limit: int = 0
    got: int = 0

    def statement(self, ask: Ask) -> str:
        """The query for what is left."""
        return soql.select(ask.columns, ask.table, self.where(ask), self._order(), self.limit)

    def where(self, ask: Ask) -> str:
        """The condition of what is left."""
        parts = [ask.where, self._from(), f"SystemModstamp < {soql.time(self.until)}" if self.until else ""]
        return " AND ".join(part for part in parts if part)

    def _order(self) -> str:
        return "SystemModstamp, Id" if self.since else "Id"

    def _from(self) -> str:
        if self.since is None:
            return f"Id > {soql.text(self.id)}" if self.id else ""
        if not self.id:
            return f"SystemModstamp >= {soql.time(self.since)}"
        stamp = soql.time(soql.moment(self.stamp))
        return f"((SystemModstamp = {stamp} AND Id > {soql.text(self.id)}) OR SystemModstamp > {stamp})"

    def advance(self, rows: Sequence[Sequence[str]]) -> None:
        """These rows are read."""
        if rows:
            self.id, self.stamp = rows[-1][:2]
            self.got += len(rows)

    def shorten(self, now: datetime.datetime) -> bool:
        """Ask for less: half of the time that is left, or of the rows at a time; False where that is at its end."""
        if self.since is not None:
            low = soql.moment(self.stamp) if self.stamp else self.since
            high = self.until or max(now, low) + 2 * _SECOND
            if high - low > 2 * _SECOND:
                self.until = (low + (high - low) / 2).replace(microsecond=0) + _SECOND
                return True
        if self.limit and self.limit <= LEAST:
            return False
        self.limit = self.limit // 2 or PIECE
        return True

    def ended(self) -> bool:
        """The query is read to its end: whether that is the end of all, else what is left is the next query."""
        if self.limit and self.got >= self.limit:
            return False
        if self.until is not None:
            self.since, self.until, self.id, self.stamp = self.until, None, "", ""
            return False
        return True


async def rows(calls: Calls, ask: Ask) -> Rows:
    """All rows, or an error; a row that changes meanwhile may come twice."""
    place, stuck = _Place(ask.since), 0
    while True:
        place.got = 0
        try:
            async with aclosing(_cursor(calls, ask, place)) as pages:
                async for page in pages:
                    stuck = 0
                    yield page
        except (answers.Rejected, client.TooMuch) as no:
            stuck += 1
            slow = isinstance(no, client.TooMuch) or no.code == "QUERY_TIMEOUT"
            if not (slow or no.code in _LOCATOR) or stuck > STUCK or (slow and not place.shorten(calls.now())):
                raise
            continue
        stuck = 0
        if place.ended():
            return


async def _cursor(calls: Calls, ask: Ask, place: _Place) -> Rows:
    """One query, page by page; pages are as large as the server likes."""
    where = place.where(ask)
    found = await calls.query(place.statement(ask), deleted=ask.deleted)
    total = await calls.total(found)
    if ask.most and total > ask.most:
        raise Stale
    while True:
        page = [_row(record, ask.columns) for record in await calls.records(found)]
        if not all(row[0] and (ask.since is None or _stamped(row)) for row in page):
            raise await calls.odd("a query")
        place.advance(page)
        if page:
            yield page
        if found.get("done") is True:
            break
        found = await calls.get(await calls.following(found))
    if place.got < total and not ask.deleted and place.got < await calls.count(ask.table, where):
        # Fewer than it found, and they are still there: a page was lost on the way.
        raise errors.Unavailable(f"a query of {ask.table} ended before all of its rows were read")


def _stamped(row: Sequence[str]) -> bool:
    try:
        soql.moment(row[1])
    except ValueError:
        return False
    return True


def _row(record: Mapping[str, Any], columns: Sequence[str]) -> list[str]:
    return [_text(record.get(column) if "." not in column else _deep(record, column)) for column in columns]


def _deep(record: Mapping[str, Any], column: str) -> Any:
    """A parent's field; a parent that is not there is null."""
    value: Any = record
    for part in column.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _text(value: Any) -> str:
    """A value as Bulk writes it, so that a record is the same by either way."""
    match value:
        case str():
            return value.replace("\0", "") if "\0" in value else value
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
    return ""
