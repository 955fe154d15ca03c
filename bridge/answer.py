"""The serving process: answers lookups and admins, whatever the working one does.

A keeper starts it and hands it, in the environment: BRIDGE_SOCKETS `{"http": [fd, …], "admin": [fd, …]}`, BRIDGE_DSN
and BRIDGE_REPORT (a pipe for lines: `ready`, `beat`, `status …`). Without them it looks after itself.
SIGTERM: it finishes what was asked and leaves. SIGHUP: it loads the configuration anew, and keeps the one it has
where that is wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import os
import signal
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import uvloop

from bridge import (
    approval,
    asks,
    assembly,
    bookshelf,
    config,
    embedded,
    errors,
    kept,
    log,
    lookup,
    metrics,
    priority,
    sockets,
    status,
)
from bridge.bookshelf import Bookshelf
from bridge.config import Config, Tenant
from bridge.kept import Report
from bridge.keys import checks
from bridge.lookup import Lookups
from bridge.nearby import Nearby
from bridge.server import Front, Surfaces, surfaces
from bridge.server.admin import Admin
from bridge.server.logins import Logins
from bridge.server.page import Actions, Web
from bridge.server.surfaces import Built
from bridge.store import Store

_FINISH, _LAST = 3.0, 0.5
"""Seconds that requests under way have to end, and their answers to leave."""
_LOOK = 1.0
_TURN = 0.0001
"""Seconds that a thread which loads a configuration or makes a phone book keeps lookups waiting at a time; each takes
several turns, and at five times as much they queue up (tests/bench/tenants.py)."""
_LOG = log.get()


class Serving:
    """The servers of one process, under one configuration after the other.

    `db` and `replica` show nobody's rows until a request names its tenant: strangers are answered from them alone.
    """

    def __init__(self, db: Store, told: Config, report: Report, dsn: str, replica: Store | None = None) -> None:
        self._db = db
        self._told = told
        self._report = report
        everybody = Store(dsn, name="bridge answer", yielding="BRIDGE_EMBEDDED" in os.environ)
        self._everybody = everybody
        self._lookups = Lookups(db, replica=replica, nearby=Nearby(everybody))
        self._shelf = Bookshelf(db, bookshelf.linked_folder(told.state_dir), dsn=dsn, forget=self._lookups.forget)
        self._shared = surfaces.shared(db, self._lookups, self._shelf)
        self._front = Front(surfaces.of(told, self._shared))
        logins = Logins()
        self._admin = Admin(everybody, told, logins, lambda: self._lookups.alone)
        self._web = Web(everybody, told, _actions(everybody), self._shared.guard.recent, logins=logins)
        self._tls = _tls(told)
        self._status = ""
        self._told_to, self._changed = asyncio.Event(), asyncio.Event()
        self._changed.set()

    @contextlib.asynccontextmanager
    async def open(self, http: Sequence[socket.socket], admin: Sequence[socket.socket]) -> AsyncIterator[None]:
        """Serve for the block; requests under way at its end are finished."""
        loop = asyncio.get_running_loop()
        await self._lookups.start()
        pages = Front(Surfaces([self._admin, self._web]))  # the page last: it answers for every other path
        servers = [(self._front.server(), http, self._tls), (pages.server(), admin, None)]
        listening = [await loop.create_server(made, sock=one, ssl=tls) for made, given, tls in servers for one in given]
        try:
            yield
        finally:
            for one in listening:
                one.close()
            await self._front.drain(_FINISH)
            await asyncio.gather(*(made.shutdown(_LAST) for made, _, _ in servers))
            await self._lookups.close()
            await self._shared.desk.close()
            await self._shelf.close()
            await self._everybody.close()

    async def run(self) -> None:
        """Wait for ever; what ends it is a mistake, and raised."""
        await asyncio.gather(self._lookups.run(), self._shelf.run(), self._follow())

    async def prepare(self) -> None:
        """Make the indexes that each configuration asks for, as soon as the database is there."""
        made: set[int] = set()
        while True:
            await self._changed.wait()
            self._changed.clear()
            connectors = [tenant.connector for tenant in self._told.tenants.values() if tenant.connector]
            for suffix in {connector.suffix for connector in connectors} - made:
                while suffix not in made:
                    try:
                        await lookup.prepare(self._db, suffix)
                        made.add(suffix)
                    except errors.Unavailable:
                        await asyncio.sleep(1.0)

    def reload(self) -> None:
        """Have the configuration loaded anew and swapped in; a bad one changes nothing."""
        self._told_to.set()

    async def _follow(self) -> None:
        while True:
            await self._told_to.wait()
            self._told_to.clear()
            await self._reload()

    async def _reload(self) -> None:
        """What takes long is done in threads, and answers go on; what stands for an unchanged tenant stays."""
        # What is garbage now would be kept for ever below; it is looked for among what is new since the last time.
        gc.collect()
        # Of thousands of tenants that are new a collection would take a tenth of a second, with every thread waiting.
        gc.disable()
        try:
            told, built = await asyncio.to_thread(self._load)
            self._renew(told)
        except errors.ConfigError as wrong:
            said = {"problems": list(wrong.problems), "in_force": str(self._told.path)}
            await asyncio.to_thread(lambda: _LOG.error("config.refused", **said))
            return
        finally:
            gc.freeze()
            gc.enable()
        await asyncio.to_thread(log.hide, told.secrets)
        self._told = self._admin.told = self._web.told = told
        self._front.surfaces = surfaces.put(built, self._shared)
        self._changed.set()
        loaded = {"path": str(told.path), "tenants": len(told.tenants), "warnings": list(told.warnings)}
        await asyncio.to_thread(lambda: _LOG.info("config.loaded", **loaded))

    def _load(self) -> tuple[Config, Built]:
        told = config.reload(self._told)
        return told, surfaces.build(told, self._shared)

    def _renew(self, told: Config) -> None:
        """Show the certificate that the file holds now to whoever connects from now on."""
        if self._tls is not None and told.http.tls:
            _load(self._tls, told)

    async def watch(self) -> None:
        """Say `ready` once lookups are answered; then whether they are."""
        ready = False
        while True:
            reason = self._lookups.reason
            if not ready and not reason:
                ready = True
                self._report("ready")
            status = self._lookups.state
            if status != self._status:
                self._status = status
                self._report(f"status {status}")
            await asyncio.sleep(_LOOK if ready else 0.05)


def _actions(db: Store) -> Actions:
    """What the admin's page may have done."""

    async def approve(tenant: Tenant, source: str) -> Mapping[str, int]:
        return await approval.approve(db, assembly.job(tenant, source))

    async def retry(tenant: Tenant) -> int:
        return await status.retry(db, [tenant])

    async def works() -> bool:
        return await asks.daemon_works(db)

    return Actions(approve=approve, retry=retry, works=works)


def _tls(told: Config) -> ssl.SSLContext | None:
    if told.http.tls is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    _load(context, told)
    return context


def _load(context: ssl.SSLContext, told: Config) -> None:
    assert told.http.tls is not None
    try:
        checks.show(told.http.tls, context)
    except ValueError as fault:
        raise errors.ConfigError([f"{told.path}:http.tls: {fault}"]) from fault


async def main(path: Path, report: Report) -> None:
    """Serve until SIGTERM."""
    told = config.load(path)
    log.setup(told.log, aside=True)
    log.hide(told.secrets)
    http, admin = _sockets(told)
    async with _dsn(told) as dsn:
        db = Store(dsn, name="bridge answer", tenant="")
        standby = told.database.replica[:]
        replica = Store(standby, name="bridge answer", tenant="", standby=True) if standby else None
        serving = Serving(db, told, report, dsn, replica)
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopped.set)
        loop.add_signal_handler(signal.SIGHUP, serving.reload)
        loop.add_signal_handler(signal.SIGUSR1, metrics.worker_restarted)
        try:
            async with serving.open(http, admin):
                chores = [serving.run(), serving.watch(), kept.beat(report), serving.prepare()]
                tasks = [asyncio.create_task(chore) for chore in chores]
                _spare_lookups()
                priority.be_prompt()
                await _until(stopped, tasks)
        finally:
            await db.close()
            if replica:
                await replica.close()


def _spare_lookups() -> None:
    """What is there now stays: a full collection over it would stall a lookup, as many small ones would slow all."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    sys.setswitchinterval(_TURN)


async def _until(stopped: asyncio.Event, tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Wait for the end, or for a chore that fails."""
    end = asyncio.create_task(stopped.wait())
    try:
        pending = {end, *tasks}
        while not end.done():
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
    finally:
        for task in (end, *tasks):
            task.cancel()
        await asyncio.gather(end, *tasks, return_exceptions=True)


def _sockets(told: Config) -> tuple[list[socket.socket], list[socket.socket]]:
    given = os.environ.get("BRIDGE_SOCKETS")
    if not given:
        http, admin = told.http.listen, told.admin.listen
        return sockets.bind((e.host, e.port) for e in http), sockets.bind((e.host, e.port) for e in admin)
    numbers = orjson.loads(given)
    return sockets.inherited(numbers["http"]), sockets.inherited(numbers["admin"])


@contextlib.asynccontextmanager
async def _dsn(told: Config) -> AsyncIterator[str]:
    given = os.environ.get("BRIDGE_DSN")
    if given or told.database.url != "embedded":
        yield given or told.database.url[:]
        return
    server = await embedded.open(told.state_dir)
    try:
        yield server.dsn
    finally:
        await server.close()


def start() -> None:
    """`python -m bridge.answer --config FILE`, as the keeper starts it."""
    options = argparse.ArgumentParser(prog="bridge.answer")
    options.add_argument("--config", type=Path, required=True)
    log.setup(aside=True)
    kept.die_with_parent()
    try:
        uvloop.run(main(options.parse_args().config, kept.reporter()))
    except errors.ConfigError as wrong:
        _LOG.error("config.refused", problems=list(wrong.problems))
        raise SystemExit(2) from None
    except errors.BridgeError as fault:
        _LOG.error("answer.failed", reason=str(fault))
        raise SystemExit(1) from None
    except Exception:
        # A mistake of ours: told as the log tells one, with no secret in it, and nobody waits for who reads it.
        _LOG.critical("answer.broken", exc_info=True)
        raise SystemExit(1) from None


if __name__ == "__main__":
    start()
