"""What commands print: data on standard output, messages on standard error.

On a terminal tables and ages, for people; elsewhere one line an item, `name: key=value key="two words"`, with times
in ISO 8601, for grep. Text that others wrote is printed without control characters, so that no name moves the cursor.
"""

from __future__ import annotations

import datetime
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

DONE, FAILED, USAGE, HELD = 0, 1, 2, 3
"""Exit codes: done; something failed; wrong command line or configuration; held for approval."""

Value = str | int | float | datetime.datetime | None
_SOME = 10
"""Of many that are alike so many are named."""
_AGES = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def for_people(stream: Any = None) -> bool:
    """Whether standard output, or that stream, is a terminal."""
    return bool((stream or sys.stdout).isatty())


def say(text: str) -> None:
    """A line of data."""
    print(printable(text), flush=True)


def tell(text: str) -> None:
    """A message."""
    print("\n".join(map(printable, text.split("\n"))), file=sys.stderr, flush=True)


def some(what: str, rows: Sequence[tuple[str, str]]) -> Iterator[str]:
    """A line for each of the first of these (id, reason), and one for how many more there are."""
    for id, reason in rows[:_SOME]:
        yield f"{what}: {id}: {reason}"
    if len(rows) > _SOME:
        yield f"{what}: {len(rows) - _SOME} more: see bridge refused"


def document(value: Any) -> None:
    """One JSON document on standard output."""
    option = orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z
    if for_people():
        option |= orjson.OPT_INDENT_2
    sys.stdout.flush()
    sys.stdout.buffer.write(orjson.dumps(value, option=option))
    sys.stdout.buffer.flush()


def table(columns: Sequence[str], rows: Iterable[Sequence[Value]]) -> None:
    """Rows under their columns; the first column is what a row is about. None: it has none."""
    if for_people():
        _as_table(columns, rows)
        return
    for row in rows:
        say(line(row[0], zip(columns[1:], row[1:], strict=True)))


def line(head: Value, pairs: Iterable[tuple[str, Value]]) -> str:
    """`head: key=value …`; pairs without a value are left out."""
    told = [f"{name.replace(' ', '_')}={_quoted(value)}" for name, value in pairs if value is not None]
    return f"{plain(head)}: {' '.join(told)}"


def printable(text: str) -> str:
    """The text with control characters spelled out."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def age(when: datetime.datetime | None, now: datetime.datetime | None = None) -> str:
    """`5 min ago`, `in 20 s`; `never` for None."""
    if when is None:
        return "never"
    seconds = ((now or datetime.datetime.now(datetime.UTC)) - when).total_seconds()
    size, unit = next(((size, unit) for size, unit in _AGES if abs(seconds) >= size), (1, "s"))
    told = f"{abs(seconds) // size:.0f} {unit}"
    return f"{told} ago" if seconds >= 0 else f"in {told}"


def _as_table(columns: Sequence[str], rows: Iterable[Sequence[Value]]) -> None:
    plain_text = bool(os.environ.get("NO_COLOR"))
    made = Table(box=None, pad_edge=False, header_style="" if plain_text else "bold")
    rows = list(rows)
    for n, column in enumerate(columns):
        number = all(isinstance(row[n], int | float | None) for row in rows)
        made.add_column(column, justify="right" if number else "left", overflow="fold")
    for row in rows:
        made.add_row(*(_cell(value) for value in row))
    Console().print(made)


def _cell(value: Value) -> Text:
    match value:
        case None:
            return Text("")
        case datetime.datetime():
            return Text(age(value))
        case float():
            return Text(f"{value:.1f}")
        case int():
            return Text(f"{value:,}")
    return Text(printable(value))


def plain(value: Value) -> str:
    """A value for a line: times in ISO 8601, UTC."""
    match value:
        case datetime.datetime():
            return value.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        case float():
            return f"{value:.3f}".rstrip("0").rstrip(".")
    return str(value)


def _quoted(value: Value) -> str:
    text = plain(value)
    bare = bool(text) and not any(c.isspace() or c in "\"'=" for c in text)
    return text if bare else json.dumps(text, ensure_ascii=False)
