"""From a record as a source said it to the contact that is held: clean texts, numbers read. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from bridge import numbers
from bridge.contact import Address, Contact, Number, RawNumber, Record

RULES = "1"
"""The version of this module's own rules; bumped when a record would become another contact."""

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_URL = re.compile(r"https?://[^\s/?#\x00-\x1f\x7f-\x9f\ud800-\udfff][^\s\x00-\x1f\x7f-\x9f\ud800-\udfff]*", re.I)


def normalise(record: Record, source: str, region: str, internal_digits: int = 5) -> Contact:
    """The contact that a record means; the same for the same record under the same rules."""
    return Contact(
        source=source,
        id=record.id,
        first_name=_text(record.first_name),
        last_name=_text(record.last_name),
        display_name=_text(record.display_name),
        company=_text(record.company),
        emails=_distinct(record.emails),
        addresses=_addresses(record.addresses),
        numbers=_numbers(record.numbers, region, internal_digits),
        tags=_distinct(record.tags),
        country=_country(record.country),
        contact_url=_url(record.contact_url),
        company_url=_url(record.company_url),
        custom=_custom(record.custom),
    )


def unreadable(contact: Contact) -> int:
    """How many of its numbers are none: kept as written, never pushed."""
    return sum(not number.key for number in contact.numbers)


def rules(region: str, internal_digits: int) -> bytes:
    """What names all rules that make a contact of a record, in at most 64 bytes: the key of `contact.digest`."""
    return f"{RULES}/{numbers.RULES}/{region.upper()}/{internal_digits}".encode()[:64]


def _text(text: str) -> str:
    """NFC, on one line, with single blanks; what no database or phone takes is a blank."""
    if not text:
        return ""
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    if not text.isprintable():
        text = _UNPRINTABLE.sub(" ", text)
    return " ".join(text.split())


def _distinct(texts: Iterable[str]) -> tuple[str, ...]:
    """Clean texts in order, none empty and none twice in whatever case; the first spelling stays."""
    if not texts:
        return ()
    kept: dict[str, str] = {}
    for text in map(_text, texts):
        if text:
            kept.setdefault(text.casefold(), text)
    return tuple(kept.values())


def _addresses(addresses: Iterable[Address]) -> tuple[Address, ...]:
    if not addresses:
        return ()
    clean = (tuple(map(_text, (a.street, a.zip, a.city, a.state, a.country))) for a in addresses)
    return tuple(Address(*parts) for parts in dict.fromkeys(clean) if any(parts))


def _country(country: str) -> str:
    code = country.strip()
    return code.upper() if len(code) == 2 and code.isascii() and code.isalpha() else ""


def _url(url: str) -> str:
    """http and https alone: a CRM's javascript: must never reach a user's click."""
    url = url.strip()
    return url if url and _URL.fullmatch(url) else ""


def _custom(custom: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    if not custom:
        return ()
    pairs = ((_text(title), _text(text)) for title, text in custom)
    return tuple((title, text) for title, text in pairs if title and text)


def _numbers(raw: Iterable[RawNumber], region: str, internal_digits: int) -> tuple[Number, ...]:
    """Every number once, in order: the first kind stays, and a person's own goes before the company's."""
    kept: dict[str, Number] = {}
    for written in raw:
        text = written.text
        text = (text if text.isprintable() else _UNPRINTABLE.sub(" ", text)).strip()
        if not text:
            continue
        for key in numbers.read(written.text, region, internal_digits) or ("",):
            number = Number(key, written.kind, text, written.company)
            place = key or f" {text}"  # no key begins with a blank
            if kept.setdefault(place, number).company and not number.company:
                kept[place] = number
    return tuple(kept.values())
