"""What is not taken until it changes or is tried again: the first of it, whatever there is."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from bridge.config import Tenant
from bridge.contact import load
from bridge.store import Store
from bridge.web import SQL

MOST = 200
"""Of each sink, and of the workflows."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A number, an extension or a workflow, by whom it is not taken, and why. `caller`: the number is a caller's."""

    by: str
    number: str
    name: str
    code: str
    reason: str
    since: datetime.datetime
    caller: bool = False


async def read(db: Store, tenant: Tenant) -> list[Refusal]:
    """What the sinks refuse, and the workflows that failed for good."""
    found: list[Refusal] = []
    async with db.pooled() as connection:
        for sink in tenant.sinks:
            for row in await connection.fetch(SQL["refused_entries"], tenant.name, sink, MOST):
                found.append(_refusal(row, load(row["body"]).name if row["body"] else ""))
            for row in await connection.fetch(SQL["refused_extensions"], tenant.name, sink, MOST):
                held = orjson.loads(row["wanted"] or "{}")
                who = f"{held.get('first_name', '')} {held.get('last_name', '')}".strip()
                found.append(_refusal(row, who))
        workflows = await connection.fetch(SQL["refused_workflows"], tenant.name, MOST)
    return [*sorted(found, key=lambda one: (one.by, one.number)), *_workflows(workflows)]


def _refusal(row: Mapping[str, Any], who: str) -> Refusal:
    return Refusal(row["sink"], row["number"], who, row["code"], row["reason"], row["since"])


def _workflows(rows: Sequence[Mapping[str, Any]]) -> list[Refusal]:
    found = []
    for row in rows:
        call = orjson.loads(row["told"]).get("call", {})
        where = "webhook" if row["action"] == "webhook" else row["source"]
        who = f"{row['workflow']}: {call.get('name', '')}".removesuffix(": ")
        found.append(Refusal(where, call.get("number", ""), who, row["code"], row["reason"], row["since"], caller=True))
    return found
