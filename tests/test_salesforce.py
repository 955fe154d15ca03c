"""Reading Salesforce: runs, deletions, accounts, Bulk, the quota and what goes wrong."""

from __future__ import annotations

import contextlib
import datetime
import random

import pytest
from mirrored import Mirror
from salesforce_orgs import Crm, opened, scripted, served, source

from bridge import errors
from bridge.contact import Address, RawNumber
from bridge.demo.salesforce import Fault
from bridge.demo.salesforce_schema import Field
from bridge.sources.salesforce import answers, bulk, reading, runs


async def settled(crm: Crm, **more: object) -> Mirror:
    """After a full run, and long enough for the overlap and the log of deletions to be behind."""
    crm.later(minutes=30)
    await crm.run(**more)
    crm.later(minutes=30)
    return crm.mirror


async def test_a_first_run_reads_contacts_and_leads_whole() -> None:
    async with served() as crm:
        mirror = await crm.run()
        anna, leo = sorted(mirror.records.values(), key=lambda record: record.display_name)
        contact, account = crm.org.ids("Contact")[0], crm.org.ids("Account")[0]
        page = f"{crm.server.instance_url}/lightning/r"
        assert mirror.complete
        assert (anna.id, anna.first_name, anna.last_name, anna.company) == (contact, "Anna", "Müller", "Acme")
        assert anna.numbers == (RawNumber("+352 621 1", "mobile"), RawNumber("+352 26 1", "work", company=True))
        assert anna.emails == ("anna@example.com",)
        assert (anna.contact_url, anna.company_url) == (
            f"{page}/Contact/{contact}/view",
            f"{page}/Account/{account}/view",
        )
        assert anna.modified == datetime.datetime(2026, 11, 20, 12, 0, tzinfo=datetime.UTC)
        assert (leo.company, leo.company_url, leo.numbers) == ("Prospect", "", (RawNumber("+352 26 2", "work"),))


async def test_no_change_costs_one_query_an_object_and_one_look_at_each_log_of_deletions() -> None:
    async with served() as crm:
        await settled(crm)
        mirror = await crm.run()
        assert (mirror.complete, mirror.read) == (False, 0)
        assert crm.called() == [
            "GET /queryAll/",
            "GET /sobjects/Contact/deleted/",
            "GET /queryAll/",
            "GET /sobjects/Lead/deleted/",
            "GET /queryAll/",
        ]


async def test_a_run_within_the_minute_does_not_ask_for_deletions() -> None:
    async with served() as crm:
        await crm.run()
        await crm.run()
        assert crm.called() == ["GET /queryAll/"] * 3


async def test_changes_cost_no_more_calls_than_no_change() -> None:
    async with served() as crm:
        ids = crm.many(400)
        await settled(crm)
        for id in ids[:100]:
            crm.org.update(id, {"MobilePhone": "+352 621 9"})
        mirror = await crm.run()
        assert (mirror.complete, mirror.read, len(crm.called())) == (False, 100, 5)
        assert sum(RawNumber("+352 621 9", "mobile") in record.numbers for record in mirror.records.values()) == 100


async def test_a_row_committed_late_is_read_within_the_overlap() -> None:
    async with served() as crm:
        await crm.run()
        crm.later(minutes=-9)
        late = crm.org.put("Contact", {"LastName": "Late"})
        crm.later(minutes=10)
        assert late in (await crm.run()).records


async def test_the_servers_clock_counts_and_not_ours() -> None:
    async with served() as crm:
        crm.later(days=-400)
        crm.org.log_began = crm.org.now - datetime.timedelta(days=30)
        await crm.run()
        crm.later(minutes=5)
        fresh = crm.org.put("Contact", {"LastName": "Fresh"})
        mirror = await crm.run()
        assert (mirror.complete, fresh in mirror.records) == (False, True)


async def test_what_goes_to_the_bin_or_is_lost_in_a_merge_goes_at_the_next_run_and_comes_back() -> None:
    async with served() as crm:
        binned, winner, loser = crm.many(3)
        await settled(crm)
        crm.org.delete(binned)
        crm.org.merge(winner, loser)
        mirror = await crm.run()
        assert not {binned, loser} & mirror.records.keys()
        assert winner in mirror.records
        crm.later(minutes=30)
        crm.org.undelete(binned)
        mirror = await crm.run()
        assert (mirror.complete, binned in mirror.records) == (False, True)


async def test_what_was_deleted_for_good_goes_by_the_log_of_deletions() -> None:
    async with served() as crm:
        gone, stays = crm.many(2)
        await settled(crm)
        crm.org.delete(gone, hard=True)
        crm.later(minutes=2)
        mirror = await crm.run()
        assert (mirror.complete, gone in mirror.records, stays in mirror.records) == (False, False, True)


async def test_a_record_that_came_back_is_not_taken_away_by_a_log_that_lies_behind() -> None:
    async with served() as crm:
        (back,) = crm.many(1)
        await settled(crm)
        crm.org.delete(back)
        entry = crm.org.tables["Contact"].log[back]
        crm.org.undelete(back)
        crm.later(minutes=20)
        crm.org.tables["Contact"].log[back] = entry
        await crm.run(overlap="10s")
        assert back in crm.mirror.records


async def test_a_log_of_deletions_that_does_not_reach_back_makes_a_full_run() -> None:
    async with served() as crm:
        gone, _ = crm.many(2)
        await settled(crm)
        crm.org.delete(gone, hard=True)
        crm.later(days=20)
        mirror = await crm.run()
        assert (mirror.complete, gone in mirror.records) == (True, False)


@pytest.mark.parametrize("kind", ["replication", "too_many_ids"])
async def test_a_log_of_deletions_that_cannot_be_told_makes_a_full_run(kind: str) -> None:
    async with served() as crm:
        await settled(crm)
        crm.server.faults.append(Fault("/deleted", kind))
        assert (await crm.run()).complete


async def test_many_deletions_at_once_make_a_full_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "MOST_UNSEEN", 3)
    async with served() as crm:
        ids = crm.many(10)
        await settled(crm)
        for id in ids[:5]:
            crm.org.delete(id, hard=True)
        crm.later(minutes=2)
        mirror = await crm.run()
        assert (mirror.complete, len(mirror.records)) == (True, 7)


async def test_many_changes_at_once_make_a_full_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "MOST", 5)
    async with served() as crm:
        ids = crm.many(10)
        await settled(crm)
        for id in ids:
            crm.org.touch(id)
        assert (await crm.run()).complete


async def test_a_renamed_account_reaches_its_contacts() -> None:
    async with served() as crm:
        [account] = crm.org.ids("Account")
        crm.many(3, AccountId=account)
        crm.many(3)
        await settled(crm)
        crm.org.update(account, {"Name": "Zenith"})
        mirror = await crm.run()
        assert (mirror.complete, mirror.read, len(crm.called())) == (False, 4, 6)
        assert sum(record.company == "Zenith" for record in mirror.records.values()) == 4
        crm.later(minutes=1)
        await crm.run()
        assert (mirror.read, len(crm.called())) == (4, 6)  # the stamp was of the second in which it was read
        crm.later(minutes=1)
        await crm.run()
        assert (mirror.read, len(crm.called())) == (0, 5)


async def test_many_renamed_accounts_are_asked_for_in_addresses_that_are_not_too_long() -> None:
    async with served() as crm:
        accounts = [crm.org.put("Account", {"Name": f"Old {n}"}) for n in range(700)]
        for account in accounts:
            crm.org.put("Contact", {"LastName": "Person", "AccountId": account})
        await settled(crm)
        for account in accounts:
            crm.org.update(account, {"Name": "New"})
        mirror = await crm.run()
        assert sum(record.company == "New" for record in mirror.records.values()) == 700
        assert (mirror.complete, len(crm.called())) == (False, 8)


async def test_an_account_in_the_bin_takes_its_contacts_with_it() -> None:
    async with served() as crm:
        await settled(crm)
        crm.org.delete(crm.org.ids("Account")[0])
        mirror = await crm.run()
        assert [record.display_name for record in mirror.records.values()] == ["Leo Lead"]


async def test_a_converted_lead_is_no_contact() -> None:
    async with served() as crm:
        [lead] = crm.org.ids("Lead")
        await settled(crm)
        crm.org.update(lead, {"IsConverted": True})
        assert lead not in (await crm.run()).records
        mirror = await crm.run(full=True)
        assert (mirror.complete, lead in mirror.records) == (True, False)


async def test_every_object_can_be_read() -> None:
    async with served() as crm:
        crm.org.put("User", {"FirstName": "Uma", "LastName": "User", "Extension": "21", "UserType": "Standard"})
        robot = crm.org.put("User", {"LastName": "Robot", "UserType": "AutomatedProcess"})
        objects = ["user", "Account", "Contact", "Lead"]
        mirror = await settled(crm, objects=objects)
        assert robot not in mirror.records
        assert mirror.names == ["Acme", "Anna Müller", "Integration User", "Leo Lead", "Uma User"]
        acme = mirror.records[crm.org.ids("Account")[0]]
        assert (acme.company, acme.numbers) == ("Acme", (RawNumber("+352 26 1", "work", company=True),))
        crm.org.update(crm.org.ids("Account")[0], {"Name": "Zenith"})
        uma = next(id for id, record in mirror.records.items() if record.first_name == "Uma")
        crm.org.update(uma, {"IsActive": False})
        mirror = await crm.run(objects=objects)
        assert (mirror.complete, mirror.names) == (False, ["Anna Müller", "Integration User", "Leo Lead", "Zenith"])
        assert {record.company for record in mirror.records.values()} == {"", "Zenith", "Prospect"}


async def test_an_object_that_cannot_be_read_is_said_at_once() -> None:
    with pytest.raises(errors.Unsupported) as caught:
        source("https://example.my.salesforce.com", objects=["Contact", "Opportunity"])
    assert str(caught.value) == (
        "objects names 'Opportunity', which cannot be read: right is any of Account, Contact, Lead, User"
    )


async def test_a_person_account_is_a_person_and_no_company() -> None:
    async with served() as crm:
        for name in ("Account", "Contact"):
            crm.org.schemas[name].add(Field("IsPersonAccount", "boolean"))
        person = crm.org.put("Account", {"Name": "Pia Person", "Phone": "+352 26 5", "IsPersonAccount": True})
        crm.org.put(
            "Contact",
            {"LastName": "Person", "Phone": "+352 26 5", "AccountId": person, "IsPersonAccount": True},
        )
        mirror = await crm.run(objects=["Contact", "Account"])
        [pia] = [record for record in mirror.records.values() if record.last_name == "Person"]
        assert (pia.company, pia.company_url, pia.numbers) == ("", "", (RawNumber("+352 26 5", "work"),))
        assert mirror.names == ["Acme", "Anna Müller", "Person"]


async def test_addresses_and_extra_fields_are_read_the_same_by_rest_and_by_bulk() -> None:
    async with served() as crm:
        crm.org.field("Contact", "Language__c")
        crm.org.field("Contact", "Score__c", "double", 0)
        crm.org.field("Contact", "Seen__c", "datetime", 0)
        [anna] = crm.org.ids("Contact")
        crm.org.update(
            anna,
            {
                "MailingStreet": 'Rue "Haute" 1\nApt, 2',
                "MailingCity": "Luxembourg",
                "MailingPostalCode": "1234",
                "MailingCountry": "Luxembourg",
                "Language__c": "lb",
                "Score__c": 5.0,
                "Seen__c": datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC),
                "Description": "—",
            },
        )
        crm.many(3)
        fields = {"Language": "language__c", "Score": "Score__c", "Seen": "Seen__c", "City": "Account.Name"}
        more = {"fields": fields, "objects": ["Contact"]}
        by_rest = dict((await crm.run(**more)).records)
        by_bulk = dict((await crm.run(full=True, bulk_from=1, **more)).records)
        assert by_rest == by_bulk
        assert by_rest[anna].addresses == (Address('Rue "Haute" 1\nApt, 2', "1234", "Luxembourg", "", "Luxembourg"),)
        assert by_rest[anna].custom == (
            ("Language", "lb"),
            ("Score", "5"),
            ("Seen", "2026-01-02T03:04:05Z"),
            ("City", "Acme"),
        )


async def test_hidden_fields_are_left_out_and_named() -> None:
    async with served() as crm:
        crm.org.hide("Contact", "MobilePhone", "HomePhone")
        crm.org.hide("Account", "Phone")
        mirror = await settled(crm, fields={"Language": "Language__c"}, objects=["Contact"])
        assert [record.numbers for record in mirror.records.values()] == [()]
        assert crm.notes == [
            "Contact.MobilePhone, Contact.HomePhone, Contact.Account.Phone, Contact.Language__c are hidden from the "
            "login, or not there, and left out: right is field-level read access"
        ]


async def test_a_field_that_is_hidden_after_the_last_full_run_is_left_out_of_a_delta() -> None:
    async with served() as crm:
        [anna] = crm.org.ids("Contact")
        await settled(crm)
        crm.org.hide("Contact", "MobilePhone")
        crm.org.hide("Account", "Phone")
        crm.org.touch(anna)
        mirror = await crm.run()
        assert (mirror.complete, mirror.records[anna].numbers) == (False, ())
        assert [note.split(" ")[0] for note in crm.notes] == ["Contact.MobilePhone", "Contact.Account.Phone"]
        await crm.run()
        assert len(crm.notes) == 2


async def test_an_object_that_is_hidden_is_named_and_the_others_are_read() -> None:
    async with served() as crm:
        crm.org.hide("Lead")
        mirror = await crm.run()
        assert (mirror.names, crm.notes) == (["Anna Müller"], ["Lead is hidden from the login: Lead is not read"])
        crm.org.hide("Contact")
        with pytest.raises(errors.Denied, match="may read none of Contact, Lead"):
            await crm.run(full=True)


async def test_an_object_that_is_hidden_after_the_last_full_run_makes_a_full_one() -> None:
    async with served() as crm:
        await settled(crm)
        crm.org.hide("Lead")
        mirror = await crm.run()
        assert (mirror.complete, mirror.names) == (True, ["Anna Müller"])


@pytest.mark.parametrize("kind", ["xml", "timeout", "500", "html", "null", "truncated"])
async def test_a_describe_that_fails_hides_nothing(kind: str) -> None:
    async with served() as crm:
        crm.server.faults.append(Fault("/Lead/describe", kind))
        with pytest.raises(errors.Unavailable):
            await crm.run()


async def test_a_log_of_deletions_that_is_hidden_is_named_and_the_run_goes_on() -> None:
    async with served() as crm:
        await settled(crm)
        for _ in range(2):
            crm.server.faults.append(Fault("/Contact/deleted", "xml"))
            assert not (await crm.run()).complete
            assert crm.notes == ["the login may not read which records of Contact were deleted (NOT_FOUND)"]
            crm.later(minutes=10)


async def test_pages_are_followed_however_short_they_are() -> None:
    async with served() as crm:
        crm.many(50)
        crm.server.page_size = 7
        assert len((await crm.run()).records) == 52
        crm.later(minutes=30)
        for id in crm.org.ids("Contact"):
            crm.org.touch(id)
        mirror = await crm.run()
        assert (mirror.complete, mirror.read) == (False, 51)


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("kind", ["locator", "timeout"])
async def test_a_cursor_that_ran_out_is_followed_from_the_last_row_on(kind: str, full: bool) -> None:
    async with served() as crm:
        ids = crm.many(50)
        await settled(crm, objects=["Contact"])
        for id in ids:
            crm.org.touch(id)  # all at the same second
        crm.server.page_size = 7
        crm.server.faults.append(Fault("/query", kind, times=3, after=4))
        mirror = await crm.run(full=full, objects=["Contact"])
        assert (mirror.complete, mirror.read >= 50, len(mirror.records)) == (full, True, 51)


async def test_changes_over_a_long_time_are_read_in_shorter_windows_where_the_whole_takes_too_long() -> None:
    async with served() as crm:
        ids = crm.many(20)
        await settled(crm, objects=["Contact"])
        for id in ids:
            crm.later(minutes=7)
            crm.org.touch(id)
        crm.server.faults.append(Fault("/queryAll", "timeout", times=3))
        mirror = await crm.run(objects=["Contact"])
        assert (mirror.complete, mirror.read) == (False, 20)


async def test_a_query_that_is_too_slow_for_us_is_asked_in_parts_and_a_count_makes_way_for_bulk() -> None:
    async with served() as crm:
        await settled(crm, objects=["Contact"])
        crm.server.faults.append(Fault("/queryAll", "slow", seconds=1.0))
        mirror = await crm.run(objects=["Contact"], timeout="0.3s")
        assert (mirror.complete, len(crm.called())) == (False, 5)
        crm.server.faults.append(Fault("/query/", "slow", seconds=1.0))
        await crm.run(full=True, objects=["Contact"], timeout="0.3s")
        assert "POST /jobs/query" in crm.called()


async def test_a_cursor_that_never_lives_ends_the_run() -> None:
    async with served() as crm:
        crm.many(50)
        crm.server.page_size = 7
        crm.server.faults.append(Fault("/query/01g", "locator", times=10_000))
        crm.server.faults.append(Fault("/query/", "timeout", times=10_000, after=3))
        with pytest.raises(errors.Unavailable, match="QUERY_TIMEOUT"):
            await crm.run()


async def test_rows_that_are_lost_between_pages_end_the_run() -> None:
    answers = {
        "token": {"access_token": "t", "instance_url": "", "id": "https://x/id/00D5g0000000001AAA/0055g0000000001AAA"},
        "describe": {"fields": [{"name": name, "type": "string"} for name in ("Id", "SystemModstamp", "IsDeleted")]},
        "query": {"totalSize": 2, "done": True, "records": [{"Id": "0035g0000000001AAA", "SystemModstamp": ""}]},
    }
    async with scripted(answers) as url, opened(url, objects=["Contact"]) as made:
        with pytest.raises(errors.Unavailable, match="ended before all of its rows were read"):
            await Mirror().run(made)


async def test_rows_that_move_while_they_are_read_are_neither_lost_nor_removed() -> None:
    async with served() as crm:
        ids = crm.many(30)
        await settled(crm, objects=["Contact"])
        crm.server.page_size = 5
        async with opened(crm.url, objects=["Contact"]) as made:
            seen = set()
            async for page in made.read(None, crm.mirror.known):
                seen |= {record.id for record in page.records}
                crm.later(seconds=1)
                crm.org.update(ids[0], {"LastName": "Moved"})
                crm.org.update(ids[-1], {"LastName": "Moved"})
                cursor = page.cursor
            assert set(ids) <= seen
            crm.mirror.cursor = cursor
            mirror = await crm.run(objects=["Contact"])
        assert [mirror.records[id].last_name for id in (ids[0], ids[-1])] == ["Moved", "Moved"]


# Bulk


async def test_many_rows_are_read_by_one_job_that_is_taken_away() -> None:
    async with served() as crm:
        crm.many(30)
        crm.server.bulk_page = 8
        mirror = await crm.run(bulk_from=20)
        assert len(mirror.records) == 32
        jobs = [line.split("/jobs/query")[0] for line in crm.called() if "/jobs/query" in line]
        assert jobs == ["POST ", "GET ", "GET ", *["GET "] * 4, "DELETE "]


async def test_pages_of_a_large_result_are_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "PAGE", 10)
    async with served() as crm:
        crm.many(35)
        async with opened(crm.url, bulk_from=20, objects=["Contact"]) as made:
            sizes = [len(page.records) async for page in made.read(None, crm.mirror.known)]
        assert sizes == [10, 10, 10, 6, 0]


async def test_nul_bytes_in_a_result_are_cut() -> None:
    async with served() as crm:
        crm.many(30)
        crm.server.faults.append(Fault("/results", "nul"))
        mirror = await crm.run(bulk_from=20)
        assert {record.first_name for record in mirror.records.values()} == {"Anna", "Leo", "Person"}


@pytest.mark.parametrize("kind", ["truncated", "cut", "html", "null", "empty", "500", "503", "429", "failed"])
async def test_a_bulk_result_that_is_not_whole_ends_the_run(kind: str) -> None:
    async with served() as crm:
        crm.many(30)
        place = "GET /services/data/v61.0/jobs/query/750" if kind == "failed" else "/results"
        crm.server.faults.append(Fault(place, kind, times=3))
        with pytest.raises(errors.Unavailable):
            await crm.run(bulk_from=20)
        assert crm.server.calls[-1].startswith("DELETE")


async def test_a_result_that_breaks_off_once_is_asked_for_again() -> None:
    async with served() as crm:
        crm.many(30)
        crm.server.faults.append(Fault("/results", "cut"))
        assert len((await crm.run(bulk_from=20)).records) == 32


@pytest.mark.parametrize("kind", ["no_bulk", "bulk_quota", "restricted"])
async def test_what_bulk_does_not_take_is_read_by_rest(kind: str) -> None:
    async with served() as crm:
        crm.many(30)
        crm.server.faults.append(Fault("POST /services/data/v61.0/jobs/query", kind))
        mirror = await crm.run(bulk_from=20)
        assert (len(mirror.records), "Contact is read by REST" in crm.notes[0]) == (32, True)


async def test_a_field_that_is_hidden_since_it_was_described_is_left_out_of_a_job() -> None:
    async with served() as crm:
        crm.many(30)
        crm.many(30, "Lead")
        async with opened(crm.url, bulk_from=20) as made:
            notes: list[str] = []
            async for page in made.read(None, crm.mirror.known):
                crm.org.hide("Lead", "Fax")
                notes.extend(page.notes)
        assert [note.split(" ")[0] for note in notes] == ["Lead.Fax"]


# What goes wrong


FAULTS = ("cut", "drop", "truncated", "html", "null", "empty", "429", "500", "502", "503", "xml", "406", "420", "414")


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("kind", FAULTS)
async def test_a_failing_server_fails_the_run_and_takes_nothing_away(kind: str, full: bool) -> None:
    async with served() as crm:
        crm.many(20)
        await settled(crm)
        before = dict(crm.mirror.records), crm.mirror.cursor
        crm.org.update(crm.org.ids("Contact")[0], {"LastName": "Changed"})
        crm.server.page_size = 5
        crm.server.faults.append(Fault("/query", kind, times=10, after=2))
        with pytest.raises(errors.Unavailable):
            await crm.run(full=full)
        assert (crm.mirror.records, crm.mirror.cursor) == before


@pytest.mark.parametrize("kind", ["406", "420", "503", "cut"])
async def test_what_passes_by_itself_is_asked_again(kind: str) -> None:
    async with served() as crm:
        crm.server.faults.append(Fault("/query/", kind, times=2, after=1))
        assert len((await crm.run()).records) == 2


async def test_a_session_that_ends_between_pages_is_renewed_once_and_the_reading_goes_on() -> None:
    async with served() as crm:
        crm.many(20)
        crm.server.page_size = 5
        crm.server.faults.append(Fault("/query/01g", "expired", after=1))
        mirror = await crm.run()
        assert len(mirror.records) == 22
        assert sum("/oauth2/token" in line for line in crm.server.calls) == 2


@pytest.mark.parametrize("kind", ["policy", "agent", "disabled", "security"])
async def test_a_no_that_no_login_heals_is_denied_after_one_login(kind: str) -> None:
    async with served() as crm:
        crm.server.faults.append(Fault("/services/data", kind, times=100))
        with pytest.raises(errors.Denied):
            await crm.run()
        assert sum("/oauth2/token" in line for line in crm.server.calls) == 1


@pytest.mark.parametrize("kind", ["expired", "401", "header"])
async def test_a_session_that_no_login_heals_is_denied_after_two(kind: str) -> None:
    async with served() as crm:
        crm.server.faults.append(Fault("/services/data", kind, times=100))
        with pytest.raises(errors.Denied, match="a new login does not help"):
            await crm.run()
        assert sum("/oauth2/token" in line for line in crm.server.calls) == 2


async def test_a_run_ends_before_the_call_that_is_over_its_share_of_the_quota() -> None:
    async with served() as crm:
        crm.many(50)
        crm.server.page_size, crm.server.app = 5, "bridge"
        await settled(crm)
        before = crm.mirror.cursor
        crm.server.quota, crm.server.usage = 100, 76
        with pytest.raises(errors.Unavailable, match="quota = 80 ends the run there") as caught:
            await crm.run(full=True)
        assert (crm.server.usage, caught.value.after, crm.mirror.cursor) == (80, 3600.0, before)


async def test_a_spent_quota_and_too_many_requests_at_once_are_told_apart() -> None:
    async with served() as crm:
        crm.server.faults += [Fault("/query", "quota"), Fault("/query", "concurrent")]
        waits = []
        for _ in range(2):
            with pytest.raises(errors.Unavailable) as caught:
                await crm.run()
            waits.append(caught.value.after)
        assert waits == [3600.0, 15.0]


async def test_a_cursor_of_other_keys_or_another_user_is_of_no_use() -> None:
    async with served() as crm:
        await settled(crm)
        assert (await crm.run(fields={"Title": "Title"})).complete
        assert not (await crm.run(fields={"Title": "Title"})).complete
        crm.mirror.cursor = {**(crm.mirror.cursor or {}), "user": "0055g0000000009AAA"}
        assert (await crm.run(fields={"Title": "Title"})).complete
        crm.mirror.cursor = {**(crm.mirror.cursor or {}), "deleted": {}}
        assert (await crm.run(fields={"Title": "Title"})).complete
        crm.mirror.cursor = {**(crm.mirror.cursor or {}), "chosen": None}
        assert (await crm.run(fields={"Title": "Title"})).complete


async def test_an_api_version_that_is_gone_is_said() -> None:
    async with served() as crm:
        with pytest.raises(errors.Unavailable, match="no longer speaks this api_version"):
            await crm.run(api_version="30.0")
        with pytest.raises(errors.Unavailable, match="does not know this api_version"):
            await crm.run(api_version="99.0")


@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        (b'[{"message":"a","errorCode":"ONE"},{"message":"b","errorCode":"TWO"}]', "ONE", "a\nb"),
        (b'{"errorCode":"ONE","message":"a"}', "ONE", "a"),
        (b'{"error":"invalid_grant"}', "invalid_grant", ""),
        (b'{"exceptionCode":"InvalidSessionId","exceptionMessage":"a"}', "InvalidSessionId", "a"),
        (
            b"<?xml version='1.0'?><Errors><Error><errorCode>ONE</errorCode><message>a</message></Error></Errors>",
            "ONE",
            "a",
        ),
        (b"<html><body>Down</body></html>", "", ""),
        (b'["ONE"]', "", ""),
        (b'{"errorCode":"a secret, with blanks","message":7}', "", ""),
        (b"null", "", ""),
        (b"", "", ""),
    ],
)
def test_error_bodies_of_every_shape_are_read(body: bytes, code: str, text: str) -> None:
    said = answers.fault(body)
    assert (said.code, said.text) == (code, text)


@pytest.mark.parametrize(
    ("header", "percent"),
    [
        ("api-usage=18/5000", 0.36),
        ("api-usage=25/5000; per-app-api-usage=17/250(appName=x)", 0.5),
        ("per-app-api-usage=17/250(appName=x); api-usage=25/5000", 0.5),
        ("per-app-api-usage=17/250(appName=x)", None),
        ("", None),
    ],
)
def test_the_quota_is_read_in_any_form(header: str, percent: float | None) -> None:
    found = answers.usage({"Sforce-Limit-Info": header})
    assert (found.percent if found else None) == percent


# Users, and the check


async def test_users_are_active_people_with_an_extension() -> None:
    async with served() as crm:
        crm.org.field("User", "Desk__c", "double", 0)
        uma = crm.org.put(
            "User",
            {"FirstName": "Uma", "LastName": "User", "Email": "uma@example.com", "Extension": " 21 ", "Desk__c": 7.0},
        )
        crm.org.put("User", {"LastName": "Gone", "Extension": "22", "IsActive": False})
        crm.org.put("User", {"LastName": "Robot", "Extension": "23", "UserType": "AutomatedProcess"})
        async with opened(crm.url) as made:
            assert [(u.id, u.extension, u.first_name, u.last_name, u.email) for u in await made.users()] == [
                (uma, "21", "Uma", "User", "uma@example.com")
            ]
        async with opened(crm.url, extension_field="Desk__c") as made:
            crm.org.hide("User", "Email")
            assert [(user.extension, user.email) for user in await made.users()] == [("7", "")]


async def test_a_hidden_extension_field_is_no_lack_of_users() -> None:
    async with served() as crm:
        crm.org.hide("User", "Extension")
        async with opened(crm.url) as made:
            with pytest.raises(errors.Unavailable, match=r"User\.Extension is hidden from the login"):
                await made.users()


async def test_check_says_who_what_how_much_and_what_is_left() -> None:
    async with served() as crm:
        crm.org.hide("Contact", "MobilePhone")
        crm.org.hide("User", "Extension")
        async with opened(crm.url, users=True) as made:
            assert await made.check() == (
                "integration@example.com at 127.0.0.1 (Example); Contact 1, Lead 1; Contact.MobilePhone is hidden from "
                "the login, or not there, and left out: right is field-level read access; User.Extension is hidden "
                "from the login, or not there, and left out: right is field-level read access; "
                "99,991 of 100,000 API calls of the day are left"
            )
        crm.server.usage, crm.server.quota = 90, 100
        async with opened(crm.url) as made:
            assert (await made.check()).endswith(
                "2 of 100 API calls of the day are left: runs end at once, for quota = 80 % is reached"
            )


def test_windows_get_shorter_until_they_cannot_and_then_the_pieces_do() -> None:
    began = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    place = reading._Place(began)
    while place.shorten(began + datetime.timedelta(days=1)):
        pass
    assert (place.until, place.limit) == (began + datetime.timedelta(seconds=2), 62)


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_happens_the_next_runs_hold_what_the_org_holds(seed: int) -> None:
    dice = random.Random(seed)
    kinds = ("cut", "truncated", "500", "503", "locator", "timeout", "expired", "406", "html", "null")
    async with served() as crm:
        crm.many(30)
        crm.server.page_size = 7
        crm.org.lag = dice.choice((0, 300))
        for _ in range(12):
            for _ in range(dice.randrange(6)):
                happens(crm, dice)
            crm.later(seconds=dice.choice((1, 59, 600, 4000)))
            if dice.random() < 0.5:
                kind, after = dice.choice(kinds), dice.randrange(9)
                crm.server.faults[:] = [Fault("/services/data", kind, times=dice.choice((1, 2, 9)), after=after)]
            with contextlib.suppress(errors.Unavailable, errors.Denied):
                await crm.run(full=dice.random() < 0.2, bulk_from=dice.choice((10, 10_000)))
                assert held(crm) == living(crm)
            crm.server.faults.clear()
        await crm.run()
        assert held(crm) == living(crm)


def happens(crm: Crm, dice: random.Random) -> None:
    """Somebody does something in the org."""
    name = dice.choice(("Contact", "Lead"))
    ids = [id for id in crm.org.ids(name) if not crm.org.get(id).get("IsConverted")]
    binned = [id for id, row in crm.org.tables[name].rows.items() if row["IsDeleted"] and "MasterRecordId" not in row]
    number = dice.randrange(10_000)
    match dice.choice(("new", "change", "change", "bin", "back", "merge", "convert", "join", "rename")):
        case "new":
            crm.many(dice.randrange(4), name, Title=f"{number}")
        case "change" if ids:
            crm.org.update(dice.choice(ids), {"LastName": f"Changed {number}"})
        case "bin" if ids:
            crm.org.delete(dice.choice(ids))
        case "back" if binned:
            crm.org.undelete(dice.choice(binned))
        case "merge" if len(ids) > 1:
            crm.org.merge(*dice.sample(ids, 2))
        case "convert" if ids and name == "Lead":
            crm.org.update(dice.choice(ids), {"IsConverted": True})
        case "join" if ids and name == "Contact":
            crm.org.update(dice.choice(ids), {"AccountId": crm.org.ids("Account")[0]})
        case "rename":
            crm.org.update(crm.org.ids("Account")[0], {"Name": f"Firm {number}"})


def living(crm: Crm) -> list[tuple[str, str]]:
    """The names and companies that a mirror of the org has."""
    rows = [crm.org.get(id) for name in ("Contact", "Lead") for id in crm.org.ids(name)]
    firms = {id: crm.org.get(id)["Name"] for id in crm.org.ids("Account")}
    return sorted(
        (row["Name"], row.get("Company") or firms.get(row.get("AccountId"), ""))
        for row in rows
        if not row.get("IsConverted")
    )


def held(crm: Crm) -> list[tuple[str, str]]:
    """The names and companies that are held."""
    return sorted((record.display_name, record.company) for record in crm.mirror.records.values())
