"""Who may come in with the login of an account: guesses are counted by user and by address, whatever surface they try.

A process has one desk, which outlives its configurations.
"""

from __future__ import annotations

from collections.abc import Sequence

from bridge.accounts import details
from bridge.accounts.logins import Logins, Poll
from bridge.server.access import Access
from bridge.server.peers import Throttle
from bridge.store import Store

_USERS = _ADDRESSES = 50_000
_LONGEST = 300
"""Characters of a user name that are looked at; no account has so long a name."""


class Turned(Exception):
    """Nobody comes in; `wait`: for so many seconds, because of earlier guesses, else because of this one."""

    def __init__(self, wait: float = 0.0) -> None:
        super().__init__("too many wrong guesses" if wait else "wrong")
        self.wait = wait


class Desk:
    """Checks logins, and makes those wait who guess."""

    def __init__(
        self, db: Store, users: Throttle | None = None, addresses: Throttle | None = None, logins: Logins | None = None
    ) -> None:
        self.db = db
        self.access = Access("account.busy")
        self._logins = logins or Logins(db)
        self._users = users or Throttle(addresses=_USERS)
        self._addresses = addresses or Throttle(addresses=_ADDRESSES)

    async def admit(
        self, tenant: str, ways: Sequence[tuple[str, str]], *, device: str = "", address: str = ""
    ) -> tuple[str, Poll]:
        """The user whose name and password one of `ways` spells, disabled or not; Turned where none does.

        An address of "" is not counted.
        """
        ways = list(dict.fromkeys((_named(username), password) for username, password in ways))
        users = [f"{tenant}\0{username}" for username, _ in ways]

        def wait() -> float:
            return max(self._addresses.wait(address), *map(self._users.wait, users))

        if seconds := wait():
            raise Turned(seconds)
        found = None
        for username, password in ways:
            poll = await self._logins.look(tenant, username, storable(device))
            # Among many guesses at once, those behind the tenth wrong one are not looked at.
            right = self._logins.known(poll, password) or await self._logins.right(poll, password, unless=wait)
            if right and poll:
                found = username, poll
                break
        if seconds := wait():
            raise Turned(seconds)
        if found is None:
            for user in set(users):
                self._users.wrong(user)
            if address:
                self._addresses.wrong(address)
            raise Turned
        return found

    async def close(self) -> None:
        """Let go of the connection and the threads."""
        await self._logins.close()


def storable(text: str) -> str:
    """The text without what a database takes for none, which would fail the look-up for all that are asked with it."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in text)


def _named(username: str) -> str:
    return storable(details.username(username))[:_LONGEST]
