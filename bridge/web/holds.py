"""Losses that wait for an approval: the list, and that what is approved is what was seen."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from bridge.contact import load
from bridge.store import Store
from bridge.web import SQL

PAGE = 100


@dataclass(frozen=True, slots=True)
class Loss:
    """What would happen to which contact. loss: removed | number | name | extension, as in the table `held`."""

    id: str
    name: str
    loss: str
    since: datetime.datetime


@dataclass(frozen=True, slots=True)
class Hold:
    """What is held of a source: a page of the list, and what the list is known by. `after`: where the next begins."""

    source: str
    losses: int
    since: datetime.datetime
    mark: str
    shown: tuple[Loss, ...]
    after: str


async def read(db: Store, tenant: str, source: str = "", after: str = "") -> list[Hold]:
    """All holds of a tenant; of `source` the page of the list that begins behind `after`."""
    async with db.pooled() as connection, connection.transaction():
        await connection.execute(SQL["one_moment"])
        found = []
        for row in await connection.fetch(SQL["holds"], tenant):
            behind = after if row["source"] == source else ""
            rows = await connection.fetch(SQL["losses"], tenant, row["source"], behind, PAGE + 1)
            more = rows[PAGE - 1]["id"] if len(rows) > PAGE else ""
            shown = tuple(
                Loss(one["id"], load(one["body"]).name if one["body"] else one["user"], one["loss"], one["since"])
                for one in rows[:PAGE]
            )
            mark = await connection.value(SQL["mark"], tenant, row["source"])
            found.append(Hold(row["source"], row["losses"], row["since"], mark, shown, more))
    return found


async def seen(db: Store, tenant: str, source: str, mark: str) -> bool:
    """Note that the list known by `mark` was shown, so that an approval covers just that; False if it is another.

    Unavailable where a run changes it at the same moment.
    """
    async with db.pooled() as connection, connection.transaction():
        await connection.execute(SQL["one_moment"])
        if not mark or await connection.value(SQL["mark"], tenant, source) != mark:
            return False
        await connection.execute(SQL["show"], tenant, source)
        return True
