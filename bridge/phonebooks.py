"""A phone book as a stream of contacts, and as the bytes of a format: a page in memory at a time, never the book."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from bridge import errors, formats, numbers, store
from bridge.config import Tenant
from bridge.contact import Contact, load
from bridge.numbers import Dialling
from bridge.store import Store

SQL = store.queries("phonebooks")
_PAGE = 500


class Recipe(msgspec.Struct, frozen=True):
    """All that shapes a phone book beside its contacts; the last three decide how numbers are spelled."""

    tenant: str
    sources: tuple[str, ...]
    numbers: numbers.Style
    region: str
    internal_digits: int = 5


class Moment(NamedTuple):
    """How the sources of a book stand: `mark` is another one as soon as any of their contacts is."""

    mark: str
    contacts: int


def recipe(tenant: Tenant, name: str) -> Recipe:
    """That of the tenant's phone book of this name."""
    book = tenant.phonebooks[name]
    return Recipe(tenant.name, book.sources, book.numbers, tenant.region, tenant.internal_digits)


async def look(db: Store, book: Recipe) -> Moment:
    """How its sources stand now, at the cost of a row each; Unavailable where one of them was never read."""
    return _moment(await db.of(book.tenant).fetch(SQL["moment"], book.tenant, list(book.sources)), book.sources)


def _moment(rows: Sequence[Mapping[str, Any]], sources: Sequence[str]) -> Moment:
    missing = set(sources) - {row["name"] for row in rows if row["read"]}
    if missing:
        raise errors.Unavailable(f"not whole yet: {', '.join(sorted(missing))} has not been read")
    stands = "\0".join(f"{row['name']}\0{row['changed_at']}\0{row['contacts']}" for row in rows)
    mark = hashlib.blake2b(stands.encode(), digest_size=12).hexdigest()
    return Moment(mark, sum(row["contacts"] for row in rows))


async def stream(
    db: Store, tenant: str, sources: Sequence[str], noted: Callable[[Moment], None] | None = None
) -> AsyncGenerator[list[Contact], None]:
    """Pages of the contacts of these sources, one source after the other, always in the same order.

    All of them as they were at one moment, whatever runs commit meanwhile. It has a connection of its own until closed.
    `noted` is told that moment first; with it, sources that were never read are Unavailable instead of empty.
    """
    async with db.of(tenant).session() as connection, connection.transaction():
        await connection.execute(SQL["one_moment"])
        if noted:
            noted(_moment(await connection.fetch(SQL["moment"], tenant, list(sources)), sources))
        for source in dict.fromkeys(sources):
            last = ""
            while rows := await connection.fetch(SQL["page"], tenant, source, last, _PAGE):
                yield [load(row["body"]) for row in rows]
                last = rows[-1]["id"]


async def write(db: Store, tenant: Tenant, name: str, format: formats.Format) -> AsyncGenerator[bytes, None]:
    """A phone book of the tenant in pieces of about 64 kB; raises Unavailable where it cannot be read whole."""
    async with contextlib.aclosing(pieces(db, recipe(tenant, name), format, lambda _moment: None)) as made:
        async for piece in made:
            yield piece


async def pieces(
    db: Store, book: Recipe, format: formats.Format, noted: Callable[[Moment], None] | None = None
) -> AsyncGenerator[bytes, None]:
    """The same of a recipe; `noted` as in `stream`."""
    async with contextlib.aclosing(stream(db, book.tenant, book.sources, noted)) as pages:
        feed = _Feed(pages, asyncio.get_running_loop())
        written = formats.write(feed, format, Dialling(book.numbers, book.region, book.internal_digits))
        turn: asyncio.Future[bytes] | None = None
        try:
            while True:
                # A format pulls its contacts, so it works in a thread, which may wait for them.
                turn = asyncio.ensure_future(asyncio.to_thread(next, written, b""))
                piece = await asyncio.shield(turn)
                if not piece:
                    return
                yield piece
        finally:
            await feed.close()
            if turn:
                await asyncio.gather(turn, return_exceptions=True)


class _Feed:
    """The contacts of pages that only the event loop can fetch, to be iterated over in a thread."""

    def __init__(self, pages: AsyncIterator[list[Contact]], loop: asyncio.AbstractEventLoop) -> None:
        self._pages = pages
        self._loop = loop
        self._fetching: asyncio.Task[list[Contact]] | None = None
        self._closed = False

    def __iter__(self) -> Iterator[Contact]:
        while page := asyncio.run_coroutine_threadsafe(self._page(), self._loop).result():
            yield from page

    async def close(self) -> None:
        """Let a thread go that waits for a page: nobody wants it any more."""
        self._closed = True
        if self._fetching:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)

    async def _page(self) -> list[Contact]:
        if self._closed:
            return []
        self._fetching = asyncio.ensure_future(anext(self._pages, []))
        return await self._fetching
