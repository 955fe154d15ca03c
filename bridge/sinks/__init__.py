"""The contract of a sink: a PBX that is told about contacts, one entry a number.

`type = "x"` in `[sink.NAME]` is the module `bridge.sinks.x`; it offers `open(name, keys) -> Sink` and
`render(names, number, kind, style, region) -> Entry`. A sink holds no SQL, no queue and no retry loop: it says one
thing to the PBX and turns the answer into a value or an error.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from bridge import errors


@dataclass(frozen=True, slots=True)
class Entry:
    """What a PBX holds for one number; `number` as the sink spells it."""

    first_name: str
    last_name: str
    number: str
    company: str = ""


@dataclass(frozen=True, slots=True)
class Push:
    """One call owed to a sink.

    add: `entry`. update: `entry` replaces the one that the PBX holds under `registered` (another number than
    entry.number when the number changes). delete: the one under `registered` goes; `entry` is None.
    """

    op: Literal["add", "update", "delete"]
    entry: Entry | None = None
    registered: str = ""


@dataclass(frozen=True, slots=True)
class Extension:
    """What a PBX holds for one of its own telephones; `caller_id`: the number that it shows ("": the PBX decides)."""

    number: str
    first_name: str
    last_name: str = ""
    email: str = ""
    caller_id: str = ""


class Sink(Protocol):
    """Speaks to one PBX; several sends may run at once."""

    async def check(self) -> str:
        """Say in one line whether the PBX answers, without changing anything in it."""

    async def send(self, push: Push) -> None:
        """Do one push, or raise.

        Refused: this record, with the PBX's code (`absent` where it says that no such entry is there).
        Denied: the key. Unavailable: nothing was done (`code` set where the PBX answered so in its own words;
        then it may have been done all the same). Unsettled: sent, and the answer lost or unintelligible.
        """

    def fitting(self, extensions: Sequence[Extension]) -> int:
        """How many of these, from the first on, one request may add; at least one."""

    async def send_extensions(self, op: Literal["add", "update", "delete"], extensions: Sequence[Extension]) -> None:
        """Add these extensions, or update or delete the only one; raises as `send` does.

        Refused says `present` where an added one is there already. The PBX mails to who is added or updated.
        """

    async def close(self) -> None:
        """Give back connections."""


def load(kind: str, name: str, keys: Any) -> Sink:
    """The sink of `type = kind`."""
    try:
        module = importlib.import_module(f"bridge.sinks.{kind}")
    except ModuleNotFoundError as missing:
        if missing.name != f"bridge.sinks.{kind}":
            raise
        raise errors.Unsupported(f"this version of bridge has no sink of type {kind!r}") from None
    sink: Sink = module.open(name, keys)
    return sink
