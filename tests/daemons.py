"""The daemon as an admin runs it: its processes, what they write to the log, and who asks it for numbers meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from commands import environment, free_port

TOKEN = "lookup-token-1"
KEY = "manager-key-1"
TOML = """
region = "LU"
log = "json"
state_dir = "state"
[http]
listen = "127.0.0.1:{http}"
[admin]
listen = "127.0.0.1:{admin}"
[source.staff]
type = "file"
path = "staff.txt"
every = "1s"
guard = {{ floor = 100000 }}
[sink.pbx]
type = "ccm"
url = "{manager}"
security_key = "{key}"
rate = 2000
timeout = "2s"
[connector]
token = "{token}"
"""


def number(n: int) -> str:
    """The n-th person's number, as the Manager holds it."""
    return f"352621{100000 + n}"


async def until(what: Callable[[], Any], within: float = 20.0, why: str = "") -> Any:
    """The first true value of `what`, which is asked again and again; it may be awaited."""
    end = time.monotonic() + within
    while True:
        value = what()
        if isinstance(value, Awaitable):
            value = await value
        if value:
            return value
        assert time.monotonic() < end, f"not within {within:.0f} s: {why or what}"
        await asyncio.sleep(0.05)


def _processes() -> dict[int, tuple[int, str]]:
    """Who lives: parent and command line by process id; the dead that nobody asked for are left out."""
    found = {}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                found[int(entry.name)] = int(parent), (entry / "cmdline").read_text().replace("\0", " ")
    return found


def alive(pid: int) -> bool:
    """Whether that process lives."""
    return pid in _processes()


def children(pid: int) -> list[int]:
    """The process ids of its children."""
    return [child for child, (parent, _) in _processes().items() if parent == pid]


def postgres_of(state: Path) -> list[int]:
    """The processes of the embedded server of that state directory."""
    found = []
    for pid in _processes():
        with contextlib.suppress(OSError):
            if Path(os.readlink(f"/proc/{pid}/cwd")) == state / "postgres" / "data":
                found.append(pid)
    return found


def kill_all(pids: Iterable[int]) -> None:
    """SIGKILL to each that still lives."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@dataclass
class Asked:
    """What a caller that asked all the time was answered."""

    answers: list[tuple[int, Any]] = field(default_factory=list)
    broken: list[BaseException] = field(default_factory=list)

    @property
    def refused(self) -> list[BaseException]:
        """Connections that nobody took."""
        return [fault for fault in self.broken if isinstance(fault, aiohttp.ClientConnectorError)]

    @property
    def statuses(self) -> set[int]:
        return {status for status, _ in self.answers}


class Daemon:
    """One daemon on one directory; it may be started again after it ended."""

    def __init__(self, home: Path, manager: str, database: str = "embedded") -> None:
        self.home = home
        self.config = home / "bridge.toml"
        self.state = home / "state"
        self.http, self.admin = free_port(), free_port()
        self.token = TOKEN
        self._database = database
        self._log = home / "log"
        self._process: asyncio.subprocess.Process | None = None
        self._values = {"http": self.http, "admin": self.admin, "token": TOKEN, "key": KEY, "manager": manager}
        self.configure()

    def configure(self, more: str = "", **values: str) -> None:
        """Write bridge.toml; what is not said stays as it was, but `more`, which goes to its end."""
        self._values |= values
        self.token = str(self._values["token"])
        self.config.touch(0o600)
        self.config.write_text(TOML.format(**self._values) + more)

    def write(self, people: Mapping[int, str], name: str = "staff.txt") -> None:
        """The n-th person's number and name, as a file that appears at once."""
        made = self.home / f"{name}.new"
        made.write_text("".join(f"+{number(n)}:{who}:\n" for n, who in people.items()))
        made.replace(self.home / name)

    async def start(self, log: int | None = None) -> None:
        """Start the keeper; it need not be ready. `log`: the descriptor of what it writes its log to, for the file."""
        command = ["-m", "bridge.daemon", "--config", str(self.config), "--state-dir", str(self.state), "--log", "json"]
        places = ["--http", f"127.0.0.1:{self.http}", "--admin", f"127.0.0.1:{self.admin}"]
        with self._log.open("ab") as file:
            out = file.fileno() if log is None else log
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *command,
                *places,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=environment(BRIDGE_DATABASE=self._database),
            )

    async def ready(self, within: float = 30.0) -> None:
        """Lookups are answered."""
        await until(lambda: self.answers(), within, "lookups are answered")

    async def answers(self) -> bool:
        """Whether a lookup is answered, with the token in force."""
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            return (await self.lookup(number(0)))[0] == 200
        return False

    async def ended(self, within: float = 10.0) -> int:
        """Wait for its end; the exit code."""
        assert self._process is not None
        return await asyncio.wait_for(self._process.wait(), within)

    async def stop(self) -> tuple[int, float]:
        """SIGTERM; the exit code and the seconds that it took."""
        began = time.monotonic()
        self.signal(signal.SIGTERM)
        return await self.ended(20), time.monotonic() - began

    async def end(self) -> None:
        """Leave nothing behind, whatever state it is in."""
        if self._process and self._process.returncode is None:
            self.signal(signal.SIGTERM)
            try:
                await self.ended(20)
            except TimeoutError:
                self.signal(signal.SIGKILL)
                await self._process.wait()
        kill_all([*self._strays(), *postgres_of(self.state)])

    def _strays(self) -> list[int]:
        return [pid for pid, (_, line) in _processes().items() if str(self.config) in line]

    @property
    def pid(self) -> int:
        """The keeper's process id."""
        assert self._process is not None
        return self._process.pid

    def signal(self, order: int) -> None:
        """Send the keeper a signal."""
        assert self._process is not None
        self._process.send_signal(order)

    def child(self, name: str) -> int | None:
        """The process id of `worker` or `answer`, while there is one."""
        lines = _processes().items()
        return next((pid for pid, (parent, line) in lines if parent == self.pid and f"bridge.{name} " in line), None)

    def children(self) -> list[int]:
        """The process ids of both."""
        return children(self.pid)

    async def kill(self, name: str) -> int:
        """SIGKILL one of the two, and wait for the next of its kind: the new process id."""
        old = await until(lambda: self.child(name), why=f"there is a {name}")
        os.kill(old, signal.SIGKILL)
        new: int = await until(lambda: (self.child(name) or old) != old and self.child(name), why=f"a new {name}")
        return new

    def log(self, event: str = "") -> list[dict[str, Any]]:
        """What it logged, or those events of it."""
        said = []
        for line in self._log.read_text().splitlines():
            with contextlib.suppress(ValueError):
                said.append(json.loads(line))
        return [one for one in said if not event or one.get("event") == event]

    def text(self) -> str:
        """All that it wrote."""
        return self._log.read_text()

    # Who asks it

    async def lookup(self, asked: str, token: str = "") -> tuple[int, Any]:
        """Status and document of one lookup on a connection of its own."""
        url = f"http://127.0.0.1:{self.http}/services/Lookup"
        headers = {"X-Execution-Token": token or self.token}
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(15)) as http,
            http.post(url, json={"inputs": {"phoneNumber": asked}}, headers=headers) as answer,
        ):
            return answer.status, await answer.json()

    async def names(self, asked: str) -> list[str]:
        """Who has that number."""
        status, found = await self.lookup(asked)
        assert status == 200, found
        return [one["name"] for one in found]

    @contextlib.asynccontextmanager
    async def asked_all_the_time(self, what: str) -> AsyncIterator[Asked]:
        """Somebody looks that number up, one connection after the other, during the block."""
        asked = Asked()

        async def ask() -> None:
            while True:
                try:
                    asked.answers.append(await self.lookup(what))
                except (aiohttp.ClientError, ConnectionError, TimeoutError) as fault:
                    asked.broken.append(fault)
                await asyncio.sleep(0.01)

        asking = asyncio.create_task(ask())
        try:
            yield asked
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)


@contextlib.asynccontextmanager
async def running(
    home: Path, manager: str, database: str, people: Mapping[int, str] = {0: "Ann Lee"}
) -> AsyncIterator[Daemon]:
    """A daemon that answers, with these people in its source; ended whatever happens."""
    daemon = Daemon(home, manager, database)
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


def book(people: Iterable[tuple[int, str]]) -> dict[str, tuple[str, str, str]]:
    """What the Manager holds of people with two names each."""
    names = {number(n): who.split() for n, who in people}
    return {key: (first, last, "") for key, (first, last) in names.items()}
