"""The CSV of accounts, row by row: one that cannot be read is named by its number, and the next one is read.

A row is a line. So one quote that is lost spoils its own row alone; none of the columns needs a line break.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from bridge import errors
from bridge.accounts import details
from bridge.accounts.details import COLUMNS, Change
from bridge.formats import stream
from bridge.keys.table import nearest


@dataclass(frozen=True, slots=True)
class Bad:
    """A row that is not taken; `row` counts as spreadsheets do, the header being the first."""

    row: int
    reason: str


def read(chunks: Iterable[bytes]) -> Iterator[tuple[int, Change] | Bad]:
    """The changes in a file, with their rows; Refused where the header is none, so that nothing can be read."""
    lines = _lines(chunks)
    at, header = next(lines, (0, ""))
    told = re.fullmatch(r"sep=(.)", header.strip(), re.IGNORECASE)
    if told:
        at, header = next(lines, (0, ""))
    delimiter = told[1] if told else max(",;\t", key=header.count)
    columns = _columns(_cells(header, delimiter))
    seen: dict[str, int] = {}
    for at, line in lines:
        if not line.strip(f" \t{delimiter}"):
            continue
        try:
            change = details.change(_row(columns, _cells(line, delimiter)))
        except errors.Refused as wrong:
            yield Bad(at, str(wrong))
            continue
        if change.username in seen:
            yield Bad(at, f"the user name stands in row {seen[change.username]} already")
            continue
        seen[change.username] = at
        yield at, change


def _lines(chunks: Iterable[bytes]) -> Iterator[tuple[int, str]]:
    _, whole = stream.open(chunks)
    for at, line in enumerate(stream.lines(whole), 1):
        if line.strip():
            yield at, stream.decode(line)


def _cells(line: str, delimiter: str) -> list[str]:
    try:
        [cells] = csv.reader([line], delimiter=delimiter, strict=True)
    except (csv.Error, ValueError):
        raise errors.Refused(
            "quote", 'a quote is not closed, or something stands behind it; right is "like ""this"""'
        ) from None
    return cells


def _columns(header: Sequence[str]) -> list[str]:
    """The names of the columns; what else stands in the first line is not said back, it may be a password."""
    columns = [cell.strip().lower() for cell in header]
    for n, name in enumerate(columns, 1):
        if name and name not in COLUMNS:
            near = nearest(name, COLUMNS)
            hint = f"did you mean {near}?" if near else f"right is one of {', '.join(COLUMNS)}"
            raise errors.Refused("header", f"column {n} of the header is none that is known, {hint}")
        if name and name in columns[: n - 1]:
            raise errors.Refused("header", f"column {n} of the header, {name}, is there twice")
    if "username" not in columns:
        raise errors.Refused("header", f"the header has no username; its columns are {', '.join(COLUMNS)}")
    return columns


def _row(columns: Sequence[str], cells: Sequence[str]) -> dict[str, str]:
    if len(cells) > len(columns) and any(cells[len(columns) :]):
        raise errors.Refused("cells", f"it has {len(cells)} cells, where the header has {len(columns)}")
    return {name: text for name, text in zip(columns, cells, strict=False) if name}
