"""Salesforce orgs: contacts, leads, accounts and users by REST and Bulk API 2.0; calls written back as tasks and cases.

A run by cursor asks each object for what was touched since, with an overlap, for what was deleted, and for contacts
whose account was touched. Where that cannot be told, the run becomes a full one.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

from bridge import logins
from bridge.actions import Action, Made
from bridge.contact import User
from bridge.sources import Cursor, Known, Page
from bridge.sources.salesforce import actions, checks, reading, runs, schema, sessions, users
from bridge.sources.salesforce.calls import Calls

if TYPE_CHECKING:
    from bridge import keys


def open(name: str, keys: keys.Salesforce) -> Salesforce:
    """The source of these keys; nothing is asked yet. Unsupported names an object that cannot be read."""
    return Salesforce(keys)


class Salesforce:
    """Reads and writes one org with one login."""

    def __init__(self, keys: keys.Salesforce) -> None:
        self._keys = keys
        self._tables = schema.tables(keys.objects)
        self._sessions = sessions.Sessions(keys)
        self._login = logins.Login(self._sessions.make)
        self._writer = actions.Writer(lambda: self._calls(), keys.call_key)
        told = (
            1,
            keys.url,
            keys.login,
            keys.username,
            keys.client_id,
            sorted(keys.objects),
            sorted(keys.fields.items()),
        )
        self._of = hashlib.sha256(repr(told).encode()).hexdigest()[:16]

    async def check(self) -> str:
        """Who is logged in, what may be read, how much there is, what is hidden, and what the day's calls leave."""
        self._login.begin()
        extension = (self._keys.extension_field or users.EXTENSION) if self._keys.users else ""
        return await checks.line(self._calls(), self._tables, self._keys.fields, extension, self._keys.quota)

    async def read(self, since: Cursor | None, known: Known) -> AsyncGenerator[Page]:
        """What changed since, or everything."""
        self._login.begin()
        calls = self._calls(self._keys.quota)
        session = await calls.session()
        # Another user sees other records, and on another instance every record has another page.
        mark = {"of": self._of, "user": session.user, "instance": session.instance}
        run = runs.Run(calls, self._keys.fields, self._keys.bulk_from)
        if since is not None and mark.items() <= dict(since).items():
            try:
                async with aclosing(run.changes(self._tables, since, self._keys.overlap)) as pages:
                    async for page in pages:
                        yield _marked(page, mark)
                return
            except reading.Stale:
                run = runs.Run(calls, self._keys.fields, self._keys.bulk_from)
        async with aclosing(run.everything(self._tables)) as pages:
            async for page in pages:
                yield _marked(page, mark)

    async def users(self) -> Sequence[User]:
        """Active users with an extension."""
        return await users.read(self._calls(self._keys.quota), self._keys.extension_field)

    async def act(self, action: Action) -> Made:
        """A Task or a Case, found by the action's key where it was made before."""
        return await self._writer.make(action)

    async def close(self) -> None:
        """Give back connections."""
        await self._sessions.close()

    def _calls(self, quota: int = 0) -> Calls:
        return Calls(self._login, self._keys.api_version, quota)


def _marked(page: Page, mark: dict[str, str]) -> Page:
    """With what it belongs to on its cursor, if it is the last one."""
    return page if page.cursor is None else replace(page, cursor={**mark, **page.cursor})
