"""First load from each stand-in CRM, the same unchanged, and 100 changed: the command's own time, memory, and calls.

    .venv/bin/python tests/bench/crm_sync.py [--crm NAME]… [--contacts N] [--changed 100]

The stand-in and PostgreSQL are processes of their own, so that CPU seconds and memory are those of `bridge sync`
alone; its start (Python, libraries) is in them. "wall" is what a person waits for, the stand-in's time included.
Default: Salesforce with 200,000 contacts (by Bulk 2.0), the others with 50,000. Exit code 1 where a goal is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[2])]

import goals

from bridge import embedded

HERE = Path(__file__).parent
CRMS = {"salesforce": 200_000, "sugarcrm": 50_000, "suitecrm": 50_000, "zimbra": 50_000}
RATE, MEMORY, CHANGED = 6_000, 300, 2.0


@dataclass(frozen=True)
class Ran:
    """One `bridge sync`: seconds of wall, seconds of its own CPU, peak megabytes, calls to the CRM, what it says."""

    wall: float
    cpu: float
    megabytes: float
    calls: int
    stand: float
    said: dict[str, Any]


class Stand:
    """The stand-in's process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin
        assert process.stdout
        self._in, self._out = process.stdin, process.stdout
        self.table: dict[str, str] = json.loads(self._out.readline())

    def ask(self, line: str) -> str:
        self._in.write(line + "\n")
        self._in.flush()
        return self._out.readline()

    def calls(self) -> tuple[int, float]:
        said = json.loads(self.ask("calls"))
        return said["calls"], said["cpu"]


@contextlib.contextmanager
def standing(name: str, contacts: int) -> Iterator[Stand]:
    words = [sys.executable, str(HERE / "crm_stand.py"), name, str(contacts)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Stand(process)
        process.communicate()


def configure(folder: Path, dsn: str, table: dict[str, str]) -> None:
    file = folder / "bridge.toml"
    file.touch(0o600)
    keys = "\n".join(f"{name} = {json.dumps(value)}" for name, value in table.items())
    file.write_text(f'region = "LU"\n[database]\nurl = "{dsn}"\n[source.crm]\n{keys}\n')


def sync(folder: Path, stand: Stand, *words: str) -> Ran:
    """Run `bridge sync` as a process and take its own measure."""
    _, before = stand.calls()
    out = folder / "out.json"
    begun = time.perf_counter()
    command = [sys.executable, "-m", "bridge", "sync", "--json", "--no-push", *words]
    with out.open("wb") as file:
        process = subprocess.Popen(
            command, cwd=folder, stdout=file, env={**os.environ, "PYTHONPATH": str(HERE.parents[1])}
        )
        _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    [said] = json.loads(out.read_text())["sources"]
    assert not said["error"], said
    calls, after = stand.calls()
    return Ran(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, calls, after - before, said)


def show(name: str, what: str, ran: Ran, contacts: int) -> None:
    counts = ", ".join(f"{ran.said[key]:,} {key}" for key in ("added", "changed", "removed") if ran.said[key])
    print(
        f"{name:10} {what:12} {ran.wall:6.1f} s wall, {ran.cpu:6.2f} s own CPU ({contacts / ran.cpu:8,.0f}/s), "
        f"{ran.megabytes:4.0f} MB, {ran.calls:4} calls, stand-in {ran.stand:5.1f} s  {counts}",
        flush=True,
    )


def measure(name: str, contacts: int, changed: int, dsn: str) -> bool:
    with tempfile.TemporaryDirectory(prefix="bridge-bench-") as place, standing(name, contacts) as stand:
        folder = Path(place)
        configure(folder, dsn, stand.table)
        first = sync(folder, stand)
        assert first.said["added"] == contacts, first.said
        show(name, "first", first, contacts)
        full = sync(folder, stand, "--full")
        assert not full.said["changed"], full.said
        show(name, "unchanged", full, contacts)
        time.sleep(1.1)
        assert stand.ask(f"change {changed}").strip() == "changed"
        delta = sync(folder, stand)
        assert delta.said["changed"] == changed, delta.said
        show(name, f"{changed} changed", delta, changed)
        what = f"{contacts:,} contacts from {name}, by `bridge sync`'s own CPU"
        good = goals.at_least(f"{what}: the first run, in {first.calls} calls", contacts / first.cpu, RATE, "a second")
        good &= goals.at_most(f"{what}: its memory", max(first.megabytes, full.megabytes), MEMORY, "MB")
        return goals.at_most(f"{what}: {changed} changed, in {delta.calls} calls", delta.cpu, CHANGED, "s") and good


async def database(folder: Path) -> embedded.Embedded:
    return await embedded.open(folder)


def main() -> int:
    options = argparse.ArgumentParser()
    options.add_argument("--crm", action="append", choices=list(CRMS))
    options.add_argument("--contacts", type=int)
    options.add_argument("--changed", type=int, default=100)
    asked = options.parse_args()
    good = True
    for name in asked.crm or CRMS:
        with tempfile.TemporaryDirectory(prefix="bridge-bench-") as place, asyncio.Runner() as runner:
            server = runner.run(database(Path(place)))
            try:
                good &= measure(name, asked.contacts or CRMS[name], asked.changed, server.dsn)
            finally:
                runner.run(server.close())
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
