"""`bridge check`: is the configuration right, and do sources and sinks take what it says?"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from bridge import assembly, errors, migrations, sinks, store
from bridge.cli import options, output, session
from bridge.config import Config, Tenant
from bridge.sinks import Sink
from bridge.sources import Source
from bridge.store import Store


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
    config: options.ConfigFile = None,
) -> None:
    """Check the configuration, and log in to all that it names.

    Every mistake in the file is said at once; then every source and sink is tried.

    Exit code 2: the configuration is wrong; 1: a source or sink does not let us in.
    """
    told = _load(config, as_json)
    for warning in told.warnings:
        output.tell(f"warning: {warning}")
    if offline:
        if as_json:
            output.document({"ok": True, "problems": [], "warnings": told.warnings})
        else:
            output.say("ok")
        return
    kinds, found = session.run(_ask_all(told))
    failed = [one for one in found if one.error]
    if as_json:
        output.document(_document(told, kinds, found))
    else:
        many = len(told.tenants) > 1
        rows = [_row(kind, one, many) for kind, one in zip(kinds, found, strict=True)]
        output.table(("name", "kind", "result", "seconds", "said"), rows)
    for one in failed:
        output.tell(f"{one.name}: {one.error}")
    raise typer.Exit(output.FAILED if failed else output.DONE)


def _load(config: Path | None, as_json: bool) -> Config:
    """The configuration; with --json its mistakes are a document, too."""
    try:
        return session.load(config)
    except errors.ConfigError as wrong:
        if as_json:
            output.document({"ok": False, "problems": wrong.problems, "warnings": []})
        raise


def _row(kind: str, one: Checked, many: bool) -> Sequence[output.Value]:
    name = f"{one.tenant}/{one.name}" if many else one.name
    return name, kind, "failed" if one.error else "ok", one.seconds, one.error or one.said


def _document(told: Config, kinds: Sequence[str], found: Sequence[Checked]) -> dict[str, Any]:
    def of(kind: str) -> list[dict[str, Any]]:
        mine = [asdict(one) for each, one in zip(kinds, found, strict=True) if each == kind]
        return [{"tenant": one.pop("tenant"), kind: one.pop("name"), "ok": not one["error"], **one} for one in mine]

    ok = not any(one.error for one in found)
    shown = {"sources": of("source"), "sinks": of("sink"), "database": of("database")}
    return {"ok": ok, "problems": [], "warnings": told.warnings, **shown}


async def _ask_all(told: Config) -> tuple[list[str], list[Checked]]:
    """All at once; the kinds, and what was found, in the order of the file."""
    kinds, asking = [], []
    if told.database.url != "embedded":
        kinds.append("database")
        asking.append(_ask("", "database", lambda: _check_database(told)))
        if told.database.replica:
            kinds.append("database")
            asking.append(_ask("", "replica", lambda: _check_replica(told)))
    for tenant in told.tenants.values():
        for name in tenant.sources:
            kinds.append("source")
            asking.append(_ask(tenant.name, name, _checking(assembly.source, tenant, name)))
        for name in tenant.sinks:
            kinds.append("sink")
            asking.append(_ask(tenant.name, name, _checking(_sink, tenant, name)))
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
