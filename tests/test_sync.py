"""One run of one source against a real database."""

from __future__ import annotations

import datetime
from dataclasses import replace
from typing import Any, cast

import pytest
from listed import Listed, record
from msgspec.structs import replace as revised

from bridge import approval, errors, losses, pace, sync
from bridge import entries as entries_
from bridge.contact import RawNumber, load
from bridge.keys import Guard
from bridge.sources import Page, Unreadable
from bridge.store import Store

JOB = sync.Job(tenant="default", source="crm", region="LU", rules=b"1", sinks={"pbx": ["crm", "office"]})
ANN = record("1", "Ann Lee", "+352 621 111 111")
BOB = record("2", "Bob Ray", "+352 621 222 222", "12")


async def contacts(db: Store) -> dict[str, str]:
    rows = await db.fetch("select id, body from contact where tenant = 'default' and source = 'crm' order by id")
    return {row["id"]: load(row["body"]).name for row in rows}


async def entries(db: Store) -> dict[str, tuple[str, str]]:
    rows = await db.fetch(
        "select e.number, e.state, c.body from entry e left join contact c on c.pk = e.contact order by e.number"
    )
    return {row["number"]: (row["state"], load(row["body"]).name if row["body"] else "") for row in rows}


def counts(report: sync.Report) -> dict[str, Any]:
    names = ("read", "added", "changed", "removed", "unchanged", "refused", "held")
    return {name: getattr(report, name) for name in names if getattr(report, name)}


def crowd(n: int, *, start: int = 0) -> list[Any]:
    return [record(str(i), f"Person N{i}", f"+352 621 {i + 100000}") for i in range(start, start + n)]


async def test_first_run_adds_and_owes_every_number(db: Store) -> None:
    report = await sync.run(db, JOB, Listed(ANN, BOB))
    assert counts(report) == {"read": 2, "added": 2}
    assert await contacts(db) == {"1": "Ann Lee", "2": "Bob Ray"}
    assert await entries(db) == {
        "+352621111111": ("due", "Ann Lee"),
        "+352621222222": ("due", "Bob Ray"),
        "12": ("due", "Bob Ray"),
    }


async def test_unchanged_run_writes_no_contact_row(db: Store) -> None:
    await sync.run(db, JOB, Listed(ANN, BOB))
    before = await db.fetch("select xmin, ctid, * from contact order by pk")
    owed = await db.fetch("select xmin, * from entry order by number")
    report = await sync.run(db, JOB, Listed(ANN, BOB), full=False)
    assert counts(report) == {"read": 2, "unchanged": 2}
    assert await db.fetch("select xmin, ctid, * from contact order by pk") == before
    assert await db.fetch("select xmin, * from entry order by number") == owed


async def test_changed_and_removed_records(db: Store) -> None:
    await sync.run(db, JOB, Listed(ANN, BOB))
    report = await sync.run(db, JOB, Listed(revised(ANN, display_name="Ann Low")))
    assert counts(report) == {"read": 1, "changed": 1, "removed": 1}
    assert await contacts(db) == {"1": "Ann Low"}
    assert await entries(db) == {"+352621111111": ("due", "Ann Low")}


async def test_delta_run_removes_only_what_it_is_told(db: Store) -> None:
    source = Listed(ANN, BOB)
    await sync.run(db, JOB, source)
    source.pages = [Page(removed=["1", "unknown"]), Page(cursor={"n": 2})]
    report = await sync.run(db, JOB, source)
    assert source.asked == [None, {"n": 1}]
    assert counts(report) == {"removed": 1, "unchanged": 1}
    assert await contacts(db) == {"2": "Bob Ray"}


async def test_what_a_complete_run_could_not_list_is_spared_by_the_beginning_of_its_ids(db: Store) -> None:
    source = Listed(ANN, BOB, record("z:1", "Shared One"), record("z:2", "Shared Two"), record("zz", "Own"))
    await sync.run(db, JOB, source)
    source.pages = [Page(records=[ANN], spared=["z:"]), Page(cursor={}, complete=True)]
    report = await sync.run(db, JOB, source)
    assert counts(report) == {"read": 1, "removed": 2, "unchanged": 3}
    assert await contacts(db) == {"1": "Ann Lee", "z:1": "Shared One", "z:2": "Shared Two"}


async def test_a_row_that_comes_twice_is_neither_lost_nor_doubled(db: Store) -> None:
    source = Listed()
    newer = revised(ANN, display_name="Ann New")
    source.pages = [Page(records=[ANN]), Page(records=[BOB]), Page(records=[newer], cursor={}, complete=True)]
    await sync.run(db, JOB, source)
    assert await contacts(db) == {"1": "Ann New", "2": "Bob Ray"}


@pytest.mark.parametrize("fault", [errors.Unavailable("cut"), errors.Denied("no")])
async def test_a_run_that_fails_changes_nothing_and_says_why(db: Store, fault: errors.BridgeError) -> None:
    await sync.run(db, JOB, Listed(ANN, BOB))
    broken = Listed(revised(ANN, display_name="Wrong"))
    broken.fail = fault
    with pytest.raises(type(fault)):
        await sync.run(db, JOB, broken)
    assert await contacts(db) == {"1": "Ann Lee", "2": "Bob Ray"}
    row = await db.row("select error, failures, denied, cursor::text from source")
    assert dict(row) == {
        "error": str(fault),
        "failures": 1,
        "denied": isinstance(fault, errors.Denied),
        "cursor": '{"n":1}',
    }


async def test_the_first_probe_comes_after_a_minute_however_long_the_server_had_failed_before(db: Store) -> None:
    source = Listed(ANN)
    for fault, pause in [
        *[(errors.Unavailable("away"), 900)] * 9,
        (errors.Denied("no"), 60),
        (errors.Denied("no"), 120),
        (errors.Unavailable("away"), 20),
        (errors.Denied("no"), 60),
    ]:
        source.fail = fault
        with pytest.raises(type(fault)):
            await sync.run(db, JOB, source)
        row = await db.row("select failures, denied from source")
        assert pace.interval(900.0, row["failures"], denied=row["denied"]) <= pause
    source.fail = None
    await sync.run(db, JOB, source)
    assert dict(await db.row("select failures, denied from source")) == {"failures": 0, "denied": False}


async def test_a_mistake_in_a_source_is_that_sources_alone(db: Store) -> None:
    await sync.run(db, JOB, Listed(ANN))
    broken = Listed()
    broken.pages = cast("Any", [None])
    with pytest.raises(errors.Unavailable, match="bridge's own"):
        await sync.run(db, JOB, broken)
    assert "bridge's own" in (await db.row("select error from source"))["error"]
    assert await contacts(db) == {"1": "Ann Lee"}


async def test_a_run_without_a_last_page_changes_nothing(db: Store) -> None:
    source = Listed()
    source.pages = [Page(records=[ANN])]
    with pytest.raises(errors.Unavailable, match="last page"):
        await sync.run(db, JOB, source)
    assert await contacts(db) == {}


async def test_an_unreadable_record_keeps_its_last_good_contact(db: Store) -> None:
    source = Listed(ANN, BOB)
    await sync.run(db, JOB, source)
    source.pages = [
        Page(records=[BOB], unreadable=[Unreadable("1", "no card", "v2")]),
        Page(cursor={}, complete=True),
    ]
    report = await sync.run(db, JOB, source)
    assert counts(report) == {"read": 2, "unchanged": 2, "refused": 1}
    assert await contacts(db) == {"1": "Ann Lee", "2": "Bob Ray"}
    source.pages = None
    assert (await sync.run(db, JOB, source)).refused == 0


async def test_new_rules_read_everything_again(db: Store) -> None:
    source = Listed(ANN)
    await sync.run(db, JOB, source)
    await sync.run(db, replace(JOB, rules=b"2"), source)
    assert source.asked == [None, None]


async def test_a_dry_run_writes_nothing_and_lists_what_would_change(db: Store) -> None:
    await sync.run(db, JOB, Listed(ANN))
    report = await sync.run(db, JOB, Listed(BOB), dry=True)
    assert [(one["change"], one["id"], one["name"]) for one in report.would] == [
        ("add", "2", "Bob Ray"),
        ("remove", "1", "Ann Lee"),
    ]
    assert counts(report) == {"read": 1, "added": 1, "removed": 1}
    assert await contacts(db) == {"1": "Ann Lee"}


# Losses


def test_judgement() -> None:
    guard = Guard(percent=10, floor=10, most=500)
    assert losses.judge(10, 0, 20, 10, guard) == ""
    assert losses.judge(11, 0, 110, 99, guard) == ""
    assert losses.judge(12, 0, 110, 98, guard) == "12 of 110 contacts would be lost: more than 10 % and more than 10"
    assert losses.judge(501, 0, 100_000, 99_499, guard) != ""
    assert losses.judge(6, 6, 94, 88, guard) != ""
    assert losses.judge(1, 0, 1, 0, guard) != ""
    assert losses.judge(0, 40, 60, 60, guard) == ""


async def test_many_losses_wait_and_the_rest_goes_through(db: Store) -> None:
    source = Listed(*crowd(40))
    await sync.run(db, JOB, source)
    renamed = record("3", "Person Renamed", "+352 621 100003")
    source.records = [*crowd(3), renamed, *crowd(16, start=4), record("new", "New One", "+352 621 999999")]
    report = await sync.run(db, JOB, source)
    assert counts(report) == {"read": 21, "added": 1, "changed": 1, "unchanged": 39, "held": 20}
    held = await contacts(db)
    assert (len(held), held["3"], held["new"]) == (41, "Person Renamed", "New One")
    assert (await db.row("select cursor from source"))["cursor"] is None
    waiting = await approval.held(db, "default", "crm")
    assert {one.loss for one in waiting} == {"removed"}
    assert len(waiting) == report.held


async def test_an_empty_source_is_held_however_small(db: Store) -> None:
    source = Listed(ANN, BOB)
    await sync.run(db, JOB, source)
    source.records = []
    report = await sync.run(db, JOB, source)
    assert (report.held, report.why_held) == (2, "the source reads empty: all 2 contacts would go")
    assert len(await contacts(db)) == 2


async def test_a_later_run_that_wants_no_loss_ends_the_hold(db: Store) -> None:
    source = Listed(ANN, BOB)
    await sync.run(db, JOB, source)
    source.records = []
    await sync.run(db, JOB, source)
    source.records = [ANN, BOB]
    report = await sync.run(db, JOB, source)
    assert report.held == 0
    assert await approval.held(db, "default", "crm") == []
    assert source.asked == [None, {"n": 1}, None]


async def test_numbers_that_are_none_are_told_for_as_long_as_they_are_held(db: Store) -> None:
    odd = revised(ANN, numbers=(*ANN.numbers, RawNumber("call the desk"), RawNumber("see Bob")))
    told = "2 numbers are kept as written and not pushed: they are no phone numbers"
    source = Listed(odd, BOB)
    assert (await sync.run(db, JOB, source, dry=True)).notes == (told,)
    for _ in range(2):
        assert (await sync.run(db, JOB, source)).notes == (told,)
    source.records = [ANN, BOB]
    assert (await sync.run(db, JOB, source)).notes == ()
    source.records = [odd, BOB]
    assert (await sync.run(db, JOB, source)).notes == (told,)
    source.records = [BOB]
    assert (await sync.run(db, JOB, source)).notes == ()


async def test_a_dry_run_counts_what_it_cannot_read(db: Store) -> None:
    await sync.run(db, JOB, Listed(ANN))
    source = Listed()
    source.pages = [
        Page(records=[ANN], unreadable=[Unreadable("x", "no card", ""), Unreadable("y", "no card", "")]),
        Page(cursor={}, complete=True),
    ]
    dry = await sync.run(db, JOB, source, dry=True)
    assert dry.refused == 2
    assert await db.value("select count(*) from unreadable") == 0
    assert (await sync.run(db, JOB, source)).refused == 2


async def test_approval_lets_through_exactly_what_was_shown(db: Store) -> None:
    source = Listed(*crowd(40))
    await sync.run(db, JOB, source)
    source.records = crowd(20)
    await sync.run(db, JOB, source)
    assert len(await approval.held(db, "default", "crm", shown=True)) == 20
    source.records = crowd(15)
    await sync.run(db, JOB, source)
    done = await approval.approve(db, JOB)
    assert (done["removed"], done["held"]) == (20, 5)
    assert len(await contacts(db)) == 20
    assert len(await entries(db)) == 20


async def test_lost_names_and_numbers_are_losses_too(db: Store) -> None:
    source = Listed(*crowd(30))
    await sync.run(db, JOB, source)
    source.records = [revised(one, numbers=()) for one in crowd(15)] + crowd(15, start=15)
    report = await sync.run(db, JOB, source)
    assert (report.held, report.changed) == (15, 0)
    done = await approval.approve(db, JOB)
    assert done == {"added": 0, "changed": 15, "removed": 0, "held": 0}
    assert len(await entries(db)) == 15


async def test_a_slow_bleed_is_held_too(db: Store) -> None:
    source = Listed(*crowd(60))
    held = []
    for left in (60, 55, 50, 45):
        source.records = crowd(left)
        held.append((await sync.run(db, JOB, source)).held)
    assert held == [0, 0, 0, 5]


async def test_restored_contacts_come_back_as_they_were(db: Store) -> None:
    source = Listed(ANN, BOB)
    await sync.run(db, JOB, source)
    since = datetime.datetime.now(datetime.UTC)
    source.records = [BOB]
    await sync.run(db, JOB, source)
    assert (await approval.restore(db, JOB, since))["added"] == 1
    assert await contacts(db) == {"1": "Ann Lee", "2": "Bob Ray"}
    assert (await entries(db))["+352621111111"] == ("due", "Ann Lee")


# Who owns a number


async def test_the_sinks_order_of_sources_decides_then_who_changed_last(db: Store) -> None:
    office = replace(JOB, source="office")
    shared = "+352 621 111 111"
    await sync.run(db, office, Listed(record("a", "Office One", shared)))
    assert await entries(db) == {"+352621111111": ("due", "Office One")}
    crm = Listed(record("1", "Crm One", shared), record("2", "Crm Two", shared))
    await sync.run(db, JOB, crm)
    crm.records[1] = record("2", "Crm Two B", shared)
    await sync.run(db, JOB, crm)
    assert await entries(db) == {"+352621111111": ("due", "Crm Two B")}
    crm.records = crm.records[:1]
    await sync.run(db, JOB, crm)
    assert await entries(db) == {"+352621111111": ("due", "Crm One")}


async def test_of_two_that_one_run_changes_the_one_wins_that_the_crm_changed_last(db: Store) -> None:
    shared, now = "+352 621 111 111", datetime.datetime.now(datetime.UTC)

    def at(id: str, name: str, minutes: int) -> Any:
        return record(id, name, shared, modified=now - datetime.timedelta(minutes=minutes))

    crm = Listed(at("1", "Ann", 90), at("2", "Bob", 80))
    await sync.run(db, JOB, crm)
    crm.records = [at("1", "Ann A", 20), at("2", "Bob B", 10)]
    await sync.run(db, JOB, crm)
    assert await entries(db) == {"+352621111111": ("due", "Bob B")}
    crm.records = [at("1", "Ann C", 3), at("2", "Bob D", 5)]
    await sync.run(db, JOB, crm)
    assert await entries(db) == {"+352621111111": ("due", "Ann C")}
    # What changed is not the record, but the account that it belongs to: that is now.
    crm.records = [at("1", "Ann C", 3), record("2", "Bob D", shared, company="Lee", modified=crm.records[1].modified)]
    await sync.run(db, JOB, crm)
    assert await entries(db) == {"+352621111111": ("due", "Bob D")}


async def test_a_companys_own_number_yields_to_a_person(db: Store) -> None:
    number = RawNumber("+352 621 111 111", "work", company=True)
    source = Listed(record("1", "By Company", number), record("2", "By Person", "+352 621 111 111"))
    await sync.run(db, JOB, source)
    assert await entries(db) == {"+352621111111": ("due", "By Person")}


async def test_a_source_that_left_the_file_keeps_its_entries_until_let_go(db: Store) -> None:
    old = replace(JOB, source="old", sinks={"pbx": ["old", "crm", "*"]})
    await sync.run(db, old, Listed(ANN))
    await db.execute("update source set rank = 32767 where name = 'old'")
    async with db.session() as session, session.transaction():
        await entries_.follow_policy(session, "default", "pbx", ["crm", "*"], "digits")
    assert await entries(db) == {"+352621111111": ("due", "Ann Lee")}
    assert await approval.retired(db, "default") == ["old"]
    left = replace(old, sinks={"pbx": ["crm", "*"]})
    assert (await approval.dismiss(db, left))["removed"] == 1
    assert await entries(db) == {}
