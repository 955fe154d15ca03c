"""The properties of one vCard as a record."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Sequence
from urllib.parse import unquote

from bridge.contact import Address, Kind, RawNumber, Record
from bridge.formats.stream import one_line
from bridge.formats.vcard.lines import NO_PREF, Properties, Property, kind_of

Choose = Callable[[str, str, str], str]
"""The id for a card of this UID, name and company."""
Titles = Sequence[tuple[str, str]]
"""What custom fields are called, each with its property's name, upper case."""

_ESCAPE = re.compile(r"\\([nN,;:\\])")
_PART = re.compile(r"((?:[^\\;]++|\\.?)*+)(?:;|\Z)", re.DOTALL)
_LIST_COMMA = re.compile(r"(?<!\\),")
_LABEL = re.compile(r"_\$!<(.*)>!\$_")
_DIALLED = re.compile(r"(?=.{0,63}?\d)[\d*#+()./\s-]{1,64}")
_SEPARATORS = b" -./()"
_NO_NAMES = ("", "", "", "", "")
_KIND_OF_CARD = ("KIND", "X-ADDRESSBOOKSERVER-KIND")


def record(card: Properties, choose: Choose, version: str = "", custom: Titles = ()) -> Record | None:
    """The contact of a card; None for a group of contacts. ValueError where nothing in it says who or what it is."""
    single, others = card.single, card.others
    if ("KIND" in single or "X-ADDRESSBOOKSERVER-KIND" in single) and _is_group(single):
        return None
    old = "VERSION" in single and single["VERSION"].strip() == "2.1"
    mails = _mails(card.mails, old) if card.mails else ()
    numbers = _numbers(card.tels, others, old) if card.tels or others else ()
    company = _company(single["ORG"], old) if "ORG" in single else ""
    parts = _name_parts(single["N"], old) if "N" in single else _NO_NAMES
    shown = _plain(single["FN"], old) if "FN" in single else ""
    if not shown or shown in mails or "X-ABSHOWAS" in single:
        shown = _shown(single, shown, parts, company, (*mails, *(number.text for number in numbers)))
    addresses, tags, country = _rest(others, old) if others else ((), (), "")
    return Record(
        id=choose(uid(single["UID"]) if "UID" in single else "", shown or company, company),
        first_name=parts[1].strip(),
        last_name=parts[0].strip(),
        display_name=shown,
        company=company,
        emails=mails,
        addresses=addresses,
        numbers=numbers,
        tags=tags,
        country=country,
        custom=_custom(card, custom, old) if custom else (),
        modified=_when(single["REV"]) if "REV" in single else None,
        version=version,
    )


def uid(text: str) -> str:
    """A UID as an id: without the `urn:uuid:` that some writers put before it and others do not."""
    text = text.strip()
    return text[9:] if text[3:4] == ":" and text[:9].lower() == "urn:uuid:" else text


def _is_group(single: dict[str, str]) -> bool:
    return any(name in single and single[name].strip().lower() == "group" for name in _KIND_OF_CARD)


def _shown(single: dict[str, str], shown: str, parts: Sequence[str], company: str, makeshifts: Sequence[str]) -> str:
    """The name to show where FN is none; "" where the company is all there is. ValueError where there is nothing."""
    if company and single.get("X-ABSHOWAS", "").strip().upper() == "COMPANY":
        return company
    if shown and shown not in makeshifts:
        return shown
    family, given, additional, prefix, suffix = (*parts, *_NO_NAMES)[:5]
    full = " ".join(part.strip() for part in (prefix, given, additional, family, suffix) if part.strip())
    named = full or shown or one_line(single.get("NICKNAME", "").replace("\\,", ","))
    if named or company:
        return named
    if not makeshifts:
        raise ValueError("it holds no name, company, e-mail or number")
    return makeshifts[0]


def _plain(value: str, old: bool) -> str:
    """A value without escapes, on one line. vCard 2.1 knows no escape but that of the semicolon."""
    if "\\" not in value:
        return value.strip()
    return one_line(value.replace("\\;", ";") if old else _ESCAPE.sub(_unescaped, value))


def _unescaped(found: re.Match[str]) -> str:
    return "\n" if found[1] in "nN" else found[1]


def _parts(value: str, old: bool) -> list[str]:
    """What stands between the semicolons, without escapes."""
    if "\\" not in value:
        return value.split(";")
    return [_plain(part, old) for part in _PART.findall(value)]


def _name_parts(value: str, old: bool) -> list[str]:
    """Family, given, additional, prefix, suffix, at least two; a list in one of them becomes words."""
    if "," in value and not old:
        parts = [" ".join(part.split()) for part in _parts(_LIST_COMMA.sub(" ", value), old)]
    else:
        parts = _parts(value, old)
    return parts if len(parts) > 1 else [*parts, ""]


def _company(value: str, old: bool) -> str:
    """The first unit that is named: what follows are its departments."""
    for part in _parts(value, old):
        if part := part.strip():
            return part
    return ""


def _preferred(properties: list[Property]) -> list[Property]:
    for head, _ in properties:
        if head.pref != NO_PREF:
            return sorted(properties, key=lambda entry: entry[0].pref)
    return properties


def _mails(properties: list[Property], old: bool) -> tuple[str, ...]:
    found: dict[str, str] = {}
    for _, value in _preferred(properties):
        text = _plain(value, old)
        if ":" in text and text[:7].lower() == "mailto:":
            text = one_line(unquote(text[7:]))
        if text:
            found.setdefault(text.lower(), text)
    return tuple(found.values())


def _numbers(tels: list[Property], others: list[Property], old: bool) -> tuple[RawNumber, ...]:
    """Each number once, the preferred first; the kind is the type's, else that of the group's label."""
    found: dict[bytes, RawNumber] = {}
    for head, value in _preferred(tels):
        text = value.strip()
        kind = head.kind or (_labelled(head.group, others) if head.group else None)
        if ":" in text or ";" in text or "\\" in text:
            text, by_scheme = _dialled(_plain(text, old))
            kind = by_scheme or kind
        key = text.encode().translate(None, _SEPARATORS)
        if key not in found:
            found[key] = RawNumber(text, kind or "other")
        elif kind and found[key].kind == "other":
            found[key] = RawNumber(found[key].text, kind)
    found.pop(b"", None)
    for head, value in others:
        if head.name in ("IMPP", "X-SIP"):
            address = _plain(value, old)
            text, by_scheme = _dialled(address if ":" in address else f"sip:{address}")
            if by_scheme and _DIALLED.fullmatch(text):
                found.setdefault(text.encode().translate(None, _SEPARATORS), RawNumber(text, by_scheme))
    return tuple(found.values())


def _labelled(group: str, others: list[Property]) -> Kind | None:
    """The kind that Apple's `item1.X-ABLabel` gives to `item1.TEL`."""
    for head, value in others:
        if head.name == "X-ABLABEL" and head.group == group:
            label = _LABEL.sub(r"\1", value.strip()).lower()
            return kind_of({label, *label.split()})
    return None


def _dialled(text: str) -> tuple[str, Kind | None]:
    """A number without its scheme and parameters, and the kind that the scheme means."""
    scheme, _, rest = text.partition(":")
    scheme = scheme.strip().lower()
    if scheme in ("sip", "sips"):
        user, at, host = unquote(rest.partition(";")[0].partition("?")[0].strip()).partition("@")
        user = one_line(user.partition(":")[0])  # what may stand behind the colon is a password
        return (user if not at or _DIALLED.fullmatch(user) else f"{user}@{one_line(host)}"), "softphone"
    if scheme != "tel":
        rest = text
        if ";ext=" not in text.lower():
            return text, None
    number, *parameters = rest.split(";")
    number = one_line(unquote(number))
    for parameter in parameters:
        key, _, value = (part.strip() for part in parameter.partition("="))
        if key.lower() == "ext" and value:
            number = f"{number} ext. {value}"
        elif key.lower() == "phone-context" and value.startswith("+") and not number.startswith("+"):
            number = value + number
    return number, None


def _rest(others: list[Property], old: bool) -> tuple[tuple[Address, ...], tuple[str, ...], str]:
    """Addresses, tags, and the country's code where something states one."""
    addresses: dict[Address, None] = {}
    tags: dict[str, None] = {}
    countries: list[str] = []
    for head, value in others:
        if head.name == "ADR":
            box, extended, street, city, state, zip, country = (
                part.strip() for part in (*_parts(value, old), *[""] * 7)[:7]
            )
            street = ", ".join(part for part in (box, extended, street) if part)
            address = Address(street=street, zip=zip, city=city, state=state, country=country)
            if address != Address():
                addresses[address] = None
                countries.append(country)
        elif head.name == "X-ABADR":
            countries.insert(0, value.strip())
        elif head.name == "CATEGORIES":
            tags.update((tag, None) for part in _LIST_COMMA.split(value) if (tag := _plain(part, old)))
    code = next((text for text in countries if len(text) == 2 and text.isascii() and text.isalpha()), "")
    return tuple(addresses), tuple(tags), code.upper()


def _custom(card: Properties, titles: Titles, old: bool) -> tuple[tuple[str, str], ...]:
    """The properties that an admin asks for by name, as often as the card has them."""
    found: list[tuple[str, str]] = []
    for title, name in titles:
        values = [card.single[name]] if name in card.single else []
        values += [value for head, value in (*card.tels, *card.mails, *card.others) if head.name == name]
        found += [(title, text) for value in values if (text := _plain(value, old))]
    return tuple(found)


def _when(text: str) -> datetime.datetime | None:
    """A REV, in UTC, which it is where it does not say otherwise; None for what is no time."""
    try:
        when = datetime.datetime.fromisoformat(text.strip())
        if when.tzinfo is datetime.UTC:
            return when
        return when.replace(tzinfo=datetime.UTC) if when.tzinfo is None else when.astimezone(datetime.UTC)
    except (ValueError, OverflowError):
        return None
