"""Users of a CRM become extensions of a strict Manager, from a real database, whatever is lost on the way."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from claimed import Lost, drained_until_lost
from listed import Listed, record

from bridge import approval, assembly, config, counts, deliveries, errors, extension_outbox, keys, outbox, status, sync
from bridge.contact import User
from bridge.demo.manager import Manager
from bridge.extension_outbox import plan
from bridge.extensions import Row, decide
from bridge.sinks import Extension, ccm
from bridge.store import Store

ANN = User("u1", "101", "Ann", "Lee", "ann@example.com")
BOB = User("u2", "102", "Bob", "Ray", "bob@example.com", "+352621000002")
CARL = User("u3", "103", "Carl", "Roe", "carl@example.com")


class Staffed(Listed):
    """A source with one contact, and users."""

    staff: Sequence[User] = ()
    down = False

    async def users(self) -> Sequence[User]:
        if self.down:
            raise errors.Unavailable("the users cannot be read")
        return self.staff


class Bench:
    """A Manager, a source with users, and the outboxes between them."""

    def __init__(self, db: Store, manager: Manager, url: str) -> None:
        self.db = db
        self.manager = manager
        self.source = Staffed(record("1", "A Contact", "+352 621 999 999"))
        self.table = keys.Ccm(
            url=url, security_key="k", sources=("crm",), rate=10_000.0, timeout=1.0, contacts=False, extensions=True
        )
        self.guard = keys.Guard(floor=1000)
        self.source_table: dict[str, Any] = {"username": "a@example.com", "password": "p", "users": True}
        self.source_table["extension_field"] = "telephoneNumber"

    @property
    def tenant(self) -> config.Tenant:
        source = keys.Zimbra(url="http://127.0.0.1:1", **self.source_table)
        return config.Tenant("default", "LU", 5, {"crm": source}, {"pbx": self.table}, None, {}, None, None)

    async def run(self, *staff: User) -> sync.Report:
        self.source.staff = staff
        return await sync.run(self.db, replace(assembly.job(self.tenant, "crm"), guard=self.guard), self.source)

    async def deliver(self, within: float = 20.0, of: str = extension_outbox.SQL["waiting"]) -> None:
        """Drain until nothing waits."""
        await deliveries.recover(self.db, {("default", "pbx"): self.tenant.sinks["pbx"].timeout})
        made = assembly.delivery(self.db, self.tenant, "pbx")
        task = asyncio.create_task(made.drain())
        try:
            async with asyncio.timeout(within):
                while await self.db.value(of, "default", "pbx"):
                    assert not task.done()
                    await asyncio.sleep(0.02)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await made.sink.close()

    async def sync(self, *staff: User) -> None:
        await self.run(*staff)
        await self.deliver()

    def actions(self) -> list[str]:
        return [action for action, _ in self.manager.calls]

    def names(self) -> dict[str, str]:
        return {number: f"{row['FirstName']} {row['LastName']}" for number, row in self.manager.extensions.items()}


@pytest.fixture
async def bench(db: Store) -> AsyncIterator[Bench]:
    manager = Manager(key="k")
    async with manager.serve() as url:
        yield Bench(db, manager, url)


async def test_several_new_users_are_one_request_with_every_field(bench: Bench) -> None:
    await bench.sync(ANN, BOB)
    assert bench.manager.counts["All Extension Created"] == 1
    assert bench.manager.extensions["102"] == {
        "ExtentionNumber": "102",
        "EmailAddress": "bob@example.com",
        "FirstName": "Bob",
        "LastName": "Ray",
        "OutboundCallerID": "+352621000002",
    }
    assert sorted(to for to, _ in bench.manager.mails) == ["ann@example.com", "bob@example.com"]


async def test_a_user_is_told_by_an_office_number_of_no_more_than_the_internal_digits(bench: Bench) -> None:
    del bench.source_table["extension_field"]
    long = User("u9", "483271", "Eva", "Fox", "eva@example.com")
    await bench.sync(ANN, long, User("u8", "0471", "Tom", "Day", "tom@example.com"))
    assert sorted(bench.manager.extensions) == ["101"]
    bench.source_table["extension_field"] = "telephoneNumber"
    await bench.sync(ANN, long)
    assert sorted(bench.manager.extensions) == ["101", "483271"]


async def test_unchanged_users_cost_no_call(bench: Bench) -> None:
    await bench.sync(ANN, BOB)
    await bench.sync(ANN, BOB)
    assert bench.manager.counts["requests"] == 1


async def test_a_changed_user_is_one_update_and_a_new_one_alone_an_add(bench: Bench) -> None:
    await bench.sync(ANN)
    await bench.sync(User("u1", "101", "Ann", "Low", "ann@example.com"), BOB)
    assert bench.names() == {"101": "Ann Low", "102": "Bob Ray"}
    assert sorted(bench.actions()) == ["addExt", "addExt", "updateExt"]
    assert len(bench.manager.mails) == 3


async def test_more_users_than_one_url_takes_go_in_several_requests(bench: Bench) -> None:
    many = [User(f"u{n}", str(200 + n), "First" * 4, "Last" * 4, f"user{n}@example.com") for n in range(40)]
    await bench.sync(*many)
    assert len(bench.manager.extensions) == 40
    assert bench.manager.counts["page.404"] == 0
    assert 3 < bench.manager.counts["requests"] < 20
    assert len(bench.manager.mails) == 40


async def test_what_waits_for_its_turn_at_the_sink_is_not_sent_once_another_may_have_the_tenant(bench: Bench) -> None:
    many = [User(f"u{n}", str(200 + n), "First" * 4, "Last" * 4, f"user{n}@example.com") for n in range(40)]
    bench.table = bench.table.model_copy(update={"rate": 1.0})
    await bench.run(*many)
    claim = Lost()
    made = assembly.delivery(bench.db, bench.tenant, "pbx", claim)
    await drained_until_lost(made, claim, lambda: bench.manager.counts["requests"])
    assert bench.manager.counts["requests"] == 1
    bench.table = bench.table.model_copy(update={"rate": 10_000.0})
    await bench.sync(*many)
    assert (len(bench.manager.extensions), len(bench.manager.mails)) == (40, 40)


async def test_nothing_is_deleted_unless_that_is_allowed(bench: Bench) -> None:
    await bench.sync(ANN, BOB)
    await bench.sync(ANN)
    assert sorted(bench.manager.extensions) == ["101", "102"]
    bench.table = bench.table.model_copy(update={"delete_extensions": True})
    await bench.sync(ANN)
    assert sorted(bench.manager.extensions) == ["101"]
    assert bench.manager.counts["Extension Deleted"] == 1


async def test_one_who_comes_back_costs_nothing_while_the_extension_stayed(bench: Bench) -> None:
    await bench.sync(ANN, BOB)
    await bench.sync(ANN)
    await bench.sync(ANN, BOB)
    assert bench.manager.counts["requests"] == 1


async def test_an_extension_that_was_there_before_is_brought_up_to_date(bench: Bench) -> None:
    bench.manager.extensions["101"] = {"ExtentionNumber": "101", "FirstName": "Old", "LastName": "Name"}
    await bench.sync(ANN, BOB)
    assert bench.names() == {"101": "Ann Lee", "102": "Bob Ray"}
    assert sorted(to for to, _ in bench.manager.mails) == ["ann@example.com", "bob@example.com"]


@pytest.mark.parametrize("fault", ["answer_lost_after_apply", "garbage", "cut_before_apply", "code_500_applied"])
async def test_ccm_answer_lost_to_an_added_extension_mails_once(bench: Bench, fault: str) -> None:
    bench.manager.faults.set(fault, times=1)
    await bench.sync(ANN)
    assert bench.names() == {"101": "Ann Lee"}
    assert bench.manager.mails == [("ann@example.com", "extension 101 added")]


async def test_ccm_answer_lost_to_many_added_at_once_mails_each_once(bench: Bench) -> None:
    bench.manager.faults.set("answer_lost_after_apply", times=1)
    await bench.sync(ANN, BOB, CARL)
    assert bench.names() == {"101": "Ann Lee", "102": "Bob Ray", "103": "Carl Roe"}
    assert len(bench.manager.mails) == 3


async def test_ccm_answer_lost_to_an_updated_extension_mails_once(bench: Bench) -> None:
    await bench.sync(ANN)
    bench.manager.faults.set("answer_lost_after_apply", times=1)
    await bench.sync(User("u1", "101", "Ann", "Low", "ann@example.com"))
    assert bench.names() == {"101": "Ann Low"}
    assert len(bench.manager.mails) == 2


async def test_an_update_that_mails_to_nobody_is_sent_again(bench: Bench) -> None:
    await bench.sync(User("u1", "101", "Ann", "Lee"))
    bench.manager.faults.set("cut_before_apply", times=1)
    await bench.sync(User("u1", "101", "Ann", "Low"))
    assert bench.names() == {"101": "Ann Low"}


async def test_a_death_between_sending_and_noting_the_answer_mails_once(bench: Bench) -> None:
    """What the outbox wrote before it was killed is all that the next one knows."""
    await bench.run(ANN)
    number, sent = ["101"], [extension_outbox.dump(ccm.render_extension(ANN))]
    await bench.db.execute(extension_outbox.SQL["mark"], "default", "pbx", number, sent, 60.0)
    sink = ccm.open("pbx", bench.table)
    await sink.send_extensions("add", [ccm.render_extension(ANN)])
    await sink.close()
    await bench.deliver()
    assert bench.names() == {"101": "Ann Lee"}
    assert len(bench.manager.mails) == 1


async def test_an_extension_lost_at_the_manager_is_added_again_with_its_next_change(bench: Bench) -> None:
    await bench.sync(ANN)
    bench.manager.extensions.clear()
    await bench.sync(User("u1", "101", "Ann", "Low", "ann@example.com"))
    assert bench.names() == {"101": "Ann Low"}


@pytest.mark.parametrize(
    ("user", "code"),
    [
        (User("u9", "12a", "Eve", "Doe"), "INVALID_EXTENSION"),
        (User("u9", "109", "Eve", "Doe", "eve at example"), "INVALID_EMAIL"),
        (User("u9", "109", "", "", "eve@example.com"), "FNAME_INVALID"),
    ],
)
async def test_what_the_manager_would_refuse_is_refused_here(bench: Bench, user: User, code: str) -> None:
    await bench.sync(ANN, user)
    assert bench.names() == {"101": "Ann Lee"}
    assert bench.manager.counts["requests"] == 1
    [refusal] = await status.refusals(bench.db, [bench.tenant])
    assert (refusal.code, refusal.number) == (code, user.extension)
    assert (await status.read(bench.db, [bench.tenant])).sinks[0].refused == 1
    await bench.sync(ANN, User("u9", "109", "Eve", "Doe", "eve@example.com"))
    assert bench.names()["109"] == "Eve Doe"
    assert await status.refusals(bench.db, [bench.tenant]) == []


async def test_a_refused_key_stops_them_and_they_go_later(bench: Bench) -> None:
    bench.manager.key = "other"
    await bench.run(ANN)
    with pytest.raises(TimeoutError):
        await bench.deliver(within=1.0)
    assert (await status.read(bench.db, [bench.tenant])).sinks[0].denied == "INVALID_AUTH_ID"
    assert bench.manager.counts["error.INVALID_AUTH_ID"] == 1
    bench.manager.key = "k"
    await bench.db.execute("update sink set due_at = null")
    await bench.deliver()
    assert bench.names() == {"101": "Ann Lee"}


@pytest.fixture
async def both(bench: Bench) -> Bench:
    """A bench whose sink takes contacts too, as it does by default; its contact is there."""
    bench.table = bench.table.model_copy(update={"contacts": True})
    await bench.run()
    await bench.deliver(of=outbox.SQL["waiting"])
    assert len(bench.manager.entries()) == 1
    return bench


async def test_where_no_contact_is_owed_extensions_try_a_sink_that_failed(both: Bench) -> None:
    both.manager.faults.set("cut_before_apply", times=2)
    await both.sync(ANN)
    assert both.names() == {"101": "Ann Lee"}
    assert (await status.read(both.db, [both.tenant])).sinks[0].error == ""


async def test_where_no_contact_is_owed_extensions_try_a_key_that_is_mended(both: Bench) -> None:
    both.manager.key = "other"
    await both.run(ANN)
    with pytest.raises(TimeoutError):
        await both.deliver(within=1.0)
    assert (await status.read(both.db, [both.tenant])).sinks[0].denied == "INVALID_AUTH_ID"
    both.manager.key = "k"
    await both.db.execute("update sink set due_at = null")
    await both.deliver()
    assert both.names() == {"101": "Ann Lee"}


async def test_where_a_contact_is_owed_one_request_tries_a_sink_that_failed(both: Bench) -> None:
    both.manager.key = "other"
    both.source.records.append(record("2", "Bob Contact", "+352 621 999 998"))
    await both.run(ANN)
    await both.db.execute(
        "update sink set error = 'no', denied = 'INVALID_AUTH_ID', probes = 3, failing_since = now(), due_at = now()"
    )
    for probes in (4, 5):
        with pytest.raises(TimeoutError):
            await both.deliver(within=2.0)
        assert both.manager.counts["error.INVALID_AUTH_ID"] == probes - 3
        assert await both.db.value("select probes from sink") == probes
        await both.db.execute("update sink set due_at = now()")
    both.manager.key = "k"
    await both.deliver()
    assert both.names() == {"101": "Ann Lee"}
    assert len(both.manager.entries()) == 2


async def test_waiting_and_refused_extensions_are_counted(bench: Bench) -> None:
    await bench.run(ANN, User("u9", "12a", "Eve", "Doe"))
    assert (await status.read(bench.db, [bench.tenant])).sinks[0].waiting == 2
    await bench.deliver()
    await bench.run(ANN, BOB, User("u9", "12a", "Eve", "Doe"))
    row = await bench.db.row(counts.SQL["sinks"])
    assert (row["waiting"], row["refused"], row["oldest"] > 0) == (1, 1, True)


async def test_users_that_cannot_be_read_fail_the_run_and_change_nothing(bench: Bench) -> None:
    await bench.sync(ANN)
    bench.source.down = True
    with pytest.raises(errors.Unavailable, match="the users cannot be read"):
        await bench.run()
    assert await bench.db.value("select count(*) from crm_user") == 1


async def test_users_lost_all_at_once_are_held_until_they_are_approved(bench: Bench) -> None:
    bench.table = bench.table.model_copy(update={"delete_extensions": True})
    bench.guard = keys.Guard()
    await bench.sync(ANN, BOB)
    report = await bench.run()
    assert (report.held, report.why_held) == (2, "the source reads empty: all 2 users with an extension would go")
    await bench.deliver()
    assert len(bench.manager.extensions) == 2
    waiting = await approval.held(bench.db, "default", "crm", shown=True)
    assert [(one.id, one.name, one.loss) for one in waiting] == [
        ("user:u1", "Ann Lee", "extension"),
        ("user:u2", "Bob Ray", "extension"),
    ]
    done = await approval.approve(bench.db, assembly.job(bench.tenant, "crm"))
    assert (done["removed"], done["held"]) == (2, 0)
    await bench.deliver()
    assert bench.manager.extensions == {}


async def test_users_who_are_back_are_held_no_more(bench: Bench) -> None:
    bench.table = bench.table.model_copy(update={"delete_extensions": True})
    bench.guard = keys.Guard()
    await bench.sync(ANN, BOB)
    await bench.run()
    assert (await bench.run(ANN, BOB)).held == 0
    assert await approval.held(bench.db, "default", "crm") == []


async def test_a_storm_of_faults_ends_right_and_mails_each_change_once(bench: Bench) -> None:
    staff = [User(f"u{n}", str(300 + n), f"First{n}", "Last", f"user{n}@example.com") for n in range(12)]
    for name in ("answer_lost_after_apply", "code_500_applied", "garbage", "padded_codes"):
        bench.manager.faults.set(name, chance=0.15)
    await bench.run(*staff)
    with contextlib.suppress(TimeoutError):
        await bench.deliver(within=8.0)
    bench.manager.faults.clear()
    await bench.db.execute("update extension set due_at = now(); update sink set due_at = null")
    await bench.deliver()
    assert bench.names() == {str(300 + n): f"First{n} Last" for n in range(12)}
    assert sorted(to for to, _ in bench.manager.mails) == sorted(one.email for one in staff)


OLD, NEW = Extension("101", "Ann"), Extension("101", "Anna")
MAILED = replace(OLD, email="ann@example.com")


@pytest.mark.parametrize(
    ("wanted", "row", "delete", "told"),
    [
        (OLD, None, False, ({"101": "due"}, [])),
        (OLD, Row("101", "clean", OLD, OLD, True, None), False, ({}, [])),
        (NEW, Row("101", "clean", OLD, OLD, True, None), False, ({"101": "due"}, [])),
        (OLD, Row("101", "clean", None, OLD, True, None), False, ({"101": "clean"}, [])),
        (None, Row("101", "clean", OLD, OLD, True, None), False, ({"101": "clean"}, [])),
        (None, Row("101", "clean", OLD, OLD, True, None), True, ({"101": "due"}, [])),
        (None, Row("101", "clean", None, OLD, True, None), True, ({"101": "due"}, [])),
        (None, Row("101", "due", None, OLD, True, None), False, ({"101": "clean"}, [])),
        (None, Row("101", "refused", OLD, None, False, None), True, ({}, ["101"])),
        (None, Row("101", "sent", OLD, None, False, OLD), True, ({"101": "due"}, [])),
    ],
)
def test_what_is_owed_for_an_extension(
    wanted: Extension | None, row: Row | None, delete: bool, told: tuple[dict[str, str], list[str]]
) -> None:
    known = {"101": row} if row else {}
    assert decide({"101": wanted} if wanted else {}, known, delete=delete) == told


@pytest.mark.parametrize(
    ("row", "delete", "step"),
    [
        (Row("101", "due", OLD, None, False, None), False, ("add", OLD)),
        (Row("101", "due", NEW, OLD, True, None), False, ("update", NEW)),
        (Row("101", "due", NEW, None, True, None), False, ("update", NEW)),
        (Row("101", "sent", OLD, None, False, OLD), False, ("add", OLD)),
        (Row("101", "sent", NEW, OLD, True, NEW), False, ("update", NEW)),
        (Row("101", "sent", MAILED, OLD, True, MAILED), False, ("add", MAILED)),
        (Row("101", "due", None, OLD, True, None), True, ("delete", OLD)),
        (Row("101", "due", None, OLD, True, None), False, None),
        (Row("101", "sent", NEW, OLD, True, None), True, ("add", NEW)),
    ],
)
def test_the_next_request_for_an_extension(row: Row, delete: bool, step: Any) -> None:
    assert plan(row, delete=delete) == step
