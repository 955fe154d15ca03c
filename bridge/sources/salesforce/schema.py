"""What is read of each object, and which of it this login may see: columns are chosen by describe, never guessed.

Two kinds of columns: those that every org has, and whose absence is told to the admin, and those that only some have.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bridge import errors
from bridge.contact import Kind
from bridge.sources.salesforce import answers, soql
from bridge.sources.salesforce.calls import Calls

Parts = tuple[str, str, str, str, str]
"""The columns of a street, its postal code, city, state and country."""


@dataclass(frozen=True, slots=True)
class Table:
    """How an object is read. `living` maps columns to what they hold in a row that counts; all others are gone.

    `numbers` are (column, kind, of the company); `rare` are columns that only some orgs have.
    """

    name: str
    display: str = "Name"
    company: str = ""
    account: str = ""
    emails: Sequence[str] = ("Email",)
    numbers: Sequence[tuple[str, Kind, bool]] = ()
    addresses: Sequence[Parts] = ()
    country: str = ""
    living: Mapping[str, str] = field(default_factory=lambda: {"IsDeleted": "false"})
    rare: Collection[str] = ()
    log: bool = True

    def fixed(self) -> list[str]:
        """Columns without which it cannot be read."""
        return list(dict.fromkeys(("Id", "SystemModstamp", *(name for name in self.living if name not in self.rare))))

    def wanted(self) -> list[str]:
        """Columns that are read where they can be."""
        names = ["FirstName", "LastName", self.display, self.company, self.account, *self.emails, self.country]
        names += [number[0] for number in self.numbers] + [part for parts in self.addresses for part in parts]
        return [name for name in dict.fromkeys((*names, *self.rare)) if name and name not in self.fixed()]


def _parts(prefix: str) -> Parts:
    return (f"{prefix}Street", f"{prefix}PostalCode", f"{prefix}City", f"{prefix}State", f"{prefix}Country")


CONTACT = Table(
    "Contact",
    company="Account.Name",
    account="AccountId",
    numbers=(
        ("Phone", "work", False),
        ("MobilePhone", "mobile", False),
        ("HomePhone", "home", False),
        ("OtherPhone", "other", False),
        ("AssistantPhone", "other", False),
        ("Fax", "fax", False),
        ("Account.Phone", "work", True),
    ),
    addresses=(_parts("Mailing"), _parts("Other")),
    country="MailingCountryCode",
    rare=("MailingCountryCode", "IsPersonAccount"),
)
LEAD = Table(
    "Lead",
    company="Company",
    numbers=(("Phone", "work", False), ("MobilePhone", "mobile", False), ("Fax", "fax", False)),
    addresses=(_parts(""),),
    country="CountryCode",
    living={"IsDeleted": "false", "IsConverted": "false"},
    rare=("CountryCode",),
)
ACCOUNT = Table(
    "Account",
    company="Name",
    account="Id",
    emails=("PersonEmail",),
    numbers=(
        ("Phone", "work", True),
        ("PersonMobilePhone", "mobile", False),
        ("PersonHomePhone", "home", False),
        ("PersonOtherPhone", "other", False),
        ("PersonAssistantPhone", "other", False),
        ("Fax", "fax", True),
    ),
    addresses=(_parts("Billing"), _parts("Shipping")),
    country="BillingCountryCode",
    rare=(
        "BillingCountryCode",
        "FirstName",
        "LastName",
        "IsPersonAccount",
        "PersonEmail",
        "PersonMobilePhone",
        "PersonHomePhone",
        "PersonOtherPhone",
        "PersonAssistantPhone",
    ),
)
USER = Table(
    "User",
    company="CompanyName",
    numbers=(
        ("Phone", "work", False),
        ("MobilePhone", "mobile", False),
        ("Extension", "softphone", False),
        ("Fax", "fax", False),
    ),
    addresses=(_parts(""),),
    country="CountryCode",
    living={"IsActive": "true", "UserType": "Standard"},
    rare=("CountryCode",),
    log=False,
)
TABLES = {table.name: table for table in (ACCOUNT, CONTACT, LEAD, USER)}
"""Every object that can be read, accounts first: what they are called reaches their contacts."""


def tables(names: Sequence[str]) -> list[Table]:
    """The objects of these names, in any case; Unsupported names one that cannot be read."""
    known = {name.lower(): name for name in TABLES}
    unknown = [name for name in names if name.lower() not in known]
    if unknown:
        raise errors.Unsupported(
            f"objects names {unknown[0]!r}, which cannot be read: right is any of {', '.join(sorted(TABLES))}"
        )
    chosen = {known[name.lower()] for name in names}
    found = [table for name, table in TABLES.items() if name in chosen]
    if {"Account", "Contact"} <= chosen:
        # A person account is an account and a contact: it is read as the contact.
        person = {**ACCOUNT.living, "IsPersonAccount": "false"}
        found = [replace(table, living=person) if table is ACCOUNT else table for table in found]
    return found


@dataclass(frozen=True, slots=True)
class Chosen:
    """The columns to read of an object, in order; `shapes` are the custom ones that are numbers or times.

    `titles` are those that the admin asked for, each with its title.
    """

    table: Table
    columns: tuple[str, ...]
    titles: tuple[tuple[str, str], ...] = ()
    shapes: Mapping[str, str] = field(default_factory=dict)

    def condition(self) -> str:
        """What tells the rows that count from the others, for a query that leaves out what is deleted."""
        parts = []
        for column, value in self.table.living.items():
            if column in self.columns and column != "IsDeleted":
                parts.append(f"{column} = {value if value in ('true', 'false') else soql.text(value)}")
        return " AND ".join(parts)

    def without(self, gone: Collection[str]) -> Chosen:
        """The same with these columns left out."""
        return replace(
            self,
            columns=tuple(name for name in self.columns if name not in gone),
            titles=tuple(pair for pair in self.titles if pair[1] not in gone),
        )

    def dump(self) -> dict[str, Any]:
        """As JSON."""
        return {"columns": self.columns, "titles": self.titles, "shapes": dict(self.shapes)}


def load(table: Table, data: Mapping[str, Any]) -> Chosen:
    """From JSON."""
    titles = tuple((title, column) for title, column in data["titles"])
    return Chosen(table, tuple(data["columns"]), titles, dict(data["shapes"]))


class Describer:
    """Chooses columns; each object is described once. `notes` name what the admin asked for and does not get."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._known: dict[str, Mapping[str, Mapping[str, Any]] | None] = {}
        self.notes: list[str] = []

    async def choose(self, table: Table, fields: Mapping[str, str]) -> Chosen | None:
        """What to read of it, `fields` (title → column) included; None where the login may not see it at all."""
        found = await self.fields(table.name)
        missing = [name for name in table.fixed() if found is None or name.lower() not in found]
        if found is None or missing:
            what = f"{table.name}.{missing[0]}" if found else table.name
            self.notes.append(f"{what} is hidden from the login: {table.name} is not read")
            return None
        hidden: list[str] = []
        columns = [*table.fixed(), *await self._standard(table, hidden)]
        titles, shapes = list[tuple[str, str]](), dict[str, str]()
        for title, name in fields.items():
            column, kind = await self._find(table.name, name)
            if not column:
                hidden.append(name)
                continue
            titles.append((title, column))
            if kind in _SHAPES:
                shapes[column] = _SHAPES[kind]
        if hidden:
            self.notes.append(hidden_note(table.name, hidden))
        columns += [column for _, column in titles]
        return Chosen(table, tuple(dict.fromkeys(columns)), tuple(titles), shapes)

    async def _standard(self, table: Table, hidden: list[str]) -> list[str]:
        """The columns that every org is asked for; those that should be there and are not go to `hidden`."""
        columns = []
        for name in table.wanted():
            column, _ = await self._find(table.name, name)
            if column:
                columns.append(column)
            elif name not in table.rare:
                hidden.append(name)
        return columns

    async def fields(self, name: str) -> Mapping[str, Mapping[str, Any]] | None:
        """The fields of an object by their names in lower case; None where it is not there for this login."""
        if name not in self._known:
            try:
                said = await self._calls.get(f"sobjects/{name}/describe")
            except answers.Rejected as no:
                if no.code not in _ABSENT or name in await self._listed():
                    raise
                self._known[name] = None
            else:
                self._known[name] = await self._by_name(said)
        return self._known[name]

    async def _listed(self) -> set[str]:
        """All objects that the login may see: who is not among them is hidden, and no fault has answered."""
        try:
            said = await self._calls.get("sobjects/")
        except answers.Rejected as no:
            if no.status != 404:
                raise
            session = await self._calls.session()
            raise errors.Unavailable(
                f"{session.host} does not know this api_version: right is one that it lists under /services/data/"
            ) from None
        names = {one.get("name") for one in said.get("sobjects") or () if isinstance(one, dict)}
        if not names:
            raise await self._calls.odd("a question for its objects")
        return {str(name) for name in names}

    async def _by_name(self, said: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]] | None:
        fields = said.get("fields")
        whole = isinstance(fields, list) and all(isinstance(one, dict) and one.get("name") for one in fields)
        if not whole or not fields:
            raise await self._calls.odd("a describe")
        return {str(one["name"]).lower(): one for one in fields} if said.get("queryable", True) else None

    async def _find(self, name: str, path: str) -> tuple[str, str]:
        """A column as the org spells it, and its type; "" where it cannot be read."""
        head, _, rest = path.partition(".")
        found = await self.fields(name)
        if not found or not soql.is_name(path):
            return "", ""
        if not rest:
            one = found.get(head.lower())
            readable = one is not None and one.get("type") not in _COMPOUND
            return (str(one["name"]), str(one.get("type", ""))) if one and readable else ("", "")
        link = next((one for one in found.values() if _is(one.get("relationshipName"), head)), None)
        if link is None:
            return "", ""
        parents = link.get("referenceTo") or []
        # An owner may be a user or a queue: what both have can be read, and only a query tells.
        if len(parents) != 1 or not isinstance(parents[0], str) or not soql.is_name(parents[0]):
            return f"{link['relationshipName']}.{rest}", ""
        column, kind = await self._find(parents[0], rest)
        return (f"{link['relationshipName']}.{column}", kind) if column else ("", "")


_ABSENT = ("NOT_FOUND", "INVALID_TYPE", "INSUFFICIENT_ACCESS")
_COMPOUND = ("address", "location", "base64", "complexvalue")
_SHAPES = {"double": "number", "currency": "number", "percent": "number", "int": "number", "datetime": "time"}
_NO_COLUMN = re.compile(r"No such column '([\w.]+)' on (?:entity|sobject(?: of type)?|object) '?(\w+)", re.I | re.A)
_NO_PARENT = re.compile(r"Didn't understand relationship '(\w+)'", re.I | re.A)


def hidden(chosen: Chosen, no: answers.Rejected) -> list[str]:
    """The columns that a query was refused for; none, where it was refused for something else.

    Those without which the object cannot be read are never among them.
    """
    fixed = chosen.table.fixed()
    return [name for name in refused(no, chosen.table.name, chosen.columns) if name not in fixed]


def refused(no: answers.Rejected, table: str, columns: Sequence[str]) -> list[str]:
    """Which of a table's columns a query was refused for."""
    if no.code != "INVALID_FIELD":
        return []
    column, parent = _NO_COLUMN.search(no.text), _NO_PARENT.search(no.text)
    if column is not None:
        name, own = column.group(1).rpartition(".")[2].lower(), column.group(2).lower() == table.lower()
        named = [each for each in columns if each.lower().rpartition(".")[2] == name]
        # A contact's superior is a contact too, so the object that is named may be a parent.
        return [each for each in named if own == ("." not in each)] or named
    if parent is not None:
        return [each for each in columns if each.lower().startswith(f"{parent.group(1).lower()}.")]
    return []


def hidden_note(table: str, columns: Sequence[str]) -> str:
    """What an admin is told of columns that are left out."""
    names = ", ".join(f"{table}.{name}" for name in columns)
    are = "are" if len(columns) > 1 else "is"
    return f"{names} {are} hidden from the login, or not there, and left out: right is field-level read access"


def _is(value: Any, name: str) -> bool:
    return isinstance(value, str) and value.lower() == name.lower()
