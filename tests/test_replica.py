"""A primary and a standby that streams from it: who answers, what is seen, and what is left when either is gone."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import socket
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from daemons import KEY, Daemon, book, number, until
from listed import record
from served import configured, hold
from servers import Cluster, cluster, thaw

from bridge import errors, hosts, lookup, store
from bridge.answers import Answers
from bridge.demo.manager import Manager
from bridge.hosts import Host
from bridge.lookup import Directory, Lookups
from bridge.nearby import Nearby
from bridge.store import Store

ANN = "+352 621 100 000"
NAME = "lookups of a test"
_COUNT = itertools.count(1)


@pytest.fixture(scope="module")
def pair() -> Iterator[Cluster]:
    """A primary and its standby, which tests leave as they found them."""
    with cluster() as made:
        asyncio.run(_template(made.primary.dsn))
        yield made


def named(dsn: str, database: str) -> str:
    """The same servers' other database."""
    return f"{dsn.rpartition('/')[0]}/{database}"


async def _template(dsn: str) -> None:
    owner, template = Store(dsn), Store(named(dsn, "migrated"))
    await owner.execute("create database migrated")
    await store.migrate(template)
    await template.close()
    await owner.close()


class Both:
    """A migrated database on both, and stores of it: of the primary, of the standby."""

    def __init__(self, pair: Cluster, name: str) -> None:
        self.pair = pair
        self.name = name
        self.url = named(pair.url, name)
        self.db = Store(self.url, name=NAME)
        self.replica = Store(self.url, name=NAME, standby=True)

    async def replay(self, paused: bool) -> None:
        """Have the standby stop, or go on, with taking what the primary wrote."""
        await self.replica.execute(f"select pg_wal_replay_{'pause' if paused else 'resume'}()")

    async def caught_up(self) -> bool:
        at = await self.db.value("select pg_current_wal_flush_lsn()::text")
        return bool(await self.replica.value("select pg_last_wal_replay_lsn() >= $1::text::pg_lsn", at))


@pytest.fixture
async def both(pair: Cluster) -> AsyncIterator[Both]:
    owner = Store(pair.primary.dsn)
    name = f"r{next(_COUNT)}"
    await owner.execute(f"create database {name} template migrated")
    made = Both(pair, name)
    await until(lambda: _reached(made.replica))
    try:
        yield made
    finally:
        await made.replay(False)
        await made.db.close()
        await made.replica.close()
        await owner.execute(f"drop database {name} with (force)")
        await owner.close()


async def _reached(replica: Store) -> bool:
    with contextlib.suppress(errors.Unavailable):
        return bool(await replica.value("select to_regclass('contact') is not null"))
    return False


@pytest.fixture
def place(tmp_path: Path) -> Directory:
    return lookup.directory(configured(tmp_path).tenants["default"])


class Heard(Answers):
    """Answers that count the words of changes that reached them."""

    words = 0

    def changed(self, tenant: str, numbers: Any) -> None:
        super().changed(tenant, numbers)
        self.words += 1

    def heard(self, before: int) -> bool:
        """Whether there were more words than before."""
        return self.words > before


@contextlib.asynccontextmanager
async def looking(both: Both, answers: Answers | None = None) -> AsyncIterator[Lookups]:
    """Lookups that read from the standby, word of changes arriving."""
    answers = answers or Answers()
    lookups = Lookups(both.db, answers, both.replica, Nearby(both.db, most=0))
    await lookups.start()
    try:
        await until(lambda: answers.live)
        yield lookups
    finally:
        await lookups.close()


async def names(lookups: Lookups, place: Directory, asked: str = ANN) -> list[str]:
    """Who has that number, from memory if it is remembered."""
    found = lookups.remembered(place, asked) or await lookups.answer(place, asked)
    return [one["name"] for one in orjson.loads(found)]


ASKED = "select max(query_start) from pg_stat_activity where application_name = $1 and query like $2"


async def last_asked(db: Store) -> Any:
    """When a server was last asked who has a number, by lookups of a test."""
    return await db.value(ASKED, NAME, "%cross join lateral%")


async def by_standby(both: Both, lookups: Lookups, place: Directory) -> None:
    """Wait until the standby answers."""
    before = await last_asked(both.replica)

    async def asked() -> bool:
        await lookups.answer(place, ANN)
        return bool(await last_asked(both.replica) != before)

    await until(asked)


# Which server


@pytest.mark.parametrize(
    ("dsn", "want"),
    [
        ("postgresql://u:p@a,b:5433/x", [Host("a", 5432), Host("b", 5433)]),
        ("postgresql://u@[::1]:5,[::2]/x", [Host("::1", 5), Host("::2", 5432)]),
        ("postgresql://u@/x?host=/run/a,/run/b&port=5433", [Host("/run/a", 5433), Host("/run/b", 5433)]),
        ("postgresql:///x?host=a,b&port=1,2", [Host("a", 1), Host("b", 2)]),
        ("postgresql://u@a:7/x", [Host()]),
        ("postgresql://u@/x?host=/run/a", [Host()]),
    ],
)
def test_servers_of_a_url(dsn: str, want: list[Host]) -> None:
    assert hosts.named(dsn) == want


async def test_of_several_servers_the_right_one_is_found_whatever_the_order(both: Both) -> None:
    primary, standby = both.pair.primary.port, both.pair.standby.port
    other_way = f"postgresql://bridge@127.0.0.1:{standby},127.0.0.1:{primary}/{both.name}"
    for dsn in (both.url, other_way):
        for by, want in ((False, primary), (True, standby)):
            one = Store(dsn, standby=by)
            assert await one.value("select inet_server_port()") == want
            async with one.session() as session:
                assert await session.value("select inet_server_port()") == want
            await one.close()


async def test_a_server_that_takes_connections_and_says_nothing_costs_its_share_once(both: Both) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        dsn = f"postgresql://bridge@127.0.0.1:{silent.getsockname()[1]},{both.pair.primary.place}/{both.name}"
        one = Store(dsn)
        times = []
        for _ in range(2):
            began = time.monotonic()
            await one.release(await one.connect(1.0))
            times.append(time.monotonic() - began)
        assert 0.5 <= times[0] < 1.5
        assert times[1] < 0.4
        await one.close()


async def test_none_is_there_says_why_of_each_and_no_password(both: Both) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = taken.getsockname()[1]
    one = Store(f"postgresql://bridge:database-password@127.0.0.1:{nobody},{both.pair.standby.place}/{both.name}")
    with pytest.raises(errors.Unavailable) as told:
        await one.value("select 1")
    assert f"127.0.0.1:{nobody} " in str(told.value)
    assert f"{both.pair.standby.place} it is another kind of server" in str(told.value)
    assert "database-password" not in str(told.value)
    await one.close()


async def test_connections_notice_a_peer_that_vanished(both: Both) -> None:
    async with both.db.session() as session, both.db.pooled() as pooled:
        for connection in (session, pooled):
            peer = connection.raw._transport.get_extra_info("socket")
            assert peer.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 5
            assert peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 10_000
            assert await connection.value("select current_setting('tcp_user_timeout')") == "10000"


async def test_a_server_that_hangs_is_left_in_the_middle_of_a_statement(both: Both) -> None:
    one = Store(both.url, pulse=0.2)
    async with one.session() as session, one.pooled() as pooled:
        waiting = [asyncio.create_task(each.value("select pg_sleep(60)")) for each in (session, pooled)]
        await asyncio.sleep(0.5)
        assert not any(each.done() for each in waiting)  # it lives, and may take its time
        frozen = both.pair.primary.freeze()
        try:
            for each in waiting:
                with pytest.raises(errors.Unavailable):
                    async with asyncio.timeout(6):
                        await each
        finally:
            thaw(frozen)
    assert await one.value("select 1") == 1
    await one.close()


# A primary that is one no more


async def test_a_server_that_ceased_to_take_writes_loses_its_connections(both: Both) -> None:
    owner = Store(both.pair.primary.dsn)
    answers = Answers()
    async with owner.session() as control, looking(both, answers):
        await control.execute("set default_transaction_read_only = off")
        async with both.db.session() as session:
            lost = await session.value("select pg_backend_pid()")
            try:
                await control.execute("alter system set default_transaction_read_only = on")
                await control.execute("select pg_reload_conf()")
                await until(lambda: not answers.live, why="nothing is heard from a server that takes no writes")
                with pytest.raises(errors.Unavailable, match="read-only"):
                    await session.execute("create table t (n integer)")
                assert session.closed
                with pytest.raises(errors.Unavailable):
                    await both.db.execute("create table t (n integer)")
            finally:
                await control.execute("alter system reset default_transaction_read_only")
                await control.execute("select pg_reload_conf()")
        await until(lambda: answers.live)
        assert await both.db.execute("create table t (n integer)") == 0
        assert await both.db.value("select pg_backend_pid()") != lost
    await owner.close()


# Lookups on the standby


async def test_lookups_are_answered_by_the_standby(both: Both, place: Directory) -> None:
    await hold(both.db, "crm", record("1", "Ann Lee", ANN))
    async with looking(both) as lookups:
        await by_standby(both, lookups, place)
        before = await last_asked(both.db), await last_asked(both.replica)
        assert [await names(lookups, place, f"{ANN}{'/' * n}") for n in range(5)] == [["Ann Lee"]] * 5
        after = await last_asked(both.db), await last_asked(both.replica)
        assert (after[0] == before[0], after[1] > before[1]) == (True, True)


async def test_a_standby_of_another_database_is_never_believed(both: Both, place: Directory) -> None:
    """It has been written to more than ours, so by its position alone it would seem to know all that ours does."""
    await hold(both.db, "crm", record("1", "Ann Lee", ANN))
    with cluster() as other:
        stranger = Both(other, "bridge")
        await store.migrate(stranger.db)
        await hold(stranger.db, "crm", record("1", "Bob Ray", ANN))
        await stranger.db.execute("create table filler as select repeat('x', 1000) as t from generate_series(1, 60000)")
        await until(stranger.caught_up)
        stranger.db, strangers = both.db, stranger.db
        async with looking(stranger) as lookups:
            for n in range(5):
                assert await names(lookups, place, f"{ANN}{'/' * n}") == ["Ann Lee"]
                await asyncio.sleep(0.1)
        await strangers.close()
        await stranger.replica.close()


async def test_a_change_that_the_standby_has_not_replayed_is_seen_by_the_next_lookup(
    both: Both, place: Directory
) -> None:
    answers = Heard()
    await hold(both.db, "crm", record("1", "Ann Lee", ANN))
    async with looking(both, answers) as lookups:
        assert await names(lookups, place) == ["Ann Lee"]
        await both.replay(paused=True)
        for name in ("Ann Low", "Ann Moss"):
            words = answers.words
            await hold(both.db, "crm", record("1", name, ANN))
            await until(functools.partial(answers.heard, words))
            assert await names(lookups, place) == [name]
            assert lookups.remembered(place, ANN) is not None
            assert await names(lookups, place) == [name]
        await both.replay(paused=False)
        await by_standby(both, lookups, place)
        assert await names(lookups, place, f"{ANN}/") == ["Ann Moss"]


async def test_no_lookup_after_the_word_of_a_change_is_answered_with_what_was_before(
    both: Both, place: Directory
) -> None:
    answers = Heard()
    async with looking(both, answers) as lookups:
        for n in range(20):
            words = answers.words
            await hold(both.db, "crm", record("1", f"Ann N{n}", ANN))
            while answers.words == words:
                assert await names(lookups, place) in ([], [f"Ann N{n - 1}"], [f"Ann N{n}"])
            assert await names(lookups, place) == [f"Ann N{n}"]
        assert await last_asked(both.replica) is not None


async def test_without_the_standby_the_primary_answers_and_the_standby_is_come_back_to(
    both: Both, place: Directory
) -> None:
    await hold(both.db, "crm", record("1", "Ann Lee", ANN))
    async with looking(both) as lookups:
        await by_standby(both, lookups, place)
        both.pair.standby.kill()
        slowest = 0.0
        for n in range(20):
            began = time.monotonic()
            assert await names(lookups, place, f"{ANN}{'/' * n}") == ["Ann Lee"]
            slowest = max(slowest, time.monotonic() - began)
        assert slowest < 1.0
        assert lookups.state == "lookups are answered"
        both.pair.standby.start()
        await until(lambda: _reached(both.replica))
        await by_standby(both, lookups, place)


async def test_a_standby_that_hangs_is_waited_for_half_a_second(both: Both, place: Directory) -> None:
    await hold(both.db, "crm", record("1", "Ann Lee", ANN))
    async with looking(both) as lookups:
        await by_standby(both, lookups, place)
        frozen = both.pair.standby.freeze()
        try:
            times = []
            for n in range(5):
                began = time.monotonic()
                assert await names(lookups, place, f"{ANN}{'/' * n}") == ["Ann Lee"]
                times.append(time.monotonic() - began)
            assert max(times) < 1.2
            assert times[-1] < 0.3
        finally:
            thaw(frozen)


async def test_without_the_primary_the_standby_answers_and_nothing_is_kept(both: Both, place: Directory) -> None:
    await hold(both.db, "crm", record("1", "Ann Lee", ANN))
    answers = Answers()
    async with looking(both, answers) as lookups:
        await until(both.caught_up)
        assert await names(lookups, place) == ["Ann Lee"]
        both.pair.primary.kill()
        began = time.monotonic()
        await until(lambda: not answers.live)
        await until(lambda: lookups.state.startswith("lookups are answered by the replica alone: "))
        assert time.monotonic() - began < 5
        assert await names(lookups, place) == ["Ann Lee"]
        assert lookups.remembered(place, ANN) is None
        assert lookups.reason == ""
        both.pair.primary.start()
        await until(lambda: answers.live)
        await until(lambda: lookups.state == "lookups are answered")
        await hold(both.db, "crm", record("1", "Ann Low", ANN))
        await until(lambda: _is(lookups, place, ["Ann Low"]))


async def _is(lookups: Lookups, place: Directory, want: list[str]) -> bool:
    return await names(lookups, place) == want


# The whole daemon


async def test_a_daemon_goes_on_when_the_primary_dies_and_the_standby_is_promoted(tmp_path: Path) -> None:
    manager = Manager(KEY)
    people = {n: f"Person N{n}" for n in range(300)}
    with cluster(synchronous=True) as pair:
        async with manager.serve() as url, _daemon(tmp_path, url, pair, people) as daemon:
            await until(lambda: len(manager.book()) >= 40, why="pushes are under way")
            pids = daemon.child("answer"), daemon.child("worker")
            pair.primary.kill()
            assert await _contacts(pair.standby.dsn) == len(people)  # pushes began after the commit
            assert await daemon.names(number(7)) == ["Person N7"]
            pair.standby.promote()
            people |= {n: f"Other N{n}" for n in range(20)}
            daemon.write(people)
            await until(lambda: manager.book() == book(people.items()), 40, "the Manager has what the source has")
            assert manager.duplicates() == []
            assert await daemon.names(number(7)) == ["Other N7"]
            assert (daemon.child("answer"), daemon.child("worker")) == pids


@contextlib.asynccontextmanager
async def _daemon(home: Path, manager: str, pair: Cluster, people: dict[int, str]) -> AsyncIterator[Daemon]:
    """A daemon that writes to the primary and looks up at the standby."""
    daemon = Daemon(home, manager, pair.url)
    daemon.configure(f'[database]\nurl = "{pair.url}"\nreplica = "{pair.url}"\n')
    daemon.write(people)
    try:
        await daemon.start()
        await daemon.ready()
        yield daemon
    except BaseException:
        print(daemon.text())  # shown beside the test that failed
        raise
    finally:
        await daemon.end()


async def _contacts(dsn: str) -> int:
    one = Store(dsn, standby=True)
    try:
        return int(await one.value("select count(*) from contact"))
    finally:
        await one.close()
