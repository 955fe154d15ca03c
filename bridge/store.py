"""PostgreSQL: connections, named queries, migrations; the only importer of asyncpg.

Every fault of the database leaves here as `errors.Unavailable`: it waits and comes back, nobody else falls.
Queries stand in `bridge/sql/<module>.sql`, each under a line `-- name: x`, and are used by that module alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import importlib.resources
import os
import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import asyncpg

from bridge import errors

_GENTLE = 15
"""The nice value of an embedded server's process that works for a run."""

VERSION = 5
"""The schema's version: the number of the last migration."""

CHANNEL = "bridge_numbers"
"""Where a commit names the numbers whose answers change: JSON `[tenant, number, …]`; `[tenant]` alone: any of them."""

_LOST = (asyncpg.PostgresConnectionError, asyncpg.InternalClientError, OSError, TimeoutError)
_LATER = (
    asyncpg.exceptions.OperatorInterventionError,  # shutdown, crash recovery, cancelled
    asyncpg.exceptions.InsufficientResourcesError,  # disk full, too many connections
    asyncpg.exceptions.TransactionRollbackError,  # deadlock, serialisation
    asyncpg.exceptions.ReadOnlySQLTransactionError,  # a primary that became a standby
    asyncpg.exceptions.InvalidAuthorizationSpecificationError,
    asyncpg.exceptions.InvalidCatalogNameError,
)

_NAME = re.compile(r"^-- name: (\w+).*$", re.MULTILINE)


def queries(module: str) -> Mapping[str, str]:
    """The named queries of `bridge/sql/<module>.sql`."""
    text = importlib.resources.files("bridge.sql").joinpath(f"{module}.sql").read_text("utf-8")
    parts = _NAME.split(text)
    return MappingProxyType({name: sql.strip().rstrip(";") for name, sql in zip(parts[1::2], parts[2::2], strict=True)})


def lock_key(*words: str) -> int:
    """A session advisory lock's number for what those words name; the same in every daemon."""
    return int.from_bytes(hashlib.blake2b("\0".join(words).encode(), digest_size=8).digest(), "big", signed=True)


def _unavailable(fault: BaseException) -> errors.Unavailable:
    text = str(fault).splitlines()[0] if str(fault) else type(fault).__name__
    return errors.Unavailable(f"the database is not there: {text}")


@contextlib.contextmanager
def _faults() -> Any:
    try:
        yield
    except (*_LOST, *_LATER) as fault:
        raise _unavailable(fault) from fault
    except asyncpg.InterfaceError as fault:
        # The driver says so of a connection that was lost, and of a mistake of ours, which is not to be waited out.
        if "clos" not in str(fault) and "released back" not in str(fault):
            raise
        raise _unavailable(fault) from fault


class Prepared:
    """A query that its connection has planned once; ends with the connection."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    async def fetch(self, *args: Any, within: float) -> list[Any]:
        """All rows; Unavailable after `within` seconds, or for whatever reason the server gives."""
        try:
            with _faults():
                rows: list[Any] = await self._raw.fetch(*args, timeout=within)
        except asyncpg.PostgresError as fault:
            raise _unavailable(fault) from fault
        return rows


class Connection:
    """One connection; a wrapper that gives the driver's faults our names."""

    def __init__(self, raw: Any) -> None:
        self.raw = raw

    async def fetch(self, sql: str, *args: Any) -> list[Any]:
        with _faults():
            rows: list[Any] = await self.raw.fetch(sql, *args)
            return rows

    async def row(self, sql: str, *args: Any) -> Any:
        """The first row, or None."""
        with _faults():
            return await self.raw.fetchrow(sql, *args)

    async def value(self, sql: str, *args: Any) -> Any:
        """The first column of the first row, or None."""
        with _faults():
            return await self.raw.fetchval(sql, *args)

    async def execute(self, sql: str, *args: Any) -> int:
        """Run it; the number of rows it touched, 0 where that means nothing."""
        with _faults():
            last = (await self.raw.execute(sql, *args)).rpartition(" ")[2]
        return int(last) if last.isdigit() else 0

    async def prepare(self, sql: str) -> Prepared:
        """Plan a query; Unavailable where its tables are not there, or not yet those of this version."""
        try:
            with _faults():
                return Prepared(await self.raw.prepare(sql))
        except asyncpg.SyntaxOrAccessError as fault:
            raise errors.Unavailable(f"the database has not this version's tables: {fault}") from fault

    def at_end(self, call: Callable[[], None]) -> None:
        """Call once the connection is closed, by whichever side."""
        self.raw.add_termination_listener(lambda _connection: call())

    async def copy(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """COPY rows into a table. The columns are named, for the driver remembers a table by its name alone."""
        with _faults():
            await self.raw.copy_records_to_table(table, columns=list(columns), records=rows)

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """All or nothing: commits at the end of the block, rolls back when it raises."""
        with _faults():
            transaction = self.raw.transaction()
            await transaction.start()
        try:
            yield
        except BaseException:
            with contextlib.suppress(*_LOST, *_LATER, asyncpg.InterfaceError):
                await transaction.rollback()
            raise
        with _faults():
            await transaction.commit()

    async def listen(self, channel: str, heard: Any) -> None:
        """Call `heard(payload)` for every NOTIFY on the channel while the connection lives."""
        with _faults():
            await self.raw.add_listener(channel, lambda _c, _p, _ch, payload: heard(payload))

    @property
    def closed(self) -> bool:
        return bool(self.raw.is_closed())


class Store:
    """The database of a daemon or a command.

    `yielding`: the server is this machine's embedded one, and what runs in sessions of their own gives way there to
    what others ask (a first load to lookups). Never for a server elsewhere, whose process ids mean nothing here.
    """

    def __init__(self, dsn: str, *, size: int = 4, name: str = "bridge", yielding: bool = False) -> None:
        self._dsn = dsn
        self._size = size
        self._yielding = yielding
        self._settings = {"application_name": name, "timezone": "UTC", "jit": "off"}
        self._pool: Any = None
        self._opening = asyncio.Lock()

    async def connect(self) -> Connection:
        """A connection of its own, outside the pool: the caller closes it with `release`."""
        with _faults():
            raw = await asyncpg.connect(
                self._dsn, timeout=10, server_settings=self._settings, target_session_attrs="read-write"
            )
        if self._yielding:
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, raw.get_server_pid(), _GENTLE)
        return Connection(raw)

    @staticmethod
    async def release(connection: Connection) -> None:
        """Close a connection made by `connect`; a dead one does no harm."""
        try:
            await connection.raw.close(timeout=2)
        except (*_LOST, *_LATER, asyncpg.InterfaceError):
            connection.raw.terminate()

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator[Connection]:
        """A connection of its own for the block."""
        connection = await self.connect()
        try:
            yield connection
        finally:
            await self.release(connection)

    async def _ready(self) -> Any:
        async with self._opening:
            if self._pool is None:
                with _faults():
                    self._pool = await asyncpg.create_pool(
                        self._dsn,
                        min_size=0,
                        max_size=self._size,
                        timeout=10,
                        server_settings=self._settings,
                        target_session_attrs="read-write",
                    )
        return self._pool

    @contextlib.asynccontextmanager
    async def pooled(self) -> AsyncIterator[Connection]:
        """A connection from the pool for the block."""
        pool = self._pool or await self._ready()
        with _faults():
            raw = await pool.acquire()
        try:
            yield Connection(raw)
        finally:
            with contextlib.suppress(*_LOST, *_LATER, asyncpg.InterfaceError):
                await pool.release(raw)

    async def fetch(self, sql: str, *args: Any) -> list[Any]:
        async with self.pooled() as connection:
            return await connection.fetch(sql, *args)

    async def row(self, sql: str, *args: Any) -> Any:
        async with self.pooled() as connection:
            return await connection.row(sql, *args)

    async def value(self, sql: str, *args: Any) -> Any:
        async with self.pooled() as connection:
            return await connection.value(sql, *args)

    async def execute(self, sql: str, *args: Any) -> int:
        async with self.pooled() as connection:
            return await connection.execute(sql, *args)

    async def close(self) -> None:
        if self._pool is not None:
            pool, self._pool = self._pool, None
            try:
                async with asyncio.timeout(3):
                    await pool.close()
            except (*_LOST, *_LATER, asyncpg.InterfaceError):
                pool.terminate()


@contextlib.asynccontextmanager
async def locked(store: Store, *words: str, wait: bool = True) -> AsyncIterator[Connection | None]:
    """A connection that alone, of all daemons and commands, holds the lock of that name; None where another does.

    The lock is the session's: it ends with the connection, however the process ends.
    """
    connection = await store.connect()
    try:
        key = lock_key(*words)
        if wait:
            await connection.execute("select pg_advisory_lock($1)", key)
            yield connection
        else:
            yield connection if await connection.value("select pg_try_advisory_lock($1)", key) else None
    finally:
        await store.release(connection)


def _migrations() -> list[tuple[int, str]]:
    """The steps from one schema to the next: `migrations/0002_words.sql` arrives at version 2."""
    folder = importlib.resources.files("bridge.sql").joinpath("migrations")
    if not folder.is_dir():
        return []
    steps = [(int(f.name[:4]), f.read_text("utf-8")) for f in folder.iterdir() if re.match(r"\d{4}_.*\.sql$", f.name)]
    return sorted(steps)


async def version(connection: Connection) -> int:
    """The schema's version in the database; 0: there is none."""
    if await connection.value("select to_regclass('schema_version')") is None:
        return 0
    return int(await connection.value("select version from schema_version") or 0)


async def migrate(store: Store) -> tuple[int, int]:
    """Bring the database to this version, one at a time among all daemons; (before, after).

    A database newer than the program is refused: an old program would write what the new one no longer reads.
    """
    async with locked(store, "migrate") as connection:
        assert connection is not None
        server = await connection.value("select current_setting('server_version_num')::int")
        if server < 150000:
            raise errors.Unsupported(f"PostgreSQL {server // 10000} is too old: bridge needs 15 or newer")
        before = await version(connection)
        if before > VERSION:
            raise errors.Unsupported(
                f"the database has schema {before}, this bridge knows {VERSION}: run the newer bridge that made it"
            )
        if before == VERSION:
            return before, before
        async with connection.transaction():
            if before == 0:
                await connection.execute("create table schema_version (version integer not null)")
                await connection.execute("insert into schema_version values (0)")
                schema = importlib.resources.files("bridge.sql").joinpath("schema.sql").read_text("utf-8")
                await connection.execute(schema)
            for number, sql in _migrations():
                if before and before < number <= VERSION:
                    await connection.execute(sql)
            await connection.execute("update schema_version set version = $1", VERSION)
        return before, VERSION
