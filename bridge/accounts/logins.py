"""Whether a user's password is right, asked thousands of times a minute by softphones whose password has not changed.

A poll is one look by primary key; what waits while one is under way is asked together by the next. Argon2 is paid by
whoever comes with a password that was not found right before (`passwords.Checked`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from bridge import accounts, errors
from bridge.accounts.passwords import NOBODY, Checked, Passwords
from bridge.store import Connection, Prepared, Store

_DEADLINE = 2.0
_AT_ONCE = 256

SQL = accounts.SQL


class Poll(NamedTuple):
    """What one look says: of the user, and of what this device was last given (None: it is not known)."""

    login: str
    disabled: bool
    version: int
    mark: bytes | None


Key = tuple[str, str, str]
"""Tenant, user name, device."""
Waiting = tuple[Key, "asyncio.Future[Poll | None]"]


class Logins:
    """The users' rows and passwords, as one process sees them."""

    def __init__(self, db: Store, passwords: Passwords | None = None, checked: Checked | None = None) -> None:
        self._db = db
        self._passwords = passwords or Passwords()
        self._checked = checked or Checked()
        self._waiting: deque[Waiting] = deque()
        self._line: Connection | None = None
        self._poll: Prepared | None = None
        self._work: asyncio.Task[None] | None = None

    async def look(self, tenant: str, username: str, device: str = "") -> Poll | None:
        """The user's row as it is now; None: there is no such user."""
        future: asyncio.Future[Poll | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(((tenant, username, device), future))
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._carry())
        return await future

    def known(self, poll: Poll | None, password: str) -> bool:
        """Whether this was found to be the password of the user that was looked up."""
        return poll is not None and self._checked.holds(poll.login, password)

    async def right(self, poll: Poll | None, password: str, unless: Callable[[], object] = lambda: None) -> bool:
        """Whether this is the password of the user that was looked up, disabled or not.

        For nobody it takes as long as for somebody. False without a check if `unless()` holds when its turn comes.
        """
        if self.known(poll, password):
            return True
        kept = poll.login if poll else NOBODY
        if not await self._passwords.check(kept, password, unless):
            return False
        self._checked.keep(kept, password)
        return True

    async def close(self) -> None:
        """Let go of the connection and the threads."""
        if self._work:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)
        await self._hang_up()
        self._passwords.close()

    async def _carry(self) -> None:
        """Answer all that waits, and what comes meanwhile."""
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), _AT_ONCE))]
            try:
                found = await self._ask([key for key, _ in batch])
            except BaseException as fault:
                reason = str(fault) if isinstance(fault, errors.Unavailable) else "the look-up was broken off"
                for _, future in batch:
                    if not future.done():
                        future.set_exception(errors.Unavailable(reason, after=1.0))
                if isinstance(fault, errors.Unavailable):
                    continue
                raise
            for n, (_, future) in enumerate(batch, 1):
                if not future.done():
                    future.set_result(found.get(n))

    async def _ask(self, keys: Sequence[Key]) -> dict[int, Poll]:
        """One query for all; asked again on a new connection where the one that was held is lost."""
        columns = [list(column) for column in zip(*keys, strict=True)]
        held = self._poll is not None and self._line is not None and not self._line.closed
        try:
            rows = await (await self._ready()).fetch(*columns, within=_DEADLINE)
        except errors.Unavailable:
            await self._hang_up()
            if not held:
                raise
            rows = await (await self._ready()).fetch(*columns, within=_DEADLINE)
        return {row[0]: Poll(*row[1:]) for row in rows}

    async def _ready(self) -> Prepared:
        if self._poll is not None and self._line is not None and not self._line.closed:
            return self._poll
        await self._hang_up()
        try:
            async with asyncio.timeout(_DEADLINE):
                self._line = await self._db.connect()
                for setting in ("plan_once", "by_index", "no_bitmaps"):
                    await self._line.execute(SQL[setting])
                self._poll = await self._line.prepare(SQL["poll"])
        except TimeoutError:
            raise errors.Unavailable(f"the database does not answer within {_DEADLINE:.0f} s") from None
        return self._poll

    async def _hang_up(self) -> None:
        line, self._line, self._poll = self._line, None, None
        if line:
            with contextlib.suppress(errors.Unavailable):
                await self._db.release(line)
