"""Which pushes bring a sink to hold what it should: pure decisions over rows of the outbox."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from bridge.sinks import Entry, Push


@dataclass(frozen=True, slots=True)
class Row:
    """What is wanted, acknowledged and perhaps sent for one number (table `entry`). `body`: the owner, dumped."""

    number: str
    state: str
    contact: int | None
    kind: str | None
    names: int | None
    body: str | None
    acked: Entry | None
    acked_contact: int | None
    acked_kind: str | None
    sent: Entry | None
    moved_from: str | None
    tries: int
    misses: int


@dataclass(frozen=True, slots=True)
class Task:
    """A row, the entry that the sink should hold for it (None: none), and the pushes that bring it about.

    Each push is tried where the one before found nothing there. `partner`: the row whose entry they may rename.
    """

    row: Row
    entry: Entry | None
    pushes: tuple[Push, ...]
    partner: Row | None = None

    def took_partner(self, done: Push) -> bool:
        """Whether the push that worked leaves nothing under the partner's number."""
        held = self.partner and self.partner.acked
        return done.op == "add" or bool(held and done.registered == held.number)

    def may_be_absent(self, push: Push) -> bool:
        """Whether what this push would change was sent there, and never acknowledged under that number."""
        held = {one.acked.number for one in (self.row, self.partner) if one and one.acked}
        return self.row.state == "sent" and push.registered not in held


def read(raw: Mapping[str, Any], body: str | None) -> Row:
    """A row as the database gives it, and its owner."""
    plain = (
        "number", "state", "contact", "kind", "names", "acked_contact", "acked_kind", "moved_from", "tries",
        "misses",
    )  # fmt: skip
    values: dict[str, Any] = {name: raw[name] for name in plain}
    for name in ("acked", "sent"):
        values[name] = Entry(**orjson.loads(raw[name])) if raw[name] else None
    return Row(**values, body=body)


def plan(row: Row, entry: Entry | None, partner: Row | None) -> tuple[Push, ...]:
    """The pushes that make the sink hold `entry` for this row, in the order to try them.

    A row that was sent and not answered for may stand under what was sent, under what was acknowledged, or under its
    partner's number: it is asked for under each by an update, and added where it is under none.
    """
    under = [row.acked, partner.acked if partner else None]
    if row.state == "sent":
        under = [entry, row.sent, *under]
    numbers = list(dict.fromkeys(one.number for one in under if one))
    if entry is None:
        return tuple(Push("delete", registered=number) for number in numbers)
    return (*(Push("update", entry, number) for number in numbers), Push("add", entry))


def pair(coming: Sequence[Row], leaving: Sequence[Row]) -> dict[str, Row]:
    """Which leaving entry each coming number renames: the same contact's number of the same kind changed."""
    free: dict[tuple[int | None, str | None], deque[Row]] = {}
    for row in sorted(leaving, key=lambda one: one.number):
        free.setdefault((row.acked_contact, row.acked_kind), deque()).append(row)
    pairs = {}
    for row in sorted(coming, key=lambda one: one.number):
        if waiting := free.get((row.contact, row.kind)):
            pairs[row.number] = waiting.popleft()
    return pairs


def pause(tries: int, most: float = 300.0) -> float:
    """Seconds to wait after so many tries: growing, jittered, never more than about `most`."""
    return min(most, 0.5 * 2.0 ** min(tries, 20)) * random.uniform(0.8, 1.2)
