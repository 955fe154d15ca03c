"""A run over the books of one login: complete, or by what changed.

The cursor is {"books": {address: `listing.State` as JSON}}.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from bridge import client, errors
from bridge.sources import Cursor, Known, Page
from bridge.sources.carddav import cards, discovery, listing

CHUNK = 1000
"""Listed cards that are looked up, and then read, at a time."""
LARGE = 4 << 20
"""Characters of cards that came along with their list, after which no more are gathered."""

Walk = AsyncGenerator[tuple[discovery.Book, listing.Listing]]


async def walk(http: client.Client, url: str, names: Sequence[str]) -> Walk:
    """Each book with its list, to be read before the next is asked for: books within books are found by it."""
    books = await discovery.find(http, url, names)
    seen: dict[str, str] = {}
    while books:
        book = books.pop(0)
        if book.url in seen.values():
            continue
        if seen.setdefault(book.place, book.url) != book.url:
            raise errors.Unavailable(f"two servers have an address book at {book.place}: give each its own source")
        reading = listing.Listing(http, book)
        yield book, reading
        if not names:
            books += await reading.inside()


async def everything(
    http: client.Client, books: Walk, known: Known, fields: Mapping[str, str], refused: str, *, data: bool = False
) -> AsyncGenerator[Page]:
    """Every card of every book; the one at `refused` lately took no token; `data`: most will have to be read."""
    states: dict[str, Any] = {}
    async with aclosing(books):
        async for book, reading in books:
            reader = cards.Reader(http, book, fields)
            async with aclosing(_chunks(reading.members(refused=book.url == refused, data=data))) as chunks:
                async for chunk in chunks:
                    async with aclosing(_listed(reader, chunk, known)) as pages:
                        async for page in pages:
                            yield page
            states[book.url] = reading.state(reader.again).dump()
    yield Page(cursor={"books": states}, complete=True)


async def changes(http: client.Client, since: Cursor, known: Known, fields: Mapping[str, str]) -> AsyncGenerator[Page]:
    """What changed in every book since that cursor; Stale where one of them cannot tell."""
    states: dict[str, Any] = {}
    for url, data in since["books"].items():
        state = listing.load(data)
        http.trust(urllib.parse.urlsplit(url).hostname or "")  # the home that named it was trusted too
        book = discovery.Book(url, state.name, sync=True)
        reading, reader = listing.Listing(http, book), cards.Reader(http, book, fields)
        gone: dict[str, None] = {}
        async with aclosing(_chunks(reading.changes(state))) as chunks:
            async for chunk in chunks:
                async with aclosing(_changed(reader, chunk, known, gone)) as pages:
                    async for page in pages:
                        yield page
        async with aclosing(reader.read(reading.unread(state))) as pages:
            async for page in pages:
                yield page
        for ids in _sliced(list(gone)):
            yield Page(removed=ids)
        states[url] = reading.state(reader.again).dump()
    yield Page(cursor={"books": states})


async def _listed(reader: cards.Reader, chunk: Sequence[listing.Member], known: Known) -> AsyncGenerator[Page]:
    """Cards of a full listing: what is held at that very version is not read again."""
    held = await known([(member.id, member.etag) for member in chunk if member.etag and not member.gone])
    yield Page(kept=sorted(held), removed=[member.id for member in chunk if member.gone])
    wanted = [member for member in chunk if member.id not in held and not member.gone]
    async with aclosing(reader.read(wanted)) as pages:
        async for page in pages:
            yield page


async def _changed(
    reader: cards.Reader, chunk: Sequence[listing.Member], known: Known, gone: dict[str, None]
) -> AsyncGenerator[Page]:
    """Cards of a delta; one that lists what is unchanged may be a whole list in disguise, which names no deletions."""
    fresh = [member for member in chunk if not member.gone]
    if await known([(member.id, member.etag) for member in fresh if member.etag]):
        raise listing.Stale
    for member in chunk:
        if member.gone:
            gone[member.id] = None
        else:
            gone.pop(member.id, None)
    async with aclosing(reader.read(fresh)) as pages:
        async for page in pages:
            yield page


async def _chunks(members: AsyncGenerator[listing.Member]) -> AsyncGenerator[Sequence[listing.Member]]:
    """The members, `CHUNK` at a time or fewer where they are large, each once in its chunk."""
    chunk: dict[str, listing.Member] = {}
    size = 0
    async with aclosing(members):
        async for member in members:
            chunk[member.id] = member
            size += len(member.data)
            if len(chunk) == CHUNK or size > LARGE:
                yield list(chunk.values())
                chunk, size = {}, 0
    if chunk:
        yield list(chunk.values())


def _sliced(ids: Sequence[str]) -> Iterable[Sequence[str]]:
    return (ids[start : start + CHUNK] for start in range(0, len(ids), CHUNK))
