"""Mixvoip's CSV, in both modes, and as careless hands and the vendor's page write it.

The first line names the columns. A cell of it that begins with `#.` makes the file structured: those columns hold
numbers, the others tags. Without one, whatever is numeric behind the first column is a number.

Cells are taken apart here and not by the standard library, for which one lost quote swallows the rest of the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from bridge import errors
from bridge.contact import Address, Contact, Kind, RawNumber, Record
from bridge.formats import NO_FIELDS, Fields, Ids, Unreadable, stream
from bridge.numbers import Dialling

_KINDS: tuple[tuple[str, Kind], ...] = (
    ("fax", "fax"),
    ("mobil", "mobile"),
    ("cell", "mobile"),
    ("handy", "mobile"),
    ("gsm", "mobile"),
    ("portable", "mobile"),
    ("exten", "softphone"),
    ("softphone", "softphone"),
    ("durchwahl", "softphone"),
    ("work", "work"),
    ("business", "work"),
    ("office", "work"),
    ("bureau", "work"),
    ("direct", "work"),
    ("main", "work"),
    ("home", "home"),
    ("privat", "home"),
    ("domicile", "home"),
)
_COMPANY = ("company", "company name", "companyname", "organization", "organisation", "firma", "société")
_EMAIL = ("email", "e-mail", "mail", "email address", "e-mail address")
_COUNTRY = ("country", "country code", "countrycode", "land", "pays")

_TYPOGRAPHIC = str.maketrans("“”„‟″", '"' * 5)
_FLATTENED = re.compile(r'[^,;\t\s"]" +"[^,;\t\s"]')
_QUOTED = re.compile(r' *"((?:[^"]++|"")*+)" *')
_OPEN = re.compile(r' *"')
_NUMERIC = re.compile(r"(?=.{0,63}?\d)[\d*#+()./\s-]{1,64}")
_GUARD = re.compile(r"\A'(?=[=+\-@])")
_ROW_LINES, _ROW_SIZE = 50, 1 << 16

_HEADER = ("Header.Name", "#.Work", "#.Mobile", "#.Home", "#.Extension", "#.Fax", "#.Other", "Company", "Email")
_COLUMNS: tuple[Kind, ...] = ("work", "mobile", "home", "softphone", "fax", "other")
_DIALLED = re.compile(r"\+?[\d*#]+")


def read(chunks: Iterable[bytes], fields: Fields = NO_FIELDS) -> Iterator[Record | Unreadable]:
    """One contact a row; a row that is none is named by its line. Unavailable where no row is any."""
    rows = iter(_Rows(stream.lines(chunks)))
    _, names = next(rows, (0, []))
    if isinstance(names, str):
        raise errors.Unavailable(f"the header of this CSV cannot be read: {names}")
    columns = _columns(names)
    custom = _places(names, fields)
    ids = Ids()
    good = bad = 0
    for at, row in rows:
        found = row if isinstance(row, str) else _record(columns, row, ids, custom)
        if isinstance(found, str):
            bad += 1
            yield Unreadable(f"line {at}", found)
        elif found:
            good += 1
            yield found
    if bad and not good:
        raise errors.Unavailable("no line of this CSV could be read")


class _Rows:
    """Each row with its line's number: its cells, or why it has none. The first line tells how they are written."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._lines = ((at, stream.decode(line)) for at, line in enumerate(lines, 1) if line.strip(b" \t,;"))
        self._again: list[tuple[int, str]] = []
        line = self._next()
        told = line[1][4:5] if line and line[1].lower().startswith("sep=") else ""
        if told:
            line = self._next()
        first = line[1] if line else ""
        self._delimiter = told or _delimiter(first)
        self._repair = first.translate(_TYPOGRAPHIC) != first or bool(_FLATTENED.search(first))
        if line:
            self._again.append(line)

    def __iter__(self) -> Iterator[tuple[int, list[str] | str]]:
        while line := self._next():
            rows = self._whole(line[1])
            if not rows:
                yield line[0], "it has a quote that is never closed"
            for row in rows:
                yield line[0], row

    def _next(self) -> tuple[int, str] | None:
        return self._again.pop() if self._again else next(self._lines, None)

    def _whole(self, text: str) -> list[list[str]]:
        """The rows that begin in `text`, with the lines that close its quotes; none, and no line used, if none does."""
        taken: list[tuple[int, str]] = []
        rows, sound = _split(text, self._delimiter, self._repair)
        while not rows and len(taken) < _ROW_LINES and len(text) < _ROW_SIZE and (line := self._next()):
            taken.append(line)
            text += "\n" + line[1]
            rows, sound = _split(text, self._delimiter, self._repair)
        if taken and not sound:
            self._again.extend(reversed(taken))
            return []
        return rows


def _delimiter(header: str) -> str:
    unquoted = re.sub(r'"[^"]*"', "", header.translate(_TYPOGRAPHIC))
    return max(",;\t", key=unquoted.count)


def _split(line: str, delimiter: str, repair: bool) -> tuple[list[list[str]], bool]:
    """The rows in a line, and whether they are as they should be; no row where a quote is still open.

    `repair` also parts rows that were run together: a blank and a quote where a delimiter should be.
    """
    if repair or line.startswith(("“", "„")):
        line = line.translate(_TYPOGRAPHIC)
    if '"' not in line:
        return [line.split(delimiter)], True
    rows: list[list[str]] = [[]]
    at, sound = 0, True
    while True:
        if quoted := _QUOTED.match(line, at):
            rows[-1].append(quoted[1].replace('""', '"'))
            at = quoted.end()
            if at == len(line):
                return rows, sound
            if line[at] == delimiter:
                at += 1
            elif repair and line[at] == '"':
                rows.append([])
            else:
                sound = False
            continue
        if _OPEN.match(line, at):
            return [], False
        end = line.find(delimiter, at)
        gap = line.find(' "', at, end if end >= 0 else len(line)) if repair else -1
        if gap >= 0:
            rows[-1].append(line[at:gap])
            rows.append([])
            at = gap + 1
        elif end >= 0:
            rows[-1].append(line[at:end])
            at = end + 1
        else:
            rows[-1].append(line[at:])
            return rows, sound


@dataclass(frozen=True, slots=True)
class _Column:
    """What a header cell says of its column; `role`: label, number, email, company, country, tag or nothing.

    `numeric`: whatever is numeric in it is a number.
    """

    role: str
    kind: Kind = "other"
    numeric: bool = False


def _columns(header: Sequence[str]) -> list[_Column]:
    """All columns; where no header cell marks numbers, every cell behind the first may be one."""
    names = [stream.one_line(name).lower() for name in header]
    structured = any(name.startswith("#.") for name in names)
    return [_Column("label"), *(_column(name, structured) for name in names[1:])]


def _column(name: str, structured: bool) -> _Column:
    kind: Kind = next((kind for word, kind in _KINDS if word in name), "other")
    if structured and name.startswith("#."):
        return _Column("number", kind)
    for role, known in (("email", _EMAIL), ("company", _COMPANY), ("country", _COUNTRY)):
        if name in known:
            return _Column(role, kind, numeric=not structured)
    return _Column("tag") if structured else _Column("", kind, numeric=True)


def _places(header: Sequence[str], fields: Fields) -> list[tuple[str, int]]:
    """The titles of custom fields, each with its column; none for a column that is not there."""
    names = [stream.one_line(name).lower() for name in header]
    return [(title, names.index(name.lower())) for title, name in fields.items() if name.lower() in names]


def _record(
    columns: Sequence[_Column], row: Sequence[str], ids: Ids, custom: Sequence[tuple[str, int]]
) -> Record | str | None:
    """The contact in a row, or why there is none; None for an empty row."""
    cells = [_GUARD.sub("", stream.one_line(cell)) for cell in row]
    if not any(cells):
        return None
    if len(cells) == 1 < len(columns):
        return f"it has one column, where the header has {len(columns)}"
    beyond = _Column("tag") if any(column.role == "number" for column in columns) else _Column("", numeric=True)
    found: dict[str, list[str]] = {}
    numbers: list[RawNumber] = []
    for column, cell in zip_longest(columns, cells[: len(columns) + 100], fillvalue=None):
        role = _role(column or beyond, cell or "")
        if role == "number":
            numbers.append(RawNumber(cell or "", (column or beyond).kind))
        elif role:
            found.setdefault(role, []).append(cell or "")
    label = cells[0] or next(iter(found.get("company", ())), "")
    if not label:
        return "it has no name in its first column"
    country = next(iter(found.get("country", ())), "")
    return Record(
        id=ids.make(label),
        display_name=cells[0],
        company=next(iter(found.get("company", ())), ""),
        emails=tuple(found.get("email", ())),
        addresses=(Address(country=country),) if country else (),
        numbers=tuple(dict.fromkeys(numbers)),
        tags=tuple(dict.fromkeys(found.get("tag", ()))),
        custom=tuple((title, cells[at]) for title, at in custom if cells[at : at + 1] not in ([], [""])),
        country=country.upper() if len(country) == 2 and country.isascii() and country.isalpha() else "",
    )


def _role(column: _Column, cell: str) -> str:
    """What a cell is: number, email, company, country, tag, label or nothing."""
    if not cell:
        return ""
    if column.numeric and _NUMERIC.fullmatch(cell):
        return "number"
    if column.role == "email" and "@" not in cell:
        return ""
    return column.role


def write(contacts: Iterable[Contact], dialling: Dialling) -> Iterator[bytes]:
    """The structured form, one row a contact; a further row of the same name where a kind has more numbers.

    Text that a spreadsheet would calculate gets an apostrophe in front; numbers keep their plus.
    """
    yield (",".join(map(_quoted, _HEADER)) + "\n").encode()
    for contact in contacts:
        if not contact.name:
            continue
        numbers: dict[Kind, list[str]] = {kind: [] for kind in _COLUMNS}
        for number in contact.numbers:
            if number.key and (shown := dialling.spell(number.key)) not in numbers[number.kind]:
                numbers[number.kind].append(shown)
        for row in range(max(1, *map(len, numbers.values()))):
            cells = [_number(numbers[kind][row : row + 1]) for kind in _COLUMNS]
            texts = map(_text, (contact.company, next(iter(contact.emails), "")))
            yield (",".join((_text(contact.name), *cells, *texts)) + "\n").encode()


def _number(shown: list[str]) -> str:
    return "".join(number if _DIALLED.fullmatch(number) else _quoted(number) for number in shown)


def _text(text: str) -> str:
    text = stream.one_line(text)
    return _quoted(f"'{text}" if text[:1] in ("=", "+", "-", "@") else text) if text else ""


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
