"""From the configuration to the parts that it asks for: jobs, sources, outboxes."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from bridge import claims, entries, errors, extensions, keys, normalise, numbers, sinks, sources, store
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
    crm = table if isinstance(table, keys.Crm) and table.users else None
    return Job(
        tenant=tenant.name,
        source=source,
        region=table.region,
        rules=rules(tenant, table),
        internal_digits=tenant.internal_digits,
        guard=table.guard,
        sinks={name: order for name, order in takers.items() if source in order},
        users=crm is not None,
        by_length=crm is not None and crm.by_length,
        extensions={name: taker for name, taker in extension_takers(tenant).items() if crm and source in taker.sources},
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
                with_contacts=table.contacts,
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
    """Tell the database which sources there are and what their sinks should hold; for a command beside no daemon."""
    await enrol_sources(db, config, before)
    await follow(db, _fresh(config, before))


async def enrol_sources(db: Store, config: Config, before: Config | None = None) -> None:
    """Tell the database which sources there are and in which order.

    `before`: what was enrolled last, if that is known; only tenants that are other objects since are looked at. A
    source that left the file keeps its contacts, ranked last, until `bridge approve` lets them go: a table lost or
    renamed by mistake takes nothing away. Neither does a tenant's file that is gone: all of its sources left.
    """
    fresh = _fresh(config, before)
    gone = [name for name in before.tenants if name not in config.tenants] if before else []
    if touched := [tenant.name for tenant in fresh] + gone:
        async with db.pooled() as connection, connection.transaction():
            await _enrol_sources(connection, fresh, touched if before else None)


def _fresh(config: Config, before: Config | None) -> Sequence[Tenant]:
    earlier = before.tenants if before else {}
    return [tenant for name, tenant in config.tenants.items() if earlier.get(name) is not tenant]


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


async def follow(
    db: Store, tenants: Iterable[Tenant], claim: Callable[[Tenant], Claim | None] = lambda _tenant: None
) -> None:
    """Recompute what the sinks of these tenants should hold where that was done by another configuration.

    Only whoever works for a tenant may do so: another daemon that has not loaded the new configuration yet would take
    what becomes due, find it spelled as it knows it, and be done with it. `claim`: what holds a tenant; where that is
    Fenced, the tenant is left to others.
    """
    told = {tenant.name: tenant for tenant in tenants}
    policies: dict[str, dict[str, _Policy]] = {}
    for (tenant, name), policy in (await _unfollowed(db, _policies(told.values()))).items():
        policies.setdefault(tenant, {})[name] = policy
    takers = {tenant.name: made for tenant in told.values() if (made := extension_takers(tenant))}
    staffed = {row["tenant"] for row in await db.fetch(SQL["with_users"], list(takers))} if takers else set()
    if not policies and not staffed:
        return
    async with db.session() as session:
        for name in policies.keys() | staffed:
            users = takers[name] if name in staffed else {}
            with contextlib.suppress(errors.Fenced):
                await _follow(session, name, policies.get(name, {}), users, claim(told[name]))


async def _follow(
    session: Connection,
    tenant: str,
    policies: Mapping[str, _Policy],
    takers: Mapping[str, Taker],
    claim: Claim | None,
) -> None:
    """Recompute the entries of these sinks of a tenant, and the extensions of those."""
    async with session.transaction():
        await session.fetch(SQL["commit_locks"], [store.lock_key("commit", tenant)])
        for name, policy in policies.items():
            await entries.follow_policy(session, tenant, name, policy.sources, policy.spelling)
        for name, taker in takers.items():
            await extensions.settle(session, tenant, name, taker)
        await claims.hold(claim, session)  # last: it may take long, and who is to have the tenant next waits for it


async def differing(db: Store, tenants: Iterable[Tenant]) -> Sequence[tuple[str, str]]:
    """The sinks of these tenants whose entries another daemon goes on computing by another configuration."""
    policies = _policies(tenants)
    rows = await db.fetch(SQL["policies_in_use"], sorted({tenant for tenant, _ in policies}))
    known = {(row["tenant"], row["name"]): row["policy"] for row in rows}
    return [key for key, policy in policies.items() if known.get(key, policy.text) != policy.text]


class _Policy(NamedTuple):
    """What a sink's entries are computed with."""

    sources: tuple[str, ...]
    spelling: str

    @property
    def text(self) -> str:
        """As `entries.follow_policy` keeps it."""
        return entries.policy(self.sources, self.spelling)


def _policies(tenants: Iterable[Tenant]) -> Mapping[tuple[str, str], _Policy]:
    return {
        (tenant.name, name): _Policy(takes(tenant, name), f"{sink.numbers} {tenant.region}")
        for tenant in tenants
        for name, sink in tenant.sinks.items()
        if sink.contacts
    }


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
