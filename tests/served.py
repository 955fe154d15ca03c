"""A configuration, contacts and a server on a loopback port, for the tests of lookups and of the server."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from listed import Listed

from bridge import bookshelf, config, sync
from bridge.bookshelf import Bookshelf
from bridge.config import Config
from bridge.contact import Record
from bridge.lookup import Lookups
from bridge.server import Front, surfaces
from bridge.server.surfaces import Shared
from bridge.store import Store

TOKEN = "jlvlkdshvövdjhwgjwogjhwg"
SOURCES = """
[source.crm]
type = "file"
path = "crm.vcf"
label = "Sugar CRM"
logo = "https://crm.example.com/logo.png"
[source.office]
type = "file"
path = "office.vcf"
label = "Office"
"""


def configured(folder: Path, connector: str = "", *, above: str = "", more: str = SOURCES) -> Config:
    """A loaded bridge.toml with two sources and a connector."""
    path = folder / "bridge.toml"
    path.write_text(f'region = "LU"\n{above}\n{more}\n[connector]\ntoken = "{TOKEN}"\n{connector}\n')
    path.chmod(0o600)
    return config.load(path)


async def ranked(db: Store, *names: str) -> None:
    """Enrol sources in this order; those enrolled before and not named are no longer configured."""
    await db.execute("update source set rank = 32767")
    for rank, name in enumerate(names):
        await db.execute(
            "insert into source (tenant, name, rank) values ('default', $1, $2)"
            " on conflict (tenant, name) do update set rank = excluded.rank",
            name,
            rank,
        )


async def hold(db: Store, source: str, *records: Record, tenant: str = "default") -> None:
    """Have a source hold exactly these records, by a run of it."""
    job = sync.Job(tenant=tenant, source=source, region="LU", rules=b"1")
    await sync.run(db, job, Listed(*records), full=True)


@dataclass(frozen=True)
class Served:
    """A server that answers; `url` is its root."""

    port: int
    front: Front
    lookups: Lookups
    session: aiohttp.ClientSession
    shared: Shared

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def ask(self, number: Any, path: str = "/services/Lookup", **more: Any) -> Any:
        """What the CONNECTOR is answered."""
        inputs = {"inputs": {"phoneNumber": number}}
        headers = {"X-Execution-Token": TOKEN}
        async with self.session.post(self.url + path, json=inputs, headers=headers, **more) as reply:
            assert reply.status == 200, await reply.text()
            return await reply.json()


def parts(db: Store, lookups: Lookups, told: Config, **instead: Any) -> Shared:
    """What surfaces share, some of it instead of the usual."""
    shared = surfaces.shared(db, lookups, Bookshelf(db, bookshelf.folder(told.state_dir)))
    return dataclasses.replace(shared, **instead)


@contextlib.asynccontextmanager
async def serving(db: Store, told: Config, **instead: Any) -> AsyncIterator[Served]:
    """The front server under a configuration; as the answering process it sees nobody's rows until it says whose."""
    db = db.of("")
    lookups = Lookups(db)
    shared = parts(db, lookups, told, **instead)
    front = Front(surfaces.of(told, shared))
    await lookups.start()
    handler = front.server()
    server = await asyncio.get_running_loop().create_server(handler, "127.0.0.1", 0)
    try:
        async with aiohttp.ClientSession() as session:
            yield Served(server.sockets[0].getsockname()[1], front, lookups, session, shared)
    finally:
        server.close()
        await handler.shutdown(1)
        await lookups.close()
        await shared.desk.close()
