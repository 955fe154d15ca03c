"""Address books on CardDAV servers: RFC 6352, RFC 6578, and what servers make of them.

A run by cursor asks each book for what changed; where one cannot tell, the run starts again as a complete one, over
all books, from discovery on. The id of a record is its card's path, decoded.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

from bridge import client
from bridge.actions import Action, Made
from bridge.sources import Cursor, Known, Page, WithActions
from bridge.sources.carddav import listing, runs, writing

if TYPE_CHECKING:
    from bridge import keys


def open(name: str, keys: keys.CardDav) -> WithActions:
    """The source of these keys; nothing is asked yet."""
    return CardDav(keys)


class CardDav:
    """Reads the address books of one login, and puts lines into the notes of their cards."""

    def __init__(self, keys: keys.CardDav) -> None:
        anonymous = keys.auth != "bearer" and not keys.username
        self._url = keys.url
        self._names = keys.books
        self._fields = keys.fields
        self._of = hashlib.sha256(repr((1, keys.url, keys.username, keys.books)).encode()).hexdigest()[:16]
        self._http = client.Client(
            keys.url,
            username=keys.username,
            password=keys.password,
            token=keys.token,
            auth="none" if anonymous else keys.auth,
            timeout=keys.timeout,
            ca=keys.ca,
            verify=keys.verify,
        )
        self._writer = writing.Writer(self._http, keys.url, keys.books)

    async def check(self) -> str:
        """The books that would be read, how many cards each lists, and how changes are found."""
        lines: list[str] = []
        async with aclosing(runs.walk(self._http, self._url, self._names)) as walk:
            async for book, reading in walk:
                count = 0
                async with aclosing(reading.members()) as members:
                    async for member in members:
                        count += not member.gone
                lines.append(f"{book.name} ({count} cards, {reading.means})")
        return f"{len(lines)} address book{'s' if len(lines) > 1 else ''}: {', '.join(lines)}"

    async def read(self, since: Cursor | None, known: Known) -> AsyncGenerator[Page]:
        """What changed since, or everything."""
        refused = ""
        if since is not None and since.get("of") == self._of:
            try:
                async with aclosing(runs.changes(self._http, since, known, self._fields)) as pages:
                    async for page in pages:
                        yield self._marked(page)
                return
            except listing.Stale as stale:
                refused = stale.refused
        books = runs.walk(self._http, self._url, self._names)
        async with aclosing(
            runs.everything(self._http, books, known, self._fields, refused, data=since is None)
        ) as pages:
            async for page in pages:
                yield self._marked(page)

    async def act(self, action: Action) -> Made:
        """A line in the note of the action's contact, whatever its kind: a card has no better place."""
        return await self._writer.append(action)

    def _marked(self, page: Page) -> Page:
        """With the mark of our keys on its cursor, if it is the last one."""
        return page if page.cursor is None else replace(page, cursor={"of": self._of, **page.cursor})

    async def close(self) -> None:
        """Give back connections."""
        await self._http.close()
