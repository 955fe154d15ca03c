"""The contract of a source: a CRM, server or file that contacts are read from.

`type = "x"` in `[source.NAME]` is the module `bridge.sources.x`; it offers one function,

    def open(name: str, keys: keys.<Type>) -> Source

where `keys` is the table of that source, checked (`bridge.keys`). Nothing is logged in to before the first call.
A source holds no checksum, no E.164, no SQL and no log line: it reads, and says what it read.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from bridge import errors
from bridge.actions import Action, Made
from bridge.contact import Record, User

Cursor = Mapping[str, Any]
"""Where the next delta run begins; JSON-able, opaque to everyone but the source that made it."""

Versions = Sequence[tuple[str, str]]
"""Pairs of a record's id and the version that the server lists for it."""

Known = Callable[[Versions], Awaitable[set[str]]]
"""Of listed (id, version) pairs, the ids that we already hold at that very version: they need no reading."""

INTERNAL = re.compile("[1-9][0-9]{0,9}")
"""What an office number that may be an extension looks like; a run leaves out those of more than `internal_digits`."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """One record that the server has and that could not be read: its last good contact is kept."""

    id: str
    reason: str
    version: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """A bounded part of what a run reads, in no order; an id may come twice, the later one counts.

    `removed`: ids that the source says are gone. `kept`: ids listed and not read again (see `Known`).
    The last page, and no other, carries `cursor`; no cursor, no commit. `complete` on the last page: the run
    listed everything, so what no page of it named (records, kept, unreadable) is gone.
    `spared`: beginnings of ids which a complete run could not list, so that what is held under them stays.
    `notes` are sentences for the admin about this run (a broken share, a field left out).
    `withheld` on the last page: the login may not see all that was asked for, be it a module, a share or a field.
    """

    records: Sequence[Record] = ()
    removed: Sequence[str] = ()
    kept: Sequence[str] = ()
    unreadable: Sequence[Unreadable] = ()
    spared: Sequence[str] = ()
    notes: Sequence[str] = ()
    cursor: Cursor | None = None
    complete: bool = False
    withheld: bool = False


class Lacking:
    """Which of the fields that the admin named no record has, by their titles."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        self._missing = dict(fields)

    def look(self, records: Iterable[Record]) -> None:
        """Read these as well."""
        if self._missing:
            for title in {title for record in records for title, _ in record.custom}:
                self._missing.pop(title, None)

    def notes(self) -> Sequence[str]:
        """What an admin is told of those that were never seen."""
        return (f"no contact has {', '.join(self._missing.values())}: left out",) if self._missing else ()


class Source(Protocol):
    """Reads one source. Used by one run at a time."""

    async def check(self) -> str:
        """Log in, and say in one line what may be read; raises Denied or Unavailable."""

    def read(self, since: Cursor | None, known: Known) -> AsyncIterator[Page]:
        """Yield pages until all that was set out to be read is read, or raise: never less.

        `since` None: a full run, whose last page is `complete`. A source that finds its cursor of no use
        may turn any run into a complete one. Raises Denied, Unavailable.
        """

    async def close(self) -> None:
        """Give back connections; the source is not used again."""


class WithUsers(Source, Protocol):
    """A source that can also read the CRM's users."""

    async def users(self) -> Sequence[User]:
        """All active users with an extension number: every one, or Denied or Unavailable is raised.

        Called after the last page of a run, by a run that is to read users.
        """


class WithActions(Source, Protocol):
    """A source whose CRM can be written to."""

    async def act(self, action: Action) -> Made:
        """Make what is asked for, or find what an earlier try of the same `key` made; may run beside a `read`.

        Raises Refused where the CRM takes it no time (with the CRM's code), Unsupported where the CRM has no such
        thing, Denied, Unavailable, or Unsettled where it may have been made: then it is asked for again.
        """


def load(kind: str, name: str, keys: Any) -> Source:
    """The source of `type = kind`; Unsupported where this version has none."""
    source: Source = prepare(kind).open(name, keys)
    return source


def prepare(kind: str) -> Any:
    """The module of `type = kind`, which takes its memory and half a second the first time."""
    try:
        return importlib.import_module(f"bridge.sources.{kind}")
    except ModuleNotFoundError as missing:
        if missing.name != f"bridge.sources.{kind}":
            raise
        raise errors.Unsupported(f"this version of bridge cannot read type {kind!r} yet") from None
