"""Which process works for which tenant: one at a time, soon another when it is gone, and no harm when it comes back."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Collection, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from daemons import until

from bridge import claims, errors
from bridge.claims import Claims
from bridge.store import Store

NAMES = {"a", "b", "c", "d"}


@dataclass
class Process:
    """One that works, without the work: it notes what it is told."""

    db: Store
    lasting: bool = True
    wanted: Collection[str] = frozenset(NAMES)
    told: list[tuple[str, frozenset[str]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.claims = Claims(self.db, self.take_up, self.let_go, lasting=self.lasting)
        self.claims.wanted = self.wanted

    async def take_up(self, names: Collection[str]) -> None:
        self.told.append(("take", frozenset(names)))

    async def let_go(self, names: Collection[str]) -> None:
        self.told.append(("let go", frozenset(names)))

    @property
    def mine(self) -> set[str]:
        return self.claims.mine

    async def may(self, tenant: str) -> bool:
        """Whether it may commit something of that tenant's."""
        async with self.db.pooled() as connection, connection.transaction():
            with contextlib.suppress(errors.Unavailable):
                await self.claims.of(tenant).hold(connection)
                return True
        return False


@pytest.fixture
async def stores(dsn: str, db: Store) -> AsyncIterator[Iterator[Store]]:
    """As many processes' databases as are asked for; `db` has made the tables."""
    made: list[Store] = []

    def more() -> Iterator[Store]:
        while True:
            made.append(Store(dsn, name=claims.name("worker")))
            yield made[-1]

    yield more()
    for one in made:
        await one.close()


@dataclass
class Clock:
    """Every process's, that goes on when it is told to."""

    now: float = 1000.0

    async def pass_by(self, seconds: float, *alive: Process) -> None:
        """So long, and these live on all the while; others are silent, as on a machine that vanished."""
        for _ in range(round(seconds / 3)):
            self.now += 3
            for one in alive:
                await one.claims.turn()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(claims, "_now", lambda: clock.now)
    return clock


def cut(store: Store, query: str, *, done: bool) -> None:
    """The connection is lost over this query's next use: before the database hears of it, or when it has `done` it."""
    for name in ("execute", "fetch"):
        vars(store)[name] = partial(_cut, store, name, claims.SQL[query], done)


async def _cut(store: Store, name: str, query: str, done: bool, sql: str, *args: Any) -> Any:
    ask = getattr(Store, name)
    if sql != query:
        return await ask(store, sql, *args)
    del vars(store)["execute"], vars(store)["fetch"]
    if done:
        await ask(store, sql, *args)
    raise errors.Unavailable("the connection was cut")


async def waiting(db: Store, count: int) -> bool:
    """Whether so many sessions wait for a lock."""
    query = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    return bool(await db.value(query) == count)


async def test_one_alone_takes_all(stores: Iterator[Store]) -> None:
    one = Process(next(stores))
    await one.claims.turn()
    assert one.mine == NAMES
    assert one.told == [("take", frozenset(NAMES))]
    assert await one.may("a")


async def test_two_share_and_each_tenant_is_ones(stores: Iterator[Store]) -> None:
    one, two = Process(next(stores)), Process(next(stores))
    await one.claims.turn()
    await two.claims.turn()
    assert two.mine == set()
    await one.claims.turn()
    await two.claims.turn()
    assert len(one.mine) == len(two.mine) == 2
    assert one.mine | two.mine == NAMES
    theirs = sorted(two.mine)[0]
    assert ("let go", frozenset(two.mine)) in one.told
    assert not await one.may(theirs)
    assert await two.may(theirs)


async def test_one_tenant_stays_where_it_is(stores: Iterator[Store]) -> None:
    one, two = (Process(next(stores), wanted={"a"}) for _ in range(2))
    for _ in range(3):
        await one.claims.turn()
        await two.claims.turn()
    assert (one.mine, two.mine) == ({"a"}, set())
    assert len(one.told) == 1


async def test_each_takes_what_only_its_own_file_names(stores: Iterator[Store], db: Store) -> None:
    one, two = Process(next(stores), wanted={"x", "y"}), Process(next(stores), wanted={"z"})
    await two.claims.turn()
    await one.claims.turn()
    await db.execute("update owner set since = now() - interval '1 minute'")
    await one.claims.turn()
    assert (one.mine, two.mine) == ({"x", "y"}, {"z"})
    for _ in range(2):
        await two.claims.turn()
        await one.claims.turn()
    assert one.mine == {"x", "y"}


async def test_who_leaves_is_followed_at_once(stores: Iterator[Store]) -> None:
    one, two = Process(next(stores)), Process(next(stores))
    await one.claims.turn()
    await two.claims.turn()
    await one.claims.leave()
    assert one.told[-1] == ("let go", frozenset(NAMES))
    await two.claims.turn()
    assert two.mine == NAMES


async def test_who_is_silent_is_replaced_and_commits_nothing_any_more(stores: Iterator[Store], clock: Clock) -> None:
    frozen, other = Process(next(stores)), Process(next(stores))
    await frozen.claims.turn()
    await other.claims.turn()
    async with frozen.db.session() as half_way:
        await half_way.execute("begin")
        await frozen.claims.of("a").hold(half_way)
        await clock.pass_by(15, other)
        assert other.mine == set()
        await clock.pass_by(3, other)
        assert other.mine == NAMES
        with pytest.raises(errors.Unavailable):
            await half_way.execute("commit")
    assert not await frozen.may("a")
    await frozen.claims.turn()
    assert frozen.told[-1] == ("let go", frozenset(NAMES))
    assert frozen.mine == set()


async def test_after_the_database_was_away_everybody_gets_time_to_be_heard(
    stores: Iterator[Store], clock: Clock
) -> None:
    one, two = Process(next(stores)), Process(next(stores))
    await one.claims.turn()
    await clock.pass_by(15, two)
    cut(two.db, "beat", done=False)
    with pytest.raises(errors.Unavailable):
        await two.claims.keep()
    await clock.pass_by(15, two)
    assert two.mine == set()
    await clock.pass_by(6, two)
    assert two.mine == NAMES


async def test_where_the_database_stands_still_nobody_is_taken_for_dead(
    stores: Iterator[Store], db: Store, clock: Clock
) -> None:
    """As where a primary waits for a standby that died: connections live, beats hang, and then one is through first."""
    one, two = Process(next(stores), wanted={"a"}), Process(next(stores), wanted={"a"})
    await clock.pass_by(30, one, two)
    async with stands_still(one) as first_turn:
        async with stands_still(two) as second_turn:
            await until(lambda: waiting(db, 2), why="both beats hang")
            clock.now += 40
        await second_turn
    await first_turn
    await clock.pass_by(30, one, two)
    assert one.told == [("take", frozenset("a"))]
    assert two.told == []


@contextlib.asynccontextmanager
async def stands_still(process: Process) -> AsyncIterator[asyncio.Task[None]]:
    """The database lets no beat of this process through during the block; the turn that waits for one."""
    async with process.db.session() as other:
        await other.execute("begin")
        await other.execute("select from daemon where id = $1 for update", process.claims.id)
        turn = asyncio.create_task(process.claims.turn())
        yield turn
        await other.execute("commit")


async def test_who_stood_still_himself_takes_nobody_for_dead(stores: Iterator[Store], clock: Clock) -> None:
    one, two = Process(next(stores)), Process(next(stores))
    await clock.pass_by(30, one, two)
    before = set(one.mine)
    clock.now += 3600
    await two.claims.turn()
    assert await one.may(min(before))
    await clock.pass_by(30, one, two)
    assert one.mine == before


@pytest.mark.parametrize("step", ["5 hours", "-5 hours"])
async def test_the_databases_clock_may_be_set(stores: Iterator[Store], db: Store, clock: Clock, step: str) -> None:
    """Neither is who lives taken for dead, nor who died for alive."""
    one, two = Process(next(stores)), Process(next(stores))
    await clock.pass_by(30, one, two)
    await db.execute("update daemon set beat_at = beat_at - $1::text::interval", step)
    await two.claims.turn()
    assert (len(one.mine), len(two.mine)) == (2, 2)
    assert await one.may(min(one.mine))
    await clock.pass_by(18, two)
    assert two.mine == NAMES


async def test_what_was_given_back_and_the_database_did_not_hear_of_it_is_given_back_again(
    stores: Iterator[Store],
) -> None:
    one, two = Process(next(stores)), Process(next(stores))
    await one.claims.turn()
    await two.claims.turn()
    cut(one.db, "leave", done=False)
    with pytest.raises(errors.Unavailable):
        await one.claims.turn()
    await one.claims.turn()
    await two.claims.turn()
    assert len(one.mine) == len(two.mine) == 2
    assert one.mine | two.mine == NAMES


async def test_what_was_taken_without_an_answer_is_worked_for(stores: Iterator[Store]) -> None:
    one = Process(next(stores))
    cut(one.db, "take", done=True)
    with pytest.raises(errors.Unavailable):
        await one.claims.turn()
    assert one.told == []
    await one.claims.turn()
    assert one.mine == NAMES
    assert one.told[-1] == ("take", frozenset(NAMES))


async def test_what_the_database_forgot_is_let_go_and_taken_anew(stores: Iterator[Store], db: Store) -> None:
    """A failover without synchronous replication loses what was committed last."""
    one, two = Process(next(stores)), Process(next(stores), lasting=False, wanted=())
    await two.claims.turn()
    await one.claims.turn()
    await db.execute("update owner set daemon = null where tenant = 'a'")
    await db.execute("update owner set daemon = $1 where tenant = 'b'", two.claims.id)
    await one.claims.turn()
    assert one.told[1:] == [("let go", frozenset("ab")), ("take", frozenset("a"))]
    assert one.mine == NAMES - {"b"}


async def test_what_is_taken_while_its_process_leaves_is_nobodys(stores: Iterator[Store], db: Store) -> None:
    """Whoever gives up waiting for the answer does not stop the database."""
    one = Process(next(stores), wanted=())
    await one.claims.turn()
    await db.execute(claims.SQL["enlist"], ["a"])
    await db.execute(
        "create function slowly() returns trigger as $$ begin perform pg_advisory_xact_lock(1); return new;"
        " end $$ language plpgsql"
    )
    await db.execute("create trigger slowly before update on owner for each row execute function slowly()")
    async with db.session() as halt:
        await halt.execute("select pg_advisory_lock(1)")
        taking = asyncio.create_task(db.fetch(claims.SQL["take"], one.claims.id, ["a"], 1, 10.0))
        await until(lambda: waiting(db, 1), why="the database is taking it")
        leaving = asyncio.create_task(one.claims.leave())

        async def left() -> bool:
            return leaving.done() or await waiting(db, 2)

        await until(left, why="it left, or waits for what it is taking")
        await halt.execute("select pg_advisory_unlock(1)")
        await asyncio.gather(taking, leaving)
    assert await db.value("select daemon from owner where tenant = 'a'") is None
    assert await db.fetch(claims.SQL["take"], one.claims.id, ["a"], 1, 10.0) == []


async def ended_process() -> int:
    ended = await asyncio.create_subprocess_exec("true")
    await ended.wait()
    return ended.pid


def place_of(pid: int) -> str:
    """As a process of this machine would have told its own."""
    machine, namespace, _, born = claims._place(os.getpid()).split(" ")
    return f"{machine} {namespace} {pid} {born}"


async def test_a_process_of_this_machine_that_ended_is_known_to_be_gone(stores: Iterator[Store], db: Store) -> None:
    one, two = Process(next(stores)), Process(next(stores))
    await one.claims.turn()
    await db.execute("update daemon set place = $1", place_of(await ended_process()))
    await two.claims.turn()
    assert two.mine == NAMES


@pytest.fixture
def hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """/proc as a unit with ProcSubset=pid and ProtectProc=invisible has it: one's own processes, and nothing else."""
    (tmp_path / "self").symlink_to("/proc/self")
    (tmp_path / str(os.getpid())).symlink_to(f"/proc/{os.getpid()}")
    monkeypatch.setattr(claims, "_PROC", tmp_path)
    monkeypatch.setenv("INVOCATION_ID", "0123456789abcdef0123456789abcdef")
    return tmp_path


async def test_the_same_service_knows_its_own_to_be_gone_where_proc_shows_little(hidden: Path) -> None:
    assert claims._gone(place_of(await ended_process()))
    assert not claims._gone(claims._place(os.getpid()))


async def test_another_service_or_machine_is_never_known_to_be_gone(
    hidden: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images share the machine-id, and machines the number of their first process namespace."""
    theirs = place_of(await ended_process())
    monkeypatch.setenv("INVOCATION_ID", "fedcba9876543210fedcba9876543210")
    assert not claims._gone(theirs)
    monkeypatch.delenv("INVOCATION_ID")
    assert claims._place(os.getpid()) == ""
    assert not claims._gone(theirs)
    assert not claims._gone("")


async def test_a_process_that_lives_and_is_not_shown_is_not_gone(hidden: Path) -> None:
    other = await asyncio.create_subprocess_exec("sleep", "60")
    try:
        assert not claims._gone(place_of(other.pid)), "another user's, say"
        (hidden / str(other.pid)).symlink_to(f"/proc/{other.pid}")
        assert claims._gone(place_of(other.pid)), "one that began later has its number"
    finally:
        other.kill()
        await other.wait()


async def test_a_command_takes_what_is_free_and_takes_nobodys(stores: Iterator[Store]) -> None:
    command, daemon = Process(next(stores), lasting=False, wanted={"a"}), Process(next(stores))
    await command.claims.turn()
    assert command.mine == {"a"}
    await daemon.claims.turn()
    assert daemon.mine == NAMES - {"a"}
    await command.claims.leave()
    await daemon.claims.turn()
    assert daemon.mine == NAMES
    late = Process(next(stores), lasting=False, wanted={"b"})
    for _ in range(2):
        await late.claims.turn()
        await daemon.claims.turn()
    assert (late.mine, daemon.mine) == (set(), NAMES)


async def test_nothing_is_sent_before_the_first_beat_or_long_after_the_last(
    stores: Iterator[Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Process(next(stores))
    with pytest.raises(errors.Unavailable, match="has not heard of this process"):
        one.claims.check()
    await one.claims.turn()
    one.claims.check()
    monkeypatch.setattr(claims, "_GOOD", 0.0)
    await asyncio.sleep(0.01)
    with pytest.raises(errors.Unavailable):
        one.claims.of("a").check()
