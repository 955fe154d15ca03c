"""A daemon on the database of deploy/patroni, whose leader is killed and then one frozen: how long until all goes on.

    apt-get install --no-install-recommends patroni etcd-server haproxy postgresql    # Debian's; none need run
    .venv/bin/python tests/bench/patroni.py [--people 2000]

It runs etcd, three Patroni nodes and HAProxy on loopback ports with the sample's own files, and ends all it started.
People change all the time. When it is over the Manager must hold exactly what the source does: none missing, none
twice, none added twice. Exit code 1 where it does not, or where anything takes longer than 30 s.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]

import aiohttp
import asyncpg
import goals
from commands import free_port
from daemons import KEY, Daemon, book, number, until

from bridge.demo.manager import Manager

SAMPLE = Path(__file__).parents[2] / "deploy" / "patroni"
PROGRAMS = ("etcd", "patroni", "haproxy")
BINARIES = Path("/usr/lib/postgresql")
PASSWORD = "bench-database-password"
GOAL = 30.0
EVERY = 3.0
"""Seconds between changes: a file that changes while it is read is not taken."""


@dataclasses.dataclass
class Node:
    """One machine of the sample: a Patroni and the PostgreSQL that it keeps."""

    place: int
    postgres: int
    rest: int
    data: Path
    process: asyncio.subprocess.Process | None = None

    @property
    def name(self) -> str:
        return f"db{self.place}"

    def signal(self, order: int) -> None:
        """As if it befell the machine: Patroni and every process of its PostgreSQL."""
        assert self.process is not None
        for pid in (self.process.pid, *self._servers()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, order)

    def _servers(self) -> Iterator[int]:
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                if Path(os.readlink(entry / "cwd")) == self.data:
                    yield int(entry.name)


class Stand:
    """The sample on loopback, in a directory of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.etcd, self.peer, self.primary, self.standby = (free_port() for _ in range(4))
        self.nodes = [Node(n, free_port(), free_port(), home / f"db{n}" / "data") for n in (1, 2, 3)]
        self.others: list[asyncio.subprocess.Process] = []

    async def start(self) -> None:
        """Start everything, and return when there is a database to work with."""
        self.home.chmod(0o755)
        etcd = self.home / "etcd"
        client, peer = f"http://127.0.0.1:{self.etcd}", f"http://127.0.0.1:{self.peer}"
        words = ("--data-dir", etcd, "--listen-client-urls", client, "--advertise-client-urls", client)
        more = (
            "--listen-peer-urls",
            peer,
            "--initial-advertise-peer-urls",
            peer,
            "--initial-cluster",
            f"default={peer}",
        )
        self.others.append(await self._run("etcd", *words, *more, "--enable-v2", log="etcd.log"))
        for node in self.nodes:
            file = self.home / f"{node.name}.yml"
            file.write_text(self._patroni(node))
            _give(file)
            for folder in (node.data.parent, node.data):
                folder.mkdir(mode=0o700)
                _give(folder)
            await self.boot(node)
            if node.place == 1:
                await until(lambda: self.is_in(self.nodes[0], "primary"), 60, "the first node is the primary")
        for node in self.nodes[1:]:
            await until(lambda node=node: self.is_in(node, "replica"), 60, f"{node.name} is a replica")
        config = self.home / "haproxy.cfg"
        config.write_text(self._haproxy())
        self.others.append(await self._run("haproxy", "-db", "-f", config, log="haproxy.log"))
        await until(lambda: self.is_in(self.nodes[0], "primary"), 30)
        await until(self._database, 60, "the database is made")

    async def boot(self, node: Node) -> None:
        """Have a machine come (back)."""
        owner = _owner()
        who = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}
        node.process = await self._run("patroni", self.home / f"{node.name}.yml", log=f"{node.name}.log", **who)

    async def is_in(self, node: Node, role: str) -> bool:
        """Whether a node says that it has that role: primary, replica, synchronous."""
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            timeout = aiohttp.ClientTimeout(1)
            async with aiohttp.ClientSession(timeout=timeout) as http, http.get(self._rest(node, role)) as reply:
                return reply.status == 200
        return False

    async def leader(self) -> Node:
        """Who leads, once there is a synchronous standby."""
        found: Node | None = None

        async def look() -> bool:
            nonlocal found
            roles = [(node, await self.is_in(node, "primary"), await self.is_in(node, "sync")) for node in self.nodes]
            found = next((node for node, leads, _ in roles if leads), None)
            return found is not None and any(synchronous for _, _, synchronous in roles)

        await until(look, 60, "there is a leader and a synchronous standby")
        assert found is not None
        return found

    async def stop(self) -> None:
        """End all that was started, by its process id."""
        for node in self.nodes:
            if node.process is not None:
                node.signal(signal.SIGCONT)
                node.signal(signal.SIGKILL)
                await node.process.wait()
        for process in self.others:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await process.wait()

    async def _run(self, program: str, *words: Any, log: str, **more: Any) -> asyncio.subprocess.Process:
        path = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")
        assert path is not None
        with (self.home / log).open("ab") as out:
            return await asyncio.create_subprocess_exec(
                *(path, *map(str, words)), stdin=asyncio.subprocess.DEVNULL, stdout=out, stderr=out, cwd="/", **more
            )

    def _patroni(self, node: Node) -> str:
        text = (SAMPLE / "patroni.yml").read_text()
        binaries = max(BINARIES.glob("*/bin"), key=lambda path: float(path.parent.name))
        for old, new in (
            ("10.0.0.1:2379,10.0.0.2:2379,10.0.0.3:2379", f"127.0.0.1:{self.etcd}"),
            ("10.0.0.1:5432", f"127.0.0.1:{node.postgres}"),
            ("10.0.0.1:8008", f"127.0.0.1:{node.rest}"),
            ("name: db1\n", f"name: {node.name}\n"),
            ("\netcd3:\n", "\netcd:\n" if _takes_back() else "\netcd3:\n"),
            ("/var/lib/postgresql/15/bridge", str(node.data)),
            ("/var/lib/postgresql/.pgpass-patroni", str(node.data.parent / "pgpass")),
            ("/usr/lib/postgresql/15/bin", str(binaries)),
            ("  pg_hba:\n", "  parameters: { unix_socket_directories: '' }\n  pg_hba:\n"),
        ):
            assert old in text, f"patroni.yml has no {old!r}"
            text = text.replace(old, new)
        return text

    def _haproxy(self) -> str:
        text = (SAMPLE / "haproxy.cfg").read_text()
        replaced = [("127.0.0.1:5000", f"127.0.0.1:{self.primary}"), ("127.0.0.1:5001", f"127.0.0.1:{self.standby}")]
        for node in self.nodes:
            old = f"10.0.0.{node.place}:5432 check port 8008"
            replaced.append((old, f"127.0.0.1:{node.postgres} check port {node.rest}"))
        for old, new in replaced:
            assert old in text, f"haproxy.cfg has no {old!r}"
            text = text.replace(old, new)
        return text

    def _rest(self, node: Node, role: str) -> str:
        return f"http://127.0.0.1:{node.rest}/{role}"

    async def _database(self) -> bool:
        with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            one = await asyncpg.connect(
                f"postgresql://postgres:change-me-superuser@127.0.0.1:{self.primary}/postgres", timeout=5
            )
            await one.execute(f"create role bridge login password '{PASSWORD}'")
            await one.execute("create database bridge owner bridge")
            await one.close()
            return True
        return False

    def url(self, port: int) -> str:
        """The [database] line of the sample."""
        return f"postgresql://bridge:{PASSWORD}@127.0.0.1:{port}/bridge"


def _owner() -> pwd.struct_passwd:
    """Whom PostgreSQL runs as: never root."""
    return pwd.getpwnam("postgres") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())


def _takes_back() -> bool:
    """Whether this Patroni is one of those for which patroni.yml advises against etcd3."""
    said = subprocess.run(["patroni", "--version"], capture_output=True, text=True, check=True).stdout
    return tuple(map(int, re.findall(r"\d+", said)[:3])) < (3, 0, 3)


def _give(path: Path) -> None:
    if os.geteuid() == 0:
        os.chown(path, _owner().pw_uid, _owner().pw_gid)


class Life:
    """Callers and a source, while things go wrong."""

    def __init__(self, daemon: Daemon, manager: Manager, people: int) -> None:
        self.daemon, self.manager = daemon, manager
        self.people = {n: f"Person N{n}" for n in range(people)}
        self.ever = set(self.people)
        self.turn = 0
        self.measuring = False

    async def change(self) -> None:
        """Change something, for ever."""
        while True:
            if not self.measuring:
                self.once()
            await asyncio.sleep(EVERY)

    def once(self) -> None:
        """Somebody has another name, somebody comes, somebody goes."""
        self.turn += 1
        came = max(self.ever) + 1
        self.people[self.turn % 500] = f"Turn T{self.turn}"
        self.people[came] = f"Comer C{came}"
        self.people.pop(came - 300, None)
        self.ever.add(came)
        self.daemon.write(self.people)

    async def until_it_goes_on(self) -> dict[str, float]:
        """Seconds until, after now: a lookup is answered; a change of after now is answered; one is pushed."""
        began, self.measuring = time.monotonic(), True
        await asyncio.sleep(3)  # the loss is felt by now
        self.once()
        mark = self.turn
        asked = number(mark % 500)
        spent: dict[str, float] = {}

        def pushed() -> bool:
            first, last, _ = self.manager.book().get(asked, ("", "T0", ""))
            return first == "Turn" and int(last[1:]) >= mark

        async def looked_up() -> bool:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                status, found = await self.daemon.lookup(asked)
                return status == 200 and any(one["name"] == f"Turn T{mark}" for one in found)
            return False

        async def answered() -> bool:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                return (await self.daemon.lookup(number(0)))[0] == 200
            return False

        checks: dict[str, Callable[[], Any]] = {"lookups": answered, "runs": looked_up, "pushes": pushed}

        async def wait(what: str) -> None:
            await until(checks[what], 120, f"{what} go on")
            spent[what] = time.monotonic() - began

        await asyncio.gather(*map(wait, checks))
        self.measuring = False
        return spent


@contextlib.asynccontextmanager
async def standing(home: Path) -> AsyncIterator[Stand]:
    stand = Stand(home)
    try:
        await stand.start()
        yield stand
    except BaseException:
        for log in sorted(home.glob("*.log")):
            print(f"== {log.name}", *log.read_text(errors="replace").splitlines()[-15:], sep="\n")
        raise
    finally:
        await stand.stop()


async def main(people: int) -> bool:
    """Whether all was as it must be."""
    manager = Manager(key=KEY)
    with tempfile.TemporaryDirectory(prefix="bridge-patroni-") as made:
        home = Path(made)
        async with standing(home) as stand, manager.serve() as url:
            (home / "bridge").mkdir()
            daemon = Daemon(home / "bridge", url, stand.url(stand.primary))
            lines = f'url = "{stand.url(stand.primary)}"\nreplica = "{stand.url(stand.standby)}"\n'
            daemon.configure(f"[database]\n{lines}")
            life = Life(daemon, manager, people)
            daemon.write(life.people)
            well = False
            try:
                well = await rounds(stand, daemon, manager, life)
            finally:
                if not well:
                    told = [one for one in daemon.log() if one.get("level") in ("warning", "error")]
                    print("== daemon", *told[-100:], sep="\n")
                await daemon.end()
            return well


async def rounds(stand: Stand, daemon: Daemon, manager: Manager, life: Life) -> bool:
    await daemon.start()
    await daemon.ready(60)
    await until(lambda: len(manager.entries()) == len(life.people), 120, "the Manager holds all")
    changing = asyncio.create_task(life.change())
    good = True
    try:
        async with daemon.asked_all_the_time(number(0)) as asked:
            for what, order in (("killed", signal.SIGKILL), ("frozen", signal.SIGSTOP)):
                leader = await stand.leader()
                before = len(asked.answers)
                leader.signal(order)
                spent = await life.until_it_goes_on()
                unwell = sum(status != 200 for status, _ in asked.answers[before:])
                told = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in spent.items())
                print(f"leader {what:7}: {told}; {unwell} lookups of {len(asked.answers) - before} without an answer")
                slowest = max(spent.values())
                good &= goals.at_most(f"three Patroni nodes, the leader {what}: until all goes on", slowest, GOAL, "s")
                if order == signal.SIGSTOP:
                    leader.signal(signal.SIGCONT)  # it comes back as if nothing had been, and has to do no harm
                else:
                    assert leader.process is not None
                    await leader.process.wait()
                    await stand.boot(leader)
                await until(lambda node=leader: stand.is_in(node, "replica"), 90, f"{leader.name} follows")
    finally:
        changing.cancel()
        await asyncio.gather(changing, return_exceptions=True)
    want = book(life.people.items())
    await until(lambda: manager.book() == want, 60, "the Manager holds exactly what the source does")
    added, twice = manager.counts["Contact Created"], manager.duplicates()
    what = f"three Patroni nodes: the Manager exactly right then with {len(want):,} entries;"
    good &= goals.at_most(f"{what} entries twice", len(twice), 0)
    return goals.at_most(f"{what} entries added that were there already", added - len(life.ever), 0) and good


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--people", type=int, default=2000)
    chosen = options.parse_args()
    missing = [name for name in PROGRAMS if not shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")]
    if missing or not list(BINARIES.glob("*/bin/postgres")):
        sys.exit(f"needs Debian's patroni, etcd-server, haproxy and postgresql; there is no {', '.join(missing)}")
    sys.exit(0 if asyncio.run(main(chosen.people)) else 1)
