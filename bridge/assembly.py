"""From the configuration to the parts that it asks for: jobs, sources, outboxes."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from bridge import entries, errors, extensions, keys, normalise, numbers, sinks, sources, store
from bridge.claims import Claim
from bridge.config import Config, Tenant
from bridge.contact import Contact
from bridge.extension_outbox import ExtensionOutbox
from bridge.extensions import Taker
from bridge.outbox import Outbox
from bridge.sinks import Entry, Sink, ccm
from bridge.sources import Source
from bridge.store import Connection, Store
from bridge.sync import Job

SQL = store.queries("assembly")
_NOT_RULES = frozenset({"every", "full", "label", "logo", "guard", "timeout", "ca", "verify", "overlap", "quota"})
"""Keys of a source that change nothing of what is read."""
_AT_ONCE = 200
"""Tenants whose commits wait for one transaction."""


def job(tenant: Tenant, source: str) -> Job:
    """What a run of this source needs to know."""
    table = tenant.sources[source]
    takers = {name: takes(tenant, name) for name, sink in tenant.sinks.items() if sink.contacts}
    with_users = isinstance(table, keys.Crm) and table.users
    return Job(
        tenant=tenant.name,
        source=source,
        region=table.region,
        rules=rules(tenant, table),
        internal_digits=tenant.internal_digits,
        guard=table.guard,
        sinks={name: order for name, order in takers.items() if source in order},
        users=with_users,
        extensions={
            name: taker for name, taker in extension_takers(tenant).items() if with_users and source in taker.sources
        },
    )


def leftover(tenant: Tenant, source: str) -> Job:
    """The job that lets go of a source which left the file (`approval.dismiss`)."""
    takers = {name: takes(tenant, name) for name, sink in tenant.sinks.items() if sink.contacts}
    return Job(tenant.name, source, region="", rules=b"", sinks=takers, extensions=extension_takers(tenant))


def extension_takers(tenant: Tenant) -> dict[str, Taker]:
    """The sinks that take extensions: of their sources' users, and last of accounts, whatever their sources are."""
    return {
        name: Taker((*takes(tenant, name), extensions.ACCOUNTS), ccm.render_extension, sink.delete_extensions)
        for name, sink in tenant.sinks.items()
        if sink.extensions
    }


def takes(tenant: Tenant, sink: str) -> tuple[str, ...]:
    """The sources that a sink takes from, the best first; "*": and last what left the file, until it is let go."""
    order = tenant.sinks[sink].sources
    return (*order, "*") if set(order) == set(tenant.sources) else order


def rules(tenant: Tenant, table: keys.SourceKeys) -> bytes:
    """16 bytes that change when anything does that shapes the contacts but the data itself; never from a secret."""
    told = {
        name: value
        for name, value in table.model_dump().items()
        if name not in _NOT_RULES and not isinstance(getattr(table, name), keys.Secret)
    }
    words = normalise.rules(table.region, tenant.internal_digits) + repr(sorted(told.items())).encode()
    return hashlib.blake2b(words, digest_size=16).digest()


def source(tenant: Tenant, name: str) -> Source:
    """The source as configured; Unsupported where this version has none of its type."""
    table = tenant.sources[name]
    return sources.load(table.type, name, table)


@contextlib.asynccontextmanager
async def opened(tenant: Tenant, name: str) -> AsyncIterator[Source]:
    """The source as configured, for the block."""
    made = source(tenant, name)
    try:
        yield made
    finally:
        await made.close()


@dataclass(frozen=True, slots=True)
class Delivery:
    """A sink and its outboxes: of contacts, of extensions, or both."""

    sink: Sink
    outboxes: Sequence[Outbox | ExtensionOutbox]

    def wake(self) -> None:
        """Something may be due."""
        for outbox in self.outboxes:
            outbox.wake()

    def rest(self) -> None:
        """End `drain` once what is under way is done."""
        for outbox in self.outboxes:
            outbox.rest()

    @property
    def idle(self) -> float:
        """Seconds since there was last something to do."""
        return min(outbox.idle for outbox in self.outboxes)

    @property
    def failing(self) -> bool:
        """Whether the last that was tried failed."""
        return any(outbox.failing for outbox in self.outboxes)

    async def drain(self) -> None:
        """Deliver until told to rest, or cancelled; raises Unavailable when the database is lost."""
        await together(outbox.drain() for outbox in self.outboxes)


def delivers(sink: keys.Ccm) -> bool:
    """Whether anything is delivered to this sink."""
    return sink.contacts or sink.extensions


def delivery(db: Store, tenant: Tenant, name: str, claim: Claim | None = None) -> Delivery:
    """The sink as configured, with its outboxes."""
    table = tenant.sinks[name]
    sink = sinks.load(table.type, name, table)

    def render(contact: Contact, kind: str, key: str) -> Entry:
        spelled = numbers.spell(key, table.numbers, tenant.region)
        return ccm.render(contact.first_name, contact.last_name, contact.display_name, contact.company, kind, spelled)

    outboxes: list[Outbox | ExtensionOutbox] = []
    if table.contacts:
        concurrency = table.concurrency
        outboxes.append(
            Outbox(db, tenant.name, name, sink, render, concurrency=concurrency, timeout=table.timeout, claim=claim)
        )
    if table.extensions:
        outboxes.append(
            ExtensionOutbox(
                db,
                tenant.name,
                name,
                sink,
                ccm.check_extension,
                delete=table.delete_extensions,
                timeout=table.timeout,
                probes=not table.contacts,
                claim=claim,
            )
        )
    return Delivery(sink, outboxes)


async def together(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Do all of it at once; the first of bridge's own errors ends the rest and is raised as itself."""
    try:
        async with asyncio.TaskGroup() as group:
            for one in work:
                group.create_task(one)
    except ExceptionGroup as faults:
        raise ours(faults) from None


async def broken_off(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel all of them, and wait until they have ended."""
    under_way = list(tasks)
    for task in under_way:
        task.cancel()
    await asyncio.gather(*under_way, return_exceptions=True)


def ours(faults: ExceptionGroup[Exception]) -> Exception:
    """The first of bridge's own errors where all of them are; else the group as it is."""
    mine, others = faults.split(errors.BridgeError)
    if mine is None or others is not None:
        return faults
    found = mine.exceptions[0]
    return ours(found) if isinstance(found, ExceptionGroup) else found


async def enrol(db: Store, config: Config, before: Config | None = None) -> None:
    """Tell the database which sources there are and in which order, and recompute sinks whose policy changed.

    `before`: what was enrolled last, if that is known; only tenants that are other objects since are looked at. A
    source that left the file keeps its contacts, ranked last, until `bridge approve` lets them go: a table lost or
    renamed by mistake takes nothing away. Neither does a tenant's file that is gone: all of its sources left.
    """
    earlier = before.tenants if before else {}
    fresh = [tenant for name, tenant in config.tenants.items() if earlier.get(name) is not tenant]
    touched = [tenant.name for tenant in fresh] + [name for name in earlier if name not in config.tenants]
    if not touched:
        return
    async with db.pooled() as connection, connection.transaction():
        await _enrol_sources(connection, fresh, touched if before else None)
    policies = {
        (tenant.name, name): _Policy(takes(tenant, name), f"{sink.numbers} {tenant.region}")
        for tenant in fresh
        for name, sink in tenant.sinks.items()
        if sink.contacts
    }
    for (tenant, name), policy in (await _unfollowed(db, policies)).items():
        await entries.follow_policy(db, tenant, name, policy.sources, policy.spelling)
    takers = {tenant.name: made for tenant in fresh if (made := extension_takers(tenant))}
    for row in await db.fetch(SQL["with_users"], list(takers)) if takers else ():
        for name, taker in takers[row["tenant"]].items():
            async with db.pooled() as connection, connection.transaction():
                await extensions.settle(connection, row["tenant"], name, taker)


async def _enrol_sources(connection: Connection, fresh: Sequence[Tenant], touched: list[str] | None) -> None:
    """The sources of these tenants and no others of those that were touched, None: of all; lookups are told."""
    rows = [(one.name, *row) for one in fresh for row in _ranked(one)]
    tenants, names, kinds, ranks = map(list, zip(*rows, strict=True)) if rows else ([], [], [], [])
    moved = await connection.fetch(SQL["enrol"], tenants, names, kinds, ranks)
    moved += await connection.fetch(SQL["retire"], touched, tenants, names)
    await connection.fetch(SQL["tell"], store.CHANNEL, sorted({row["tenant"] for row in moved}))
    await connection.execute(SQL["forget_empty"], touched)


def _ranked(tenant: Tenant) -> Iterable[tuple[str, str, int]]:
    return ((name, table.type, rank) for rank, (name, table) in enumerate(tenant.sources.items()))


class _Policy(NamedTuple):
    """What a sink's entries are computed with."""

    sources: tuple[str, ...]
    spelling: str

    @property
    def text(self) -> str:
        """As `entries.follow_policy` keeps it."""
        return entries.policy(self.sources, self.spelling)


async def _unfollowed(db: Store, policies: Mapping[tuple[str, str], _Policy]) -> Mapping[tuple[str, str], _Policy]:
    """Those that differ from what the sinks' entries were computed with; new sinks without any take theirs at once."""
    rows = await db.fetch(SQL["policies"], sorted({tenant for tenant, _ in policies}))
    known = {(row["tenant"], row["name"]): row["policy"] for row in rows}
    new = sorted(key for key in policies if key not in known)
    for chunk in (new[n : n + _AT_ONCE] for n in range(0, len(new), _AT_ONCE)):
        locks = sorted({store.lock_key("commit", tenant) for tenant, _ in chunk})
        async with db.pooled() as connection, connection.transaction():
            await connection.fetch(SQL["commit_locks"], locks)
            columns = [list(column) for column in zip(*chunk, strict=True)]
            adopted = await connection.fetch(SQL["adopt"], *columns, [policies[key].text for key in chunk])
        known |= {(row["tenant"], row["name"]): policies[row["tenant"], row["name"]].text for row in adopted}
    return {key: policy for key, policy in policies.items() if known.get(key) != policy.text}
