"""Connections, named queries and migrations, on a real database."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.resources
import re
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from conftest import named

from bridge import errors, lookup, store
from bridge.store import Store

FILES = sorted(
    file.name.removesuffix(".sql")
    for file in importlib.resources.files("bridge.sql").iterdir()
    if file.name.endswith(".sql")
)
MODULES = [name for name in FILES if name != "schema"]
CUT = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'bridge' and datname = $1"
CODE = "\n".join(path.read_text() for path in (Path(store.__file__).parent).rglob("*.py"))


@pytest.fixture
async def empty(postgres: str) -> AsyncIterator[str]:
    """The DSN of a database without any table."""
    owner = Store(postgres)
    await owner.execute("create database empty")
    try:
        yield named(postgres, "empty")
    finally:
        await owner.execute("drop database empty with (force)")
        await owner.close()


@pytest.fixture
async def other(dsn: str) -> AsyncIterator[Store]:
    """A store under another name, which `CUT` leaves alone."""
    one = Store(dsn, name="other")
    yield one
    await one.close()


async def cut(other: Store) -> int:
    """End every connection of `db`; how many there were."""
    database = await other.value("select current_database()")
    return len(await other.fetch(CUT, database))


# Migrations


async def test_an_empty_database_is_brought_to_this_version_once(empty: str) -> None:
    one = Store(empty)
    assert await store.migrate(one) == (0, store.VERSION)
    assert await store.migrate(one) == (store.VERSION, store.VERSION)
    await one.close()


async def test_of_several_daemons_one_migrates_and_the_others_wait(empty: str) -> None:
    stores = [Store(empty) for _ in range(5)]
    done = await asyncio.gather(*(store.migrate(one) for one in stores))
    assert sorted(done) == [(0, store.VERSION), *[(store.VERSION, store.VERSION)] * 4]
    await asyncio.gather(*(one.close() for one in stores))


async def test_tables_of_another_program_are_named_and_left_alone(empty: str) -> None:
    one = Store(empty)
    await one.execute("create table held (mine integer)")
    await one.execute("create table contact (mine integer)")
    with pytest.raises(errors.Unsupported, match=r"bridge needs \(contact, held\): give bridge a database of its own"):
        await store.migrate(one)
    tables = await one.fetch("select tablename from pg_tables where schemaname = 'public' order by 1")
    assert [row["tablename"] for row in tables] == ["contact", "held"]
    await one.execute("create schema bridge")
    database = await one.value("select current_database()")
    await one.execute(f"alter role bridge_user in database {database} set search_path = bridge")
    own = Store(empty)
    assert await store.migrate(own) == (0, store.VERSION)
    assert await store.migrate(own) == (store.VERSION, store.VERSION)
    await own.close()
    await one.close()


@pytest.mark.parametrize("columns", ["version text", "version integer", "id integer"])
async def test_a_table_of_versions_that_is_another_programs_is_left_alone(empty: str, columns: str) -> None:
    one = Store(empty)
    await one.execute(f"create table schema_version ({columns})")
    with pytest.raises(errors.Unsupported, match="schema_version in this database is another program's"):
        await store.migrate(one)
    await one.close()


async def test_who_may_make_no_tables_is_told_so(empty: str) -> None:
    one = Store(empty)
    await one.execute("create role guest login")
    guest = Store(empty.replace("bridge_user@", "guest@"))
    try:
        with pytest.raises(errors.Unsupported, match=r"may not make tables .*schema public"):
            await store.migrate(guest)
    finally:
        await guest.close()
        await one.execute("drop role guest")
        await one.close()


async def test_a_migration_that_fails_leaves_nothing(empty: str) -> None:
    one = Store(empty)
    await one.execute("create domain forgotten as integer")
    with pytest.raises(asyncpg.DuplicateObjectError):
        await store.migrate(one)
    assert await one.fetch("select tablename from pg_tables where schemaname = 'public'") == []
    await one.execute("drop domain forgotten")
    assert await store.migrate(one) == (0, store.VERSION)
    await one.close()


async def test_a_newer_database_is_refused(db: Store) -> None:
    await db.execute("update schema_version set version = 99")
    with pytest.raises(errors.Unsupported, match=f"has schema 99, this bridge knows {store.VERSION}: run the newer"):
        await store.migrate(db)
    assert await db.value("select version from schema_version") == 99


async def test_every_key_begins_with_the_tenant(db: Store) -> None:
    rows = await db.fetch(
        """
        select i.indrelid::regclass::text as "table", a.attname as first
        from pg_index i
        join pg_class c on c.oid = i.indrelid join pg_namespace n on n.oid = c.relnamespace
        join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
        where i.indisunique and n.nspname = 'public'
        """
    )
    # Processes are no tenant's.
    assert {row["first"] for row in rows if row["table"] != "daemon"} == {"tenant"}
    assert len({row["table"] for row in rows}) >= 8


# Named queries


@pytest.mark.parametrize("module", MODULES)
async def test_every_query_is_sound_and_used(db: Store, module: str) -> None:
    await lookup.prepare(db, 7)
    async with db.session() as session:
        await session.execute(store.queries("staging")["stage"])
        for name, sql in store.queries(module).items():
            assert f'"{name}"' in CODE, f"{module}.sql: nobody uses {name}"
            if ";" not in re.sub("--.*", "", sql):
                await session.raw.prepare(sql.format(digits=7) if "{digits}" in sql else sql)


def test_every_name_is_there_once() -> None:
    for module in MODULES:
        text = importlib.resources.files("bridge.sql").joinpath(f"{module}.sql").read_text("utf-8")
        assert len(re.findall("^-- name: ", text, re.MULTILINE)) == len(store.queries(module))


def test_a_lock_is_the_same_in_every_process_and_its_words_are_kept_apart() -> None:
    assert store.lock_key("sink", "default", "pbx") == 3736200522546504083
    assert store.lock_key("sink", "a", "b") != store.lock_key("sink", "ab")


# What is lost


async def test_a_lost_connection_is_unavailable_and_the_next_one_works(db: Store, other: Store) -> None:
    async with db.session() as session:
        assert await session.value("select 1") == 1
        assert await cut(other) == 1
        with pytest.raises(errors.Unavailable, match="the database is not there"):
            await session.value("select 1")
    assert await db.value("select 1") == 1


async def test_the_pool_gives_out_no_lost_connection_for_long(db: Store, other: Store) -> None:
    for _ in range(5):
        assert await db.value("select 1") == 1
        await cut(other)
        with contextlib.suppress(errors.Unavailable):  # where the loss is not known yet
            await db.value("select 1")


async def test_a_connection_lost_within_a_transaction_commits_nothing(db: Store, other: Store) -> None:
    async def write() -> None:
        async with db.pooled() as connection, connection.transaction():
            await connection.execute("insert into source (tenant, name) values ('default', 'lost')")
            await cut(other)
            await connection.execute("insert into source (tenant, name) values ('default', 'late')")

    with pytest.raises(errors.Unavailable):
        await write()
    assert await db.fetch("select name from source") == []


async def test_a_connection_lost_while_copying_is_unavailable(db: Store, other: Store) -> None:
    async def copy() -> None:
        async with db.session() as session:
            await session.execute("create temp table t (n integer)")
            await cut(other)
            await session.copy("t", ("n",), ((n,) for n in range(1000)))

    with pytest.raises(errors.Unavailable):
        await copy()


async def test_a_query_under_way_when_the_connection_is_lost_is_unavailable(db: Store, other: Store) -> None:
    sleeping = asyncio.create_task(db.value("select pg_sleep(20)"))
    while not await cut(other):
        await asyncio.sleep(0.01)
    with pytest.raises(errors.Unavailable):
        await asyncio.wait_for(sleeping, 5)


async def test_who_wants_to_know_is_told_of_the_end_of_a_connection(db: Store, other: Store) -> None:
    ended = asyncio.Event()
    async with db.session() as session:
        session.at_end(ended.set)
        await cut(other)
        await asyncio.wait_for(ended.wait(), 5)
        assert session.closed


async def test_our_own_mistakes_are_not_waited_out(db: Store) -> None:
    for wrong in ("select nonsense", "select 1/0"):
        with pytest.raises(asyncpg.PostgresError):
            await db.fetch(wrong)


async def test_a_database_that_only_reads_is_unavailable(db: Store, dsn: str) -> None:
    name = await db.value("select current_database()")
    await db.execute(f"alter database {name} set default_transaction_read_only = on")
    one = Store(dsn)
    with pytest.raises(errors.Unavailable):
        await one.value("select 1")
    await one.close()


async def test_nobody_there_is_unavailable_and_no_password_is_told() -> None:
    one = Store("postgresql://bridge:database-password@127.0.0.1:1/bridge")
    with pytest.raises(errors.Unavailable) as told:
        await one.value("select 1")
    assert "database-password" not in str(told.value)
    await one.close()


# Locks and word of changes


async def test_a_lock_is_one_sessions_until_that_ends(db: Store, other: Store) -> None:
    async with store.locked(db, "sink", "a") as first, store.locked(other, "sink", "a", wait=False) as second:
        assert (first is None, second is None) == (False, True)
        async with store.locked(other, "sink", "b", wait=False) as third:
            assert third is not None
    async with store.locked(other, "sink", "a", wait=False) as fourth:
        assert fourth is not None


async def test_a_lock_is_free_once_its_holder_is_gone(db: Store, other: Store) -> None:
    waiting = asyncio.Event()

    async def wait() -> None:
        waiting.set()
        async with store.locked(other, "sink", "a") as session:
            assert session is not None

    async with store.locked(db, "sink", "a"):
        second = asyncio.create_task(wait())
        await waiting.wait()
        await asyncio.sleep(0.1)
        assert not second.done()
        await cut(other)
        await asyncio.wait_for(second, 5)


async def test_word_of_a_change_arrives_when_it_commits(db: Store, other: Store) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    async with other.session() as session:
        await session.listen(store.CHANNEL, heard.put_nowait)
        async with db.pooled() as connection, connection.transaction():
            await connection.execute("select pg_notify($1, $2)", store.CHANNEL, '["default"]')
            await asyncio.sleep(0.1)
            assert heard.empty()
        assert await asyncio.wait_for(heard.get(), 5) == '["default"]'
