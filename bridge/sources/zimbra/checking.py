"""What `bridge check` says of a login: the folders read, how many contacts each has, and what to change."""

from __future__ import annotations

from bridge.sources.zimbra import folders
from bridge.sources.zimbra.directory import Directory
from bridge.sources.zimbra.runs import Reach
from bridge.sources.zimbra.soap import Fault


async def check(reach: Reach, directory: Directory | None, *, users: bool) -> str:
    """One line; raises Denied or Unavailable where the login or our own folders cannot be read."""
    counts: list[str] = []
    wrong: list[str] = []
    filled: set[str] = set()
    total = 0
    for folder in await reach.chosen():
        try:
            cards = await reach.mailbox.listing(folder, tuple(reach.fields.values()))
        except Fault as fault:
            if not folder.owner:
                raise
            wrong.append(f"{_share(folder)} cannot be read ({fault.code})")
            continue
        if folder.broken:
            wrong.append(f"{_share(folder)} is broken")
            continue
        filled.update(name for card in cards for name in card.attributes)
        counts.append(f"{folder.path[:80]} {len(cards):,}")
        total += len(cards)
    told = [f"{total:,} contacts in {len(counts)} folder{'' if len(counts) == 1 else 's'} ({', '.join(counts)})"]
    if not counts:
        told = ["no contacts"]
    if directory is not None:
        told.append(await _people(directory, users=users))
    if total:
        wrong += [f"no contact has the field {name!r}" for name in reach.fields.values() if name not in filled]
    return "; ".join((*told, *wrong))


async def _people(directory: Directory, *, users: bool) -> str:
    people = 0
    async for part in directory.parts(""):
        people += len(part.people)
    if not users:
        return f"{people:,} people in the directory"
    extensions = len(await directory.users())
    told = f"{people:,} people in the directory, {extensions:,} with an extension"
    return told if extensions else f"{told}: extension_field names the attribute that holds it"


def _share(folder: folders.Folder) -> str:
    return f"the share {folder.path[:80]!r}, which its owner mends or whose mountpoint is to be deleted,"
