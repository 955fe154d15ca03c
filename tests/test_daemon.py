"""The daemon's processes: each may die at any time, and contacts still flow and numbers are still answered."""

from __future__ import annotations

import asyncio
import fcntl
import os
import random
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from commands import free_port, full_pipe
from daemons import KEY, TOKEN, Daemon, alive, book, kill_all, number, postgres_of, running, until

from bridge import asks, errors
from bridge.demo.manager import Manager
from bridge.store import Store

PEOPLE = {0: "Ann Lee", 1: "Bob Ray"}
MORE = {**PEOPLE, 2: "Cem Oz"}


@pytest.fixture
async def manager() -> Manager:
    return Manager(key=KEY)


@pytest.fixture
async def url(manager: Manager) -> AsyncIterator[str]:
    async with manager.serve() as url:
        yield url


@pytest.fixture
async def daemon(tmp_path: Path, url: str, dsn: str) -> AsyncIterator[Daemon]:
    """One that runs on a database of this test's own, and has brought `PEOPLE` to the Manager."""
    async with running(tmp_path, url, dsn, PEOPLE) as one:
        yield one
        assert KEY not in one.text()
        assert one.token not in one.text()


async def holds(manager: Manager, people: dict[int, str], within: float = 20.0) -> None:
    """The Manager comes to hold exactly these, each once."""
    await until(lambda: manager.book() == book(people.items()), within, f"the Manager holds all {len(people)}")
    assert manager.duplicates() == []


async def test_contacts_flow_and_numbers_are_answered(daemon: Daemon, manager: Manager) -> None:
    await holds(manager, PEOPLE)
    assert await daemon.names(number(1)) == ["Bob Ray"]
    daemon.write({1: "Bob Low", 2: "Cem Oz"})
    await holds(manager, {1: "Bob Low", 2: "Cem Oz"})
    assert [await daemon.names(number(n)) for n in range(3)] == [[], ["Bob Low"], ["Cem Oz"]]


async def test_nothing_waits_for_a_log_that_nobody_reads(tmp_path: Path, url: str, dsn: str, manager: Manager) -> None:
    """As where the journal hangs: the pipe is full from the first line on."""
    daemon = Daemon(tmp_path, url, dsn)
    daemon.write(PEOPLE)
    with full_pipe() as nobody:
        try:
            await daemon.start(log=nobody)
            await daemon.ready()
            await holds(manager, PEOPLE)
            children = daemon.children()
            async with daemon.asked_all_the_time(number(0)) as asked:
                for n in range(3):
                    daemon.write({**PEOPLE, 2 + n: "Cem Oz"})
                    await holds(manager, {**PEOPLE, 2 + n: "Cem Oz"})
                daemon.configure("[metrics]\nunknown = 1\n")
                daemon.signal(signal.SIGHUP)  # each process has something to say
                await asyncio.sleep(1.0)
            assert (asked.statuses, asked.broken) == ({200}, [])
            assert daemon.children() == children
            code, seconds = await daemon.stop()
            assert code == 0
            assert seconds < 6, "each ends by itself"
        finally:
            await daemon.end()


async def test_worker_killed(daemon: Daemon, manager: Manager) -> None:
    await holds(manager, PEOPLE)
    async with daemon.asked_all_the_time(number(0)) as asked:
        await daemon.kill("worker")
        daemon.write(MORE)
        await holds(manager, MORE)
    assert (asked.statuses, asked.broken) == ({200}, [])
    assert {found[0]["name"] for _, found in asked.answers} == {"Ann Lee"}


async def test_answering_process_killed(daemon: Daemon, manager: Manager) -> None:
    await holds(manager, PEOPLE)
    worker = daemon.child("worker")
    async with daemon.asked_all_the_time(number(0)) as asked:
        await asyncio.sleep(0.2)
        await daemon.kill("answer")
        before = len(asked.answers)
        daemon.write(MORE)
        await holds(manager, MORE)
        await until(lambda: len(asked.answers) > before + 5, why="it answers again")
    assert (asked.statuses, asked.refused) == ({200}, [])
    assert len(asked.broken) <= 1, "only what it was answering when it died is lost"
    assert daemon.child("worker") == worker
    assert await daemon.names(number(2)) == ["Cem Oz"]


async def test_keeper_killed(daemon: Daemon, manager: Manager) -> None:
    await holds(manager, PEOPLE)
    children = daemon.children()
    assert len(children) == 2
    daemon.signal(signal.SIGKILL)
    assert await daemon.ended() == -signal.SIGKILL
    await until(lambda: not any(map(alive, children)), 8, "the children end by themselves")
    daemon.write(MORE)
    await daemon.start()
    await daemon.ready()
    await holds(manager, MORE)


async def test_worker_killed_again_and_again_while_it_delivers(daemon: Daemon, manager: Manager) -> None:
    await holds(manager, PEOPLE)
    crowd = {n: f"Person N{n}" for n in range(300)}
    manager.faults.set("answer_lost_after_apply", chance=0.05)
    manager.faults.set("slow", seconds=0.01)
    daemon.write(crowd)
    dice = random.Random(1)
    for _ in range(3):
        held = len(manager.entries())
        await until(lambda held=held: len(manager.entries()) > held + 10 or len(manager.entries()) >= 300, 30)
        await asyncio.sleep(dice.random() * 0.1)
        await daemon.kill("worker")
    await holds(manager, crowd, 60)


async def test_a_bad_configuration_keeps_the_old_one_and_says_why(daemon: Daemon, manager: Manager) -> None:
    await holds(manager, PEOPLE)
    good = daemon.config.read_text()
    daemon.config.write_text(good.replace("every", "evry"))
    daemon.signal(signal.SIGHUP)
    said = await until(lambda: len(daemon.log("config.refused")) == 2 and daemon.log("config.refused"))
    assert all("every" in one["problems"][0] and "evry" in one["problems"][0] for one in said)
    daemon.write(MORE)
    await holds(manager, MORE)
    assert (await daemon.lookup(number(0)))[0] == 200


async def test_a_good_configuration_takes_effect(daemon: Daemon, manager: Manager) -> None:
    await holds(manager, PEOPLE)
    daemon.write({0: "Ann Other", 5: "Eva Fox"}, "office.txt")
    daemon.configure(token="lookup-token-2", more='[source.office]\ntype = "file"\npath = "office.txt"\nevery = "1s"\n')
    children = daemon.children()
    daemon.signal(signal.SIGHUP)
    await until(daemon.answers, why="the new token is taken")
    assert (await daemon.lookup(number(0), TOKEN))[0] == 401
    await holds(manager, {**PEOPLE, 5: "Eva Fox"})
    assert await daemon.names(number(0)) == ["Ann Lee", "Ann Other"]
    assert daemon.children() == children


async def test_the_end_comes_soon_and_leaves_nothing(tmp_path: Path, url: str, manager: Manager) -> None:
    """On an embedded database, in the middle of work that hangs."""
    async with running(tmp_path, url, "embedded", PEOPLE) as daemon:
        await holds(manager, PEOPLE)
        manager.faults.set("hang", seconds=30)
        daemon.write(MORE)
        await until(lambda: manager.counts["fault.hang"], why="a push hangs")
        assert postgres_of(daemon.state) != []
        code, seconds = await daemon.stop()
        assert code == 0
        assert seconds < 10
        assert postgres_of(daemon.state) == []
        assert [one for one in daemon.log() if one.get("level") == "error"] == []
        # What it did not finish, the next one does.
        manager.faults.clear()
        await daemon.start()
        await daemon.ready()
        await holds(manager, MORE)
        assert await daemon.names(number(2)) == ["Cem Oz"]


async def test_the_end_comes_soon_without_a_database(tmp_path: Path, url: str) -> None:
    nowhere = f"postgresql://bridge:database-password@127.0.0.1:{free_port()}/bridge"
    daemon = Daemon(tmp_path, url, nowhere)
    daemon.write(PEOPLE)
    try:
        await daemon.start()
        await until(lambda: daemon.log("migrate.interrupted"), why="the worker has met no database")
        status, said = await daemon.lookup(number(0))
        assert (status, list(said)) == (503, ["error"])
        code, seconds = await daemon.stop()
        assert code == 0
        assert seconds < 5
        assert "database-password" not in daemon.text()
    finally:
        await daemon.end()


async def test_the_end_comes_soon_though_everything_is_frozen(tmp_path: Path, url: str, manager: Manager) -> None:
    async with running(tmp_path, url, "embedded", PEOPLE) as daemon:
        await holds(manager, PEOPLE)
        for pid in [*daemon.children(), *postgres_of(daemon.state)]:
            os.kill(pid, signal.SIGSTOP)
        code, seconds = await daemon.stop()
        assert (code, len(daemon.log("process.late"))) == (0, 2)
        assert seconds < 10
        kill_all(postgres_of(daemon.state))
        await daemon.start()
        await daemon.ready()
        assert await daemon.names(number(0)) == [PEOPLE[0]]


async def test_the_end_comes_soon_while_the_database_starts(tmp_path: Path, url: str) -> None:
    daemon = Daemon(tmp_path, url)
    (daemon.state / "postgres").mkdir(parents=True)
    try:
        with (daemon.state / "postgres" / "start.lock").open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            await daemon.start()
            await until(lambda: len(os.listdir(f"/proc/{daemon.pid}/task")) > 1, why="it waits in its thread")
            daemon.signal(signal.SIGHUP)
            await asyncio.sleep(0.3)
            assert alive(daemon.pid)
            code, seconds = await daemon.stop()
        assert code == 0
        assert seconds < 5
    finally:
        await daemon.end()


async def test_embedded_database_killed(tmp_path: Path, url: str, manager: Manager) -> None:
    async with running(tmp_path, url, "embedded", PEOPLE) as daemon:
        await holds(manager, PEOPLE)
        async with daemon.asked_all_the_time(number(0)) as asked:
            kill_all(postgres_of(daemon.state))
            await until(lambda: 503 in asked.statuses, why="lookups say that they wait")
            await until(lambda: asked.answers[-1][0] == 200, 30, "lookups are answered again")
        assert (asked.statuses, asked.broken) == ({200, 503}, [])
        assert {tuple(said) for status, said in asked.answers if status == 503} == {("error",)}
        daemon.write(MORE)
        await holds(manager, MORE)


async def test_power_cut(tmp_path: Path, url: str, manager: Manager) -> None:
    """All processes die at once in the middle of work, those of the embedded database, too."""
    crowd = {n: f"Person N{n}" for n in range(300)}
    manager.faults.set("slow", seconds=0.01)
    async with running(tmp_path, url, "embedded", crowd) as daemon:
        await until(lambda: len(manager.entries()) > 50, why="some are there")
        kill_all([daemon.pid, *daemon.children(), *postgres_of(daemon.state)])
        await daemon.ended()
        assert len(manager.entries()) < 300
        await daemon.start()
        await daemon.ready()
        await holds(manager, crowd, 40)


async def test_a_second_daemon_says_what_is_in_its_way(daemon: Daemon, manager: Manager, url: str, dsn: str) -> None:
    (daemon.home / "second").mkdir()
    second = Daemon(daemon.home / "second", url, dsn)
    second.http = daemon.http
    try:
        await second.start()
        assert await second.ended() == 1
        assert "127.0.0.1:" + str(daemon.http) in second.log("daemon.failed")[0]["reason"]
    finally:
        await second.end()
    await holds(manager, PEOPLE)


async def test_two_daemons_share_the_work_and_one_takes_over(tmp_path: Path, url: str, manager: Manager) -> None:
    """On one state directory, with ports of their own: the embedded database stays while either lives."""
    async with running(tmp_path, url, "embedded", PEOPLE) as first:
        second = Daemon(tmp_path, url, "embedded")
        try:
            await second.start()
            await second.ready()
            await holds(manager, PEOPLE)
            assert (await first.stop())[0] == 0
            second.write(MORE)
            await holds(manager, MORE)
            assert await second.names(number(2)) == ["Cem Oz"]
            assert (await second.stop())[0] == 0
            assert postgres_of(second.state) == []
        finally:
            await second.end()


async def test_a_command_has_the_daemon_do_the_run(daemon: Daemon, manager: Manager, dsn: str) -> None:
    await holds(manager, PEOPLE)
    db = Store(dsn)
    try:
        await until(lambda: asks.daemon_works(db), why="the worker listens")
        daemon.write(MORE)
        said = [one async for one in asks.ask(db, asks.Request("default", full=True))]
    finally:
        await db.close()
    [report] = [one for one in said if one["event"] == "source"]
    assert (report["read"], report["error"]) == (3, "")
    assert said[-1] == {"event": "end", "undelivered": {}}
    assert manager.book() == book(MORE.items())
    assert len(daemon.log("sync.asked")) == 1


async def test_a_command_is_told_when_the_daemon_goes_away(daemon: Daemon, manager: Manager, dsn: str) -> None:
    await holds(manager, PEOPLE)
    manager.faults.set("hang", seconds=30)
    daemon.write(MORE)
    db = Store(dsn)

    async def follow() -> None:
        async for said in asks.ask(db, asks.Request("default")):
            if said["event"] == "sinks":
                daemon.signal(signal.SIGTERM)

    try:
        await until(lambda: asks.daemon_works(db), why="the worker listens")
        async with asyncio.timeout(20):
            with pytest.raises(errors.Unavailable, match="the daemon went away"):
                await follow()
    finally:
        await db.close()


async def test_a_newer_database_ends_the_daemon_and_says_why(tmp_path: Path, url: str, dsn: str) -> None:
    db = Store(dsn)
    await db.execute("update schema_version set version = 99")
    await db.close()
    daemon = Daemon(tmp_path, url, dsn)
    daemon.write(PEOPLE)
    try:
        await daemon.start()
        assert await daemon.ended(20) == 1
        assert "run the newer bridge that made it" in daemon.log("worker.failed")[0]["reason"]
    finally:
        await daemon.end()


async def test_killed_beside_a_bad_configuration(daemon: Daemon, manager: Manager) -> None:
    """What is killed while the file is wrong says why it does not come back, and comes back when the file is right."""
    await holds(manager, PEOPLE)
    good = daemon.config.read_text()
    daemon.config.write_text(good.replace("every", "evry"))
    os.kill(daemon.child("worker") or 0, signal.SIGKILL)
    await until(lambda: daemon.log("config.refused"), why="it says what is wrong")
    assert "Traceback" not in daemon.text()
    assert await daemon.names(number(0)) == ["Ann Lee"]
    daemon.config.write_text(good)
    daemon.write(MORE)
    await holds(manager, MORE, 40)


async def test_a_command_asks_for_a_source_that_the_daemon_does_not_know(
    daemon: Daemon, manager: Manager, dsn: str
) -> None:
    await holds(manager, PEOPLE)
    worker = daemon.child("worker")
    db = Store(dsn)
    try:
        await until(lambda: asks.daemon_works(db), why="the worker listens")
        with pytest.raises(errors.Unavailable, match="reload it"):
            [_ async for _ in asks.ask(db, asks.Request("default", ("new",)))]
    finally:
        await db.close()
    daemon.write(MORE)
    await holds(manager, MORE)
    assert daemon.child("worker") == worker
