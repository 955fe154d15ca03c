"""PostgreSQL: connections, named queries, migrations; the only importer of asyncpg.

Every fault of the database leaves here as `errors.Unavailable`: it waits and comes back, nobody else falls. Of several
servers the one that takes writes is asked (of a replica's: one that stands by), and a connection whose server ceased
to be that, or vanished, is thrown away: the next one goes to whoever is it then.
Queries stand in `bridge/sql/<module>.sql`, each under a line `-- name: x`, and are used by that module alone.

Every session says whose rows it works with (the setting `bridge.tenant`: a tenant, "*" for all, "" for none), and the
server's row security shows it no others, whatever a query forgets to ask for.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import hashlib
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any

import asyncpg

from bridge import errors, hosts, log, migrations, priority, sql
from bridge.hosts import Host

VERSION = 8
"""The schema's version: the number of the last migration."""

CHANNEL = "bridge_numbers"
"""Where a commit names the numbers whose answers change: JSON `[tenant, number, …]`; `[tenant]` alone: any of them."""

_LOG = log.get()
_CONNECT, _RESET = 10.0, 2.0
"""Seconds that connecting may take with all servers that a URL names, and cleaning up a connection for its next use."""
_PULSE, _PROBE = 10.0, 3.0
"""Seconds after which a statement's server is asked whether it lives, and that it has for an answer."""
_LOST = (asyncpg.PostgresConnectionError, asyncpg.InternalClientError, OSError, TimeoutError)
_LATER = (
    asyncpg.exceptions.OperatorInterventionError,  # shutdown, crash recovery, cancelled
    asyncpg.exceptions.InsufficientResourcesError,  # disk full, too many connections
    asyncpg.exceptions.TransactionRollbackError,  # deadlock, serialisation
    asyncpg.exceptions.ReadOnlySQLTransactionError,  # a primary that became a standby
    asyncpg.exceptions.InvalidAuthorizationSpecificationError,
    asyncpg.exceptions.InvalidCatalogNameError,
)
_SETTINGS = {"timezone": "UTC", "jit": "off", **hosts.SERVER}
_BECOME = "select set_config('bridge.tenant', $1, false)"
queries, version = sql.queries, migrations.version


def lock_key(*words: str) -> int:
    """A session advisory lock's number for what those words name; the same in every daemon."""
    return int.from_bytes(hashlib.blake2b("\0".join(words).encode(), digest_size=8).digest(), "big", signed=True)


def _said(fault: BaseException) -> str:
    if isinstance(fault, asyncpg.exceptions.TargetServerAttributeNotMatched):
        return "it is another kind of server than is asked for (one takes writes, the others stand by)"
    return str(fault).splitlines()[0] if str(fault) else type(fault).__name__


def _unavailable(fault: BaseException) -> errors.Unavailable:
    return errors.Unavailable(f"the database is not there: {_said(fault)}")


@contextlib.contextmanager
def _faults() -> Iterator[None]:
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
    """One connection; a wrapper that gives the driver's faults our names.

    `standby`: to a server that stands by. `lives` is called every `pulse` seconds while a statement is under way, and
    cuts the connection where the server answers nobody.
    """

    def __init__(self, raw: Any, lives: Callable[[], Awaitable[bool]], *, pulse: float, standby: bool) -> None:
        self.raw = raw
        self._lives = lives
        self._pulse = pulse
        self._standby = standby
        self._watching: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def _asked(self) -> Iterator[None]:
        """Around what the server is asked."""
        doubt = asyncio.get_running_loop().call_later(self._pulse, self._doubt)
        try:
            with _faults():
                yield
        except errors.Unavailable as fault:
            if isinstance(fault.__cause__, asyncpg.exceptions.ReadOnlySQLTransactionError):
                self.raw.terminate()  # a primary that is one no more: whoever connects anew comes to the next one
            raise
        finally:
            doubt.cancel()
            if self._watching:
                self._watching.cancel()
                self._watching = None

    def _doubt(self) -> None:
        self._watching = asyncio.ensure_future(self._watch())

    async def _watch(self) -> None:
        if await self._lives():
            await asyncio.sleep(self._pulse)
            self._doubt()

    async def fetch(self, sql: str, *args: Any) -> list[Any]:
        with self._asked():
            rows: list[Any] = await self.raw.fetch(sql, *args)
            return rows

    async def row(self, sql: str, *args: Any) -> Any:
        """The first row, or None."""
        with self._asked():
            return await self.raw.fetchrow(sql, *args)

    async def value(self, sql: str, *args: Any) -> Any:
        """The first column of the first row, or None."""
        with self._asked():
            return await self.raw.fetchval(sql, *args)

    async def execute(self, sql: str, *args: Any) -> int:
        """Run it; the number of rows it touched, 0 where that means nothing."""
        with self._asked():
            last = (await self.raw.execute(sql, *args)).rpartition(" ")[2]
        return int(last) if last.isdigit() else 0

    async def prepare(self, sql: str) -> Prepared:
        """Plan a query; Unavailable where its tables are not there, or not yet those of this version."""
        try:
            with self._asked():
                return Prepared(await self.raw.prepare(sql))
        except asyncpg.SyntaxOrAccessError as fault:
            raise errors.Unavailable(f"the database has not this version's tables: {fault}") from fault

    def at_end(self, call: Callable[[], None]) -> None:
        """Call once the connection is closed, by whichever side."""
        self.raw.add_termination_listener(lambda _connection: call())

    async def copy(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """COPY rows into a table. The columns are named, for the driver remembers a table by its name alone."""
        with self._asked():
            await self.raw.copy_records_to_table(table, columns=list(columns), records=rows)

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """All or nothing: commits at the end of the block, rolls back when it raises."""
        with self._asked():
            transaction = self.raw.transaction()
            await transaction.start()
        try:
            yield
        except BaseException:
            with contextlib.suppress(*_LOST, *_LATER, asyncpg.InterfaceError):
                await transaction.rollback()
            raise
        with self._asked():
            await transaction.commit()

    async def listen(self, channel: str, heard: Any) -> None:
        """Call `heard(payload)` for every NOTIFY on the channel while the connection lives."""
        with self._asked():
            await self.raw.add_listener(channel, lambda _c, _p, _ch, payload: heard(payload))

    @property
    def closed(self) -> bool:
        return bool(self.raw.is_closed())

    @property
    def misplaced(self) -> bool:
        """Whether its server said, with its last answer, that it is no longer of the kind that was asked for."""
        told = self.raw.get_settings()
        stands_by = getattr(told, "in_hot_standby", "off") == "on"
        return not stands_by if self._standby else stands_by or told.default_transaction_read_only == "on"


class Store:
    """The database of a daemon or a command.

    `tenant`: whose rows there are, "*": everybody's, "": nobody's. `yielding`: the server is this machine's embedded
    one, and what runs in sessions of their own gives way there to what others ask. `standby`: the URL names replicas,
    any of which will do. `pulse`: seconds after which a statement's server is asked whether it lives, and again.
    """

    def __init__(
        self,
        dsn: str,
        *,
        size: int = 4,
        name: str = "bridge",
        tenant: str = "*",
        yielding: bool = False,
        standby: bool = False,
        pulse: float = _PULSE,
    ) -> None:
        self.name = name
        self._dsn, self._tenant = dsn, tenant
        self._hosts = hosts.named(dsn)
        self._used: Host | None = None
        self._size = size
        self._yielding, self._standby, self._pulse = yielding, standby, pulse
        self._open: weakref.WeakSet[Any] = weakref.WeakSet()
        self._pool: Any = None
        self._opening = asyncio.Lock()
        self._whole = self

    def of(self, tenant: str) -> Store:
        """The same, with the pool that it has, where there are one tenant's rows alone; `close` is the whole one's."""
        one = copy.copy(self)
        one._tenant, one._whole = tenant, self._whole
        return one

    async def connect(self, within: float = _CONNECT) -> Connection:
        """A connection of its own, outside the pool: the caller closes it with `release`."""
        raw = await self._dial(within=within)
        if self._yielding:
            priority.make_give_way(raw.get_server_pid())
        return self._wrap(raw)

    async def _dial(self, _dsn: None = None, *, within: float = _CONNECT, **options: Any) -> Any:
        """The driver's connection to the first server of the right kind; each has its share of the time.

        Not left to the driver, which gives the first server all of it and ends at one that refuses a password. The
        server that was right last time is asked first: one that was not goes to the end, also where who wanted a
        connection has lost patience with it (https://github.com/MagicStack/asyncpg/issues/1155).
        """
        wrong = []
        settings = {"application_name": self.name, "bridge.tenant": self._tenant, **_SETTINGS}
        for host in tuple(self._hosts):
            kind = "standby" if self._standby else "read-write"
            options |= {"timeout": within / len(self._hosts), "target_session_attrs": kind, **host.options()}
            try:
                raw = await asyncpg.connect(self._dsn, server_settings=settings, **options)
            except BaseException as fault:
                self._hosts.sort(key=host.__eq__)  # to the end, the others staying as they are
                if not isinstance(fault, (*_LOST, *_LATER)):
                    raise
                if len(self._hosts) == 1:
                    raise _unavailable(fault) from fault
                wrong.append(f"{host} {_said(fault)}")
                continue
            self._note(host)
            self._open.add(raw)
            hosts.watch(raw._transport)
            return raw
        raise errors.Unavailable(f"none of the database's servers is there: {'; '.join(wrong)}")

    def _wrap(self, raw: Any) -> Connection:
        return Connection(raw, lambda: self._lives(raw._addr), pulse=self._pulse, standby=self._standby)

    async def _lives(self, address: Any) -> bool:
        """Whether a server answers who connects to it, be it with a refusal; else all connections to it are cut."""
        where = {"host": address[0], "port": address[1]} if isinstance(address, tuple) else {"host": address}
        try:
            probe = await asyncpg.connect(self._dsn, timeout=_PROBE, target_session_attrs="any", **where)
        except _LOST:
            _LOG.warning("database.silent", server=":".join(map(str, where.values())))
            for raw in [one for one in self._open if one._addr == address]:
                raw.terminate()
            return False
        except asyncpg.PostgresError:
            return True
        probe.terminate()
        return True

    def _note(self, host: Host) -> None:
        if host != self._whole._used and host.port:
            _LOG.info("database.server", server=str(host), standby=self._standby)
        self._whole._used = host

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
                self._pool = await asyncpg.create_pool(min_size=0, max_size=self._size, connect=self._dial)
        return self._pool

    @contextlib.asynccontextmanager
    async def pooled(self) -> AsyncIterator[Connection]:
        """A connection from the pool for the block."""
        pool = self._whole._pool or await self._whole._ready()
        with _faults():
            raw = await pool.acquire()
        connection = self._wrap(raw)
        try:
            if self._tenant != self._whole._tenant:
                await connection.execute(_BECOME, self._tenant)  # until the pool has the connection back
            yield connection
        except asyncio.CancelledError:
            raw.terminate()  # whoever lost patience is not made to wait until the server confirms it
            raise
        finally:
            with contextlib.suppress(*_LOST, *_LATER, asyncpg.InterfaceError):
                if not connection.closed and connection.misplaced:
                    raw.terminate()
                await pool.release(raw, timeout=_RESET)

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


async def migrate(store: Store) -> tuple[int, int]:
    """Bring the database to this version, one at a time among all daemons; (before, after). Unsupported: why not."""
    async with locked(store, "migrate") as connection:
        assert connection is not None
        try:
            return await migrations.bring(connection, VERSION)
        except asyncpg.InsufficientPrivilegeError as lack:
            raise errors.Unsupported(
                f"the database's user may not make tables ({lack}): let it own the database, or a schema of its own"
            ) from lack
