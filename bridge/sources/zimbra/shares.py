"""Folders of other mailboxes: listed in every run, and compared with what each brought before.

A share that is broken keeps what it brought, so the ids of that are remembered; ids in a mailbox stand close together,
so they are kept as ranges.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bridge import client
from bridge.sources.zimbra.folders import Folder
from bridge.sources.zimbra.mailbox import Card, Mailbox
from bridge.sources.zimbra.soap import Fault

_DENIED = "service.PERM_DENIED"


@dataclass(frozen=True, slots=True)
class Brought:
    """What a folder of another mailbox brought: bare ids, and the mountpoint that it was seen through.

    `more`: there may be others, of which we do not know.
    """

    link: str
    ids: frozenset[str] = frozenset()
    more: bool = False

    def dump(self) -> dict[str, Any]:
        """As JSON."""
        return {"link": self.link, "ids": pack(self.ids), "more": self.more}


@dataclass(slots=True)
class Look:
    """What a run finds in the shares.

    `brought` by folder (`Folder.key`); `listed` are folders to read, with their contacts; `kept` are ids that broken
    shares brought. `spared` are beginnings of ids that a broken one may have brought for all that is known. `denied`:
    one may not be read.
    """

    brought: dict[str, Brought] = field(default_factory=dict)
    listed: list[tuple[Folder, list[Card]]] = field(default_factory=list)
    kept: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    spared: set[str] = field(default_factory=set)
    denied: bool = False

    def add(self, folder: Folder, cards: list[Card]) -> None:
        """A folder was listed."""
        known = self.brought.get(folder.key, Brought(folder.link))
        self.listed.append((folder, [card for card in cards if card.bare not in known.ids]))
        self.brought[folder.key] = Brought(folder.link, known.ids.union(card.bare for card in cards))

    def gone(self, before: Mapping[str, Brought]) -> list[str]:
        """What was brought before and is in no share any more."""
        return sorted(_ids(before) - _ids(self.brought))


async def look(mailbox: Mailbox, folders: Iterable[Folder], before: Mapping[str, Brought]) -> Look:
    """List every share; a fault of one is its own, and only a denied right ends what it brought."""
    found = Look()
    for folder in folders:
        try:
            cards = await mailbox.listing(folder)
        except Fault as fault:
            if fault.code == _DENIED:
                found.notes.append(f"the share {folder.path!r} may not be read any more: its contacts go")
                found.denied = True
            else:
                _keep(found, folder, before, fault.code)
            continue
        except client.TooMuch:
            # Our server waits for the owner's, which is away.
            _keep(found, folder, before, "it is not answered for in time")
            continue
        if folder.broken:
            _keep(found, folder, before, "its folders are not shown")
            continue
        found.add(folder, cards)
    await _look_again(mailbox, found, before)
    return found


async def _look_again(mailbox: Mailbox, found: Look, before: Mapping[str, Brought]) -> None:
    """What moved between two folders of one mailbox while these were listed, one after the other, is found now."""
    owners = [folder.owner for folder, _ in found.listed]
    lost = {id.partition(":")[0] for id in found.gone(before)}
    again = [folder for folder, _ in found.listed if folder.owner in lost and owners.count(folder.owner) > 1]
    for folder in again:
        found.add(folder, await mailbox.listing(folder))


def _keep(found: Look, folder: Folder, before: Mapping[str, Brought], why: str) -> None:
    """Keep what came through a broken mountpoint, or from one broken folder behind one that is not."""
    mine = {
        key: each
        for key, each in before.items()
        if key == folder.key or (folder.broken and each.link == folder.link and key not in found.brought)
    }
    mine = mine or {folder.key: Brought(folder.link, more=True)}
    found.brought |= mine
    found.kept |= _ids(mine)
    if any(each.more for each in mine.values()):
        found.spared.add(f"{folder.owner}:")
    found.notes.append(
        f"the share {folder.path!r} is broken ({why}): "
        "its contacts stay as they were, until it is mended or its mountpoint deleted"
    )


def load(data: Mapping[str, Any]) -> dict[str, Brought]:
    """What `dump` made of each."""
    return {key: Brought(each["link"], unpack(each["ids"]), each["more"]) for key, each in data.items()}


def pack(ids: Iterable[str]) -> str:
    """Ids as ranges: `7-9,12`."""
    numbers = sorted({int(id) for id in ids if re.fullmatch("[0-9]{1,18}", id)})
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def unpack(ranges: str) -> frozenset[str]:
    """The ids of `pack`."""
    ids: set[str] = set()
    for part in filter(None, ranges.split(",")):
        first, _, last = part.partition("-")
        ids.update(map(str, range(int(first), int(last or first) + 1)))
    return frozenset(ids)


def _ids(brought: Mapping[str, Brought]) -> set[str]:
    return {f"{key.rpartition(':')[0]}:{id}" for key, each in brought.items() for id in each.ids}
