"""How many lookups a second, as a share of a bare aiohttp handler with a constant answer on the same machine.

    python tests/bench/lookup_rate.py [--numbers 1000000] [--asked 10000] [--connections 16] [--rounds 5] [--state DIR]

One round asks the floor, then numbers that were never asked before, then the same again. The first one is answered by
the database and warms up; then the answering process has time to read the tenant into memory. `--state` keeps the
filled database for the next time. Exit code 1 where a share is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import goals

from bridge import embedded, store
from bridge.postgres import ROLE, SUPERUSER
from bridge.store import Store

HERE = Path(__file__).parent
TOKEN = "benchmark-token"
QUIET = 12.0
"""Seconds without work after which the answering process is taken to have read the tenant: before it begins, and while
the database sorts, it does nothing, either."""
WANTED = {"never asked": 0.5, "asked before": 0.85}
BODY = """json_build_object('source', 'crm', 'id', i::text, 'first_name', 'Alexa', 'last_name', 'Holiday ' || i,
 'display_name', '', 'company', 'White Cross Co ' || i % 997, 'emails', json_build_array('a' || i || '@example.com'),
 'numbers', json_build_array(
   json_build_object('key', '+352' || 621000000 + 2 * i, 'kind', 'mobile', 'raw', '621 x', 'company', false),
   json_build_object('key', '+352' || 621000001 + 2 * i, 'kind', 'work', 'raw', '621 y', 'company', false)),
 'contact_url', 'https://crm.example.com/contact/' || i, 'company_url', 'https://crm.example.com/company/' || i % 997,
 'custom', json_build_array(json_build_array('Language', 'French')))"""
FILL = (
    "insert into source (tenant, name, type, rank) values ('default', 'crm', 'carddav', 0)",
    f"""insert into contact (tenant, pk, source, id, digest, checksum, names, named, callable, changed_at, body)
    select 'default', i, 'crm', i::text, '', '', 0, true, 2, now(), {BODY}
    from generate_series(0, $1::int / 2 - 1) i""",
    """insert into number (tenant, number, contact, kind, company)
    select 'default', '+352' || 621000000 + n, n / 2, 'mobile', false from generate_series(0, $1::int - 1) n""",
)


class Process:
    """What another process has used so far."""

    def __init__(self, pid: int) -> None:
        self._folder = Path(f"/proc/{pid}")

    @property
    def seconds(self) -> float:
        """Of CPU time."""
        fields = (self._folder / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def megabytes(self) -> float:
        """Of resident memory."""
        return int((self._folder / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    def settle(self) -> None:
        """Wait until it has done by itself what it was waiting to do, three minutes at most; say what that took."""
        before, memory, begun = self.seconds, self.megabytes, time.monotonic()
        last, busy = before, begun
        while time.monotonic() - begun < 180 and time.monotonic() - busy < QUIET:
            time.sleep(0.5)
            if self.seconds - last > 0.05:
                last, busy = self.seconds, time.monotonic()
        took = f"{self.seconds - before:.1f} s of CPU time in {busy - begun:.0f} s"
        print(f"tenant read into memory: {took}, {memory:.0f} MB before, {self.megabytes:.0f} MB after")


async def fill(dsn: str, numbers: int) -> None:
    """A store of so many numbers, two a contact."""
    db = Store(dsn)
    await store.migrate(db)
    if not await db.value("select count(*) from number"):
        await db.execute(FILL[0])
        await db.execute(FILL[1], numbers)
        await db.execute(FILL[2], numbers)
        async with db.session() as session:
            await session.execute("vacuum analyze")
    await db.close()
    superuser = Store(dsn.replace(f"{ROLE}@", f"{SUPERUSER}@"))
    await superuser.execute("checkpoint")
    await superuser.close()


@contextlib.contextmanager
def serving(*command: str, env: dict[str, str] | None = None, ready: str = "ready") -> Iterator[Process]:
    """A server in a process of its own, for the block."""
    with subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **(env or {})},
        text=True,
    ) as process:
        assert process.stdout
        assert any(line.strip() == ready for line in process.stdout), "the server did not start"
        try:
            yield Process(process.pid)
        finally:
            process.terminate()


def load(port: int, connections: int, numbers: list[int]) -> dict[str, float]:
    """What the load generator says."""
    asked = "".join(f"352{number}\n" for number in numbers)
    command = [sys.executable, str(HERE / "load.py"), str(port), str(connections), TOKEN]
    said: dict[str, float] = json.loads(
        subprocess.run(command, input=asked, stdout=subprocess.PIPE, check=True, text=True).stdout
    )
    return said


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def measure(options: argparse.Namespace, dsn: str, folder: Path) -> dict[str, list[float]]:
    """Lookups a second: of the floor, never asked, asked before."""
    port, floor_port = free_port(), free_port()
    told = folder / "bridge.toml"
    told.write_text(
        f'region = "LU"\n[http]\nlisten = "127.0.0.1:{port}"\n[admin]\nlisten = "127.0.0.1:{free_port()}"\n'
        f'[source.crm]\ntype = "file"\npath = "none.vcf"\n[connector]\ntoken = "{TOKEN}"\n'
    )
    told.chmod(0o600)
    # The process says `ready` to its keeper's pipe, which here is its standard output.
    env = {"BRIDGE_DSN": dsn, "BRIDGE_REPORT": "1"}
    pool = random.Random(1).sample(range(621000000, 621000000 + options.numbers), options.asked * (options.rounds + 1))
    rates: dict[str, list[float]] = {"floor": [], "never asked": [], "asked before": []}
    with (
        serving(str(HERE / "floor_aiohttp.py"), str(floor_port)),
        serving("-m", "bridge.answer", "--config", str(told), env=env) as answering,
    ):
        for turn in range(options.rounds + 1):
            numbers = pool[turn * options.asked : (turn + 1) * options.asked]
            for name, where in (("floor", floor_port), ("never asked", port), ("asked before", port)):
                before = answering.seconds
                said = load(where, options.connections, numbers)
                assert said["empty"] == 0, said
                rate, spent = said["answers"] / said["seconds"], (answering.seconds - before) / len(numbers)
                times = f"p50 {said['p50'] * 1e3:.2f} ms  p99 {said['p99'] * 1e3:.2f} ms"
                cost = f"  {spent * 1e6:3.0f} us of CPU time each" if where == port else ""
                print(f"{name:14} {rate:8.0f}/s  {times}{cost}{'' if turn else '  (by the database, not judged)'}")
                if turn:
                    rates[name].append(rate)
            if not turn:
                answering.settle()
    return rates


def verdict(rates: dict[str, list[float]], numbers: int) -> bool:
    """Print each share, the median of the rounds; whether all are reached."""
    good = True
    for name, wanted in WANTED.items():
        share = statistics.median(rate / floor for rate, floor in zip(rates[name], rates["floor"], strict=True))
        what = f"lookups in a store of {numbers:,} numbers, {name}, as a share of a bare aiohttp handler's rate"
        good &= goals.at_least(what, share, wanted)
    return good


async def prepared(state: Path, numbers: int) -> embedded.Embedded:
    server = await embedded.open(state)
    await fill(server.dsn, numbers)
    return server


def main() -> int:
    options = argparse.ArgumentParser()
    options.add_argument("--numbers", type=int, default=1_000_000)
    options.add_argument("--asked", type=int, default=10_000)
    options.add_argument("--connections", type=int, default=16)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--state", type=Path)
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="bridge-bench-") as folder, asyncio.Runner() as runner:
        server = runner.run(prepared(given.state or Path(folder), given.numbers))
        try:
            return 0 if verdict(measure(given, server.dsn, Path(folder)), given.numbers) else 1
        finally:
            runner.run(server.close())


if __name__ == "__main__":
    sys.exit(main())
