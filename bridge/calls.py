"""What the CONNECTOR tells of a call, read tolerantly, and what a workflow makes of it. Pure.

The page (peoplefone CONNECTOR, part 2) names the inputs and neither the form of times nor their zone.
"""

from __future__ import annotations

import datetime
import hashlib
import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from bridge.actions import Action, Call, Kind

_KNOWN = (
    *("contactcrmid", "usercrmid", "originatornumber", "originatorname", "destinationnumber", "destinationname"),
    *("direction", "startedtime", "answeredtime", "endedtime", "declinedtime"),
)
_OUT = frozenset({"outgoing", "outbound", "out"})
_MILLISECONDS = 100_000_000_000
"""Numbers from here on are milliseconds since 1970; as seconds this one is in the year 5138."""
_LONGEST = 1000
_MOST = 50
"""Unknown inputs that are kept, and their longest value."""


class Told(msgspec.Struct, frozen=True):
    """A call as told. `contact` and `user` as the CONNECTOR names them; `more`: inputs that the page does not know."""

    contact: str
    user: str
    call: Call
    originator: str
    destination: str
    started: str
    declined: bool = False
    more: tuple[tuple[str, str], ...] = ()


def read(inputs: Mapping[str, Any]) -> Told:
    """The call that these inputs tell of; missing ones are "" or None, names count in any case."""
    given = {name.strip().lower(): _text(value) for name, value in inputs.items()}
    known = {name: given.get(name, "") for name in _KNOWN}
    outbound = known["direction"].lower() in _OUT
    direction: Literal["inbound", "outbound"] = "outbound" if outbound else "inbound"
    theirs, ours = ("destination", "originator") if outbound else ("originator", "destination")
    declined = moment(known["declinedtime"])
    call = Call(
        direction=direction,
        number=known[f"{theirs}number"],
        name=known[f"{theirs}name"],
        own_number=known[f"{ours}number"],
        own_name=known[f"{ours}name"],
        started=moment(known["startedtime"]),
        answered=moment(known["answeredtime"]),
        ended=moment(known["endedtime"]) or declined,
    )
    more = [(name, _text(value)) for name, value in inputs.items() if name.strip().lower() not in _KNOWN]
    return Told(
        contact=known["contactcrmid"],
        user=known["usercrmid"],
        call=call,
        originator=known["originatornumber"],
        destination=known["destinationnumber"],
        started=call.started.isoformat() if call.started else known["startedtime"],
        declined=declined is not None,
        more=tuple((_text(name), value) for name, value in more[:_MOST] if value),
    )


def moment(text: str) -> datetime.datetime | None:
    """The time that a text means, in UTC: ISO 8601, seconds or milliseconds since 1970; None for none.

    Without a zone it is UTC.
    """
    text = text.strip()
    if wrapped := re.fullmatch(r"/?Date\((-?\d+)(?:[+-]\d{4})?\)/?", text):
        text = wrapped[1]
    try:
        if re.fullmatch(r"-?\d{9,16}(\.\d+)?", text):
            number = float(text)
            seconds = number / 1000 if abs(number) >= _MILLISECONDS else number
            return datetime.datetime.fromtimestamp(seconds, datetime.UTC)
        read = datetime.datetime.fromisoformat(text)
        return (read if read.tzinfo else read.replace(tzinfo=datetime.UTC)).astimezone(datetime.UTC)
    except (ValueError, OverflowError):
        return None


def key(tenant: str, workflow: str, told: Told) -> str:
    """32 hexadecimal digits, the same for every request about the same call."""
    words = (tenant, workflow, told.contact, told.originator, told.destination, told.started)
    return hashlib.blake2b("\0".join(words).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def action(kind: Kind, key: str, told: Told, contact: str, contact_url: str) -> Action:
    """What to make in the CRM; `contact` is the id there."""
    return Action(
        kind=kind,
        key=key,
        subject=_subject(kind, told),
        text=_description(told),
        call=told.call,
        contact=contact,
        contact_url=contact_url,
        user=told.user,
    )


def _subject(kind: Kind, told: Told) -> str:
    call = told.call
    who = _line(call.name or call.number) or "an unknown number"
    if kind == "task":
        return f"Call {who} back"
    if call.direction == "outbound":
        return f"Call to {who}"
    return f"Missed call from {who}" if told.declined and call.answered is None else f"Call from {who}"


def _description(told: Told) -> str:
    """The call in words, a line each, and whatever else was told of it."""
    call = told.call
    lines = [
        ("Direction", call.direction),
        ("Other party", _both(call.number, call.name)),
        ("Our side", _both(call.own_number, call.own_name)),
        ("Started", _when(call.started)),
        ("Answered", _when(call.answered)),
        ("Ended", _when(call.ended)),
        ("Spoken", f"{call.seconds} s" if call.seconds else ""),
        *told.more,
    ]
    return "\n".join(f"{_line(name)}: {_line(value)}" for name, value in lines if value)


def _both(number: str, name: str) -> str:
    return f"{number} ({name})" if number and name else number or name


def _when(time: datetime.datetime | None) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S} UTC" if time else ""


def _line(text: str) -> str:
    """On one line, without what cannot be printed."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _text(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return "" if value is None else str(value).lower()
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text.replace("\0", " ").strip()[:_LONGEST]
