"""A run over the modules of one CRM: complete, or by what changed.

The cursor is {"since": the server's time before the first question of the run, as it spells it; "companies": the
accounts changed lately, with the time of their change, whose contacts were read since; "from": where there were too
many of those, the time before which all were}.
"""

from __future__ import annotations

import datetime
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from bridge import errors
from bridge.sources import Cursor, Page
from bridge.sources.suitecrm import entries, listing, mapping, service

AT_ONCE = 200
"""Records read by their ids in one call."""
MOST_CHANGED = 200
"""Accounts changed since the last run beyond which everything is read again: it takes fewer calls."""
MOST_COMPANIES = 50_000
"""Accounts remembered within a run."""


class Stale(Exception):
    """What changed cannot be told from this cursor, or only by more calls than a complete run takes."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How one module is read: the fields asked for, those that it lacks, and what makes records of them."""

    module: str
    fields: Sequence[str]
    lacks: Sequence[str]
    reader: mapping.Reader

    @property
    def note(self) -> str:
        """A sentence about what is left out; "" where nothing is."""
        what = "fields" if len(self.lacks) > 1 else "field"
        return f"{self.module} has no {what} {', '.join(self.lacks)}: left out" if self.lacks else ""


class Runs:
    """Reads the given modules; `custom` maps titles to fields, `overlap` is seconds that deltas reach back."""

    def __init__(
        self, asked: service.Service, modules: Sequence[str], custom: Mapping[str, str], overlap: float
    ) -> None:
        self._overlap = datetime.timedelta(seconds=overlap)
        self._service = asked
        self._modules = modules
        self._custom = custom
        self._layouts: dict[str, Layout] = {}
        self._companies: dict[str, mapping.Company] | None = {}
        self._size = listing.Size()
        self._mixed = False

    async def everything(self) -> AsyncGenerator[Page]:
        """Every record that this login sees."""
        began = await self._service.now()
        self.begin(afresh=True)
        cursor = {"since": service.spell(began)}
        try:
            companies = _settled(await self._changed_companies(service.spell(began - self._overlap)), began)
        except Stale:
            companies, cursor["from"] = {}, service.spell(began)
        for module in self._modules:
            layout = await self.layout(module)
            async with aclosing(self._listing(layout.module, layout.fields).pages()) as pages:
                async for rows in pages:
                    yield await self._page(layout, [row for row in rows if not mapping.gone(row)])
        withheld = self._companies is None
        yield Page(notes=self._notes(), cursor={**cursor, "companies": companies}, complete=True, withheld=withheld)

    async def changes(self, since: Cursor) -> AsyncGenerator[Page]:
        """What changed since that cursor, contacts of changed accounts among it; Stale where it cannot tell."""
        began = await self._service.now()
        known = service.stamp(str(since.get("since", "")))
        if known is None or known > began:
            raise Stale
        self.begin(afresh=False)
        start = service.spell(known - self._overlap)
        companies = await self._changed_companies(max(start, since.get("from", "")))
        read: set[str] = set()
        for module in self._modules:
            layout = await self.layout(module)
            async with aclosing(self._changed(module, layout.fields, start).pages()) as pages:
                async for rows in pages:
                    removed = [row["id"] for row in rows if mapping.gone(row)]
                    page = await self._page(layout, [row for row in rows if not mapping.gone(row)])
                    yield Page(records=page.records, removed=removed)
                    read.update(row["id"] for row in rows)
        done = since.get("companies", {})
        renamed = [account for account, changed in companies.items() if done.get(account) != changed]
        async with aclosing(self._colleagues(renamed, read)) as pages:
            async for page in pages:
                yield page
        cursor = {**since, "since": service.spell(began), "companies": _settled(companies, began)}
        yield Page(notes=self._notes(), cursor=cursor)

    async def _colleagues(self, accounts: Iterable[str], read: set[str]) -> AsyncGenerator[Page]:
        """The contacts of these accounts, those `read` before left out."""
        ids: dict[str, None] = {}
        for account in accounts:
            ids.update(dict.fromkeys(each for each in await self._people(account) if each not in read))
        for some in _sliced(list(ids)):
            layout = await self.layout("Contacts")
            rows = await self._by_id(layout.module, layout.fields, some)
            page = await self._page(layout, rows)
            yield Page(records=page.records, removed=sorted(set(some) - {row["id"] for row in rows}))

    async def layout(self, module: str) -> Layout:
        """How a module is read, by the fields that it has; asked once, and anew by a complete run."""
        layout = self._layouts.get(module)
        if layout is None:
            # What is asked for and is not there is left out without a word, so the words are ours.
            fields = list(dict.fromkeys((*mapping.wanted(module), *self._custom.values())))
            layout = self._layouts[module] = Layout(
                module,
                fields,
                mapping.missing(module, await fields_of(self._service, module, fields), self._custom),
                mapping.Reader(self._service.url, module, self._custom),
            )
        return layout

    async def sees(self, module: str) -> int:
        """How many records of a module this login sees."""
        return await self._listing(module, ["id"]).total()

    def begin(self, *, afresh: bool) -> None:
        """A run begins; `afresh`: nothing said before is relied on."""
        if afresh:
            self._layouts.clear()
        self._companies = {}
        self._size = listing.Size()
        self._mixed = False

    def _notes(self) -> Sequence[str]:
        notes = [note for module in self._modules if (note := self._layouts[module].note)]
        if self._companies is None:
            notes.append("Accounts may not be read: companies have no numbers, and renamed ones are seen at full runs")
        return notes

    def _listing(self, module: str, fields: Sequence[str], condition: str = "") -> listing.Listing:
        return listing.Listing(self._service, module, fields, condition, size=self._size)

    def _changed(self, module: str, fields: Sequence[str], start: str) -> listing.Listing:
        condition = f"{module.lower()}.date_modified >= {listing.quote(start)}"
        return listing.Listing(self._service, module, fields, condition, deleted=True, size=self._size)

    async def _page(self, layout: Layout, rows: Sequence[entries.Row]) -> Page:
        """The records of these rows, with what is known of their companies."""
        companies = await self._employers(rows) if layout.module == "Contacts" else {}
        return Page(records=[layout.reader.record(row, companies) for row in rows])

    async def _employers(self, rows: Sequence[entries.Row]) -> Mapping[str, mapping.Company]:
        """The accounts that these contacts belong to, by id; none where accounts may not be read."""
        if self._companies is None:
            return {}
        if len(self._companies) > MOST_COMPANIES:
            self._companies.clear()
        held = self._companies
        unknown = {row["account_id"] for row in rows if "account_id" in row} - held.keys()
        fields = ["id", "name", *mapping.COMPANY_NUMBERS]
        try:
            for ids in _sliced(sorted(unknown)):
                rows = await self._by_id(mapping.COMPANIES, fields, ids)
                held.update((row["id"], mapping.company(row)) for row in rows)
        except (service.NoAccess, service.NoModule):
            self._companies = None
            return {}
        return held

    async def _changed_companies(self, start: str) -> Mapping[str, str]:
        """The accounts that changed, and when; their contacts may show something else now."""
        if "Contacts" not in self._modules:
            return {}
        found: dict[str, str] = {}
        fields = ["id", "date_modified", "deleted"]
        try:
            async with aclosing(self._changed(mapping.COMPANIES, fields, start).pages()) as pages:
                async for rows in pages:
                    found |= {row["id"]: row.get("date_modified", "") for row in rows if not mapping.gone(row)}
                    if len(found) > MOST_CHANGED:
                        raise Stale
        except (service.NoAccess, service.NoModule):
            self._companies = None
        return found

    async def _people(self, account: str) -> Sequence[str]:
        """The ids of an account's contacts; none where the account is listed, and not for this login to open."""
        arguments = {
            "module_name": mapping.COMPANIES,
            "module_id": account,
            "link_field_name": "contacts",
            "related_module_query": "",
            "related_fields": ["id"],
            "related_module_link_name_to_fields_array": [],
            "deleted": 0,
        }
        try:
            answer = await self._service.ask("get_relationships", arguments)
        except service.NoAccess:
            return []
        return [row["id"] for row in entries.read(answer, f"{self._service.host}: an account's contacts").rows]

    async def _by_id(self, module: str, fields: Sequence[str], ids: Sequence[str]) -> Sequence[entries.Row]:
        """Those of the records that are there and may be seen."""
        if not self._mixed:
            arguments = {
                "module_name": module,
                "ids": list(ids),
                "select_fields": list(fields),
                "link_name_to_fields_array": [],
            }
            what = f"{self._service.host}: a list of {module}"
            try:
                listed = entries.read(await self._service.ask("get_entries", arguments), what)
            except service.NoAccess:
                # One that may not be seen spoils the answer for all; a list leaves it out.
                self._mixed = True
            else:
                if listed.count != len(ids):
                    raise errors.Unavailable(f"{what} by {len(ids)} ids is answered with {listed.count}")
                return listed.rows
        condition = f"{module.lower()}.id IN ({', '.join(map(listing.quote, ids))})"
        rows: list[entries.Row] = []
        async with aclosing(self._listing(module, fields, condition).pages()) as pages:
            async for page in pages:
                rows += page
        return rows


async def fields_of(asked: service.Service, module: str, names: Sequence[str]) -> Mapping[str, object]:
    """Those of the fields that a module has."""
    arguments = {"module_name": module, "fields": list(names)}
    match asked.document("get_module_fields", await asked.ask("get_module_fields", arguments)):
        case {"module_fields": dict() as found}:
            return found
        case {"module_fields": []}:
            return {}
    raise errors.Unavailable(f"{asked.host} does not say which fields {module} has")


def _settled(companies: Mapping[str, str], began: datetime.datetime) -> Mapping[str, str]:
    """Those that a later change will show another time of: one in the second that a run began in may not."""
    before = service.spell(began)
    return {account: changed for account, changed in companies.items() if changed < before}


def _sliced(ids: Sequence[str]) -> Iterable[Sequence[str]]:
    return (ids[start : start + AT_ONCE] for start in range(0, len(ids), AT_ONCE))
