"""One Salesforce org in memory: records, the bin, the log of deletions, a clock, and what its one user may see.

A row is never changed in place: an update puts a new one, so that what a query found stays as it was found. A value
that is null is not in its row.
"""

from __future__ import annotations

import bisect
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from bridge.demo.salesforce_schema import Field, Schema, schemas

Row = dict[str, Any]

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SUFFIX = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
_FORMAT = "%Y-%m-%dT%H:%M:%S.000+0000"
_STATUSES = {
    "Task": ("Not Started", "In Progress", "Completed*", "Waiting on someone else", "Deferred"),
    "Case": ("New", "Working", "Escalated", "Closed*"),
}


class Deletion(NamedTuple):
    """One entry of the log that `/deleted/` reads."""

    id: str
    when: str


class Rule(NamedTuple):
    """A validation rule: `broken` says of the fields of a new or changed record that `message` applies."""

    message: str
    broken: Callable[[Row], bool]


class Table:
    """The rows of one object by their 18-character ids; ids only grow, so that this is their order too."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.rows: dict[str, Row] = {}
        self.log: dict[str, Deletion] = {}
        self.rules: list[Rule] = []
        self._stamped: list[Row] | None = None
        self._ids: list[str] | None = None

    def keep(self, row: Row) -> None:
        """Put a row, new or in the place of the one with its id."""
        self._ids = self._ids if row["Id"] in self.rows else None
        self.rows[row["Id"]] = row
        self._stamped = None

    def drop(self, id: str) -> None:
        """Take a row away for good."""
        del self.rows[id]
        self._stamped = self._ids = None

    def between(self, column: str, low: str | None, high: str | None) -> Sequence[Row]:
        """The rows by SystemModstamp and Id, or by Id, from low to high, both inclusive."""
        if column == "Id":
            ids = self._ids = list(self.rows) if self._ids is None else self._ids
            first = 0 if low is None else bisect.bisect_left(ids, low)
            last = len(ids) if high is None else bisect.bisect_right(ids, high)
            return [self.rows[id] for id in ids[first:last]]
        if self._stamped is None:
            self._stamped = sorted(self.rows.values(), key=_by_stamp)
        rows = self._stamped
        first = 0 if low is None else bisect.bisect_left(rows, low, key=_stamp_of)
        last = len(rows) if high is None else bisect.bisect_right(rows, high, key=_stamp_of)
        return rows[first:last]


class Org:
    """An org and what its people do in it; ids may be given with 15 or 18 characters.

    `now` is the org's clock: the real one, until it is set. `lag` are the seconds that the log of deletions lies
    behind, and `log_began` the time before which it was purged.
    """

    def __init__(self) -> None:
        self.schemas = schemas()
        self.tables = {name: Table(schema) for name, schema in self.schemas.items()}
        self.lag = 0
        self.sandbox = False
        self._clock: datetime | None = None
        self._formatted: tuple[datetime | None, str] = (None, "")
        self._counts = {name: itertools.count(1) for name in self.schemas}
        self._cases = itertools.count(1001)
        self._taken_along: dict[str, list[str]] = {}
        self._prefixes = {schema.prefix: name for name, schema in self.schemas.items()}
        self.log_began = datetime(2000, 1, 1, tzinfo=UTC)
        self.id = self.put("Organization", {"Name": "Example", "InstanceName": "EX1", "IsSandbox": False})
        self.user = self.put("User", {"Username": "integration@example.com", "FirstName": "Integration"})
        for name, statuses in _STATUSES.items():
            self.picklist(name, "Status", statuses)

    @property
    def now(self) -> datetime:
        """The org's time, in whole seconds of UTC."""
        return (self._clock or datetime.now(UTC)).replace(microsecond=0)

    @now.setter
    def now(self, moment: datetime) -> None:
        self._clock = moment.astimezone(UTC)

    def put(self, name: str, fields: Row) -> str:
        """A new record as somebody at the screen makes it; its 18-character id."""
        table = self.tables[name]
        stamp = self._stamp()
        row: Row = {"Id": self._new_id(name), "SystemModstamp": stamp} | table.schema.missing()
        row |= {"CreatedDate": stamp, "LastModifiedDate": stamp}
        if name != "Organization":
            user = row["Id"] if name == "User" and len(table.rows) == 0 else self.user
            row |= {"CreatedById": user, "LastModifiedById": user}
            row |= {"OwnerId": user} if "OwnerId" in table.schema.fields else {}
        if name == "User":
            row |= _user(row["Id"])
        if name == "Case":
            row["CaseNumber"] = f"{next(self._cases):08}"
        table.keep(self._derived(name, self._checked(table.schema, row, fields)))
        return str(row["Id"])

    def update(self, id: str, fields: Row) -> None:
        """Change a record; both its stamps move, and those of no other record."""
        table, row = self._found(id)
        stamp = self._stamp()
        row = row | {"LastModifiedDate": stamp, "SystemModstamp": stamp, "LastModifiedById": self.user}
        table.keep(self._derived(table.schema.name, self._checked(table.schema, row, fields)))

    def touch(self, id: str) -> None:
        """What automation does: SystemModstamp moves and LastModifiedDate does not."""
        table, row = self._found(id)
        table.keep(row | {"SystemModstamp": self._stamp()})

    def delete(self, id: str, *, hard: bool = False) -> None:
        """Put a record into the bin, or empty the bin of it; contacts and cases go with their account."""
        table, row = self._found(id)
        if not row.get("IsDeleted"):
            table.keep(row | {"IsDeleted": True, "SystemModstamp": self._stamp()})
            table.log[row["Id"]] = Deletion(row["Id"], self._stamp())
            if table.schema.name == "Account":
                self._take_along(row["Id"])
        if hard:
            table.drop(row["Id"])

    def undelete(self, id: str) -> None:
        """Take a record out of the bin, with those that went with it."""
        table, row = self._found(id)
        table.keep({key: value for key, value in row.items() if key != "MasterRecordId"} | _alive(self._stamp()))
        del table.log[row["Id"]]
        for other in self._taken_along.pop(row["Id"], ()):
            self.undelete(other)

    def merge(self, winner: str, loser: str) -> None:
        """The loser goes into the bin and names its master; what named the loser names the winner."""
        table, kept = self._found(winner)
        _, lost = self._found(loser)
        for other in self.tables.values():
            self._turn(other, lost["Id"], kept["Id"])
        self.update(winner, {})
        self.delete(loser)
        table.keep(table.rows[lost["Id"]] | {"MasterRecordId": kept["Id"]})

    def get(self, id: str) -> Row:
        """The values of a record, in the bin or not; KeyError where there is none."""
        return dict(self._found(id)[1])

    def ids(self, name: str) -> list[str]:
        """The ids of an object's records that are not in the bin."""
        return [id for id, row in self.tables[name].rows.items() if not row.get("IsDeleted")]

    def hide(self, name: str, *fields: str) -> None:
        """Field-level security: the user sees these fields no longer; without fields, the whole object."""
        self.schemas[name].hidden.update(fields or self.schemas[name].fields)

    def show(self, name: str, *fields: str) -> None:
        """Give the user the right to these fields, or to all of the object's, back."""
        self.schemas[name].hidden.difference_update(fields or self.schemas[name].fields)

    def field(
        self, name: str, field: str, type: str = "string", length: int = 255, *, external: bool = False, **more: Any
    ) -> None:
        """Declare a custom field; `external`: records can be upserted by it; `unique`: no value comes twice."""
        if not field.endswith("__c"):
            raise ValueError(f"{field}: the name of a custom field ends in __c")
        self.schemas[name].add(Field(field, type, length, external=external, **more))

    def picklist(self, name: str, field: str, values: Sequence[str]) -> None:
        """The values of a picklist of this org, the first the default; for a Status, `*` marks those that close."""
        schema = self.schemas[name]
        plain = tuple(value.rstrip("*") for value in values)
        old = schema.fields[field]
        default = plain[0] if old.default is not None else None
        schema.add(Field(field, old.type, old.length, old.required, values=plain, restricted=True, default=default))
        if field != "Status":
            return
        self.tables[f"{name}Status"] = Table(self.schemas[f"{name}Status"])
        for order, (value, label) in enumerate(zip(values, plain, strict=True), 1):
            row = {"ApiName": label, "MasterLabel": label, "SortOrder": order}
            self.put(f"{name}Status", row | {"IsDefault": order == 1, "IsClosed": value.endswith("*")})

    def rule(self, name: str, message: str, broken: Callable[[Row], bool]) -> None:
        """A validation rule for creating and changing records through the API."""
        self.tables[name].rules.append(Rule(message, broken))

    def find(self, id: Any) -> tuple[Table, Row] | None:
        """The record of an id, if there is one, in the bin or not."""
        id = full_id(id) if isinstance(id, str) else None
        name = self._prefixes.get(id[:3], "") if id else ""
        row = self.tables[name].rows.get(id) if name and id else None
        return None if row is None else (self.tables[name], row)

    def row(self, id: str | None) -> Row | None:
        """The record that a reference of a row names."""
        return self.tables[self._prefixes[id[:3]]].rows.get(id) if id else None

    def table(self, name: str) -> Table | None:
        """The table of an object that the user may see, by its name in any case."""
        table = next((each for key, each in self.tables.items() if key.lower() == name.lower()), None)
        return None if table is None or "Id" in table.schema.hidden else table

    def _found(self, id: str) -> tuple[Table, Row]:
        found = self.find(id)
        if found is None:
            raise KeyError(id)
        return found

    def _new_id(self, name: str) -> str:
        number, digits = next(self._counts[name]), ""
        while number:
            number, digit = divmod(number, 62)
            digits = _DIGITS[digit] + digits
        short = f"{self.schemas[name].prefix}5g0{digits:0>9}"
        return short + checksum(short)

    def _stamp(self) -> str:
        now = self.now
        if self._formatted[0] != now:
            self._formatted = now, stamp(now)
        return self._formatted[1]

    def _checked(self, schema: Schema, row: Row, fields: Row) -> Row:
        """The row with these fields set: a name that the object does not have is a mistake of whoever wrote it."""
        for key, value in fields.items():
            field = schema.fields.get(key)
            if field is None:
                raise ValueError(f"{schema.name} has no field {key}")
            if isinstance(value, datetime):
                value = stamp(value.astimezone(UTC))
            if field.type in ("reference", "id") and value and (value := full_id(value)) is None:
                raise ValueError(f"{schema.name}.{key} takes the id of a record")
            row[key] = value
        return {key: value for key, value in row.items() if value is not None and value != ""}

    def _derived(self, name: str, row: Row) -> Row:
        """The row with what Salesforce works out itself."""
        if "LastName" in self.schemas[name].fields:
            row["Name"] = " ".join(filter(None, (row.get("FirstName"), row.get("LastName"))))
        if name in _STATUSES:
            statuses = self.tables[f"{name}Status"].rows.values()
            row["IsClosed"] = any(each["IsClosed"] for each in statuses if each["ApiName"] == row.get("Status"))
            contact = self.find(row.get("ContactId" if name == "Case" else "WhoId"))
            if "AccountId" not in row and contact and "AccountId" in contact[1]:
                row["AccountId"] = contact[1]["AccountId"]
        if name == "Task":
            row["IsHighPriority"] = row.get("Priority") == "High"
        return row

    def _take_along(self, account: str) -> None:
        along = [
            row["Id"]
            for name in ("Contact", "Case")
            for row in self.tables[name].rows.values()
            if row.get("AccountId") == account and not row["IsDeleted"]
        ]
        self._taken_along[account] = along
        for id in along:
            self.delete(id)

    def _turn(self, table: Table, old: str, new: str) -> None:
        """Every reference of a table's records from one record to another."""
        columns = [field.name for field in table.schema.fields.values() if field.type == "reference"]
        for row in list(table.rows.values()):
            if named := [column for column in columns if row.get(column) == old]:
                self.update(row["Id"], dict.fromkeys(named, new))


def stamp(moment: datetime) -> str:
    """A time of UTC as REST writes it; such texts sort as the times do."""
    return moment.strftime(_FORMAT)


def moment(text: str) -> datetime:
    """The time of a stamp."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.000%z")


def checksum(short: str) -> str:
    """The three characters that make an id of 15 safe where upper and lower case are one."""
    return _mark(short[0:5]) + _mark(short[5:10]) + _mark(short[10:15])


def full_id(text: str) -> str | None:
    """An id in its 18 characters, from 15 or 18; None for what is none."""
    if len(text) not in (15, 18) or not text.isascii() or not text.isalnum():
        return None
    right = text[:15] + checksum(text[:15])
    return right if right.startswith(text) else None


def visible_rows(table: Table, *, deleted: bool) -> Iterator[Row]:
    """The table's rows, with those in the bin or without."""
    return (row for row in table.rows.values() if deleted or not row.get("IsDeleted"))


def _user(id: str) -> Row:
    alias = id[10:15]
    return {"Username": f"{alias}@example.com", "Email": f"{alias}@example.com", "Alias": alias, "IsActive": True} | {
        "CommunityNickname": alias,
        "LastName": "User",
    }


def _alive(stamp: str) -> Row:
    return {"IsDeleted": False, "SystemModstamp": stamp}


def _by_stamp(row: Row) -> tuple[str, str]:
    return row["SystemModstamp"], row["Id"]


def _stamp_of(row: Row) -> str:
    return str(row["SystemModstamp"])


@functools.lru_cache(maxsize=1 << 14)
def _mark(part: str) -> str:
    """The one character for five, which says which of them are upper case."""
    return _SUFFIX[sum(1 << n for n, each in enumerate(part) if "A" <= each <= "Z")]
