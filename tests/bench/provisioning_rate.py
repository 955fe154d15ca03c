"""Provisioning polls that change nothing, as a share of a bare aiohttp handler with the same constant answer.

    python tests/bench/provisioning_rate.py [--accounts 200] [--asked 6000] [--connections 16] [--rounds 15]

Every softphone has been there once before, so its password has been checked. One round asks the floor, then bridge,
on a connection for each poll, as the page shows it, and then on kept connections, as a proxy in front does.
Also said: the CPU time of the serving process for an answer, which a busy machine distorts less. Exit code 1 where the
share is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import goals
import uvloop
from aiohttp import web

from bridge import embedded, store
from bridge.accounts import giving, saving
from bridge.accounts.details import Change
from bridge.accounts.passwords import Passwords
from bridge.keys import Secret
from bridge.store import Store

WANTED = 0.5
ANSWER = b'{"update":false,"sipaccounts":[],"errmsg":""}'
HEAD = b"GET %b HTTP/1.1\r\nHost: provider.com\r\n%bCache-Control: max-age=0\r\nUser-Agent: SessionTalk/6.0.0\r\n\r\n"
CLOSE = b"Connection: close\r\n"
WAYS = ("a connection each", "kept connections")
"""As the page shows the request, and as a proxy in front sends it."""


# What is asked, each in a process of its own


async def floor(port: int) -> None:
    """A bare handler."""

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=ANSWER, content_type="application/json")

    app = web.Application()
    app.router.add_get("/provisioning", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    print("ready", flush=True)
    await asyncio.Event().wait()


class Asker(asyncio.Protocol):
    """One connection, with one poll under way; `close`: it has no second one."""

    def __init__(self, paths: collections.deque[bytes], odd: list[bytes], *, close: bool) -> None:
        self._paths, self._odd, self._close = paths, odd, close
        self._buffer, self._asked = b"", False
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        if not self._paths or (self._asked and self._close):
            self._transport.close()
            self.done.set_result(None)
            return
        self._asked = True
        self._transport.write(HEAD % (self._paths.popleft(), CLOSE if self._close else b""))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, body = self._buffer.partition(b"\r\n\r\n")
        if not end or len(body) < int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0]):
            return
        if body != ANSWER:
            self._odd.append(body)
        self._buffer = b""
        self._ask()

    def connection_lost(self, fault: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(fault or ConnectionError("the server hung up"))


async def load(port: int, connections: int, *, close: bool) -> None:
    """Ask the paths on standard input; prints the seconds that it took, and how many answers were others."""

    async def ask() -> None:
        while paths:
            _, asker = await loop.create_connection(lambda: Asker(paths, odd, close=close), "127.0.0.1", port)
            await asker.done

    paths = collections.deque(line.strip() for line in sys.stdin.buffer)
    odd: list[bytes] = []
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    await asyncio.gather(*(ask() for _ in range(connections)))
    print(json.dumps({"seconds": time.perf_counter() - began, "odd": len(odd)}))


# The measurement


async def fill(state: Path, count: int) -> embedded.Embedded:
    """So many accounts in an embedded database."""
    server = await embedded.open(state)
    db, passwords = Store(server.dsn), Passwords()
    await store.migrate(db)
    seal = await giving.seal(Secret(), state, make=True)
    made = [Change(f"u{n}", f"password-{n}", "sip", {"sipusername": f"user{n}"}) for n in range(count)]
    await saving.save(db, "default", made, seal, passwords, {})
    passwords.close()
    await db.close()
    return server


@contextlib.contextmanager
def serving(*command: str, env: dict[str, str] | None = None) -> Iterator[int]:
    """A server in a process of its own, whose id the block gets."""
    told = {**os.environ, **(env or {})}
    with subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=told, text=True
    ) as process:
        assert process.stdout
        assert any(line.strip() == "ready" for line in process.stdout), "the server did not start"
        try:
            yield process.pid
        finally:
            process.terminate()


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def ask(port: int, pid: int, connections: int, paths: list[str], way: str = WAYS[1]) -> tuple[float, float, int]:
    """Answers a second, CPU seconds of the server an answer, and answers that were no "nothing changed"."""
    before = cpu(pid)
    role = "load" if way == WAYS[1] else "load-each"
    command = [sys.executable, __file__, "--role", role, "--port", str(port), "--connections", str(connections)]
    done = subprocess.run(command, input="\n".join(paths), stdout=subprocess.PIPE, check=True, text=True)
    said = json.loads(done.stdout)
    return len(paths) / said["seconds"], (cpu(pid) - before) / len(paths), said["odd"]


Rounds = dict[str, list[tuple[float, float]]]
"""Of the floor and of bridge: answers a second, CPU seconds an answer."""


def measure(given: argparse.Namespace, dsn: str, folder: Path) -> dict[str, Rounds]:
    """Rounds by the way of asking."""
    port, floor_port, admin_port = (free_port() for _ in range(3))
    told = folder / "bridge.toml"
    told.write_text(
        f'region = "LU"\nstate_dir = "{folder}"\n[http]\nlisten = "127.0.0.1:{port}"\n'
        f'[admin]\nlisten = "127.0.0.1:{admin_port}"\n[provisioning]\n'
    )
    told.chmod(0o600)
    poll = "/provisioning?username=u{n}&password=password-{n}&reprovision=true&deviceId=3kQs875391li{n}"
    polls = [poll.format(n=n) for n in range(given.accounts)]
    asked = (polls * (given.asked // len(polls) + 1))[: given.asked]
    found: dict[str, Rounds] = {way: {"floor": [], "bridge": []} for way in WAYS}
    with (
        serving(__file__, "--role", "floor", "--port", str(floor_port)) as floor_pid,
        serving("-m", "bridge.answer", "--config", str(told), env={"BRIDGE_DSN": dsn, "BRIDGE_REPORT": "1"}) as pid,
    ):
        rate, each, _ = ask(port, pid, given.connections, polls)
        print(f"first polls    {rate:8.0f}/s  {each * 1e3:.2f} ms of CPU each: Argon2, and a device written down")
        for turn in range(given.rounds + 1):
            for way in WAYS:
                for name, place, server in (("floor", floor_port, floor_pid), ("bridge", port, pid)):
                    rate, each, odd = ask(place, server, given.connections, asked, way)
                    assert not odd, f"{odd} answers of {name} were no 'nothing changed'"
                    if turn:  # the first one warms up
                        found[way][name].append((rate, each))
                        print(f"{name:8} {way:20} {rate:8.0f}/s  {each * 1e6:.0f} µs of CPU each")
    return found


def verdict(found: dict[str, Rounds]) -> bool:
    """Print the shares, the medians of the rounds; whether what is wanted is reached."""
    good = True
    for way, rounds in found.items():
        pairs = list(zip(rounds["bridge"], rounds["floor"], strict=True))
        share = statistics.median(ours[0] / theirs[0] for ours, theirs in pairs)
        spared = statistics.median(theirs[1] / ours[1] for ours, theirs in pairs)
        what = f"provisioning polls that change nothing, {way}, as a share of a bare aiohttp handler's rate"
        good &= goals.at_least(what, share, WANTED)
        goals.shown(f"{what}, by CPU", f"{spared:.2f}")
    return good


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def main() -> int:
    options = argparse.ArgumentParser()
    options.add_argument("--accounts", type=int, default=200)
    options.add_argument("--asked", type=int, default=6_000)
    options.add_argument("--connections", type=int, default=16)
    options.add_argument("--rounds", type=int, default=15)
    options.add_argument("--role", choices=["floor", "load", "load-each"], help=argparse.SUPPRESS)
    options.add_argument("--port", type=int, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.role:
        close = given.role == "load-each"
        uvloop.run(floor(given.port) if given.role == "floor" else load(given.port, given.connections, close=close))
        return 0
    with tempfile.TemporaryDirectory(prefix="bridge-bench-") as folder, asyncio.Runner() as runner:
        server = runner.run(fill(Path(folder), given.accounts))
        try:
            return 0 if verdict(measure(given, server.dsn, Path(folder))) else 1
        finally:
            runner.run(server.close())


if __name__ == "__main__":
    sys.exit(main())
