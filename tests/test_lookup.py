"""Lookups against a real database."""

from __future__ import annotations

import asyncio
import datetime
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from listed import record
from msgspec.structs import replace as revised
from served import configured, hold, ranked

from bridge import contact, embedded, errors, explain, lookup, questions, store
from bridge.contact import Contact, Number, RawNumber
from bridge.lookup import Directory, Lookups
from bridge.store import Store

ALEXA = record(
    "42",
    "Alexa Holiday",
    "+41 21 552 20 00",
    company="White Cross Co",
    contact_url="https://crm.example.com/contact/42",
    company_url="https://crm.example.com/company/7",
    custom=(("Language", "French"), ("Owner", "Ann")),
)


def named(answer: bytes) -> list[str]:
    return [one["name"] for one in orjson.loads(answer)]


@pytest.fixture
def place(tmp_path: Path) -> Directory:
    return lookup.directory(configured(tmp_path).tenants["default"])


async def asked(db: Store, place: Directory, number: str) -> list[str]:
    return named(await lookup.answer_once(db, place, number))


async def until(lookups: Lookups, place: Directory, number: str, want: list[str]) -> None:
    """Wait until the answer is this one; the test's own time-out ends it."""
    async with asyncio.timeout(5):
        while named(await lookups.answer(place, number)) != want:
            await asyncio.sleep(0.01)


async def test_result_has_every_field_of_the_page(db: Store, tmp_path: Path) -> None:
    workflows = '[connector.workflow.CallFlow]\naction = "webhook"\nurl = "https://hooks.example.com/"'
    place = lookup.directory(configured(tmp_path, workflows).tenants["default"])
    await hold(db, "crm", ALEXA, record("43", "", "12"))
    assert orjson.loads(await lookup.answer_once(db, place, "41215522000")) == [
        {
            "name": "Alexa Holiday",
            "company": "White Cross Co",
            "contactUri": "https://crm.example.com/contact/42",
            "companyUri": "https://crm.example.com/company/7",
            "id": "crm:42",
            "crmName": "Sugar CRM",
            "crmLogo": "https://crm.example.com/logo.png",
            "customData": {"Language": "French", "Owner": "Ann"},
            "customFields": {"Language": "French", "Owner": "Ann"},
            "crmActions": ["CallFlow"],
            "CrmActions": ["CallFlow"],
        }
    ]
    [bare] = orjson.loads(await lookup.answer_once(db, place, "12"))
    texts = ("name", "company", "contactUri", "companyUri")
    assert [bare[key] for key in texts] == [""] * 4
    assert (bare["customData"], bare["customFields"]) == ({}, {})


@pytest.mark.parametrize(
    "number",
    ["41215522000", "+41 21 552 20 00", "0041215522000", "0041 (0)21 552 20 00", "021 552 20 00", "0215522000"],
)
async def test_number_in_any_form(db: Store, place: Directory, number: str) -> None:
    await hold(db, "crm", ALEXA)
    assert await asked(db, replace(place, region="CH"), number) == ["Alexa Holiday"]


async def test_international_reading_is_first(db: Store, place: Directory) -> None:
    swiss, local = record("1", "Swiss", "+41 21 552 20 00"), record("2", "Local", RawNumber("+35241215522"))
    await hold(db, "crm", swiss, local)
    assert await asked(db, place, "41215522000") == ["Swiss"]


@pytest.mark.parametrize("number", ["", "anonymous", "garbage", "+", "1" * 400, "\x00", "'; drop table contact --"])
async def test_what_is_no_number_has_no_result(db: Store, place: Directory, number: str) -> None:
    await hold(db, "crm", ALEXA)
    assert await lookup.answer_once(db, place, number) == b"[]"


async def test_extension_is_an_extension(db: Store, place: Directory) -> None:
    await hold(db, "crm", record("1", "Ann", "123"), ALEXA)
    assert await asked(db, place, "123") == ["Ann"]
    assert await asked(db, place, "22000") == []


async def test_part_of_a_number_never_matches(db: Store, place: Directory) -> None:
    await hold(db, "crm", ALEXA)
    assert await asked(db, place, "5522000") == []
    assert await asked(db, place, "412155220001") == []


async def test_order_of_sources_then_own_numbers_then_the_newest(db: Store, place: Directory) -> None:
    number = "+352 621 111 111"
    day = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    await hold(
        db,
        "crm",
        record("1", "Firm", RawNumber(number, "work", company=True), modified=day + datetime.timedelta(9)),
        record("2", "Older", number, modified=day),
        record("3", "Newer", number, modified=day + datetime.timedelta(1)),
    )
    await hold(db, "office", record("1", "Office", number))
    await hold(db, "gone", record("1", "Gone", number))
    await ranked(db, "office", "crm")
    want = ["Office", "Newer", "Older", "Firm", "Gone"]
    assert await asked(db, place, "352621111111") == want
    assert await asked(db, replace(place, limit=2), "352621111111") == want[:2]
    await ranked(db, "crm", "office")
    assert await asked(db, place, "352621111111") == ["Newer", "Older", "Firm", "Office", "Gone"]


async def test_source_no_longer_configured_is_named_by_itself(db: Store, place: Directory) -> None:
    await hold(db, "gone", ALEXA)
    [result] = orjson.loads(await lookup.answer_once(db, place, "41215522000"))
    assert (result["crmName"], result["crmLogo"], result["id"]) == ("gone", "", "gone:42")


async def test_tenants_do_not_meet(db: Store, place: Directory) -> None:
    await hold(db, "crm", ALEXA, tenant="acme")
    assert await asked(db, place, "41215522000") == []
    assert await asked(db, replace(place, tenant="acme"), "41215522000") == ["Alexa Holiday"]


async def test_many_questions_at_once_are_each_answered(db: Store, place: Directory) -> None:
    await hold(db, "crm", *(record(str(i), f"Person {i}", f"+352 621 {100000 + i}") for i in range(200)))
    lookups = Lookups(db)
    await lookups.start()
    numbers = [f"352621{100000 + i}" for i in range(210)]
    got = await asyncio.gather(*(lookups.answer(place, number) for number in numbers))
    assert [named(one) for one in got] == [[f"Person {i}"] for i in range(200)] + [[]] * 10
    await lookups.close()


async def test_questions_asked_together_each_take_as_many_as_their_own_limit(db: Store, place: Directory) -> None:
    await hold(db, "crm", *(record(str(i), f"Person {i}", "+352 621 111 111") for i in range(9)))
    lookups = Lookups(db)
    await lookups.start()
    places = [replace(place, limit=limit) for limit in (1, 7, 3)]
    got = await asyncio.gather(*(lookups.answer(one, "352621111111") for one in places))
    assert [len(named(one)) for one in got] == [1, 7, 3]
    await lookups.close()


async def test_answer_is_remembered_until_its_number_changes(db: Store, place: Directory) -> None:
    ann, bob = record("1", "Ann", "+352 621 111 111"), record("2", "Bob", "+352 621 222 222")
    await hold(db, "crm", ann, bob)
    lookups = Lookups(db)
    await lookups.start()
    async with asyncio.timeout(5):
        while lookups.remembered(place, "352621111111") is None:
            await lookups.answer(place, "352621111111")
    await lookups.answer(place, "352621222222")
    await lookups.answer(place, "352621333333")
    await hold(db, "crm", revised(ann, display_name="Ann Lee"), bob, record("3", "Eve", "+352 621 333 333"))
    await until(lookups, place, "352621111111", ["Ann Lee"])
    await until(lookups, place, "352621333333", ["Eve"])
    assert lookups.remembered(place, "352621222222") is not None
    await hold(db, "crm", bob, record("3", "Eve", "+352 621 333 333"))
    await until(lookups, place, "352621111111", [])
    await lookups.close()


async def test_word_of_a_whole_tenant_empties_it(db: Store, place: Directory) -> None:
    await hold(db, "crm", ALEXA)
    other = replace(place, tenant="acme")
    lookups = Lookups(db)
    await lookups.start()
    async with asyncio.timeout(5):
        while not (lookups.remembered(place, "41215522000") and lookups.remembered(other, "41215522000")):
            await lookups.answer(place, "41215522000")
            await lookups.answer(other, "41215522000")
    await db.execute("select pg_notify($1, $2)", store.CHANNEL, '["default"]')
    async with asyncio.timeout(5):
        while lookups.remembered(place, "41215522000"):
            await asyncio.sleep(0.01)
    assert lookups.remembered(other, "41215522000") == b"[]"
    await lookups.close()


async def test_lost_listener_forgets_and_comes_back(db: Store, place: Directory) -> None:
    await hold(db, "crm", ALEXA)
    lookups = Lookups(db)
    await lookups.start()
    async with asyncio.timeout(5):
        while lookups.remembered(place, "41215522000") is None:
            await lookups.answer(place, "41215522000")
    await db.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity where query ilike 'listen%' or query = 'select 1'"
    )
    async with asyncio.timeout(5):
        while lookups.remembered(place, "41215522000") is not None:
            await asyncio.sleep(0.01)
        while lookups.remembered(place, "41215522000") is None:
            await lookups.answer(place, "41215522000")
    await lookups.close()


async def test_database_gone_is_said_at_once_and_comes_back(tmp_path: Path, place: Directory) -> None:
    server = await embedded.open(tmp_path)
    db = Store(server.dsn)
    await store.migrate(db)
    await hold(db, "crm", ALEXA)
    lookups = Lookups(db)
    await lookups.start()
    assert named(await lookups.answer(place, "41215522000")) == ["Alexa Holiday"]
    await db.close()
    await server.close()
    async with asyncio.timeout(2):
        await until_refused(lookups, place, "41215522000")
    server = await embedded.open(tmp_path)
    async with asyncio.timeout(10):
        while lookups.reason:
            await asyncio.sleep(0.02)
    assert named(await lookups.answer(place, "41215522000")) == ["Alexa Holiday"]
    await lookups.close()
    await server.close()


async def test_idle_connections_hold_no_locks(db: Store) -> None:
    lookups = Lookups(db)
    await lookups.start()
    assert await db.value("select count(*) from pg_locks where relation = 'contact'::regclass") == 0
    await lookups.close()


async def test_database_that_hangs_is_given_up(db: Store, place: Directory) -> None:
    await hold(db, "crm", ALEXA)
    lookups = Lookups(db)
    await lookups.start()
    async with db.session() as session, session.transaction():
        await session.execute("lock table contact in access exclusive mode")
        async with asyncio.timeout(2 * questions.DEADLINE):
            with pytest.raises(errors.Unavailable):
                await lookups.answer(place, "41215522000")
    await until_up(lookups)
    assert named(await lookups.answer(place, "41215522000")) == ["Alexa Holiday"]
    await lookups.close()


async def until_refused(lookups: Lookups, place: Directory, number: str) -> None:
    while not lookups.reason:
        await asyncio.sleep(0.01)
    with pytest.raises(errors.Unavailable, match="database"):
        await lookups.answer(place, number)


async def until_up(lookups: Lookups) -> None:
    async with asyncio.timeout(10):
        while lookups.reason:
            await asyncio.sleep(0.02)


async def test_database_without_tables_is_waited_for(postgres: str, tmp_path: Path, place: Directory) -> None:
    owner = Store(postgres)
    await owner.execute("create database bare")
    db = Store(postgres.replace("/bridge?", "/bare?"))
    lookups = Lookups(db)
    await lookups.start()
    with pytest.raises(errors.Unavailable, match="tables"):
        await lookups.answer(place, "41215522000")
    await store.migrate(db)
    await until_up(lookups)
    assert await lookups.answer(place, "41215522000") == b"[]"
    await lookups.close()
    await db.close()
    await owner.execute("drop database bare with (force)")
    await owner.close()


@pytest.mark.parametrize(
    ("held", "number", "want"),
    [
        (["+49 30 1234567"], "0301234567", ["0"]),
        (["12345678"], "0912345678", ["0"]),
        (["+49 30 1234567", "+49 40 1234567"], "1234567", []),
        (["+49 30 1234567"], "234567", []),
        (["+49 30 1234567"], "+33 1 23 12 34 56 7", ["0"]),
        (["+352 621 234 567"], "+49 30 1234567", []),
        (["+352 621 234 567"], "0049301234567", []),
        (["+352 621 234 567"], "030 1234567", ["0"]),
        (["*12345678#"], "0912345678", []),
    ],
)
async def test_last_digits(db: Store, place: Directory, held: list[str], number: str, want: list[str]) -> None:
    place = replace(place, suffix=7, region="DE")
    await lookup.prepare(db, 7)
    await lookup.prepare(db, 7)
    await hold(db, "crm", *(record(str(i), str(i), text) for i, text in enumerate(held)))
    assert await asked(db, place, number) == want
    lookups = Lookups(db)
    await lookups.start()
    assert named(await lookups.answer(place, number)) == want
    await lookups.close()


async def test_whole_number_goes_before_last_digits(db: Store, place: Directory) -> None:
    await lookup.prepare(db, 7)
    place = replace(place, suffix=7, region="DE")
    await hold(db, "crm", record("1", "Whole", "+49 40 1234567"), record("2", "Tail", "+49 30 1234567"))
    assert await asked(db, place, "+49401234567") == ["Whole"]


async def test_answer_by_last_digits_changes_with_them(db: Store, place: Directory) -> None:
    await lookup.prepare(db, 7)
    place = replace(place, suffix=7, region="DE")
    ann = record("1", "Ann", "+49 30 1234567")
    await hold(db, "crm", ann)
    lookups = Lookups(db)
    await lookups.start()
    async with asyncio.timeout(5):
        while lookups.remembered(place, "091234567") is None:
            await lookups.answer(place, "091234567")
    assert named(await lookups.answer(place, "091234567")) == ["Ann"]
    await hold(db, "crm", ann, record("2", "Bob", "+49 40 1234567"))
    await until(lookups, place, "091234567", [])
    await lookups.close()


async def plan(db: Store, sql: str, *args: Any) -> str:
    async with db.session() as session:
        for setting in ("plan_once", "by_index", "no_bitmaps"):
            await session.execute(questions.SQL[setting])
        rows = await session.fetch("explain " + sql, *args)
        return "\n".join(row[0] for row in rows)


async def test_lookup_reads_indexes_alone(db: Store) -> None:
    await hold(db, "crm", *(record(str(i), "", f"+352 621 {100000 + i}") for i in range(1_000)))
    text = await plan(db, questions.SQL["find"], ["default"], ["+1"], 5)
    assert [line.strip() for line in text.splitlines() if "Index Cond" in line] == [
        "Index Cond: ((tenant = (set_config('bridge.tenant'::text, a.tenant, true))) AND (number = a.number))",
        "Index Cond: ((tenant = m.tenant) AND (pk = m.contact))",
        "Index Cond: ((tenant = m.tenant) AND (name = c.source))",
    ]
    filters = [line for line in text.splitlines() if "Filter" in line]
    assert [line for line in filters if "bridge.tenant" not in line] == [], "only what row security asks of each row"


@pytest.mark.parametrize(
    "named",
    [
        {"display_name": "Ann Lee", "first_name": "Ann", "last_name": "Other", "company": "Co"},
        {"first_name": "Ann", "last_name": "Lee", "company": "Co"},
        {"last_name": "Lee"},
        {"company": "Co"},
        {},
    ],
)
def test_name_is_the_contacts(place: Directory, named: dict[str, str]) -> None:
    held = Contact(source="crm", id="1", emails=("a@example.com",), numbers=(Number("+1", "work", "1"),), **named)
    [shown] = orjson.loads(lookup.render(place, [("crm", contact.dump(held).decode())]))
    assert (shown["name"], shown["company"]) == (held.name, held.company)


async def test_last_digits_are_found_by_their_index(db: Store) -> None:
    await lookup.prepare(db, 8)
    text = await plan(db, lookup.SQL["by_suffix"].format(digits=8), "default", "12345678")
    assert "number_tail_8" in text


async def test_explanation_names_readings_candidates_and_the_rule(db: Store, place: Directory) -> None:
    number = "+352 621 111 111"
    await hold(db, "crm", record("1", "Ann", number), record("2", "Firm", RawNumber(number, "work", company=True)))
    await hold(db, "office", record("1", "Office", number))
    await ranked(db, "crm", "office")
    told = await explain.explain(db, place, "352621111111")
    assert told.meant == "+352621111111"
    assert told.rule == "it is this contact's own number, and the other's company number"
    assert [one["name"] for one in told.results] == ["Ann", "Firm", "Office"]
    first = told.readings[0]
    assert first.key == "+352621111111"
    assert first.why
    got = [(c.source, c.id, c.name, c.kind, c.company_number, c.configured, c.answered) for c in first.candidates]
    assert got == [
        ("crm", "1", "Ann", "work", False, True, True),
        ("crm", "2", "Firm", "work", True, True, True),
        ("office", "1", "Office", "work", False, True, True),
    ]
    assert all(c.read_at is not None for c in first.candidates)


async def test_explanation_of_nothing(db: Store, place: Directory) -> None:
    assert (await explain.explain(db, place, "anonymous")).rule == "this is no number"
    assert (await explain.explain(db, place, "352621111111")).rule == "no contact has this number"
    await hold(db, "crm", record("1", "Ann", "+352 621 111 111"), record("2", "Bob", "+352 621 111 111"))
    await db.execute("update contact set changed_at = '2026-01-01'")
    assert (await explain.explain(db, place, "352621111111")).rule == "both changed at the same time: the smaller id"
