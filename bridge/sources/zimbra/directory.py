"""The people of the directory (GAL): read whole, or what changed since a token; never groups or resources."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from bridge import errors
from bridge.contact import User
from bridge.sources import INTERNAL
from bridge.sources.zimbra.mailbox import Card, Stale
from bridge.sources.zimbra.soap import ACCOUNT, Fault, Soap

_PAGE = 1000
_OFF = frozenset({"service.PERM_DENIED", "service.UNKNOWN_DOCUMENT"})
_TELEPHONE = "telephoneNumber"
"""The attribute that holds extensions in most directories; the server's map of them calls it workPhone."""
_AFTER = 60.0


class _Id(msgspec.Struct):
    id: str | int = ""


class _Galsync(msgspec.Struct):
    token: str | int = ""
    more: bool = False
    throttled: bool = False
    fresh: bool = msgspec.field(name="fullSyncRecommended", default=False)
    cards: list[Card] = msgspec.field(name="cn", default_factory=list)
    deleted: list[_Id] = msgspec.field(default_factory=list)


class _Found(msgspec.Struct):
    more: bool = False
    paged: bool = msgspec.field(name="paginationSupported", default=True)
    cards: list[Card] = msgspec.field(name="cn", default_factory=list)


class Throttled(errors.Unavailable):
    """The server answers no question about the directory now; that says nothing of who is in it."""


@dataclass(slots=True)
class Part:
    """Some of the directory: people, and the ids of what is gone or no person. `token`: where the next part begins.

    `token` is "" where the server tells no changes.
    """

    people: list[Card] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    token: str = ""


class Directory:
    """Reads the directory of the login's domain."""

    def __init__(self, soap: Soap, extension: str) -> None:
        self._soap = soap
        self._extension = extension
        self._token = ""
        self._users: dict[str, User] = {}

    def forget(self) -> None:
        """Read the users whole the next time: some directories never say who left."""
        self._token, self._users = "", {}

    async def parts(self, token: str) -> AsyncGenerator[Part]:
        """Everybody, or what changed since the token; Stale where it must be everybody, Throttled for not now."""
        try:
            async for part in self._sync(token):
                yield part
            return
        except Fault as fault:
            if fault.code not in _OFF:
                raise
        if token:
            raise Stale
        async for part in self._search():
            yield part

    async def users(self) -> Sequence[User]:
        """Everybody who has an extension."""
        if self._token:
            try:
                return await self._read(self._token, dict(self._users))
            except Stale:
                pass
        return await self._read("", {})

    async def _read(self, token: str, users: dict[str, User]) -> Sequence[User]:
        async for part in self.parts(token):
            token = part.token
            for id in part.gone:
                users.pop(id, None)
            for card in part.people:
                users.pop(identity(card), None)
                if (user := self._user(card)) is not None:
                    users[user.id] = user
        self._token, self._users = token, users
        return list(users.values())

    def _user(self, card: Card) -> User | None:
        """The person as one of the PBX; None without an extension."""
        extension = self._number(card)
        if not extension:
            return None
        told = card.attributes
        first, last = _first(told.get("firstName")), _first(told.get("lastName"))
        if not first and not last:
            first, _, last = _first(told.get("fullName")).partition(" ")
        return User(identity(card), extension, first, last, _first(told.get("email")))

    def _number(self, card: Card) -> str:
        """The extension as written; without a field of its own, the telephone number where that is one."""
        told = card.attributes
        if self._extension not in ("", _TELEPHONE):
            return _first(told.get(self._extension))
        number = _first(told.get(_TELEPHONE)) or _first(told.get("workPhone"))
        return number if self._extension or INTERNAL.fullmatch(number) else ""

    async def _sync(self, token: str) -> AsyncGenerator[Part]:
        """SyncGal, page after page."""
        more = True
        while more:
            question: dict[str, Any] = {"limit": _PAGE, "idOnly": 0, **({"token": token} if token else {})}
            told = await self._soap.ask("SyncGal", question, _Galsync, space=ACCOUNT)
            if told.throttled:
                raise Throttled(f"{self._soap.host} has too many asking for its directory at once", after=_AFTER)
            if told.fresh and token:
                raise Stale
            before, token, more = token, str(told.token), told.more
            if not token or (more and token == before):
                raise errors.Unavailable(f"{self._soap.host} answers SyncGal without a token that goes on")
            yield _part(told.cards, [str(each.id) for each in told.deleted], token)

    async def _search(self) -> AsyncGenerator[Part]:
        """The directory as a search finds it, for servers where it is not synchronised."""
        offset, more = 0, True
        while more:
            question = {"type": "account", "name": {"_content": "."}, "limit": _PAGE, "offset": offset}
            told = await self._soap.ask("SearchGal", question, _Found, space=ACCOUNT)
            more = told.more
            if more and (not told.paged or not told.cards):
                raise errors.Unavailable(
                    f"{self._soap.host} gives {len(told.cards)} people of its directory and no way to the others: "
                    "right is zimbraFeatureGalSyncEnabled TRUE for the account"
                )
            offset += len(told.cards)
            yield _part(told.cards, [], "")


def identity(card: Card) -> str:
    """The id of an entry as the server gives it; where it gives none, what else names it alone."""
    told = card.attributes
    return str(card.id) or next((text for name in ("zimbraId", "dn", "email") if (text := _first(told.get(name)))), "")


def _part(cards: Sequence[Card], deleted: list[str], token: str) -> Part:
    people = [card for card in cards if _is_person(card.attributes) and identity(card)]
    kept = {identity(card) for card in people}
    others = [id for card in cards if (id := identity(card)) and id not in kept]
    return Part(people, [*deleted, *others], token)


def _is_person(told: dict[str, Any]) -> bool:
    """Neither a group nor a resource, and neither hidden nor closed."""
    classes = told.get("objectClass", [])
    odd = {"zimbraDistributionList", "zimbraGroup", "zimbraCalendarResource"}
    return not (
        told.get("type") == "group"
        or told.get("zimbraCalResType")
        or odd & set(classes if isinstance(classes, list) else [classes])
        or told.get("zimbraHideInGal") == "TRUE"
        or told.get("zimbraAccountStatus", "active") != "active"
    )


def _first(value: Any) -> str:
    if isinstance(value, list):
        return next((text for each in value if not isinstance(each, list) and (text := _first(each))), "")
    return value.strip() if isinstance(value, str) else ""
