"""What the database says of the work that is done elsewhere, for the metrics."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, cast

from bridge import store
from bridge.config import Config
from bridge.metrics import Change, PushResult, RunResult, SinkCounts, Snapshot, SourceCounts
from bridge.store import Store

SQL = store.queries("counts")


async def snapshot(db: Store, told: Config) -> Snapshot:
    """A row for every source and sink of the configuration; zeros for what has not run yet."""
    async with db.pooled() as connection:
        sources = {(row["tenant"], row["name"]): row for row in await connection.fetch(SQL["sources"])}
        totals = _totals(await connection.fetch(SQL["totals"]))
        sinks = {(row["tenant"], row["name"]): row for row in await connection.fetch(SQL["sinks"])}
    return Snapshot(
        sources=tuple(
            _source(tenant.name, name, sources.get((tenant.name, name)), totals)
            for tenant in told.tenants.values()
            for name in tenant.sources
        ),
        sinks=tuple(
            _sink(tenant.name, name, sinks.get((tenant.name, name)), totals)
            for tenant in told.tenants.values()
            for name in tenant.sinks
        ),
    )


Totals = Mapping[tuple[str, str, str, str], Mapping[str, int]]
"""Counts by tenant, subject, name and kind (run, record, push), then by result."""


def _totals(rows: Sequence[Any]) -> Totals:
    totals: dict[tuple[str, str, str, str], dict[str, int]] = defaultdict(dict)
    for row in rows:
        kind, _, result = row["event"].partition(".")
        totals[row["tenant"], row["subject"], row["name"], kind][result] = row["count"]
    return totals


def _source(tenant: str, name: str, state: Any, totals: Totals) -> SourceCounts:
    return SourceCounts(
        tenant=tenant,
        source=name,
        runs=cast("Mapping[RunResult, int]", totals.get((tenant, "source", name, "run"), {})),
        records=cast("Mapping[Change, int]", totals.get((tenant, "source", name, "record"), {})),
        last_good=state["last_good"] if state else 0.0,
        contacts=state["contacts"] if state else 0,
        held=state["held"] if state else 0,
    )


def _sink(tenant: str, name: str, state: Any, totals: Totals) -> SinkCounts:
    pushes = cast("Mapping[PushResult, int]", totals.get((tenant, "sink", name, "push"), {}))
    if state is None:
        return SinkCounts(tenant=tenant, sink=name, pushes=pushes)
    return SinkCounts(
        tenant=tenant,
        sink=name,
        pushes=pushes,
        waiting=state["waiting"],
        oldest=state["oldest"],
        refused=state["refused"],
        stopped=state["stopped"],
    )
