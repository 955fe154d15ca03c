"""Which process works for which tenant: one at a time, soon another when it is gone, and no harm when it comes back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Iterator
from dataclasses import dataclass, field

import pytest

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


async def silence(db: Store, process: Process, seconds: float) -> None:
    """As if it had said nothing for so long, and ran on another machine."""
    await db.execute(
        "update daemon set beat_at = now() - $2 * interval '1 second', place = 'elsewhere' where id = $1",
        process.claims.id,
        seconds,
    )


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


async def test_who_is_silent_is_replaced_and_commits_nothing_any_more(stores: Iterator[Store], db: Store) -> None:
    frozen, other = Process(next(stores)), Process(next(stores))
    await frozen.claims.turn()
    await other.claims.turn()
    await silence(db, frozen, 60)
    other.claims._unbroken -= 60  # it has been heard all the while
    async with frozen.db.session() as half_way:
        await half_way.execute("begin")
        await frozen.claims.of("a").hold(half_way)
        await other.claims.turn()
        assert other.mine == NAMES
        with pytest.raises(errors.Unavailable):
            await half_way.execute("commit")
    assert not await frozen.may("a")
    await frozen.claims.turn()
    assert frozen.told[-1] == ("let go", frozenset(NAMES))
    assert frozen.mine == set()


async def test_after_the_database_was_away_everybody_gets_time_to_be_heard(stores: Iterator[Store], db: Store) -> None:
    one, two = Process(next(stores)), Process(next(stores))
    await one.claims.turn()
    await silence(db, one, 3600)
    await two.claims.turn()
    assert two.mine == set()
    assert await one.may("a")


async def test_a_process_of_this_machine_that_ended_is_known_to_be_gone(stores: Iterator[Store], db: Store) -> None:
    one, two = Process(next(stores)), Process(next(stores))
    await one.claims.turn()
    ended = await asyncio.create_subprocess_exec("true")
    await ended.wait()
    own = claims._place(ended.pid) or await db.value("select place from daemon")
    parts = own.split(" ")
    await db.execute("update daemon set place = $1", " ".join((*parts[:2], str(ended.pid), parts[3])))
    await two.claims.turn()
    assert two.mine == NAMES


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
