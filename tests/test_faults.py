"""What goes wrong between a source, the database, the Manager and a telephone, by name, through the real parts.

A source that fails in any way changes nothing and says why; a Manager that fails ends exactly right; and no secret
comes out by way of any of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import structlog
from drainers import Nursery, kill, nursery
from listed import Listed, record
from mirrored import card
from msgspec.structs import replace
from served import TOKEN, serving

from bridge import approval, assembly, config, deliveries, health, log, lookup, outbox, pace, runs, sync
from bridge.contact import RawNumber, Record
from bridge.demo.dav import Book, DavServer
from bridge.demo.dav_faults import Fault
from bridge.demo.manager import Manager
from bridge.sources import Cursor, Known, Page
from bridge.store import Store
from bridge.unit import Unit

SECRETS = ("dav-password-1", "manager-key-1", TOKEN)
TOML = f"""
region = "LU"
[source.crm]
type = "carddav"
url = "{{dav}}"
username = "alice"
password = "dav-password-1"
timeout = "5s"
guard = {{{{ floor = 100000 }}}}
[source.office]
type = "file"
path = "office.json"
every = "1s"
guard = {{{{ floor = 100000 }}}}
[sink.pbx]
type = "ccm"
url = "{{manager}}"
security_key = "manager-key-1"
rate = 10000
timeout = "1s"
[connector]
token = "{TOKEN}"
"""
ANN, BOB, CEM, DEE = (f"35262100000{n}" for n in range(4))
BEFORE = {ANN: "Ann Lee", BOB: "Bob Ray", CEM: "Cem Oz"}
AFTER = {ANN: "Ann Low", BOB: "Bob Ray", DEE: "Dee Fox"}
CUT = """
select pg_terminate_backend(pid) from pg_stat_activity
where datname = current_database() and pid <> pg_backend_pid() and application_name = any($1)
"""


class Scene:
    """A CardDAV server and a file, a database, a Manager; and what the daemon does between them."""

    def __init__(self, db: Store, told: config.Config, dav: DavServer, manager: Manager) -> None:
        self.db, self.told, self.dav, self.manager = db, told, dav, manager
        self.tenant = told.tenants["default"]

    def fill(self, people: dict[str, str]) -> None:
        """These are who the address book has."""
        book = self.dav.books[0]
        for number in [name.removesuffix(".vcf") for name in book.cards]:
            if number not in people:
                book.delete(f"{number}.vcf")
        for number, name in people.items():
            made = card(name, f"+{number}", uid=number).encode()
            if book.cards.get(f"{number}.vcf") != made:
                book.put(f"{number}.vcf", made)

    def write(self, people: dict[str, str]) -> Path:
        """These are who the file has."""
        path = self.told.path.parent / "office.json"
        path.write_bytes(phone_book(people))
        return path

    async def run(self, name: str = "crm", *, full: bool = False) -> sync.Report | None:
        """One run as the daemon does it; None where it failed."""
        source = assembly.source(self.tenant, name)
        try:
            return await runs.run_logged(self.db, assembly.job(self.tenant, name), source, full=full)
        finally:
            await source.close()

    async def deliver(self, within: float = 30.0) -> None:
        """Drain the sink until nothing waits."""
        async with self.draining():
            await until(self.idle, within)

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

    async def idle(self) -> bool:
        return not await self.db.value(outbox.SQL["waiting"], "default", "pbx")

    def book(self) -> dict[str, str]:
        """What the Manager holds, each number once."""
        assert self.manager.duplicates() == []
        return {number: f"{first} {last}" for number, (first, last, _) in self.manager.book().items()}

    async def name(self, number: str) -> str:
        """Whom a telephone shows for that number."""
        found = orjson.loads(await lookup.answer_once(self.db, lookup.directory(self.tenant), number))
        return found[0]["name"] if found else ""

    async def state(self, source: str = "crm") -> Any:
        return await self.db.row(sync.SQL["source"], "default", source)


def phone_book(people: dict[str, str]) -> bytes:
    """SessionCloud JSON."""
    return orjson.dumps(
        [{"Id": number, "FirstName": name.split()[0], "LastName": name.split()[1], "MobileNumber": [f"+{number}"]}
         for number, name in people.items()]
    )  # fmt: skip


async def until(what: Callable[[], Awaitable[Any]], within: float = 20.0) -> None:
    async with asyncio.timeout(within):
        while not await what():
            await asyncio.sleep(0.02)


@pytest.fixture
def said() -> Iterator[io.StringIO]:
    """What is logged, in which no secret may stand; afterwards the log is as it was."""
    level, handlers = logging.getLogger().level, list(logging.getLogger().handlers)
    stream = io.StringIO()
    log.setup("json", stream, logging.DEBUG)
    log.hide(())  # what is not logged need not be struck out
    yield stream
    structlog.reset_defaults()
    logging.captureWarnings(False)
    logging.getLogger().setLevel(level)
    logging.getLogger().handlers[:] = handlers
    assert [secret for secret in SECRETS if secret in stream.getvalue()] == []


@pytest.fixture
async def scene(db: Store, tmp_path: Path, said: io.StringIO) -> AsyncIterator[Scene]:
    """`BEFORE` is in the address book, the database and the Manager."""
    manager = Manager(key="manager-key-1")
    dav = DavServer(Book(), password="dav-password-1")
    async with dav.serve() as dav_url, manager.serve() as manager_url:
        path = tmp_path / "bridge.toml"
        path.touch(0o600)
        path.write_text(TOML.format(dav=dav_url, manager=manager_url))
        made = Scene(db, config.load(path), dav, manager)
        await assembly.enrol(db, made.told)
        made.fill(BEFORE)
        assert (await made.run()) is not None
        await made.deliver()
        assert made.book() == BEFORE
        yield made


@pytest.fixture
def born() -> Iterator[Nursery]:
    with nursery() as started:
        yield started


# Sources


async def fails(scene: Scene, fault: Fault, why: str) -> None:
    """Under this fault runs of both kinds change nothing and say why; without it the next one does it all."""
    before = await scene.state()
    scene.fill(AFTER)
    scene.dav.faults.add(fault)
    for full in (False, True):
        assert await scene.run(full=full) is None
        state = await scene.state()
        assert re.search(why, state["error"])
        assert (state["cursor"], state["contacts"]) == (before["cursor"], 3)
        assert [await scene.name(number) for number in (ANN, BOB, CEM, DEE)] == ["Ann Lee", "Bob Ray", "Cem Oz", ""]
    await scene.deliver()
    assert scene.book() == BEFORE
    assert state["failures"] == 2
    scene.dav.faults.clear()
    assert await scene.run() is not None
    state = await scene.state()
    assert (state["error"], state["failures"], state["denied"]) == ("", 0, False)
    await scene.deliver()
    assert scene.book() == AFTER


async def test_dav_cut_midway(scene: Scene) -> None:
    await fails(scene, "cut_midway", "127.0.0.1")


async def test_dav_html_200(scene: Scene) -> None:
    await fails(scene, "html_200", r"no address book found|not WebDAV")


async def test_dav_500(scene: Scene) -> None:
    await fails(scene, "status_500", "500")


async def test_dav_503(scene: Scene) -> None:
    await fails(scene, "status_503", "503")


async def test_dav_429(scene: Scene) -> None:
    await fails(scene, "status_429", "429")


async def test_dav_truncated_xml(scene: Scene) -> None:
    await fails(scene, "truncated_xml", "127.0.0.1")


async def test_dav_401(scene: Scene) -> None:
    await fails(scene, "status_401", "401")


async def test_dav_401_is_shown_as_denied_and_probed_once_a_minute(scene: Scene, said: io.StringIO) -> None:
    scene.dav.faults.add("status_401")
    await scene.run()
    state = await scene.state()
    assert state["denied"]
    assert pace.interval(1.0, state["failures"], denied=True) == 60.0
    assert [pace.interval(1.0, n, denied=True) for n in (2, 3, 5, 99)] == [120.0, 240.0, 900.0, 900.0]
    assert "run.denied" in said.getvalue()


async def test_dav_nobody_listens(scene: Scene, tmp_path: Path) -> None:
    text = scene.told.path.read_text()
    port = text.split("http://127.0.0.1:")[1].split('"')[0]
    scene.told.path.write_text(text.replace(f":{port}", ":1", 1))
    scene.tenant = config.load(scene.told.path).tenants["default"]
    assert await scene.run() is None
    assert "127.0.0.1" in (await scene.state())["error"]
    assert await scene.name(ANN) == "Ann Lee"


async def test_dav_empty(scene: Scene, said: io.StringIO) -> None:
    """A book that suddenly lists nobody is held, however few there were; and ends by itself."""
    before = await scene.state()
    scene.dav.books[0].cards.clear()
    report = await scene.run(full=True)
    assert report is not None
    assert (report.held, report.removed) == (3, 0)
    assert "run.held" in said.getvalue()
    assert [one.name for one in await approval.held(scene.db, "default", "crm")] == ["Ann Lee", "Bob Ray", "Cem Oz"]
    await scene.deliver()
    assert scene.book() == BEFORE
    assert (await scene.state())["cursor"] is None
    scene.fill(BEFORE)
    assert await scene.run() is not None
    assert await approval.held(scene.db, "default", "crm") == []
    assert (await scene.state())["contacts"] == before["contacts"]


async def test_dav_multistatus_without_rows(scene: Scene) -> None:
    """Nothing listed where a book is known to be is no empty book: it fails or it is held, and nobody goes."""
    scene.dav.faults.add("empty")
    for full in (False, True):
        await scene.run(full=full)
    await scene.deliver()
    assert scene.book() == BEFORE
    assert await scene.name(ANN) == "Ann Lee"


async def test_file_truncated(scene: Scene) -> None:
    path = scene.write({ANN: "Ann Other", DEE: "Dee Fox"})
    assert await scene.run("office") is not None
    whole = phone_book({ANN: "Ann Third", CEM: "Cem Other"})
    for size in (0, 1, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        report = await scene.run("office")
        if size:
            assert report is None
            assert "cut" in (await scene.state("office"))["error"]
        else:
            assert report is not None
            assert report.held == 2
        assert await scene.name(DEE) == "Dee Fox"
    path.write_bytes(whole)
    assert await scene.run("office") is not None
    assert [await scene.name(DEE), await scene.name(CEM)] == ["", "Cem Oz"]


async def test_file_html(scene: Scene) -> None:
    path = scene.write({DEE: "Dee Fox"})
    assert await scene.run("office") is not None
    path.write_text("<!DOCTYPE html><html><body>Log in</body></html>")
    assert await scene.run("office") is None
    assert "HTML" in (await scene.state("office"))["error"]
    assert await scene.name(DEE) == "Dee Fox"


async def test_file_gone(scene: Scene) -> None:
    path = scene.write({DEE: "Dee Fox"})
    assert await scene.run("office") is not None
    path.unlink()
    assert await scene.run("office") is None
    assert "office.json cannot be read" in (await scene.state("office"))["error"]
    assert await scene.name(DEE) == "Dee Fox"


async def test_file_changes_while_read(scene: Scene) -> None:
    crowd = {str(352621100000 + n): f"Person N{n}" for n in range(2500)}
    scene.write({DEE: "Dee Fox"})
    assert await scene.run("office") is not None
    scene.write(crowd)
    source = assembly.source(scene.tenant, "office")
    written = 0

    def progress(read: int) -> None:
        nonlocal written
        if read and not written:
            written = scene.write({**crowd, DEE: "Dee Low"}).stat().st_size

    with pytest.raises(Exception, match=r"changed while it was read|was cut|behind the end"):
        await sync.run(scene.db, assembly.job(scene.tenant, "office"), source, progress=progress)
    assert written
    assert (await scene.state("office"))["contacts"] == 1
    assert await scene.name(DEE) == "Dee Fox"
    assert await scene.run("office") is not None
    assert (await scene.state("office"))["contacts"] == 2501
    assert await scene.name(DEE) == "Dee Low"


class Asking(Listed):
    """A source that asks what is known right behind every page."""

    async def read(self, since: Cursor | None, known: Known) -> AsyncIterator[Page]:
        for start in range(0, len(self.records), 200):
            page = self.records[start : start + 200]
            yield Page(records=page)
            assert await known([(one.id, "2") for one in page]) == set()
        yield Page(cursor={}, complete=True)


async def test_source_asks_what_is_known_while_its_page_is_stored(db: Store) -> None:
    job = sync.Job(tenant="default", source="crm", region="LU", rules=b"1")
    people = [record(str(n), f"Person N{n}", f"+352 621 {100000 + n}", version="1") for n in range(1000)]
    for records in (people, [replace(one, last_name="Low") for one in people]):
        assert (await sync.run(db, job, Asking(*records))).read == 1000


# The Manager


async def changed_under(scene: Scene, fault: str, **more: Any) -> None:
    """An add, a change and a delete under this fault end exactly right."""
    scene.fill(AFTER)
    assert await scene.run() is not None
    scene.manager.faults.set(fault, **more)
    await scene.deliver()
    assert scene.book() == AFTER


@pytest.mark.parametrize("times", [1, 6])
async def test_ccm_answer_lost(scene: Scene, times: int) -> None:
    await changed_under(scene, "answer_lost_after_apply", times=times)


async def test_ccm_cut(scene: Scene) -> None:
    await changed_under(scene, "cut_before_apply", times=4)


async def test_ccm_500(scene: Scene) -> None:
    await changed_under(scene, "status_500_html", times=4)


async def test_ccm_garbage(scene: Scene) -> None:
    await changed_under(scene, "garbage", times=4)


async def test_ccm_hangs(scene: Scene) -> None:
    await changed_under(scene, "hang", times=2, seconds=30)


async def test_ccm_html(scene: Scene) -> None:
    """A page in the place of the Manager's answers is said to be one, and waited out."""
    scene.fill(AFTER)
    assert await scene.run() is not None
    scene.manager.faults.set("html_200")
    async with scene.draining():

        async def shown() -> bool:
            state = await scene.db.row(health.SQL["state"], "default", "pbx")
            return bool(state and "none that a Call Control Manager gives" in state["error"])

        await until(shown)
        scene.manager.faults.clear()
        await until(scene.idle)
    assert scene.book() == AFTER


async def test_ccm_key_expired_then_renewed(scene: Scene, said: io.StringIO) -> None:
    """The old key is shown as what it is; the admin's new one delivers everything, and nothing twice."""
    scene.manager.expired.add("manager-key-1")
    scene.manager.key = "manager-key-2"
    scene.fill(AFTER)
    assert await scene.run() is not None
    async with scene.draining():

        async def denied() -> bool:
            state = await scene.db.row(health.SQL["state"], "default", "pbx")
            return bool(state and state["denied"] == "AUTH_ID_EXPIRED" and state["waits"])

        await until(denied)
    asked = scene.manager.counts["requests"]
    assert await scene.name(DEE) == "Dee Fox"
    assert "sink.denied" in said.getvalue()
    scene.told.path.write_text(scene.told.path.read_text().replace("manager-key-1", "manager-key-2"))
    scene.tenant = config.load(scene.told.path).tenants["default"]
    await scene.db.execute(health.SQL["probe_now"], "default")
    await scene.deliver()
    assert scene.book() == AFTER
    assert scene.manager.counts["requests"] <= asked + 5
    assert "manager-key-2" not in said.getvalue()


async def test_ccm_slow_when_the_daemon_dies(scene: Scene, dsn: str, born: Nursery) -> None:
    """What waited long to be sent is not taken for lost while the Manager may still work on it."""
    crowd = {str(352621100000 + n): f"Person N{n}" for n in range(12)}
    scene.fill({**BEFORE, **crowd})
    assert await scene.run() is not None
    scene.manager.faults.set("slow", times=12, seconds=0.6)
    drainer = born.start(dsn, scene.told.path)

    async def last_are_under_way() -> bool:
        return scene.manager.counts["fault.slow"] == 12

    await until(last_are_under_way)
    kill(drainer)
    await scene.deliver()
    await asyncio.sleep(0.7)  # by now the Manager has done all that it was told
    assert scene.book() == {**BEFORE, **crowd}


# What the outbox may not know when people change their minds: the first answer of each of these is lost


PERSON = record("1", "Eva May", "+352 621 111 111")
FIRST, SECOND = "352621111111", "352621222222"


def having(*numbers: str, of: Record = PERSON) -> Record:
    return replace(of, numbers=tuple(RawNumber(number, "work") for number in numbers))


async def minds_changed(scene: Scene, *versions: Record | None) -> dict[str, str]:
    """The versions of one contact, each but the last while an answer about the one before is lost; who is where."""
    job = assembly.job(scene.tenant, "office")
    anchor = record("anchor", "Never Empty")

    async def unsettled() -> bool:
        return bool(await scene.db.value("select count(*) from entry where state = 'sent' and tries > 0"))

    for number, version in enumerate(versions):
        await sync.run(scene.db, job, Listed(anchor, *([version] if version else [])))
        if number == len(versions) - 2:
            scene.manager.faults.set("answer_lost_after_apply", times=1)
            async with scene.draining():
                await until(unsettled)
        elif number < len(versions) - 2:
            await scene.deliver()
    await scene.deliver()
    return {number: name for number, name in scene.book().items() if number not in BEFORE}


async def test_number_changed_then_both(scene: Scene) -> None:
    both = having(FIRST, SECOND)
    assert await minds_changed(scene, PERSON, having(SECOND), both) == {FIRST: "Eva May", SECOND: "Eva May"}


async def test_number_changed_then_back(scene: Scene) -> None:
    assert await minds_changed(scene, PERSON, having(SECOND), PERSON) == {FIRST: "Eva May"}


async def test_number_changed_then_gone(scene: Scene) -> None:
    assert await minds_changed(scene, PERSON, having(SECOND), None) == {}


async def test_added_then_gone(scene: Scene) -> None:
    assert await minds_changed(scene, PERSON, None) == {}


async def test_added_then_without_a_name_then_gone(scene: Scene) -> None:
    await minds_changed(scene, PERSON, having(FIRST, of=record("1", "")))
    assert await minds_changed(scene, None) == {}


async def test_added_then_without_a_name_then_named_again(scene: Scene) -> None:
    await minds_changed(scene, PERSON, having(FIRST, of=record("1", "")))
    assert await minds_changed(scene, PERSON) == {FIRST: "Eva May"}


async def test_changed_then_without_a_name_then_named_again(scene: Scene) -> None:
    changed = having(FIRST, of=record("1", "Eva June"))
    await minds_changed(scene, PERSON, changed, having(FIRST, of=record("1", "")))
    assert await minds_changed(scene, PERSON) == {FIRST: "Eva May"}


async def test_removed_then_back(scene: Scene) -> None:
    assert await minds_changed(scene, PERSON, None, PERSON) == {FIRST: "Eva May"}


async def test_spelled_otherwise_while_a_namesake_takes_the_number(scene: Scene) -> None:
    """What is due for its spelling stays due when the number goes to somebody of the same name."""
    assert await minds_changed(scene, PERSON) == {FIRST: "Eva May"}
    text = scene.told.path.read_text()
    scene.told.path.write_text(text.replace("rate = 10000", 'rate = 10000\nnumbers = "zeros"'))
    told = config.load(scene.told.path)
    scene.tenant = told.tenants["default"]
    await assembly.enrol(scene.db, told)
    namesake = replace(PERSON, id="2")
    await sync.run(scene.db, assembly.job(scene.tenant, "office"), Listed(record("anchor", "Never Empty"), namesake))
    await scene.deliver()
    assert scene.book() == {**{f"00{number}": name for number, name in BEFORE.items()}, f"00{FIRST}": "Eva May"}


# The database


async def cut(other: Store, *names: str) -> None:
    await other.execute(CUT, list(names))


@pytest.fixture
async def other(dsn: str) -> AsyncIterator[Store]:
    one = Store(dsn, name="other")
    yield one
    await one.close()


async def test_db_gone_during_run(scene: Scene, other: Store) -> None:
    """Cut at any instant, a run has done everything or nothing."""
    crowd = {str(352621100000 + n): f"Person N{n}" for n in range(1500)}
    dice = random.Random(3)
    for turn in range(8):
        people = {number: f"{name}x{turn}" for number, name in crowd.items()}
        scene.write(people)
        running = asyncio.create_task(scene.run("office"))
        await asyncio.sleep(dice.random() * 0.25)
        await cut(other, "bridge")
        done = await running
        rows = await other.fetch("select body ->> 'last_name' as name from contact where source = 'office'")
        assert len({row["name"].rpartition("x")[2] for row in rows}) <= 1
        assert len(rows) in (0, 1500)
        if done:
            assert rows[0]["name"].endswith(f"x{turn}")
    assert await scene.run("office") is not None
    await scene.deliver(60)
    assert scene.book() == {**BEFORE, **people}


async def test_db_gone_while_sending(scene: Scene, other: Store) -> None:
    """The working process's own work, its connections cut again and again: nothing is lost, and nothing is twice."""
    crowd = {str(352621100000 + n): f"Person N{n}" for n in range(150)}
    scene.write(crowd)
    scene.manager.faults.set("answer_lost_after_apply", chance=0.05)
    scene.manager.faults.set("slow", seconds=0.01)
    dice = random.Random(4)
    working = asyncio.create_task(Unit(scene.db, scene.told).run())
    try:
        for held in (10, 40, 80):

            async def so_many(held: int = held) -> bool:
                return len(scene.manager.entries()) > held or working.done()

            await until(so_many, 30)
            await asyncio.sleep(dice.random() * 0.05)
            await cut(other, "bridge")

        async def all_there() -> bool:
            return working.done() or (len(scene.manager.book()) == 153 and await settled())

        async def settled() -> bool:
            return not await other.value(outbox.SQL["waiting"], "default", "pbx")

        await until(all_there, 60)
        assert not working.done(), "it outlasts the database"
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
    assert scene.book() == {**BEFORE, **crowd}


async def test_db_gone_lookups_503(scene: Scene, other: Store, postgres: str) -> None:
    """Lookups are told so at once, as JSON; contacts are answered again by themselves."""
    database = await other.value("select current_database()")
    owner = Store(postgres)
    async with serving(scene.db, scene.told) as served:
        assert [one["name"] for one in await served.ask(ANN)] == ["Ann Lee"]
        await owner.execute(f"alter database {database} allow_connections false")
        await owner.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = $1", database)
        url, headers = f"{served.url}/services/Lookup", {"X-Execution-Token": TOKEN}

        async def status(number: str) -> int:
            async with served.session.post(url, json={"inputs": {"phoneNumber": number}}, headers=headers) as reply:
                assert reply.content_type == "application/json"
                if reply.status == 503:
                    assert list(json.loads(await reply.read())) == ["error"]
                    assert reply.headers["Retry-After"] == "1"
                return reply.status

        async def away() -> bool:
            return await status(BOB) == 503

        async def back() -> bool:
            return await status(BOB) == 200

        await until(away)
        await owner.execute(f"alter database {database} allow_connections true")
        await until(back)
        assert [one["name"] for one in await served.ask(BOB)] == ["Bob Ray"]
    await owner.close()
