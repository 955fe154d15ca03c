"""What the database says of the work that is done elsewhere, for the metrics."""

from __future__ import annotations

from typing import Any

from bridge import store
from bridge.config import Config
from bridge.metrics import SinkCounts, Snapshot, SourceCounts
from bridge.store import Store

SQL = store.queries("counts")


async def snapshot(db: Store, told: Config) -> Snapshot:
    """A row for every source and sink of the configuration; zeros for what has not run yet."""
    async with db.pooled() as connection:
        sources = {(row["tenant"], row["name"]): row for row in await connection.fetch(SQL["sources"])}
        runs = {(row["tenant"], row["source"]): row for row in await connection.fetch(SQL["runs"])}
        sinks = {(row["tenant"], row["name"]): row for row in await connection.fetch(SQL["sinks"])}
    return Snapshot(
        sources=tuple(
            _source(tenant.name, name, sources.get((tenant.name, name)), runs.get((tenant.name, name)))
            for tenant in told.tenants.values()
            for name in tenant.sources
        ),
        sinks=tuple(
            _sink(tenant.name, name, sinks.get((tenant.name, name)))
            for tenant in told.tenants.values()
            for name in tenant.sinks
        ),
    )


def _source(tenant: str, name: str, state: Any, runs: Any) -> SourceCounts:
    return SourceCounts(
        tenant=tenant,
        source=name,
        runs={"done": runs["done"], "held": runs["held"], "failed": runs["failed"]} if runs else {},
        records={
            "added": runs["added"],
            "changed": runs["changed"],
            "removed": runs["removed"],
            "unchanged": runs["unchanged"],
            "refused": runs["refused"],
        }
        if runs
        else {},
        last_good=state["last_good"] if state else 0.0,
        contacts=state["contacts"] if state else 0,
        held=state["held"] if state else 0,
    )


def _sink(tenant: str, name: str, state: Any) -> SinkCounts:
    if state is None:
        return SinkCounts(tenant=tenant, sink=name)
    return SinkCounts(
        tenant=tenant,
        sink=name,
        waiting=state["waiting"],
        oldest=state["oldest"],
        refused=state["refused"],
        stopped=state["stopped"],
    )
