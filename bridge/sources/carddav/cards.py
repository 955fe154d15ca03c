"""The cards themselves: read many at a time, and one by one where that fails."""

from __future__ import annotations

import asyncio
import urllib.parse
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field

from bridge import client, errors
from bridge.contact import Record
from bridge.formats import vcard
from bridge.sources import Page, Unreadable
from bridge.sources.carddav import answers, discovery, hrefs, questions
from bridge.sources.carddav.listing import Member

BATCH = 50
AT_ONCE = 2
PATIENCE = 20
"""Cards in a row that may fail before the server, not the card, is held to be at fault."""

LARGEST_BATCH = 256 << 20
_TOO_MUCH = frozenset((413, 500, 502, 504, 507))
_NO_REPORT = frozenset((400, 403, 405, 415, 501))
_GONE = frozenset((404, 410))
_FAILED = frozenset((400, 403, 405, 406, 409, 415, 423, 500, 501, 502, 504, 507))


@dataclass(slots=True)
class _Got:
    records: list[Record] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)


class Reader:
    """Reads cards of one book; `again` are the paths of those that could not be had this time."""

    def __init__(self, http: client.Client, book: discovery.Book, fields: Mapping[str, str]) -> None:
        self.again: list[str] = []
        self._http = http
        self._book = book
        self._fields = fields
        self._host = urllib.parse.urlsplit(book.url).hostname or ""
        self._patience = PATIENCE
        self._reports = True

    async def read(self, members: Sequence[Member]) -> AsyncGenerator[Page]:
        """A page for each batch; cards that are gone are `removed`, groups too, for they are no contacts."""
        brought = _Got()
        for member in members:
            if member.data:
                self._vcard(member, member.data.encode(), member.etag, brought)
        if brought != _Got():
            yield Page(records=brought.records, removed=brought.removed, unreadable=brought.unreadable)
        members = [member for member in members if not member.data]
        waiting = [members[start : start + BATCH] for start in range(0, len(members), BATCH)]
        tasks: set[asyncio.Task[_Got]] = set()
        try:
            while waiting or tasks:
                while waiting and len(tasks) < AT_ONCE:
                    tasks.add(asyncio.create_task(self._whole(waiting.pop(0))))
                done, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    got = task.result()
                    yield Page(records=got.records, removed=got.removed, unreadable=got.unreadable)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _whole(self, members: Sequence[Member]) -> _Got:
        got = _Got()
        await self._batch(members, got)
        return got

    async def _batch(self, members: Sequence[Member], got: _Got) -> None:
        """These cards by one report, by two half ones where that is too much, or one by one."""
        half = len(members) // 2
        missing: Sequence[Member] = members
        if self._reports and any(member.etag or len(members) > 1 for member in members):
            try:
                missing = await self._multiget(members, got)
            except (client.TooMuch, answers.Broken):
                if half:
                    await self._batch(members[:half], got)
                    await self._batch(members[half:], got)
                    return
        gone = len(got.removed)
        for member in missing:
            await self._single(member, got)
        if len(members) > 1 and len(got.removed) - gone == sum(1 for member in members if member.etag) == len(members):
            # Listed a moment ago, and none of them is there: the book went, which is no reason to lose them.
            raise errors.Unavailable(f"{self._host} lists cards of {self._book.name!r} and then has none of them")

    async def _multiget(self, members: Sequence[Member], got: _Got) -> list[Member]:
        """Read what one report gives; returns the cards that it leaves out."""
        missing = {member.id: member for member in members}
        body = questions.multiget(member.path for member in members)
        headers = {"Depth": "0", "Content-Type": "application/xml; charset=utf-8"}
        accept = _TOO_MUCH | _NO_REPORT | _GONE
        fresh = _Got()
        async with self._http.spool(
            "REPORT", self._book.url, body=body, headers=headers, accept=accept, limit=LARGEST_BATCH
        ) as spool:
            if spool.status in _TOO_MUCH:
                raise client.TooMuch(f"{self._host} answers {spool.status} to {len(members)} cards at once")
            if spool.status in _GONE:
                raise errors.Unavailable(f"the address book {self._book.name!r} went while it was read")
            if spool.status in _NO_REPORT:
                self._reports = False
                return list(members)
            document = answers.Multistatus(self._host)
            async for row in answers.rows(spool, document):
                member = missing.get(hrefs.key(hrefs.path(row.href, self._book.url)))
                if member is None or not (row.data or row.huge):
                    continue
                del missing[member.id]
                self._card(member, row, fresh)
        got.records += fresh.records
        got.removed += fresh.removed
        got.unreadable += fresh.unreadable
        if len(missing) < len(members):
            self._patience = PATIENCE
        return list(missing.values())

    def _card(self, member: Member, row: answers.Row, got: _Got) -> None:
        version = hrefs.etag(row.etag) or member.etag
        if row.huge:
            got.unreadable.append(Unreadable(member.id, "larger than 16 MiB", version))
        else:
            self._vcard(member, row.data.encode(), version, got)

    def _vcard(self, member: Member, data: bytes, version: str, got: _Got) -> None:
        try:
            record = vcard.read_one(data, member.id, version, self._fields)
        except ValueError as fault:
            got.unreadable.append(Unreadable(member.id, str(fault), version))
            return
        if record is None:
            got.removed.append(member.id)
        else:
            got.records.append(record)

    async def _single(self, member: Member, got: _Got) -> None:
        """One card by GET; if it fails, its last good contact is kept and the next run tries again."""
        url = hrefs.at(self._book.url, member.path)
        try:
            answer = await self._http.request("GET", url, accept=_GONE | _FAILED, limit=answers.MOST_TEXT)
        except client.TooMuch as fault:
            self._later(member, str(fault), got)
            return
        if answer.status in _GONE:
            got.removed.append(member.id)
        elif answer.status in _FAILED:
            self._later(member, f"{self._host} answers {answer.status}", got)
        elif b"END:V" not in answer.body.upper():
            self._later(member, "the answer is no card, or one cut short", got)
        else:
            self._patience = PATIENCE
            version = hrefs.etag(answer.headers.get("ETag", "")) or member.etag
            self._vcard(member, answer.body, version, got)

    def _later(self, member: Member, reason: str, got: _Got) -> None:
        self._patience -= 1
        if self._patience < 0:
            raise errors.Unavailable(f"{PATIENCE} cards one after the other cannot be read: {reason}")
        self.again.append(member.path)
        got.unreadable.append(Unreadable(member.id, reason))
