"""What is in a mailbox: its folder tree, the ids in a folder, contacts by their ids, and what changed since a token."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from bridge import errors
from bridge.sources.zimbra import folders
from bridge.sources.zimbra.soap import Fault, Soap

BATCH = 500
"""Contacts asked for at a time."""
_CHANGES, _DELETES = 1000, 5000
_PATIENCE = 100
"""Contacts that may go while they are being read, before the run is better begun again."""
_NO_FUTURE = 4_000_000_000
"""A time that no message is newer than: the first sync then lists none."""
_GONE = frozenset({"mail.NO_SUCH_CONTACT", "mail.NO_SUCH_ITEM"})
_STALE = frozenset({"mail.MUST_RESYNC", "service.INVALID_REQUEST"})


class Stale(Exception):
    """The changes since that token cannot be told: everything must be read."""


class Card(msgspec.Struct):
    """A contact as the server spells it; `attributes` are texts, lists of texts, or objects for pictures."""

    id: str | int = ""
    folder: str | int = msgspec.field(name="l", default="")
    revision: int = msgspec.field(name="rev", default=0)
    change: int = msgspec.field(name="ms", default=0)
    seconds: int = msgspec.field(name="md", default=0)
    milliseconds: int = msgspec.field(name="d", default=0)
    file_as: str | None = msgspec.field(name="fileAsStr", default="")
    attributes: dict[str, Any] = msgspec.field(name="_attrs", default_factory=dict)

    @property
    def bare(self) -> str:
        """The id within its mailbox."""
        return bare(self.id)

    @property
    def version(self) -> str:
        """Another one whenever the contact was touched; "" where the server does not tell."""
        return f"{self.revision}.{self.change}" if self.change else ""

    @property
    def group(self) -> bool:
        """A list of contacts, and none itself."""
        return self.attributes.get("type") == "group"


class Cards(msgspec.Struct):
    """GetContactsResponse; without contacts the list is not there."""

    cards: list[Card] = msgspec.field(name="cn", default_factory=list)


class _Sync(msgspec.Struct):
    token: str | int = ""
    more: bool = False
    deleted: Any = None
    folders: Any = msgspec.field(name="folder", default=None)
    links: Any = msgspec.field(name="link", default=None)
    cards: list[Card] = msgspec.field(name="cn", default_factory=list)


class _SyncToken(msgspec.Struct):
    token: str | int = ""


@dataclass(slots=True)
class Changes:
    """What changed since a token: ids of contacts with the folder that each is in now ("": not told), and ids gone.

    `folders`: the tree may have changed. `gone` holds ids of anything, not of contacts alone, where the server gives no
    types.
    """

    token: str
    changed: dict[str, str] = field(default_factory=dict)
    gone: dict[str, None] = field(default_factory=dict)
    folders: bool = False


class Batch(NamedTuple):
    """Contacts, the ids of those that are not there any more, and of those that the server passes over in silence."""

    cards: list[Card]
    gone: list[str]
    silent: list[str]


class Mailbox:
    """Reads our own mailbox, and folders of others through their owners' ids."""

    def __init__(self, soap: Soap) -> None:
        self._soap = soap

    async def tree(self) -> folders.Tree:
        """All folders, and what is seen through mountpoints."""
        return await self._soap.ask("GetFolder", {"tr": True, "needGranteeName": False}, folders.Tree)

    async def listing(self, folder: folders.Folder, attributes: Sequence[str] = ()) -> list[Card]:
        """The contacts in a folder, groups left out, with no more of them than ids, versions and these attributes."""
        wanted = [{"n": name} for name in ("type", *attributes)]
        question = {"l": folder.id, "sync": 1, "a": wanted}
        return [card for card in await self._cards(question, folder.owner) if not card.group]

    async def contacts(self, ids: Sequence[str], owner: str = "") -> AsyncGenerator[Batch]:
        """These contacts, some at a time."""
        patience = _PATIENCE
        for some in sliced(ids, BATCH):
            cards, gone = await self._batch(some, owner, patience)
            patience -= len(gone)
            given = {card.bare for card in cards}.union(gone)
            yield Batch(cards, gone, [id for id in some if id not in given])

    async def token(self) -> str:
        """Where the changes from now on begin."""
        told = await self._soap.ask("Sync", {"typed": 1, "msgCutoff": _NO_FUTURE}, _SyncToken)
        if not str(told.token):
            raise errors.Unavailable(f"{self._soap.host} answers Sync without a token")
        return str(told.token)

    async def changes(self, token: str) -> Changes:
        """What changed since; Stale where the server cannot tell."""
        changes, more = Changes(token), True
        while more:
            question = {"token": changes.token, "typed": 1, "changeLimit": _CHANGES, "deleteLimit": _DELETES}
            try:
                told = await self._soap.ask("Sync", question, _Sync)
            except Fault as fault:
                if fault.code in _STALE:
                    raise Stale from None
                raise
            self._progress(changes.token, told)
            _add(changes, told)
            more = told.more
        return changes

    def _progress(self, before: str, told: _Sync) -> None:
        """A token that stands still would loop for ever; one that goes back is of a mailbox that was restored."""
        token = str(told.token)
        if not token or (told.more and token == before):
            raise errors.Unavailable(f"{self._soap.host} answers Sync without a token that goes on")
        old, new = _number(before), _number(token)
        if old is not None and new is not None and new < old:
            raise Stale

    async def _cards(self, question: Mapping[str, Any], owner: str) -> list[Card]:
        """What GetContacts answers; one without an id would stand for all of its kind."""
        told = await self._soap.ask("GetContacts", question, Cards, account=owner)
        if not all(card.bare for card in told.cards):
            raise errors.Unavailable(f"{self._soap.host} answers GetContacts with a contact without an id")
        return told.cards

    async def _batch(self, ids: Sequence[str], owner: str, patience: int) -> tuple[list[Card], list[str]]:
        """One batch; the server refuses all of it for one contact that is gone, and names that one, or does not."""
        wanted, gone = list(ids), list[str]()
        while wanted:
            question = {"sync": 1, "cn": [{"id": id} for id in wanted]}
            try:
                return await self._cards(question, owner), gone
            except Fault as fault:
                if fault.code not in _GONE:
                    raise
                lost = bare(fault.item)
                if lost in wanted:
                    wanted.remove(lost)
                    gone.append(lost)
                elif len(wanted) == 1:
                    gone += wanted
                    wanted = []
                else:
                    return await self._halves(wanted, gone, owner, patience)
                if len(gone) > patience:
                    raise errors.Unavailable(f"{self._soap.host}: contacts go while they are being read") from None
        return [], gone

    async def _halves(
        self, ids: Sequence[str], gone: Sequence[str], owner: str, patience: int
    ) -> tuple[list[Card], list[str]]:
        half = len(ids) // 2
        first = await self._batch(ids[:half], owner, patience)
        second = await self._batch(ids[half:], owner, patience)
        return first[0] + second[0], [*gone, *first[1], *second[1]]


def bare(id: str | int) -> str:
    """An id without the owner that stands in front of it."""
    return str(id).rpartition(":")[2]


def sliced(ids: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """The ids, so many at a time."""
    return (ids[start : start + size] for start in range(0, len(ids), size))


def _add(changes: Changes, told: _Sync) -> None:
    """The next part of an answer: deletions come before changes."""
    changes.token = str(told.token)
    changes.folders = changes.folders or bool(told.folders) or bool(told.links)
    for id in _deleted(changes, told.deleted):
        changes.gone[id] = None
        changes.changed.pop(id, None)
    for card in told.cards:
        changes.changed[str(card.id)] = str(card.folder)
        changes.gone.pop(str(card.id), None)


def _deleted(changes: Changes, deleted: Any) -> Iterator[str]:
    """The ids of contacts that were deleted, or of anything where the server gives no types."""
    for part in _objects(deleted):
        kinds = {name: value for name, value in part.items() if isinstance(value, list | dict)}
        if kinds:
            changes.folders = changes.folders or "folder" in kinds or "link" in kinds
        for each in _objects(kinds.get("cn", [])) if kinds else [part]:
            yield from filter(None, str(each.get("ids", "")).split(","))


def _objects(value: Any) -> list[dict[str, Any]]:
    """The objects of a list, or the one that stands where a list may."""
    return [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, dict)]


def _number(token: str) -> int | None:
    found = re.match(r"\d+", token)
    return int(found.group()) if found else None
