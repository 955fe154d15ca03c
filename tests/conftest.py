"""A real PostgreSQL for the whole session, and a fresh database, migrated, for every test that asks for one."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from bridge import embedded, store
from bridge.postgres import ROLE, SUPERUSER
from bridge.store import Store

_COUNT = itertools.count(1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The DSN of a server of our own; its database `bridge` is empty, `bridge_template` is migrated."""
    state = Path(tempfile.mkdtemp(prefix="bridge-tests-"))
    with asyncio.Runner() as runner:
        server = runner.run(embedded.open(state))
        try:
            runner.run(_entitled(server.dsn))
            runner.run(_template(server.dsn))
            yield server.dsn
        finally:
            runner.run(server.close())
    shutil.rmtree(state)


def named(dsn: str, database: str) -> str:
    """The same server's other database."""
    return dsn.replace("/bridge?", f"/{database}?")


async def _entitled(dsn: str) -> None:
    """Let whom sessions log in as make databases and roles, and drop them whatever worker of the server is there."""
    superuser = Store(dsn.replace(f"{ROLE}@", f"{SUPERUSER}@"))
    await superuser.execute(f"alter role {ROLE} createdb createrole")
    await superuser.execute(f"grant pg_signal_backend to {ROLE}")
    await superuser.close()


async def _template(dsn: str) -> None:
    owner = Store(dsn)
    await owner.execute("create database bridge_template")
    await owner.close()
    template = Store(named(dsn, "bridge_template"))
    await store.migrate(template)
    await template.close()


@pytest.fixture
async def dsn(postgres: str) -> AsyncIterator[str]:
    """The DSN of a migrated database of this test's own."""
    name = f"t{next(_COUNT)}"
    owner = Store(postgres)
    await owner.execute(f"create database {name} template bridge_template")
    try:
        yield named(postgres, name)
    finally:
        await owner.execute(f"drop database {name} with (force)")
        await owner.close()


@pytest.fixture
async def db(dsn: str) -> AsyncIterator[Store]:
    """A store on a migrated database of this test's own."""
    store = Store(dsn)
    yield store
    await store.close()
