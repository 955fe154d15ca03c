"""A phone book at a URL, in any of `bridge.formats`: asked for whole, and read where it has changed.

Phones replace their whole directory with what such a URL gives, and so do we; so an answer counts only where it can
be told from a fault. The cursor tells which answer was read: {"of": mark of our keys, "etag", "modified", "format",
"sum": hash of the body, "doubted": when everything was last compared, whatever its checksums said}.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
import urllib.parse
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from itertools import islice
from typing import TYPE_CHECKING

from bridge import client, errors, formats
from bridge.contact import Record
from bridge.sources import Cursor, Known, Lacking, Page, Unreadable
from bridge.sources.phonebook import answers, questions

if TYPE_CHECKING:
    from bridge import keys

PAGE = 1000
LARGEST = 1 << 30
"""Bytes of an answer: a book of a million contacts has some 400 MB."""


def open(name: str, keys: keys.PhoneBook) -> PhoneBook:
    """The source of these keys; nothing is asked yet."""
    return PhoneBook(keys)


class PhoneBook:
    """Reads one phone book. A later run without a change costs one request, and one without a body at best."""

    def __init__(self, keys: keys.PhoneBook) -> None:
        self._host = urllib.parse.urlsplit(keys.url).hostname or ""
        self._username = keys.username
        self._format = keys.format
        self._fields = keys.fields
        self._full = keys.full
        self._last_format = ""
        self._of = hashlib.sha256(repr((1, keys.url, keys.username, keys.post, keys.format)).encode()).hexdigest()[:16]
        self._question = questions.make(keys.post, keys.username, keys.password.reveal(), keys.format)
        self._http = client.Client(
            keys.url,
            username=keys.username,
            password=keys.password,
            auth="basic" if keys.username and not keys.post else "none",
            timeout=keys.timeout,
            ca=keys.ca,
            verify=keys.verify,
        )

    async def check(self) -> str:
        """Read it through, and say how much is in it and how its changes are told."""
        async with self._asked() as spool:
            book = await self._book(spool, "")
            contacts = unreadable = marked = 0
            async with aclosing(self._items(book)) as pages:
                async for items in pages:
                    page = _page(items)
                    contacts += len(page.records)
                    unreadable += len(page.unreadable)
                    marked += sum(1 for record in page.records if record.version)
        by = f" as {self._username}" if self._username else ""
        means = [*questions.means(self._question, spool.headers), *(["Checksum"] if marked else [])]
        what = f"{contacts:,} contact{'' if contacts == 1 else 's'} ({book.format or 'empty'})"
        said = f"{what}{by}, changes by {' and '.join(means or ['comparing'])}"
        return f"{said}; {unreadable:,} could not be read" if unreadable else said

    async def read(self, since: Cursor | None, known: Known) -> AsyncGenerator[Page]:
        """Everything, or one empty page where the book is as the cursor says.

        A contact whose Checksum is the one we hold is not compared, but for the run that is due every `full`.
        """
        now = time.time()
        held = since if since is not None and since.get("of") == self._of else None
        async with self._asked(held) as spool:
            if held is not None and spool.status == 304:
                yield Page(cursor=held)
                return
            before = str(held["format"]) if held else self._last_format
            book = await self._book(spool, before)
            state = {"of": self._of, "format": book.format or before, "sum": book.sum, "doubted": now}
            state |= questions.validators(self._question, spool.headers)
            if held is not None and held["sum"] == book.sum:
                yield Page(cursor=state | {"doubted": held["doubted"]})
                return
            trusting = held is not None and abs(now - held["doubted"]) < self._full
            if held is not None and trusting:
                state["doubted"] = held["doubted"]
            reading = _Reading(known if trusting else None)
            lacking = Lacking(self._fields)
            async with aclosing(self._items(book)) as pages:
                async for items in pages:
                    lacking.look(item for item in items if isinstance(item, Record))
                    yield await reading.page(items)
            self._last_format = book.format or before
            yield Page(notes=lacking.notes(), cursor=state, complete=True)

    async def close(self) -> None:
        """Give back connections."""
        await self._http.close()

    @asynccontextmanager
    async def _asked(self, held: Cursor | None = None) -> AsyncIterator[client.Spool]:
        """The answer: 200, or 304 to who holds what it would be."""
        conditions = questions.conditions(self._question, held or {})
        elsewhere = () if self._question.redirects else client.REDIRECTS
        async with self._http.spool(
            self._question.method,
            headers={**self._question.headers, **conditions},
            body=self._question.body,
            accept={*([304] if conditions else []), *elsewhere},
            repeat=True,
            redirects=self._question.redirects,
            limit=LARGEST,
        ) as spool:
            if spool.status in client.REDIRECTS:
                raise errors.Unavailable(
                    f"{self._host} answers with a redirect, which a body that may hold a login does not follow: "
                    "right is the address where it leads"
                )
            if spool.status not in (200, 203, 304):
                raise errors.Unavailable(f"{self._host} answers {spool.status}, right is 200")
            yield spool

    async def _book(self, spool: client.Spool, before: str) -> answers.Book:
        """What the answer is, once it is sure that it is whole; `before`: the format of the last run's."""
        book = await asyncio.to_thread(answers.open, spool, self._format, self._host)
        self._judge(book, before if self._format == "auto" else self._format)
        if not book.sure:
            # Nothing but the end of the connection says that it is whole, and a cut looks the same.
            async with self._asked() as second:
                if await asyncio.to_thread(answers.total, second) != book.sum:
                    raise errors.Unavailable(f"{self._host} gives two answers of two lengths: one of them was cut")
        return book

    def _judge(self, book: answers.Book, before: str) -> None:
        """Raises Unavailable where the answer is more likely a fault than a book."""
        if not book.format:
            # Nothing is how text and vCards spell an empty book; what then goes is held by the guard.
            if before not in ("text", "vcard"):
                raise errors.Unavailable(f"{self._host} answers with nothing, which is no {before or 'phone'} book")
        elif before and book.format != before:
            raise errors.Unavailable(
                f"{self._host} answers with {book.format}, where it was {before}: an error, perhaps; "
                f'if that is meant, right is format = "{book.format}"'
            )

    async def _items(self, book: answers.Book) -> AsyncGenerator[Sequence[Record | formats.Unreadable]]:
        """What is in the book, `PAGE` at a time, to its very end."""
        items = formats.read(book.pieces(), book.format, fields=self._fields) if book.format else iter(())
        good, first = 0, ""
        try:
            # In a thread: a text book is grouped at its end, and a disk may be slow; the loop goes on meanwhile.
            while some := await asyncio.to_thread(lambda: list(islice(items, PAGE))):
                some = [_meaning(item) for item in some]
                bad = [item.reason for item in some if isinstance(item, formats.Unreadable)]
                good, first = good + len(some) - len(bad), first or next(iter(bad), "")
                yield some
        except errors.Unavailable as fault:
            raise errors.Unavailable(f"{self._host}: {fault}") from None
        if first and not good:
            raise errors.Unavailable(f"{self._host}: nothing in its answer is a contact ({first})")


class _Reading:
    """One run over a book; with `known`, contacts that are held at their Checksum are passed over."""

    def __init__(self, known: Known | None) -> None:
        self._known = known
        self._ids = formats.Ids()

    async def page(self, items: Sequence[Record | formats.Unreadable]) -> Page:
        page = _page(items)
        if self._known is None:
            return page
        # An id that comes again is read again: it is the later one that counts.
        fresh = {i for i, record in enumerate(page.records) if self._ids.take(record.id)}
        listed = [(page.records[i].id, page.records[i].version) for i in sorted(fresh) if page.records[i].version]
        held = await self._known(listed) if listed else set()
        records = [record for i, record in enumerate(page.records) if i not in fresh or record.id not in held]
        return Page(records=records, unreadable=page.unreadable, kept=sorted(held))


def _page(items: Sequence[Record | formats.Unreadable]) -> Page:
    return Page(
        records=[item for item in items if isinstance(item, Record)],
        unreadable=[Unreadable(item.id, item.reason) for item in items if not isinstance(item, Record)],
    )


def _meaning(item: Record | formats.Unreadable) -> Record | formats.Unreadable:
    """The item; an object with an id and nothing else may be an error's, and is no contact."""
    if isinstance(item, formats.Unreadable):
        return item
    if item.display_name or item.first_name or item.last_name or item.company or item.emails or item.numbers:
        return item
    return formats.Unreadable(item.id, "it holds no name, company, e-mail or number")
