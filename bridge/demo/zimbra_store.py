"""The mailboxes of the stand-in Zimbra: folders, mountpoints, contacts and tasks, and the log of what changed."""

from __future__ import annotations

import bisect
import time
import uuid
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

ROOT, TRASH, JUNK, CONTACTS, CALENDAR, COLLECTED, TASKS = 1, 3, 4, 7, 10, 13, 15
_SYSTEM = (
    (ROOT, "USER_ROOT", 11, ""),
    (2, "Inbox", ROOT, "message"),
    (TRASH, "Trash", ROOT, ""),
    (JUNK, "Junk", ROOT, "message"),
    (CONTACTS, "Contacts", ROOT, "contact"),
    (CALENDAR, "Calendar", ROOT, "appointment"),
    (COLLECTED, "Emailed Contacts", ROOT, "contact"),
    (TASKS, "Tasks", ROOT, "task"),
)
_FIRST_ID = 257
Kind = Literal["cn", "folder", "link", "task"]


@dataclass(slots=True)
class Folder:
    """A folder, or with a `zid` a mountpoint; `changed` is the change that touched it last."""

    id: int
    name: str
    parent: int
    view: str = "contact"
    changed: int = 0
    zid: str = ""
    rid: int = 0


@dataclass(slots=True)
class Contact:
    """A contact: `rev` is the change of its content, `ms` of anything of it, `md` the second of that."""

    id: int
    folder: int
    attributes: dict[str, Any]
    rev: int = 0
    ms: int = 0
    md: int = 0


@dataclass(slots=True)
class Task:
    """A task by its uid."""

    id: int
    folder: int
    component: dict[str, Any]
    text: str = ""


@dataclass(slots=True)
class Mailbox:
    """One mailbox. Every change has a number; `log` and `graves` are sorted by it.

    `grants` are rights by folder and the id of who has them, for the folder and what is in it. `oldest` is the first
    change that the graves reach back to, None before anybody has asked for changes. `down`: its server is away.
    """

    zid: str = field(default_factory=lambda: str(uuid.uuid4()))
    change: int = 100
    folders: dict[int, Folder] = field(default_factory=dict)
    contacts: dict[int, Contact] = field(default_factory=dict)
    tasks: dict[str, Task] = field(default_factory=dict)
    grants: dict[int, dict[str, str]] = field(default_factory=dict)
    log: list[tuple[int, int, Kind]] = field(default_factory=list)
    graves: list[tuple[int, int, Kind]] = field(default_factory=list)
    oldest: int | None = None
    down: bool = False
    _next: int = _FIRST_ID

    def __post_init__(self) -> None:
        for id, name, parent, view in _SYSTEM:
            self.folders[id] = Folder(id, name, parent, view)

    def put(self, attributes: dict[str, Any], folder: int = CONTACTS) -> int:
        """A new contact; its id."""
        id = self._id()
        self.contacts[id] = Contact(id, folder, dict(attributes))
        self._touch(self.contacts[id], self._step(), content=True)
        return id

    def update(self, *ids: int, **attributes: Any) -> None:
        """Change attributes of contacts, all of them by one change; None takes an attribute away."""
        change = self._step()
        for id in ids:
            told = {**self.contacts[id].attributes, **attributes}
            self.contacts[id].attributes = {name: value for name, value in told.items() if value is not None}
            self._touch(self.contacts[id], change, content=True)

    def tag(self, id: int) -> None:
        """Change what is no content."""
        self._touch(self.contacts[id], self._step(), content=False)

    def move(self, id: int, folder: int) -> None:
        """Move a contact."""
        self.contacts[id].folder = folder
        self.tag(id)

    def trash(self, id: int) -> None:
        """Move a contact to Trash."""
        self.move(id, TRASH)

    def delete(self, *ids: int) -> None:
        """Delete contacts for good, all of them by one change."""
        change = self._step()
        for id in ids:
            del self.contacts[id]
            self.graves.append((change, id, "cn"))

    def make_folder(self, path: str, view: str = "contact") -> int:
        """The id of the folder at this path, made with those above it where they are not there."""
        parent = ROOT
        for name in path.strip("/").split("/"):
            found = next((each.id for each in self.children(parent) if each.name.casefold() == name.casefold()), None)
            parent = self._folder(name, parent, view) if found is None else found
        return parent

    def link(self, path: str, owner: Mailbox, rid: int, view: str = "contact") -> int:
        """A mountpoint at this path; its id."""
        above, _, name = path.rpartition("/")
        id = self._folder(name, self.make_folder(above) if above else ROOT, view)
        self.folders[id].zid, self.folders[id].rid = owner.zid, rid
        return id

    def share(self, folder: int, grantee: Mailbox, rights: str = "r") -> None:
        """Let another see a folder and what is in it; no rights: no more."""
        self.grants.setdefault(folder, {})[grantee.zid] = rights
        self._touch_folder(folder)

    def rename_folder(self, id: int, name: str) -> None:
        """Give a folder another name."""
        self.folders[id].name = name
        self._touch_folder(id)

    def move_folder(self, id: int, parent: int) -> None:
        """Move a folder with all that is in it."""
        self.folders[id].parent = parent
        self._touch_folder(id)

    def delete_folder(self, id: int) -> None:
        """Delete a folder for good, and all that is in it."""
        for child in list(self.children(id)):
            self.delete_folder(child.id)
        if inside := [each.id for each in self.contacts.values() if each.folder == id]:
            self.delete(*inside)
        kind: Kind = "link" if self.folders.pop(id).zid else "folder"
        self.graves.append((self._step(), id, kind))

    def rewind(self, changes: int) -> None:
        """Restored from a backup: the count of changes goes back, and who asked before is ahead of it."""
        self.change -= changes
        self.log = [each for each in self.log if each[0] <= self.change]
        self.graves = [each for each in self.graves if each[0] <= self.change]

    def bury(self) -> None:
        """The graves of all that was deleted until now are cleared away."""
        self.graves.clear()
        self.oldest = self._step()

    def children(self, id: int) -> Iterator[Folder]:
        """The folders right in a folder."""
        return (folder for folder in self.folders.values() if folder.parent == id)

    def inside(self, id: int, top: int) -> bool:
        """Whether a folder is this one or in it, however deep."""
        while id != top:
            if id not in self.folders:
                return False
            id = self.folders[id].parent
        return True

    def rights(self, folder: int, zid: str) -> str:
        """What somebody may do with a folder: the grant nearest above it."""
        if zid == self.zid:
            return "rwidxap"
        id = folder
        while id in self.folders:
            if zid in self.grants.get(id, {}):
                return self.grants[id][zid]
            id = self.folders[id].parent
        return ""

    def since(self, change: int) -> list[tuple[int, int, Kind]]:
        """What was touched after a change and is still there, each once, by its last change."""
        latest = {(id, kind): at for at, id, kind in self.log[bisect.bisect_right(self.log, change, key=_at) :]}
        there: Mapping[Kind, Container[int]] = {
            "cn": self.contacts,
            "folder": self.folders,
            "link": self.folders,
            "task": (),
        }
        return sorted((at, id, kind) for (id, kind), at in latest.items() if id in there[kind])

    def dead(self, change: int) -> list[tuple[int, int, Kind]]:
        """What was deleted after a change."""
        return self.graves[bisect.bisect_right(self.graves, change, key=_at) :]

    def keep_task(self, uid: str, component: dict[str, Any], folder: int, text: str) -> Task:
        """A new task, or the one of this uid changed."""
        known = self.tasks.get(uid)
        self.tasks[uid] = Task(known.id if known else self._id(), folder, component, text)
        self.log.append((self._step(), self.tasks[uid].id, "task"))
        return self.tasks[uid]

    def _folder(self, name: str, parent: int, view: str) -> int:
        if any(mark in name for mark in ':/"') or not name:
            raise ValueError(f"no folder is called {name!r}")
        id = self._id()
        self.folders[id] = Folder(id, name, parent, view)
        self._touch_folder(id)
        return id

    def _touch_folder(self, id: int) -> None:
        self.folders[id].changed = self._step()
        self.log.append((self.change, id, "link" if self.folders[id].zid else "folder"))

    def _touch(self, contact: Contact, change: int, *, content: bool) -> None:
        contact.ms, contact.md = change, int(time.time())
        contact.rev = change if content else contact.rev
        self.log.append((change, contact.id, "cn"))

    def _step(self) -> int:
        self.change += 1
        return self.change

    def _id(self) -> int:
        self._next += 1
        return self._next - 1


def _at(entry: tuple[int, int, Kind]) -> int:
    return entry[0]
