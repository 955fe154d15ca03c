"""A run over the objects of one login: everything, or what changed since the last one.

The cursor is {"at": the server's time when the run's first call began, "chosen": {object: `schema.Chosen` as JSON},
"deleted": {object: up to when its log of deletions is read}, "accounts": {those touched of late, whose contacts were
read since: the stamp that they had}, "notes": what is hidden}.
"""

from __future__ import annotations

import datetime
import urllib.parse
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing

from bridge import client, errors
from bridge.sources import Cursor, Page
from bridge.sources.salesforce import answers, bulk, reading, records, schema, soql
from bridge.sources.salesforce.calls import Calls
from bridge.sources.salesforce.reading import Ask, Rows, Stale

MOST = 50_000
"""Changed rows of one object beyond which everything is read again: Bulk does that in fewer calls."""
MOST_ACCOUNTS = 10_000
"""Changed accounts beyond which everything is read again, for the same reason."""
MOST_TOLD = 1_000
"""Accounts touched of late that are remembered from one run to the next."""
MOST_UNSEEN = 3_000
"""Deleted records, each to be asked for whether it came back, beyond which everything is read again."""

_MINUTE = datetime.timedelta(minutes=1)


class Run:
    """One run; `fields` are the extra ones (title → field), objects of more than `bulk_from` rows go by Bulk."""

    def __init__(self, calls: Calls, fields: Mapping[str, str], bulk_from: int) -> None:
        self._calls = calls
        self._fields = fields
        self._bulk_from = bulk_from
        self._chosen: dict[str, schema.Chosen] = {}
        self._notes: list[str] = []
        self._withheld = False
        self._deleted: dict[str, str] = {}
        self._told: dict[str, str] = {}

    async def everything(self, tables: Sequence[schema.Table]) -> AsyncGenerator[Page]:
        """Every object from its description on; the last page is complete."""
        describer = schema.Describer(self._calls)
        for table in tables:
            chosen = await describer.choose(table, self._fields)
            if chosen is not None:
                self._chosen[table.name] = chosen
        self._notes += describer.notes
        self._withheld = bool(describer.notes)
        if not self._chosen:
            session = await self._calls.session()
            raise errors.Denied(
                f"{session.host}: the login may read none of {', '.join(table.name for table in tables)}: "
                "right is a permission set with read access to them"
            )
        for name in list(self._chosen):
            async with aclosing(self._whole(name)) as pages:
                async for page in pages:
                    yield page
            self._deleted[name] = _minute(self._calls.now()).isoformat()
        yield self._last(complete=True, withheld=self._withheld)

    async def changes(self, tables: Sequence[schema.Table], since: Cursor, overlap: float) -> AsyncGenerator[Page]:
        """What changed since the cursor; Stale where that cannot be told."""
        low = self._load(tables, since) - datetime.timedelta(seconds=overlap)
        try:
            async with aclosing(self._since(low)) as pages:
                async for page in pages:
                    yield page
        except answers.Rejected as no:
            if no.code != "INVALID_TYPE":
                raise
            raise Stale from None
        yield self._last(complete=False)

    async def _since(self, low: datetime.datetime) -> AsyncGenerator[Page]:
        """What was touched of each object, and then the contacts of accounts that were."""
        accounts: dict[str, str] = {}
        for name in list(self._chosen):
            async with aclosing(self._changed(name, low, accounts)) as pages:
                async for page in pages:
                    yield page
        async with aclosing(self._renamed(low, accounts)) as pages:
            async for page in pages:
                yield page

    def _load(self, tables: Sequence[schema.Table], since: Cursor) -> datetime.datetime:
        """Take up what the cursor says."""
        try:
            self._notes = list(since["notes"])
            self._told = dict(since["accounts"])
            self._deleted = dict(since["deleted"])
            known = since["chosen"]
            self._chosen = {each.name: schema.load(each, known[each.name]) for each in tables if each.name in known}
            for chosen in self._chosen.values():
                soql.moment(self._deleted[chosen.table.name])
            return soql.moment(since["at"])
        except (KeyError, TypeError, ValueError):
            raise Stale from None

    def _last(self, *, complete: bool, withheld: bool = False) -> Page:
        cursor = {
            "at": self._calls.now().isoformat(),
            "chosen": {name: chosen.dump() for name, chosen in self._chosen.items()},
            "deleted": self._deleted,
            "accounts": self._told,
            "notes": self._notes,
        }
        return Page(cursor=cursor, complete=complete, notes=self._notes, withheld=withheld)

    def _note(self, sentence: str) -> None:
        if sentence not in self._notes:
            self._notes.append(sentence)

    async def _whole(self, name: str) -> AsyncGenerator[Page]:
        """All contacts of one object, by Bulk where they are many and it takes them."""
        if await self._many(name):
            try:
                async with aclosing(self._tolerant(name, bulk.rows)) as pages:
                    async for page in pages:
                        yield page
                return
            except bulk.Unfit as unfit:
                self._note(f"{name} is read by REST, for Bulk does not take it ({unfit.code or unfit})")
        async with aclosing(self._tolerant(name, reading.rows)) as pages:
            async for page in pages:
                yield page

    async def _many(self, name: str) -> bool:
        """Whether there are more rows than REST is to read; what takes too long to count has."""
        try:
            return await self._calls.count(name, self._chosen[name].condition()) > self._bulk_from
        except client.TooMuch:
            return True

    async def _tolerant(self, name: str, way: Callable[[Calls, Ask], Rows]) -> AsyncGenerator[Page]:
        """All contacts of one object by that way, begun again without a column that turns out to be hidden."""
        while True:
            chosen = self._chosen[name]
            ask = Ask(name, chosen.columns, chosen.condition())
            try:
                async with aclosing(self._read(chosen, way(self._calls, ask), None)) as pages:
                    async for page in pages:
                        yield page
                return
            except answers.Rejected as no:
                self._leave_out(chosen, no)

    def _leave_out(self, chosen: schema.Chosen, no: answers.Rejected) -> None:
        """Go on without the columns that the question was refused for, if that is why it was refused."""
        gone = schema.hidden(chosen, no)
        if not gone:
            raise no
        self._note(schema.hidden_note(chosen.table.name, gone))
        self._withheld = True
        self._chosen[chosen.table.name] = chosen.without(gone)

    async def _read(
        self, chosen: schema.Chosen, rows: Rows, gone: dict[str, None] | None, seen: dict[str, str] | None = None
    ) -> AsyncGenerator[Page]:
        """Rows as pages; those that do not count go to `gone` and are removed, all of them to `seen`."""
        session = await self._calls.session()
        reader = records.Reader(chosen, session.page)
        async with aclosing(rows):
            async for page in rows:
                live = [row for row in page if reader.counts(row)]
                removed: list[str] = []
                if gone is not None and len(live) < len(page):
                    removed = [row[0] for row in page if not reader.counts(row)]
                    gone.update(dict.fromkeys(removed))
                if seen is not None:
                    seen.update((row[0], row[1]) for row in page)
                yield Page(records=[reader.read(row) for row in live], removed=removed)

    async def _changed(self, name: str, low: datetime.datetime, accounts: dict[str, str]) -> AsyncGenerator[Page]:
        """What changed of one object, the recycle bin included, and what was deleted for good."""
        gone: dict[str, None] = {}
        while True:
            chosen = self._chosen[name]
            ask = Ask(name, chosen.columns, since=low, deleted=chosen.table.log, most=MOST)
            seen = accounts if name == "Account" else None
            try:
                async with aclosing(self._read(chosen, reading.rows(self._calls, ask), gone, seen)) as pages:
                    async for page in pages:
                        yield page
                break
            except answers.Rejected as no:
                self._leave_out(chosen, no)
        if chosen.table.log:
            async for removed in self._purged(name, gone):
                yield Page(removed=removed)

    async def _purged(self, name: str, gone: Mapping[str, None]) -> AsyncGenerator[Sequence[str]]:
        """What the log of deletions names and no page did, and is not there again; the log counts in minutes."""
        start, end = soql.moment(self._deleted[name]), _minute(self._calls.now())
        if end - start < _MINUTE:
            return
        ids, covered = await self._log(name, start, end)
        self._deleted[name] = max(start, covered).isoformat()
        unseen = [id for id in ids if id not in gone]
        if len(unseen) > MOST_UNSEEN:
            raise Stale
        for some in soql.portions(unseen, soql.select(("Id",), name)):
            found = await self._calls.find(soql.select(("Id",), name, soql.among("Id", some)))
            back = {row.get("Id") for row in found}
            if lost := [id for id in some if id not in back]:
                yield lost

    async def _log(
        self, name: str, start: datetime.datetime, end: datetime.datetime
    ) -> tuple[list[str], datetime.datetime]:
        """The ids deleted between, and up to when that is said; Stale where the log does not reach back so far."""
        window = "&".join(
            f"{key}={urllib.parse.quote(moment.isoformat(), safe='')}"
            for key, moment in (("start", start), ("end", end))
        )
        try:
            said = await self._calls.get(f"sobjects/{name}/deleted/?{window}")
        except answers.Rejected as no:
            if no.code in ("INVALID_REPLICATION_DATE", "EXCEEDED_ID_LIMIT"):
                raise Stale from None
            # What is deleted for good is then found by the full runs.
            self._note(f"the login may not read which records of {name} were deleted ({no.code or no.status})")
            return [], end
        try:
            ids = [soql.full_id(one["id"]) for one in said["deletedRecords"]]
            first, covered = (soql.moment(said[key]) for key in ("earliestDateAvailable", "latestDateCovered"))
        except (KeyError, TypeError, ValueError):
            raise await self._calls.odd("a question for deletions") from None
        if first > start:
            raise Stale
        return [id for id in ids if id], covered

    async def _renamed(self, low: datetime.datetime, accounts: dict[str, str]) -> AsyncGenerator[Page]:
        """The contacts of accounts that changed: a contact does not move when its account is called otherwise."""
        chosen = self._chosen.get("Contact")
        if chosen is None or not any(name.startswith("Account.") for name in chosen.columns):
            return
        if "Account" not in self._chosen:
            ask = Ask("Account", ("Id", "SystemModstamp"), since=low, deleted=True, most=MOST_ACCOUNTS)
            async with aclosing(reading.rows(self._calls, ask)) as touched:
                async for rows in touched:
                    accounts.update((row[0], row[1]) for row in rows)
        if len(accounts) > MOST_ACCOUNTS:
            raise Stale
        # The overlap shows each of them again for a while.
        fresh = [id for id, stamp in accounts.items() if self._told.get(id) != stamp]
        for some in soql.portions(fresh, soql.select(chosen.columns, "Contact")):
            ask = Ask("Contact", chosen.columns, soql.among("AccountId", some), deleted=True)
            async with aclosing(self._read(chosen, reading.rows(self._calls, ask), {})) as pages:
                async for page in pages:
                    yield page
        # One that is touched again in the second in which it was read would bear the same stamp.
        ended = {id: stamp for id, stamp in accounts.items() if soql.moment(stamp) < self._calls.now()}
        self._told = ended if len(ended) <= MOST_TOLD else {}


def _minute(moment: datetime.datetime) -> datetime.datetime:
    return moment.replace(second=0, microsecond=0)
