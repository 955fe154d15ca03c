"""From a contact's attributes to a record. Pure."""

from __future__ import annotations

import datetime
import functools
import re
from collections.abc import Iterable, Mapping
from typing import Any

from bridge.contact import Address, Kind, RawNumber, Record
from bridge.sources.zimbra.mailbox import Card

_PHONE = re.compile(r"(work|home|mobile|company|callback|assistant|car|other)(Alt)?(Phone|Fax|Mobile)([0-9]*)")
_ODD_PHONE = re.compile(r"(pager|tollFree)()()([0-9]*)")
_EMAIL = re.compile(r"(?:|work|home|other)[eE]mail([0-9]*)")
_PLACE = re.compile(r"(work|home|other)(Street|City|State|PostalCode|Country)([0-9]*)")

_ORDER = ("mobile", "work", "company", "home", "pager", "callback", "assistant", "car", "other", "tollFree")
_KINDS: Mapping[str, Kind] = {"mobile": "mobile", "car": "mobile", "work": "work", "company": "work", "home": "home"}
_PLACES = ("work", "home", "other")
_NAME = ("namePrefix", "firstName", "middleName", "lastName", "nameSuffix")


def record(card: Card, id: str, fields: Mapping[str, str], url: str = "") -> Record:
    """The record of a contact; `fields` are titles with the attributes that fill them."""
    attributes = card.attributes
    numbers = _numbers(attributes)
    emails = _emails(attributes)
    addresses = _addresses(attributes)
    return Record(
        id=id,
        first_name=_text(attributes.get("firstName")),
        last_name=_text(attributes.get("lastName")),
        display_name=_name(card, emails, numbers),
        company=_text(attributes.get("company")),
        emails=emails,
        addresses=addresses,
        numbers=numbers,
        country=next((each.country for each in addresses if re.fullmatch("[A-Za-z]{2}", each.country)), ""),
        contact_url=url,
        custom=tuple(
            (title, text) for title, name in fields.items() if (text := ", ".join(_texts(attributes.get(name))))
        ),
        modified=_modified(card),
        version=card.version,
    )


def _name(card: Card, emails: tuple[str, ...], numbers: tuple[RawNumber, ...]) -> str:
    """What the contact is called: the first of its names that holds anything."""
    attributes = card.attributes
    return (
        _text(attributes.get("fullName"))
        or " ".join(filter(None, (_text(attributes.get(part)) for part in _NAME)))
        or _text(attributes.get("nickname"))
        or _text(attributes.get("company"))
        or (card.file_as or "").strip()
        or next(iter(emails), "")
        or next((number.text for number in numbers), "")
    )


def _numbers(attributes: Mapping[str, Any]) -> tuple[RawNumber, ...]:
    """Every number, in an order that does not depend on the server's; a fax stays a fax wherever it stands."""
    found: list[tuple[tuple[int, int, int], Kind, Any]] = []
    for name, value in attributes.items():
        phone = _phone(name)
        if phone is not None:
            found.append((*phone, value))
    found.sort(key=lambda each: each[0])
    return tuple(RawNumber(text, kind) for _, kind, value in found for text in _texts(value))


@functools.lru_cache(1024)
def _phone(name: str) -> tuple[tuple[int, int, int], Kind] | None:
    """The place and kind of a telephone number's attribute; None for any other."""
    found = _PHONE.fullmatch(name) or _ODD_PHONE.fullmatch(name)
    if found is None:
        return None
    base, alternative, sort, index = found.groups()
    kind: Kind = "fax" if sort == "Fax" else "mobile" if sort == "Mobile" else _KINDS.get(base, "other")
    rank = 3 if sort == "Fax" else 2 if alternative else 1 if sort == "Mobile" else 0
    return (_ORDER.index(base), rank, int(index[:9] or 1)), kind


def _emails(attributes: Mapping[str, Any]) -> tuple[str, ...]:
    found = sorted((place, name) for name in attributes if (place := _email(name)) is not None)
    return tuple(text for _, name in found for text in _texts(attributes[name]))


@functools.lru_cache(1024)
def _email(name: str) -> tuple[bool, int] | None:
    found = _EMAIL.fullmatch(name)
    return (not name.startswith("email"), int(found.group(1)[:9] or 1)) if found else None


def _addresses(attributes: Mapping[str, Any]) -> tuple[Address, ...]:
    parts: dict[tuple[int, int], dict[str, str]] = {}
    for name in attributes:
        place = _place(name)
        if place is not None and (text := _text(attributes[name])):
            parts.setdefault(place[0], {})[place[1]] = text
    return tuple(
        Address(
            street=each.get("Street", ""),
            zip=each.get("PostalCode", ""),
            city=each.get("City", ""),
            state=each.get("State", ""),
            country=each.get("Country", ""),
        )
        for _, each in sorted(parts.items(), key=lambda item: item[0])
    )


@functools.lru_cache(1024)
def _place(name: str) -> tuple[tuple[int, int], str] | None:
    found = _PLACE.fullmatch(name)
    return ((_PLACES.index(found[1]), int(found[3][:9] or 1)), found[2]) if found else None


def _modified(card: Card) -> datetime.datetime | None:
    milliseconds = card.seconds * 1000 or card.milliseconds
    known = 0 < milliseconds < 10**14
    return datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.UTC) if known else None


def _text(value: Any) -> str:
    return next(iter(_texts(value)), "")


def _texts(value: Any) -> Iterable[str]:
    """The texts of an attribute: one, several, or none where it is a picture."""
    if isinstance(value, str):
        text = value.strip()
        return (text,) if text else ()
    if isinstance(value, list):
        return tuple(text for each in value if not isinstance(each, list) for text in _texts(each))
    return (str(value),) if isinstance(value, int) and not isinstance(value, bool) else ()
