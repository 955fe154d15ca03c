"""The records of one module of the stand-in SugarCRM: kept, filtered and sorted as its filter API does."""

from __future__ import annotations

import bisect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from bridge.demo.sugarcrm_logins import Failure
from bridge.demo.sugarcrm_modules import Type

Row = dict[str, Any]
Test = Callable[[Row], bool]
_NATURAL = [("date_modified", 1), ("id", 1)]
_FIRST = datetime(1, 1, 1, tzinfo=UTC)


class Table:
    """Rows by id, deleted ones among them."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self._order: list[tuple[datetime, str]] | None = None

    def put(self, row: Row) -> None:
        """Keep a row, new or changed."""
        self.rows[row["id"]] = row
        self._order = None

    def find(self, test: Test, order: Sequence[tuple[str, int]], since: datetime, offset: int, limit: int) -> list[Row]:
        """Rows that pass, from `offset` on, at most `limit`; none that was modified before `since` passes."""
        found: list[Row] = []
        for row in self._sorted(order, since):
            if test(row):
                if offset:
                    offset -= 1
                    continue
                found.append(row)
                if len(found) == limit:
                    break
        return found

    def _sorted(self, order: Sequence[tuple[str, int]], since: datetime) -> Iterable[Row]:
        if list(order) == _NATURAL:
            if self._order is None:
                self._order = sorted((row["date_modified"], row["id"]) for row in self.rows.values())
            start = bisect.bisect_left(self._order, (since, ""))
            return (self.rows[self._order[n][1]] for n in range(start, len(self._order)))
        rows = list(self.rows.values())
        for name, direction in reversed(order):
            rows.sort(key=lambda row: _key(row.get(name)), reverse=direction < 0)
        return rows


def order(text: str, fields: Mapping[str, Type]) -> list[tuple[str, int]]:
    """What `order_by` says; Sugar's own order where it says nothing."""
    found = []
    for part in filter(None, text.split(",")):
        name, _, direction = part.partition(":")
        _known(name, fields)
        if direction.upper() not in ("", "ASC", "DESC"):
            raise Failure(422, "invalid_parameter", f"order_by: {part}")
        found.append((name, -1 if direction.upper() == "DESC" else 1))
    return found or [("date_modified", -1)]


def since(filters: Any) -> datetime:
    """The earliest date_modified that can pass, as far as the outermost expressions say."""
    found = _FIRST
    for expression in filters if isinstance(filters, list) else ():
        wanted = expression.get("date_modified") if isinstance(expression, dict) else None
        if isinstance(wanted, dict) and "$gte" in wanted:
            found = max(found, _moment(wanted["$gte"]))
    return found


def test(filters: Any, fields: Mapping[str, Type]) -> Test:
    """One test of the expressions, all of which must hold; Failure for what Sugar does not know."""
    if not isinstance(filters, list) or not all(isinstance(each, dict) for each in filters):
        raise Failure(422, "invalid_parameter", "filter is an array of expressions")
    tests = [_named(name, wanted, fields) for each in filters for name, wanted in each.items()]
    return lambda row: all(one(row) for one in tests)


def _named(name: str, wanted: Any, fields: Mapping[str, Type]) -> Test:
    if name == "$and":
        return test(wanted, fields)
    if name == "$or":
        tests = [test([each], fields) for each in wanted]
        return lambda row: any(one(row) for one in tests)
    _known(name, fields)
    operators = wanted if isinstance(wanted, dict) else {"$equals": wanted}
    tests = [_compared(name, operator, value, fields[name]) for operator, value in operators.items()]
    return lambda row: all(one(row) for one in tests)


def _compared(name: str, operator: str, value: Any, kind: Type) -> Test:
    if operator in ("$in", "$not_in"):
        if not isinstance(value, list):
            raise Failure(422, "invalid_parameter", f"{operator} takes an array")
        within = {_read(each, kind) for each in value}
        return lambda row: (_held(row, name, kind) in within) == (operator == "$in")
    if operator in ("$is_null", "$not_null"):
        return lambda row: (_held(row, name, kind) in (None, "")) == (operator == "$is_null")
    compare = _OPERATORS.get(operator)
    if compare is None:
        raise Failure(422, "invalid_parameter", f"Operator {operator} is not valid for {name}")
    operand = _read(value, kind)

    def passes(row: Row) -> bool:
        held = _held(row, name, kind)
        return held is not None and compare(held, operand)

    return passes


_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "$equals": lambda held, value: bool(held == value),
    "$not_equals": lambda held, value: bool(held != value),
    "$gt": lambda held, value: bool(held > value),
    "$gte": lambda held, value: bool(held >= value),
    "$lt": lambda held, value: bool(held < value),
    "$lte": lambda held, value: bool(held <= value),
    "$starts": lambda held, value: str(held).lower().startswith(str(value).lower()),
    "$ends": lambda held, value: str(held).lower().endswith(str(value).lower()),
    "$contains": lambda held, value: str(value).lower() in str(held).lower(),
}


def _held(row: Row, name: str, kind: Type) -> Any:
    value = row.get(name)
    if kind == "bool":
        return bool(value)
    return value if value is not None or kind == "datetime" else ""


def _read(value: Any, kind: Type) -> Any:
    """What an expression compares with, as a field of that type holds it."""
    if kind == "datetime":
        return _moment(value)
    if kind == "bool":
        return str(value).lower() in ("1", "true")
    return str(value)


def _moment(value: Any) -> datetime:
    """A time with its offset; one without is no time to compare by."""
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d([+-]\d\d:?\d\d|Z)", value):
        return datetime.fromisoformat(value)
    raise Failure(422, "invalid_parameter", "a date is written as 2026-11-21T22:00:00+00:00")


def _known(name: str, fields: Mapping[str, Type]) -> None:
    if name not in fields:
        raise Failure(422, "invalid_parameter", f"ERROR_FILTER_FIELD_NOT_EXIST: {name}")


def _key(value: Any) -> tuple[bool, Any]:
    return (value is not None, "" if value is None else value)
