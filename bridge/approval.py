"""What undoes a loss or lets it through: `bridge approve` and `bridge restore`."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bridge import extensions, store, sync
from bridge.contact import load
from bridge.store import Connection, Store

SQL = store.queries("approval")
_SYNC = store.queries("sync")
_STAGING = store.queries("staging")


@dataclass(frozen=True, slots=True)
class Waiting:
    """One held loss: what would happen to which contact, and since when it waits.

    loss: removed | number (its last number would go) | name (its name would go) | extension (of user:<id>).
    """

    id: str
    name: str
    loss: str
    since: datetime.datetime


async def held(db: Store, tenant: str, source: str, *, shown: bool = False) -> list[Waiting]:
    """What is held of a source; `shown` notes that the admin sees this list, so that approval covers just that."""
    async with db.pooled() as connection, connection.transaction():
        rows = await connection.fetch(SQL["held"], tenant, source)
        if shown:
            await connection.execute(SQL["show_held"], tenant, source)
    return [
        Waiting(row["id"], load(row["body"]).name if row["body"] else row["user"], row["loss"], row["since"])
        for row in rows
    ]


async def approve(db: Store, job: sync.Job) -> Mapping[str, int]:
    """Let through what is held: what stood in the list last shown, or all where none was shown.

    `{"removed", "changed", "held"}`: what went, and what came after the list was shown and still waits.
    """
    async with store.locked(db.of(job.tenant), "source", job.tenant, job.source) as session:
        assert session is not None
        async with session.transaction():
            # First, while what stood in the list shown is still marked so.
            users = await extensions.let_go(session, job.tenant, job.source)
            done = await _stage_and_apply(session, job, "stage_held", release=True)
            return {**done, "removed": done["removed"] + users}


async def dismiss(db: Store, job: sync.Job) -> Mapping[str, int]:
    """Let go of all contacts of a source that left the configuration: `{"removed"}`; they stay for 7 days."""
    async with store.locked(db.of(job.tenant), "source", job.tenant, job.source) as session:
        assert session is not None
        async with session.transaction():
            await extensions.dismiss(session, job.tenant, job.source)
            return await _stage_and_apply(session, job, "stage_all")


async def let_go(session: Connection, job: sync.Job, ids: Sequence[str]) -> None:
    """Take these contacts of a source away, in the transaction that is under way."""
    await _stage_and_apply(session, job, "stage_these", list(ids))


async def retired(db: Store, tenant: str) -> list[str]:
    """Sources that left the configuration and still hold contacts."""
    return [row["name"] for row in await db.fetch(SQL["retired"], tenant)]


async def restore(db: Store, job: sync.Job, since: datetime.datetime) -> Mapping[str, int]:
    """Bring back the contacts removed since then (at most 7 days are kept), as they were: `{"added"}`."""
    async with store.locked(db.of(job.tenant), "source", job.tenant, job.source) as session:
        assert session is not None
        async with session.transaction():
            return await _stage_and_apply(session, job, "stage_removed", since)


async def _stage_and_apply(
    session: Connection, job: sync.Job, stage: str, *args: object, release: bool = False
) -> Mapping[str, int]:
    key = (job.tenant, job.source)
    await session.execute(_STAGING["stage"])
    await session.execute(SQL[stage], *key, *args)
    await session.execute(_SYNC["diff_staged"], *key)
    await session.execute(_SYNC["diff_gone"], *key)
    tally = await session.row(_SYNC["tally"])
    if release:
        await session.execute(SQL["release"], *key)
    await sync.apply(session, job)
    await sync.settle_extensions(session, job)
    await session.execute(SQL["count_contacts"], *key)
    left = await session.value(SQL["still_held"], *key)
    return {"added": tally["added"], "changed": tally["changed"], "removed": tally["removed"], "held": left}
