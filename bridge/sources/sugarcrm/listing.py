"""Lists of a module, read to their end in windows: offsets into a set that moves would pass over rows.

Rows come sorted by their last change. Each page begins at the time that the one before ended with, so what changes
meanwhile moves to the end and is met there; rows of one second that fill a page are told apart by their ids.
"""

from __future__ import annotations

import datetime
import itertools
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bridge import client, errors
from bridge.sources.sugarcrm import api

PAGE, LEAST = 1000, 40
"""Rows asked for at a time, of which a site may give fewer; and at the least, where many are too much for it."""
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Query:
    """Which rows of a module: `filter` beside the window, changed at or after `since`, `deleted` ones."""

    module: str
    fields: Sequence[str]
    since: datetime.datetime | None = None
    filter: tuple[Mapping[str, Any], ...] = ()
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class _Answer:
    rows: Sequence[Row]
    stamps: Sequence[datetime.datetime]
    more: bool


async def pages(http: api.Api, query: Query) -> AsyncGenerator[Sequence[Row]]:
    """Every row, some perhaps twice where they changed meanwhile; ends by the server's word alone, or raises."""
    start, after, size = query.since, "", PAGE
    seen: set[str] = set()
    """Ids that came with the very time at which the window begins."""
    while True:
        try:
            answer = await _page(http, query, start, after, size)
        except client.TooMuch:
            if size <= LEAST:
                raise
            size //= 5
            continue
        fresh = [
            row
            for row, stamp in zip(answer.rows, answer.stamps, strict=True)
            if stamp != start or row["id"] not in seen
        ]
        if fresh:
            yield fresh
        if not answer.more or not answer.rows:
            return
        last = answer.stamps[-1]
        if start is None or last > start:
            seen = {row["id"] for row, stamp in zip(answer.rows, answer.stamps, strict=True) if stamp == last}
            start, after = last, ""
        elif not fresh and after:
            raise errors.Unavailable(f"{http.host} lists the same {query.module} again and again")
        else:
            seen.update(row["id"] for row in answer.rows)
            after = answer.rows[-1]["id"]


async def some(http: api.Api, query: Query, most: int) -> Sequence[Row]:
    """The first rows, at most so many."""
    return (await _page(http, query, query.since, "", most)).rows


def moment(text: Any) -> datetime.datetime | None:
    """A time as Sugar writes it, in UTC; None for what is none."""
    try:
        found = datetime.datetime.fromisoformat(text)
        return found.astimezone(datetime.UTC) if found.tzinfo else found.replace(tzinfo=datetime.UTC)
    except (TypeError, ValueError, OverflowError):
        return None


def spelled(when: datetime.datetime) -> str:
    """A time as Sugar takes it, with its offset."""
    return when.astimezone(datetime.UTC).isoformat(timespec="seconds")


async def _page(http: api.Api, query: Query, start: datetime.datetime | None, after: str, most: int) -> _Answer:
    asked: dict[str, Any] = {
        "filter": [*query.filter, *_window(start, after)],
        "fields": ",".join(dict.fromkeys(("id", "date_modified", *query.fields))),
        "order_by": "date_modified:ASC,id:ASC",
        "max_num": most,
        "offset": 0,
    }
    if query.deleted:
        asked["deleted"] = True
    told = await http.ask("POST", f"{query.module}/filter", asked, repeat=True)
    rows, following = told.get("records"), told.get("next_offset")
    if not isinstance(rows, list) or not isinstance(following, int):
        raise errors.Unavailable(f"{http.host} answers {query.module} without records and next_offset")
    stamps = [_stamp(http, query.module, row) for row in rows]
    if any(later < earlier for earlier, later in itertools.pairwise(stamps)):
        raise errors.Unavailable(f"{http.host} does not sort {query.module} by date_modified as it is asked to")
    return _Answer(rows, stamps, following != -1)


def _window(start: datetime.datetime | None, after: str) -> list[Mapping[str, Any]]:
    if start is None:
        return []
    stamp = spelled(start)
    window: list[Mapping[str, Any]] = [{"date_modified": {"$gte": stamp}}]
    if after:
        window.append({"$or": [{"date_modified": {"$gt": stamp}}, {"id": {"$gt": after}}]})
    return window


def _stamp(http: api.Api, module: str, row: Any) -> datetime.datetime:
    found = moment(row.get("date_modified")) if isinstance(row, dict) else None
    if found is None or not isinstance(row.get("id"), str) or not row["id"]:
        raise errors.Unavailable(f"{http.host} lists {module} without id or date_modified")
    return found
