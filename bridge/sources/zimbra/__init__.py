"""Contacts and people on a Zimbra server, by SOAP in JSON.

A run by cursor asks for what changed since a token; where the server cannot tell, or other folders are read than
before, it starts again as a complete one. The id of a record is the contact's id, that of a contact in another
mailbox has its owner's id and a colon in front, and that of a person of the directory is the entry's.
"""

from __future__ import annotations

import hashlib
import urllib.parse
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

from bridge.actions import Action, Made
from bridge.contact import User
from bridge.sources import Cursor, Known, Page
from bridge.sources.zimbra import checking, runs, shares, writes
from bridge.sources.zimbra.directory import Directory
from bridge.sources.zimbra.mailbox import Mailbox, Stale
from bridge.sources.zimbra.soap import Soap

if TYPE_CHECKING:
    from bridge import keys


def open(name: str, keys: keys.Zimbra) -> Zimbra:
    """The source of these keys; nothing is asked yet."""
    return Zimbra(keys)


class Zimbra:
    """Reads the contact folders that one login sees, and writes to their contacts."""

    def __init__(self, keys: keys.Zimbra) -> None:
        told = (1, keys.url, keys.username, keys.folders, keys.gal)
        self._of = hashlib.sha256(repr(told).encode()).hexdigest()[:16]
        self._soap = Soap(keys)
        self._directory = Directory(self._soap, keys.extension_field)
        self._users = keys.users
        self._reach = runs.Reach(
            host=self._soap.host,
            mailbox=Mailbox(self._soap),
            directory=self._directory if keys.gal else None,
            names=keys.folders,
            fields=keys.fields,
            url=self._page,
        )
        self._brought: Mapping[str, shares.Brought] | None = None

    async def check(self) -> str:
        """Log in, and say which folders are read and how many contacts each has."""
        self._soap.begin()
        directory = self._directory if self._users or self._reach.directory else None
        told = await checking.check(self._reach, directory, users=self._users)
        return f"{self._soap.username} at {self._soap.host}: {told}"

    async def read(self, since: Cursor | None, known: Known) -> AsyncGenerator[Page]:
        """What changed since, or everything."""
        self._soap.begin()
        if since is not None and since.get("of") == self._of:
            self._brought = shares.load(since["shares"])
            run = runs.Run(self._reach, known, self._brought)
            try:
                async with aclosing(run.changes(since)) as pages:
                    async for page in pages:
                        yield self._marked(page, run)
                return
            except Stale:
                pass
        if since is None:
            self._directory.forget()
        run = runs.Run(self._reach, known, self._brought)
        async with aclosing(run.everything()) as pages:
            async for page in pages:
                yield self._marked(page, run)

    async def users(self) -> Sequence[User]:
        """The directory's people that have an extension."""
        return await self._directory.users()

    async def act(self, action: Action) -> Made:
        """A line in the contact's notes for a note or a call, a task for a task or a ticket."""
        return await writes.act(self._soap, action, self._page(action.contact))

    async def close(self) -> None:
        """Give back connections."""
        await self._soap.close()

    def _marked(self, page: Page, run: runs.Run) -> Page:
        """With the mark of our keys on its cursor, if it is the last one."""
        if page.cursor is None:
            return page
        self._brought = run.brought
        return replace(page, cursor={"of": self._of, **page.cursor})

    def _page(self, id: str) -> str:
        """Where a browser that is logged in finds the contact.

        Zimbra's own pages have no address for one contact. Ours is named by its mailbox, as a colleague's `~` is his.
        """
        owner, _, bare = id.rpartition(":")
        if not bare.isdigit():
            return ""
        user = "~" if owner else urllib.parse.quote(self._soap.username, safe="@")
        return f"{self._soap.site}/home/{user}/?id={urllib.parse.quote(id, safe=':')}&fmt=vcf"
