"""`bridge approve` and `bridge restore`: let losses through, or undo them."""

from __future__ import annotations

import contextlib
import datetime
import re
from collections.abc import Mapping
from typing import Annotated

import typer

from bridge import approval, assembly, phonebooks
from bridge.approval import Waiting
from bridge.cli import delivery, options, output, session
from bridge.config import Config, Tenant
from bridge.store import Store

_PATIENCE = 30.0
_KEPT = datetime.timedelta(days=7)
_UNITS = {"s": "seconds", "m": "minutes", "min": "minutes", "h": "hours", "d": "days"}
_LOSSES = {
    "removed": "the contact would go",
    "number": "its last number would go",
    "name": "its name would go",
    "extension": "the extension would go",
}


def approve(
    source: options.SourceName,
    listed: Annotated[bool, typer.Option("--list", help="Show what is held, and change nothing.")] = False,
    as_json: options.AsJson = False,
    tenant: options.TenantName = options.MAIN,
    config: options.ConfigFile = None,
) -> None:
    """Let through what is held of a source.

    What the last --list showed, or all if nothing was shown; of a source that left the configuration, all that it
    brought. Then waits until the sinks know. Exit code 3:
    something is still held; 1: a sink did not take its pushes.
    """
    told = session.load(config)
    place = options.tenant(told, tenant)
    if listed:
        _show(session.run(_held(told, place, source)), as_json)
        return
    done, undelivered = session.run(_approve(told, place, source))
    if as_json:
        output.document({"source": source, **{key: done[key] for key in ("removed", "changed", "held")}})
    else:
        output.say(output.line(source, [(key, done[key]) for key in ("removed", "changed", "held")]))
    if done["held"]:
        output.tell(f"{source}: {done['held']} losses came after the list was shown and wait: see --list")
    raise typer.Exit(_told(undelivered) or (output.HELD if done["held"] else output.DONE))


def restore(
    source: options.SourceName,
    since: Annotated[
        str,
        typer.Option(
            "--since",
            metavar="TIME",
            help='What was removed since then: "2h", "1d", "14:30" today, or ISO 8601 (local time without a zone). '
            "Default: all that is kept, 7 days.",
        ),
    ] = "7d",
    as_json: options.AsJson = False,
    tenant: options.TenantName = options.MAIN,
    config: options.ConfigFile = None,
) -> None:
    """Bring removed contacts back.

    Until the next full run says otherwise. Waits until the sinks know. Exit code 1: a sink did not take its pushes.
    """
    told = session.load(config)
    place = options.tenant(told, tenant)
    name = options.one_of(source, place.sources, "source")
    restored, undelivered = session.run(_restore(told, place, name, moment(since)))
    if as_json:
        output.document({"source": name, "restored": restored})
    else:
        output.say(output.line(name, [("restored", restored)]))
    raise typer.Exit(_told(undelivered))


def moment(text: str, now: datetime.datetime | None = None) -> datetime.datetime:
    """The time that a text means: so long ago, a time of today, or ISO 8601; never more than 7 days ago."""
    now = (now or datetime.datetime.now()).astimezone()
    text = text.strip()
    if ago := re.fullmatch(r"(\d{1,6})\s*(s|m|min|h|d)", text):
        then = now - min(datetime.timedelta(**{_UNITS[ago[2]]: int(ago[1])}), _KEPT)
    elif clock := re.fullmatch(r"(\d{1,2}):(\d{2})(?::(\d{2}))?", text):
        hour, minute, second = (int(part or 0) for part in clock.groups())
        try:
            then = now.replace(hour=hour, minute=minute, second=second, microsecond=0)
        except ValueError:
            raise _no_time(text) from None
    else:
        try:
            then = datetime.datetime.fromisoformat(text).astimezone()
        except (ValueError, OverflowError):
            raise _no_time(text) from None
    if then > now:
        raise typer.BadParameter(f'"{text}" is in the future', param_hint="--since")
    return max(then, now - _KEPT)


def _no_time(text: str) -> typer.BadParameter:
    right = 'right is "2h", "1d", "14:30" or "2025-01-31T14:30"'
    return typer.BadParameter(f'"{text}" is no time, {right}', param_hint="--since")


async def _is_left(db: Store, told: Config, tenant: Tenant, source: str) -> bool:
    """Whether the source left the configuration, and what it brought is still there."""
    await delivery.enrol(db, told)
    left = await approval.retired(db, tenant.name)
    return options.one_of(source, (*tenant.sources, *left), "source") not in tenant.sources


async def _held(told: Config, tenant: Tenant, source: str) -> list[Waiting]:
    async with session.opened(told) as db:
        if not await _is_left(db, told, tenant, source):
            return await approval.held(db, tenant.name, source, shown=True)
        now = datetime.datetime.now(datetime.UTC)
        async with contextlib.aclosing(phonebooks.stream(db, tenant.name, [source])) as pages:
            return [Waiting(one.id, one.name, "removed", now) async for page in pages for one in page]


def _show(waiting: list[Waiting], as_json: bool) -> None:
    if as_json:
        output.document({"held": waiting})
        return
    output.table(("id", "name", "loss", "since"), [(w.id, w.name, _LOSSES[w.loss], w.since) for w in waiting])
    if not waiting:
        output.tell("nothing is held")


async def _approve(told: Config, tenant: Tenant, source: str) -> tuple[Mapping[str, int], Mapping[str, str]]:
    async with session.opened(told) as db:
        if await _is_left(db, told, tenant, source):
            done = await approval.dismiss(db, assembly.leftover(tenant, source))
        else:
            done = await approval.approve(db, assembly.job(tenant, source))
        return done, await delivery.deliver(db, told, tenant, _PATIENCE)


async def _restore(
    told: Config, tenant: Tenant, source: str, since: datetime.datetime
) -> tuple[int, Mapping[str, str]]:
    async with session.opened(told) as db:
        done = await approval.restore(db, assembly.job(tenant, source), since)
        return done["added"], await delivery.deliver(db, told, tenant, _PATIENCE)


def _told(undelivered: Mapping[str, str]) -> int:
    """Say which sinks did not take their pushes; the exit code for it."""
    for sink, reason in undelivered.items():
        output.tell(f"{sink}: has not taken its pushes yet: {reason}")
    return output.FAILED if undelivered else output.DONE
