"""Records as v4_1 answers carry them: every value in a pair, HTML-escaped, of whatever type. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from bridge import errors

Row = Mapping[str, str]
"""The values of one record that are not empty."""


class _Pair(msgspec.Struct):
    value: Any = ""


class _Entry(msgspec.Struct):
    """`name_value_list` is a list of warnings where the record is not there."""

    id: str = ""
    name_value_list: dict[str, _Pair] | list[Any] = []


class _Entries(msgspec.Struct):
    entry_list: list[_Entry]
    result_count: int | str = -1
    total_count: int | str | None = -1


class Listed(msgspec.Struct, frozen=True):
    """One answer: rows, ids of what is not there, how many entries came, how many match in all (-1: not told)."""

    rows: Sequence[Row]
    missing: Sequence[str]
    count: int
    total: int


_DECODER = msgspec.json.Decoder(_Entries)
_MOST = 1_000_000_000
"""Entries that no CRM has."""
_ESCAPES = (("&quot;", '"'), ("&lt;", "<"), ("&gt;", ">"), ("&#039;", "'"))


def read(body: bytes, what: str) -> Listed:
    """The entries of an answer; Unavailable where it is cut or something else; `what` names it."""
    try:
        answer = _DECODER.decode(body)
        count, total = int(answer.result_count), int(-1 if answer.total_count is None else answer.total_count)
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise errors.Unavailable(f"{what} is answered with no whole list of entries") from None
    if count > _MOST or total > _MOST:
        raise errors.Unavailable(f"{what} is answered with a count that cannot be right")
    if count not in (-1, len(answer.entry_list)):
        raise errors.Unavailable(f"{what} is answered with {len(answer.entry_list)} entries, said to be {count}")
    rows: list[Row] = []
    missing: list[str] = []
    for entry in answer.entry_list:
        pairs = entry.name_value_list
        if isinstance(pairs, dict):
            rows.append(_row(entry.id, pairs))
        elif pairs:
            missing.append(entry.id)
        else:  # PHP writes a map without anything in it as a list
            rows.append({"id": entry.id})
    if not all(row["id"] for row in rows):
        raise errors.Unavailable(f"{what} is answered with an entry without an id")
    return Listed(rows, missing, len(answer.entry_list), total)


def text(value: Any) -> str:
    """A value as text, its escapes undone: exactly those four, once, for `&` itself is not escaped."""
    if not isinstance(value, str):
        return "1" if value is True else str(value) if isinstance(value, int | float) and value is not False else ""
    plain: str = value
    if "&" in plain:
        for escape, character in _ESCAPES:
            plain = plain.replace(escape, character)
    return plain


def _row(identity: str, pairs: Mapping[str, _Pair]) -> Row:
    row = {name: found for name, pair in pairs.items() if (found := text(pair.value))}
    row.setdefault("id", identity)
    return row
