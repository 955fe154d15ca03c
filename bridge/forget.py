"""Erasing a person: what is held where, that it goes, and that no later run brings it back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bridge import approval, forgotten, store, sync
from bridge.contact import load
from bridge.forgotten import mail
from bridge.store import Connection, Store

SQL = store.queries("forget")


@dataclass(frozen=True, slots=True)
class Found:
    """One trace of a person: `place` is the table or the sink, `what` names it there."""

    place: str
    what: str


@dataclass(frozen=True, slots=True)
class Who:
    """Whom to erase: by the keys that a number may be read as, or by an address."""

    keys: tuple[str, ...] = ()
    email: str = ""

    @property
    def words(self) -> tuple[str, ...]:
        """What is hashed to keep the person out."""
        return (*self.keys, *((mail(self.email),) if self.email else ()))


@dataclass(frozen=True, slots=True)
class Traces:
    """All traces of a person: the contacts among them as (source, id), and their own numbers."""

    found: tuple[Found, ...]
    contacts: tuple[tuple[str, str], ...]
    removed: tuple[tuple[str, str], ...]
    workflows: tuple[str, ...]
    numbers: tuple[str, ...]


async def find(connection: Connection, tenant: str, who: Who, more: Sequence[str] = ()) -> Traces:
    """Everything that is held of a person; contacts with the number as their company's are not theirs.

    `more`: numbers that were the person's, under which sinks may hold something still.
    """
    keys, email = list(who.keys), mail(who.email)
    contacts = await connection.fetch(SQL["contacts"], tenant, keys, email)
    removed = await connection.fetch(SQL["removed"], tenant, keys, email)
    held = [number.key for row in contacts for number in load(row["body"]).numbers if number.key and not number.company]
    sources, ids = [row["source"] for row in contacts], [row["id"] for row in contacts]
    entries = await connection.fetch(SQL["entries"], tenant, [*keys, *held, *more], sources, ids)
    digits = [key.removeprefix("+") for key in (*keys, *held)]
    calls = await connection.fetch(SQL["workflows"], tenant, digits, sources, ids)
    users = await connection.fetch(SQL["users"], tenant, email)
    found = [
        *(Found("contact", f"{row['source']}:{row['id']} {load(row['body']).name}".strip()) for row in contacts),
        *(Found("removed contact", f"{row['source']}:{row['id']}") for row in removed),
        *(Found(f"sink {row['sink']}", row["number"]) for row in entries),
        *(Found("workflow", row["workflow"]) for row in calls),
        *(Found("user", f"{row['source']}:{row['id']}") for row in users),
    ]
    return Traces(
        tuple(found),
        tuple(zip(sources, ids, strict=True)),
        tuple((row["source"], row["id"]) for row in removed),
        tuple(row["key"] for row in calls),
        tuple(dict.fromkeys((*keys, *held))),
    )


async def forget(db: Store, tenant: str, who: Who, jobs: Mapping[str, sync.Job]) -> Traces:
    """Erase a person and keep them out; what was found. `jobs`: of every source, also of those that are retired.

    First the hashes, so that no run that begins from now on brings anything; then, source by source and after a run
    under way, what is held.
    """
    async with db.pooled() as connection:
        before = await find(connection, tenant, who)
        ids = [f"{source}:{id}" for source, id in (*before.contacts, *before.removed)]
        async with connection.transaction():
            await forgotten.keep_out(connection, tenant, (*who.words, *ids))
            await connection.execute(SQL["erase_workflows"], tenant, list(before.workflows))
            await connection.execute(SQL["erase_users"], tenant, mail(who.email))
    for job in jobs.values():
        async with store.locked(db, "source", tenant, job.source) as session:
            assert session is not None
            async with session.transaction():
                now = await find(session, tenant, who)
                mine = [id for source, id in (*now.contacts, *before.contacts) if source == job.source]
                gone = [id for source, id in now.removed if source == job.source]
                await _erase(session, job, mine, gone)
    return before


async def _erase(session: Connection, job: sync.Job, ids: Sequence[str], removed: Sequence[str]) -> None:
    await approval.let_go(session, job, ids)
    await session.execute(SQL["erase_copies"], job.tenant, job.source, [*ids, *removed])


async def undo(db: Store, tenant: str, who: Who) -> bool:
    """Let the person in again with the next full run; False where they were not kept out."""
    async with db.pooled() as connection, connection.transaction():
        return bool(await forgotten.let_in(connection, tenant, who.words))
