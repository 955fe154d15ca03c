"""One run over what a login reads: everything, or what changed.

The cursor is {"token", "own": ids of our folders, "shares": {folder: what it brought}, "linked": whether any are
asked for, "gal": the directory's token}.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from bridge import errors
from bridge.contact import Record
from bridge.sources import Cursor, Known, Page, Unreadable
from bridge.sources.zimbra import contacts, folders, shares
from bridge.sources.zimbra.directory import Directory, Throttled, identity
from bridge.sources.zimbra.mailbox import Card, Mailbox, Stale, bare, sliced

_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Reach:
    """What is read, and how: folders by path, titles with attributes, the page of a contact by its id."""

    host: str
    mailbox: Mailbox
    directory: Directory | None
    names: Sequence[str]
    fields: Mapping[str, str]
    url: Callable[[str], str]

    async def chosen(self) -> list[folders.Folder]:
        """The folders that are there and asked for."""
        tree = await self.mailbox.tree()
        return folders.choose(folders.contact_folders(tree), self.names, self.host)


class Run:
    """One run; `brought` is what each share brought, before the run and after it, None where that is not known."""

    def __init__(self, reach: Reach, known: Known, brought: Mapping[str, shares.Brought] | None) -> None:
        self.brought = brought
        self._reach = reach
        self._known = known
        self._rooms: dict[str, set[str]] = {}
        self._gone: dict[str, None] = {}
        self._held = 0
        self._filled: set[str] = set()
        self._notes: list[str] = []
        self._gal = ""

    async def everything(self) -> AsyncGenerator[Page]:
        """All of it. The token comes first, and what changed after it is read once more at the end."""
        mailbox = self._reach.mailbox
        token = await mailbox.token()
        chosen = await self._reach.chosen()
        self._enter(chosen)
        own = [folder for folder in chosen if not folder.owner]
        for folder in own:
            async with aclosing(self._listed(await mailbox.listing(folder), "")) as pages:
                async for page in pages:
                    yield page
        look = await shares.look(mailbox, [folder for folder in chosen if folder.owner], self.brought or {})
        try:
            changes = await mailbox.changes(token)
        except Stale:
            raise errors.Unavailable(f"{self._reach.host} takes its own token of a moment ago no more") from None
        for part in (self._shared(look), self._changed(changes.changed, changes.gone), self._people("")):
            async with aclosing(part) as pages:
                async for page in pages:
                    yield page
        self._notes += (f"no contact has the field {name!r}" for name in self._unfilled())
        yield Page(spared=sorted(look.spared))
        for page in self._last(token, own, look, complete=True):
            yield page

    async def changes(self, since: Cursor) -> AsyncGenerator[Page]:
        """What changed since that cursor; Stale, before anything is said to be gone, where that cannot be told."""
        mailbox = self._reach.mailbox
        changes = await mailbox.changes(since["token"])
        own = [folders.Folder(id, "") for id in since["own"]]
        chosen = own
        if changes.folders or since["linked"] or not changes.gone.keys().isdisjoint(since["own"]):
            chosen = await self._reach.chosen()
            if {folder.id for folder in chosen if not folder.owner} != set(since["own"]):
                raise Stale
        self._enter(chosen)
        look = await shares.look(mailbox, [folder for folder in chosen if folder.owner], self.brought or {})
        self._gal = since["gal"]
        parts = [self._changed(changes.changed, changes.gone), self._shared(look)]
        if self._reach.directory and since["gal"]:
            parts.append(self._people(since["gal"]))
        for part in parts:
            async with aclosing(part) as pages:
                async for page in pages:
                    yield page
        self._gone |= dict.fromkeys(look.gone(self.brought or {}))
        for page in self._last(changes.token, own, look):
            yield page

    def _enter(self, chosen: Iterable[folders.Folder]) -> None:
        for folder in chosen:
            self._rooms.setdefault(folder.owner, set()).add(folder.id)

    async def _listed(self, cards: Sequence[Card], owner: str) -> AsyncGenerator[Page]:
        """The contacts of a listing: what is held at that very version is not read again."""
        versions = {_id(card.id, owner): card.version for card in cards}
        wanted: list[str] = []
        for ids in sliced(list(versions), _PAGE):
            held = await self._known([(id, versions[id]) for id in ids if versions[id]])
            self._held += len(held)
            yield Page(kept=sorted(held))
            wanted += [id for id in ids if id not in held]
        async with aclosing(self._read(wanted, owner)) as pages:
            async for page in pages:
                yield page

    async def _shared(self, look: shares.Look) -> AsyncGenerator[Page]:
        """What is in the shares, and what the broken ones brought."""
        self._notes += look.notes
        for folder, cards in look.listed:
            async with aclosing(self._listed(cards, folder.owner)) as pages:
                async for page in pages:
                    yield page
        for some in sliced(sorted(look.kept), _PAGE):
            yield Page(kept=some)

    async def _changed(self, changed: Mapping[str, str], gone: Iterable[str]) -> AsyncGenerator[Page]:
        """Contacts of our own mailbox that changed; one that is in no folder of ours now is gone for us."""
        self._gone |= dict.fromkeys(gone)
        wanted = {id: folder for id, folder in changed.items() if self._holds("", folder)}
        self._gone |= dict.fromkeys(changed.keys() - wanted.keys())
        async with aclosing(self._read(list(wanted), "")) as pages:
            async for page in pages:
                yield page

    async def _read(self, ids: Sequence[str], owner: str) -> AsyncGenerator[Page]:
        async with aclosing(self._reach.mailbox.contacts([bare(id) for id in ids], owner)) as batches:
            async for cards, gone, silent in batches:
                self._gone |= dict.fromkeys(_id(id, owner) for id in gone)
                yield Page(
                    records=self._records(cards, owner),
                    unreadable=[Unreadable(_id(id, owner), "listed, and then not given") for id in silent],
                )

    def _records(self, cards: Iterable[Card], owner: str) -> list[Record]:
        records = []
        for card in cards:
            id = _id(card.id, owner)
            if card.group or not self._holds(owner, str(card.folder)):
                self._gone[id] = None
            else:
                self._gone.pop(id, None)
                records.append(self._record(card, id, self._reach.url(id)))
        return records

    def _record(self, card: Card, id: str, url: str) -> Record:
        record = contacts.record(card, id, self._reach.fields, url)
        if len(self._filled) < len(self._reach.fields):
            self._filled.update(title for title, _ in record.custom)
        return record

    def _holds(self, owner: str, folder: str) -> bool:
        return not folder or bare(folder) in self._rooms.get(owner, ())

    async def _people(self, token: str) -> AsyncGenerator[Page]:
        """The directory's people; a server that is too busy for that leaves a later run to find what changed."""
        if self._reach.directory is None:
            return
        try:
            async with aclosing(self._reach.directory.parts(token)) as parts:
                async for part in parts:
                    self._gone |= dict.fromkeys(part.gone)
                    records = [self._record(card, identity(card), "") for card in part.people]
                    for record in records:
                        self._gone.pop(record.id, None)
                    yield Page(records=records)
                    found = part.token
        except Throttled as busy:
            if not token:
                raise
            self._notes.append(f"{busy}: its people are as they were")
        else:
            self._gal = found
            if not found:
                self._notes.append("the directory tells no changes: its people are read with full runs alone")

    def _unfilled(self) -> list[str]:
        """Configured fields that no contact has, where every contact was read."""
        if self._held:
            return []
        return [name for title, name in self._reach.fields.items() if title not in self._filled]

    def _last(
        self,
        token: str,
        own: Iterable[folders.Folder],
        look: shares.Look,
        *,
        complete: bool = False,
    ) -> Iterable[Page]:
        """What is gone, and the cursor."""
        for some in sliced(list(self._gone), _PAGE):
            yield Page(removed=some)
        self.brought = look.brought
        cursor: dict[str, Any] = {
            "token": token,
            "own": sorted(folder.id for folder in own),
            "shares": {key: each.dump() for key, each in look.brought.items()},
            "linked": any(self._rooms),
            "gal": self._gal,
        }
        yield Page(cursor=cursor, complete=complete, notes=self._notes, withheld=look.denied)


def _id(id: str | int, owner: str) -> str:
    """A contact's id as we hold it: of another mailbox, with its owner's in front."""
    return f"{owner}:{bare(id)}" if owner else str(id)
