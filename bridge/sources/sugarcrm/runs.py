"""A run over one site: complete, or by what changed since a cursor.

The cursor is {"said", "sure": seconds since 1970, "fields": {module: names}, "shows": whether deleted rows can be
asked for, "notes"}. `said` is the server's clock as the run began. `sure` is a time that the clock which stamps the
rows had certainly reached by then, if it does not agree with the one that the server shows: the newest stamp that was
met, plus what went by since, and never more than an hour behind. The next run begins there, less the overlap.
"""

from __future__ import annotations

import datetime
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from bridge import errors
from bridge.sources import Cursor, Page
from bridge.sources.sugarcrm import api, fields, listing, people

_ASKED_FOR = 500
"""Ids named in one question: they stand in its body, and in one condition of the database."""
_BEHIND = 3600.0
"""Seconds by which the two clocks may disagree: where nothing changed for a day, that is no sign of a clock."""
_DELETED: tuple[Mapping[str, Any], ...] = ({"deleted": {"$equals": 1}},)


class Stale(Exception):
    """The cursor's questions are not answered any more, or its time lies ahead: only a complete run tells."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to read: modules, how to read their rows, and seconds by which two runs overlap."""

    modules: Sequence[str]
    reader: people.Reader
    overlap: float


class Run:
    """One reading; used once."""

    def __init__(self, http: api.Api, plan: Plan) -> None:
        self._http = http
        self._plan = plan
        self._fields: dict[str, tuple[str, ...]] = {}
        self._masks = fields.Masks()
        self._office: dict[str, str] = {}
        self._said: float | None = None
        self._newest = float("-inf")

    async def everything(self) -> AsyncGenerator[Page]:
        """Every contact; the last page is complete."""
        schema = await fields.read(self._http, self._plan.modules, list(self._plan.reader.custom.values()))
        self._said = self._http.said
        self._fields, notes = dict(schema.fields), list(schema.notes)
        shows = await self._shows_deleted()
        await self._offices(notes)
        for module in self._plan.modules:
            if module not in self._fields:
                continue
            async with aclosing(self._whole(module, notes)) as pages:
                async for rows in pages:
                    yield self._page(module, rows)
        if not any(module in self._fields for module in self._plan.modules):
            raise errors.Denied(f"{self._http.host}: {'; '.join(notes)}")
        asked = {*self._plan.modules, fields.ACCOUNTS}
        yield Page(
            notes=(*notes, *self._masks.notes),
            cursor=self._cursor(shows=shows, notes=notes),
            complete=True,
            withheld=bool(asked - self._fields.keys() or self._masks.found),
        )

    async def changes(self, since: Cursor) -> AsyncGenerator[Page]:
        """What changed since; Stale where that cannot be told."""
        self._fields = {module: tuple(names) for module, names in since["fields"].items()}
        try:
            async with aclosing(self._changes(since)) as pages:
                async for page in pages:
                    yield page
        except (api.Refusal, api.Forbidden):
            raise Stale from None

    async def _changes(self, since: Cursor) -> AsyncGenerator[Page]:
        start = datetime.datetime.fromtimestamp(since["sure"] - self._plan.overlap, datetime.UTC)
        moved: list[str] = []
        if fields.ACCOUNTS in self._fields:
            async with aclosing(self._rows(fields.ACCOUNTS, start)) as pages:
                async for rows in pages:
                    ids = [row["id"] for row in rows]
                    moved += ids
                    self._office.update(dict.fromkeys(ids, ""))
                    self._keep_offices(rows)
        for module in self._plan.modules:
            if module not in self._fields:
                continue
            async with aclosing(self._rows(module, start)) as pages:
                async for rows in pages:
                    yield await self._looked_up(module, rows)
            if not since["shows"]:
                continue
            # After the live ones: what was deleted between the two is gone, and what came back comes again.
            deleted = listing.Query(module, ("deleted",), start, _DELETED, deleted=True)
            async with aclosing(self._listed(deleted)) as pages:
                async for rows in pages:
                    yield Page(removed=[row["id"] for row in rows if people.true(row.get("deleted"))])
        async with aclosing(self._of_accounts(dict.fromkeys(moved))) as found:
            async for page in found:
                yield page
        if self._said is not None and self._said + self._plan.overlap < since["said"]:
            raise Stale
        notes = since["notes"]
        cursor = self._cursor(since, shows=since["shows"], notes=notes)
        yield Page(notes=(*notes, *self._masks.notes), cursor=cursor)

    async def _of_accounts(self, moved: Iterable[str]) -> AsyncGenerator[Page]:
        """The people of accounts that changed: their own rows did not."""
        linked = [module for module in self._plan.modules if "account_id" in self._fields.get(module, ())]
        for ids in _sliced(moved):
            for module in linked:
                query = listing.Query(module, self._fields[module], filter=({"account_id": {"$in": ids}},))
                async with aclosing(self._listed(query)) as pages:
                    async for rows in pages:
                        yield await self._looked_up(module, rows)

    async def _offices(self, notes: list[str]) -> None:
        """The numbers of all accounts that have one."""
        if fields.OFFICE not in self._fields.get(fields.ACCOUNTS, ()):
            return
        async with aclosing(self._whole(fields.ACCOUNTS, notes)) as pages:
            async for rows in pages:
                self._keep_offices(rows)

    async def _whole(self, module: str, notes: list[str]) -> AsyncGenerator[Sequence[listing.Row]]:
        """All rows of a module; where the login may read none of it, that is noted, and the module left out."""
        begun = False
        try:
            async with aclosing(self._rows(module)) as pages:
                async for rows in pages:
                    begun = True
                    yield rows
        except api.Forbidden:
            if begun:
                raise
            del self._fields[module]
            notes.append(f"{module} may not be read: right is a role with access to it")

    async def _rows(self, module: str, since: datetime.datetime | None = None) -> AsyncGenerator[Sequence[listing.Row]]:
        async with aclosing(self._listed(listing.Query(module, self._fields[module], since))) as pages:
            async for rows in pages:
                yield rows

    async def _listed(self, query: listing.Query) -> AsyncGenerator[Sequence[listing.Row]]:
        """The rows of a query, their newest stamp and what they hide remembered."""
        async with aclosing(listing.pages(self._http, query)) as pages:
            async for rows in pages:
                self._clock()
                newest = listing.moment(rows[-1]["date_modified"])
                self._newest = max(self._newest, newest.timestamp() if newest else self._newest)
                for row in rows:
                    self._masks.see(query.module, row, query.fields)
                yield rows
        self._clock()

    def _clock(self) -> None:
        """Remember the server's time of the first answer."""
        if self._said is None:
            self._said = self._http.said

    async def _looked_up(self, module: str, rows: Sequence[listing.Row]) -> Page:
        """A page of a run that did not read all accounts."""
        known = self._fields.get(fields.ACCOUNTS, ())
        unknown = {people.text(row.get("account_id")) for row in rows} - self._office.keys() - {""}
        if unknown and fields.OFFICE in known:
            self._office.update(dict.fromkeys(unknown, ""))
            for ids in _sliced(sorted(unknown)):
                query = listing.Query(fields.ACCOUNTS, known, filter=({"id": {"$in": ids}},))
                async with aclosing(self._listed(query)) as pages:
                    async for accounts in pages:
                        self._keep_offices(accounts)
        return self._page(module, rows)

    def _keep_offices(self, rows: Sequence[listing.Row]) -> None:
        for row in rows:
            said = people.text(row.get(fields.OFFICE))
            if said or row["id"] in self._office:
                self._office[row["id"]] = said

    def _page(self, module: str, rows: Sequence[listing.Row]) -> Page:
        """The people of these rows; leads that became contacts are gone."""
        office, reader = self._office, self._plan.reader
        converted = [row["id"] for row in rows if people.true(row.get("converted"))]
        left = set(converted)
        return Page(
            records=[
                reader.record(module, row, office.get(people.text(row.get("account_id")), ""))
                for row in rows
                if row["id"] not in left
            ],
            removed=converted,
        )

    async def _shows_deleted(self) -> bool:
        """Whether deleted rows can be asked for, as far as that shows: releases differ."""
        module = next(module for module in self._plan.modules if module in self._fields)
        query = listing.Query(module, ("deleted",), filter=_DELETED, deleted=True)
        try:
            rows = await listing.some(self._http, query, 1)
        except (api.Refusal, api.Forbidden):
            return False
        return all(people.true(row.get("deleted")) for row in rows)

    def _cursor(self, since: Cursor | None = None, *, shows: bool, notes: Iterable[str]) -> Cursor:
        said = self._said if self._said is not None else self._http.said
        sure = max(self._newest, said - _BEHIND)
        if since is not None:
            sure = max(sure, since["sure"] + max(0.0, said - since["said"]))
        return {
            "said": said,
            "sure": min(said, sure),
            "fields": {module: list(names) for module, names in self._fields.items()},
            "shows": shows,
            "notes": list(notes),
        }


def _sliced(ids: Iterable[str]) -> Iterable[Sequence[str]]:
    every = list(ids)
    return (every[start : start + _ASKED_FOR] for start in range(0, len(every), _ASKED_FOR))
