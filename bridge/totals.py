"""Counts that only grow, for the metrics: kept in the database, for many processes add to them."""

from __future__ import annotations

from collections.abc import Mapping

from bridge import store
from bridge.store import Connection

SQL = store.queries("totals")


async def add(connection: Connection, tenant: str, subject: str, name: str, events: Mapping[str, int]) -> None:
    """Add to the counts of a source or a sink (`subject`): `run.<result>`, `record.<change>`, `push.<result>`."""
    await connection.execute(SQL["add"], tenant, subject, name, list(events), list(events.values()))
