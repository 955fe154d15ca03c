"""Erasing a person: what is held where, that it goes, and that no later run brings it back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bridge import approval, extensions, forgotten, numbers, phone_users, store, sync, wiping
from bridge.accounts import saving
from bridge.config import Tenant
from bridge.contact import load
from bridge.extensions import Taker
from bridge.forgotten import mail
from bridge.phone_users import PhoneUser
from bridge.store import Connection, Store
from bridge.wiping import Wiped

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
    """All traces of a person: the contacts among them as (source, id), and their own numbers and extensions.

    `staying`: those that nobody is to take away, as their sink's table says.
    """

    found: tuple[Found, ...]
    contacts: tuple[tuple[str, str], ...] = ()
    removed: tuple[tuple[str, str], ...] = ()
    workflows: tuple[str, ...] = ()
    users: tuple[PhoneUser, ...] = ()
    numbers: tuple[str, ...] = ()
    extensions: frozenset[str] = frozenset()
    staying: frozenset[Found] = frozenset()

    @property
    def ids(self) -> list[str]:
        """By which records of the person are kept out."""
        return [
            f"{source}:{id}" for source, id in (*self.contacts, *self.removed, *((u.source, u.id) for u in self.users))
        ]


NOTHING = Traces(())
_SAME_END = 4
"""Digits at the end of a number that are the same however it is spelled."""


async def find(connection: Connection, tenant: Tenant, who: Who, before: Traces = NOTHING) -> Traces:
    """Everything that is held of a person; contacts with the number as their company's are not theirs.

    `before`: what was found of the person earlier, by which sinks may hold something still.
    """
    name, keys, email = tenant.name, list(who.keys), mail(who.email)
    contacts = await connection.fetch(SQL["contacts"], name, keys, email)
    removed = await connection.fetch(SQL["removed"], name, keys, email)
    held = [number.key for row in contacts for number in load(row["body"]).numbers if number.key and not number.company]
    sources, ids = [row["source"] for row in contacts], [row["id"] for row in contacts]
    entries = await connection.fetch(SQL["entries"], name, [*keys, *held, *before.numbers], sources, ids)
    calls = await _calls(connection, tenant, [*contacts, *removed], keys)
    everybody = await phone_users.load(connection, tenant)
    users = phone_users.find(everybody, keys, email)
    # An extension that somebody else has too is theirs.
    others = phone_users.extensions_of(one for one in everybody if one not in users)
    own = (phone_users.extensions_of(users) | before.extensions) - others
    lines = await connection.fetch(SQL["extensions"], name, sorted(own))
    on_sinks = [(Found(f"sink {row['sink']}", f"extension {row['number']}"), row["stays"]) for row in lines]
    return Traces(
        found=(
            *(Found("contact", f"{row['source']}:{row['id']} {load(row['body']).name}".strip()) for row in contacts),
            *(Found("removed contact", f"{row['source']}:{row['id']}") for row in removed),
            *(Found(f"sink {row['sink']}", row["number"]) for row in entries),
            *(Found("workflow", row["workflow"]) for row in calls),
            *(trace for user in users for trace in _of_user(user)),
            *(line for line, _ in on_sinks),
        ),
        contacts=tuple(zip(sources, ids, strict=True)),
        removed=tuple((row["source"], row["id"]) for row in removed),
        workflows=tuple(row["key"] for row in calls),
        users=tuple(users),
        numbers=tuple(dict.fromkeys((*keys, *held))),
        extensions=own,
        staying=frozenset(line for line, stays in on_sinks if stays),
    )


async def _calls(connection: Connection, tenant: Tenant, contacts: Sequence[Any], keys: Sequence[str]) -> list[Any]:
    """The calls with these contacts or their own numbers, which the CONNECTOR tells in any spelling."""
    own = [number.key for row in contacts for number in load(row["body"]).numbers if number.key and not number.company]
    theirs = {*keys, *own}
    ends = sorted({key.removeprefix("+")[-_SAME_END:] for key in theirs})
    sources, ids = [row["source"] for row in contacts], [row["id"] for row in contacts]
    calls = await connection.fetch(SQL["workflows"], tenant.name, ends, sources, ids, _SAME_END)

    def of_them(number: str) -> bool:
        return not theirs.isdisjoint(numbers.readings(number, tenant.region, tenant.internal_digits))

    return [row for row in calls if row["theirs"] or of_them(row["number"])]


def _of_user(user: PhoneUser) -> list[Found]:
    if not user.is_account:
        return [Found("user", f"{user.source}:{user.id}")]
    devices = [Found("device", f"{user.id}: {device or '(none)'}") for device in user.devices]
    return [Found("account", user.id), *devices]


async def forget(
    db: Store, tenant: Tenant, who: Who, jobs: Mapping[str, sync.Job], takers: Mapping[str, Taker]
) -> tuple[Traces, Wiped]:
    """Erase a person and keep them out; what was found, and what daemons threw away beside the database.

    `jobs`: of every source, also of those that are retired; `takers`: the sinks that take extensions. First the hashes,
    so that no run that begins from now on brings anything; then accounts, and source by source and after a run under
    way, what is held; last what daemons keep in memory and in files.
    """
    async with db.pooled() as connection:
        before = await find(connection, tenant, who)
        async with connection.transaction():
            await forgotten.keep_out(connection, tenant.name, (*who.words, *before.ids))
            await connection.execute(SQL["erase_workflows"], tenant.name, list(before.workflows))
    for user in before.users:
        if user.is_account:
            await saving.delete(db, tenant.name, user.id, takers)
    for job in jobs.values():
        async with store.locked(db, "source", tenant.name, job.source) as session:
            assert session is not None
            async with session.transaction():
                now = await find(session, tenant, who)
                mine = [id for source, id in (*now.contacts, *before.contacts) if source == job.source]
                gone = [id for source, id in now.removed if source == job.source]
                await _erase(session, job, mine, gone)
                users = [one.id for one in (*now.users, *before.users) if one.source == job.source]
                await _erase_users(session, job, users, takers)
    await db.execute(SQL["blank_extensions"], tenant.name, sorted(before.extensions))
    return before, await wiping.ask(db, tenant.name)


async def _erase(session: Connection, job: sync.Job, ids: Sequence[str], removed: Sequence[str]) -> None:
    if ids:
        # A source that nothing is taken from stays as it is, and so do the phone books of it.
        await approval.let_go(session, job, ids)
    await session.execute(SQL["erase_copies"], job.tenant, job.source, [*ids, *removed])


async def _erase_users(session: Connection, job: sync.Job, ids: Sequence[str], takers: Mapping[str, Taker]) -> None:
    if not ids:
        return
    await session.execute("select pg_advisory_xact_lock($1)", store.lock_key("commit", job.tenant))
    await session.execute(SQL["erase_copies"], job.tenant, job.source, [f"user:{id}" for id in ids])
    await extensions.amend_users(session, job.tenant, job.source, [], ids)
    for sink, taker in takers.items():
        await extensions.settle(session, job.tenant, sink, taker)


async def undo(db: Store, tenant: str, who: Who) -> bool:
    """Let the person in again with the next full run; False where they were not kept out."""
    async with db.pooled() as connection, connection.transaction():
        return bool(await forgotten.let_in(connection, tenant, who.words))
