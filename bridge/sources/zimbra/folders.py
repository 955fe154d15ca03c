"""Which folders are read: the tree as GetFolder tells it, and what of it the configuration names. No I/O."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from bridge import errors

TRASH, JUNK, COLLECTED = "3", "4", "13"
"""The ids of Trash, Junk and Emailed Contacts in every mailbox, whatever they are called."""


class Node(msgspec.Struct):
    """A folder or a mountpoint; one without `view` is the mere path to others."""

    id: str | int = ""
    name: str = ""
    view: str = ""
    folders: list[Node] = msgspec.field(name="folder", default_factory=list)
    links: list[Node] = msgspec.field(name="link", default_factory=list)
    zid: str = ""
    rid: str | int = ""
    broken: bool = False


class Tree(msgspec.Struct):
    """GetFolderResponse."""

    roots: list[Node] = msgspec.field(name="folder", default_factory=list)


@dataclass(frozen=True, slots=True)
class Folder:
    """One contact folder: `id` in the mailbox of `owner`, an account's id ("": our own).

    `link` is the id of the mountpoint that a folder of another mailbox is seen through; `broken`: it shows nothing.
    """

    id: str
    path: str
    owner: str = ""
    link: str = ""
    broken: bool = False

    @property
    def key(self) -> str:
        """What names the folder among those of all mailboxes."""
        return f"{self.owner}:{self.id}" if self.owner else self.id


def contact_folders(tree: Tree) -> list[Folder]:
    """Every folder that may be read, each once, in the tree's order; never Trash, Junk or what is in them."""
    found: dict[str, Folder] = {}
    for root in tree.roots:
        for folder in _own(root, ""):
            found.setdefault(folder.key, folder)
    return list(found.values())


def choose(folders: Sequence[Folder], names: Sequence[str], host: str) -> list[Folder]:
    """The folders of these paths; raises Unavailable for a path that is not there, naming those that are.

    A path below a mountpoint that is broken stands for that mountpoint.
    """
    if "*" in names:
        return [folder for folder in folders if folder.id != COLLECTED]
    chosen: dict[str, Folder] = {}
    for name in names:
        folder = _named(folders, name)
        if folder is None:
            there = _shown(folders) or "none"
            raise errors.Unavailable(f"{host} has no contact folder {name!r}; there are: {there}")
        chosen[folder.key] = folder
    return list(chosen.values())


def _shown(folders: Sequence[Folder]) -> str:
    """Their paths, in a message: each and all of them cut short."""
    paths = ", ".join(repr(each.path[:80]) for each in folders)
    return paths if len(paths) <= 300 else paths[:299] + "…"


def _named(folders: Sequence[Folder], name: str) -> Folder | None:
    wanted = _fold(name)
    for folder in folders:
        if _fold(folder.path) == wanted or (folder.broken and wanted.startswith(_fold(folder.path) + "/")):
            return folder
    return None


def _fold(path: str) -> str:
    """Paths are told apart as the server does: in any case."""
    return unicodedata.normalize("NFC", path).strip("/").casefold()


def _own(node: Node, path: str) -> Iterator[Folder]:
    """What is at and below a folder of our own mailbox."""
    if str(node.id) in (TRASH, JUNK):
        return
    if node.view == "contact":
        yield Folder(str(node.id), path)
    for inner in node.folders:
        yield from _own(inner, _join(path, inner.name))
    for link in node.links:
        yield from _shared(link, link, _join(path, link.name))


def _shared(node: Node, link: Node, path: str) -> Iterator[Folder]:
    """What is seen through a mountpoint, itself first."""
    owner, id = (link.zid, str(link.rid)) if node is link else _split(str(node.id), link.zid)
    if not owner or id in (TRASH, JUNK):
        return
    if node.view == "contact" or (node is link and link.broken and node.view in ("", "unknown")):
        yield Folder(id, path, owner, str(link.id), link.broken)
    for inner in node.folders:
        yield from _shared(inner, link, _join(path, inner.name))


def _split(id: str, owner: str) -> tuple[str, str]:
    before, colon, bare = id.rpartition(":")
    return (before, bare) if colon else (owner, id)


def _join(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name
