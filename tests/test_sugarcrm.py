"""SugarCRM by REST v11 against the stand-in and its faults by name; what the stand-in refuses is in
test_sugarcrm_server.py."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC
from typing import get_args

import pytest
from mirrored import Mirror

from bridge import errors, keys
from bridge.actions import Action, Call
from bridge.contact import Address, RawNumber, User
from bridge.demo import sample
from bridge.demo import sugarcrm_faults as faults
from bridge.demo.sugarcrm import SugarServer
from bridge.sources import sugarcrm

NOON = datetime.datetime(2026, 11, 21, 12, tzinfo=UTC)
KEY = "0123456789abcdef0123456789abcdef"
UUID = "01234567-89ab-cdef-0123-456789abcdef"


@asynccontextmanager
async def opened(server: SugarServer, url: str, **more: object) -> AsyncIterator[sugarcrm.SugarCrm]:
    """A source that reads this server, closed again."""
    given = {**server.table(url), "timeout": "5s", **more}
    source = sugarcrm.SugarCrm(keys.SugarCrm.model_validate(given))
    try:
        yield source
    finally:
        await source.close()


def crm(contacts: int = 0) -> SugarServer:
    """A server whose clock stands at noon, with so many contacts, one made every minute since yesterday."""
    server = SugarServer()
    server.now = NOON - datetime.timedelta(days=1)
    for n in range(contacts):
        server.put("Contacts", {"id": f"c{n:05}", "last_name": f"Contact {n}", "phone_work": f"+49 30 {200000 + n}"})
        server.tick(60)
    server.now = NOON
    return server


def named(mirror: Mirror) -> list[str]:
    """The last names held."""
    return sorted(record.last_name for record in mirror.records.values())


async def test_a_contact_comes_with_all_that_is_known_of_it() -> None:
    server = crm()
    account = server.put("Accounts", {"name": "Weber & Fils", "phone_office": "+352 26 00 10 00"})
    server.put(
        "Contacts",
        {
            "id": "c1",
            "salutation": "Mr.",
            "first_name": "Marc",
            "last_name": "Weber",
            "account_id": account,
            "phone_work": "26 00 10 01",
            "phone_mobile": " 621 000 001 ",
            "phone_fax": "26 00 10 09",
            "assistant_phone": "26 00 10 02",
            "email": [
                {"email_address": "old@example.com", "invalid_email": True},
                {"email_address": "second@example.com"},
                {"email_address": "first@example.com", "primary_address": True},
            ],
            "primary_address_street": "1, rue Haute",
            "primary_address_postalcode": "L-1111",
            "primary_address_city": "Luxembourg",
            "primary_address_country": "lu",
            "tag": ["vip"],
            "language_c": "fr",
        },
    )
    async with server.serve() as url, opened(server, url, fields={"Language": "language_c"}) as source:
        record = (await Mirror().run(source)).records["c1"]
        assert (record.first_name, record.last_name, record.display_name) == ("Marc", "Weber", "")
        assert (record.company, record.company_url) == ("Weber & Fils", f"{url}/#Accounts/{account}")
        assert record.contact_url == f"{url}/#Contacts/c1"
        assert record.emails == ("first@example.com", "second@example.com")
        assert record.numbers == (
            RawNumber("26 00 10 01", "work"),
            RawNumber("621 000 001", "mobile"),
            RawNumber("26 00 10 09", "fax"),
            RawNumber("26 00 10 02", "other"),
            RawNumber("+352 26 00 10 00", "work", company=True),
        )
        assert record.addresses == (Address("1, rue Haute", "L-1111", "Luxembourg", "", "lu"),)
        assert (record.country, record.tags, record.custom) == ("LU", ("vip",), (("Language", "fr"),))
        assert record.modified == NOON


@pytest.mark.parametrize("strings", [True, False])
async def test_email_flags_are_read_as_strings_and_as_booleans(strings: bool) -> None:
    server = crm()
    server.store.string_flags = strings
    mails = [
        {"email_address": "second@example.com", "primary_address": False},
        {"email_address": "first@example.com", "primary_address": True},
        {"email_address": "wrong@example.com", "primary_address": False, "invalid_email": True},
    ]
    server.put("Contacts", {"id": "c1", "last_name": "Weber", "email": mails})
    async with server.serve() as url, opened(server, url) as source:
        record = (await Mirror().run(source)).records["c1"]
        assert record.emails == ("first@example.com", "second@example.com")


@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("cap", [1, 7, 10, 1000])
async def test_a_full_run_reads_every_page_whatever_the_server_gives(cap: int, padded: bool) -> None:
    server = crm(20)
    server.cap, server.padded = cap, padded
    for n in range(25):
        server.put("Contacts", {"last_name": f"Imported {n}", "date_modified": NOON})
    async with server.serve() as url, opened(server, url) as source:
        mirror = await Mirror().run(source)
        assert (mirror.complete, len(mirror.records)) == (True, 45)


async def test_rows_that_move_while_they_are_read_are_neither_lost_nor_removed() -> None:
    server = crm(50)
    server.cap = 10
    for n in range(25):
        server.put("Contacts", {"id": f"i{n:02}", "last_name": f"Imported {n:02}", "date_modified": NOON})

    def move(line: str) -> None:
        if line == "POST Contacts/filter":
            server.tick(1)
            for identity in ("c00001", "c00025", "c00049", "i03", "i12"):
                server.update("Contacts", identity, {"title": str(len(server.calls))})

    async with server.serve() as url, opened(server, url) as source:
        server.before = move
        server.faults.set("429", on="Contacts/filter", skip=40)
        mirror = await Mirror().run(source)
        assert (mirror.complete, len(mirror.records)) == (True, 75)


async def test_a_delta_run_reads_what_changed_and_no_more() -> None:
    server = crm(100)
    account = server.put("Accounts", {"name": "Weber", "phone_office": "26 00 10 00", "date_modified": NOON})
    async with server.serve() as url, opened(server, url) as source:
        server.tick(3600)
        mirror = await Mirror().run(source)
        server.tick(3600)
        await mirror.run(source)
        server.tick(3600)
        server.update("Contacts", "c00001", {"last_name": "Changed", "account_id": account})
        server.put("Contacts", {"id": "new", "last_name": "New"})
        server.delete("Contacts", "c00002")
        server.calls.clear()
        await mirror.run(source)
        assert (mirror.complete, mirror.read, len(mirror.records)) == (False, 2, 100)
        assert {"Changed", "New"} <= set(named(mirror))
        assert mirror.records["c00001"].numbers[-1] == RawNumber("26 00 10 00", "work", company=True)
        asked = ["Accounts", "Contacts", "Accounts", "Contacts", "Leads", "Leads"]
        assert server.calls == [f"POST {module}/filter" for module in asked]


async def test_no_change_costs_one_call_for_accounts_and_two_a_module() -> None:
    server = crm(30)
    async with server.serve() as url, opened(server, url) as source:
        mirror = await Mirror().run(source)
        server.tick(7200)
        await mirror.run(source)
        server.calls.clear()
        await mirror.run(source)
        assert (mirror.read, len(server.calls)) == (0, 5)


async def test_a_renamed_account_reaches_its_contacts_at_the_next_run() -> None:
    server = crm(5)
    account = server.put("Accounts", {"name": "Before", "phone_office": "26 00 10 00"})
    server.update("Contacts", "c00003", {"account_id": account, "date_modified": NOON})
    async with server.serve() as url, opened(server, url) as source:
        mirror = await Mirror().run(source)
        server.tick(7200)
        server.update("Accounts", account, {"name": "After", "phone_office": "26 00 10 99"})
        await mirror.run(source)
        record = mirror.records["c00003"]
        assert (mirror.complete, record.company, record.numbers[-1].text) == (False, "After", "26 00 10 99")


async def test_a_number_that_an_account_loses_leaves_its_contacts() -> None:
    server = crm(1)
    account = server.put("Accounts", {"name": "Weber", "phone_office": "26 00 10 00"})
    server.update("Contacts", "c00000", {"account_id": account})
    async with server.serve() as url, opened(server, url) as source:
        mirror = await Mirror().run(source)
        server.update("Accounts", account, {"phone_office": ""})
        server.calls.clear()
        await mirror.run(source)
        assert [number.company for number in mirror.records["c00000"].numbers] == [False]
        assert server.calls.count("POST Accounts/filter") == 1


async def test_contacts_of_more_accounts_than_fit_one_question_are_all_read() -> None:
    server = crm()
    for n in range(1200):
        server.put("Accounts", {"id": f"a{n}", "name": f"Before {n}", "phone_office": f"26 {n:06}"})
        server.put("Contacts", {"id": f"c{n}", "last_name": f"Contact {n}", "account_id": f"a{n}"})
    async with server.serve() as url, opened(server, url) as source:
        mirror = await Mirror().run(source)
        server.tick(7200)
        for n in range(1200):
            server.update("Accounts", f"a{n}", {"name": f"After {n}"})
        await mirror.run(source)
        assert (mirror.complete, {record.company for record in mirror.records.values()}) == (
            False,
            {f"After {n}" for n in range(1200)},
        )


async def test_what_is_deleted_goes_at_the_next_run_where_deleted_rows_are_shown() -> None:
    server = crm(5)
    async with server.serve() as url, opened(server, url) as source:
        mirror = await Mirror().run(source)
        server.tick(7200)
        server.delete("Contacts", "c00003")
        await mirror.run(source)
        assert (mirror.complete, "c00003" in mirror.records) == (False, False)


async def test_what_is_deleted_goes_at_the_next_full_run_where_they_are_not() -> None:
    server = crm(5)
    server.shows_deleted = False
    async with server.serve() as url, opened(server, url) as source:
        mirror = await Mirror().run(source)
        server.tick(7200)
        server.delete("Contacts", "c00003")
        await mirror.run(source)
        assert "c00003" in mirror.records
        await mirror.run(source, full=True)
        assert "c00003" not in mirror.records


async def test_a_converted_lead_is_no_contact() -> None:
    server = crm()
    for n in range(3):
        server.put("Leads", {"id": f"l{n}", "last_name": f"Lead {n}", "account_name": "Soon", "converted": n == 0})
    async with server.serve() as url, opened(server, url) as source:
        mirror = await Mirror().run(source)
        assert named(mirror) == ["Lead 1", "Lead 2"]
        assert mirror.records["l1"].company == "Soon"
        assert mirror.records["l1"].contact_url == f"{url}/#Leads/l1"
        server.tick(7200)
        server.update("Leads", "l1", {"converted": True})
        await mirror.run(source)
        assert (mirror.complete, named(mirror)) == (False, ["Lead 2"])


async def test_changes_are_found_though_the_clock_that_stamps_them_is_slow() -> None:
    server = crm(5)
    async with server.serve() as url, opened(server, url) as source:
        mirror = await Mirror().run(source)
        late = NOON - datetime.timedelta(minutes=50)
        server.update("Contacts", "c00001", {"last_name": "Late", "date_modified": late})
        await mirror.run(source)
        assert "Late" in named(mirror)


@pytest.mark.parametrize("change", [{"fields": {"Language": "language_c"}}, {"modules": ["Contacts"]}])
async def test_a_cursor_of_other_keys_turns_the_run_into_a_full_one(change: dict[str, object]) -> None:
    server = crm(5)
    async with server.serve() as url:
        async with opened(server, url) as source:
            mirror = await Mirror().run(source)
        async with opened(server, url, **change) as source:
            await mirror.run(source)
        assert (mirror.complete, mirror.read) == (True, 5)


async def test_a_server_whose_time_went_back_is_read_in_full() -> None:
    server = crm(5)
    async with server.serve() as url, opened(server, url) as source:
        mirror = await Mirror().run(source)
        server.tick(-86400)
        await mirror.run(source)
        assert (mirror.complete, len(mirror.records)) == (True, 5)


async def test_a_field_that_went_missing_turns_the_run_into_a_full_one() -> None:
    server = crm(5)
    async with server.serve() as url, opened(server, url) as source:
        mirror = await Mirror().run(source)
        server.store.absent.add(("Contacts", "assistant_phone"))
        await mirror.run(source)
        assert (mirror.complete, len(mirror.records)) == (True, 5)


async def notes(source: sugarcrm.SugarCrm, mirror: Mirror) -> list[str]:
    """What the next run says to the admin."""
    said: list[str] = []
    async for page in source.read(mirror.cursor, mirror.known):
        said.extend(page.notes)
    return said


async def test_hidden_and_missing_fields_are_left_out_and_named_in_every_run() -> None:
    server = crm(5)
    server.store.hidden.add(("Contacts", "phone_mobile"))
    server.store.absent.add(("Contacts", "tag"))
    server.update("Contacts", "c00001", {"phone_mobile": "621 000 001"})
    want = [
        "left out, as Contacts has no such field: colour_c",
        "left out, as Leads has no such field: language_c, colour_c",
        "left out, as the login may not see it: Contacts.phone_mobile",
    ]
    asked = {"Language": "language_c", "Colour": "colour_c"}
    async with server.serve() as url, opened(server, url, fields=asked) as source:
        mirror = Mirror()
        assert await notes(source, mirror) == want
        await mirror.run(source)
        assert [number.kind for number in mirror.records["c00001"].numbers] == ["work"]
        assert await notes(source, mirror) == want


@pytest.mark.parametrize("module", ["Leads", "Accounts"])
async def test_a_module_that_may_not_be_read_is_named_and_the_others_are_read(module: str) -> None:
    server = crm(5)
    server.forbidden.add(module)
    async with server.serve() as url, opened(server, url) as source:
        mirror = Mirror()
        assert await notes(source, mirror) == [
            f"{module} may not be read, or is no module there: right is a role with access to it"
        ]
        await mirror.run(source)
        assert (mirror.complete, len(mirror.records)) == (True, 5)
        await mirror.run(source)
        assert mirror.complete is False


async def test_a_login_that_may_read_nothing_is_denied() -> None:
    server = crm(5)
    server.forbidden |= {"Contacts", "Leads"}
    async with server.serve() as url, opened(server, url) as source:
        with pytest.raises(errors.Denied, match="lets the login read none of Contacts, Leads"):
            await Mirror().run(source)


LOST: tuple[faults.Name, ...] = (
    "cut",
    "lost",
    "truncated",
    "cut_midway",
    "html",
    "null",
    "400",
    "403_html",
    "413",
    "429",
    "500",
    "502",
    "503",
    "redirect",
    "endless",
)


def test_every_fault_is_met_by_a_test() -> None:
    assert set(get_args(faults.Name)) == {*LOST, "expire", "kick"}


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("fault", LOST)
async def test_a_failing_server_fails_the_run_and_takes_nothing_away(fault: faults.Name, full: bool) -> None:
    server = crm(30)
    server.cap = 10
    async with server.serve() as url, opened(server, url) as source:
        mirror = await Mirror().run(source)
        before = dict(mirror.records), mirror.cursor
        for n in range(30):
            server.update("Contacts", f"c{n:05}", {"title": "changed"})
        server.tick(7200)
        server.faults.set(fault, on="Contacts/filter", skip=2)
        if fault == "endless":
            await mirror.run(source, full=full)
            assert len(mirror.records) == 30
            return
        with pytest.raises((errors.Unavailable, errors.Denied)):
            await mirror.run(source, full=full)
        assert (mirror.records, mirror.cursor) == before


async def test_a_server_without_a_moment_to_spare_says_when() -> None:
    server = crm(3)
    server.faults.set("429", on="Contacts/filter")
    async with server.serve() as url, opened(server, url) as source:
        with pytest.raises(errors.Unavailable) as caught:
            await Mirror().run(source)
        assert caught.value.after == 30


async def test_a_passing_fault_is_got_over() -> None:
    server = crm(30)
    server.cap = 10
    for fault in ("503", "502", "cut"):
        server.faults.set(fault, on="Contacts/filter", skip=1, times=1)
    async with server.serve() as url, opened(server, url) as source:
        assert len((await Mirror().run(source)).records) == 30


async def test_a_session_is_renewed_by_its_refresh_token_and_logged_out() -> None:
    server = crm(3)
    async with server.serve() as url:
        async with opened(server, url) as source:
            mirror = await Mirror().run(source)
            server.faults.set("expire", on="Contacts/filter", times=1)
            await mirror.run(source)
            assert (server.logins.logins, server.logins.renewals) == (1, 1)
            await mirror.run(source)
            assert (server.logins.logins, server.logins.renewals) == (1, 1)
        assert server.calls[-1] == "POST oauth2/logout"


async def test_a_session_is_renewed_before_it_ends() -> None:
    server = crm(3)
    server.logins.lifetime = 1
    async with server.serve() as url, opened(server, url) as source:
        mirror = await Mirror().run(source)
        await asyncio.sleep(0.6)
        await mirror.run(source)
        assert (server.logins.logins, server.logins.renewals) == (1, 1)


async def test_a_kicked_session_is_won_back_by_one_login_and_then_left_alone() -> None:
    server = crm(3)
    async with server.serve() as url, opened(server, url) as source:
        mirror = await Mirror().run(source)
        server.faults.set("kick", on="Contacts/filter", times=1)
        await mirror.run(source)
        assert (server.logins.logins, server.logins.renewals) == (2, 0)
        server.faults.set("kick", on="Contacts/filter", times=1)
        with pytest.raises(errors.Unavailable, match="another program uses the same login"):
            await mirror.run(source)
        assert server.logins.logins == 2


async def test_a_wrong_password_is_tried_once_a_run() -> None:
    server = crm(3)
    async with server.serve() as url, opened(server, url, password="wrong") as source:
        for _ in range(2):
            with pytest.raises(errors.Denied, match=r"takes no login as bridge \(need_login\)"):
                await Mirror().run(source)
        with pytest.raises(errors.Denied):
            await source.act(Action("note", KEY, "Note"))
        assert (server.logins.rejected, server.logins.logins) == (2, 0)
        assert set(server.calls) == {"POST oauth2/token"}


async def test_a_password_changed_meanwhile_is_denied_and_not_tried_again() -> None:
    server = crm(3)
    async with server.serve() as url, opened(server, url) as source:
        mirror = await Mirror().run(source)
        server.logins.users["bridge"] = "changed"
        server.logins.kick()
        with pytest.raises(errors.Denied, match="takes no login as bridge"):
            await mirror.run(source)
        assert server.logins.rejected == 1


async def test_an_unregistered_platform_is_named() -> None:
    server = crm(3)
    async with server.serve() as url, opened(server, url, platform="phones") as source:
        with pytest.raises(errors.Denied, match='platform = "phones" registered under Admin > Configure API Platforms'):
            await source.check()


async def test_a_version_that_the_site_lacks_is_named() -> None:
    server = crm(3)
    async with server.serve() as url, opened(server, url, api_version="v11_99") as source:
        with pytest.raises(errors.Unavailable, match="has no API v11_99"):
            await source.check()


async def test_no_message_holds_a_secret_or_a_token() -> None:
    server = crm(3)
    async with server.serve() as url, opened(server, url, password="top-secret") as source:
        with pytest.raises(errors.Denied) as caught:
            await source.check()
        shown = repr(caught.value) + repr(caught.value.__cause__) + repr(source.__dict__)
        assert "top-secret" not in shown


async def test_a_site_in_a_folder_is_read() -> None:
    server = SugarServer(path="/crm")
    server.put("Contacts", {"id": "c1", "last_name": "Weber"})
    async with server.serve() as url, opened(server, f"{url}/") as source:
        assert (await Mirror().run(source)).records["c1"].contact_url == f"{url}/#Contacts/c1"


async def test_a_page_too_heavy_for_the_server_is_asked_for_in_smaller_ones() -> None:
    server = crm(300)
    server.faults.set("500", on="POST Contacts/filter", skip=1, times=1)
    async with server.serve() as url, opened(server, url) as source:
        mirror = await Mirror().run(source)
        assert (len(mirror.records), server.calls.count("POST Contacts/filter")) == (300, 4)


async def test_check_says_who_reads_how_much_and_what_is_hidden() -> None:
    server = crm(12)
    server.put("Accounts", {"name": "Weber"})
    server.put("Leads", {"last_name": "Open"})
    server.put("Leads", {"last_name": "Won", "converted": True})
    server.store.hidden.add(("Contacts", "phone_home"))
    async with server.serve() as url, opened(server, url, fields={"Colour": "colour_c"}) as source:
        assert await source.check() == (
            "bridge at 127.0.0.1 by REST v11_1: 12 Contacts, 1 Leads, 1 Accounts; "
            "left out, as Contacts has no such field: colour_c; left out, as Leads has no such field: colour_c; "
            "left out, as the login may not see it: Contacts.phone_home"
        )


async def test_users_are_active_employees_with_an_extension() -> None:
    server = crm()
    active = {"first_name": "Anna", "status": "Active", "employee_status": "Active"}
    server.put("Users", {**active, "id": "u1", "last_name": "A", "phone_work": "201", "email": ["a@example.com"]})
    server.put("Users", {**active, "id": "u2", "last_name": "B", "phone_work": "+352 26 00 10 02"})
    server.put("Users", {**active, "id": "u3", "last_name": "C", "phone_work": "203", "status": "Inactive"})
    server.put("Users", {**active, "id": "u4", "last_name": "D", "phone_work": "204", "is_group": True})
    server.put("Users", {**active, "id": "u5", "last_name": "E", "phone_work": "205", "employee_status": "Terminated"})
    server.put("Users", {**active, "id": "u6", "last_name": "F", "phone_extension_c": "206 "})
    async with server.serve() as url:
        async with opened(server, url, users=True) as source:
            assert await source.users() == [User("u1", "201", "Anna", "A", "a@example.com")]
            assert (await source.check()).endswith("; 1 users with an extension")
            server.forbidden.add("Employees")
            assert len(await source.users()) == 1
        async with opened(server, url, users=True, extension_field="phone_extension_c") as source:
            assert await source.users() == [User("u6", "206", "Anna", "F")]
            server.store.hidden.add(("Users", "phone_extension_c"))
            with pytest.raises(errors.Unavailable, match=r"does not show Users\.phone_extension_c"):
                await source.users()
        async with opened(server, url, extension_field="ext") as source:
            with pytest.raises(errors.Unavailable):
                await source.users()


CALL = Call(
    "inbound",
    "+35226001001",
    "Marc Weber",
    "201",
    started=NOON,
    answered=NOON + datetime.timedelta(seconds=5),
    ended=NOON + datetime.timedelta(seconds=3730),
)


def served() -> SugarServer:
    """A server with a contact of an account, a lead and a user."""
    server = crm()
    server.put("Accounts", {"id": "a1", "name": "Weber"})
    server.put("Contacts", {"id": "c1", "last_name": "Weber", "account_id": "a1"})
    server.put("Leads", {"id": "l1", "last_name": "Lead"})
    server.put("Users", {"id": "u1", "user_name": "anna"})
    return server


@pytest.mark.parametrize("version", ["v11_1", "v11_10"])
async def test_a_call_is_logged_with_its_time_and_its_links(version: str) -> None:
    server = served()
    async with server.serve() as url, opened(server, url, api_version=version) as source:
        action = Action("log-call", KEY, "Call of Marc", "He asks back.", CALL, "c1", f"{url}/#Contacts/c1", "u1")
        made = await source.act(action)
        assert made.url == f"{url}/#Calls/{made.id}"
        row = server.records["Calls"][made.id]
        want = {
            "name": "Call of Marc",
            "status": "Held",
            "direction": "Inbound",
            "date_start": NOON,
            "duration_hours": 1,
            "duration_minutes": 3,
            "description": "He asks back.\nDuration: 3725 s",
            "parent_type": "Contacts",
            "parent_id": "c1",
            "assigned_user_id": "u1",
        }
        assert {name: row[name] for name in want} == want
        assert server.store.links["Calls", made.id, "contacts"] == ["c1"]
        assert server.store.links["Calls", made.id, "users"] == ["u1"]
        assert (made.id == UUID) == (version == "v11_1")
        assert row.get("sync_key") == (KEY if version == "v11_10" else None)


async def test_a_call_with_a_lead_is_linked_to_the_lead() -> None:
    server = served()
    async with server.serve() as url, opened(server, url) as source:
        made = await source.act(
            Action("log-call", KEY, "Call", call=CALL, contact="l1", contact_url=f"{url}/#Leads/l1")
        )
        row = server.records["Calls"][made.id]
        assert (row["parent_type"], row["parent_id"]) == ("Leads", "l1")
        assert server.store.links["Calls", made.id, "leads"] == ["l1"]


async def test_tickets_tasks_and_notes_know_their_contact() -> None:
    server = served()
    async with server.serve() as url, opened(server, url) as source:
        made = {}
        for kind in ("ticket", "task", "note"):
            made[kind] = await source.act(Action(kind, KEY, "Call back", "Today", CALL, "c1", f"{url}/#Contacts/c1"))
        case = server.records["Cases"][made["ticket"].id]
        assert (case["account_id"], case["primary_contact_id"], case["status"]) == ("a1", "c1", "New")
        for kind, module in (("task", "Tasks"), ("note", "Notes")):
            row = server.records[module][made[kind].id]
            assert (row["name"], row["description"]) == ("Call back", "Today")
            assert (row["parent_type"], row["parent_id"], row["contact_id"]) == ("Contacts", "c1", "c1")
            assert made[kind].url == f"{url}/#{module}/{made[kind].id}"


@pytest.mark.parametrize("fault", ["lost", "cut"])
@pytest.mark.parametrize(("version", "line"), [("v11_1", "POST Calls"), ("v11_12", "PATCH Calls")])
async def test_an_action_whose_answer_is_lost_is_made_once(fault: faults.Name, version: str, line: str) -> None:
    server = served()
    server.faults.set(fault, on=line, times=1)
    async with server.serve() as url, opened(server, url, api_version=version) as source:
        action = Action("log-call", KEY, "Call", call=CALL, contact="c1")
        with pytest.raises(errors.Unsettled):
            await source.act(action)
        made = await source.act(action)
        assert await source.act(action) == made
        assert list(server.records["Calls"]) == [made.id]


async def test_an_own_id_takes_the_place_of_a_sync_key_that_only_administrators_may_use() -> None:
    server = served()
    server.sync_keys = False
    async with server.serve() as url, opened(server, url, api_version="v11_20") as source:
        for _ in range(2):
            assert (await source.act(Action("note", KEY, "Note"))).id == UUID
        assert server.calls.count(f"PATCH Notes/sync_key/{KEY}") == 1
        assert list(server.records["Notes"]) == [UUID]


async def test_what_the_site_refuses_is_refused_with_its_label() -> None:
    server = served()
    server.put("Contacts", {"id": "c2", "last_name": "Alone"})
    async with server.serve() as url, opened(server, url) as source:
        with pytest.raises(errors.Refused, match="missing_parameter for account_id") as caught:
            await source.act(Action("ticket", KEY, "Ticket", contact="c2"))
        assert caught.value.code == "missing_parameter"
        server.forbidden.add("Calls")
        with pytest.raises(errors.Refused, match="lets the login make no Calls"):
            await source.act(Action("log-call", KEY, "Call"))


@pytest.mark.parametrize("version", ["v11_1", "v11_10"])
async def test_where_a_site_has_choices_of_its_own_its_defaults_stand(version: str) -> None:
    server = served()
    tasks = server.store.modules["Tasks"]
    server.store.modules["Tasks"] = dataclasses.replace(
        tasks, enums={"priority": ("A", "B")}, defaults={"priority": "B"}
    )
    async with server.serve() as url, opened(server, url, api_version=version) as source:
        made = await source.act(Action("task", KEY, "Call back"))
        assert [row["priority"] for row in server.records["Tasks"].values()] == ["B"]
        assert list(server.records["Tasks"]) == [made.id]


async def test_a_session_that_ends_before_an_action_is_renewed_and_the_action_made_once() -> None:
    server = served()
    async with server.serve() as url, opened(server, url) as source:
        server.faults.set("expire", on="POST Notes", times=1)
        made = await source.act(Action("note", KEY, "Note"))
        assert (list(server.records["Notes"]), server.logins.renewals) == ([made.id], 1)


async def test_an_action_beside_a_read_uses_the_same_session() -> None:
    server = served()
    server.cap = 1
    async with server.serve() as url, opened(server, url) as source:
        mirror = Mirror()
        await asyncio.gather(mirror.run(source), source.act(Action("note", KEY, "Note", contact="c1")))
        assert (server.logins.logins, sorted(mirror.records), list(server.records["Notes"])) == (
            1,
            ["c1", "l1"],
            [UUID],
        )


async def test_the_sample_is_read_as_its_people_are() -> None:
    server = SugarServer()
    people = sample.people()
    for key, person in people.items():
        server.put_person(key, person)
    async with server.serve() as url, opened(server, url) as source:
        mirror = await Mirror().run(source)
        names = sorted(f"{record.first_name} {record.last_name}".strip() for record in mirror.records.values())
        assert names == sorted(f"{person.first} {person.last}".strip() for person in people.values())
        first, second, *_ = people
        server.put_person(first, people[first].renamed("Reuter"))
        server.remove_person(second)
        await mirror.run(source)
        assert (mirror.complete, len(mirror.records), "Reuter" in named(mirror)) == (False, len(people) - 1, True)
