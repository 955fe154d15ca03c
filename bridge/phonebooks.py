"""A phone book as a stream of contacts, and as the bytes of a format: a page in memory at a time, never the book."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence

from bridge import formats, numbers, store
from bridge.config import Tenant
from bridge.contact import Contact, load
from bridge.store import Store

SQL = store.queries("phonebooks")
_PAGE = 500


async def stream(db: Store, tenant: str, sources: Sequence[str]) -> AsyncGenerator[list[Contact], None]:
    """Pages of the contacts of these sources, one source after the other, always in the same order.

    All of them as they were at one moment, whatever runs commit meanwhile. It has a connection of its own until closed.
    """
    async with db.session() as connection, connection.transaction():
        await connection.execute(SQL["one_moment"])
        for source in dict.fromkeys(sources):
            last = ""
            while rows := await connection.fetch(SQL["page"], tenant, source, last, _PAGE):
                yield [load(row["body"]) for row in rows]
                last = rows[-1]["id"]


async def write(db: Store, tenant: Tenant, name: str, format: formats.Format) -> AsyncGenerator[bytes, None]:
    """A phone book of the tenant in pieces of about 64 kB; raises Unavailable where it cannot be read whole."""
    book = tenant.phonebooks[name]

    def spell(key: str) -> str:
        return numbers.spell(key, book.numbers, tenant.region)

    async with contextlib.aclosing(stream(db, tenant.name, book.sources)) as pages:
        feed = _Feed(pages, asyncio.get_running_loop())
        pieces = formats.write(feed, format, spell)
        turn: asyncio.Future[bytes] | None = None
        try:
            while True:
                # A format pulls its contacts, so it works in a thread, which may wait for them.
                turn = asyncio.ensure_future(asyncio.to_thread(next, pieces, b""))
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
