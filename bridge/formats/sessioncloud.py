"""SessionCloud's remote phone book, as JSON and as XML."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from xml.parsers import expat
from xml.sax.saxutils import escape

import orjson

from bridge import contact, errors
from bridge.contact import Address, Contact, Kind, RawNumber, Record
from bridge.formats import NO_FIELDS, Fields, Unreadable, shown_id, stream
from bridge.numbers import Dialling

_KINDS: dict[str, Kind] = {
    "Softphone": "softphone",
    "WorkNumber": "work",
    "HomeNumber": "home",
    "MobileNumber": "mobile",
    "Fax": "fax",
    "Other": "other",
}
_ARRAYS = {kind: name for name, kind in _KINDS.items()}
_ROOTS = ("contacts", "arrayofcontact")

# Up to the next bracket outside a string. Possessive, so that what is not there yet is not looked for in every way.
_BRACKET = re.compile(rb'(?:[^"{}\[\]]++|"(?:[^"\\]++|\\.)*+")*+([{}\[\]])', re.DOTALL)
_LIST_KEY = re.compile(rb'"(?:contacts?|phonebook|data|items)"\s*:\s*\[\Z', re.IGNORECASE)
_OWN_ID = re.compile(rb'"id"\s*:\s*"([^"\\]+)"', re.IGNORECASE)
_ZIP_CITY = re.compile(r"((?:[A-Z]{1,2}-)?\d[\dA-Z -]*?)\s+(\D.*)")
_UTF16_DECLARED = re.compile(rb"<\?xml[^>]*encoding\s*=\s*[\"']utf-?16", re.IGNORECASE)
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def read_json(chunks: Iterable[bytes], fields: Fields = NO_FIELDS) -> Iterator[Record | Unreadable]:
    """Contacts of a JSON array, or of the array in an object's `contacts`; one object is held at a time."""
    for place, raw in enumerate(_Objects(chunks), 1):
        if not raw.startswith(b"{"):
            yield Unreadable(f"entry {place}", "this is not an object")
            continue
        try:
            values = _load(raw)
        except (ValueError, RecursionError):
            own = _OWN_ID.search(raw)
            yield Unreadable(stream.decode(own[1]) if own else f"entry {place}", "this is not valid JSON")
            continue
        yield _record({key.lower(): value for key, value in values.items()}, f"entry {place}", fields)


def _load(raw: bytes) -> dict[str, Any]:
    """The object, strictly; else with what careless writers do and Python forgives."""
    try:
        values: dict[str, Any] = orjson.loads(raw)
    except orjson.JSONDecodeError:
        values = json.loads(stream.decode(raw), strict=False)
    return values


class _Objects:
    """The elements of the one list in a JSON text, as written; nothing but the current one is held."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._head, self._chunks = stream.peek(iter(chunks), 1)
        self._text = b""
        self._start = 0
        self._at = 0

    def __iter__(self) -> Iterator[bytes]:
        if self._head.lstrip()[:1] not in (b"[", b"{"):
            raise errors.Unavailable("this is not JSON: it begins with neither [ nor {")
        yield from self._elements() if self._bracket() == b"[" else self._wrapped()
        self._start = self._at
        while not self._text[self._at :].strip():
            self._start = self._at = len(self._text)
            if not self._more():
                return
        raise errors.Unavailable("there is text behind the end of the JSON: this is not one phone book")

    def _elements(self) -> Iterator[bytes]:
        """Every element up to the bracket that closes the list."""
        while True:
            self._start = self._at
            closed = self._bracket()
            between = self._passed()[:-1].strip(b" \t\r\n,")
            if between:
                yield between
            if closed == b"]":
                return
            if closed == b"}":
                raise errors.Unavailable("the JSON is damaged: a } closes its list")
            self._start = self._at - 1
            self._close()
            yield self._passed()

    def _wrapped(self) -> Iterator[bytes]:
        """The elements of the list in an object; the object itself where it is a contact."""
        listed = False
        while (mark := self._bracket()) != b"}":
            if mark == b"[" and not listed and _LIST_KEY.search(self._text[max(self._start, self._at - 64) : self._at]):
                yield from self._elements()
                listed, self._start = True, self._at
            elif mark != b"]":
                self._close()
        if not listed:
            whole = self._passed()
            if not _OWN_ID.search(whole):
                raise errors.Unavailable("this is JSON without a list of contacts")
            yield whole

    def _close(self) -> None:
        """Go behind the bracket that closes the one just passed."""
        depth = 1
        while depth:
            depth += 1 if self._bracket() in (b"[", b"{") else -1

    def _bracket(self) -> bytes:
        while not (found := _BRACKET.match(self._text, self._at)):
            if not self._more():
                raise errors.Unavailable("the JSON ends before its list does: it was cut, or a quote is missing")
        self._at = found.end()
        return found[1]

    def _passed(self) -> bytes:
        return self._text[self._start : self._at]

    def _more(self) -> bool:
        """Read on, as much again as is held, so that no byte is looked at more than a few times."""
        held = len(self._text) - self._start
        if held > stream.MAX_ITEM:
            raise errors.Unavailable(f"one entry of the JSON has more than {stream.MAX_ITEM >> 20} MB: it is damaged")
        parts = [self._text[self._start :]]
        size = 0
        while size <= held and (chunk := next(self._chunks, b"")):
            parts.append(chunk)
            size += len(chunk)
        self._text = b"".join(parts)
        self._at -= self._start
        self._start = 0
        return size > 0


def read_xml(chunks: Iterable[bytes], fields: Fields = NO_FIELDS) -> Iterator[Record | Unreadable]:
    """Contacts of a `<Contacts>` document; one contact is held at a time."""
    head, whole = stream.peek(iter(chunks), 256)
    reader = _Reader("utf-8" if _UTF16_DECLARED.match(head.lstrip()) else None)
    for place, values in enumerate(reader.contacts(whole), 1):
        yield _record(values, f"entry {place}", fields)


class _Reader:
    """An expat parser that turns each `<Contact>` into its fields."""

    def __init__(self, encoding: str | None) -> None:
        self._parser = expat.ParserCreate(encoding)
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._opened
        self._parser.EndElementHandler = self._closed
        self._parser.CharacterDataHandler = self._said
        self._parser.StartDoctypeDeclHandler = self._refuse
        self._path: list[str] = []
        self._fields: dict[str, list[str]] = {}
        self._text: list[str] = []
        self._size = 0
        self._done: list[dict[str, list[str]]] = []

    def contacts(self, chunks: Iterable[bytes]) -> Iterator[dict[str, list[str]]]:
        """The contacts as they are complete; raises Unavailable where the document is not whole and well-formed."""
        begun = False
        for chunk in chunks:
            piece = chunk if begun else chunk.lstrip()
            begun = begun or bool(piece)
            for at in range(0, len(piece), 1 << 16):
                self._feed(piece[at : at + (1 << 16)])
                done, self._done = self._done, []
                yield from done
        self._feed(b"", final=True)

    def _feed(self, piece: bytes, final: bool = False) -> None:
        try:
            self._parser.Parse(piece, final)
        except expat.ExpatError as wrong:
            what = f"{expat.ErrorString(wrong.code)} in line {wrong.lineno}"
            raise errors.Unavailable(f"this is not well-formed XML, or it was cut: {what}") from None
        except (LookupError, ValueError):
            raise errors.Unavailable("this XML names an encoding that is unknown: it should be UTF-8") from None

    def _refuse(self, *_: object) -> None:
        raise errors.Unavailable("this XML has a DOCTYPE, which a phone book does not need: it is not read")

    def _opened(self, tag: str, _: dict[str, str]) -> None:
        name = tag.rpartition(":")[2].lower()
        if not self._path and name not in _ROOTS:
            raise errors.Unavailable("this is XML of another kind: its root is not <Contacts>")
        if len(self._path) > 64:
            raise errors.Unavailable("this XML is nested too deeply for a phone book")
        self._path.append(name)
        self._text.clear()

    def _said(self, text: str) -> None:
        self._size += len(text)
        if self._size > stream.MAX_ITEM:
            raise errors.Unavailable(f"one contact of the XML has more than {stream.MAX_ITEM >> 20} MB: it is damaged")
        self._text.append(text)

    def _closed(self, _: str) -> None:
        depth = len(self._path)
        if depth == 2:
            if self._path[1] == "contact":
                self._done.append(self._fields)
            self._fields, self._size = {}, 0
        elif depth in (3, 4) and (text := "".join(self._text).strip()):
            self._fields.setdefault(self._path[2], []).append(text)
        self._path.pop()
        self._text.clear()


def _record(values: Mapping[str, Any], place: str, fields: Fields) -> Record | Unreadable:
    """A contact's fields, names in lower case, as a record."""
    own = _text(values.get("id"))
    if not own:
        return Unreadable(place, "it has no Id")
    country = _text(values.get("countrycode")).upper()
    return Record(
        id=own,
        first_name=_text(values.get("firstname")),
        last_name=_text(values.get("lastname")),
        company=_text(values.get("company")) or _text(values.get("companyname")),
        emails=tuple(_texts(values.get("email"))),
        addresses=_addresses(values),
        numbers=tuple(
            RawNumber(text, kind) for key, kind in _KINDS.items() for text in _texts(values.get(key.lower()))
        ),
        country=country if len(country) == 2 and country.isascii() and country.isalpha() else "",
        custom=tuple((title, text) for title, name in fields.items() for text in _texts(values.get(name.lower()))),
        version=_text(values.get("checksum")),
    )


def _addresses(values: Mapping[str, Any]) -> tuple[Address, ...]:
    """The address in its fields, else from the older list of lines: street, town, country."""
    parts = [_text(values.get(key)) for key in ("street", "zip", "city", "state", "country")]
    if not any(parts):
        lines = _texts(values.get("address"))
        if not lines:
            return ()
        town = lines[1] if len(lines) > 1 else ""
        split = _ZIP_CITY.fullmatch(town) if len(town) < 100 else None
        parts = [lines[0], split[1] if split else "", split[2] if split else town, "", ", ".join(lines[2:])]
    return (Address(*parts),)


def _text(value: Any) -> str:
    return next(iter(_texts(value)), "")


def _texts(value: Any) -> list[str]:
    """The texts in what should be a list of them, and may be one alone or `{"string": [...]}`."""
    if isinstance(value, dict):
        value = next(iter(value.values()), None)
    items = value if isinstance(value, list) else [value]
    return [text for item in items if (text := _scalar(item))]


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return stream.one_line(value)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""


def write_json(contacts: Iterable[Contact], dialling: Dialling) -> Iterator[bytes]:
    """One array, one contact a line."""
    lead = b"[\n"
    for one in contacts:
        yield lead + orjson.dumps(_shown(one, dialling))
        lead = b",\n"
    yield b"[]\n" if lead == b"[\n" else b"\n]\n"


def write_xml(contacts: Iterable[Contact], dialling: Dialling) -> Iterator[bytes]:
    """One `<Contacts>` document, nothing padded: apps may take blanks for text."""
    yield b'<?xml version="1.0" encoding="utf-8"?>\n<Contacts>\n'
    for one in contacts:
        yield f"<Contact>{''.join(_elements(_shown(one, dialling)))}</Contact>\n".encode()
    yield b"</Contacts>\n"


def _elements(shown: Mapping[str, str | list[str]]) -> Iterator[str]:
    for name, value in shown.items():
        if isinstance(value, str):
            yield f"<{name}>{_escaped(value)}</{name}>"
        else:
            yield f"<{name}>{''.join(f'<string>{_escaped(item)}</string>' for item in value)}</{name}>"


def _escaped(text: str) -> str:
    return escape(_NOT_XML.sub(" ", text))


def _shown(one: Contact, dialling: Dialling) -> dict[str, str | list[str]]:
    """A contact with every key of the older and the newer page, neither of which has one for a company.

    The Checksum also changes when a number is spelled otherwise or is no extension any more: apps look at nothing else.
    """
    place = one.addresses[0] if one.addresses else Address()
    town = f"{place.zip} {place.city}".strip()
    arrays: dict[str, list[str]] = {name: [] for name in _KINDS}
    respelled = ""
    for number in one.numbers:
        if number.key:
            kind = "softphone" if dialling.internal(number.key) and number.kind != "fax" else number.kind
            array = arrays[_ARRAYS[kind]]
            text = dialling.spell(number.key)
            if text not in array:
                array.append(text)
            if text != number.key:
                respelled += f"\0{text}"
            elif not number.e164 and kind != "softphone":
                respelled += f"\0{kind}"
    shown: dict[str, str | list[str]] = {
        "Id": shown_id(one),
        "Checksum": contact.checksum(contact.dump(one) + respelled.encode()).hex(),
        "FirstName": one.first_name,
        "LastName": one.last_name if one.first_name or one.last_name else one.name,
        "Email": list(one.emails),
        "Address": [line for line in (place.street, town, place.country) if line],
        "Street": place.street,
        "Zip": place.zip,
        "City": place.city,
        "State": place.state,
        "Country": place.country,
        "CountryCode": one.country,
    }
    return {**shown, **arrays}
