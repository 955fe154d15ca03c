"""One login, shared by all that speak to a server with it: made once, renewed when it ends, never hammered.

Accounts are locked by programs that log in again and again. So a login that was rejected is not tried again before
the next run or check; one that ended early, which is how it looks when somebody else took it, is made anew at once
the first time, and then with growing pauses.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from bridge import errors

PAUSES = (60.0, 900.0)
"""Seconds between logins that each ended early: the first pause, and the longest."""

S = TypeVar("S")
R = TypeVar("R")


class Expired(errors.Denied):
    """The server does not know this session any more: it may be ended, or taken by another login of the same user."""


class Login(Generic[S]):
    """Keeps one session of type S.

    `make` logs in; it is given the session that ended (to renew it by), or None. It raises Denied where the login is
    rejected. `lives` tells whether a session has time left by the server's own word.
    """

    def __init__(
        self,
        make: Callable[[S | None], Awaitable[S]],
        lives: Callable[[S], bool] = lambda _: True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make = make
        self._lives = lives
        self._clock = clock
        self._turn = asyncio.Lock()
        self._session: S | None = None
        self._rejected: errors.Denied | None = None
        self._renewed = float("-inf")
        self._pause = 0.0

    def begin(self) -> None:
        """A run or a check begins: a login that was rejected before may be tried once more."""
        self._rejected = None

    async def session(self) -> S:
        """The session, made if there is none; raises what `make` raises, and a rejection again without asking."""
        async with self._turn:
            return await self._current()

    async def use(self, ask: Callable[[S], Awaitable[R]]) -> R:
        """What `ask` returns; where it raises Expired, once more with another session.

        Raises Denied where a new login does not help, Unavailable where the last one was a moment ago.
        """
        session = await self.session()
        try:
            return await ask(session)
        except Expired as ended:
            async with self._turn:
                if self._session is session:
                    self._renew(ended)
                session = await self._current(session)
        try:
            return await ask(session)
        except Expired as ended:
            raise errors.Denied(f"a new login does not help: {ended}", ended.code or "401") from None

    def drop(self) -> S | None:
        """Forget the session, and return it for whoever wants to log out."""
        session, self._session = self._session, None
        return session

    async def _current(self, ended: S | None = None) -> S:
        if self._rejected is not None:
            raise self._rejected
        if self._session is not None and not self._lives(self._session):
            ended = self.drop()
        if self._session is None:
            try:
                self._session = await self._make(ended)
            except errors.Denied as rejected:
                self._rejected = rejected
                raise
        return self._session

    def _renew(self, ended: Expired) -> None:
        """Let go of the session, unless that was done so lately that somebody else must be taking it."""
        now = self._clock()
        since = now - self._renewed
        if since >= 2 * PAUSES[1]:
            self._pause = 0.0
        if since < self._pause:
            raise errors.Unavailable(
                f"{ended}; it was logged in anew {since:.0f} s ago: another program uses the same login, "
                "right is a login for bridge alone",
                after=self._pause - since,
            )
        self._pause = min(PAUSES[1], 2 * self._pause or PAUSES[0])
        self._renewed = now
        self._session = None
