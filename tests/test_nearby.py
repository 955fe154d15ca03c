"""Whole tenants in memory: right at every instant, whatever commits meanwhile."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from listed import Listed, record
from served import configured, hold, ranked

from bridge import contact, embedded, errors, lookup, nearby, numbers, store, sync
from bridge.contact import Contact, RawNumber, Record
from bridge.keys import Guard
from bridge.lookup import Begun, Directory, Lookups
from bridge.nearby import Nearby
from bridge.sheets import Maker, Sheet
from bridge.shown import Compact
from bridge.store import Store

QUIET = 0.02


def named(answer: bytes) -> list[str]:
    return [one["name"] for one in orjson.loads(answer)]


@pytest.fixture
def place(tmp_path: Path) -> Directory:
    return lookup.directory(configured(tmp_path).tenants["default"])


@asynccontextmanager
async def answering(db: Store, near: Nearby | None = None) -> AsyncIterator[tuple[Lookups, Nearby]]:
    near = near or Nearby(db, quiet=QUIET)
    lookups = Lookups(db, nearby=near)
    await lookups.start()
    try:
        yield lookups, near
    finally:
        await lookups.close()


async def held(near: Nearby, tenant: str = "default") -> Sheet:
    """The tenant's sheet, as soon as it is there."""
    async with asyncio.timeout(10):
        while (sheet := near.sheet(tenant)) is None:
            await asyncio.sleep(0.005)
    return sheet


async def deafen(db: Store) -> None:
    """End the connection that hears of commits."""
    await db.execute("select pg_terminate_backend(pid) from pg_stat_activity where query ~* '^(listen|select 1$)'")


def made(*people: tuple[str, Sequence[str]]) -> Sheet:
    """A sheet of names with their numbers."""
    maker = Maker()
    for key, (name, _) in enumerate(people):
        maker.contact(key, "crm", Compact(name.encode(), b"common"))
    pairs = [(number, key) for key, (_, theirs) in enumerate(people) for number in theirs]
    for number, key in sorted(pairs):
        maker.number(number, key)
    return maker.sheet()


def whose(sheet: Sheet, number: str) -> list[str] | None:
    found = sheet.find(number, 9)
    return found if found is None else [shown.own.decode() for _, shown in found]


def test_sheet_finds_whole_numbers_of_any_form() -> None:
    longest = "+123456789012345"
    odd = "0" * 32
    sheet = made(
        ("Ann", ["+352621000001", "12", "*31#"]),
        ("Bob", ["+352621000001", "+35262100000", longest]),
        ("Eve", ["012", "0012", odd, "1" * 17]),
    )
    got = {n: whose(sheet, n) for n in ("+352621000001", "+35262100000", "12", "012", "0012", "*31#", longest, odd)}
    assert got == {
        "+352621000001": ["Ann", "Bob"],
        "+35262100000": ["Bob"],
        "12": ["Ann"],
        "012": ["Eve"],
        "0012": ["Eve"],
        "*31#": ["Ann"],
        longest: ["Bob"],
        odd: ["Eve"],
    }
    for nobody in ("", "1", "+", "352621000001", "+3526210000010", "1" * 16, "1" * 18, "a2", "1_2", " 12", "\x00", "٣"):
        assert whose(sheet, nobody) == [], nobody


def test_sheet_of_many_contacts_finds_each() -> None:
    people = [(f"Person {i}", [f"+352{621000000 + 7 * i}"]) for i in range(10_000)]
    sheet = made(*people)
    assert [whose(sheet, theirs[0]) for _, theirs in people] == [[name] for name, _ in people]
    assert whose(sheet, "+352621000001") == []
    assert sheet.bytes < 10_000 * 40


def test_sheet_names_the_first_of_many_who_have_a_number() -> None:
    sheet = made(*((f"Person {i:03}", ["+352621000001", "1" * 17]) for i in range(200)))
    for number in ("+352621000001", "1" * 17):
        assert [shown.own for _, shown in sheet.find(number, 3) or ()] == [b"Person 000", b"Person 001", b"Person 002"]


def test_sheet_of_more_companies_than_are_looked_out_for_tells_each() -> None:
    maker = Maker()
    people = 40_000
    for key in range(people):
        maker.contact(key, "crm", Compact(b"Ann", b"Company %d" % (key % 20_000)))
    for key in range(people):
        maker.number(f"+352{621000000 + key}", key)
    making = maker.bytes
    sheet = maker.sheet()
    found = [sheet.find(f"+352{621000000 + key}", 1) for key in range(people)]
    assert found == [[("crm", Compact(b"Ann", b"Company %d" % (key % 20_000)))] for key in range(people)]
    assert sheet.bytes < making < people * 140
    assert sheet.bytes < people * 30


def test_sheet_says_nothing_of_what_has_changed() -> None:
    sheet = made(("Ann", ["12"]), ("Bob", ["13"]))
    sheet.stale.update(["12", "14"])
    assert [whose(sheet, number) for number in ("12", "13", "14", "15")] == [None, ["Bob"], None, []]


def test_contact_is_shown_the_same_from_its_parts(place: Directory) -> None:
    odd = 'a "quoted", \\ back\\","slash\n\x1f%b %% {} Ünï \u2028'
    more = {
        "contact_url": f"https://x.example/{odd}?a=\n1",
        "company_url": "ftp://no",
        "custom": (("%", odd), ("%", "2")),
    }
    one = Contact(source="crm", id=odd, display_name=odd, company='",', **more)
    place = replace(place, workflows=("%b", odd), shown={'o"%b",': (odd, "https://logo.example/%s")})
    [result] = orjson.loads(lookup.render(place, [('o"%b",', contact.dump(one).decode())]))
    assert result == {
        "name": odd,
        "company": '",',
        "contactUri": f"https://x.example/{odd}?a=\n1",
        "companyUri": "",
        "id": f'o"%b",:{odd}',
        "crmName": odd,
        "crmLogo": "https://logo.example/%s",
        "customData": {"%": f"{odd}, 2"},
        "customFields": {"%": f"{odd}, 2"},
        "crmActions": ["%b", odd],
        "CrmActions": ["%b", odd],
    }


@pytest.mark.parametrize("region", ["LU", "DE", "IT", "US", "RU", "HU", "MX", "AR", "BR", "CN", "GB", "SM"])
def test_digits_of_a_whole_number_are_read_as_that_first(region: str) -> None:
    known = ("+41215522000", "+390612345678", "+12025550123", "+79161234567", "+3612345678", "+525512345678")
    for key in (*known, "+5491123456789", "+5511912345678", "+8613800138000", "+442079460000", "+3780549886377"):
        assert numbers.readings(key[1:], region)[0] == numbers.read(key, region)[0]


async def test_tenant_in_memory_answers_as_the_database_does(db: Store, place: Directory) -> None:
    number = "+352 621 111 111"
    firm = RawNumber(number, "work", company=True)
    custom = (("Language", "French"), ("Language", "German"))
    await hold(
        db,
        "crm",
        record("1", "Firm", firm),
        record("2", "Ann", number, "+41 21 552 20 00", "12", company="Co", custom=custom),
        record("3", "Eve", number, "*31#", contact_url="https://crm.example.com/3", company_url="ftp://x"),
        record("4", "Nobody"),
    )
    await hold(db, "office", record("1", "Office", number))
    await hold(db, "gone", record("1", "Gone", number))
    await hold(db, "crm", record("1", "Other tenant", number, "13"), tenant="acme")
    await ranked(db, "office", "crm")
    async with answering(db) as (lookups, near):
        await held(near)
        for asked in ("352621111111", "+352 621 111 111", "621111111", "41215522000", "12", "*31#", "13", "junk", ""):
            for one in (place, replace(place, limit=2), replace(place, region="CH"), replace(place, internal_digits=9)):
                want = await lookup.answer_once(db, one, asked)
                assert orjson.loads(await lookups.answer(one, asked)) == orjson.loads(want), asked
                assert type(lookups.begin(one, asked)) is bytes
        assert len(named(await lookups.answer(place, "352621111111"))) == 5


async def test_nobody_asks_the_database_for_a_tenant_in_memory(db: Store, place: Directory) -> None:
    await hold(db, "crm", record("1", "Ann", "+352 621 111 111"))
    async with answering(db) as (lookups, near):
        await held(near)
        async with db.session() as session, session.transaction():
            await session.execute("lock table contact in access exclusive mode")
            assert named(await lookups.answer(place, "352621111111")) == ["Ann"]
            assert await lookups.answer(place, "352621222222") == b"[]"


async def test_what_is_no_number_is_not_kept(db: Store, place: Directory) -> None:
    await hold(db, "crm", record("1", "Ann", "+352 621 111 111"))
    async with answering(db) as (lookups, near):
        await held(near)
        for asked in ("x" * 60_000, "1" * 60_000, "junk", ""):
            assert lookups.begin(place, asked) == b"[]"
            assert await lookups.answer(place, asked) == b"[]"
            assert lookups.remembered(place, asked) is None
        assert lookups.begin(place, "352621222222") == b"[]"
        assert lookups.remembered(place, "352621222222") == b"[]"


async def test_changed_numbers_are_asked_for_and_others_are_not(db: Store, place: Directory) -> None:
    ann, bob = record("1", "Ann", "+352 621 111 111"), record("2", "Bob", "+352 621 222 222")
    await hold(db, "crm", ann, bob)
    async with answering(db) as (lookups, near):
        sheet = await held(near)
        await hold(db, "crm", record("1", "Ann Lee", "+352 621 111 111"), bob, record("3", "Eve", "+352 621 333 333"))
        async with asyncio.timeout(5):
            while not sheet.stale:
                await asyncio.sleep(0.005)
        assert near.sheet("default") is sheet
        assert sheet.stale == {"+352621111111", "+352621333333"}
        got = [named(await lookups.answer(place, f"352621{n}")) for n in ("111111", "222222", "333333", "444444")]
        assert got == [["Ann Lee"], ["Bob"], ["Eve"], []]


async def test_tenant_with_many_changes_is_read_again(db: Store) -> None:
    await hold(db, "crm", record("1", "Ann", "+352 621 111 111"))
    async with answering(db, Nearby(db, quiet=QUIET, stale=3)) as (_, near):
        sheet = await held(near)
        await hold(db, "crm", record("1", "Ann", *(f"+352 621 {n}" for n in range(111111, 111121))))
        async with asyncio.timeout(5):
            while near.sheet("default") is sheet:
                await asyncio.sleep(0.005)
        again = await held(near)
        assert whose(again, "+352621111120")
        assert not again.stale


async def test_small_tenant_is_read_again_before_what_has_changed_outgrows_it(db: Store) -> None:
    people = [record(str(i), f"Person {i}", f"+352 621 {100000 + i}") for i in range(100)]
    await hold(db, "crm", *people)
    async with answering(db) as (_, near):
        sheet = await held(near)
        before, numbers = near.bytes, [f"+352621{n}" for n in range(200000, 200500)]
        near.changed("default", numbers[:30])
        await asyncio.sleep(3 * QUIET)
        assert near.sheet("default") is sheet
        near.changed("default", numbers)
        assert near.bytes - before > 500 * 80
        async with asyncio.timeout(5):
            while near.sheet("default") is sheet:
                await asyncio.sleep(0.005)
        assert near.bytes == before


async def test_without_room_a_sheet_goes_that_has_grown(db: Store) -> None:
    people = [record(str(i), f"Person {i}", f"+352 621 {100000 + i}") for i in range(100)]
    await hold(db, "crm", *people)
    near = Nearby(db, most=10_000, quiet=QUIET, stale=1_000)
    async with answering(db, near) as (_, near):
        sheet = await held(near)
        near.changed("default", [f"+352621{n}" for n in range(200000, 200020)])
        assert near.sheet("default") is sheet
        near.changed("default", [f"+352621{n}" for n in range(200000, 200060)])
        assert near.sheet("default") is None
        assert near.bytes == 0
        assert whose(await held(near), "+352621100000")


async def test_long_rows_are_taken_in_many_slices(db: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    await hold(db, "crm", *(record(str(i), f"Person {i}", f"+352 621 {100000 + i}") for i in range(40)))
    taken, most = 0, 0

    def slow(maker: Maker, row: Sequence[object]) -> None:
        nonlocal taken
        taken += 1
        take(maker, row)
        time.sleep(0.002)

    take = nearby._contact
    monkeypatch.setattr(nearby, "_contact", slow)
    async with answering(db) as (_, near):
        while near.sheet("default") is None:
            before = taken
            await asyncio.sleep(0)
            most = max(most, taken - before)
    assert (taken, most) == (40, 1)


async def test_what_changes_while_tenants_are_finished_is_noted(db: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    tenants = [f"t{i}" for i in range(5)]
    for tenant in tenants:
        await hold(db, "crm", record("1", tenant, "+352 621 111 111"), tenant=tenant)
    near = Nearby(db, quiet=QUIET)
    rested = asyncio.Event()

    async def rest(began: float) -> None:
        if near.sheet(tenants[0]):
            rested.set()
        await asyncio.sleep(0.01)

    monkeypatch.setattr(near, "_rest", rest)
    async with answering(db, near):
        for tenant in tenants:
            near.sheet(tenant)
        async with asyncio.timeout(5):
            await rested.wait()
        assert near.reading
        for tenant in tenants[:4]:
            near.changed(tenant, ["+352621111111"])
        near.changed(tenants[4])
        assert [(await held(near, one)).find("+352621111111", 1) for one in tenants[:4]] == [None] * 4
        assert (await held(near, tenants[4])).find("+352621111111", 1)


async def test_word_of_a_whole_tenant_takes_it_away_until_it_is_read_again(db: Store, place: Directory) -> None:
    number = "+352 621 111 111"
    await hold(db, "crm", record("1", "Ann", number))
    await hold(db, "office", record("1", "Office", number))
    await hold(db, "crm", record("1", "Eve", number), tenant="acme")
    async with answering(db) as (lookups, near):
        before, other = await held(near), await held(near, "acme")
        await ranked(db, "office", "crm")
        await db.execute("select pg_notify($1, $2)", store.CHANNEL, '["default"]')
        async with asyncio.timeout(5):
            while near.sheet("default") is before:
                await asyncio.sleep(0.005)
        await held(near)
        assert named(await lookups.answer(place, "352621111111")) == ["Office", "Ann"]
        assert near.sheet("acme") is other


async def test_deaf_it_holds_nothing_and_reads_again(db: Store, place: Directory) -> None:
    await hold(db, "crm", record("1", "Ann", "+352 621 111 111"))
    async with answering(db) as (lookups, near):
        before = await held(near)
        await deafen(db)
        async with asyncio.timeout(5):
            while near.sheet("default") is before:
                await asyncio.sleep(0.005)
        await held(near)
        assert named(await lookups.answer(place, "352621111111")) == ["Ann"]


async def test_what_changes_while_it_is_read_is_not_spoken_of(db: Store) -> None:
    people = [record(str(i), f"Person {i}", f"+352 621 {100000 + i}") for i in range(500)]
    await hold(db, "crm", *people)
    near = Nearby(db, quiet=0.05)
    near.hearing()
    near.sheet("default")
    reading = asyncio.create_task(near.run())
    try:
        await asyncio.sleep(0.05)
        async with asyncio.timeout(5):
            while not near.reading:
                await asyncio.sleep(0)
        near.changed("default", ["+352621100001"])
        assert whose(await held(near), "+352621100001") is None
        near.changed("default")
        assert near.sheet("default") is None
        async with asyncio.timeout(5):
            while not near.reading:
                await asyncio.sleep(0)
        near.changed("default")
        while near.reading:
            await asyncio.sleep(0)
        assert near.sheet("default") is None
        async with asyncio.timeout(5):
            while not near.reading:
                await asyncio.sleep(0)
        near.deaf()
        near.hearing()
        while near.reading:
            await asyncio.sleep(0)
        assert near.sheet("default") is None
        assert whose(await held(near), "+352621100001")
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def test_tenants_without_room_are_left_to_the_database(db: Store, place: Directory) -> None:
    large = [record(str(i), f"Person {i}", f"+352 621 {100000 + i}") for i in range(300)]
    await hold(db, "crm", *large)
    await hold(db, "crm", *large[:10], tenant="acme")
    async with answering(db, Nearby(db, most=12_000, quiet=QUIET)) as (lookups, near):
        assert near.sheet("default") is None
        await held(near, "acme")
        while near.reading:
            await asyncio.sleep(0.005)
        assert near.sheet("default") is None
        assert near.bytes < 12_000
        assert named(await lookups.answer(place, "352621100299")) == ["Person 299"]
        assert lookups.remembered(place, "352621100299")


async def test_many_small_tenants_are_read_together(db: Store) -> None:
    tenants = [f"t{i}" for i in range(5)]
    for tenant in tenants:
        await hold(db, "crm", record("1", tenant, "+352 621 111 111"), tenant=tenant)
    async with answering(db) as (_, near):
        assert [near.sheet(tenant) for tenant in (*tenants, "empty")] == [None] * 6
        for tenant in tenants:
            found = (await held(near, tenant)).find("+352621111111", 9)
            assert found
            assert found[0][1].own.startswith(tenant.encode())
        assert (await held(near, "empty")).find("+352621111111", 9) == []


async def test_database_away_is_said_whatever_is_in_memory(tmp_path: Path, place: Directory) -> None:
    server = await embedded.open(tmp_path)
    db = Store(server.dsn)
    await store.migrate(db)
    await hold(db, "crm", record("1", "Ann", "+352 621 111 111"))
    async with answering(db) as (lookups, near):
        await held(near)
        await db.close()
        await server.close()
        async with asyncio.timeout(5):
            while not lookups.reason:
                await asyncio.sleep(0.01)
        for number in ("352621111111", "352621222222"):
            with pytest.raises(errors.Unavailable):
                await lookups.answer(place, number)
            with pytest.raises(errors.Unavailable):
                lookups.begin(place, number)
        server = await embedded.open(tmp_path)
        await held(near)
        async with asyncio.timeout(10):
            while lookups.reason:
                await asyncio.sleep(0.01)
        assert named(await lookups.answer(place, "352621111111")) == ["Ann"]
    await db.close()
    await server.close()


class Told(Nearby):
    """Knows which words it was last told of."""

    word = ""

    def changed(self, tenant: str, numbers: Collection[str] = ()) -> None:
        super().changed(tenant, numbers)
        self.word = tenant

    async def hears(self, db: Store, word: str) -> None:
        """Return once everything that was committed before has been heard, or the listening began after it."""
        async with asyncio.timeout(10):
            while self.word != word:
                await db.execute("select pg_notify($1, $2)", store.CHANNEL, orjson.dumps([word, "1"]).decode())
                await asyncio.sleep(0.005)


class Model:
    """What a source holds after each of its runs: names by numbers."""

    def __init__(self, seed: int) -> None:
        self.pick = random.Random(seed)
        self.people: dict[str, Record] = {}
        self.states: list[dict[str, set[str]]] = [{}]

    def move(self) -> list[Record]:
        """Add, change or remove people, or give them other numbers; all of them."""
        for _ in range(self.pick.choice((1, 1, 3, 20))):
            id = str(self.pick.randrange(30))
            if id in self.people and self.pick.random() < 0.3:
                del self.people[id]
            else:
                theirs = self.pick.sample(NUMBERS, self.pick.choice((1, 1, 2)))
                self.people[id] = record(id, f"{id} in {len(self.states)}", *theirs)
        state: dict[str, set[str]] = {}
        for one in self.people.values():
            for raw in one.numbers:
                state.setdefault(raw.text, set()).add(one.display_name)
        self.states.append(state)
        return [record("anchor", "Never Empty"), *self.people.values()]


NUMBERS = [f"+352621{n}" for n in range(100000, 100012)]


@pytest.mark.parametrize("seed", range(2))
async def test_no_answer_is_older_than_the_last_commit_that_was_heard(db: Store, place: Directory, seed: int) -> None:
    """Runs, lookups, words of whole tenants and lost connections at once, against a model of each commit."""
    place = replace(place, limit=100)
    model, near = Model(seed), Told(db, quiet=QUIET, stale=15)
    job = sync.Job(tenant="default", source="crm", region="LU", rules=b"1", guard=Guard(floor=100_000))
    heard, from_memory, done = 0, 0, False
    async with answering(db, near) as (lookups, _):

        async def ask(pick: random.Random) -> None:
            nonlocal from_memory
            while not done:
                number, least = pick.choice([*NUMBERS, "+352621200000"]), heard
                found = lookups.remembered(place, number[1:]) if pick.random() < 0.5 else None
                if found is None:
                    found = lookups.begin(place, number[1:])
                    from_memory += type(found) is bytes
                if isinstance(found, Begun):
                    await asyncio.wait([found.done])
                    try:
                        found = lookups.finish(found)
                    except errors.Unavailable:
                        continue
                assert found is not None
                got, right = set(named(found)), [state.get(number, set()) for state in model.states[least:]]
                assert got in right, (number, got, right)
                await asyncio.sleep(0)

        asking = [asyncio.create_task(ask(random.Random(n))) for n in range(4)]
        for turn in range(12):
            await sync.run(db, job, Listed(*model.move()), full=True)
            await near.hears(db, f"word {turn}")
            heard = len(model.states) - 1
            if turn % 7 == 3:
                await db.execute("select pg_notify($1, $2)", store.CHANNEL, '["default"]')
            if turn % 10 == 8:
                await deafen(db)
            await asyncio.sleep(model.pick.choice((0, 0.02, 0.1)))
        done = True
        await asyncio.gather(*asking)
    assert from_memory > 50
