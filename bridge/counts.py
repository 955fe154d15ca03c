"""What the database says of the work that is done elsewhere, for the metrics."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, cast

from bridge import store
from bridge.config import Config
from bridge.metrics import (
    OTHERS,
    Change,
    PushResult,
    RunResult,
    SinkCounts,
    Snapshot,
    SourceCounts,
    WorkflowCounts,
    WorkflowState,
)
from bridge.store import Connection, Store

SQL = store.queries("counts")
MANY = 100
"""Tenants beyond which not all of them have series of their own."""
WORST = 50
"""Sources, sinks and workflows of many tenants that have series of their own, each."""
_PATIENCE = 300.0
"""Seconds that a push may wait before its sink is one of the worst."""
_LATE = 3600.0
"""Seconds beyond twice its interval that a source may go unread before it is one of the worst: sooner than an alert."""

Calls = Mapping[WorkflowState, int]
Totals = Mapping[tuple[str, str, str, str], Mapping[str, int]]
"""Counts by tenant, subject, name and kind (run, record, push), then by result."""


async def snapshot(db: Store, told: Config, many: int = MANY) -> Snapshot:
    """A row for every source and sink of the configuration, zeros for what has not run yet; of more than `many` tenants
    one for all, and one for each of the worst.
    """
    async with db.pooled() as connection:
        workflows = _workflows(await connection.fetch(SQL["workflows"]))
        if len(told.tenants) > many:
            return await _of_many(connection, told, workflows)
        sources = {(row["tenant"], row["name"]): row for row in await connection.fetch(SQL["sources"])}
        totals = _totals(await connection.fetch(SQL["totals"]))
        sinks = {(row["tenant"], row["name"]): row for row in await connection.fetch(SQL["sinks"])}
    tenants = told.tenants.values()
    return Snapshot(
        sources=tuple(
            _source(one.name, name, {"every": table.every, **sources.get((one.name, name), {})}, totals)
            for one in tenants
            for name, table in one.sources.items()
        ),
        sinks=tuple(
            _sink(one.name, name, sinks.get((one.name, name)), totals) for one in tenants for name in one.sinks
        ),
        workflows=tuple(
            WorkflowCounts(one.name, workflows.get(one.name, {}))
            for one in tenants
            if one.name in workflows or (one.connector and one.connector.workflow)
        ),
        tenants=len(tenants),
    )


async def _of_many(connection: Connection, told: Config, workflows: Mapping[str, Calls]) -> Snapshot:
    """A bounded number of rows, in as many queries as for one tenant."""
    read = [(one.name, name, table.every) for one in told.tenants.values() for name, table in one.sources.items()]
    sent = [(one.name, name) for one in told.tenants.values() for name in one.sinks]
    by_subject = await connection.fetch(SQL["all_totals"])
    totals = _totals([{"tenant": OTHERS, "name": OTHERS, **row} for row in by_subject])
    sources = [
        _source(row["tenant"] or OTHERS, row["name"] or OTHERS, row, totals)
        for row in await connection.fetch(SQL["all_sources"], WORST, *_columns(read, 3), _LATE)
    ]
    sinks = [
        _sink(row["tenant"] or OTHERS, row["name"] or OTHERS, row, totals)
        for row in await connection.fetch(SQL["all_sinks"], WORST, *_columns(sent, 2), _PATIENCE)
    ]
    return Snapshot(
        sources=tuple(one for one in sources if one.tenant == OTHERS),
        sinks=tuple(one for one in sinks if one.tenant == OTHERS),
        workflows=_worst(workflows),
        wrong_sources=tuple(one for one in sources if one.tenant != OTHERS),
        wrong_sinks=tuple(one for one in sinks if one.tenant != OTHERS),
        tenants=len(told.tenants),
    )


def _columns(rows: Sequence[tuple[Any, ...]], width: int) -> list[list[Any]]:
    """Rows as the arrays that `unnest` takes."""
    return [[row[n] for row in rows] for n in range(width)]


def _workflows(rows: Sequence[Any]) -> Mapping[str, Calls]:
    calls: dict[str, dict[WorkflowState, int]] = defaultdict(dict)
    for row in rows:
        calls[row["tenant"]][row["state"]] = row["calls"]
    return calls


def _worst(workflows: Mapping[str, Calls]) -> tuple[WorkflowCounts, ...]:
    """Those of which most failed, and the sum of all others."""
    failed = sorted((calls["failed"], name) for name, calls in workflows.items() if calls.get("failed"))
    listed = {name for _, name in failed[-WORST:]}
    others: dict[WorkflowState, int] = defaultdict(int)
    for name in workflows.keys() - listed:
        for state, count in workflows[name].items():
            others[state] += count
    return (*(WorkflowCounts(name, workflows[name]) for name in sorted(listed)), WorkflowCounts(OTHERS, others))


def _totals(rows: Sequence[Mapping[str, Any]]) -> Totals:
    totals: dict[tuple[str, str, str, str], dict[str, int]] = defaultdict(dict)
    for row in rows:
        kind, _, result = row["event"].partition(".")
        totals[row["tenant"], row["subject"], row["name"], kind][result] = row["count"]
    return totals


def _source(tenant: str, name: str, state: Any, totals: Totals) -> SourceCounts:
    gauges = ("last_good", "contacts", "held", "failing", "denied", "every")
    return SourceCounts(
        tenant=tenant,
        source=name,
        runs=cast("Mapping[RunResult, int]", totals.get((tenant, "source", name, "run"), {})),
        records=cast("Mapping[Change, int]", totals.get((tenant, "source", name, "record"), {})),
        **{gauge: state[gauge] for gauge in gauges if gauge in state},
    )


def _sink(tenant: str, name: str, state: Any, totals: Totals) -> SinkCounts:
    pushes = cast("Mapping[PushResult, int]", totals.get((tenant, "sink", name, "push"), {}))
    gauges = ("waiting", "oldest", "refused", "stopped", "failing")
    return SinkCounts(tenant, name, pushes, **{gauge: state[gauge] for gauge in gauges if state})
