"""The working process: runs sources when they are due, drains sinks, and does the runs that commands ask for.

It shares nothing with the answering process but the database. Whatever fails in one source or sink is that one's
alone; the database gone, all of them wait for it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import uvloop

from bridge import asks, assembly, config, errors, kept, log, pace, pushes, store, sync
from bridge.assembly import Delivery
from bridge.config import Config, Tenant
from bridge.sources import Source
from bridge.store import Store
from bridge.workflow_queue import Queue

_LOG = log.get()
_AT_ONCE = 4
"""Runs of sources at the same time."""
_GIVE_UP = 78
"""The exit code for what no restart mends, such as a database newer than this program (EX_CONFIG)."""


class Unit:
    """Everything that one configuration asks to be done, until it is cancelled."""

    def __init__(self, db: Store, told: Config) -> None:
        self._db = db
        self._told = told
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._deliveries: list[Delivery] = []
        self._sources: dict[tuple[str, str], Source] = {}

    async def run(self) -> None:
        """Bring the database to this version, enrol the sources, then work for ever."""
        await _outlast("migrate", lambda: store.migrate(self._db), once=True)
        await _outlast("enrol", lambda: assembly.enrol(self._db, self._told), once=True)
        try:
            await self._work()
        finally:
            for source in self._sources.values():
                await source.close()

    async def _work(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(_outlast("ask.listen", lambda: asks.serve(self._db, self._told, self.lend, self.wake)))
            if any(tenant.connector and tenant.connector.workflow for tenant in self._told.tenants.values()):
                queue = Queue(self._db, self._told.tenants, self.lend)
                group.create_task(_outlast("workflow.work", queue.work))
            for tenant in self._told.tenants.values():
                for name in tenant.sources:
                    group.create_task(self._source(tenant, name))
                for name, sink in tenant.sinks.items():
                    if assembly.delivers(sink):
                        group.create_task(self._sink(tenant, name))

    def wake(self) -> None:
        """Something may be due in the outboxes."""
        for delivery in self._deliveries:
            delivery.wake()

    @contextlib.asynccontextmanager
    async def lend(self, tenant: Tenant, name: str) -> AsyncIterator[Source]:
        """The one source of this name, for a run: a second one would log in a second time."""
        yield self._opened(tenant, name)

    def _opened(self, tenant: Tenant, name: str) -> Source:
        key = (tenant.name, name)
        if key not in self._sources:
            self._sources[key] = assembly.source(tenant, name)
        return self._sources[key]

    async def _sink(self, tenant: Tenant, name: str) -> None:
        made = assembly.delivery(self._db, tenant, name)
        self._deliveries.append(made)
        try:
            await _outlast("sink.drain", made.drain)
        finally:
            await made.sink.close()

    async def _source(self, tenant: Tenant, name: str) -> None:
        try:
            source = self._opened(tenant, name)
        except errors.Unsupported as lack:
            _LOG.error("source.unsupported", source=name, reason=str(lack))
            return
        job = assembly.job(tenant, name)
        while True:
            wait, full = await self._due(tenant, name, job.rules)
            if wait > 0:
                await asyncio.sleep(min(wait, 60.0))
                continue
            async with self._slots:
                await run_logged(self._db, job, source, full=full)
            self.wake()

    async def _due(self, tenant: Tenant, name: str, rules: bytes) -> tuple[float, bool]:
        """Seconds until this source is due, and whether in full."""
        try:
            state = await self._db.row(sync.SQL["source"], tenant.name, name)
        except errors.Unavailable:
            return 1.0, False
        if state is None or state["tried_at"] is None:
            return 0.0, True
        if bytes(state["rules"]) != rules and not state["failures"]:
            return 0.0, True  # it was told anew what to read, or how
        table = tenant.sources[name]
        now = datetime.now(UTC)
        full = state["full_at"] is None or (now - state["full_at"]).total_seconds() >= table.full
        return pace.interval(table.every, state["failures"], denied=state["denied"]) - (
            now - state["tried_at"]
        ).total_seconds(), full


async def run_logged(db: Store, job: sync.Job, source: Source, *, full: bool) -> sync.Report | None:
    """One run whose outcome goes to the log; None where it failed."""
    try:
        report = await sync.run(db, job, source, full=full)
    except errors.Denied as fault:
        _LOG.error("run.denied", source=job.source, tenant=job.tenant, reason=str(fault))
        return None
    except errors.Unavailable as fault:
        _LOG.warning("run.failed", source=job.source, tenant=job.tenant, reason=str(fault))
        return None
    counts = {k: v for k, v in report.public().items() if k not in ("source", "error") and (v or k == "seconds")}
    quiet = report.unchanged and not report.full and not (report.added or report.changed or report.removed)
    (_LOG.debug if quiet else _LOG.info)("run.done", source=job.source, tenant=job.tenant, full=report.full, **counts)
    if report.held and report.new_hold:
        _LOG.error("run.held", source=job.source, tenant=job.tenant, held=report.held, reason=report.why_held)
    return report


async def _outlast(what: str, work: Callable[[], Awaitable[object]], *, once: bool = False) -> None:
    """Do it again after every loss of the database, with growing pauses, until it is done (`once`) or for ever."""
    tries = 0
    while True:
        begun = time.monotonic()
        try:
            await work()
            if once:
                return
        except errors.Unavailable as fault:
            tries = 0 if time.monotonic() - begun > 60 else tries + 1
            wait = pushes.pause(tries, 10.0)
            _LOG.warning(f"{what}.interrupted", reason=str(fault), again_in=round(wait, 1))
            await asyncio.sleep(wait)


# The process


async def main(path: Path, dsn: str, report: kept.Report) -> None:
    """Work until SIGTERM; SIGHUP loads the configuration anew, and a bad one changes nothing."""
    told: Config | None = config.load(path)
    assert told is not None
    log.setup(told.log)
    log.hide(told.secrets)
    db = Store(dsn, size=8, name="bridge worker", yielding="BRIDGE_EMBEDDED" in os.environ)
    signals: asyncio.Queue[int] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, signals.put_nowait, number)
    beat = asyncio.create_task(kept.beat(report))
    try:
        while told is not None:
            working = asyncio.create_task(Unit(db, told).run())
            told = await _until_told_otherwise(working, signals, path, told)
            working.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await working
    finally:
        beat.cancel()
        await db.close()


async def _until_told_otherwise(
    working: asyncio.Task[None], signals: asyncio.Queue[int], path: Path, told: Config
) -> Config | None:
    """The configuration to go on with, or None to end; raises what the work raises."""
    while True:
        heard = asyncio.ensure_future(signals.get())
        await asyncio.wait({heard, working}, return_when=asyncio.FIRST_COMPLETED)
        if not heard.done():
            heard.cancel()
            working.result()
        if heard.result() != signal.SIGHUP:
            return None
        try:
            fresh = config.load(path)
            log.hide(fresh.secrets)
            return fresh
        except errors.ConfigError as problems:
            _LOG.error("config.refused", problems=list(problems.problems), in_force=str(told.path))


def start() -> None:
    """`python -m bridge.worker --config FILE`, as the keeper starts it."""
    options = argparse.ArgumentParser()
    options.add_argument("--config", type=Path, required=True)
    log.setup()
    kept.die_with_parent()
    os.nice(15)
    try:
        uvloop.run(main(options.parse_args().config, os.environ["BRIDGE_DSN"], kept.reporter()))
    except errors.Unsupported as lack:
        _LOG.error("worker.failed", reason=str(lack))
        raise SystemExit(_GIVE_UP) from None
    except errors.ConfigError as wrong:
        # Made wrong while we were running, and then we died: the keeper tries again until it is right.
        _LOG.error("config.refused", problems=list(wrong.problems))
        raise SystemExit(2) from None


if __name__ == "__main__":
    start()
