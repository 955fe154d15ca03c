"""What a sink is owed: rows of its outbox, locked, with their owners, and which of them go with one push."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from bridge import pushes, store
from bridge.pushes import Row, Task
from bridge.store import Connection

SQL = store.queries("outbox")
Key = tuple[str, str]
"""A tenant, and the sink of it."""


async def rows(session: Connection, key: Key, query: str, what: object) -> list[Row]:
    """The rows of a query, and their owners as they are once those are locked."""
    raws = await session.fetch(SQL[query], *key, what)
    owners = [raw["contact"] for raw in raws if raw["contact"] is not None]
    found = await session.fetch(SQL["owners"], key[0], owners) if owners else []
    bodies = {row["pk"]: row["body"] for row in found}
    return [pushes.read(raw, bodies.get(raw["contact"])) for raw in raws]


async def partners(session: Connection, key: Key, taken: Sequence[Row]) -> tuple[dict[str, Row], list[Row]]:
    """The row that each coming number renames, and the coming rows that leaving ones brought in."""
    under_way = {row.moved_from: row.number for row in taken if row.state == "sent" and row.moved_from}
    movers = await rows(session, key, "movers", list(under_way)) if under_way else []
    moved = {under_way[row.number]: row for row in movers}
    due = [row for row in taken if row.state == "due"]
    coming = {row.number: row for row in due if row.contact is not None and row.acked is None}
    leaving = {row.number: row for row in due if row.contact is None and row.acked is not None}
    more: list[Row] = []
    if leaving:
        contacts = [row.acked_contact for row in leaving.values()]
        found = await rows(session, key, "coming", contacts)
        more = [row for row in found if row.number not in coming]
    if coming or more:
        contacts = [row.contact for row in (*coming.values(), *more)]
        found = await rows(session, key, "leaving", contacts)
        leaving |= {row.number: row for row in found}
    pairs = pushes.pair([*coming.values(), *more], list(leaving.values()))
    return moved | pairs, [row for row in more if row.number in pairs]


async def mark(session: Connection, key: Key, tasks: Sequence[Task], within: float) -> None:
    """Write down that these are about to be sent, and settled by somebody else if they are not in so many seconds."""
    await session.execute(
        SQL["mark"],
        *key,
        [task.row.number for task in tasks],
        [orjson.dumps(task.entry).decode() if task.entry else None for task in tasks],
        [task.partner.number if task.partner else None for task in tasks],
        within,
    )
    await session.execute(SQL["mark_moving"], *key, [one.partner.number for one in tasks if one.partner])
