"""A phone book of a million numbers: how soon and how fast it comes, in what memory, and how dear a poll is.

    python tests/bench/phonebook_rate.py [--numbers 1000000] [--readers 50] [--polls 4000] [--rounds 5] [--state DIR]

The book is made once, by the first who asks; then one reads it, many do at once, and polls that change nothing are
held against a bare aiohttp handler that answers 304. `--state` keeps the filled database for the next time. Besides
wall time the CPU time of the server is given, which other work on the machine does not change. Exit code 1 where a
figure is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import http.client
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import goals
from lookup_rate import HERE, fill, free_port

from bridge import embedded
from bridge.store import Store

AUTH = "Basic " + base64.b64encode(b"phones:phones-password").decode()
WANTED = {"first byte": 0.2, "MB/s": 100.0, "MB resident": 300.0, "304": 0.8}
WORDS = {
    "first byte": "until the first byte",
    "MB/s": "one reader",
    "MB resident": "memory of what answers, at {readers} readers at once",
    "304": "answers that nothing changed, as a share of a bare aiohttp handler's, by CPU",
}
UNITS = {"first byte": "s", "MB/s": "MB/s", "MB resident": "MB"}
_TICKS = os.sysconf("SC_CLK_TCK")


@contextmanager
def serving(*command: str, env: dict[str, str] | None = None) -> Iterator[int]:
    """A server in a process of its own, for the block; its process id."""
    with subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **(env or {})},
        text=True,
    ) as process:
        assert process.stdout
        assert any(line.strip() == "ready" for line in process.stdout), "the server did not start"
        # What else it says is read, or it would stop at a full pipe.
        threading.Thread(target=process.stdout.read, daemon=True).start()
        try:
            yield process.pid
        finally:
            process.terminate()


def request(port: int, **headers: str) -> tuple[float, int, dict[str, str]]:
    """One GET: seconds to the first byte of the body, its length, the headers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    began = time.perf_counter()
    connection.request("GET", "/phonebook/staff", headers={"Authorization": AUTH, **headers})
    reply = connection.getresponse()
    assert reply.status == 200, reply.status
    size = len(reply.read(1))
    first = time.perf_counter() - began
    while piece := reply.read(1 << 20):
        size += len(piece)
    connection.close()
    return first, size, {name.lower(): value for name, value in reply.getheaders()}


def poll(port: int, connections: int, requests: int, **headers: str) -> dict[str, Any]:
    """What the load generator says."""
    told = {"Host": "127.0.0.1", "Authorization": AUTH, **headers}
    head = "GET /phonebook/staff HTTP/1.1\r\n" + "".join(f"{n}: {v}\r\n" for n, v in told.items()) + "\r\n"
    command = [sys.executable, str(HERE / "pollers.py"), str(port), str(connections), str(requests)]
    said: dict[str, Any] = json.loads(
        subprocess.run(command, input=head.encode(), capture_output=True, check=True).stdout
    )
    return said


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def peak(pid: int) -> float:
    """The most memory that it ever had, in MB."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) / 1024


def measure(given: argparse.Namespace, dsn: str, folder: Path) -> dict[str, float]:
    """Every figure, by its name in WANTED."""
    port, floor = free_port(), free_port()
    told = folder / "bridge.toml"
    told.write_text(
        f'region = "LU"\n[http]\nlisten = "127.0.0.1:{port}"\n[admin]\nlisten = "127.0.0.1:{free_port()}"\n'
        '[source.crm]\ntype = "file"\npath = "none.vcf"\n'
        '[phonebook.staff]\nusers = { phones = "phones-password" }\n'
    )
    told.chmod(0o600)
    env = {"BRIDGE_DSN": dsn, "BRIDGE_REPORT": "1", "STATE_DIRECTORY": str(folder), "CACHE_DIRECTORY": str(folder)}
    figures: dict[str, float] = {}
    with (
        serving(str(HERE / "floor_unchanged.py"), str(floor)) as bare,
        serving("-m", "bridge.answer", "--config", str(told), env=env) as pid,
    ):
        first, size, headers = request(port)
        print(f"made in {first:.1f} s: {size / 1e6:.0f} MB; resident {peak(pid):.0f} MB, CPU {cpu(pid):.1f} s")
        figures["first byte"] = max(request(port)[0] for _ in range(3))
        before = cpu(pid)
        alone = poll(port, 1, 3)
        figures["MB/s"] = alone["bytes"] / 1e6 / alone["seconds"]
        print(
            f"one reader: {figures['MB/s']:.0f} MB/s, {alone['bytes'] / 1e6 / (cpu(pid) - before):.0f} MB a CPU second"
        )
        many = poll(port, given.readers, 1)
        rate = many["bytes"] / 1e6 / many["seconds"]
        print(f"{given.readers} readers: {rate:.0f} MB/s together, the last first byte after {many['first']:.2f} s")
        figures["MB resident"] = peak(pid)
        figures["304"] = shares(given, (bare, floor), (pid, port), headers["etag"])
    return figures


def shares(given: argparse.Namespace, bare: tuple[int, int], ours: tuple[int, int], tag: str) -> float:
    """Polls that change nothing, as a share of what a bare handler answers in the same CPU time."""
    found = []
    for turn in range(given.rounds + 1):
        cost = []
        for pid, port in (bare, ours):
            before = cpu(pid)
            said = poll(port, 16, given.polls // 16, **{"If-None-Match": tag})
            assert list(said["statuses"]) == ["304"], said
            cost.append((cpu(pid) - before) / said["answers"])
            name, rate = "bare" if pid == bare[0] else "ours", said["answers"] / said["seconds"]
            print(f"{name} {rate:6.0f}/s  {cost[-1] * 1e6:.0f} µs of CPU")
        if turn:  # the first one warms up
            found.append(cost[0] / cost[1])
    return statistics.median(found)


def verdict(given: argparse.Namespace, figures: dict[str, float]) -> bool:
    """Print each figure beside what is wanted; whether all are reached."""
    good = True
    for name, wanted in WANTED.items():
        most = name in ("first byte", "MB resident")
        what = f"phone book of {given.numbers:,} numbers: {WORDS[name].format(readers=given.readers)}"
        good &= (goals.at_most if most else goals.at_least)(what, figures[name], wanted, UNITS.get(name, ""))
    return good


async def prepared(state: Path, numbers: int) -> embedded.Embedded:
    server = await embedded.open(state)
    await fill(server.dsn, numbers)
    db = Store(server.dsn)
    await db.execute("update source set contacts = (select count(*) from contact), read_at = now(), changed_at = now()")
    await db.close()
    return server


def main() -> int:
    options = argparse.ArgumentParser()
    options.add_argument("--numbers", type=int, default=1_000_000)
    options.add_argument("--readers", type=int, default=50)
    options.add_argument("--polls", type=int, default=4_000)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--state", type=Path)
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="bridge-bench-") as folder, asyncio.Runner() as runner:
        server = runner.run(prepared(given.state or Path(folder), given.numbers))
        try:
            return 0 if verdict(given, measure(given, server.dsn, Path(folder))) else 1
        finally:
            runner.run(server.close())


if __name__ == "__main__":
    sys.exit(main())
