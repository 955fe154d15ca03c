"""What a command works with: the configuration, the database, an event loop that ends well."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import uvloop

from bridge import claims, config, embedded, log, store
from bridge.config import Config
from bridge.store import Store

T = TypeVar("T")


def load(path: Path | None) -> Config:
    """The configuration, or ConfigError; from now on only warnings are logged, and no secret of it."""
    log.setup("console", level=logging.WARNING)
    told = config.load(config.find(path))
    log.hide(told.secrets)
    return told


def run(work: Coroutine[Any, Any, T]) -> T:
    """Do it in an event loop; SIGINT and SIGTERM cancel it, so that what was opened is closed."""
    return uvloop.run(_cancellable(work))


async def _cancellable(work: Coroutine[Any, Any, T]) -> T:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await work


@contextlib.asynccontextmanager
async def database(told: Config) -> AsyncIterator[Store]:
    """The database as it is; an embedded one is a running daemon's, or started for the block."""
    server = await embedded.open(told.state_dir) if told.database.url == "embedded" else None
    try:
        db = Store(server.dsn if server else told.database.url[:], name=claims.name("command"))
        try:
            yield db
        finally:
            await db.close()
    finally:
        if server:
            await server.close()


@contextlib.asynccontextmanager
async def opened(told: Config) -> AsyncIterator[Store]:
    """The database, migrated to this version."""
    async with database(told) as db:
        await store.migrate(db)
        yield db
