"""What the stand-in Zimbra answers of folders, contacts and tasks (urn:zimbraMail)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from bridge.demo.zimbra_accounts import Accounts
from bridge.demo.zimbra_store import ROOT, TASKS, TRASH, Contact, Folder, Mailbox
from bridge.demo.zimbra_wire import Element, Request, SoapFault, every, first, flag, number, text

_HIDDEN = frozenset({"dn", "vcardUID", "vcardURL", "vcardXProps", "member"})
_PAGE, _MOST = 10, 1000


@dataclass(slots=True)
class Asking:
    """One request of one user; `zid` is whose mailbox it is about."""

    accounts: Accounts
    user: str
    request: Request

    @property
    def zid(self) -> str:
        """The account that the context names, or the user."""
        named = first(self.request.context, "account")
        told = text(named, "_content")
        if not told:
            return self.user
        by_name = {each.name: each.mailbox.zid for each in self.accounts.all}
        return by_name.get(told, told) if text(named, "by") == "name" else told

    def mailbox(self, zid: str = "") -> Mailbox:
        """The mailbox of this request, or another's; a fault where its server is away."""
        found = self.accounts.mailbox(zid or self.zid)
        if found.down:
            raise SoapFault("service.PROXY_ERROR", "error while proxying request to target server")
        return found

    def shown(self, mailbox: Mailbox, id: int) -> str:
        """An id as this user sees it: with its owner in front where that is another."""
        return str(id) if mailbox.zid == self.user else f"{mailbox.zid}:{id}"

    def split(self, id: str) -> tuple[Mailbox, int]:
        """An id as it came."""
        zid, _, bare = id.rpartition(":")
        if not bare.isdigit():
            raise SoapFault("service.INVALID_REQUEST", f"malformed item ID: {id}")
        return self.mailbox(zid), int(bare)


def get_folder(ask: Asking) -> Element:
    """The tree, or the part of it below one folder."""
    body, mailbox = ask.request.body, ask.mailbox()
    wanted = first(body, "folder")
    top = ROOT
    if text(wanted, "l"):
        mailbox, top = ask.split(text(wanted, "l"))
    elif path := text(wanted, "path").strip("/"):
        top = _at_path(mailbox, path)
    if top not in mailbox.folders:
        raise SoapFault("mail.NO_SUCH_FOLDER", f"no such folder id: {top}", str(top))
    if top != ROOT and not mailbox.rights(top, ask.user):
        raise SoapFault("service.PERM_DENIED", "permission denied: you do not have sufficient permissions")
    node = _node(ask, mailbox, mailbox.folders[top], text(body, "view"), flag(body, "tr"))
    return {"folder": [node]} if node else {}


def _at_path(mailbox: Mailbox, path: str) -> int:
    id = ROOT
    for name in path.split("/"):
        found = (each.id for each in mailbox.children(id) if each.name.casefold() == name.casefold())
        id = next(found, 0)
        if not id:
            raise SoapFault("mail.NO_SUCH_FOLDER", f"no such folder path: {path}")
    return id


def _node(ask: Asking, mailbox: Mailbox, folder: Folder, view: str, traverse: bool) -> Element | None:
    """A folder with what is in it; None where neither it nor any of that is to be shown."""
    inner: dict[str, list[Element]] = {}
    for child in mailbox.children(folder.id):
        node = _node(ask, mailbox, child, view, traverse)
        if node:
            inner.setdefault("link" if child.zid else "folder", []).append(node)
    readable = bool(mailbox.rights(folder.id, ask.user))
    visible = readable and (not view or folder.view == view or folder.id == TRASH)
    if not visible:
        return {"id": ask.shown(mailbox, folder.id), "name": folder.name, **inner} if inner else None
    node = {**told(ask, mailbox, folder), **inner}
    if folder.zid and traverse:
        _expand(ask, folder, node, view)
    return node


def told(ask: Asking, mailbox: Mailbox, folder: Folder) -> Element:
    """What a folder says of itself."""
    node: Element = {
        "id": ask.shown(mailbox, folder.id),
        "uuid": f"00000000-0000-0000-0000-{folder.id:012}",
        "name": folder.name,
        "absFolderPath": _path(mailbox, folder),
        "l": ask.shown(mailbox, folder.parent),
        "rev": 1,
        "ms": folder.changed,
        "i4ms": mailbox.change,
        "i4next": 1,
    }
    if folder.view:
        node["view"] = folder.view
    if mailbox.zid != ask.user:
        node["perm"] = mailbox.rights(folder.id, ask.user)
    if folder.zid:
        owner = next((each.name for each in ask.accounts.all if each.mailbox.zid == folder.zid), None)
        node |= {"zid": folder.zid, "rid": folder.rid, **({"owner": owner} if owner else {})}
    else:
        node["n"] = sum(each.folder == folder.id for each in mailbox.contacts.values())
    return node


def _path(mailbox: Mailbox, folder: Folder) -> str:
    path, id = "", folder.id
    while id in mailbox.folders and id != ROOT:
        path, id = f"/{mailbox.folders[id].name}{path}", mailbox.folders[id].parent
    return path or "/"


def _expand(ask: Asking, link: Folder, node: Element, view: str) -> None:
    """Show what is behind a mountpoint, one level of mountpoints deep."""
    try:
        owner = ask.mailbox(link.zid)
        if link.rid not in owner.folders:
            raise SoapFault("mail.NO_SUCH_FOLDER")
        rights = owner.rights(link.rid, ask.user)
        if not rights:
            raise SoapFault("service.PERM_DENIED")
        behind = _node(ask, owner, owner.folders[link.rid], view, False) or {}
    except SoapFault:
        node["broken"] = True
        return
    node["perm"] = rights
    node.update((name, behind[name]) for name in ("folder", "link", "n") if name in behind)


def get_contacts(ask: Asking) -> Element:
    """All contacts of a folder at once, or those of the ids given."""
    body = ask.request.body
    wanted = {text(each, "n") for each in every(body, "a")}
    found: Iterable[tuple[Mailbox, Contact]]
    if ids := [id for each in every(body, "cn") for id in text(each, "id").split(",")]:
        found = [_contact(ask, id) for id in ids]
    else:
        found = _in_folder(ask, text(body, "l"))
    sync, hidden = flag(body, "sync"), flag(body, "returnHiddenAttrs")
    cards = [card(ask, mailbox, each, wanted, sync=sync, hidden=hidden) for mailbox, each in found]
    return {"cn": cards} if cards else {}


def _in_folder(ask: Asking, folder: str) -> Iterator[tuple[Mailbox, Contact]]:
    mailbox, id = ask.split(folder) if folder else (ask.mailbox(), 0)
    if id and id not in mailbox.folders:
        raise SoapFault("mail.NO_SUCH_FOLDER", f"no such folder id: {id}", str(id))
    if mailbox.zid != ask.user and "r" not in mailbox.rights(id or ROOT, ask.user):
        raise SoapFault("service.PERM_DENIED", "permission denied: you do not have sufficient permissions")
    return ((mailbox, each) for each in mailbox.contacts.values() if not id or each.folder == id)


def _contact(ask: Asking, id: str, right: str = "r") -> tuple[Mailbox, Contact]:
    mailbox, bare = ask.split(id)
    found = mailbox.contacts.get(bare)
    if found is None:
        raise SoapFault("mail.NO_SUCH_CONTACT", f"no such contact: {bare}", str(bare))
    if right not in mailbox.rights(found.folder, ask.user):
        raise SoapFault("service.PERM_DENIED", "permission denied: you do not have sufficient permissions")
    return mailbox, found


def card(
    ask: Asking, mailbox: Mailbox, contact: Contact, wanted: set[str], *, sync: bool = True, hidden: bool = False
) -> Element:
    """A contact, with these attributes or all that are not hidden."""
    attributes = contact.attributes
    if wanted:
        attributes = {name: value for name, value in attributes.items() if name in wanted}
    elif not hidden and not _HIDDEN.isdisjoint(attributes):
        attributes = {name: value for name, value in attributes.items() if name not in _HIDDEN}
    element: Element = {
        "id": ask.shown(mailbox, contact.id),
        "l": ask.shown(mailbox, contact.folder),
        "d": contact.md * 1000,
        "rev": contact.rev,
        "fileAsStr": file_as(contact.attributes),
    }
    if sync:
        element |= {"ms": contact.ms, "md": contact.md}
    return {**element, "_attrs": attributes} if attributes else element


def file_as(attributes: Element) -> str:
    """What the server sorts a contact by."""
    last, given = (str(attributes.get(name) or "") for name in ("lastName", "firstName"))
    return f"{last}, {given}" if last and given else last or given or str(attributes.get("company") or "")


def search(ask: Asking) -> Element:
    """SearchRequest for contacts in a folder, by `inid:` or `in:`; a page holds no more than 1000."""
    body, mailbox = ask.request.body, ask.mailbox()
    if text(body, "types") != "contact":
        raise SoapFault("service.INVALID_REQUEST", "only contacts are searched for here")
    limit, offset = number(body, "limit", _PAGE), number(body, "offset", 0)
    limit = min(limit, _MOST) if limit > 0 else _PAGE
    query = text(body, "query")
    if by_id := re.fullmatch(r'inid:"?(\d+)"?', query):
        folder = int(by_id[1])
    elif by_name := re.fullmatch(r'in:"?([^"]+)"?', query):
        folder = _at_path(mailbox, by_name[1].strip("/"))
    else:
        raise SoapFault("mail.QUERY_PARSE_ERROR", "Couldn't parse query")
    found = sorted((each for each in mailbox.contacts.values() if each.folder == folder), key=lambda each: each.id)
    cards = [card(ask, mailbox, each, set()) for each in found[offset : offset + limit]]
    more = offset + limit < len(found)
    return {
        "sortBy": text(body, "sortBy") or "dateDesc",
        "offset": offset,
        "more": more,
        **({"cn": cards} if cards else {}),
    }


def create_contact(ask: Asking) -> Element:
    """A new contact."""
    told_of = first(ask.request.body, "cn")
    mailbox, folder = ask.split(text(told_of, "l") or "7")
    if folder not in mailbox.folders:
        raise SoapFault("mail.NO_SUCH_FOLDER", f"no such folder id: {folder}", str(folder))
    id = mailbox.put({name: value for name, value in _given(told_of).items() if value}, folder)
    return {"cn": [card(ask, mailbox, mailbox.contacts[id], set())]}


def modify_contact(ask: Asking) -> Element:
    """Merge attributes into a contact, or put them in the place of all it has; not if it changed since the token."""
    body = ask.request.body
    told_of = first(body, "cn")
    mailbox, contact = _contact(ask, text(told_of, "id"), "w")
    change = first(ask.request.context, "change")
    if text(change, "token"):
        at = contact.ms if text(change, "type") == "new" else contact.rev
        if at > number(change, "token", 0):
            raise SoapFault("mail.MODIFY_CONFLICT", "modify conflict", str(contact.id))
    given = _given(told_of)
    if flag(body, "replace"):
        given = {**dict.fromkeys(contact.attributes), **given}
    mailbox.update(contact.id, **{name: value or None for name, value in given.items()})
    verbose = text(body, "verbose") != "0"
    return {"cn": [card(ask, mailbox, contact, set()) if verbose else {"id": ask.shown(mailbox, contact.id)}]}


def _given(told_of: Element) -> dict[str, Any]:
    """Attributes in either of the ways that the server reads."""
    pairs = {text(each, "n"): text(each, "_content") for each in every(told_of, "a")}
    if "" in pairs:
        raise SoapFault("service.INVALID_REQUEST", "missing required attribute: n")
    return {**first(told_of, "_attrs"), **pairs}


def act_on_contact(ask: Asking) -> Element:
    """ContactAction: move, trash or delete."""
    action = first(ask.request.body, "action")
    what, ids = text(action, "op"), text(action, "id").split(",")
    found = [_contact(ask, id, "d") for id in ids]
    for mailbox, contact in found:
        if what == "delete":
            mailbox.delete(contact.id)
        elif what in ("move", "trash"):
            mailbox.move(contact.id, TRASH if what == "trash" else ask.split(text(action, "l"))[1])
        else:
            raise SoapFault("service.INVALID_REQUEST", f"unknown operation: {what}")
    return {"action": {"op": what, "id": ",".join(ids)}}


def create_task(ask: Asking) -> Element:
    """A task; one with a uid that is known is that task changed."""
    message = first(ask.request.body, "m")
    component = first(first(message, "inv"), "comp")
    mailbox, folder = ask.split(text(message, "l") or str(TASKS))
    if folder not in mailbox.folders or mailbox.folders[folder].view != "task":
        raise SoapFault("mail.NO_SUCH_FOLDER", f"no such folder id: {folder}", str(folder))
    if not text(component, "name") or not text(first(component, "or"), "a"):
        raise SoapFault("service.INVALID_REQUEST", "missing required attribute")
    uid = text(component, "uid") or f"generated-{len(mailbox.tasks)}"
    words = "\n".join(text(first(part, "content"), "_content") for part in every(message, "mp"))
    task = mailbox.keep_task(uid, component, folder, words)
    id = ask.shown(mailbox, task.id)
    return {"calItemId": id, "invId": f"{id}-{task.id + 1}", "ms": mailbox.change, "rev": mailbox.change}
