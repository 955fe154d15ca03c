"""`bridge check`: is the configuration right, and do sources and sinks take what it says?"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from bridge import assembly, errors, migrations, sinks, slots, store
from bridge.cli import options, output, session
from bridge.config import Config, Tenant
from bridge.sinks import Sink
from bridge.sources import Source
from bridge.store import Store

_MOST, _MOST_OF_HOST = 16, 4
"""Logins at a time: of all, and to one host."""


@dataclass(frozen=True, slots=True)
class Checked:
    """One source, sink or database that was asked; `said` is its answer, `error` why it has none."""

    tenant: str
    name: str
    said: str
    error: str
    seconds: float


def check(
    offline: Annotated[bool, typer.Option("--offline", help="Only read the file; log in nowhere.")] = False,
    as_json: options.AsJson = False,
    tenant: options.AnyTenant = "",
    config: options.ConfigFile = None,
) -> None:
    """Check the configuration, and log in to all that it names.

    Every mistake in the file is said at once; then every source and sink is tried, or those of one tenant.

    Exit code 2: the configuration is wrong; 1: a source or sink does not let us in.
    """
    told = _load(config, as_json)
    places = options.tenants(told, tenant)
    for warning in told.warnings:
        output.tell(f"warning: {warning}")
    if offline:
        if as_json:
            output.document({"ok": True, "problems": [], "warnings": told.warnings})
        else:
            output.say("ok")
        return
    kinds, found = session.run(_ask_all(told, places))
    failed = [one for one in found if one.error]
    many = len(places) > 1
    if as_json:
        output.document(_document(told, kinds, found))
    else:
        rows = [_row(kind, one, many) for kind, one in zip(kinds, found, strict=True)]
        output.table(("name", "kind", "result", "seconds", "said"), rows)
    for one in failed:
        output.tell(f"{_named(one, many)}: {one.error}")
    raise typer.Exit(output.FAILED if failed else output.DONE)


def _load(config: Path | None, as_json: bool) -> Config:
    """The configuration; with --json its mistakes are a document, too."""
    try:
        return session.load(config)
    except errors.ConfigError as wrong:
        if as_json:
            output.document({"ok": False, "problems": wrong.problems, "warnings": []})
        raise


def _named(one: Checked, many: bool) -> str:
    return f"{one.tenant}/{one.name}" if many and one.tenant else one.name


def _row(kind: str, one: Checked, many: bool) -> Sequence[output.Value]:
    return _named(one, many), kind, "failed" if one.error else "ok", one.seconds, one.error or one.said


def _document(told: Config, kinds: Sequence[str], found: Sequence[Checked]) -> dict[str, Any]:
    def of(kind: str) -> list[dict[str, Any]]:
        mine = [asdict(one) for each, one in zip(kinds, found, strict=True) if each == kind]
        return [{"tenant": one.pop("tenant"), kind: one.pop("name"), "ok": not one["error"], **one} for one in mine]

    ok = not any(one.error for one in found)
    shown = {"sources": of("source"), "sinks": of("sink"), "database": of("database")}
    return {"ok": ok, "problems": [], "warnings": told.warnings, **shown}


async def _ask_all(told: Config, places: Sequence[Tenant]) -> tuple[list[str], list[Checked]]:
    """The database, and so many sources and sinks at a time; the kinds, and what was found, in the file's order."""
    kinds, asking = [], []
    room = asyncio.Semaphore(_MOST)
    hosts: dict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(_MOST_OF_HOST))

    async def in_turn(tenant: Tenant, name: str, url: str, check: Callable[[], Awaitable[str]]) -> Checked:
        # Its host's first: of a host that hangs, few hold what is everybody's.
        async with hosts[slots.host(url)], room:
            return await _ask(tenant.name, name, check)

    if told.database.url != "embedded":
        kinds.append("database")
        asking.append(_ask("", "database", lambda: _check_database(told)))
        if told.database.replica:
            kinds.append("database")
            asking.append(_ask("", "replica", lambda: _check_replica(told)))
    for tenant in places:
        for name, source in tenant.sources.items():
            kinds.append("source")
            asking.append(in_turn(tenant, name, getattr(source, "url", ""), _checking(assembly.source, tenant, name)))
        for name, sink in tenant.sinks.items():
            kinds.append("sink")
            asking.append(in_turn(tenant, name, sink.url, _checking(_sink, tenant, name)))
    return kinds, list(await asyncio.gather(*asking))


def _checking(make: Callable[[Tenant, str], Source | Sink], tenant: Tenant, name: str) -> Callable[[], Awaitable[str]]:
    async def checking() -> str:
        made = make(tenant, name)
        try:
            return await made.check()
        finally:
            await made.close()

    return checking


def _sink(tenant: Tenant, name: str) -> Sink:
    table = tenant.sinks[name]
    return sinks.load(table.type, name, table)


async def _check_database(told: Config) -> str:
    db = Store(told.database.url[:], size=1, name="bridge check")
    async with db.session() as session:
        found = await store.version(session)
        loose = await migrations.unheld(session)
    said = f"PostgreSQL answers, with schema {found} of {store.VERSION}"
    return f"{said}; warning: {loose}" if loose else said


async def _check_replica(told: Config) -> str:
    replica = Store(told.database.replica[:], size=1, name="bridge check", standby=True)
    async with replica.session() as session:
        behind = await session.value("select extract(epoch from now() - pg_last_xact_replay_timestamp())::int")
    return f"a standby answers; the last change that it has replayed is {behind or 0} s old"


async def _ask(tenant: str, name: str, check: Callable[[], Awaitable[str]]) -> Checked:
    started = time.monotonic()
    said = error = ""
    try:
        said = await check()
    except errors.BridgeError as fault:
        error = str(fault)
    return Checked(tenant, name, said, error, round(time.monotonic() - started, 3))
