"""What callers caused: lookups, workflows, and why a number gets the name that it gets."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from bridge import errors, explain, lookup
from bridge.config import Tenant
from bridge.contact import load
from bridge.explain import Explanation
from bridge.recent import Recent
from bridge.store import Store
from bridge.web import SQL

MOST = 50
"""Of the lookups, and of the workflows."""
LONGEST = 64
"""Characters of a number that may be asked for."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A lookup: who was named first, and how many there were; None: that was too long to be kept."""

    at: datetime.datetime
    asked: str
    name: str
    results: int | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Workflow:
    """A call that a workflow was asked for. state: due | doing | done | failed."""

    workflow: str
    action: str
    where: str
    number: str
    name: str
    state: str
    asked_at: datetime.datetime
    done_at: datetime.datetime | None
    tries: int
    made: str
    url: str
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Entry:
    """What a sink should hold for a number, and holds: "" is nobody and nothing. state: as in the table `entry`."""

    sink: str
    number: str
    state: str
    name: str
    holds: str
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Explained:
    """Why a number gets its name, and what the sinks hold for it."""

    explanation: Explanation
    entries: Sequence[Entry]


def answered(recent: Recent, tenant: str) -> list[Answered]:
    """The lookups that this process answered last, the newest first."""
    return [
        Answered(
            at=datetime.datetime.fromtimestamp(one.at, datetime.UTC),
            asked=one.asked,
            name=found[0]["name"] if found else "",
            results=None if found is None else len(found),
            seconds=one.seconds,
        )
        for one in recent.of(tenant)[:MOST]
        for found in [orjson.loads(one.answer or b"null")]
    ]


async def workflows(db: Store, tenant: str) -> list[Workflow]:
    """The workflows that were asked for last, the newest first."""
    return [
        Workflow(
            workflow=row["workflow"],
            action=row["action"],
            where="webhook" if row["action"] == "webhook" else row["source"],
            number=call.get("number", ""),
            name=call.get("name", ""),
            state=row["state"],
            asked_at=row["asked_at"],
            done_at=row["done_at"],
            tries=row["tries"],
            made=row["made_id"],
            url=row["made_url"],
            code=row["code"],
            reason=row["reason"],
        )
        for row in await db.fetch(SQL["workflows"], tenant, MOST)
        for call in [orjson.loads(row["told"]).get("call") or {}]
    ]


async def explained(db: Store, tenant: Tenant, asked: str) -> Explained:
    """All that decides what a lookup of this number is answered."""
    if len(asked) > LONGEST:
        raise errors.Unsupported(f"a number has at most {LONGEST} characters")
    found = await explain.explain(db, lookup.directory(tenant), asked)
    rows = await db.fetch(SQL["entries"], tenant.name, list(tenant.sinks), [one.key for one in found.readings])
    return Explained(found, [_entry(row) for row in rows])


def _entry(row: Mapping[str, Any]) -> Entry:
    return Entry(
        sink=row["sink"],
        number=row["number"],
        state=row["state"],
        name=load(row["body"]).name if row["body"] else "",
        holds=" ".join(str(value) for value in orjson.loads(row["acked"] or "{}").values()),
        code=row["code"],
        reason=row["reason"],
    )
