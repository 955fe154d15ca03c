"""What a SOQL statement finds in an org, and how a row of it is written as JSON and as a line of CSV."""

from __future__ import annotations

import itertools
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from bridge.demo import salesforce_soql as soql
from bridge.demo.salesforce_org import Org, Row, Table, full_id, visible_rows
from bridge.demo.salesforce_schema import Field, Schema
from bridge.demo.salesforce_soql import Condition, Failure, Group, Name, Statement, Value

Get = Callable[[Row], Any]
Test = Callable[[Row], bool]

_ORDERED = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_KINDS = {"boolean": "boolean", "datetime": "datetime", "date": "date", "int": "number", "double": "number"}
_ADDRESS = ("city", "country", "geocodeAccuracy", "latitude", "longitude", "postalCode", "state", "street")
_LOOK = "Please reference your WSDL or the describe call for the appropriate names."


@dataclass(frozen=True, slots=True)
class Column:
    """A field of the object or of a parent, by its right name, and how its value is got from a row."""

    path: str
    field: Field
    get: Get

    @property
    def plain(self) -> bool:
        """Whether it is the object's own."""
        return "." not in self.path


@dataclass(frozen=True, slots=True)
class Query:
    """A statement that fits the org: its table, and its columns in the order of SELECT (none: it counts)."""

    statement: Statement
    table: Table
    columns: tuple[Column, ...]
    test: Test | None
    order: tuple[tuple[Column, soql.Order], ...]

    def run(self, *, deleted: bool) -> list[Row]:
        """The rows it finds; those in the bin too, where deleted ones are asked for."""
        rows, sorted_by = self._candidates()
        if not deleted:
            rows = (row for row in rows if not row.get("IsDeleted"))
        if self.test is not None:
            rows = filter(self.test, rows)
        if self.order and [_plainly(*each) for each in self.order] not in sorted_by:
            rows = _sorted(list(rows), self.order)
        return list(itertools.islice(rows, self.statement.limit))

    def _candidates(self) -> tuple[Iterable[Row], list[list[str]]]:
        """The rows between the bounds of the condition, and the orders in which they come."""
        by_stamp = [["SystemModstamp"], ["SystemModstamp", "Id"]]
        where = self.statement.where
        if "SystemModstamp" in self.table.schema.fields:
            low, high = _bounds(where, "systemmodstamp") if where else (None, None)
            if low or high or [_plainly(*each) for each in self.order] in by_stamp:
                return self.table.between("SystemModstamp", low, high), by_stamp
        low, high = _bounds(where, "id") if where else (None, None)
        if low or high:
            return self.table.between("Id", low, high), [["Id"]]
        return visible_rows(self.table, deleted=True), [["Id"]]


def prepare(org: Org, text: str) -> Query:
    """The query of a SOQL text; Failure as Salesforce answers it."""
    statement = soql.parse(text)
    table = org.table(statement.object.path)
    if table is None:
        raise Failure("INVALID_TYPE", statement.at(statement.object.at, _no_object(statement.object.path)))
    columns = tuple(_column(org, table.schema, name, statement) for name in statement.names)
    test = None if statement.where is None else _test(org, table.schema, statement.where, statement)
    order = tuple((_sortable(_column(org, table.schema, each.name, statement)), each) for each in statement.order)
    return Query(statement, table, columns, test, order)


def shape(org: Org, columns: Sequence[Column], schema: Schema, base: str) -> Callable[[Row], dict[str, Any]]:
    """How a row is written as JSON: attributes, fields, and parents inside."""
    plain = [(column.path, column.get) for column in columns if column.plain]
    parents = []
    for relationship in dict.fromkeys(column.path.partition(".")[0] for column in columns if not column.plain):
        reference = schema.parent(relationship)
        if reference is None:
            raise KeyError(relationship)
        inner = [column.path.partition(".")[2] for column in columns if column.path.startswith(f"{relationship}.")]
        above = org.schemas[reference.references[0]]
        write = shape(org, [_resolved(org, above, path) for path in inner], above, base)
        parents.append((relationship, reference.name, write))

    def written(row: Row) -> dict[str, Any]:
        name = schema.name
        value: dict[str, Any] = {"attributes": {"type": name, "url": f"{base}/sobjects/{name}/{row['Id']}"}}
        for path, get in plain:
            value[path] = get(row)
        for relationship, reference, write in parents:
            above = org.row(row.get(reference))
            value[relationship] = None if above is None else write(above)
        return value

    return written


def _resolved(org: Org, schema: Schema, path: str) -> Column:
    """The column of a path; KeyError with the text of what is wrong."""
    relationship, _, rest = path.partition(".")
    if rest:
        reference = schema.parent(relationship)
        above = org.table(reference.references[0]) if reference and reference.references[0] in org.tables else None
        if reference is None or above is None:
            raise KeyError(
                f"Didn't understand relationship '{relationship}' in field path. If you are attempting to use a custom "
                f"relationship, be sure to append the '__r' after the custom relationship name. {_LOOK}"
            )
        inner = _resolved(org, above.schema, rest)
        return Column(f"{reference.relationship}.{inner.path}", inner.field, _through(org, reference.name, inner.get))
    field = schema.find(path)
    if field is None:
        raise KeyError(
            f"No such column '{path}' on entity '{schema.name}'. If you are attempting to use a custom field, be sure "
            f"to append the '__c' after the custom field name. {_LOOK}"
        )
    return Column(field.name, field, _getter(field))


def _column(org: Org, schema: Schema, name: Name, statement: Statement) -> Column:
    try:
        return _resolved(org, schema, name.path)
    except KeyError as unknown:
        raise Failure("INVALID_FIELD", statement.at(name.at, unknown.args[0])) from None


def _getter(field: Field) -> Get:
    name = field.name
    if field.type == "address":
        parts = [(part, name.removesuffix("Address") + part[0].upper() + part[1:]) for part in _ADDRESS]
        return lambda row: _whole({part: row.get(key) for part, key in parts})
    if field.type == "boolean":
        return lambda row: row.get(name, False)
    return lambda row: row.get(name)


def _whole(address: Row) -> Row | None:
    return address if any(value is not None for value in address.values()) else None


def _through(org: Org, reference: str, get: Get) -> Get:
    def value(row: Row) -> Any:
        above = org.row(row.get(reference))
        return None if above is None else get(above)

    return value


def _sortable(column: Column) -> Column:
    if not column.field.filterable:
        raise Failure("INVALID_FIELD", f"field '{column.path}' can not be sorted in a query call")
    return column


def _test(org: Org, schema: Schema, part: Condition | Group, statement: Statement) -> Test:
    if isinstance(part, Condition):
        return _compared(_column(org, schema, part.name, statement), part, statement)
    tests = [_test(org, schema, each, statement) for each in part.parts]
    if len(tests) == 2:
        one, two = tests
        return (lambda row: one(row) and two(row)) if part.word == "AND" else (lambda row: one(row) or two(row))
    every = all if part.word == "AND" else any
    return lambda row: every(test(row) for test in tests)


def _compared(column: Column, condition: Condition, statement: Statement) -> Test:
    get, kind, sign = _comparable(column), column.field.type, condition.operator
    if not column.field.filterable:
        what = f"field '{column.path}' can not be filtered in a query call"
        raise Failure("INVALID_FIELD", statement.at(condition.name.at, what))
    if sign == "like":
        return _like(column, condition.values[0])
    values = [_meant(column, value) for value in condition.values]
    if _folds(column):
        values = [_folded(value) for value in values]
    value = values[0]
    if sign == "=":
        return lambda row: get(row) == value
    if sign == "!=":
        return lambda row: get(row) != value
    if sign in ("in", "not in"):
        several = frozenset(values)
        return (lambda row: get(row) in several) if sign == "in" else (lambda row: get(row) not in several)
    if kind == "boolean" or value is None:
        raise Failure("INVALID_QUERY_FILTER_OPERATOR", f"invalid operator on {kind} field {column.path}")
    holds = _ORDERED[sign]
    return lambda row: (found := get(row)) is not None and holds(found, value)


def _folds(column: Column) -> bool:
    """Whether upper and lower case are one to it."""
    return column.field.type not in ("id", "reference", *_KINDS)


def _comparable(column: Column) -> Get:
    """How the value that is compared and sorted by is got."""
    get = column.get
    return (lambda row: _folded(get(row))) if _folds(column) else get


def _folded(value: Any) -> Any:
    return value.casefold() if isinstance(value, str) else value


def _like(column: Column, value: Value) -> Test:
    if not _folds(column) or value.kind != "text":
        raise Failure("INVALID_QUERY_FILTER_OPERATOR", f"invalid operator on {column.field.type} field {column.path}")
    pattern, get = re.compile(soql.unescaped(value.text, pattern=True), re.IGNORECASE | re.DOTALL), column.get
    return lambda row: pattern.fullmatch(get(row) or "") is not None and get(row) is not None


def _meant(column: Column, value: Value) -> Any:
    """What a literal means to a field of this type; a literal of another type is refused."""
    if value.kind == "null":
        return None
    wanted = _KINDS.get(column.field.type, "text")
    if value.kind != wanted:
        raise Failure("INVALID_FIELD", _wrong_kind(column))
    if wanted == "datetime":
        return _moment(value.text)
    if wanted == "boolean":
        return value.text == "true"
    if wanted == "number":
        return float(value.text)
    if wanted == "date":
        return _day(value.text)
    text = soql.unescaped(value.text)
    if column.field.type not in ("id", "reference"):
        return text or None
    if text and full_id(text) is None:
        raise Failure("INVALID_QUERY_FILTER_OPERATOR", f"invalid ID field: {text}")
    return full_id(text)


def _wrong_kind(column: Column) -> str:
    kind = {"datetime": "dateTime", "reference": "ID", "id": "ID"}.get(column.field.type, column.field.type)
    quotes = "should not be" if column.field.type in _KINDS else "should be"
    return f"value of filter criterion for field '{column.path}' must be of type {kind} and {quotes} enclosed in quotes"


def _moment(text: str) -> str:
    """A literal as stored stamps are written, so that the texts compare as the times do."""
    try:
        found = datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        raise Failure("MALFORMED_QUERY", f"Invalid datetime: {text}") from None
    return f"{found:%Y-%m-%dT%H:%M:%S}.{found.microsecond // 1000:03}+0000"


def _day(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise Failure("MALFORMED_QUERY", f"Invalid date: {text}") from None


def _bounds(part: Condition | Group, name: str) -> tuple[str | None, str | None]:
    """Between which values of its own field a condition can hold at all."""
    if isinstance(part, Group):
        lows, highs = zip(*(_bounds(each, name) for each in part.parts), strict=True)
        return _outer(lows, part.word, max, min), _outer(highs, part.word, min, max)
    if part.name.path.lower() != name or any(value.kind == "null" for value in part.values):
        return None, None
    found = [
        _moment(value.text) if value.kind == "datetime" else full_id(soql.unescaped(value.text)) or ""
        for value in part.values
    ]
    low = min(found) if part.operator in ("=", ">", ">=", "in") else None
    high = max(found) if part.operator in ("=", "<", "<=", "in") else None
    return low, high


def _outer(
    bounds: Sequence[str | None], word: str, tightest: Callable[..., str], widest: Callable[..., str]
) -> str | None:
    known = [bound for bound in bounds if bound is not None]
    if word == "AND":
        return tightest(known) if known else None
    return widest(known) if len(known) == len(bounds) else None


def _plainly(column: Column, order: soql.Order) -> str:
    """The name of a key that ascends; no name that anything is sorted by, where it does not."""
    return column.path if not order.descending else "-"


def _sorted(rows: list[Row], order: Sequence[tuple[Column, soql.Order]]) -> list[Row]:
    """The rows by every key: texts without regard to case, null first unless it is asked to be last."""
    for column, key in reversed(order):
        get = _comparable(column)
        nulls = [row for row in rows if get(row) is None]
        others = sorted((row for row in rows if get(row) is not None), key=get, reverse=key.descending)
        rows = others + nulls if key.nulls_last else nulls + others
    return rows


def _no_object(name: str) -> str:
    return (
        f"sObject type '{name}' is not supported. If you are attempting to use a custom object, be sure to append the "
        f"'__c' after the entity name. {_LOOK}"
    )
