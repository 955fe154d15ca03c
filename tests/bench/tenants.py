"""Thousands of tenants in one daemon: what it costs to load them, to change one of them, and to answer meanwhile.

    .venv/bin/python tests/bench/tenants.py [--tenants 5000] [--contacts 100] [--rate 200] [--run SECONDS]

It makes a folder of so many tenants, each with a source, a sink, a connector and a phone book. `config.load`, the
same with nothing and with one file changed (CPU seconds of this process); the answering process over a database that
holds so many contacts of each: its memory by the number of tenants, the latency of lookups, idle and while the
configuration is loaded anew by SIGHUP, the time of /metrics and of the admin's page. With `--run` it then starts the
whole daemon (`bridge run`) on files of contacts and a stand-in Manager for each tenant until all is delivered, for so
many seconds more, and for as many without the Managers, and says what its processes use. Exit code 1 where a goal is
missed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import goals
from lookup_rate import free_port

from bridge import assembly, config, embedded, store
from bridge.store import Store

TOKEN, KEY = "benchmark-token", "benchmark-key"
LATEST = 100.0
"""Milliseconds after which no lookup may be answered."""
DAEMON = 1000
"""MB that all processes of the daemon may hold."""
SHARE = 0.5
"""Of a core, that it may use once all is loaded."""
SETTLES = 30.0
UNREAD = "select count(*) = 0 or bool_or(read_at is null) from source"
CHANGES = 5
AS_LATER = "update source set tried_at = now() - random() * interval '15 min'"
"""Visits spread as they are when the first load is long ago."""
ALL_DUE = "update source set read_at = null, tried_at = now() - interval '15 min'"

BODY = """json_build_object('source', 'crm', 'id', i::text, 'first_name', 'Alexa', 'last_name', 'Holiday ' || i,
 'company', 'White Cross Co ' || i % 97, 'contact_url', 'https://crm.example.com/contact/' || i)"""
FILL = (
    f"""insert into contact (tenant, pk, source, id, digest, checksum, names, named, callable, changed_at, body)
    select 't' || lpad(t::text, 5, '0'), i, 'crm', i::text, '', '', 0, true, 1, now(), {BODY}
    from generate_series(0, $1::int - 1) t, generate_series(0, $2::int - 1) i""",
    """insert into number (tenant, number, contact, kind, company)
    select 't' || lpad(t::text, 5, '0'), '+352' || 621000000 + i, i, 'mobile', false
    from generate_series(0, $1::int - 1) t, generate_series(0, $2::int - 1) i""",
    "update source set contacts = $2::int, tried_at = now(), read_at = now() - interval '0 s' * $1::int",
)


def name(n: int) -> str:
    """The n-th tenant's."""
    return f"t{n:05}"


@dataclass
class Folder:
    """bridge.toml and the files of its tenants.

    `pbx`: for a daemon that reads and pushes: every source is a file, and there the Managers listen.
    """

    place: Path
    tenants: int
    pbx: str = ""
    ports: tuple[int, int] = field(default_factory=lambda: (free_port(), free_port()))

    @property
    def path(self) -> Path:
        return self.place / "bridge.toml"

    def write(self) -> None:
        """All of it."""
        (self.place / "tenants").mkdir(parents=True, exist_ok=True)
        self.main()
        for n in range(self.tenants):
            self.tenant(n)

    def main(self, region: str = "LU") -> None:
        """The main file, whose region is that of all tenants."""
        http, admin = self.ports
        self.path.write_text(
            f'region = "{region}"\nlog = "json"\nstate_dir = "state"\ntenants = "tenants/*.toml"\n'
            f'[http]\nlisten = "127.0.0.1:{http}"\n[admin]\nlisten = "127.0.0.1:{admin}"\n'
        )

    def tenant(self, n: int, limit: int = 5) -> None:
        """One tenant's file."""
        dav = f'type = "carddav"\nurl = "https://dav{n}.example.com/"\nusername = "phones"\npassword = "dav-{n}-secret"'
        source = dav if n % 2 and not self.pbx else f'type = "file"\npath = "../people/{name(n)}.txt"'
        pbx = f"{self.pbx}/{name(n)}/api.aspx" if self.pbx else f"https://pbx{n}.example.com:8000/api.aspx"
        key = KEY if self.pbx else f"manager-{n}-key"
        path = self.place / "tenants" / f"{name(n)}.toml"
        path.write_text(
            f'[source.crm]\n{source}\nevery = "15m"\n[sink.pbx]\ntype = "ccm"\nrate = 1000\nsecurity_key = "{key}"\n'
            f'url = "{pbx}"\n[connector]\ntoken = "{TOKEN}"\nlimit = {limit}\n'
            '[phonebook.staff]\nusers = { phones = "phones-password" }\n'
        )
        path.chmod(0o600)

    def people(self, contacts: int) -> None:
        """A file of so many contacts for each tenant."""
        (self.place / "people").mkdir(exist_ok=True)
        text = "".join(f"+352{621000000 + i}:Alexa Holiday {i}:\n" for i in range(contacts))
        for n in range(self.tenants):
            (self.place / "people" / f"{name(n)}.txt").write_text(text)

    def change(self, n: int) -> None:
        """Another name in the file of that tenant."""
        path = self.place / "people" / f"{name(n)}.txt"
        path.write_text(path.read_text().replace("Alexa", "Alexandra", 1))


def loading(folder: Folder) -> None:
    """Print what it costs to load the configuration, and to load it again."""

    def timed(before: config.Config | None) -> tuple[float, config.Config]:
        began = time.process_time()
        told = config.load(folder.path, before)
        return time.process_time() - began, told

    first, told = timed(None)
    again, told = timed(told)
    folder.tenant(0, limit=6)
    one, fresh = timed(told)
    kept = sum(fresh.tenants[name] is tenant for name, tenant in told.tenants.items())
    print(
        f"load of {folder.tenants} tenants: {first:.2f} s of CPU; again, unchanged: {again:.2f} s ({again / first:.2f})"
    )
    print(f"again with one changed: {one:.2f} s, {kept} of {len(told.tenants)} tenants are the same objects")
    what = f"{folder.tenants:,} tenants: load of the configuration; again with one changed"
    goals.shown(what, f"{first:.1f}; {one:.2f} s of CPU")


def resident(pids: Iterable[int]) -> float:
    """MB that these processes hold in memory of their own, and their share of what several hold."""
    total = 0.0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue  # it has just ended
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1e3
    return total


def children(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if parent == pid:
                found += children(int(entry.name))
    return found


def database(state: Path) -> list[int]:
    """The processes of the embedded PostgreSQL of that state directory."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "cwd").readlink() == state / "postgres" / "data":
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def cpu(pids: Iterable[int]) -> float:
    """Seconds of CPU that these processes have used, and those that they started and that have ended."""
    ticks = 0
    for pid in pids:
        try:
            words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += sum(map(int, words[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


@asynccontextmanager
async def answering(folder: Folder, dsn: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The answering process alone, ready, for the block."""
    reading, writing = os.pipe()
    env = {**os.environ, "BRIDGE_DSN": dsn, "BRIDGE_REPORT": str(writing)}
    with (folder.place / "log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bridge.answer", "--config", str(folder.path)),
            env=env,
            pass_fds=(writing,),
            stderr=log,
        )
    os.close(writing)
    try:
        with os.fdopen(reading) as said:
            await asyncio.to_thread(lambda: next(line for line in said if line == "ready\n"))
            yield process
    finally:
        process.terminate()
        await process.wait()


class Caller:
    """Asks for numbers of all tenants at a rate, one connection for each question under way."""

    def __init__(self, folder: Folder, contacts: int, rate: int) -> None:
        self._folder, self._contacts, self._rate = folder, contacts, rate
        self._pick = random.Random(1)

    async def during(self, work: Callable[[aiohttp.ClientSession], AsyncIterator[None]] | float) -> list[float]:
        """Milliseconds that each lookup took, sorted, while that is done, or for so many seconds."""
        headers = {"X-Execution-Token": TOKEN}
        asked: list[asyncio.Task[float]] = []
        async with aiohttp.ClientSession(f"http://127.0.0.1:{self._folder.ports[0]}", headers=headers) as http:
            doing = asyncio.ensure_future(asyncio.sleep(work) if isinstance(work, float) else _through(work(http)))
            began = time.perf_counter()
            while not doing.done():
                asked.append(asyncio.create_task(self._ask(http)))
                await asyncio.sleep(max(0.0, began + len(asked) / self._rate - time.perf_counter()))
            await doing
            return sorted(await asyncio.gather(*asked))

    async def _ask(self, http: aiohttp.ClientSession) -> float:
        tenant, n = self._pick.randrange(self._folder.tenants), self._pick.randrange(self._contacts)
        began = time.perf_counter()
        body = {"inputs": {"phoneNumber": f"352{621000000 + n}"}}
        async with http.post(f"/{name(tenant)}/services/Lookup", json=body) as answer:
            text = await answer.text()
            assert answer.status == 200, text
            assert f"Holiday {n}" in text, text
        return (time.perf_counter() - began) * 1e3


async def _through(work: AsyncIterator[None]) -> None:
    async for _ in work:
        pass


def told(what: str, took: list[float]) -> None:
    """One line on lookups."""
    p50, p99 = took[len(took) // 2], took[int(len(took) * 0.99)]
    print(f"lookups {what}: {len(took)}, p50 {p50:.1f} ms, p99 {p99:.1f} ms, longest {took[-1]:.1f} ms")


async def loads(folder: Folder) -> int:
    """How often the answering process has loaded its configuration anew."""
    return await asyncio.to_thread(lambda: (folder.place / "log").read_text().count('"config.loaded"'))


async def fill(dsn: str, folder: Folder, contacts: int) -> None:
    """So many contacts of each tenant."""
    db = Store(dsn)
    await store.migrate(db)
    began = time.process_time()
    wall = time.perf_counter()
    configured = config.load(folder.path)
    await assembly.enrol(db, configured)
    print(
        f"enrolled at first: {time.perf_counter() - wall:.1f} s, of which {time.process_time() - began:.1f} s CPU here"
    )
    wall = time.perf_counter()
    await assembly.enrol(db, configured)
    print(f"enrolled again, all of it: {time.perf_counter() - wall:.1f} s")
    for sql in FILL:
        await db.execute(sql, folder.tenants, contacts)
    async with db.session() as session:
        await session.execute("vacuum analyze")
    await db.close()


async def answers(folder: Folder, dsn: str, contacts: int, rate: int) -> bool:
    """Measure the answering process; whether no lookup waited too long."""
    caller = Caller(folder, contacts, rate)
    async with answering(folder, dsn) as process:
        bare = resident([process.pid])
        idle = await caller.during(5.0)
        told("idle", idle)
        took = resident([process.pid])
        per = took / folder.tenants * 1000
        print(f"answering process: {bare:.0f} MB at first, {took:.0f} MB then, {per:.1f} MB per 1,000 tenants")

        async def one_changed(_http: aiohttp.ClientSession) -> AsyncIterator[None]:
            for n in range(CHANGES):
                before = await loads(folder)
                folder.tenant(n, limit=7 + n)
                process.send_signal(signal.SIGHUP)
                while await loads(folder) == before:
                    await asyncio.sleep(0.05)
                yield

        async def all_changed(_http: aiohttp.ClientSession) -> AsyncIterator[None]:
            before = await loads(folder)
            folder.main(region="DE")
            process.send_signal(signal.SIGHUP)
            while await loads(folder) == before:
                await asyncio.sleep(0.05)
            yield

        changed = await caller.during(one_changed)
        told(f"while {CHANGES} SIGHUPs change a tenant each", changed)
        anew = await caller.during(all_changed)
        told("while one changes them all", anew)
        print(f"answering process after that: {resident([process.pid]):.0f} MB")

        async def scraped(_http: aiohttp.ClientSession) -> AsyncIterator[None]:
            async with aiohttp.ClientSession(f"http://127.0.0.1:{folder.ports[1]}") as admin:
                for path in ("/metrics", "/", "/?find=t004", f"/?tenant={name(1)}"):
                    used, began = cpu([process.pid]), time.perf_counter()
                    async with admin.get(path) as answer:
                        page = await answer.read()
                    wall = (time.perf_counter() - began) * 1e3
                    used = (cpu([process.pid]) - used) * 1e3
                    assert answer.status == 200, path
                    what = f"{folder.tenants:,} tenants: `{path}` for the admin"
                    goals.shown(what, f"{len(page) / 1e3:.0f} kB, {wall:.0f} ms, {used:.0f} ms of CPU")
                    yield

        pages = await caller.during(scraped)
        told("while pages are asked for", pages)
    worst = max(took[-1] for took in (changed, anew, pages))
    what = f"{folder.tenants:,} tenants: the longest lookup while SIGHUP changes one, or all, or pages are looked at"
    goals.shown(f"{folder.tenants:,} tenants: the longest lookup while nothing else is done", f"{idle[-1]:.1f} ms")
    return goals.at_most(what, worst, LATEST, "ms")


@asynccontextmanager
async def managers(tenants: int) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """Their URL without the tenant and the file's name, and the process that they are in."""
    stand = await asyncio.create_subprocess_exec(
        *(sys.executable, str(Path(__file__).with_name("tenant_stand.py")), str(tenants), KEY),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert stand.stdout
    try:
        yield f"http://127.0.0.1:{int(await stand.stdout.readline())}", stand
    finally:
        if stand.returncode is None:
            stand.terminate()
        await stand.wait()


class Daemon:
    """The whole daemon, and what all its processes use."""

    def __init__(self, folder: Folder, process: asyncio.subprocess.Process) -> None:
        self._folder, self._process = folder, process
        self.highest = 0.0

    async def used_after(self, interval: float) -> float:
        """Seconds of CPU until then."""
        await asyncio.sleep(interval)
        assert self._process.returncode is None, (self._folder.place / "daemon.log").read_text()[-2000:]
        ours = {self._process.pid, *children(self._process.pid), *database(self._folder.place / "state")}
        self.highest = max(self.highest, resident(ours))
        return cpu(ours)

    async def share(self, db: Store, seconds: float) -> tuple[float, int, int]:
        """What it uses of a core for so many seconds, how many sources it reads meanwhile, how many are overdue."""
        before, then = await self.used_after(SETTLES), time.monotonic()
        while time.monotonic() < then + seconds:
            after = await self.used_after(min(2.0, seconds))
        share = (after - before) / (time.monotonic() - then)
        visited = await db.value("select count(*) from source where tried_at > now() - $1 * interval '1 s'", seconds)
        late = await db.value("select count(*) from source where tried_at < now() - interval '16 min'")
        return share, visited, late


async def daemon(folder: Folder, contacts: int, seconds: float, stand: asyncio.subprocess.Process) -> bool:
    """Run the whole daemon; whether it stays within its memory and its share of a core."""
    with (folder.place / "daemon.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bridge", "run", "--config", str(folder.path)), stderr=log, stdout=log
        )
    used, began = Daemon(folder, process), time.monotonic()
    try:
        server = await embedded.open(folder.place / "state")
        db = Store(server.dsn)
        while await db.value("select to_regclass('source') is null") or await db.value(UNREAD):
            loaded = await used.used_after(2.0)
        many = f"{folder.tenants:,} tenants of {contacts} contacts, a source and a PBX each"
        goals.shown(f"{many}: until all are read", f"{time.monotonic() - began:.0f} s, {loaded:.0f} s of CPU")
        while (held := await entries(stand)) < folder.tenants * contacts:
            loaded = await used.used_after(2.0)
        what = f"{many}: until their PBXs hold all {held:,} entries"
        goals.shown(what, f"{time.monotonic() - began:.0f} s, {loaded:.0f} s of CPU")
        await db.execute(AS_LATER)
        share, visited, late = await used.share(db, seconds)
        what = f"{many}, each read every 15 minutes: share of a core, {visited:,} of them read in {seconds:.0f} s"
        good = goals.at_most(what, share, SHARE)
        good &= goals.at_most(f"{many}: not read for 16 minutes", late, 0, "sources")
        for n in range(folder.tenants):
            folder.change(n)
        stand.terminate()
        await db.execute(ALL_DUE)
        while await db.value(UNREAD):
            await used.used_after(2.0)
        share, _, _ = await used.share(db, seconds)
        what = f"{many}: share of a core while all PBXs are away and there is something for each"
        good &= goals.at_most(what, share, SHARE)
        await db.close()
        await server.close()
    finally:
        process.terminate()
        await process.wait()
    return goals.at_most(f"{many}: all processes of the daemon at most", used.highest, DAEMON, "MB") and good


async def entries(stand: asyncio.subprocess.Process) -> int:
    """How many all Managers hold."""
    assert stand.stdin
    assert stand.stdout
    stand.stdin.write(b"\n")
    return int(await stand.stdout.readline())


async def measure(place: Path, given: argparse.Namespace) -> bool:
    """All of it; whether each goal was reached."""
    folder = Folder(place / "answering", given.tenants)
    folder.write()
    loading(folder)
    server = await embedded.open(place / "database")
    try:
        await fill(server.dsn, folder, given.contacts)
        good = await answers(folder, server.dsn, given.contacts, given.rate)
    finally:
        await server.close()
    if given.run:
        async with managers(given.tenants) as (url, stand):
            whole = Folder(place / "whole", given.tenants, pbx=url)
            whole.write()
            whole.people(given.contacts)
            good &= await daemon(whole, given.contacts, given.run, stand)
    return good


def main() -> int:
    options = argparse.ArgumentParser()
    options.add_argument("--tenants", type=int, default=5_000)
    options.add_argument("--contacts", type=int, default=100)
    options.add_argument("--rate", type=int, default=200)
    options.add_argument("--run", type=float, default=0.0)
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="bridge-bench-") as place:
        return 0 if asyncio.run(measure(Path(place), given)) else 1


if __name__ == "__main__":
    sys.exit(main())
