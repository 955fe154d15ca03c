"""Contacts as vCard 3.0, which every address book reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from bridge.contact import Contact, Kind
from bridge.formats import shown_id
from bridge.formats.stream import one_line
from bridge.numbers import Dialling

_TYPES: dict[Kind, str] = {
    "work": "WORK,VOICE",
    "mobile": "CELL,VOICE",
    "home": "HOME,VOICE",
    "fax": "FAX",
    "softphone": "X-SOFTPHONE",
    "other": "VOICE",
}
_FOLD = 75
_ESCAPES = str.maketrans({"\\": "\\\\", ",": "\\,", ";": "\\;", "\n": "\\n", "\r": None})


def write(contacts: Iterable[Contact], dialling: Dialling) -> Iterator[bytes]:
    """One card a contact, with CRLF, folded at 75 octets; a number without key is left out."""
    for contact in contacts:
        yield b"".join(map(_folded, _lines(contact, dialling)))


def _lines(contact: Contact, dialling: Dialling) -> Iterator[str]:
    numbers = dict.fromkeys((number.kind, dialling.spell(number.key)) for number in contact.numbers if number.key)
    someone = (contact.name, *contact.emails, *(number for _, number in numbers), contact.id)
    yield "BEGIN:VCARD"
    yield "VERSION:3.0"
    yield f"UID:{shown_id(contact)}"
    yield f"FN:{_escaped(next(filter(None, someone)))}"
    yield f"N:{_joined(contact.last_name, contact.first_name, '', '', '')}"
    if contact.company:
        yield f"ORG:{_escaped(contact.company)}"
    for kind, number in numbers:
        yield f"TEL;TYPE={_TYPES[kind]}:{_escaped(number)}"
    for mail in contact.emails:
        yield f"EMAIL;TYPE=INTERNET:{_escaped(mail)}"
    for place in contact.addresses:
        yield f"ADR:{_joined('', '', place.street, place.city, place.state, place.zip, place.country)}"
    if contact.tags:
        yield f"CATEGORIES:{','.join(map(_escaped, contact.tags))}"
    if contact.contact_url:
        yield f"URL:{one_line(contact.contact_url)}"
    yield "END:VCARD"


def _escaped(text: str) -> str:
    return text.strip().translate(_ESCAPES)


def _joined(*parts: str) -> str:
    return ";".join(map(_escaped, parts))


def _folded(line: str) -> bytes:
    """The line in pieces of at most 75 octets, none of which ends within a character."""
    raw = line.encode()
    if len(raw) <= _FOLD:
        return raw + b"\r\n"
    pieces = []
    width = _FOLD
    while raw:
        cut = min(width, len(raw))
        while cut < len(raw) and raw[cut] & 0xC0 == 0x80:
            cut -= 1
        pieces.append(raw[:cut])
        raw = raw[cut:]
        width = _FOLD - 1  # the blank that leads a continuation counts
    return b"\r\n ".join(pieces) + b"\r\n"
