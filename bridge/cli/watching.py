"""`bridge status` and `bridge refused`: how it goes, and what is not taken."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer

from bridge import asks, pace, status
from bridge.cli import delivery, options, output, session
from bridge.config import Config, Tenant
from bridge.status import Refusal, SinkState, SourceState, Status, Unreadable

_MOST = 100
"""Sources and sinks that are shown to people; of more the worst."""
_PATIENCE = 30.0
_SOURCE_COLUMNS = ("source", "type", "contacts", "read", "in full", "next", "held", "unreadable", "state")
_SINK_COLUMNS = ("sink", "type", "waiting", "oldest", "refused", "last ok", "state")


def show(
    as_json: options.AsJson = False,
    tenant: options.AnyTenant = "",
    config: options.ConfigFile = None,
) -> None:
    """Show how sources and sinks fare.

    What waits, what is held, what fails, what was refused, and since when; of very many sources and sinks the worst.
    """
    told = session.load(config)
    places = options.tenants(told, tenant)
    found, daemon = session.run(_read(told, places))
    due = {one: _due(told, one) for one in found.sources} if daemon else {}
    if as_json:
        output.document(_document(found, daemon, due))
        return
    many = len(places) > 1
    shown = status.worst(found, _MOST)
    output.say(f"daemon: {'runs' if daemon else 'does not run'}")
    output.table(_SOURCE_COLUMNS, [_source(one, due.get(one), many) for one in shown.sources])
    output.table(_SINK_COLUMNS, [_sink(one, many) for one in shown.sinks])
    _tell_more(shown, many)
    if len(found.sources) > _MOST or len(found.sinks) > _MOST:
        output.say(
            f"of {len(found.sources)} sources and {len(found.sinks)} sinks the worst {_MOST} are shown:"
            " --tenant NAME shows all of one tenant, --json all there are"
        )


async def _read(told: Config, places: Sequence[Tenant]) -> tuple[Status, bool]:
    async with session.opened(told) as db:
        return await status.read(db, places), await asks.daemon_works(db)


def _due(told: Config, one: SourceState) -> datetime.datetime | None:
    """When the daemon looks at it again; None for a source that is not configured."""
    if not one.configured:
        return None
    if one.tried_at is None:
        return datetime.datetime.now(datetime.UTC)
    every = told.tenants[one.tenant].sources[one.source].every
    return one.tried_at + datetime.timedelta(seconds=pace.interval(every, one.failures, denied=one.denied))


def _document(found: Status, daemon: bool, due: dict[SourceState, datetime.datetime | None]) -> dict[str, Any]:
    sources = [{**asdict(one), "due_at": due.get(one)} for one in found.sources]
    return {"daemon": daemon, "sources": sources, "sinks": found.sinks}


def _name(tenant: str, name: str, many: bool) -> str:
    return f"{tenant}/{name}" if many else name


def _source(one: SourceState, due: datetime.datetime | None, many: bool) -> list[output.Value]:
    state = "denied" if one.denied else "failing" if one.error else "held" if one.held else "ok"
    if not one.configured:
        state = "not configured"
    elif one.tried_at is None:
        state = "never read"
    name = _name(one.tenant, one.source, many)
    times = (one.read_at, one.full_at, due)
    return [name, one.type, one.contacts, *times, one.held, len(one.unreadable), state]


def _sink(one: SinkState, many: bool) -> list[output.Value]:
    state = f"denied {one.denied}" if one.denied else "failing" if one.error else "ok"
    name = _name(one.tenant, one.sink, many)
    return [name, one.type, one.waiting, one.waiting_since, one.refused, one.ok_at, state]


def _tell_more(found: Status, many: bool) -> None:
    """What does not fit into a column, each in a line that begins with the name."""
    for source in found.sources:
        name = _name(source.tenant, source.source, many)
        if source.error:
            output.say(f"{name}: failing since {_when(source.failing_since)}: {source.error}")
        if source.held:
            why = f": {source.why_held}" if source.why_held else ""
            output.say(f"{name}: {source.held} losses held since {_when(source.held_since)}{why}")
        if not source.configured:
            what = f"its {source.contacts} contacts stay until bridge approve {source.source}"
            output.say(f"{name}: left the configuration: {what}")
        for note in source.notes:
            output.say(f"{name}: note: {note}")
        for line in output.some(f"{name}: unreadable", [(bad.id, bad.reason) for bad in source.unreadable]):
            output.say(line)
    for sink in found.sinks:
        if sink.error:
            name = _name(sink.tenant, sink.sink, many)
            output.say(f"{name}: failing since {_when(sink.failing_since)}: {sink.error}")


def _when(when: datetime.datetime | None) -> str:
    return output.age(when) if output.for_people() else output.plain(when or "")


def refused(
    retry: Annotated[bool, typer.Option("--retry", help="Have the sinks asked again, and wait.")] = False,
    as_json: options.AsJson = False,
    tenant: options.AnyTenant = "",
    config: options.ConfigFile = None,
) -> None:
    """Show what was refused, and with which error code.

    By the sinks; and the records of sources that cannot be read. Each is tried again by itself when it changes;
    --retry tries what sinks refused now. An unreadable record is read again by `bridge sync --full`. Exit code 1:
    with --retry, a sink did not answer.
    """
    told = session.load(config)
    places = options.tenants(told, tenant)
    refusals, unreadable, undelivered = session.run(_refused(told, places, retry))
    if as_json:
        output.document({"refused": refusals, "unreadable": unreadable})
    else:
        many = len(places) > 1
        output.table(
            ("sink", "number", "name", "code", "reason", "since"),
            [(_name(r.tenant, r.sink, many), r.number, r.name, r.code, r.reason, r.since) for r in refusals],
        )
        output.table(
            ("source", "unreadable", "reason", "since"),
            [(_name(u.tenant, u.source, many), u.id, u.reason, u.since) for u in unreadable],
        )
    for reason in undelivered:
        output.tell(reason)
    raise typer.Exit(output.FAILED if undelivered else output.DONE)


async def _refused(
    told: Config, places: Sequence[Tenant], retry: bool
) -> tuple[list[Refusal], list[Unreadable], list[str]]:
    undelivered = []
    async with session.opened(told) as db:
        if retry and await status.retry(db, places):
            for place in places:
                late = await delivery.deliver(db, told, place, _PATIENCE)
                undelivered += [f"{sink}: not asked yet: {reason}" for sink, reason in late.items()]
        found = await status.read(db, places)
        return await status.refusals(db, places), [bad for one in found.sources for bad in one.unreadable], undelivered
