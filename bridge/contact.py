"""What a source said (Record, User) and what we hold (Contact). Values only, no I/O.

They are msgspec structs: made ten times as fast as frozen dataclasses and dumped five times as fast, which is a third
of what a first load costs.
"""

from __future__ import annotations

import datetime
import hashlib
from typing import Literal

import msgspec

Kind = Literal["work", "mobile", "home", "fax", "softphone", "other"]
KINDS: tuple[Kind, ...] = ("work", "mobile", "home", "fax", "softphone", "other")


class RawNumber(msgspec.Struct, frozen=True):
    """One number as a source wrote it; `company`: the company's own, not the person's."""

    text: str
    kind: Kind = "other"
    company: bool = False


class Address(msgspec.Struct, frozen=True):
    """A postal address in its parts; each may be empty. `country` as written."""

    street: str = ""
    zip: str = ""
    city: str = ""
    state: str = ""
    country: str = ""


class Record(msgspec.Struct, frozen=True):
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


class User(msgspec.Struct, frozen=True):
    """One person who works with a CRM and has a telephone: what becomes an extension of a PBX.

    `id` is the user's id in the CRM, `extension` the extension number as written there, `caller_id` the number to
    show to those whom the user calls ("": the PBX decides).
    """

    id: str
    extension: str
    first_name: str = ""
    last_name: str = ""
    email: str = ""
    caller_id: str = ""


class Number(msgspec.Struct, frozen=True):
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


class Contact(msgspec.Struct, frozen=True):
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


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Contact)


def digest(record: Record, rules: bytes) -> bytes:
    """16 bytes that change when the record as read or the rules that read it change."""
    return hashlib.blake2b(_ENCODER.encode(record), digest_size=16, key=rules[:64]).digest()


def dump(contact: Contact) -> bytes:
    """The contact as JSON, the same bytes for the same contact."""
    return _ENCODER.encode(contact)


def checksum(dumped: bytes) -> bytes:
    """16 bytes over a dumped contact: changes if, and only if, one of its fields does."""
    return hashlib.blake2b(dumped, digest_size=16).digest()


def load(dumped: str | bytes) -> Contact:
    """A contact from what `dump` made; fields that a later version added take their defaults."""
    return _DECODER.decode(dumped)


def names_sum(contact: Contact) -> int:
    """A signed 64-bit sum over what a PBX shows of a contact: its names and its company."""
    shown = "\0".join((contact.first_name, contact.last_name, contact.display_name, contact.company))
    return int.from_bytes(hashlib.blake2b(shown.encode(), digest_size=8).digest(), "big", signed=True)
