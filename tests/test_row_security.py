"""The second lock between tenants: what a session sees and writes when the queries forget to say whose rows they want.

The sessions are those that the code has: of the embedded server, and of a database that an ordinary role owns.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import orjson
import pytest
from commands import bridge
from conftest import named
from served import hold, ranked

from bridge import accounts, embedded, lookup, migrations, questions, store
from bridge.contact import RawNumber, Record
from bridge.postgres import DEMOTED, ROLE, SUPERUSER
from bridge.questions import Question, Questions
from bridge.store import Store

BOTH = ("acme", "zeta")
NUMBER = "+352621000001"
TABLES = """
select c.relname from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant'
where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') order by 1
"""
COLUMNS = """
select quote_ident(attname) as name, atttypid::regtype::text as type from pg_attribute
where attrelid = $1::text::regclass and attnum > 0 and not attisdropped and attgenerated = '' and attname <> 'tenant'
"""
ANY = {
    "text": "'x'",
    "text[]": "'{}'",
    "bigint": "1",
    "integer": "1",
    "smallint": "1",
    "real": "1",
    "boolean": "true",
    "bytea": "''",
    "json": "'{}'",
    "timestamp with time zone": "now()",
}


async def tables(db: Store) -> list[str]:
    return [row[0] for row in await db.fetch(TABLES)]


async def insert(db: Store, table: str) -> str:
    """The statement that puts a row of the tenant $1 into a table."""
    columns = await db.fetch(COLUMNS, table)
    names, values = ", ".join(row["name"] for row in columns), ", ".join(ANY[row["type"]] for row in columns)
    return f"insert into {table} (tenant, {names}) values ($1, {values})"


async def fill(db: Store) -> None:
    """A row of each tenant in every table."""
    for table in await tables(db):
        for tenant in BOTH:
            await db.execute(await insert(db, table), tenant)


@pytest.fixture
async def owned(postgres: str) -> AsyncIterator[str]:
    """The DSN of a migrated database of an admin's own, which an ordinary role owns."""
    owner = Store(postgres)
    await owner.execute("create role provider login")
    await owner.execute("grant provider to current_user")
    await owner.execute("create database owned owner provider")
    dsn = named(postgres, "owned").replace(f"{ROLE}@", "provider@")
    made = Store(dsn)
    try:
        await store.migrate(made)
        yield dsn
    finally:
        await made.close()
        await owner.execute("drop database owned with (force)")
        await owner.execute("drop role provider")
        await owner.close()


@pytest.fixture(params=["embedded", "url"])
async def both(request: pytest.FixtureRequest, dsn: str, owned: str) -> AsyncIterator[Store]:
    """A store of both tenants, one row a table each."""
    db = Store(dsn if request.param == "embedded" else owned)
    await fill(db)
    yield db
    await db.close()


async def test_without_a_condition_a_session_sees_its_own_tenants_rows_alone(both: Store) -> None:
    assert len(await tables(both)) > 15
    for table in await tables(both):
        rows = f"select distinct tenant from {table}"
        for seen in (both.of("acme"), both.of("zeta"), both.of(""), both):
            want = {"acme": ["acme"], "zeta": ["zeta"], "": [], "*": [*BOTH]}[seen._tenant]
            assert sorted(row[0] for row in await seen.fetch(rows)) == want, f"{table}, from the pool"
            async with seen.session() as session:
                assert sorted(row[0] for row in await session.fetch(rows)) == want, f"{table}, in a session of its own"


async def test_a_session_that_says_nothing_sees_nothing(both: Store) -> None:
    stranger = await asyncpg.connect(both._dsn)
    for table in await tables(both):
        assert await stranger.fetchval(f"select count(*) from {table}") == 0
    await stranger.close()


async def test_without_a_condition_nothing_of_another_tenant_is_written(both: Store) -> None:
    acme = both.of("acme")
    for table in await tables(both):
        statement = await insert(both, table)
        await acme.execute(f"delete from {table}")
        assert [row[0] for row in await both.fetch(f"select tenant from {table}")] == ["zeta"]
        for one in (acme, both.of("")):
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
                await one.execute(statement, "another")
        await acme.execute(statement, "acme")
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            await acme.execute(f"update {table} set tenant = 'another'")


async def test_a_connection_that_is_given_back_forgets_its_tenant(dsn: str, db: Store) -> None:
    await fill(db)
    strangers = Store(dsn, size=1, tenant="")
    everybody = "select count(*) from contact"
    assert await strangers.of("acme").value(everybody) == 1
    assert await strangers.value(everybody) == 0
    with pytest.raises(asyncpg.DivisionByZeroError):
        await strangers.of("acme").value("select 1 / 0")
    assert await strangers.value(everybody) == 0
    async with strangers.of("acme").pooled() as connection, connection.transaction():
        pid = await connection.value("select pg_backend_pid()")
    assert await strangers.value("select pg_backend_pid()") == pid, "it is the same connection"
    assert await strangers.value(everybody) == 0
    assert await strangers.of("zeta").value("select tenant from contact") == "zeta"
    await strangers.close()


async def test_many_at_a_time_in_one_pool_keep_to_their_own(dsn: str, db: Store) -> None:
    await fill(db)
    strangers = Store(dsn, size=3, tenant="")
    asked = [tenant for _ in range(50) for tenant in ("acme", "zeta", "")]
    counts = [strangers.of(tenant).fetch("select tenant from number") for tenant in asked]
    got = [[row[0] for row in rows] for rows in await asyncio.gather(*counts)]
    assert got == [[tenant] if tenant else [] for tenant in asked]
    await strangers.close()


def anybodys(sql: str) -> str:
    """The query without a word of tenants where it looks for rows."""
    made = re.sub(r"\w+\.tenant = \w+\.tenant and ", "", sql)
    assert made != sql
    assert "tenant =" not in made
    return made


async def people(db: Store) -> None:
    """Both tenants have the number, and a source of the same name; zeta's is the better one."""
    for tenant in BOTH:
        person = Record("1", first_name="Ann", last_name=tenant, numbers=(RawNumber(NUMBER, "work"),))
        await hold(db, "crm", person, tenant=tenant)


async def asked(db: Store, sql: str) -> list[list[str]]:
    """Who has the number, as the query says: asked for acme, zeta, nobody and acme again, at once."""
    wanted = [Question(tenant, (NUMBER,), 5) for tenant in ("acme", "zeta", "nobody", "acme")]
    found = questions.sort_out(await db.fetch(sql, *questions.arguments(wanted)), wanted)
    return [[orjson.loads(body)["last_name"] for _, body in one] for one in found]


async def test_lookups_that_forget_the_tenant_find_their_own(dsn: str, db: Store) -> None:
    await people(db)
    strangers = Store(dsn, tenant="")
    for sql in (questions.SQL["find"], anybodys(questions.SQL["find"])):
        assert await asked(strangers, sql) == [["acme"], ["zeta"], [], ["acme"]]
        async with strangers.session() as session:
            for setting in ("plan_once", "by_index", "no_bitmaps"):
                await session.execute(questions.SQL[setting])
            find = await session.prepare(sql)
            rows = await find.fetch(["zeta", "acme"], [NUMBER, NUMBER], 5, within=5.0)
            assert [(row[0], orjson.loads(row[2])["last_name"]) for row in rows] == [(1, "zeta"), (2, "acme")]
            assert await session.value("select count(*) from contact") == 0, "the session is nobody's again"
    await strangers.close()


async def test_polls_that_forget_the_tenant_find_their_own(dsn: str, db: Store) -> None:
    for tenant in BOTH:
        values = (tenant, f"{tenant}'s login")
        await db.execute("insert into account values ($1, 'ann', $2, '', '{}')", *values)
        await db.execute("insert into device values ($1, 'ann', 'd1', '[]', $2)", tenant, tenant.encode())
    strangers = Store(dsn, tenant="")
    for sql in (accounts.SQL["poll"], anybodys(accounts.SQL["poll"])):
        rows = await strangers.fetch(sql, ["zeta", "acme", "none"], ["ann"] * 3, ["d1"] * 3)
        assert [(row["n"], row["login"], bytes(row["mark"])) for row in rows] == [
            (1, "zeta's login", b"zeta"),
            (2, "acme's login", b"acme"),
        ]
    await strangers.close()


async def test_questions_of_many_tenants_are_answered_with_their_own(dsn: str, db: Store) -> None:
    await people(db)
    await ranked(db, "crm")
    asking = Questions(Store(dsn, tenant=""))
    await asking.start()
    wanted = [("acme", "zeta", "nobody")[n % 3] for n in range(60)]
    found = await asyncio.gather(*(asking.put(Question(tenant, (NUMBER,), 5)) for tenant in wanted))
    got = [[orjson.loads(body)["last_name"] for _, body in one] for one in found]
    assert got == [[tenant] if tenant in BOTH else [] for tenant in wanted]
    await asking.close()


async def test_the_last_digits_are_looked_for_among_ones_own(dsn: str, db: Store) -> None:
    await lookup.prepare(db, 7)
    await people(db)
    strangers = Store(dsn, tenant="")
    sql = re.sub(r"\w+\.tenant = \$1 and ", "$1::text is not null and ", lookup.SQL["by_suffix"].format(digits=7))
    for tenant in BOTH:
        [row] = await strangers.of(tenant).fetch(sql, tenant, NUMBER[-7:])
        assert orjson.loads(row["body"])["last_name"] == tenant
    await strangers.close()


async def test_a_user_whom_row_security_does_not_hold_is_named(postgres: str, owned: str, tmp_path: Path) -> None:
    for dsn, held in ((owned, True), (owned.replace("provider@", f"{SUPERUSER}@"), False)):
        async with Store(dsn).session() as session:
            assert (await migrations.unheld(session) == "") == held
        config = tmp_path / "bridge.toml"
        config.write_text(f'region = "LU"\n[database]\nurl = "{dsn}"\n')
        config.chmod(0o600)
        ran = await bridge(tmp_path, "check", "--json")
        assert ran.code == 0
        assert ("bypasses row security" in ran.json["database"][0]["said"]) != held


async def test_an_embedded_database_of_a_superuser_becomes_an_ordinary_roles(tmp_path: Path) -> None:
    """As earlier versions made it."""
    server = await embedded.open(tmp_path)
    db = Store(server.dsn)
    await store.migrate(db)
    await fill(db)
    await db.close()
    superuser = Store(server.dsn.replace(f"{ROLE}@", f"{SUPERUSER}@"), size=1)
    await superuser.execute(f"reassign owned by {ROLE} to {SUPERUSER}")
    await superuser.execute(f"drop role {ROLE}")
    assert await superuser.of("acme").value("select count(*) from contact") == 2, "a superuser is not held"
    await superuser.close()
    await server.close()
    (tmp_path / "postgres" / "data" / DEMOTED).unlink()

    server = await embedded.open(tmp_path)
    db = Store(server.dsn)
    assert await store.migrate(db) == (store.VERSION, store.VERSION)
    assert await db.value("select count(*) from contact") == 2
    assert await db.of("acme").value("select count(*) from contact") == 1
    await db.execute("create table made (id integer)")
    await db.close()
    await server.close()
