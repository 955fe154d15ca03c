"""SyncRequest of the stand-in Zimbra: a token for the beginning, then what changed since one, in pages."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass

from bridge.demo.zimbra_mail import Asking, told
from bridge.demo.zimbra_store import ROOT, Kind, Mailbox
from bridge.demo.zimbra_wire import Element, SoapFault, flag, number, text

_MOST = 3990
_TOKEN = re.compile(r"(\d+)(?:-(\d+))?(?::d(\d+)(?:-(\d+))?)?")
Entry = tuple[int, int, Kind]


@dataclass(frozen=True, slots=True)
class Token:
    """Everything up to `change` is told, of the next change everything up to `item`; the same for deletions."""

    change: int
    item: int = 0
    dead: int = 0
    dead_item: int = 0

    def __str__(self) -> str:
        live = f"{self.change}-{self.item}" if self.item else str(self.change)
        if not self.dead:
            return live
        return f"{live}:d{self.dead}-{self.dead_item}" if self.dead_item else f"{live}:d{self.dead}"


def sync(ask: Asking) -> Element:
    """The answer; the first one lists the ids in every folder, and no contact."""
    body, mailbox = ask.request.body, ask.mailbox()
    if mailbox.zid != ask.user:
        raise SoapFault("service.PERM_DENIED", "permission denied: you do not have sufficient permissions")
    answer: Element = {"md": int(time.time())}
    if mailbox.oldest is None:
        mailbox.oldest = mailbox.change
    if not text(body, "token"):
        tree = _tree(ask, mailbox, ROOT)
        return {**answer, "token": mailbox.change, "s": 0, "folder": [tree]}
    since = _read(text(body, "token"))
    if since.change >= mailbox.change and (since.dead or since.change) >= mailbox.change:
        return {**answer, "token": str(mailbox.change)}
    if since.change < mailbox.oldest:
        raise SoapFault("mail.MUST_RESYNC", "must resync")
    return {**answer, **_delta(ask, mailbox, since)}


def _read(token: str) -> Token:
    found = _TOKEN.fullmatch(token)
    if found is None:
        raise SoapFault("service.INVALID_REQUEST", f"malformed sync token: {token}")
    return Token(*(int(part or 0) for part in found.groups()))


def _delta(ask: Asking, mailbox: Mailbox, since: Token) -> Element:
    body = ask.request.body
    most = number(body, "changeLimit", 0)
    live = _after(mailbox.since(since.change), since.change, since.item)
    dead = _after(mailbox.dead(since.dead or since.change), since.dead or since.change, since.dead_item)
    live_part = live[: most if 0 < most < _MOST else _MOST]
    most_dead = number(body, "deleteLimit", 0)
    dead_part = dead[: most_dead if most_dead > 0 else None]
    answer = {**_graves(dead_part, typed=flag(body, "typed")), **_living(ask, mailbox, live_part)}
    more = len(live_part) < len(live) or len(dead_part) < len(dead)
    token = Token(mailbox.change)
    if more:
        at, item = _reached(live_part, live, mailbox.change, since.change)
        dead_at, dead_item = _reached(dead_part, dead, mailbox.change, since.change)
        token = Token(at, item, dead_at, dead_item)
    return {**answer, **({"more": True} if more else {}), "token": str(token)}


def _after(entries: Iterable[Entry], change: int, item: int) -> list[Entry]:
    """Without the part of the next change that was told before."""
    return sorted(each for each in entries if not (each[0] == change + 1 and each[1] <= item))


def _reached(part: list[Entry], all: list[Entry], newest: int, before: int) -> tuple[int, int]:
    """The change that is told whole, and the last item of the one after it."""
    if len(part) == len(all):
        return newest, 0
    if not part:
        return before, 0
    change, item, _ = part[-1]
    return (change - 1, item) if all[len(part)][0] == change else (change, 0)


def _graves(entries: list[Entry], *, typed: bool) -> Element:
    if not entries:
        return {}
    deleted: Element = {"ids": ",".join(str(id) for _, id, _ in entries)}
    if typed:
        for kind in dict.fromkeys(kind for _, _, kind in entries):
            deleted[kind] = [{"ids": ",".join(str(id) for _, id, each in entries if each == kind)}]
    return {"deleted": [deleted]}


def _living(ask: Asking, mailbox: Mailbox, entries: list[Entry]) -> Element:
    """Folders whole, contacts as ids with where they are."""
    answer: dict[str, list[Element]] = {}
    for _, id, kind in entries:
        if kind == "cn":
            contact = mailbox.contacts[id]
            node: Element = {"id": str(id), "l": str(contact.folder), "md": contact.md, "ms": contact.ms}
            node |= {"d": contact.md * 1000, "rev": contact.rev}
            if contact.rev != contact.ms:
                node |= {"f": "", "tn": ""}
        else:
            node = told(ask, mailbox, mailbox.folders[id])
        answer.setdefault(kind, []).append(node)
    return dict(answer)


def _tree(ask: Asking, mailbox: Mailbox, id: int) -> Element:
    """A folder with the ids of what is in it."""
    node = told(ask, mailbox, mailbox.folders[id])
    if ids := ",".join(str(each.id) for each in mailbox.contacts.values() if each.folder == id):
        node["cn"] = [{"ids": ids}]
    for child in mailbox.children(id):
        kind = "link" if child.zid else "folder"
        node.setdefault(kind, []).append(_tree(ask, mailbox, child.id))
    return node
