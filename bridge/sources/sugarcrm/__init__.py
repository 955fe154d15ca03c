"""SugarCRM by its REST API, v10 and v11: Contacts, Leads, their Accounts' numbers, and who works there.

A run by cursor asks each module for what changed and for what was deleted, and reads the people of accounts that
changed; a complete one reads every row, and so finds what is gone whether Sugar shows it or not.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

from bridge import errors
from bridge.actions import Action, Made
from bridge.contact import User
from bridge.sources import Cursor, Known, Page, Source
from bridge.sources.sugarcrm import acts, api, checking, fields, listing, people, runs

if TYPE_CHECKING:
    from bridge import keys


def open(name: str, keys: keys.SugarCrm) -> Source:
    """The source of these keys; nothing is asked yet."""
    return SugarCrm(keys)


class SugarCrm:
    """Reads, and writes to, one site with one user's login."""

    def __init__(self, keys: keys.SugarCrm) -> None:
        self._keys = keys
        self._http = api.Api(keys)
        reader = people.Reader(keys.url, keys.fields)
        self._plan = runs.Plan(tuple(dict.fromkeys(keys.modules)), reader, keys.overlap)
        self._acts = acts.Acts(self._http, keys.url, self._plan.modules)
        mark = (1, keys.url, keys.username, keys.modules, sorted(keys.fields.items()))
        self._of = hashlib.sha256(repr(mark).encode()).hexdigest()[:16]

    async def check(self) -> str:
        """Who is logged in, how many rows of each module are seen, and what is not."""
        self._http.begin()
        line = await checking.line(self._http, self._keys.username, self._plan)
        return f"{line}; {len(await self.users())} users with an extension" if self._keys.users else line

    async def read(self, since: Cursor | None, known: Known) -> AsyncGenerator[Page]:
        """What changed since, or everything."""
        self._http.begin()
        if since is not None and since.get("of") == self._of:
            try:
                async with aclosing(runs.Run(self._http, self._plan).changes(since)) as pages:
                    async for page in pages:
                        yield self._marked(page)
                return
            except runs.Stale:
                pass
        async with aclosing(runs.Run(self._http, self._plan).everything()) as pages:
            async for page in pages:
                yield self._marked(page)

    async def users(self) -> Sequence[User]:
        """Employees with an extension; Users, which lacks those without a login, where they may not be read."""
        try:
            return await self._users("Employees")
        except (api.Refusal, api.Forbidden):
            return await self._users("Users")

    async def act(self, action: Action) -> Made:
        """Make what is asked for, or find what an earlier try made."""
        return await self._acts.act(action)

    async def close(self) -> None:
        """Log out and give back connections."""
        await self._http.close()

    async def _users(self, module: str) -> Sequence[User]:
        field = self._keys.extension_field or people.EXTENSION
        query = listing.Query(module, (*people.USER, field))
        found: dict[str, User | None] = {}
        async with aclosing(listing.pages(self._http, query)) as pages:
            async for rows in pages:
                if any(field not in row or fields.hides(row, field) for row in rows):
                    # Nobody having an extension, and nobody being seen to have one, are not the same.
                    raise errors.Unavailable(
                        f"{self._http.host} does not show {module}.{field}: right is an extension_field that the "
                        "login may see"
                    )
                found.update({row["id"]: people.user(row, self._keys.extension_field) for row in rows})
        return [user for user in found.values() if user is not None]

    def _marked(self, page: Page) -> Page:
        """With the mark of our keys on its cursor, if it is the last one."""
        return page if page.cursor is None else replace(page, cursor={"of": self._of, **page.cursor})
