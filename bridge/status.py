"""How sources and sinks fare, what was refused, and what stands for a number: what admins ask after."""

from __future__ import annotations

import datetime
import heapq
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from bridge import extension_outbox, outbox, store, workflow_queue
from bridge.config import Tenant
from bridge.contact import load
from bridge.store import Store

SQL = store.queries("status")
_HELD = "held: "

When = datetime.datetime | None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A record that a source has and that could not be read; its last good contact stays."""

    tenant: str
    source: str
    id: str
    reason: str
    since: datetime.datetime


@dataclass(frozen=True, slots=True)
class SourceState:
    """One source. `configured` false: it left the file, and its contacts stay. `denied`: it refuses our credentials."""

    tenant: str
    source: str
    type: str
    configured: bool
    contacts: int = 0
    tried_at: When = None
    read_at: When = None
    full_at: When = None
    changed_at: When = None
    error: str = ""
    failing_since: When = None
    failures: int = 0
    denied: bool = False
    held: int = 0
    held_since: When = None
    why_held: str = ""
    unreadable: tuple[Unreadable, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SinkState:
    """One sink. `ok_at`: its last good answer; `denied`: its code where it refuses our key."""

    tenant: str
    sink: str
    type: str
    waiting: int = 0
    waiting_since: When = None
    refused: int = 0
    ok_at: When = None
    error: str = ""
    failing_since: When = None
    denied: str = ""


@dataclass(frozen=True, slots=True)
class Status:
    """Every source and sink of some tenants."""

    sources: tuple[SourceState, ...]
    sinks: tuple[SinkState, ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """What is not taken until it changes or is tried again by hand.

    A number or an extension that a sink does not take; or a workflow that a CRM does not (`sink` is then the source or
    "webhook", `number` the other party's).
    """

    tenant: str
    sink: str
    number: str
    name: str
    code: str
    reason: str
    since: datetime.datetime


@dataclass(frozen=True, slots=True)
class EntryState:
    """What a sink holds for a number and should hold. `contact` "": it should hold none; `acked` None: it holds none.

    state: clean | due | sent | moving | refused, as in the table `entry`.
    """

    sink: str
    number: str
    state: str
    since: datetime.datetime
    contact: str
    name: str
    acked: Mapping[str, str] | None
    tries: int
    code: str
    reason: str


async def read(db: Store, tenants: Sequence[Tenant]) -> Status:
    """Every source and sink of the configuration, also those that never ran, and sources whose contacts outlived it."""
    names = [tenant.name for tenant in tenants]
    wanted = [(tenant.name, name) for tenant in tenants for name in tenant.sinks]
    async with db.pooled() as connection:
        sources = {(row["tenant"], row["name"]): row for row in await connection.fetch(SQL["sources"], names)}
        bad = await connection.fetch(SQL["unreadable"], names)
        sinks = await connection.fetch(SQL["sinks"], [t for t, _ in wanted], [name for _, name in wanted])
    known = {(row["tenant"], row["name"]): row for row in sinks}
    by_tenant: dict[str, dict[str, Any]] = defaultdict(dict)
    for (owner, name), row in sources.items():
        by_tenant[owner][name] = row
    unreadable: dict[tuple[str, str], list[Unreadable]] = defaultdict(list)
    for row in bad:
        unreadable[row["tenant"], row["source"]].append(Unreadable(**row))
    return Status(
        sources=tuple(one for tenant in tenants for one in _sources(tenant, by_tenant[tenant.name], unreadable)),
        sinks=tuple(_sink(tenant, name, known) for tenant in tenants for name in tenant.sinks),
    )


def worst(found: Status, most: int) -> Status:
    """So many sources and sinks at most: those that fail, then those that somebody has to look at, then any."""
    sources, sinks = found.sources, found.sinks
    if len(sources) > most:
        sources = tuple(heapq.nsmallest(most, sources, key=_gravity))
    if len(sinks) > most:
        sinks = tuple(heapq.nsmallest(most, sinks, key=lambda one: (not one.error, not one.refused, -one.waiting)))
    return Status(sources, sinks)


def _gravity(one: SourceState) -> tuple[bool, ...]:
    """Lower is worse."""
    return not one.error, not one.held, one.configured, not (one.unreadable or one.notes), one.tried_at is not None


def _sources(
    tenant: Tenant, rows: Mapping[str, Any], unreadable: Mapping[tuple[str, str], Sequence[Unreadable]]
) -> Sequence[SourceState]:
    """The configured ones in file order, then those that are not."""
    left = [name for name in rows if name not in tenant.sources]
    found = []
    for name in (*tenant.sources, *left):
        table, row = tenant.sources.get(name), rows.get(name)
        state: dict[str, Any] = dict(row) if row else {}
        kind = table.type if table else state["type"]
        notes = state.get("notes") or ()
        state = {key: state[key] for key in _OF_SOURCE if key in state}
        found.append(
            SourceState(
                tenant=tenant.name,
                source=name,
                type=kind,
                configured=table is not None,
                **state,
                why_held=next((note.removeprefix(_HELD) for note in notes if note.startswith(_HELD)), ""),
                unreadable=tuple(unreadable.get((tenant.name, name), ())),
                notes=tuple(note for note in notes if not note.startswith(_HELD)),
            )
        )
    return found


_OF_SOURCE = (
    *("contacts", "tried_at", "read_at", "full_at", "changed_at", "error", "failing_since", "failures", "denied"),
    *("held", "held_since"),
)


def _sink(tenant: Tenant, name: str, rows: Mapping[tuple[str, str], Any]) -> SinkState:
    row = rows.get((tenant.name, name))
    state = {key: value for key, value in row.items() if key not in ("tenant", "name")} if row else {}
    return SinkState(tenant=tenant.name, sink=name, type=tenant.sinks[name].type, **state)


async def refusals(db: Store, tenants: Sequence[Tenant]) -> list[Refusal]:
    """What the sinks of these tenants refuse."""
    found = []
    for tenant in await _refused(db, tenants):
        for row in await db.fetch(outbox.SQL["refusals"], tenant.name):
            who = load(row["body"]).name if row["body"] else ""
            found.append(
                Refusal(tenant.name, row["sink"], row["number"], who, row["code"], row["reason"], row["since"])
            )
        for row in await db.fetch(extension_outbox.SQL["refusals"], tenant.name):
            held = orjson.loads(row["wanted"] or "{}")
            who = f"{held.get('first_name', '')} {held.get('last_name', '')}".strip()
            found.append(
                Refusal(tenant.name, row["sink"], row["number"], who, row["code"], row["reason"], row["since"])
            )
        found += await _workflows(db, tenant.name)
    return found


async def _refused(db: Store, tenants: Sequence[Tenant]) -> Sequence[Tenant]:
    """Those of the tenants of which anything is refused."""
    names = {row["tenant"] for row in await db.fetch(SQL["refused"], [tenant.name for tenant in tenants])}
    return [tenant for tenant in tenants if tenant.name in names]


async def _workflows(db: Store, tenant: str) -> list[Refusal]:
    found = []
    for row in await db.fetch(workflow_queue.SQL["refusals"], tenant):
        call = orjson.loads(row["told"]).get("call", {})
        where = "webhook" if row["action"] == "webhook" else row["source"]
        who = f"{row['workflow']}: {call.get('name', '')}".removesuffix(": ")
        number = call.get("number", "")
        found.append(Refusal(tenant, where, number, who, row["code"], row["reason"], row["since"]))
    return found


async def retry(db: Store, tenants: Sequence[Tenant]) -> int:
    """Owe all that was refused to the sinks once more; how much that is."""
    queries = (outbox.SQL["retry_refused"], extension_outbox.SQL["retry_refused"], workflow_queue.SQL["retry"])
    refused = await _refused(db, tenants)
    return sum([await db.execute(query, tenant.name) for tenant in refused for query in queries])


async def entries(db: Store, tenant: str, numbers: Sequence[str]) -> list[EntryState]:
    """What stands for these numbers at each sink, the sinks by name and the numbers as given."""
    return [
        EntryState(
            sink=row["sink"],
            number=row["number"],
            state=row["state"],
            since=row["since"],
            contact=f"{row['source']}:{row['id']}" if row["source"] else "",
            name=load(row["body"]).name if row["body"] else "",
            acked=orjson.loads(row["acked"]) if row["acked"] else None,
            tries=row["tries"],
            code=row["code"],
            reason=row["reason"],
        )
        for row in await db.fetch(SQL["entries"], tenant, list(numbers))
    ]
