"""Questions in SOQL: literals that end where they should, and statements made of checked names. No I/O."""

from __future__ import annotations

import datetime
import re
import urllib.parse
from collections.abc import Iterator, Sequence

ROOM = 7_000
"""Bytes of a statement as it stands in a URL: proxies and gateways take 8,000, Salesforce itself 16,000."""

_NAME = re.compile(r"[A-Za-z]\w*(?:\.[A-Za-z]\w*)*", re.ASCII)
_ID = re.compile(r"[A-Za-z0-9]{15}(?:[A-Za-z0-9]{3})?", re.ASCII)
_ESCAPES = str.maketrans(
    {
        "\\": r"\\",
        "'": r"\'",
        '"': r"\"",
        "\n": r"\n",
        "\r": r"\r",
        "\t": r"\t",
        "\b": r"\b",
        "\f": r"\f",
        "\0": None,
    }
)
_SUFFIX = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"


def text(value: str) -> str:
    """A string literal."""
    return f"'{value.translate(_ESCAPES)}'"


def time(moment: datetime.datetime) -> str:
    """A dateTime literal in UTC; thousandths only where there are some."""
    moment = moment.astimezone(datetime.UTC)
    fraction = f".{moment.microsecond // 1000:03}" if moment.microsecond else ""
    return f"{moment:%Y-%m-%dT%H:%M:%S}{fraction}Z"


def moment(value: str) -> datetime.datetime:
    """The time that an answer writes, with `+0000` or `Z` behind it, in UTC; ValueError for anything else."""
    found = datetime.datetime.fromisoformat(value)
    if found.tzinfo is None:
        raise ValueError("a time without a zone")
    try:
        return found.astimezone(datetime.UTC)
    except OverflowError:
        raise ValueError("a time outside of all years") from None


def is_name(value: str) -> bool:
    """Whether it can be a field or a path to one; nothing else may stand in a statement unquoted."""
    return _NAME.fullmatch(value) is not None


def select(columns: Sequence[str], table: str, where: str = "", order: str = "", limit: int = 0) -> str:
    """One statement; `columns`, `table` and `order` are names, `where` is made of names and literals."""
    statement = f"SELECT {','.join(columns)} FROM {table}"
    statement += f" WHERE {where}" if where else ""
    statement += f" ORDER BY {order}" if order else ""
    return statement + (f" LIMIT {limit}" if limit else "")


def portions(ids: Sequence[str], rest: str) -> Iterator[Sequence[str]]:
    """The ids in parts, each short enough to stand beside `rest` in a URL."""
    size = max(20, (ROOM - len(quoted(rest))) // 21)
    return (ids[start : start + size] for start in range(0, len(ids), size))


def among(column: str, ids: Sequence[str]) -> str:
    """The condition that a column holds one of these."""
    return f"{column} IN ({','.join(map(text, ids))})"


def quoted(statement: str) -> str:
    """A statement as the value of a query parameter."""
    return urllib.parse.quote(statement, safe="',()*!").replace("%20", "+")


def full_id(value: str) -> str:
    """An id in its form of 18 characters, which tells upper from lower case; "" for what is no id."""
    if not _ID.fullmatch(value):
        return ""
    parts = (value[0:5], value[5:10], value[10:15])
    return value[:15] + "".join(_SUFFIX[sum(1 << n for n, one in enumerate(part) if one.isupper())] for part in parts)
