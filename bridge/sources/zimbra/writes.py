"""What a call leaves in Zimbra: a line in a contact's notes, or a task; each once, however often it is asked for."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from bridge import errors
from bridge.actions import Action, Call, Made
from bridge.sources.zimbra.mailbox import Card, Cards
from bridge.sources.zimbra.soap import Fault, Soap

_TRIES = 3
_TASKS = "15"
_MOST = 16384
"""Characters of notes above which the oldest lines of our own give way to a new one."""
_OURS = re.compile(r" \[bridge:[0-9a-f]{32}\]$")
_ABSENT = frozenset({"mail.NO_SUCH_CONTACT", "mail.NO_SUCH_ITEM", "mail.NO_SUCH_MBOX", "account.NO_SUCH_ACCOUNT"})
_REFUSED = _ABSENT | {
    "service.PERM_DENIED",
    "service.INVALID_REQUEST",
    "mail.NO_SUCH_FOLDER",
    "mail.INVALID_NAME",
    "mail.CONTACT_TOO_BIG",
}


class _Task(msgspec.Struct):
    item: str | int = msgspec.field(name="calItemId", default="")


async def act(soap: Soap, action: Action, url: str) -> Made:
    """Make it, or find what an earlier try made; `url` is the page of the action's contact."""
    try:
        if action.kind in ("note", "log-call"):
            return await _note(soap, action, url)
        return await _task(soap, action)
    except Fault as fault:
        if fault.code in _REFUSED:
            raise errors.Refused(fault.code, str(fault), absent=fault.code in _ABSENT) from None
        raise


async def _note(soap: Soap, action: Action, url: str) -> Made:
    """One line behind the notes, written only if nobody touched the contact since they were read."""
    owner, _, id = action.contact.rpartition(":")
    if not id:
        raise errors.Refused("NO_CONTACT", "a line is written to a contact's notes, and this call has no contact")
    for _ in range(_TRIES):
        card = await _read(soap, owner, id)
        notes = _text(card.attributes.get("notes"))
        if f"[bridge:{action.key}]" in notes:
            return Made(action.contact, url)
        text = appended(notes, f"{line(action)} [bridge:{action.key}]")
        question = {
            "replace": 0,
            "verbose": 0,
            "cn": {"id": id, "a": [{"n": "notes", "_content": text}]},
        }
        try:
            change = str(card.change or card.revision or "")
            await soap.ask("ModifyContact", question, dict[str, Any], account=owner, change=change, repeat=False)
        except Fault as fault:
            if fault.code != "mail.MODIFY_CONFLICT":
                raise
            continue
        return Made(action.contact, url)
    raise errors.Unavailable(f"{soap.host}: somebody else changes the contact again and again")


async def _read(soap: Soap, owner: str, id: str) -> Card:
    question = {"sync": 1, "cn": [{"id": id}], "a": [{"n": "notes"}]}
    told = await soap.ask("GetContacts", question, Cards, account=owner)
    if len(told.cards) != 1:
        raise Fault(f"{soap.host} has no such contact", "mail.NO_SUCH_CONTACT", id)
    return told.cards[0]


async def _task(soap: Soap, action: Action) -> Made:
    """A task with a uid of ours: the server takes a second one with the same uid for the first."""
    subject = _flat(action.subject) or "Call"
    text = "\n".join(filter(None, (_clean(action.text), _call(action.call), action.contact_url)))
    component = {
        "uid": f"{action.key}@bridge",
        "name": subject,
        "status": "NEED",
        "percentComplete": "0",
        "priority": "5",
        "class": "PUB",
        "or": {"a": soap.username},
    }
    question = {
        "m": {
            "l": _TASKS,
            "su": {"_content": subject},
            "inv": {"comp": [component]},
            "mp": [{"ct": "text/plain", "content": {"_content": text}}],
        }
    }
    made = await soap.ask("CreateTask", question, _Task, repeat=False)
    if not str(made.item):
        raise errors.Unsettled(f"{soap.host} answers CreateTask without the task's id")
    return Made(str(made.item))


def line(action: Action) -> str:
    """What stands in the notes, on one line: when, which way, with whom, and what about."""
    told = (_call(action.call), _flat(action.subject), _flat(action.text))
    return " · ".join(dict.fromkeys(filter(None, told)))


def appended(notes: str, new: str) -> str:
    """The notes with one more line; where they grow too long, lines of our own go, the oldest first."""
    lines = [*notes.rstrip("\n").split("\n"), new] if notes.strip() else [new]
    excess = sum(map(len, lines)) + len(lines) - _MOST
    kept = []
    for each in lines[:-1]:
        if excess > 0 and _OURS.search(each):
            excess -= len(each) + 1
        else:
            kept.append(each)
    return "\n".join([*kept, new])


def _call(call: Call) -> str:
    """The call in a few words; "" where nothing is known of it."""
    if call.started is None and not call.number and not call.name:
        return ""
    when = call.started.strftime("%Y-%m-%d %H:%M UTC") if call.started else ""
    whom = " ".join(filter(None, (_flat(call.number), _flat(call.name))))
    spoken = f"{call.seconds // 60}:{call.seconds % 60:02} min" if call.seconds else ""
    return " ".join(filter(None, (when, call.direction, whom, spoken)))


def _flat(text: str) -> str:
    """On one line, without what XML cannot hold."""
    return " ".join(_clean(text).split())


def _clean(text: str) -> str:
    """Without what XML cannot hold; lines stay lines."""
    return re.sub(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]", " ", text).strip()


def _text(value: Any) -> str:
    """An attribute as one text."""
    if isinstance(value, list):
        return "\n".join(_text(each) for each in value)
    return value if isinstance(value, str) else ""
