"""The SuiteCRM source against the stand-in: what is read, what changed, what went wrong, what was made."""

from __future__ import annotations

import contextlib
import datetime
import random
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from mirrored import Mirror

from bridge import errors, keys
from bridge.actions import Action, Call
from bridge.contact import Address, RawNumber, Record, User
from bridge.demo import sample
from bridge.demo.suitecrm import SuiteCrm
from bridge.demo.suitecrm_faults import Fault
from bridge.sources import suitecrm
from bridge.sources.suitecrm import entries, listing, runs, service

NOW = datetime.datetime(2026, 11, 21, 22, 0, 0, tzinfo=datetime.UTC)
KEY = "0123456789abcdef0123456789abcdef"
MADE = "01234567-89ab-cdef-0123-456789abcdef"


@asynccontextmanager
async def opened(crm: SuiteCrm, url: str, **more: Any) -> AsyncIterator[suitecrm.SuiteCrm]:
    """A source of the stand-in's keys, closed again."""
    table = {key: value for key, value in crm.table(url).items() if key != "type"}
    source = suitecrm.open("crm", keys.SuiteCrm.model_validate({**table, "timeout": "5s", **more}))
    try:
        yield source
    finally:
        await source.close()


def filled(count: int, identify: Callable[[int], str] = lambda n: str(uuid.UUID(int=n * 7919 << 96 | n))) -> SuiteCrm:
    """A CRM with as many contacts, whose clock stands."""
    crm = SuiteCrm()
    crm.store.now = NOW
    for n in range(count):
        crm.put("Contacts", {"id": identify(n), "last_name": f"Weber {n}", "phone_work": f"26 {n:06}"})
    return crm


def later(crm: SuiteCrm, **time: float) -> None:
    """Let time pass in the CRM."""
    assert crm.store.now is not None
    crm.store.now += datetime.timedelta(**time)


def held(crm: SuiteCrm, module: str = "Contacts") -> set[str]:
    """The ids of what is live in a module."""
    return {identity for identity, row in crm.store.modules[module].rows.items() if row["deleted"] == "0"}


async def test_the_sample_is_read_whole() -> None:
    crm = SuiteCrm()
    people = sample.people()
    for key, person in people.items():
        crm.put_person(key, person)
    async with crm.serve() as url, opened(crm, url) as source:
        mirror = await Mirror().run(source)
        got = sorted((r.first_name, r.last_name, r.company) for r in mirror.records.values())
        assert got == sorted((person.first, person.last, person.company) for person in people.values())
        crm.remove_person(next(iter(people)))
        await mirror.run(source)
        assert (mirror.complete, len(mirror.records)) == (False, len(people) - 1)


async def test_a_contact_is_read_with_all_its_fields_and_its_accounts_numbers() -> None:
    crm = SuiteCrm()
    crm.store.now = NOW
    account = crm.put(
        "Accounts",
        {"name": "Weber & Söhne", "phone_office": "26 00 10", "phone_alternate": "26 00 11", "phone_fax": "26 00 12"},
    )
    values = {
        "first_name": "Anna",
        "last_name": 'O\'Brien <"x"> & &amp; Co',
        "phone_work": "26 00 10 01",
        "phone_mobile": "621 000 001",
        "phone_home": "1",
        "phone_other": "2",
        "phone_fax": "3",
        "assistant_phone": "4",
        "email1": "a@b.c",
        "email2": "d@e.f",
        "account_id": account,
        "title": "CEO",
        "primary_address_street": "1, rue\nHaute",
        "primary_address_postalcode": "1234",
        "primary_address_city": "Luxembourg",
        "primary_address_country": "Luxembourg",
    }
    identity = crm.put("Contacts", values)
    async with crm.serve() as url, opened(crm, url, fields={"Title": "title"}) as source:
        mirror = await Mirror().run(source)
        page = f"{url}/index.php?module={{}}&action=DetailView&record={{}}"
        want = Record(
            id=identity,
            first_name="Anna",
            last_name='O\'Brien <"x"> & &amp; Co',
            company="Weber & Söhne",
            emails=("a@b.c", "d@e.f"),
            addresses=(Address("1, rue\nHaute", "1234", "Luxembourg", "", "Luxembourg"),),
            numbers=(
                RawNumber("26 00 10 01", "work"),
                RawNumber("621 000 001", "mobile"),
                RawNumber("1", "home"),
                RawNumber("2", "other"),
                RawNumber("3", "fax"),
                RawNumber("4", "other"),
                RawNumber("26 00 10", "work", company=True),
                RawNumber("26 00 11", "work", company=True),
            ),
            contact_url=page.format("Contacts", identity),
            company_url=page.format("Accounts", account),
            custom=(("Title", "CEO"),),
            modified=NOW,
        )
        assert mirror.records == {identity: want}


async def test_leads_are_contacts_until_they_are_converted() -> None:
    crm = SuiteCrm()
    crm.store.now = NOW
    lead = crm.put("Leads", {"last_name": "Weber", "account_name": "Weber AG", "status": "New"})
    crm.put("Leads", {"last_name": "Old", "converted": "1"})
    crm.put("Leads", {"last_name": "Older", "status": "Converted"})
    async with crm.serve() as url, opened(crm, url) as source:
        mirror = await Mirror().run(source)
        assert [(r.id, r.company, r.company_url) for r in mirror.records.values()] == [(lead, "Weber AG", "")]
        later(crm, minutes=1)
        crm.update("Leads", lead, {"converted": "1"})
        await mirror.run(source)
        assert (mirror.complete, mirror.records) == (False, {})


async def test_accounts_are_companies_with_numbers_of_their_own() -> None:
    crm = SuiteCrm()
    identity = crm.put("Accounts", {"name": "Weber AG", "phone_office": "26 00 10", "billing_address_city": "Esch"})
    async with crm.serve() as url, opened(crm, url, modules=["Accounts"]) as source:
        [record] = (await Mirror().run(source)).records.values()
        got = (record.id, record.display_name, record.company, record.numbers, record.addresses)
        number = RawNumber("26 00 10", "work", company=True)
        assert got == (identity, "Weber AG", "Weber AG", (number,), (Address(city="Esch"),))


@pytest.mark.parametrize(
    "identify",
    [
        lambda n: str(uuid.UUID(int=random.Random(n).getrandbits(128))),
        lambda n: f"cust-{n:06}",
        lambda n: f"{n}",
        lambda n: f"{'Ab-_'[n % 4]}{n:x}",
    ],
    ids=["random", "counted", "numbers", "mixed"],
)
@pytest.mark.parametrize("kind", ["counting", "silent", "capped", "capped and silent"])
async def test_books_of_many_answers_are_whole_however_ids_are_made(
    monkeypatch: pytest.MonkeyPatch, identify: Callable[[int], str], kind: str
) -> None:
    monkeypatch.setattr(listing, "AT_ONCE", 40)
    crm = filled(500, identify)
    crm.methods.counts = "silent" not in kind
    crm.methods.most = 15 if "capped" in kind else 0
    async with crm.serve() as url, opened(crm, url) as source:
        mirror = await Mirror().run(source)
        assert mirror.records.keys() == held(crm)
        assert mirror.read == 500


async def test_a_large_book_takes_hardly_more_calls_than_it_has_pages() -> None:
    crm = filled(5000, lambda n: str(uuid.UUID(int=random.Random(n).getrandbits(128))))
    async with crm.serve() as url, opened(crm, url, modules=["Contacts"]) as source:
        mirror = await Mirror().run(source)
        assert len(mirror.records) == 5000
        assert Counter(crm.calls)["get_entry_list"] <= 10


async def test_rows_that_change_while_they_are_read_are_neither_lost_nor_removed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listing, "AT_ONCE", 40)
    crm = filled(400)
    dice, ids = random.Random(1), sorted(held(crm))
    stay = set(ids[:300])

    def stir(method: str) -> None:
        if method != "get_entry_list":
            return
        later(crm, seconds=1)
        for identity in dice.sample(sorted(stay), 20):
            crm.update("Contacts", identity, {"last_name": f"{crm.store.now}"})
        gone = [each for each in ids[300:] if each in held(crm)]
        if gone:
            crm.delete("Contacts", gone[0])
        crm.put("Contacts", {"last_name": "New"})

    crm.before = stir
    async with crm.serve() as url, opened(crm, url) as source:
        mirror = await Mirror().run(source)
        assert stay <= mirror.records.keys()
        crm.before = None
        await mirror.run(source)
        assert mirror.complete is False
        assert {i: r.last_name for i, r in mirror.records.items()} == {
            identity: crm.store.modules["Contacts"].rows[identity]["last_name"] for identity in held(crm)
        }


async def test_a_delta_brings_what_changed_and_what_was_deleted_by_few_calls() -> None:
    crm = filled(300)
    ids = sorted(held(crm))
    later(crm, hours=1)
    async with crm.serve() as url, opened(crm, url) as source:
        mirror = await Mirror().run(source)
        later(crm, minutes=30)
        for identity in ids[:100]:
            crm.update("Contacts", identity, {"last_name": "Changed"})
        crm.delete("Contacts", ids[200])
        crm.calls.clear()
        await mirror.run(source)
        assert (mirror.complete, mirror.read, mirror.records.keys()) == (False, 100, held(crm))
        assert sorted(r.id for r in mirror.records.values() if r.last_name == "Changed") == ids[:100]
        assert crm.calls == ["get_server_info", "get_entry_list", "get_entry_list", "get_entry_list"]


async def test_a_delta_reaches_back_by_the_overlap() -> None:
    crm = filled(1)
    async with crm.serve() as url, opened(crm, url, overlap="5m") as source:
        mirror = await Mirror().run(source)
        later(crm, minutes=-4)
        late = crm.put("Contacts", {"last_name": "Late"})
        later(crm, minutes=5)
        await mirror.run(source)
        assert late in mirror.records


async def test_a_renamed_account_reaches_its_contacts_and_once() -> None:
    crm = filled(3)
    account = crm.put("Accounts", {"name": "Weber", "phone_office": "26 00 10"})
    mine, _, _ = sorted(held(crm))
    crm.store.relate("Accounts", account, "contacts", [mine])
    async with crm.serve() as url, opened(crm, url) as source:
        mirror = await Mirror().run(source)
        later(crm, minutes=1)
        crm.update("Accounts", account, {"name": "Weber & Fils", "phone_office": "26 00 99"})
        later(crm, minutes=1)
        crm.store.modules["Contacts"].rows[mine]["date_modified"] = "2020-01-01 00:00:00"
        await mirror.run(source)
        record = mirror.records[mine]
        assert (mirror.complete, record.company) == (False, "Weber & Fils")
        assert RawNumber("26 00 99", "work", company=True) in record.numbers
        crm.calls.clear()
        later(crm, minutes=1)
        await mirror.run(source)
        assert "get_relationships" not in crm.calls


async def test_more_changed_accounts_than_are_worth_asking_for_turn_a_run_into_a_complete_one_and_one_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runs, "MOST_CHANGED", 5)
    crm = filled(3)
    for n in range(10):
        crm.put("Accounts", {"name": f"Firma {n}"})
    later(crm, minutes=1)
    async with crm.serve() as url, opened(crm, url) as source:
        mirror = await Mirror().run(source)
        later(crm, minutes=1)
        await mirror.run(source)
        assert mirror.complete is False
        for account in held(crm, "Accounts"):
            crm.update("Accounts", account, {"name": "Renamed"})
        later(crm, minutes=1)
        await mirror.run(source)
        assert mirror.complete is True
        await mirror.run(source)
        assert mirror.complete is False


@pytest.mark.parametrize("other", [{"modules": ["Contacts"]}, {"fields": {"Title": "title"}}, {"username": "else"}])
async def test_a_cursor_of_other_keys_is_of_no_use(other: dict[str, Any]) -> None:
    crm = filled(2)
    async with crm.serve() as url:
        async with opened(crm, url) as source:
            mirror = await Mirror().run(source)
        crm.username = other.get("username", crm.username)
        async with opened(crm, url, **other) as source:
            await mirror.run(source)
        assert mirror.complete is True


async def test_a_server_whose_clock_went_back_is_read_in_full() -> None:
    crm = filled(2)
    async with crm.serve() as url, opened(crm, url) as source:
        mirror = await Mirror().run(source)
        later(crm, days=-1)
        await mirror.run(source)
        assert mirror.complete is True


async def test_what_is_purged_is_gone_at_the_next_complete_run() -> None:
    crm = filled(3)
    first = sorted(held(crm))[0]
    async with crm.serve() as url, opened(crm, url) as source:
        mirror = await Mirror().run(source)
        crm.store.purge("Contacts", first)
        await mirror.run(source, full=True)
        assert mirror.records.keys() == held(crm)


@pytest.mark.parametrize("method", ["get_server_info", "get_entry_list", "get_module_fields", "get_entries"])
@pytest.mark.parametrize("fault", ["cut", "dropped", "html", "null", "slow", "status_500", "status_503", "truncated"])
async def test_a_run_that_meets_a_fault_fails_and_says_why(fault: Fault, method: str) -> None:
    crm = filled(2)
    account = crm.put("Accounts", {"name": "Weber"})
    crm.store.relate("Accounts", account, "contacts", sorted(held(crm)))
    crm.delay = 0.3
    crm.faults.set(fault, method, times=9)
    async with crm.serve() as url, opened(crm, url, timeout="0.2s" if fault == "slow" else "5s") as source:
        with pytest.raises(errors.Unavailable, match=r"127\.0\.0\.1") as failed:
            await Mirror().run(source)
        assert "demo" not in str(failed.value)
        assert "<" not in str(failed.value)


async def test_a_moment_of_trouble_is_got_over() -> None:
    crm = filled(2)
    faults: dict[str, tuple[Fault, ...]] = {
        "get_server_info": ("cut", "status_503"),
        "get_module_fields": ("dropped", "lost"),
        "get_entry_list": ("lost", "cut", "notice"),
        "login": ("notice",),
    }
    for method, those in faults.items():
        for fault in those:
            crm.faults.set(fault, method)
    async with crm.serve() as url, opened(crm, url) as source:
        assert len((await Mirror().run(source)).records) == 2


async def test_a_slow_server_is_asked_for_less(monkeypatch: pytest.MonkeyPatch) -> None:
    crm = filled(300)
    crm.delay = 0.6
    crm.faults.set("slow", "get_entry_list", skip=1, times=3)
    async with crm.serve() as url, opened(crm, url, timeout="0.4s") as source:
        assert len((await Mirror().run(source)).records) == 300


async def test_a_session_that_ends_while_reading_is_renewed_by_one_login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "AT_ONCE", 40)
    crm = filled(200)
    crm.faults.set("expired", "get_entry_list", skip=3)
    async with crm.serve() as url, opened(crm, url) as source:
        assert len((await Mirror().run(source)).records) == 200
        assert Counter(crm.calls)["login"] == 2


async def test_a_session_is_kept_from_run_to_run_and_ended_at_the_end() -> None:
    crm = filled(2)
    async with crm.serve() as url:
        async with opened(crm, url) as source:
            mirror = await Mirror().run(source)
            await mirror.run(source)
        assert (Counter(crm.calls)["login"], crm.calls[-1]) == (1, "logout")


async def test_sessions_that_end_at_once_do_not_lead_to_login_after_login() -> None:
    crm = filled(2)
    crm.lives = 1
    async with crm.serve() as url, opened(crm, url) as source:
        for _ in range(3):
            with pytest.raises((errors.Denied, errors.Unavailable)):
                await Mirror().run(source)
        assert Counter(crm.calls)["login"] <= 3


async def test_a_wrong_password_is_denied_after_one_try() -> None:
    crm = filled(2)
    async with crm.serve() as url, opened(crm, url, password="wrong") as source:
        with pytest.raises(errors.Denied, match=r"Invalid Login \(fault 10\); right is a user of the CRM's own"):
            await Mirror().run(source)
        assert crm.failed == 1


async def test_a_locked_user_is_denied_and_said_to_be_locked() -> None:
    crm = filled(2)
    crm.failed = crm.lockout
    async with crm.serve() as url, opened(crm, url) as source:
        with pytest.raises(errors.Denied, match="unlock the user"):
            await source.check()


async def test_a_directory_is_shown_the_password_itself() -> None:
    crm = filled(2)
    crm.directory = True
    async with crm.serve() as url, opened(crm, url) as source:
        assert len((await Mirror().run(source)).records) == 2


async def test_old_php_and_builds_with_other_names_are_spoken_to() -> None:
    crm = filled(2)
    async with crm.serve() as url:
        for crm.php, crm.declares in ((7, "application"), (8, "application_name")):
            async with opened(crm, url) as source:
                assert len((await Mirror().run(source)).records) == 2
                assert await source.act(Action("note", KEY, "Said"))


@pytest.mark.parametrize("path", ["", "/crm", "/a/b"])
@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("given", ["{}", "{}/", "{}/service/v4_1/rest.php"])
async def test_the_service_is_found_wherever_the_crm_stands(path: str, legacy: bool, given: str) -> None:
    crm = SuiteCrm(path=path)
    crm.legacy = legacy
    identity = crm.put("Contacts", {"last_name": "Weber"})
    async with crm.serve() as url, opened(crm, given.format(url)) as source:
        [record] = (await Mirror().run(source)).records.values()
        assert record.contact_url == f"{url}/index.php?module=Contacts&action=DetailView&record={identity}"


async def test_a_url_with_legacy_in_it_is_taken_as_it_is() -> None:
    crm = SuiteCrm()
    crm.legacy = True
    async with crm.serve() as url, opened(crm, f"{url}/legacy") as source:
        assert (await Mirror().run(source)).records == {}
        assert "login" in crm.calls


async def test_an_address_of_something_else_is_told_without_showing_a_password() -> None:
    crm = SuiteCrm()
    async with crm.serve() as url, opened(crm, f"{url}/elsewhere") as source:
        with pytest.raises(errors.Unavailable, match=r"has no REST v4_1 there \(404\): right is url = the address of"):
            await source.check()
        assert crm.calls == []


async def test_fields_that_are_not_there_are_left_out_and_named() -> None:
    crm = filled(1)
    del crm.store.modules["Contacts"].fields["assistant_phone"]
    crm.store.modules["Contacts"].fields["vip_c"] = None
    crm.update("Contacts", *held(crm), {"vip_c": "yes"})
    async with crm.serve() as url, opened(crm, url, fields={"VIP": "vip_c", "Old": "old_c"}) as source:
        notes: list[str] = []
        async for page in source.read(None, Mirror().known):
            notes += page.notes
            for record in page.records:
                assert record.custom == (("VIP", "yes"),)
        assert notes == [
            "Contacts has no fields assistant_phone, old_c: left out",
            "Leads has no fields vip_c, old_c: left out",
        ]


async def test_accounts_that_may_not_be_read_are_left_out_and_named() -> None:
    crm = filled(1)
    account = crm.put("Accounts", {"name": "Weber", "phone_office": "26 00 10"})
    crm.store.relate("Accounts", account, "contacts", list(held(crm)))
    crm.methods.hidden.add("Accounts")
    async with crm.serve() as url, opened(crm, url) as source:
        mirror = Mirror()
        notes = [note async for page in source.read(None, mirror.known) for note in page.notes]
        assert len(notes) == 1
        assert notes[0].startswith("Accounts may not be read")
        await mirror.run(source)
        await mirror.run(source)
        assert [(r.company, len(r.numbers)) for r in mirror.records.values()] == [("Weber", 1)]


async def test_an_account_that_may_not_be_opened_is_no_harm_to_others() -> None:
    crm = filled(2)
    accounts = [crm.put("Accounts", {"name": name, "phone_office": "26"}) for name in "ab"]
    for account, contact in zip(accounts, sorted(held(crm)), strict=True):
        crm.store.relate("Accounts", account, "contacts", [contact])
    crm.methods.closed.add(accounts[0])
    async with crm.serve() as url, opened(crm, url) as source:
        mirror = await Mirror().run(source)
        assert [len(r.numbers) for r in mirror.records.values()] == [2, 2]
        later(crm, minutes=1)
        for account in accounts:
            crm.update("Accounts", account, {"name": "New"})
        await mirror.run(source)
        assert (mirror.complete, mirror.records[sorted(held(crm))[1]].company) == (False, "New")


@pytest.mark.parametrize(("module", "kind"), [("Leads", errors.Denied), ("Nonsense", errors.Unavailable)])
async def test_a_module_that_may_not_be_read_or_is_not_there_fails_the_run(module: str, kind: type) -> None:
    crm = filled(2)
    crm.methods.hidden.add("Leads")
    async with crm.serve() as url, opened(crm, url, modules=["Contacts", module]) as source:
        with pytest.raises(kind, match=module):
            await Mirror().run(source)
        with pytest.raises(kind, match=module):
            await source.check()


async def test_a_check_says_who_reads_what_and_what_is_missing() -> None:
    crm = filled(3)
    crm.put("Accounts", {"name": "Weber"})
    crm.put("Users", {"last_name": "Thill", "status": "Active", "phone_work": "312"})
    async with crm.serve() as url, opened(crm, url, users=True, fields={"Role": "role_c"}) as source:
        assert await source.check() == (
            "127.0.0.1: logged in as bridge (administrator), reads 3 Contacts, 0 Leads, numbers of 1 Accounts, "
            "1 users with an extension; Contacts has no field role_c: left out; right is a field's name as Studio "
            "shows it; Leads has no field role_c: left out; right is a field's name as Studio shows it"
        )


async def test_a_check_says_how_many_there_are_where_the_server_does_not_count() -> None:
    crm = filled(3)
    crm.admin = False
    crm.methods.counts = False
    crm.methods.hidden.add("Accounts")
    async with crm.serve() as url, opened(crm, url, modules=["Contacts"]) as source:
        assert await source.check() == (
            "127.0.0.1: logged in as bridge, reads 3 Contacts; "
            "Accounts may not be read; right is a role that may list and view them"
        )


async def test_active_users_with_an_extension_are_users() -> None:
    crm = SuiteCrm()
    person = {"first_name": "Liz", "last_name": "O'Brien", "email1": "liz@example.com", "status": "Active"}
    liz = crm.put("Users", {**person, "phone_work": "312", "phone_other": "9"})
    tom = crm.put("Users", {**person, "phone_work": "+352 26 00 10 01", "phone_other": "313"})
    crm.put("Users", {**person, "status": "Inactive", "phone_work": "314", "phone_other": "314"})
    crm.put("Users", {**person, "is_group": "1", "phone_work": "315", "phone_other": "315"})
    async with crm.serve() as url:
        async with opened(crm, url, users=True) as source:
            assert await source.users() == [User(liz, "312", "Liz", "O'Brien", "liz@example.com")]
        async with opened(crm, url, users=True, extension_field="phone_other") as source:
            users = sorted(await source.users(), key=lambda user: user.extension)
        assert users == [
            User(tom, "313", "Liz", "O'Brien", "liz@example.com", "+352 26 00 10 01"),
            User(liz, "9", "Liz", "O'Brien", "liz@example.com", "312"),
        ]


async def test_a_field_of_extensions_that_is_not_there_is_no_reason_to_have_none() -> None:
    crm = SuiteCrm()
    async with crm.serve() as url, opened(crm, url, users=True, extension_field="ext_c") as source:
        with pytest.raises(errors.Unavailable, match="Users has no field ext_c"):
            await source.users()


async def test_a_crm_that_was_upgraded_meanwhile_is_found_again() -> None:
    crm = filled(2)
    async with contextlib.AsyncExitStack() as stack:
        before = contextlib.AsyncExitStack()
        url = await before.enter_async_context(crm.serve())
        source = await stack.enter_async_context(opened(crm, url))
        mirror = await Mirror().run(source)
        await before.aclose()
        crm.legacy = True
        await stack.enter_async_context(crm.serve(int(url.rpartition(":")[2])))
        await mirror.run(source)
        assert (mirror.complete, len(mirror.records)) == (False, 2)


async def test_a_call_is_logged_held_and_linked() -> None:
    crm = filled(1)
    [contact], user = held(crm), crm.put("Users", {"last_name": "Thill", "status": "Active"})
    call = Call(
        direction="outbound",
        number="+352621000001",
        started=NOW,
        answered=NOW + datetime.timedelta(seconds=5),
        ended=NOW + datetime.timedelta(seconds=5 + 3600 + 61),
    )
    async with crm.serve() as url, opened(crm, url) as source:
        contact_url = f"{url}/index.php?module=Contacts&action=DetailView&record={contact}"
        made = await source.act(
            Action("log-call", KEY, "Call with Weber", "Said <hello>", call, contact, contact_url, user)
        )
        assert (made.id, made.url) == (MADE, f"{url}/index.php?module=Calls&action=DetailView&record={MADE}")
        row = crm.store.modules["Calls"].rows[MADE]
        want = {
            "name": "Call with Weber",
            "status": "Held",
            "direction": "Outbound",
            "date_start": "2026-11-21 22:00:00",
            "duration_hours": "1",
            "duration_minutes": "2",
            "parent_type": "Contacts",
            "parent_id": contact,
            "assigned_user_id": user,
        }
        assert {name: row[name] for name in want} == want
        assert crm.store.related == {("Calls", MADE, "contacts"): [contact], ("Calls", MADE, "users"): [user]}


async def test_a_ticket_goes_to_the_contact_and_its_account() -> None:
    crm = filled(1)
    [contact], account = held(crm), crm.put("Accounts", {"name": "Weber"})
    crm.store.relate("Accounts", account, "contacts", [contact])
    async with crm.serve() as url, opened(crm, url) as source:
        await source.act(Action("ticket", KEY, "Broken", "It is", contact=contact))
        row = crm.store.modules["Cases"].rows[MADE]
        got = [row[name] for name in ("name", "description", "account_id", "status", "state", "priority")]
        assert got == ["Broken", "It is", account, "Open_New", "Open", "P2"]
        assert crm.store.related[("Cases", MADE, "contacts")] == [contact]


@pytest.mark.parametrize(("kind", "module"), [("task", "Tasks"), ("note", "Notes")])
async def test_tasks_and_notes_are_of_the_contact(kind: Any, module: str) -> None:
    crm = SuiteCrm()
    lead, contact = crm.put("Leads", {"last_name": "Thill"}), crm.put("Contacts", {"last_name": "Weber"})
    async with crm.serve() as url, opened(crm, url) as source:
        made = await source.act(Action(kind, KEY, "x" * 300, "Why", contact=contact))
        row = crm.store.modules[module].rows[made.id]
        assert (row["parent_type"], row["parent_id"], row["contact_id"]) == ("Contacts", contact, contact)
        assert row["assigned_user_id"] == "1"
        assert row["name"].endswith("x…")
        assert row["description"] == f"{'x' * 300}\nWhy"
        made = await source.act(Action(kind, "f" * 32, "Of a lead", contact=lead))
        row = crm.store.modules[module].rows[made.id]
        assert (row["parent_type"], row["parent_id"], row.get("contact_id", "")) == ("Leads", lead, "")


async def test_a_call_of_nobody_is_logged_too() -> None:
    crm = SuiteCrm()
    async with crm.serve() as url, opened(crm, url) as source:
        await source.act(Action("log-call", KEY, "Unknown"))
        row = crm.store.modules["Calls"].rows[MADE]
        assert (row["duration_hours"], row["duration_minutes"], row.get("parent_id")) == ("0", "0", None)
        assert crm.store.related == {}


@pytest.mark.parametrize("fault", ["lost", "dropped", "cut"])
@pytest.mark.parametrize("method", ["set_entry", "set_relationship"])
async def test_an_action_whose_answer_was_lost_is_unsettled_and_made_once(fault: Fault, method: str) -> None:
    crm = filled(1)
    [contact] = held(crm)
    action = Action("log-call", KEY, "Call", contact=contact)
    crm.faults.set(fault, method)
    async with crm.serve() as url, opened(crm, url) as source:
        with pytest.raises(errors.Unsettled):
            await source.act(action)
        made = await source.act(action)
        assert await source.act(action) == made
        assert list(crm.store.modules["Calls"].rows) == [made.id]
        assert crm.store.related == {("Calls", made.id, "contacts"): [contact]}
        assert Counter(crm.calls)["set_entry"] == (2 if (fault, method) == ("dropped", "set_entry") else 1)


async def test_a_record_that_arrives_between_looking_and_making_is_found() -> None:
    crm = SuiteCrm()

    def overtake(method: str) -> None:
        if method == "set_entry":
            crm.before = None
            crm.put("Notes", {"id": MADE})

    crm.before = overtake
    async with crm.serve() as url, opened(crm, url) as source:
        assert (await source.act(Action("note", KEY, "Said"))).id == MADE


async def test_what_somebody_deleted_since_is_not_made_again() -> None:
    crm = SuiteCrm()
    action = Action("note", KEY, "Said")
    async with crm.serve() as url, opened(crm, url) as source:
        made = await source.act(action)
        crm.delete("Notes", made.id)
        assert await source.act(action) == made
        assert Counter(crm.calls)["set_entry"] == 1


async def test_an_action_in_a_module_that_is_closed_or_not_there_is_told_from_a_login_that_fails() -> None:
    crm = SuiteCrm()
    crm.methods.hidden.add("Cases")
    del crm.store.modules["Tasks"]
    async with crm.serve() as url, opened(crm, url) as source:
        with pytest.raises(errors.Refused, match="right is a role that may edit them"):
            await source.act(Action("ticket", KEY, "Broken"))
        with pytest.raises(errors.Unsupported, match="no module Tasks"):
            await source.act(Action("task", KEY, "Do"))


@pytest.mark.parametrize("contact", ["x' OR '1'='1", "ü", "a\\'"])
async def test_an_id_that_is_none_gets_into_no_query(contact: str) -> None:
    crm = SuiteCrm()
    async with crm.serve() as url, opened(crm, url) as source:
        with pytest.raises(errors.Refused) as refused:
            await source.act(Action("note", KEY, "Said", contact=contact))
        assert refused.value.absent
        assert crm.calls == []


@pytest.mark.parametrize(
    ("given", "want"),
    [
        ("O&#039;Brien &lt;b&gt; &quot;q&quot;", 'O\'Brien <b> "q"'),
        ("&amp; &uuml; &#39; &&lt;", "&amp; &uuml; &#39; &<"),
        ("&amp;lt;", "&amp;lt;"),
        (None, ""),
        (False, ""),
        (True, "1"),
        (0, "0"),
    ],
)
def test_exactly_four_escapes_are_undone_once(given: Any, want: str) -> None:
    assert entries.text(given) == want


@pytest.mark.parametrize("body", [b"{}", b'{"entry_list":null}', b'{"result_count":2,"entry_list":[]}', b"[]", b'{"en'])
def test_an_answer_that_is_no_whole_list_is_an_error(body: bytes) -> None:
    with pytest.raises(errors.Unavailable):
        entries.read(body, "a list")


@pytest.mark.parametrize("text", ["", "0000-00-00 00:00:00", "soon"])
def test_a_time_that_is_none_is_none(text: str) -> None:
    assert service.stamp(text) is None
