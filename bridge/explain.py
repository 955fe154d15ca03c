"""Why a number gets the name that it gets: how it was read, everybody who has it, and the rule that chose."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from bridge import contact, lookup, numbers, store
from bridge.lookup import Directory
from bridge.store import Store

SQL = store.queries("explain")
_MOST = 1_000
_UNRANKED = 32767


@dataclass(frozen=True, slots=True)
class Candidate:
    """One contact that has the number; `answered`: it is among the results. `read_at`: its source's last good run."""

    source: str
    id: str
    name: str
    number: str
    kind: str
    company_number: bool
    changed_at: datetime.datetime
    read_at: datetime.datetime | None
    configured: bool
    answered: bool


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to read the number as dialled, and who has it."""

    key: str
    why: str
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """`rule` is the sentence that says why the first of `results` is the first; `meant`: the reading that counted."""

    asked: str
    region: str
    readings: tuple[Reading, ...]
    meant: str
    rule: str
    results: tuple[dict[str, Any], ...]


async def explain(db: Store, place: Directory, asked: str) -> Explanation:
    """All that decides what a lookup of this number is answered."""
    results = tuple(orjson.loads(await lookup.answer_once(db, place, asked)))
    ways = numbers.explain(asked, place.region, place.internal_digits)
    rows = await db.fetch(lookup.SQL["candidates"], place.tenant, [key for key, _ in ways], _MOST)
    answered = {result["id"] for result in results}
    read = []
    meant = ""
    for key, why in ways:
        mine = [row for row in rows if row["number"] == key]
        counts = bool(mine) and not meant
        meant = key if counts else meant
        read.append(Reading(key, why, tuple(_candidate(row, counts, answered) for row in mine)))
    tail = lookup.tail_of(place, [key for key, _ in ways]) if ways else ""
    if results and not meant and tail:
        read.append(await _by_suffix(db, place, tail, results[0]["id"]))
    first = next((reading for reading in read if reading.key == meant), None)
    rule = _rule(first.candidates, place) if first else _no_reading(place, ways, results)
    return Explanation(asked, place.region, tuple(read), meant, rule, results)


async def _by_suffix(db: Store, place: Directory, tail: str, id: str) -> Reading:
    """Whose number has the same last digits, and that number."""
    ends = await db.fetch(SQL["ends_with"], place.tenant, *id.split(":", 1), tail)
    rows = await db.fetch(lookup.SQL["candidates"], place.tenant, [row["number"] for row in ends], _MOST)
    mine = tuple(_candidate(row, True, {id}) for row in rows)
    return Reading(ends[0]["number"] if ends else tail, f"its last {len(tail)} digits are the same", mine)


def _candidate(row: Any, counts: bool, answered: set[str]) -> Candidate:
    return Candidate(
        source=row["source"],
        id=row["id"],
        name=contact.load(row["body"]).name,
        number=row["number"],
        kind=row["kind"],
        company_number=row["company"],
        changed_at=row["changed_at"],
        read_at=row["read_at"],
        configured=row["rank"] != _UNRANKED,
        answered=counts and f"{row['source']}:{row['id']}" in answered,
    )


def _rule(candidates: Sequence[Candidate], place: Directory) -> str:
    """What set the first apart from the second."""
    first = candidates[0]
    if len(candidates) == 1:
        return "nobody else has this number"
    second = candidates[1]
    if first.source != second.source:
        order = list(place.shown)
        if not second.configured:
            return f"{second.source} is no longer configured, so it comes after {first.source}"
        return f"{first.source} stands before {second.source} in the configuration: {', '.join(order)}"
    if first.company_number != second.company_number:
        return "it is this contact's own number, and the other's company number"
    if first.changed_at != second.changed_at:
        return "of those it is the one that changed last"
    return "both changed at the same time: the smaller id"


def _no_reading(place: Directory, ways: Sequence[tuple[str, str]], results: Sequence[Any]) -> str:
    if not ways:
        return "this is no number"
    if results:
        return f"no contact has the whole number, and one alone has its last {place.suffix} digits"
    return "no contact has this number"
