"""Who owns a number is decided one by one for few numbers, and at once for many."""

from __future__ import annotations

from bridge import entries
from bridge.store import Connection, Store

CONTACTS = 20_000
FILL = f"""
insert into source (tenant, name, rank) values ('default', 'book', 0);
insert into contact (tenant, pk, source, id, digest, checksum, names, named, callable, changed_at, body)
select 'default', n, 'book', n, '', '', n, true, 1, now(), json_build_object('pad', repeat('x', 400))
from generate_series(1, {CONTACTS}) n;
insert into number select 'default', '+352' || n, n, 'work', false from generate_series(1, {CONTACTS}) n;
"""


async def touch(session: Connection, numbers: str) -> None:
    await session.execute(entries.SQL["stage_touched"])
    await session.execute(f"insert into touched {numbers}")
    await session.execute(entries.SQL["analyze_touched"])


async def plan(session: Connection) -> str:
    rows = await session.fetch("explain " + entries.SQL["settle_owners"], "default", "pbx", ["book"])
    return "\n".join(row[0] for row in rows)


async def test_many_numbers_of_tables_that_just_grew_are_joined_at_once(db: Store) -> None:
    async with db.session() as session, session.transaction():
        await session.execute(FILL)
        await touch(session, "select number from number")
        text = await plan(session)
        assert [table for table in ("number", "contact") if f"Seq Scan on {table} " in text] == ["number", "contact"]
        await entries.settle_owners(session, "default", "pbx", ["book"])
        assert await session.value("select count(*) from entry where contact = names and state = 'due'") == CONTACTS


async def test_few_numbers_are_looked_up_by_index_alone(db: Store) -> None:
    async with db.session() as session:
        await session.execute(FILL)
        await touch(session, "select number from number")
        await entries.settle_owners(session, "default", "pbx", ["book"])
        await session.execute("analyze contact, number, entry")
        await touch(session, "select number from number limit 100")
        text = await plan(session)
    for index in ("number_pkey", "contact_pkey", "entry_pkey"):
        assert f"using {index} on" in text
    assert [line for line in text.splitlines() if "Seq Scan" in line and " touched " not in line] == []


async def test_settling_again_writes_nothing(db: Store) -> None:
    async with db.session() as session:
        await session.execute(FILL)
        await touch(session, "select number from number limit 100")
        await entries.settle_owners(session, "default", "pbx", ["book"])
        before = await session.fetch("select number, xmin::text from entry order by number")
        await entries.settle_owners(session, "default", "pbx", ["book"])
        assert await session.fetch("select number, xmin::text from entry order by number") == before
        assert len(before) == 100


async def test_what_is_due_for_its_name_stays_due_for_its_spelling(db: Store) -> None:
    """A contact that is called otherwise, spelled otherwise, and called as before: the sink holds the old spelling."""

    async def settle(names: int) -> None:
        await session.execute("update contact set names = $1 where pk = 1", names)
        await session.execute(entries.SQL["stage_touched"])
        await session.execute("insert into touched select number from number")
        await entries.settle_owners(session, "default", "pbx", ["book"])

    async with db.session() as session:
        await session.execute(FILL.replace(str(CONTACTS), "1"))
        async with session.transaction():
            await entries.follow_policy(session, "default", "pbx", ["book"], "digits LU")
        await session.execute("update entry set state = 'clean', acked = '{}', acked_names = names, acked_kind = kind")
        await settle(7)
        async with session.transaction():
            await entries.follow_policy(session, "default", "pbx", ["book"], "zeros LU")
        await settle(1)
        assert await session.value("select state from entry") == "due"
