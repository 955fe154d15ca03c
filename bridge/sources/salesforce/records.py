"""From a row to what it says about a contact. Pure."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence

from bridge.contact import Address, RawNumber, Record
from bridge.sources.salesforce import soql
from bridge.sources.salesforce.schema import Chosen

_NONE = -1
"""Where a column stands that is not read: behind the last, in a blank that each row is given."""


class Reader:
    """Reads rows of the chosen columns; `page` makes the address of a record's page of an object and an id."""

    def __init__(self, chosen: Chosen, page: Callable[[str, str], str]) -> None:
        table = chosen.table
        places = {name: place for place, name in enumerate(chosen.columns)}

        def at(name: str) -> int:
            return places.get(name, _NONE)

        self._table = table.name
        self._page = page
        self._first, self._last = at("FirstName"), at("LastName")
        self._display, self._company = at(table.display), at(table.company)
        self._account, self._country = at(table.account), at(table.country)
        self._emails = [at(name) for name in table.emails if name in places]
        self._numbers = [(at(name), kind, company) for name, kind, company in table.numbers if name in places]
        self._addresses = [[at(part) for part in parts] for parts in table.addresses]
        self._custom = [(title, at(name), _SHAPES.get(chosen.shapes.get(name, ""))) for title, name in chosen.titles]
        self._living = [(at(name), value) for name, value in table.living.items() if name in places]
        self._person = at("IsPersonAccount")
        self._parent = table.name == "Contact"

    def counts(self, row: Sequence[str]) -> bool:
        """Whether a row is a contact: not deleted, not converted, not a user who left."""
        return all(row[place] == value for place, value in self._living)

    def read(self, row: list[str]) -> Record:
        """The record of a row, which is given a blank at its end for it."""
        row.append("")
        id, person = row[0], row[self._person] == "true"
        account = "" if person else row[self._account]
        return Record(
            id=id,
            first_name=row[self._first],
            last_name=row[self._last],
            display_name=row[self._display],
            company="" if person else row[self._company],
            emails=tuple([row[place] for place in self._emails if row[place]]),
            addresses=self._postal(row),
            numbers=self._person_numbers(row) if person else self._all_numbers(row),
            country=_country(row[self._country]),
            contact_url=self._page(self._table, id),
            company_url=self._page("Account", account) if account else "",
            custom=self._extra(row) if self._custom else (),
            modified=_time(row[1]),
        )

    def _all_numbers(self, row: Sequence[str]) -> tuple[RawNumber, ...]:
        return tuple([RawNumber(row[place], kind, company) for place, kind, company in self._numbers if row[place]])

    def _person_numbers(self, row: Sequence[str]) -> tuple[RawNumber, ...]:
        """A person account's numbers are the person's; as a contact it has them all itself."""
        return tuple(
            RawNumber(row[place], kind)
            for place, kind, company in self._numbers
            if row[place] and not (company and self._parent)
        )

    def _postal(self, row: Sequence[str]) -> tuple[Address, ...]:
        found = ([row[place] for place in parts] for parts in self._addresses)
        return tuple([Address(*parts) for parts in found if any(parts)])

    def _extra(self, row: Sequence[str]) -> tuple[tuple[str, str], ...]:
        found = ((title, shape(row[place]) if shape else row[place]) for title, place, shape in self._custom)
        return tuple((title, text) for title, text in found if text)


def _time(text: str) -> datetime.datetime | None:
    try:
        return soql.moment(text)
    except ValueError:
        return None


def _country(text: str) -> str:
    return text.upper() if len(text) == 2 and text.isascii() and text.isalpha() else ""


def _number(text: str) -> str:
    """A number the same from JSON and from CSV, which write 5 as 5, 5.0 or 5.00."""
    try:
        value = float(text)
    except ValueError:
        return text
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


def _moment(text: str) -> str:
    """A time the same from JSON and from CSV, which write the zone as +0000 or as Z."""
    try:
        return soql.time(soql.moment(text))
    except ValueError:
        return text


_SHAPES = {"number": _number, "time": _moment}
