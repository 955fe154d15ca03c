"""Who owns each number on each sink, and so what that sink must be told.

A PBX holds one entry a number. The outbox is where what it should hold differs from what it acknowledged; this module
writes the first, `outbox` the second.
"""

from __future__ import annotations

from collections.abc import Sequence

from bridge import store
from bridge.store import Connection

SQL = store.queries("entries")


async def settle_owners(session: Connection, tenant: str, sink: str, sources: Sequence[str]) -> None:
    """Decide anew who owns the numbers in the session's table `touched`; `sources`: the best first."""
    await session.execute(SQL["analyze_touched"])
    await session.execute(SQL["settle_owners"], tenant, sink, list(sources))


def policy(sources: Sequence[str], spelling: str) -> str:
    """What a sink's entries are computed with, as the table `sink` keeps it."""
    return "\n".join((spelling, *sources))


async def follow_policy(session: Connection, tenant: str, sink: str, sources: Sequence[str], spelling: str) -> None:
    """Recompute a sink's entries if the configuration that they were computed with changed.

    In a transaction in which nobody else commits to the tenant.
    """
    wanted = policy(sources, spelling)
    before = await session.value(SQL["policy"], tenant, sink)
    if before == wanted:
        return
    await session.execute(SQL["stage_touched"])
    await session.execute(SQL["touch_all"], tenant, sink)
    await settle_owners(session, tenant, sink, sources)
    if before is not None and before.split("\n")[0] != spelling:
        await session.execute(SQL["make_due"], tenant, sink)
    await session.execute(SQL["set_policy"], tenant, sink, wanted)
