"""Pages of records on their way into the database: what is unchanged is noted, the rest normalised and staged.

The staging tables are temporary and belong to the run's own connection: a run that fails leaves nothing.
Memory is bounded by a page.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence

import msgspec

from bridge import normalise, store
from bridge.contact import Contact, Record, checksum, digest, dump, names_sum
from bridge.forgotten import Forgotten
from bridge.sources import Page, Versions
from bridge.store import Connection

SQL = store.queries("staging")
_STAGED = ("n", "id", "version", "digest", "checksum", "names", "named", "callable", "modified", "body", "odd")
_NUMBER = ("n", "number", "kind", "company")
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


class Staging:
    """The staged pages of one run of (tenant, source); `empty`: it holds nothing yet.

    `read` counts what the source listed so far, `odd_numbers` the numbers that are none, `spared` are beginnings of
    ids that stay though they are not listed. An id is held with blanks for what the database takes in no text.
    """

    def __init__(
        self,
        session: Connection,
        tenant: str,
        source: str,
        *,
        region: str,
        internal_digits: int,
        rules: bytes,
        empty: bool,
        forgotten: Forgotten,
    ) -> None:
        self._session = session
        self._key = (tenant, source)
        self._region = region
        self._digits = internal_digits
        self._rules = rules
        self._empty = empty
        self._forgotten = forgotten
        self._n = 0
        # A source asks what is known while the page before is being staged, and a connection does one thing at a time.
        self._turn = asyncio.Lock()
        self.read = 0
        self.odd_numbers = 0
        self.spared: list[str] = []

    async def prepare(self) -> None:
        """Make the staging tables, or empty them."""
        await self._session.execute(SQL["stage"])

    async def known(self, listed: Versions) -> set[str]:
        """Of listed (id, version) pairs the ids that need no reading (`sources.Known`)."""
        if not listed:
            return set()
        ids, versions = [_plain(id) for id, _ in listed], [version for _, version in listed]
        async with self._turn:
            rows = await self._session.fetch(SQL["known"], *self._key, ids, versions)
        self.read += len(rows)
        held = {row["id"] for row in rows}
        return {id for id, _ in listed if _plain(id) in held}

    async def add(self, page: Page) -> None:
        """Stage one page."""
        async with self._turn:
            await self._add(page)

    async def _add(self, page: Page) -> None:
        self.spared += map(_plain, page.spared)
        if page.records:
            await self._records(page.records)
        if page.kept:
            await self._session.copy("seen", ("id",), [(_plain(one),) for one in page.kept])
        if page.removed:
            rows = [(self._n + i, _plain(one)) for i, one in enumerate(page.removed)]
            self._n += len(rows)
            await self._session.copy("gone", ("n", "id"), rows)
        if page.unreadable:
            self.read += len(page.unreadable)
            bad = [(_plain(one.id), one.version, one.reason) for one in page.unreadable]
            await self._session.copy("bad", ("id", "version", "reason"), bad)

    async def _records(self, records: Sequence[Record]) -> None:
        self.read += len(records)
        records = [_storable(record) for record in records]
        digests = [digest(record, self._rules) for record in records]
        ids, versions = [record.id for record in records], [record.version for record in records]
        same: set[int] = set()
        if not self._empty:
            places = await self._session.value(SQL["same"], *self._key, ids, digests, versions)
            same = {place - 1 for place in places}
        if len(same) == len(records):
            return
        staged: list[tuple[object, ...]] = []
        numbers: list[tuple[object, ...]] = []
        kept_out: list[tuple[object, ...]] = []
        for i, record in enumerate(records):
            if i in same:
                continue
            held = normalise.normalise(record, self._key[1], self._region, self._digits)
            if self._forgotten.keeps_out(held):
                kept_out.append((self._n, record.id))
                self._n += 1
                continue
            staged.append(self._row(record, held, digests[i]))
            numbers.extend((self._n, one.key, one.kind, one.company) for one in held.numbers if one.key)
            self._n += 1
        await self._session.copy("staged", _STAGED, staged)
        await self._session.copy("staged_number", _NUMBER, numbers)
        if kept_out:
            await self._session.copy("gone", ("n", "id"), kept_out)

    def _row(self, record: Record, held: Contact, record_digest: bytes) -> tuple[object, ...]:
        body = dump(held)
        keyed = sum(1 for one in held.numbers if one.key)
        odd = len(held.numbers) - keyed
        self.odd_numbers += odd
        return (
            self._n,
            record.id,
            record.version,
            record_digest,
            checksum(body),
            names_sum(held),
            bool(held.name),
            keyed,
            record.modified,
            body.decode(),
            odd,
        )


def _plain(id: str) -> str:
    """An id as it is held."""
    return id if id.isprintable() else _UNSTORABLE.sub(" ", id)


def _storable(record: Record) -> Record:
    """The record, of an id as it is held."""
    id = _plain(record.id)
    return record if id == record.id else msgspec.structs.replace(record, id=id)
