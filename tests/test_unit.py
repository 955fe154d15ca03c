"""What one process does for many tenants: what is slow, fails or changes in one is that one's alone."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web
from daemons import until
from structlog.testing import capture_logs

from bridge import claims, config, deliveries, outbox, store, unit
from bridge.config import Config
from bridge.demo.manager import Manager
from bridge.slots import Limits, Slots, Waiting
from bridge.store import Store
from bridge.unit import Unit

MAIN = 'region = "LU"\ntenants = "tenants/*.toml"\n'
FILE = '[source.book]\ntype = "file"\npath = "{name}.txt"\nevery = "1s"\n'
SLOW = '[source.book]\ntype = "phonebook"\nurl = "{url}"\nevery = "1s"\ntimeout = "60s"\n'
SINK = '[sink.pbx]\ntype = "ccm"\nurl = "{url}"\nsecurity_key = "manager-key-1"\nrate = 2000\ntimeout = "60s"\n'


class Folder:
    """A bridge.toml with tenants in files, and their books."""

    def __init__(self, home: Path) -> None:
        self.home = home
        (home / "tenants").mkdir()
        self._write(home / "bridge.toml", MAIN)

    def _write(self, path: Path, text: str) -> None:
        path.touch(0o600)
        path.write_text(text)

    def tenant(self, name: str, text: str = FILE, number: str = "+352621100001") -> None:
        self._write(self.home / "tenants" / f"{name}.toml", text.format(name=name))
        self._write(self.home / "tenants" / f"{name}.txt", f"{number}:Ann {name}:\n")

    def remove(self, name: str) -> None:
        (self.home / "tenants" / f"{name}.toml").unlink()

    def load(self) -> Config:
        return config.load(self.home / "bridge.toml")


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.fixture
async def own(dsn: str, db: Store) -> AsyncIterator[Store]:
    """The database as one process has it; `db` has made the tables."""
    made = Store(dsn, size=8, name=claims.name("worker"))
    yield made
    await made.close()


@contextlib.asynccontextmanager
async def working(db: Store, told: Config) -> AsyncIterator[Unit]:
    unit = Unit(db, told)
    task = asyncio.create_task(unit.run())
    try:
        yield unit
        assert not task.done(), task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@contextlib.asynccontextmanager
async def hanging() -> AsyncIterator[tuple[str, Counter[str]]]:
    """A server that takes every request and answers none; and how often it was asked for which path."""
    asked: Counter[str] = Counter()
    over = asyncio.Event()

    async def hang(request: web.Request) -> web.Response:
        asked[request.path] += 1
        await over.wait()
        return web.Response(status=500)

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", hang)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", asked
    finally:
        over.set()
        await runner.cleanup()


@pytest.fixture
async def other(dsn: str, db: Store) -> AsyncIterator[Store]:
    """The database as another process has it."""
    made = Store(dsn, size=8, name=claims.name("worker"))
    yield made
    await made.close()


@dataclass
class Two:
    """Two processes: `owner` works for the tenant `a` until it is ended, the other one for the main tenant."""

    manager: Manager
    owner: Unit
    idle: Unit
    end_owner: Callable[[], Awaitable[None]]

    async def holds(self, number: str) -> None:
        await until(lambda: list(self.manager.book()) == [number], 20, f"the Manager holds {number}")


@pytest.fixture
async def two(
    folder: Folder, own: Store, other: Store, db: Store, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Two]:
    monkeypatch.setattr(claims, "_BEAT", 0.2)
    monkeypatch.setattr(unit, "_AGREED", 0.3)
    manager = Manager(key="manager-key-1")
    async with manager.serve() as url, contextlib.AsyncExitStack() as ended:
        folder.tenant("a", FILE + SINK.replace("{url}", url))
        owner = await ended.enter_async_context(working(own, folder.load()))
        await until(lambda: len(owner.mine) == 2, 20)
        async with working(other, folder.load()) as idle:
            await until(lambda: (owner.mine.keys(), idle.mine.keys()) == ({"a"}, {"default"}), 20)
            made = Two(manager, owner, idle, ended.aclose)
            await made.holds("352621100001")
            folder.tenant("a", FILE + SINK.replace("{url}", url) + 'numbers = "zeros"\n')
            yield made


async def read(db: Store) -> Mapping[str, int]:
    """How many runs each tenant's source had."""
    return {
        row["tenant"]: row["n"]
        for row in await db.fetch("select tenant, count(*)::int as n from run where error = '' group by tenant")
    }


async def test_tenants_that_hang_starve_nobody(folder: Folder, own: Store, db: Store) -> None:
    async with hanging() as (url, asked):
        for n in range(30):
            folder.tenant(f"slow{n}", SLOW.replace("{url}", f"{url}/{n}"))
        for n in range(10):
            folder.tenant(f"good{n}")
        async with working(own, folder.load()):

            async def all_good_twice() -> bool:
                return Counter({f"good{n}": 2 for n in range(10)}) <= Counter(await read(db))

            await until(all_good_twice, 20, "those that work are read again and again")
            assert 0 < len(asked) <= 4, "one host is asked by a few at a time"


async def test_sinks_that_hang_starve_nobody(folder: Folder, own: Store, db: Store) -> None:
    manager = Manager(key="manager-key-1")
    async with hanging() as (url, asked), manager.serve() as good:
        for n in range(20):
            folder.tenant(f"slow{n}", FILE + SINK.replace("{url}", f"{url}/{n}"))
        folder.tenant("good", FILE + SINK.replace("{url}", good))
        async with working(own, folder.load()):
            await until(lambda: len(manager.entries()) == 1 and len(asked) > 3, 20, "it gets its entry")
            folder.tenant("good", FILE + SINK.replace("{url}", good), "+352621100002")
            await until(lambda: list(manager.book()) == ["352621100002"], 20, "and its changes")


async def test_sinks_that_have_all_make_room_for_those_that_wait(
    folder: Folder, own: Store, db: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "_LINGER", 3600.0)
    manager = Manager(key="manager-key-1")
    async with manager.serve() as url:
        for n in range(40):
            folder.tenant(f"t{n}", FILE + SINK.replace("{url}", url), f"+3526211{n:05}")
        async with working(own, folder.load()):
            await until(lambda: len(manager.entries()) == 40, 25, "of one host a few at a time")


async def test_one_tenant_changes_and_the_others_go_on(folder: Folder, own: Store, db: Store) -> None:
    async with hanging() as (url, asked):
        folder.tenant("slow", SLOW.replace("{url}", f"{url}/slow"))
        folder.tenant("a")
        folder.tenant("gone")
        async with working(own, folder.load()) as unit:
            await until(lambda: asked["/slow"] == 1, 10)

            async def each_read() -> bool:
                return {"a", "gone"} <= (await read(db)).keys()

            await until(each_read, 10)
            folder.tenant("a", FILE.replace("book", "other"))
            folder.tenant("new")
            folder.remove("gone")
            await unit.reload(folder.load())
            assert unit.mine.keys() == {"default", "slow", "a", "new"}

            async def as_told() -> bool:
                rows = await db.fetch("select tenant, name from source where rank <> 32767 and read_at is not null")
                return {(row["tenant"], row["name"]) for row in rows} == {("a", "other"), ("new", "book")}

            await until(as_told, 10, "the new ones are read")
            runs = (await read(db))["gone"]
            await asyncio.sleep(1.5)
            assert (await read(db))["gone"] == runs
            assert asked["/slow"] == 1, "the one that was under way still is"
            assert await db.value("select daemon from owner where tenant = 'gone'") is None


async def nothing_waits(db: Store) -> bool:
    return not await db.value(outbox.SQL["waiting"], "a", "pbx")


async def test_a_new_spelling_arrives_whoever_loads_it_first(two: Two, folder: Folder, db: Store) -> None:
    await two.idle.reload(folder.load())
    await until(lambda: nothing_waits(db), 20)
    await two.holds("352621100001")
    told = len(two.manager.calls)
    await two.owner.reload(folder.load())
    await two.holds("00352621100001")
    assert len(two.manager.calls) == told + 1


async def test_who_comes_to_work_for_a_tenant_spells_it_as_it_is_told(two: Two, folder: Folder, db: Store) -> None:
    await two.idle.reload(folder.load())
    await until(lambda: nothing_waits(db), 20)
    await two.end_owner()
    await two.holds("00352621100001")


async def test_that_another_works_by_another_configuration_is_said_once(two: Two, folder: Folder) -> None:
    def said() -> list[tuple[object, ...]]:
        found = [one for one in logged if one["event"] == "config.differs"]
        return [(one["sinks"], one["tenant"], one["sink"]) for one in found]

    with capture_logs() as logged:
        await two.idle.reload(folder.load())
        await until(said, 20)
        await asyncio.sleep(1.0)
        assert said() == [(1, "a", "pbx")]
        logged.clear()
        await two.owner.reload(folder.load())
        await two.holds("00352621100001")
        await two.idle.reload(folder.load())
        await asyncio.sleep(0.6)
        assert said() == []


async def test_tenants_come_and_go_while_a_reload_waits_for_the_database(
    two: Two, folder: Folder, db: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever keeps the owner's claims from their turn keeps it from beating, and others take it for dead."""
    monkeypatch.setattr(claims, "_UNWANTED", 0.5)
    two.idle.claims.wanted = set()
    async with db.session() as busy:
        async with busy.transaction():
            await busy.execute("update source set rank = rank where tenant = 'a'")
            loading = asyncio.create_task(two.owner.reload(folder.load()))
            await until(lambda: "default" in two.owner.mine, 20, "it takes up the other's")
            assert not loading.done()
            assert "a" not in two.owner.mine
        await loading
        assert two.owner.mine.keys() == {"a", "default"}
        await two.holds("00352621100001")


async def test_a_reload_waits_for_no_sink(two: Two, folder: Folder, db: Store) -> None:
    """What it should hold now may take long to find out for one, and there may be thousands."""
    async with db.session() as busy:
        async with busy.transaction():
            await busy.execute("select pg_advisory_xact_lock($1)", store.lock_key("commit", "a"))
            async with asyncio.timeout(10):
                await two.owner.reload(folder.load())
            assert "a" in two.owner.mine
        await two.holds("00352621100001")


async def test_nothing_begins_for_a_tenant_that_is_being_let_go(folder: Folder, own: Store, db: Store) -> None:
    """While what is under way is waited for, what becomes due is left to whoever has the tenant next."""
    sinks = "".join(SINK.replace("60s", "2s").replace("pbx", name) for name in ("busy", "more"))
    sinks = sinks.replace("{url}", "{url}/busy", 1).replace('"{url}"', '"{url}/more"')
    async with hanging() as (before, asked), hanging() as (after, asked_after):
        folder.tenant("a", FILE + sinks.replace("{url}", before))
        await db.execute("insert into sink (tenant, name, due_at) values ('a', 'more', now() + interval '1 hour')")
        async with working(own, folder.load()) as unit:
            await until(lambda: asked["/busy"], 20)
            folder.tenant("a", FILE + sinks.replace("{url}", after))
            loading = asyncio.create_task(unit.reload(folder.load()))
            await asyncio.sleep(0.1)
            await db.execute("update sink set due_at = null where name = 'more'")
            await until(lambda: asked_after["/more"], 20)
            await loading
    assert asked["/more"] == 0


async def test_a_source_is_read_every_so_often(folder: Folder, own: Store, db: Store) -> None:
    folder.tenant("a")
    async with working(own, folder.load()):
        began = time.monotonic()

        async def some() -> bool:
            return (await read(db)).get("a", 0) >= 3

        await until(some, 20)
        assert (await read(db))["a"] <= time.monotonic() - began + 2


def test_no_tenant_host_or_pace_gets_all_the_room() -> None:
    slots = Slots(Limits(total=6, tenant=2, host=3, slow=1))
    slots.enter(("a", "1"), "x", slow=False)
    slots.enter(("a", "2"), "x", slow=True)
    assert not slots.room(("a", "3"), "y", slow=False)
    assert slots.room(("b", "1"), "x", slow=False)
    assert not slots.room(("b", "1"), "x", slow=True)
    slots.enter(("b", "1"), "x", slow=False)
    assert slots.crowded("x")
    assert slots.crowds() == ({"a"}, {"x"})
    assert not slots.crowded("")
    for n in range(3):
        slots.enter(("c", str(n)), "", slow=False)
    assert slots.full
    slots.leave(("a", "2"))
    assert slots.room(("b", "2"), "x", slow=True)


def test_who_waits_longest_is_next_and_hosts_take_turns() -> None:
    slots, waiting = Slots(Limits(total=4, tenant=9, host=2, slow=1)), Waiting()
    assert not waiting
    many = {("a", str(n)): ("x", False) for n in range(5)}
    waiting.renew(many)
    waiting.renew({("s", "1"): ("y", True), ("s", "2"): ("z", True), ("b", "1"): ("y", False), **many})

    def begun() -> list[str]:
        found = []
        while one := waiting.next(slots):
            key, host, slow = one
            slots.enter(key, host, slow=slow)
            found.append("".join(key))
        return found

    assert begun() == ["a0", "s1", "b1", "a1"], "one slow, two of a host"
    slots.leave(("a", "0"))
    slots.leave(("s", "1"))
    assert begun() == ["s2", "a2"], "x had its turn before z"
    waiting.renew({("a", "4"): ("x", False), ("a", "3"): ("x", False)})
    slots.leave(("a", "1"))
    assert begun() == ["a3"], "in the order in which they came"
    waiting.renew({})
    assert not waiting
