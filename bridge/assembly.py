"""From the configuration to the parts that it asks for: jobs, sources, outboxes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import orjson

from bridge import entries, keys, normalise, numbers, sinks, sources, store
from bridge.config import Config, Tenant
from bridge.contact import Contact
from bridge.outbox import Outbox
from bridge.sinks import Entry, Sink, ccm
from bridge.sources import Source
from bridge.store import Store
from bridge.sync import Job

SQL = store.queries("assembly")
_NOT_RULES = frozenset({"every", "full", "label", "logo", "guard", "timeout", "ca", "verify", "overlap", "quota"})
"""Keys of a source that change nothing of what is read."""


def job(tenant: Tenant, source: str) -> Job:
    """What a run of this source needs to know."""
    table = tenant.sources[source]
    takers = {name: takes(tenant, name) for name, sink in tenant.sinks.items() if sink.contacts}
    return Job(
        tenant=tenant.name,
        source=source,
        region=table.region,
        rules=rules(tenant, table),
        internal_digits=tenant.internal_digits,
        guard=table.guard,
        sinks={name: order for name, order in takers.items() if source in order},
    )


def leftover(tenant: Tenant, source: str) -> Job:
    """The job that lets go of a source which left the file (`approval.dismiss`)."""
    takers = {name: takes(tenant, name) for name, sink in tenant.sinks.items() if sink.contacts}
    return Job(tenant.name, source, region="", rules=b"", sinks=takers)


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


@dataclass(frozen=True, slots=True)
class Delivery:
    """A sink and its outbox."""

    sink: Sink
    outbox: Outbox


def delivery(db: Store, tenant: Tenant, name: str) -> Delivery:
    """The sink as configured, with its outbox."""
    table = tenant.sinks[name]
    sink = sinks.load(table.type, name, table)

    def render(contact: Contact, kind: str, key: str) -> Entry:
        spelled = numbers.spell(key, table.numbers, tenant.region)
        return ccm.render(contact.first_name, contact.last_name, contact.display_name, contact.company, kind, spelled)

    outbox = Outbox(db, tenant.name, name, sink, render, concurrency=table.concurrency, timeout=table.timeout)
    return Delivery(sink, outbox)


async def enrol(db: Store, config: Config) -> None:
    """Tell the database which sources there are and in which order, and recompute sinks whose policy changed.

    A source that left the file keeps its contacts, ranked last, until `bridge approve` lets them go: a table lost or
    renamed by mistake takes nothing away.
    """
    for tenant in config.tenants.values():
        names = list(tenant.sources)
        kinds = [table.type for table in tenant.sources.values()]
        moved = await db.execute(SQL["enrol"], tenant.name, names, kinds)
        if await db.execute(SQL["retire"], tenant.name, names) or moved:
            await db.execute("select pg_notify($1, $2)", store.CHANNEL, orjson.dumps([tenant.name]).decode())
        await db.execute(SQL["forget_empty"], tenant.name)
        for name, sink in tenant.sinks.items():
            if sink.contacts:
                spelling = f"{sink.numbers} {tenant.region}"
                await entries.follow_policy(db, tenant.name, name, takes(tenant, name), spelling)
