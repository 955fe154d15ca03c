"""Several daemons on one database: any may be killed or frozen; another goes on, and none harms."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from commands import bridge
from daemons import KEY, Daemon, book, number, running, until

from bridge.demo.manager import Manager
from bridge.store import Store

PEOPLE = {0: "Ann Lee", 1: "Bob Ray"}
CROWD = {n: f"Person N{n}" for n in range(200)}
SHARED = "select tenant, daemon from owner order by tenant"
WITHIN = 30.0


@pytest.fixture
async def manager() -> Manager:
    return Manager(key=KEY)


@pytest.fixture
async def url(manager: Manager) -> AsyncIterator[str]:
    async with manager.serve() as url:
        yield url


async def holds(manager: Manager, people: dict[int, str], within: float = WITHIN) -> None:
    """The Manager comes to hold exactly these, each once."""
    await until(lambda: manager.book() == book(people.items()), within, f"the Manager holds all {len(people)}")
    assert manager.duplicates() == []


@asynccontextmanager
async def two(home: Path, url: str, dsn: str) -> AsyncIterator[tuple[Daemon, Daemon]]:
    """Two daemons of one configuration; the first one works for the only tenant, the second stands by."""
    async with running(home, url, dsn, PEOPLE) as first:
        await until(lambda: first.child("worker"))
        second = Daemon(home, url, dsn)
        try:
            await second.start()
            await second.ready()
            yield first, second
        except BaseException:
            print(second.text())
            raise
        finally:
            await second.end()


def processes(daemon: Daemon) -> list[int]:
    return [daemon.pid, *daemon.children()]


def send(daemon: Daemon, order: int) -> None:
    for pid in processes(daemon):
        os.kill(pid, order)


async def owner(db: Store) -> str:
    """Who works for the only tenant."""
    return str(await db.value("select daemon from owner"))


async def test_the_frozen_one_is_replaced_and_does_no_harm_when_it_comes_back(
    tmp_path: Path, url: str, manager: Manager, dsn: str, db: Store
) -> None:
    """Frozen as a whole while it pushes, in the middle of whatever it did; the other cannot know that it lives."""
    async with two(tmp_path, url, dsn) as (first, second):
        await holds(manager, PEOPLE)
        before = await owner(db)
        manager.faults.set("slow", seconds=0.02)
        first.write(CROWD)
        await until(lambda: len(manager.entries()) > 60, 20, "it is pushing")
        send(first, signal.SIGSTOP)
        frozen = time.monotonic()
        try:
            await until(lambda: _changed(db, before), WITHIN, "the tenant is the other's")
            assert time.monotonic() - frozen < WITHIN
            await holds(manager, CROWD)
            assert await second.names(number(150)) == ["Person N150"]
            told = len(manager.calls)
        finally:
            send(first, signal.SIGCONT)
        await until(
            lambda: first.log("daemon.taken_for_dead") or first.log("process.frozen"), WITHIN, "it learns of it"
        )
        await asyncio.sleep(1.0)
        assert len(manager.calls) == told, "it pushes nothing that it was about to push"
        changed = {**CROWD, 0: "Ann Low", 500: "New One"}
        second.write(changed)
        await holds(manager, changed)


async def _changed(db: Store, before: str) -> bool:
    return await owner(db) not in (before, "None")


async def test_the_killed_one_is_replaced(tmp_path: Path, url: str, manager: Manager, dsn: str) -> None:
    async with two(tmp_path, url, dsn) as (first, second):
        manager.faults.set("slow", seconds=0.02)
        first.write(CROWD)
        await until(lambda: len(manager.entries()) > 30, 20, "it is pushing")
        send(first, signal.SIGKILL)
        await first.ended()
        await holds(manager, CROWD)
        assert await second.names(number(7)) == ["Person N7"]


async def test_tenants_are_shared_out(tmp_path: Path, url: str, manager: Manager, dsn: str, db: Store) -> None:
    """Each is run by one; who comes gets a share, and who goes gives it back."""
    (tmp_path / "tenants").mkdir()
    for name in "abc":
        (tmp_path / "tenants" / f"{name}.toml").write_text(
            'region = "LU"\n[source.staff]\ntype = "file"\npath = "staff.txt"\nevery = "1s"\n'
        )
        (tmp_path / "tenants" / f"{name}.toml").chmod(0o600)
    (tmp_path / "tenants" / "staff.txt").write_text(f"+{number(5)}:Five Fifth:\n")
    first = Daemon(tmp_path, url, dsn)
    first.write(PEOPLE)
    second = Daemon(tmp_path, url, dsn)
    second.config.write_text(f'tenants = "tenants/*.toml"\n{second.config.read_text()}')
    try:
        await first.start()
        await first.ready()
        await until(lambda: _shares(db, [4]), why="the first has all")
        await second.start()
        await until(lambda: _shares(db, [2, 2]), WITHIN, "each has its share")
        assert await db.value("select count(distinct tenant) from source where read_at is not null") == 4
        assert (await second.stop())[0] == 0
        await until(lambda: _shares(db, [4]), WITHIN, "the first has all again")
    finally:
        await first.end()
        await second.end()


async def _shares(db: Store, wanted: list[int]) -> bool:
    rows = await db.fetch("select count(*)::int as n from owner where daemon is not null group by daemon order by 1")
    return [row["n"] for row in rows] == wanted


async def test_a_command_is_answered_by_the_one_that_works(
    tmp_path: Path, url: str, manager: Manager, dsn: str
) -> None:
    async with two(tmp_path, url, dsn) as (first, _):
        await holds(manager, PEOPLE)
        told = first.config.read_text().replace("[http]", f'[database]\nurl = "{dsn}"\n[http]', 1)
        config = tmp_path / "command.toml"
        config.touch(0o600)
        config.write_text(told)
        first.write({**PEOPLE, 2: "Cem Oz"})
        ran = await bridge(tmp_path, "sync", "--config", str(config), "--full", "--json")
        assert ran.code == 0, ran.err
        assert [one["source"] for one in ran.json["sources"]] == ["staff"]
        assert len(first.log("sync.asked")) == 1, "they share a log"
        await holds(manager, {**PEOPLE, 2: "Cem Oz"})
