"""One run of one source: read, stage, diff, judge, commit.

A run commits all that it read together with its cursor, or it changes nothing. Unchanged records cost no write to a
contact and no push. What a run would take away is counted before anything is written.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import orjson

from bridge import claims, entries, errors, extensions, forgotten, log, losses, numbers, store, totals
from bridge.claims import Claim
from bridge.contact import User, load
from bridge.extensions import Taker
from bridge.keys import Guard
from bridge.sources import Page, Source, Versions, WithUsers
from bridge.staging import Staging
from bridge.store import Connection, Store

SQL = store.queries("sync")
_LOG = log.get()
_NAMED_NUMBERS = 5_000
"""Changed numbers up to which a commit names each of them to the caches; beyond, it says that any may have changed."""
_MANY = 1_000
"""Changes after which the database's statistics are renewed at once."""
_SHOWN_CHANGES = 1_000
"""Changes that a dry run lists."""

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Job:
    """What a run needs to know of its source.

    `rules` stands for everything but the data that shapes its contacts; `sinks` maps each sink that takes contacts from
    this source to its sources, the best first; `users`: the CRM's users are read too, for the sinks in `extensions`,
    those with an extension of more than `internal_digits` only where not `by_length`.
    """

    tenant: str
    source: str
    region: str
    rules: bytes
    internal_digits: int = 5
    guard: Guard = field(default_factory=Guard)
    sinks: Mapping[str, Sequence[str]] = field(default_factory=dict)
    users: bool = False
    by_length: bool = False
    extensions: Mapping[str, Taker] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Report:
    """What one run did: counts of contacts, seconds of wall time. `would` lists a dry run's changes.

    `new_hold`: something is held now that was not before.
    """

    source: str
    read: int = 0
    added: int = 0
    changed: int = 0
    removed: int = 0
    unchanged: int = 0
    refused: int = 0
    held: int = 0
    seconds: float = 0.0
    error: str = ""
    full: bool = False
    why_held: str = ""
    new_hold: bool = False
    notes: tuple[str, ...] = ()
    would: tuple[Mapping[str, str], ...] = ()

    def public(self) -> dict[str, Any]:
        """The fields that `bridge sync --json` promises."""
        names = ("source", "read", "added", "changed", "removed", "unchanged", "refused", "held", "seconds", "error")
        return {name: getattr(self, name) for name in names}


async def run(
    db: Store,
    job: Job,
    source: Source,
    *,
    full: bool = False,
    dry: bool = False,
    progress: Progress | None = None,
    claim: Claim | None = None,
) -> Report:
    """Read a source and commit what changed; waits for a run of the same source that is under way.

    Nothing is committed that `claim` does not hold. Raises what the source raises (Denied, Unavailable) after noting it
    in the source's row; nothing else changed.
    """
    started, clock = datetime.datetime.now(datetime.UTC), time.monotonic()
    db = db.of(job.tenant)
    try:
        async with store.locked(db, "source", job.tenant, job.source) as session:
            assert session is not None
            report, lost = await _read_and_commit(
                session, job, source, full=full, dry=dry, progress=progress, claim=claim
            )
            report = replace(report, seconds=round(time.monotonic() - clock, 3))
            if not dry:
                await _log(session, job, started, report, lost)
            return report
    except Exception as fault:
        known = isinstance(fault, errors.BridgeError)
        if not known:
            _LOG.exception("run.crashed", source=job.source, tenant=job.tenant)
        why = str(fault) if known else f"a fault of bridge's own ({type(fault).__name__}): its log says where"
        if not dry:
            failure = Report(job.source, seconds=time.monotonic() - clock, error=why, full=full)
            await _note_failure(db, job, started, failure, claim, denied=isinstance(fault, errors.Denied))
        if known:
            raise
        # One source that cannot be read, for whatever reason, is that source's alone.
        raise errors.Unavailable(why) from fault


async def _note_failure(
    db: Store, job: Job, started: datetime.datetime, failure: Report, claim: Claim | None, *, denied: bool
) -> None:
    """The source's row says why the run failed; where the database is away too, the log alone does."""
    with contextlib.suppress(errors.Unavailable):
        async with db.pooled() as connection, connection.transaction():
            await claims.hold(claim, connection)
            await connection.execute(SQL["failed"], job.tenant, job.source, failure.error, denied)
            await _log(connection, job, started, failure, 0, denied)


async def _log(
    connection: Connection, job: Job, started: datetime.datetime, report: Report, lost: int, denied: bool = False
) -> None:
    counts = (report.read, report.added, report.changed, report.removed, report.unchanged, report.refused)
    await connection.execute(
        SQL["log_run"],
        job.tenant,
        job.source,
        started,
        report.seconds,
        report.full,
        *counts,
        lost,
        report.held,
        report.error,
    )
    await connection.execute(SQL["prune_runs"], job.tenant, job.source)
    result = ("denied" if denied else "failed") if report.error else "held" if report.held else "done"
    events = {
        f"record.{name}": getattr(report, name) for name in ("added", "changed", "removed", "unchanged", "refused")
    }
    await totals.add(connection, job.tenant, "source", job.source, {f"run.{result}": 1, **events})


async def _read_and_commit(
    session: Connection,
    job: Job,
    source: Source,
    *,
    full: bool,
    dry: bool,
    progress: Progress | None,
    claim: Claim | None,
) -> tuple[Report, int]:
    state = await session.row(SQL["source"], job.tenant, job.source)
    afresh = full or state is None or bytes(state["rules"]) != job.rules
    since = None if afresh or state["cursor"] is None else orjson.loads(state["cursor"])
    kept_out = await forgotten.load(session, job.tenant)
    staging = Staging(
        session,
        job.tenant,
        job.source,
        region=job.region,
        internal_digits=job.internal_digits,
        rules=job.rules,
        empty=not await session.value(SQL["holds_any"], job.tenant, job.source),
        forgotten=kept_out,
    )
    await staging.prepare()
    last, notes = await _read(source, since, staging, trust=not afresh, progress=progress)
    found = await cast("WithUsers", source).users() if job.users else ()
    if job.by_length:
        found = [user for user in found if numbers.is_internal(user.extension, job.internal_digits)]
    users = [user for user in found if not kept_out.keeps_out_user(job.source, user)]
    report = Report(job.source, read=staging.read, full=last.complete, notes=tuple(notes))
    return await _commit(session, job, report, last, users, staging, claim, dry=dry)


async def _nothing_known(_listed: Versions) -> set[str]:
    return set()


async def _read(
    source: Source, since: Any, staging: Staging, *, trust: bool, progress: Progress | None
) -> tuple[Page, list[str]]:
    """Stage every page; the last one, and the notes of all. One page is read while the one before is staged."""
    last: Page | None = None
    notes: list[str] = []
    pages: AsyncIterator[Page] = source.read(since, staging.known if trust else _nothing_known)
    under_way: asyncio.Task[None] | None = None
    try:
        async for page in pages:
            if under_way:
                await under_way
            if last is not None and last.cursor is not None:
                raise errors.Unavailable("the source went on after its last page")
            last = page
            notes.extend(page.notes)
            if progress:
                progress(staging.read)
            under_way = asyncio.create_task(staging.add(page))
            await asyncio.sleep(0)
        if under_way:
            await under_way
    finally:
        if under_way:
            under_way.cancel()
            await asyncio.gather(under_way, return_exceptions=True)
    if last is None or last.cursor is None:
        raise errors.Unavailable("the source stopped before its last page")
    return last, notes


async def _commit(
    session: Connection,
    job: Job,
    report: Report,
    last: Page,
    users: Sequence[User],
    staging: Staging,
    claim: Claim | None,
    *,
    dry: bool,
) -> tuple[Report, int]:
    """Everything of the run in one transaction; the report, and the losses that it let through."""
    key = (job.tenant, job.source)
    await session.execute(SQL["analyze"])
    async with session.transaction():
        await claims.hold(None if dry else claim, session)
        await session.execute(SQL["diff_staged"], *key)
        await session.execute(SQL["diff_gone"], *key)
        if last.complete:
            await session.execute(SQL["whole"])
            await session.execute(SQL["diff_absent"], *key, staging.spared)
            await session.execute(SQL["by_key"])
        await session.execute(SQL["analyze_change"])
        # Whoever changes contacts writes down how many there are; a complete run looks at them all anyway.
        before = await session.value(SQL["count" if last.complete else "noted_count"], *key) or 0
        tally = await session.row(SQL["tally"])
        lately = await session.value(SQL["lost_lately"], *key)
        after = before + tally["added"] - tally["removed"]
        why = losses.judge(tally["losses"], lately, before, after, job.guard)
        if dry:
            report = replace(_counted(report, tally, after), why_held=why, held=tally["losses"] if why else 0)
            report = replace(report, refused=await _would_refuse(session, key, complete=last.complete))
            return replace(
                report, would=await _would(session, job), notes=(*report.notes, *_odd(staging.odd_numbers))
            ), 0
        lost = tally["losses"]
        if why:
            new = await session.execute(SQL["hold"], *key) and await session.value(SQL["newly_held"], *key)
            report, lost = replace(report, held=lost, why_held=why, new_hold=bool(new)), 0
            tally = await session.row(SQL["tally"])
            after = before + tally["added"] - tally["removed"]
        else:
            await session.execute(SQL["end_hold"], *key)
        await session.execute(SQL["note_unreadable"], *key)
        await session.execute(SQL["clear_unreadable"], *key, last.complete)
        await apply(session, job)
        if job.users:
            report = await _keep_users(session, job, users, report)
        cursor = None if why else orjson.dumps(dict(last.cursor or {})).decode()
        changes = tally["added"] + tally["changed"] + tally["removed"]
        if changes > _MANY:
            await session.execute(SQL["analyze_all"])
        notes = [*report.notes, *([f"held: {report.why_held}"] if report.why_held else [])]
        notes += _odd(await session.value(SQL["odd"], *key))
        await session.execute(SQL["done"], *key, cursor, job.rules, after, last.complete, changes > 0, notes)
        refused = await session.value(SQL["unreadable"], *key)
    return replace(_counted(report, tally, after), refused=refused, notes=tuple(notes)), lost


def _odd(count: int | None) -> list[str]:
    """What is said of so many numbers that are none."""
    return [f"{count} numbers are kept as written and not pushed: they are no phone numbers"] if count else []


async def _would_refuse(session: Connection, key: tuple[str, str], *, complete: bool) -> int:
    """How many records would stand as unreadable; nothing of it stays."""
    with contextlib.suppress(_Undone):
        async with session.transaction():
            await session.execute(SQL["note_unreadable"], *key)
            await session.execute(SQL["clear_unreadable"], *key, complete)
            refused: int = await session.value(SQL["unreadable"], *key)
            raise _Undone
    return refused


class _Undone(Exception):
    """A transaction that was only to be looked at."""


def _counted(report: Report, tally: Mapping[str, int], after: int) -> Report:
    added, changed, removed = tally["added"], tally["changed"], tally["removed"]
    return replace(report, added=added, changed=changed, removed=removed, unchanged=after - added - changed)


async def apply(session: Connection, job: Job) -> None:
    """Carry out the staged change: contacts, numbers, what the sinks should hold, and word to the caches.

    One at a time within a tenant: who owns a number is decided in sight of all other sources' contacts.
    """
    key = (job.tenant, job.source)
    changes = await session.value(SQL["changes"])
    if not changes:
        return
    await session.execute("select pg_advisory_xact_lock($1)", store.lock_key("commit", job.tenant))
    await session.execute(SQL["count_odd"], *key)
    await session.execute(SQL["stage_old"], job.tenant)
    await session.execute(SQL["analyze_old"])
    if job.sinks or changes <= _NAMED_NUMBERS:
        await session.execute(SQL["touch_old"])
        await session.execute(SQL["touch_new"])
    await session.execute(SQL["forget_removed"], *key)
    await session.execute(SQL["keep_removed"], job.tenant)
    for step in ("drop_numbers", "remove", "mark", "change"):
        await session.execute(SQL[step], job.tenant)
    await session.execute(SQL["add"], *key)
    await session.execute(SQL["add_numbers"], job.tenant)
    for sink, sources in job.sinks.items():
        await entries.settle_owners(session, job.tenant, sink, sources)
    await _tell(session, job.tenant, changes)


async def _keep_users(session: Connection, job: Job, users: Sequence[User], report: Report) -> Report:
    """Keep the CRM's users as read, and say what is held of them as well."""
    guard = job.guard if any(taker.delete for taker in job.extensions.values()) else None
    held = await extensions.keep_users(session, job.tenant, job.source, users, guard)
    await settle_extensions(session, job)
    why = "; ".join(filter(None, (report.why_held, held.why)))
    return replace(report, held=report.held + held.count, why_held=why, new_hold=report.new_hold or held.new)


async def settle_extensions(session: Connection, job: Job) -> None:
    """Decide anew which extensions the sinks should hold that take from this source."""
    if job.extensions:
        await session.execute("select pg_advisory_xact_lock($1)", store.lock_key("commit", job.tenant))
    for sink, taker in job.extensions.items():
        await extensions.settle(session, job.tenant, sink, taker)


async def _tell(session: Connection, tenant: str, changes: int) -> None:
    """Name the numbers that changed to every cache of answers, when and if this commits."""
    many = changes > _NAMED_NUMBERS
    rows = [] if many else await session.fetch(SQL["touched"], _NAMED_NUMBERS + 1)
    numbers = [row["number"] for row in rows]
    if many or len(numbers) > _NAMED_NUMBERS:
        await session.execute("select pg_notify($1, $2)", store.CHANNEL, orjson.dumps([tenant]).decode())
        return
    for start in range(0, len(numbers), 200):
        payload = orjson.dumps([tenant, *numbers[start : start + 200]]).decode()
        await session.execute("select pg_notify($1, $2)", store.CHANNEL, payload)


async def _would(session: Connection, job: Job) -> tuple[Mapping[str, str], ...]:
    rows = await session.fetch(SQL["would"], job.tenant, _SHOWN_CHANGES)
    return tuple(
        {"source": job.source, "change": row["fate"], "id": row["id"], "name": load(row["old"] or row["body"]).name}
        for row in rows
    )
