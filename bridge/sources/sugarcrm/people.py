"""From a row of a module to a record, and from an employee to a user. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bridge.contact import Address, RawNumber, Record, User
from bridge.sources import INTERNAL
from bridge.sources.sugarcrm import fields, listing

EXTENSION = "phone_work"
"""Sugar has no field for it: an extension is a work number so short that it can be nothing else."""
USER = ("first_name", "last_name", "email", "status", "employee_status", "is_group", "portal_only")
_DEPARTED = ("inactive", "terminated", "leave of absence")


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads rows of one site; `custom` maps titles to fields."""

    url: str
    custom: Mapping[str, str]

    def record(self, module: str, row: Mapping[str, Any], office: str = "") -> Record:
        """What a row says; `office` is the number of its account."""
        account = text(row.get("account_id"))
        first, last = text(row.get("first_name")), text(row.get("last_name"))
        return Record(
            id=row["id"],
            first_name=first,
            last_name=last,
            display_name="" if first or last else text(row.get("full_name")),
            company=text(row.get("account_name")),
            emails=mails(row.get("email")),
            addresses=_addresses(row),
            numbers=_numbers(row, office),
            tags=_tags(row.get("tag")),
            country=_country(row),
            contact_url=page(self.url, module, row["id"]),
            company_url=page(self.url, fields.ACCOUNTS, account) if account else "",
            custom=tuple((title, said) for title, name in self.custom.items() if (said := text(row.get(name)))),
            modified=listing.moment(row.get("date_modified")),
        )


def page(url: str, module: str, identity: str) -> str:
    """Where a record is shown."""
    return f"{url.rstrip('/')}/#{module}/{identity}"


def user(row: Mapping[str, Any], field: str) -> User | None:
    """The user with an extension that a row is; None for all others."""
    extension = text(row.get(field or EXTENSION))
    if not field and not INTERNAL.fullmatch(extension):
        return None
    if not extension or true(row.get("is_group")) or true(row.get("portal_only")):
        return None
    if any(text(row.get(name)).lower() in _DEPARTED for name in ("status", "employee_status")):
        return None
    addresses = mails(row.get("email"))
    return User(
        row["id"],
        extension,
        text(row.get("first_name")),
        text(row.get("last_name")),
        addresses[0] if addresses else "",
    )


def true(value: Any) -> bool:
    """A flag, which releases write as true, 1 or "1"."""
    return value in (True, "1", "true", "on")


def text(value: Any) -> str:
    """A value as people read it: choices and names of a list one after another."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list):
        return ", ".join(filter(None, (text(each) for each in value if not isinstance(each, list))))
    if isinstance(value, dict):
        said = value.get("email_address") or value.get("name")
        return "" if isinstance(said, list | dict) else text(said)
    return ""


def mails(value: Any) -> tuple[str, ...]:
    """E-mail addresses, the primary one first, without those known to be wrong."""
    if isinstance(value, str):
        return (value.strip(),) if value.strip() else ()
    told = [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
    good = [each for each in told if not true(each.get("invalid_email"))]
    good.sort(key=lambda each: not true(each.get("primary_address")))
    return tuple(filter(None, (text(each.get("email_address")) for each in good)))


def _numbers(row: Mapping[str, Any], office: str) -> tuple[RawNumber, ...]:
    own = [
        RawNumber(said, kind)
        for name, kind in fields.PHONES.items()
        if (value := row.get(name)) and (said := text(value))
    ]
    return (*own, RawNumber(office, "work", company=True)) if office else tuple(own)


def _addresses(row: Mapping[str, Any]) -> tuple[Address, ...]:
    written = ([row.get(name) for name in names] for names in fields.ADDRESSES)
    return tuple(Address(*map(text, parts)) for parts in written if any(parts))


def _country(row: Mapping[str, Any]) -> str:
    said = text(row.get("primary_address_country"))
    return said.upper() if re.fullmatch(r"[A-Za-z]{2}", said) else ""


def _tags(value: Any) -> tuple[str, ...]:
    told: Iterable[Any] = value if isinstance(value, list) else ()
    return tuple(filter(None, map(text, told)))
