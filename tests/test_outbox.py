"""Delivery to a strict Manager on a port, from a real database, with answers lost in every way."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from claimed import Lost, drained_until_lost
from listed import Listed, record
from msgspec.structs import replace as revised

from bridge import assembly, config, deliveries, health, keys, outbox, owed, store, sync
from bridge.contact import RawNumber
from bridge.demo.manager import Manager
from bridge.store import Store

ANN = record("1", "Ann Lee", "+352 621 111 111", company="Lee & Co")
BOB = record("2", "Bob Ray", "+352 621 222 222")
A, B, C = "352621111111", "352621222222", "352621333333"


class Bench:
    """A Manager, a source and the outbox between them."""

    def __init__(self, db: Store, manager: Manager, url: str, **table: Any) -> None:
        self.db = db
        self.manager = manager
        self.source = Listed()
        self.table = keys.Ccm(url=url, security_key="k", sources=("crm",), rate=10_000.0, **{"timeout": 1.0, **table})

    @property
    def tenant(self) -> config.Tenant:
        source = keys.File(path=Path("unused"), region="LU")
        return config.Tenant("default", "LU", 5, {"crm": source}, {"pbx": self.table}, None, {}, None, None)

    async def sync(self, *records: Any, deliver: bool = True, within: float = 20.0) -> None:
        self.source.records = list(records)
        job = replace(assembly.job(self.tenant, "crm"), guard=keys.Guard(floor=1000))
        await sync.run(self.db, job, self.source)
        if deliver:
            await self.deliver(within)

    async def deliver(self, within: float = 20.0) -> None:
        """Drain until nothing waits."""
        async with self.draining():
            async with asyncio.timeout(within):
                while await self.waiting():
                    await asyncio.sleep(0.02)

    @contextlib.asynccontextmanager
    async def draining(self) -> AsyncIterator[None]:
        await deliveries.recover(self.db, {("default", "pbx"): self.tenant.sinks["pbx"].timeout})
        made = assembly.delivery(self.db, self.tenant, "pbx")
        task = asyncio.create_task(made.drain())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await made.sink.close()

    async def waiting(self) -> int:
        return int(await self.db.value(outbox.SQL["waiting"], "default", "pbx"))

    def actions(self) -> list[str]:
        return [call[0] for call in self.manager.calls]

    def book(self) -> dict[str, tuple[str, str, str]]:
        assert self.manager.duplicates() == []
        return self.manager.book()


@pytest.fixture
async def bench(db: Store) -> AsyncIterator[Bench]:
    manager = Manager(key="k")
    async with manager.serve() as url:
        yield Bench(db, manager, url)


async def test_contacts_become_entries_and_unchanged_ones_cost_no_call(bench: Bench) -> None:
    await bench.sync(ANN, BOB)
    assert bench.book() == {A: ("Ann", "Lee", "Lee & Co"), B: ("Bob", "Ray", "")}
    assert bench.actions() == ["addPhonebook", "addPhonebook"]
    await bench.sync(ANN, BOB)
    assert len(bench.manager.calls) == 2


async def test_a_changed_name_is_an_update_and_a_removed_contact_a_delete(bench: Bench) -> None:
    await bench.sync(ANN, BOB)
    await bench.sync(revised(ANN, last_name="Low", display_name="Ann Low"))
    assert bench.book() == {A: ("Ann", "Low", "Lee & Co")}
    assert sorted(bench.actions()[2:]) == ["deletePhonebook", "updatePhonebook"]


async def test_what_a_pbx_does_not_show_causes_no_call(bench: Bench) -> None:
    await bench.sync(ANN)
    await bench.sync(revised(ANN, emails=("ann@example.com",)))
    assert len(bench.manager.calls) == 1


async def test_a_number_that_changes_is_one_update(bench: Bench) -> None:
    await bench.sync(ANN)
    await bench.sync(revised(ANN, numbers=(RawNumber("+352 621 333 333", "work"),)))
    assert bench.book() == {C: ("Ann", "Lee", "Lee & Co")}
    assert bench.actions() == ["addPhonebook", "updatePhonebook"]
    assert bench.manager.calls[1][1]["RegisteredPhoneNumber"] == A


async def test_succession_is_an_update(bench: Bench) -> None:
    await bench.sync(ANN, record("0", "Zoe Old", "+352 621 111 111"))
    loser = "0" if bench.book()[A][0] == "Ann" else "1"
    left = [one for one in (ANN, record("0", "Zoe Old", "+352 621 111 111")) if one.id == loser]
    await bench.sync(*left)
    assert bench.book()[A][0] == left[0].first_name
    assert bench.actions() == ["addPhonebook", "updatePhonebook"]


async def test_two_contacts_that_swap_numbers_cost_two_updates(bench: Bench) -> None:
    await bench.sync(ANN, BOB)
    await bench.sync(revised(ANN, numbers=BOB.numbers), revised(BOB, numbers=ANN.numbers))
    assert bench.book() == {A: ("Bob", "Ray", ""), B: ("Ann", "Lee", "Lee & Co")}
    assert bench.actions()[2:] == ["updatePhonebook", "updatePhonebook"]


LOST = ["answer_lost_after_apply", "cut_before_apply", "status_500_html", "code_500", "garbage", "html_200"]


@pytest.mark.parametrize("fault", [*LOST, "code_500_applied"])
async def test_ccm_answer_lost_on_add(bench: Bench, fault: str) -> None:
    bench.manager.faults.set(fault, times=1)
    await bench.sync(ANN, BOB)
    assert bench.book() == {A: ("Ann", "Lee", "Lee & Co"), B: ("Bob", "Ray", "")}


@pytest.mark.parametrize("fault", LOST)
async def test_ccm_answer_lost_on_a_number_change(bench: Bench, fault: str) -> None:
    await bench.sync(ANN, BOB)
    bench.manager.faults.set(fault, times=1)
    await bench.sync(revised(ANN, numbers=(RawNumber("+352 621 333 333", "work"),)), BOB)
    assert bench.book() == {C: ("Ann", "Lee", "Lee & Co"), B: ("Bob", "Ray", "")}


@pytest.mark.parametrize(
    ("fault", "absent"),
    [
        ("answer_lost_after_apply", "INVALID_CONTACT"),
        ("cut_before_apply", "INVALID_CONTACT"),
        ("cut_before_apply", "EXCEPTION"),
    ],
)
async def test_whatever_the_manager_calls_what_is_not_there(bench: Bench, fault: str, absent: str) -> None:
    bench.manager.absent = absent
    bench.manager.faults.set(fault, times=1)
    await bench.sync(ANN, BOB, within=60)
    assert bench.book() == {A: ("Ann", "Lee", "Lee & Co"), B: ("Bob", "Ray", "")}
    bench.manager.faults.set(fault, times=1)
    await bench.sync(revised(ANN, numbers=(RawNumber("+352 621 333 333", "work"),)), BOB, within=60)
    assert bench.book() == {C: ("Ann", "Lee", "Lee & Co"), B: ("Bob", "Ray", "")}


@pytest.mark.parametrize("fault", LOST)
async def test_ccm_answer_lost_on_delete(bench: Bench, fault: str) -> None:
    await bench.sync(ANN, BOB)
    bench.manager.faults.set(fault, times=1)
    await bench.sync(BOB)
    assert bench.book() == {B: ("Bob", "Ray", "")}


async def test_ccm_hangs_while_others_go_on(bench: Bench) -> None:
    bench.manager.faults.set("hang", times=1, seconds=1.5, applied=True)
    await bench.sync(ANN, BOB)
    assert bench.book() == {A: ("Ann", "Lee", "Lee & Co"), B: ("Bob", "Ray", "")}


@pytest.mark.parametrize("applied", [True, False])
async def test_killed_while_sending(bench: Bench, applied: bool) -> None:
    """What was marked as sent when the daemon died is asked for before it is added."""
    await bench.sync(ANN, BOB)
    await bench.db.execute(
        "update entry set state = 'sent', sent = acked, acked = null, sent_at = now() - interval '1 minute' "
        "where number = '+352621111111'"
    )
    if not applied:
        bench.manager.forget(A)
    await bench.deliver()
    assert bench.book() == {A: ("Ann", "Lee", "Lee & Co"), B: ("Bob", "Ray", "")}
    assert bench.actions()[2:] == ["updatePhonebook"] if applied else ["updatePhonebook", "addPhonebook"]


async def test_an_invalid_record_is_refused_until_it_changes(bench: Bench) -> None:
    odd = record("3", "Star Code", "*21#")
    await bench.sync(ANN, odd)
    rows = await bench.db.fetch("select number, code from entry where state = 'refused'")
    assert [tuple(row) for row in rows] == [("*21#", "NUMBER_NOT_DIALABLE")]
    assert list(bench.book()) == [A]
    await bench.sync(ANN, record("3", "Star Code", "+352 621 333 333"))
    assert sorted(bench.book()) == [A, C]


async def test_an_entry_whose_owner_loses_its_name_goes(bench: Bench) -> None:
    await bench.sync(ANN)
    await bench.sync(revised(ANN, first_name="", last_name="", display_name="", company="", emails=("a@b.c",)))
    assert bench.book() == {}
    rows = await bench.db.fetch("select code from entry where state = 'refused'")
    assert [row["code"] for row in rows] == ["NAME_MISSING"]
    await bench.sync(ANN)
    assert bench.book() == {A: ("Ann", "Lee", "Lee & Co")}


async def test_a_contact_without_any_name_is_refused_here(bench: Bench) -> None:
    await bench.sync(record("1", "", "+352 621 111 111"))
    rows = await bench.db.fetch("select code from entry where state = 'refused'")
    assert [row["code"] for row in rows] == ["NAME_MISSING"]
    assert list(bench.manager.calls) == []


@pytest.mark.parametrize(("fault", "code"), [("key_invalid", "INVALID_AUTH_ID"), ("key_expired", "AUTH_ID_EXPIRED")])
async def test_a_refused_key_stops_the_sink_and_is_shown(bench: Bench, fault: str, code: str) -> None:
    bench.manager.faults.set(fault, chance=1.0)
    await bench.sync(ANN, BOB, deliver=False)
    async with bench.draining(), asyncio.timeout(5):
        while not (state := await bench.db.row(health.SQL["state"], "default", "pbx")) or not state["denied"]:
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.7)
    assert (state["denied"], state["waits"]) == (code, True)
    assert len(bench.manager.calls) <= bench.table.concurrency
    bench.manager.faults.clear()
    await bench.db.execute(health.SQL["probe_now"], "default")
    await bench.deliver()
    assert sorted(bench.book()) == [A, B]
    state = await bench.db.row(health.SQL["state"], "default", "pbx")
    assert (state["denied"], state["error"]) == ("", "")


async def test_a_name_that_changes_just_as_its_entry_is_taken_is_not_lost(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is due is found, then locked; between the two a run that began before may commit."""
    slowly = owed.SQL["take"].replace("where", "where (select pg_sleep(0.5)) is not null and")
    monkeypatch.setattr(owed, "SQL", {**owed.SQL, "take": slowly})
    await bench.sync(ANN, deliver=False)
    changed = revised(ANN, display_name="Zoe New", first_name="Zoe", last_name="New")
    async with bench.db.pooled() as waited_for, waited_for.transaction():
        await waited_for.execute("select pg_advisory_xact_lock($1)", store.lock_key("commit", "default"))
        running = asyncio.create_task(bench.sync(changed, deliver=False))
        await asyncio.sleep(0.3)
        draining = asyncio.create_task(bench.deliver())
        await asyncio.sleep(0.2)
    await asyncio.gather(running, draining)
    assert bench.book()[A][:2] == ("Zoe", "New")


async def test_one_that_is_to_rest_ends_what_it_does_and_gives_the_rest_back(bench: Bench) -> None:
    bench.table = bench.table.model_copy(update={"concurrency": 2, "rate": 20.0})
    await bench.sync(*(record(str(n), f"Ann {n}", f"+352 621 1{n:05}") for n in range(100)), deliver=False)
    made = assembly.delivery(bench.db, bench.tenant, "pbx")
    task = asyncio.create_task(made.drain())
    while not bench.manager.calls:
        await asyncio.sleep(0.01)
    made.rest()
    try:
        async with asyncio.timeout(5):
            await task
    finally:
        await made.sink.close()
    rows = await bench.db.fetch("select state, count(*)::int from entry group by state")
    states = {row["state"]: row["count"] for row in rows}
    assert states.keys() == {"clean", "due"}
    assert states["clean"] == len(bench.book()) < 20


async def test_of_what_was_taken_nothing_more_is_sent_once_the_key_is_refused(bench: Bench) -> None:
    bench.table = bench.table.model_copy(update={"concurrency": 2})
    bench.manager.faults.set("key_invalid", chance=1.0)
    await bench.sync(*(record(str(n), f"Ann {n}", f"+352 621 1{n:05}") for n in range(30)), deliver=False)
    async with bench.draining(), asyncio.timeout(5):
        while not await bench.db.value("select count(*) from sink where denied <> ''"):
            await asyncio.sleep(0.02)
        while await bench.db.value("select count(*) from entry where state <> 'due'"):
            await asyncio.sleep(0.02)
    assert len(bench.manager.calls) <= 2


async def test_a_sink_so_slow_that_pushes_seem_lost_is_asked_once_for_each(bench: Bench) -> None:
    bench.table = bench.table.model_copy(update={"concurrency": 1, "rate": 8.0})
    await bench.sync(*(record(str(n), f"Ann {n}", f"+352 621 1{n:05}") for n in range(16)), deliver=False)
    async with bench.draining(), asyncio.timeout(20):
        while await bench.waiting():
            await bench.db.execute("update entry set due_at = now() where state = 'sent'")
            await asyncio.sleep(0.05)
    assert bench.actions() == ["addPhonebook"] * 16


async def test_nobody_listens_and_then_somebody_does(db: Store) -> None:
    manager = Manager(key="k")
    async with manager.serve() as url:
        pass
    bench = Bench(db, manager, url)
    port = int(url.rsplit(":", 1)[1].split("/")[0])
    await bench.sync(ANN, BOB, deliver=False)
    async with bench.draining():
        await asyncio.sleep(0.5)
        assert await bench.waiting() == 2
        async with manager.serve(port=port), asyncio.timeout(20):
            while await bench.waiting():
                await asyncio.sleep(0.05)
    assert sorted(bench.book()) == [A, B]


async def test_another_spelling_renames_what_the_manager_holds(bench: Bench) -> None:
    await bench.sync(ANN)
    bench.table = bench.table.model_copy(update={"numbers": "zeros"})
    await bench.db.execute("update entry set state = 'due', due_at = now()")
    await bench.deliver()
    assert bench.book() == {f"00{A}": ("Ann", "Lee", "Lee & Co")}


async def test_a_storm_of_faults_ends_exactly_right(bench: Bench) -> None:
    for fault in ("answer_lost_after_apply", "cut_before_apply", "status_500_html", "garbage", "padded_codes"):
        bench.manager.faults.set(fault, chance=0.04)
    people = [record(str(n), f"Person N{n}", f"+352 621 {100000 + n}") for n in range(60)]
    await bench.sync(*people, within=90)
    await bench.sync(*people[10:], within=90)
    changed = [revised(one, numbers=(RawNumber(f"+352 621 2{i:05}", "work"),)) for i, one in enumerate(people[10:])]
    await bench.sync(*changed, within=90)
    assert bench.book() == {f"3526212{i:05}": ("Person", f"N{i + 10}", "") for i in range(50)}


async def test_a_drain_that_is_cancelled_as_it_wakes_ends(bench: Bench) -> None:
    """`asyncio.wait_for` loses such a cancellation before Python 3.12, and a command then never ended."""
    made = assembly.delivery(bench.db, bench.tenant, "pbx")
    try:
        for _ in range(5):
            draining = asyncio.create_task(made.drain())
            await asyncio.sleep(0.1)
            made.wake()
            await asyncio.sleep(0)
            draining.cancel()
            await asyncio.wait({draining}, timeout=5)
            assert draining.done()
    finally:
        await made.sink.close()


async def test_what_waits_for_its_turn_at_the_sink_is_not_sent_once_another_may_have_the_tenant(bench: Bench) -> None:
    """As after a machine slept: pushes that were about to be sent had passed every check long ago."""
    people = [ANN, BOB, record("3", "Cem Oz", "+352 621 333 333")]
    bench.table = bench.table.model_copy(update={"rate": 1.0})
    await bench.sync(*people, deliver=False)
    claim = Lost()
    made = assembly.delivery(bench.db, bench.tenant, "pbx", claim)
    await drained_until_lost(made, claim, lambda: bench.manager.calls)
    assert len(bench.manager.calls) == 1
    # Who has it from now on brings each, once.
    await bench.sync(*people)
    assert set(bench.book()) == {A, B, C}
