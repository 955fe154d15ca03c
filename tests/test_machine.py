"""Random contacts, deaths and faults; at the end the Manager must hold what a short model says, each number once."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
from drainers import NAME, Nursery, kill, nursery
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from listed import Listed, record
from msgspec.structs import replace

from bridge import assembly, config, outbox, sync
from bridge.contact import RawNumber, Record
from bridge.demo.manager import Manager
from bridge.sources import Page
from bridge.store import Store

T = TypeVar("T")
Shown = tuple[str, str, str]

SOURCES = ("crm", "office")
NUMBERS = ("+352621000001", "+352621000002", "+352621000003", "+4930123456", "12")
SPELLINGS: dict[str, Callable[[str], str]] = {
    "digits": lambda number: number.removeprefix("+"),
    "zeros": lambda number: number.replace("+", "00"),
    "e164": lambda number: number,
}
TIMEOUT = 5
ANCHOR = record("anchor", "Never Empty")
"""In every source, without a number: a source that reads empty is held, which is another test's matter."""
TOML = """
region = "LU"
log = "json"
[source.{first}]
type = "file"
path = "unused"
guard = {{ floor = 100000 }}
[source.{second}]
type = "file"
path = "unused"
guard = {{ floor = 100000 }}
[sink.pbx]
type = "ccm"
url = "{url}"
security_key = "k"
sources = {sources}
numbers = "{numbers}"
timeout = "{timeout}s"
rate = 10000
[connector]
token = "unused-token"
"""
HURRY = f"""
update entry set due_at = now()
where state in ('due', 'sent') and due_at > now()
  and due_at - sent_at is distinct from interval '{4 * TIMEOUT + 30} seconds'
"""
"""No pause is waited for; what is under way, which the outbox marks so, is left alone."""
FRESH = "truncate contact, number, entry, sink, source, run, removed, held, unreadable"
CUT = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = $1"
ANSWERED = ("code_500", "code_500_applied")
"""After four of these in a row the outbox takes an entry that was never acknowledged to be absent."""
FAULTS = (
    *("answer_lost_after_apply", "cut_before_apply", "status_500_html", "garbage", "html_200", "hang", "padded_codes"),
    *("key_invalid", "key_expired", *ANSWERED),
)

names = st.sampled_from([("Ann", "Lee"), ("Bob", "Ray"), ("Cem", "Oz"), ("Dee", "Fox"), ("", "")])
companies = st.sampled_from(["", "Acme Works"])
numbers = st.sampled_from(NUMBERS)
raw_numbers = st.builds(
    RawNumber,
    st.sampled_from(NUMBERS),
    st.sampled_from(["work", "mobile"]),
    company=st.sampled_from([False, False, True]),
)
few_numbers = st.lists(raw_numbers, max_size=3, unique_by=lambda one: one.text)
sources = st.sampled_from(SOURCES)
ids = st.sampled_from("12")


@dataclass(frozen=True)
class Luck:
    """How an edit goes on: whether its run is full, what befalls how many answers, how delivery ends after `ms`, and
    what people make of it meanwhile."""

    full: bool
    fault: str
    times: int
    ms: int
    end: str
    then: list[str]


lucks = st.builds(
    Luck,
    full=st.booleans(),
    fault=st.sampled_from(("", *FAULTS, *["answer_lost_after_apply"] * 5)),
    times=st.integers(1, 2),
    ms=st.sampled_from([0, 10, 30, 60]),
    end=st.sampled_from(["", "", "death", "cut", "time"]),
    then=st.lists(st.sampled_from(["back", "both", "nameless", "gone"]), max_size=2),
)


def _on_second_thought(thought: str, old: Record | None, new: Record | None) -> Record | None:
    """The contact as it is then."""
    if thought == "gone" or new is None:
        return old if thought == "back" else None
    if thought == "nameless":
        return replace(new, first_name="", last_name="", display_name="", company="")
    if thought == "both" and old is not None:
        had = {one.text for one in new.numbers}
        return replace(new, numbers=(*new.numbers, *(one for one in old.numbers if one.text not in had)))
    return old if thought == "back" else new


def _with(book: dict[str, Record], id: str, of: Record | None) -> dict[str, Record]:
    """The book with that contact, or without it."""
    others = {held: one for held, one in book.items() if held != id}
    return {**others, id: of} if of is not None else others


@dataclass(frozen=True)
class Held:
    """A contact as the last run of its source saw it, and which run changed it."""

    record: Record
    changed: int


def shown(of: Record) -> Shown | None:
    """What a telephone shows of a contact; None where there is nothing to show."""
    first, last = (of.first_name, of.last_name) if of.first_name else (of.company.split() or ("", ""))
    return (first, last, of.company) if first else None


def owners(store: dict[str, dict[str, Held]], order: tuple[str, ...]) -> dict[str, set[Shown | None]]:
    """Who may stand under each number: people before companies, the order of sources, who changed last."""
    ranked: dict[str, list[tuple[tuple[bool, int, int], Shown | None]]] = {}
    for rank, source in enumerate(order):
        for held in store[source].values():
            for number in held.record.numbers:
                place = (number.company, rank, -held.changed)
                ranked.setdefault(number.text, []).append((place, shown(held.record)))
    return {
        number: {who for place, who in all_of_them if place == min(p for p, _ in all_of_them)}
        for number, all_of_them in ranked.items()
    }


class World(RuleBasedStateMachine):
    """Two sources, a database, an outbox in a process that dies, and a Manager whose answers get lost."""

    def __init__(self, dsn: str, born: Nursery, config_path: Path) -> None:
        super().__init__()
        self.dsn, self.born, self.path = dsn, born, config_path
        self.runner = asyncio.Runner()
        self.open = contextlib.AsyncExitStack()
        self.manager = Manager(key="k", plus=True)
        self.crm: dict[str, dict[str, Record]] = {source: {} for source in SOURCES}
        self.store: dict[str, dict[str, Held]] = {source: {} for source in SOURCES}
        self.order, self.spelling = SOURCES, "digits"
        self.runs = self.answered = 0
        self.drainer: int | None = None
        self.db = Store(dsn)

    def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(coroutine)

    @initialize(absent=st.sampled_from(["PHONE_NUMBER_INVALID", "WEBSERVICE_ERROR"]))
    def begin(self, absent: str) -> None:
        self.manager.absent = absent
        self.url = self.wait(self.open.enter_async_context(self.manager.serve()))
        self.wait(self.db.execute(FRESH))
        self.configure()

    def configure(self) -> None:
        """Write bridge.toml anew, and enrol as a daemon does when it loads it."""
        text = TOML.format(
            first=SOURCES[0],
            second=SOURCES[1],
            url=self.url,
            sources=str(list(self.order)).replace("'", '"'),
            numbers=self.spelling,
            timeout=TIMEOUT,
        )
        self.path.write_text(text)
        self.path.chmod(0o600)
        self.told = config.load(self.path)
        self.wait(assembly.enrol(self.db, self.told))

    # What people do to contacts

    @rule(source=sources, id=ids, who=names, company=companies, numbers=few_numbers, luck=lucks)
    def put(
        self, source: str, id: str, who: tuple[str, str], company: str, numbers: list[RawNumber], luck: Luck
    ) -> None:
        named = record(id, " ".join(who).strip(), company=company)
        self.edit(source, id, replace(named, numbers=tuple(numbers)), luck)

    @rule(source=sources, id=ids, luck=lucks)
    def remove(self, source: str, id: str, luck: Luck) -> None:
        self.edit(source, id, None, luck)

    @rule(source=sources, one=ids, other=ids, luck=lucks)
    def swap_numbers(self, source: str, one: str, other: str, luck: Luck) -> None:
        book = self.crm[source]
        if one in book and other in book:
            a, b = book[one], book[other]
            book[one] = replace(a, numbers=b.numbers)
            self.edit(source, other, replace(b, numbers=a.numbers), luck)

    @rule(source=sources, id=ids, number=numbers, luck=lucks)
    def change_number(self, source: str, id: str, number: str, luck: Luck) -> None:
        held = self.crm[source].get(id)
        if held and held.numbers and number not in {one.text for one in held.numbers}:
            changed = (replace(held.numbers[0], text=number), *held.numbers[1:])
            self.edit(source, id, replace(held, numbers=changed), luck)

    @rule(order=st.permutations(SOURCES), only_first=st.booleans())
    def reorder_sources(self, order: list[str], only_first: bool) -> None:
        self.die()
        self.order = tuple(order[:1] if only_first else order)
        self.configure()

    @rule(spelling=st.sampled_from(sorted(SPELLINGS)))
    def spell_otherwise(self, spelling: str) -> None:
        self.die()
        self.spelling = spelling
        self.configure()

    # What comes of it

    def edit(self, source: str, id: str, new: Record | None, luck: Luck) -> None:
        """Somebody changes a contact, and perhaps their mind while that is under way."""
        old = self.crm[source].get(id)
        self.crm[source] = _with(self.crm[source], id, new)
        self.go_on(source, luck)
        for thought in luck.then:
            self.crm[source] = _with(self.crm[source], id, _on_second_thought(thought, old, new))
            self.go_on(source, dataclasses.replace(luck, fault=""))

    def go_on(self, source: str, luck: Luck) -> None:
        """A run, and some milliseconds of delivery under that luck."""
        self.run_source(source, full=luck.full)
        if luck.fault in ANSWERED and self.answered == 3:
            return
        self.answered += luck.fault in ANSWERED
        if luck.fault:
            self.manager.faults.set(luck.fault, times=1 if luck.fault in ANSWERED else luck.times, seconds=0.1)
        if luck.ms:
            self.drain(luck.ms)
        if luck.end == "death":
            self.die()
        if luck.end == "cut":
            self.wait(self.db.execute(CUT, NAME))
        if luck.end == "time":
            self.wait(self.pass_time())

    def run_source(self, source: str, *, full: bool) -> None:
        """One run; afterwards the model knows what the store must."""
        self.runs += 1
        now, before = self.crm[source], self.store[source]
        listed = Listed(ANCHOR, *now.values())
        changed = [one for one in now.values() if one.id not in before or before[one.id].record != one]
        if not full and before:
            gone = [id for id in before if id not in now]
            listed.pages = [Page(records=changed[:1]), Page(removed=gone, records=changed[1:]), Page(cursor={})]
        self.wait(sync.run(self.db, assembly.job(self.told.tenants["default"], source), listed, full=full))
        fresh = {one.id: Held(one, self.runs) for one in changed}
        self.store[source] = {id: fresh.get(id) or before[id] for id in now}

    def drain(self, ms: int) -> None:
        if self.drainer is None:
            self.drainer = self.born.start(self.dsn, self.path)
        self.wait(asyncio.sleep(ms / 1000))

    def die(self) -> None:
        """The drainer is killed; what it had sent arrives all the same."""
        if self.drainer is not None:
            kill(self.drainer)
            self.drainer = None
            self.wait(asyncio.sleep(0.05))

    async def pass_time(self) -> None:
        """Pauses are over."""
        await self.db.execute(HURRY)
        await self.db.execute("update sink set due_at = null")

    # What must be so

    @rule()
    def settle(self) -> None:
        """Nothing goes wrong any more: the Manager ends exactly right."""
        self.manager.faults.clear()
        self.drain(0)
        self.wait(self.delivered())
        self.answered = 0
        assert self.manager.duplicates() == []
        spell = SPELLINGS[self.spelling]
        book = self.manager.book()
        for number, allowed in owners(self.store, self.order).items():
            if None in allowed:  # nothing to show: refused, and whatever stood there stays
                for spelled in SPELLINGS.values():
                    book.pop(spelled(number), None)
            else:
                got = book.pop(spell(number), None)
                assert got in allowed, f"{number}: {got} in the place of {allowed}"
        assert book == {}

    async def delivered(self) -> None:
        try:
            async with asyncio.timeout(30):
                while await self.db.value(outbox.SQL["waiting"], "default", "pbx"):
                    await self.pass_time()
                    await asyncio.sleep(0.02)
        except TimeoutError:
            rows = await self.db.fetch("select number, state, contact, acked, sent, reason from entry")
            raise AssertionError([tuple(row) for row in rows]) from None

    def teardown(self) -> None:
        try:
            if hasattr(self, "told"):
                self.settle()
        finally:
            self.die()
            self.wait(self.open.aclose())
            self.wait(self.db.close())
            self.runner.close()


@pytest.fixture
def born() -> Iterator[Nursery]:
    with nursery() as started:
        yield started


def test_whatever_happens_the_manager_ends_exactly_right(dsn: str, born: Nursery, tmp_path: Path) -> None:
    examples = int(os.environ.get("BRIDGE_EXAMPLES", "30"))
    run: Any = run_state_machine_as_test  # hypothesis gives it no types
    run(
        lambda: World(dsn, born, tmp_path / "bridge.toml"),
        settings=settings(
            max_examples=examples,
            stateful_step_count=25,
            deadline=None,
            phases=[Phase.generate],  # what depends on time shrinks badly
            database=None,
            derandomize="CI" in os.environ,
            suppress_health_check=list(HealthCheck),
        ),
    )
