"""SuiteCRM 7 and 8, and Sugar's community edition: REST v4_1.

A run by cursor asks each module for what changed, deleted records among it; where that cannot be told the run starts
again as a complete one. Record pages are SuiteCRM 7's, under `url` as it is given: SuiteCRM 8 leads from them to its
own.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

from bridge.actions import Action, Made
from bridge.contact import User
from bridge.sources import Cursor, Known, Page
from bridge.sources.suitecrm import mapping, people, runs, service, writing

if TYPE_CHECKING:
    from bridge import keys


def open(name: str, keys: keys.SuiteCrm) -> SuiteCrm:
    """The source of these keys; nothing is asked yet."""
    return SuiteCrm(keys)


class SuiteCrm:
    """Reads the modules of one CRM as one user, and writes activities."""

    def __init__(self, keys: keys.SuiteCrm) -> None:
        self._keys = keys
        self._modules = tuple(dict.fromkeys(keys.modules))
        self._service = service.Service(keys)
        self._runs = runs.Runs(self._service, self._modules, keys.fields, keys.overlap)
        self._writer = writing.Writer(self._service, self._modules)
        of = (1, self._service.url, keys.username, self._modules, sorted(keys.fields.items()))
        self._of = hashlib.sha256(repr(of).encode()).hexdigest()[:16]

    async def check(self) -> str:
        """Who is logged in, how many contacts each module shows, and what is missing there."""
        self._service.login.begin()
        await self._service.now()
        session = await self._service.login.session()
        who = f"{self._keys.username}{' (administrator)' if session.admin else ''}"
        self._runs.begin(afresh=True)
        counts, faults = [], []
        for module in self._modules:
            layout = await self._runs.layout(module)
            counts.append(f"{await self._runs.sees(module)} {module}")
            if layout.lacks:
                faults.append(f"{layout.note}; right is a field's name as Studio shows it")
        if "Contacts" in self._modules:
            try:
                counts.append(f"numbers of {await self._runs.sees(mapping.COMPANIES)} Accounts")
            except (service.NoAccess, service.NoModule):
                faults.append("Accounts may not be read; right is a role that may list and view them")
        if self._keys.users:
            counts.append(f"{len(await self.users())} users with an extension")
        return "; ".join([f"{self._service.host}: logged in as {who}, reads {', '.join(counts)}", *faults])

    async def read(self, since: Cursor | None, known: Known) -> AsyncGenerator[Page]:
        """What changed since, or everything."""
        self._service.login.begin()
        if since is not None and since.get("of") == self._of:
            try:
                async with aclosing(self._runs.changes(since)) as pages:
                    async for page in pages:
                        yield self._marked(page)
                return
            except runs.Stale:
                pass
        async with aclosing(self._runs.everything()) as pages:
            async for page in pages:
                yield self._marked(page)

    async def users(self) -> Sequence[User]:
        """The active users with an extension."""
        return await people.read(self._service, self._keys.extension_field)

    async def act(self, action: Action) -> Made:
        """Make the record, or find it."""
        return await self._writer.act(action)

    async def close(self) -> None:
        """Log out, and give back connections."""
        await self._service.close()

    def _marked(self, page: Page) -> Page:
        """With the mark of our keys on its cursor, if it is the last one."""
        return page if page.cursor is None else replace(page, cursor={"of": self._of, **page.cursor})
