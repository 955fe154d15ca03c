"""What a source said (Record) and what we hold (Contact). Values only, no I/O."""

from __future__ import annotations

import datetime
import hashlib
from dataclasses import dataclass, fields
from typing import Literal

import orjson

Kind = Literal["work", "mobile", "home", "fax", "softphone", "other"]
KINDS: tuple[Kind, ...] = ("work", "mobile", "home", "fax", "softphone", "other")


@dataclass(frozen=True, slots=True)
class RawNumber:
    """One number as a source wrote it; `company`: the company's own, not the person's."""

    text: str
    kind: Kind = "other"
    company: bool = False


@dataclass(frozen=True, slots=True)
class Address:
    """A postal address in its parts; each may be empty. `country` as written."""

    street: str = ""
    zip: str = ""
    city: str = ""
    state: str = ""
    country: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """What a source said about one contact, cleaned of its transport and of nothing else.

    `id` is the id in the CRM, stable for the life of the record. `version` is the server's own mark of
    the record's state (an ETag, say), by which a later run knows it unchanged without reading it.
    `modified` is when the CRM says that it changed (aware, UTC), where it says so.
    `country` is an ISO 3166 alpha-2 code or "". `custom` pairs are (title, text).
    """

    id: str
    first_name: str = ""
    last_name: str = ""
    display_name: str = ""
    company: str = ""
    emails: tuple[str, ...] = ()
    addresses: tuple[Address, ...] = ()
    numbers: tuple[RawNumber, ...] = ()
    tags: tuple[str, ...] = ()
    country: str = ""
    contact_url: str = ""
    company_url: str = ""
    custom: tuple[tuple[str, str], ...] = ()
    modified: datetime.datetime | None = None
    version: str = ""


@dataclass(frozen=True, slots=True)
class Number:
    """One number as we hold it.

    `key` is what it is stored, matched and pushed by: E.164 with its plus where the number is valid,
    else the dialable characters (`0-9*#`), else "" for text that is no number. `raw` is as written.
    """

    key: str
    kind: Kind
    raw: str
    company: bool = False

    @property
    def e164(self) -> str:
        """E.164 with the plus, or "" where it is no valid number."""
        return self.key if self.key.startswith("+") else ""


@dataclass(frozen=True, slots=True)
class Contact:
    """One contact, normalised. What `checksum` covers is all of it."""

    source: str
    id: str
    first_name: str = ""
    last_name: str = ""
    display_name: str = ""
    company: str = ""
    emails: tuple[str, ...] = ()
    addresses: tuple[Address, ...] = ()
    numbers: tuple[Number, ...] = ()
    tags: tuple[str, ...] = ()
    country: str = ""
    contact_url: str = ""
    company_url: str = ""
    custom: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        """The name to show: as displayed, else first and last, else the company; "" where there is none."""
        return self.display_name or f"{self.first_name} {self.last_name}".strip() or self.company


def digest(record: Record, rules: bytes) -> bytes:
    """16 bytes that change when the record as read or the rules that read it change."""
    return hashlib.blake2b(orjson.dumps(record), digest_size=16, key=rules[:64]).digest()


def dump(contact: Contact) -> bytes:
    """The contact as JSON, the same bytes for the same contact."""
    return orjson.dumps(contact)


def checksum(dumped: bytes) -> bytes:
    """16 bytes over a dumped contact: changes if, and only if, one of its fields does."""
    return hashlib.blake2b(dumped, digest_size=16).digest()


def load(dumped: str | bytes) -> Contact:
    """A contact from what `dump` made; fields that a later version added take their defaults."""
    data = orjson.loads(dumped)
    known = {f.name for f in fields(Contact)}
    data = {key: value for key, value in data.items() if key in known}
    data["addresses"] = tuple(Address(**a) for a in data.get("addresses", ()))
    data["numbers"] = tuple(Number(**n) for n in data.get("numbers", ()))
    data["custom"] = tuple((k, v) for k, v in data.get("custom", ()))
    for name in ("emails", "tags"):
        data[name] = tuple(data.get(name, ()))
    return Contact(**data)


def names_sum(contact: Contact) -> int:
    """A signed 64-bit sum over what a PBX shows of a contact: its names and its company."""
    shown = "\0".join((contact.first_name, contact.last_name, contact.display_name, contact.company))
    return int.from_bytes(hashlib.blake2b(shown.encode(), digest_size=8).digest(), "big", signed=True)
