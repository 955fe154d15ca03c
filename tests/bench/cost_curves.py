"""What a store of so many contacts costs: time, memory, disk, requests to the CRM, bytes written by PostgreSQL.

    .venv/bin/python tests/bench/cost_curves.py [--large] [--contacts N]… [--figures deploy/figures]

For 10 thousand, 100 thousand and 1 million contacts (`--large`: 3 million too): a stand-in CRM (Salesforce, by Bulk
2.0) and a stand-in Manager in a process of their own, the embedded database, and a real daemon that reads

    first           everything, into an empty database
    nothing new     what changed since, which is nothing
    unchanged       everything again
    1,000 changed   what changed since, pushed to the Manager
    1 % changed     likewise

"run" is what the run took, "delivered" the time from its begin until the Manager had had its pushes, "command" what
the command took that asked for it, the start of Python and the end of the pushes included. Memory is
the peak in that run: the worker's, and the sum of the worker's, the answering process's and their keeper's. Making the
contacts is in none of it, nor is delivering the first ones: the entries are written down as delivered, and the tables
vacuumed, as the database itself does in the minutes after. "WAL" is all that PostgreSQL wrote to its log meanwhile.
Tables go to the output and to FIGURES/costs.md, plots beside them.
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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE)]

import goals
import svg
import used

from bridge import embedded, store
from bridge.store import Store

SIZES = (10_000, 100_000, 1_000_000)
LARGE = 3_000_000
PROCESSES = {"worker": b"bridge.worker", "answering": b"bridge.answer", "keeper": b""}
KEY = "bench-key"
WANTED = {(1_000_000, "first"): 150, (1_000_000, "unchanged"): 50, (1_000_000, "1,000 changed"): 3}
"""Seconds at most."""
MEMORY = 300
"""MB at most."""
KINDS = ("first", "nothing new", "unchanged", "1,000 changed")
DELIVERED = """
update entry e set state = 'clean', sent = null, sent_at = null, acked_names = e.names, acked_kind = e.kind,
    acked_contact = e.contact, acked = json_build_object('first_name', c.body ->> 'first_name',
    'last_name', c.body ->> 'last_name', 'number', ltrim(e.number, '+'), 'company', c.body ->> 'company')
from contact c where c.pk = e.contact
"""
WELL = "update sink set error = '', denied = '', failing_since = null, probes = 0, due_at = null"
WRITTEN = "select sum(n_tup_ins + n_tup_upd + n_tup_del)::bigint from pg_stat_user_tables where relname = 'contact'"
HEADS = (
    *(
        "contacts",
        "what",
        "run s",
        "delivered s",
        "command s",
        "contacts/s",
        "worker CPU s",
        "PostgreSQL CPU s",
        "worker MB",
        "daemon MB",
    ),
    *("CRM requests", "Manager requests", "contact rows written", "WAL bytes a contact", "database MB"),
)


@dataclass(frozen=True)
class Cost:
    """One run: seconds, CPU seconds and peak megabytes by process, and what was asked and written."""

    contacts: int
    what: str
    run: float
    delivered: float
    all: float
    cpu: Mapping[str, float]
    peak: Mapping[str, float]
    requests: int
    pushes: int
    rows: int
    wal: int
    disk: int

    def cells(self) -> tuple[str, ...]:
        cpu, peak = self.cpu, self.peak
        return (
            *(f"{self.contacts:,}", self.what, f"{self.run:.1f}", f"{self.delivered:.1f}", f"{self.all:.1f}"),
            f"{self.contacts / self.run:,.0f}",
            *(f"{cpu['worker']:.2f}", f"{cpu['PostgreSQL']:.2f}", f"{peak['worker']:.0f}", f"{sum(peak.values()):.0f}"),
            *(f"{self.requests:,}", f"{self.pushes:,}", f"{self.rows:,}"),
            *(f"{self.wal / self.contacts:,.1f}", f"{self.disk / 1e6:,.0f}"),
        )


class Stand:
    """The stand-ins' process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin
        assert process.stdout
        self._in, self._out = process.stdin, process.stdout
        self.told: dict[str, Any] = json.loads(self._out.readline())

    def ask(self, line: str) -> int:
        return int(self.exactly(line))

    def exactly(self, line: str) -> float:
        self._in.write(line + "\n")
        self._in.flush()
        return float(json.loads(self._out.readline()))


@contextlib.contextmanager
def standing(contacts: int) -> Iterator[Stand]:
    words = [sys.executable, str(HERE / "cost_stand.py"), str(contacts), KEY]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Stand(process)
        finally:
            process.terminate()


@contextlib.contextmanager
def daemon(home: Path) -> Iterator[int]:
    """The daemon's number, for the block."""
    with (home / "log").open("wb") as log:
        words = [sys.executable, "-m", "bridge", "run"]
        process = subprocess.Popen(words, cwd=home, env=environment(), stdout=log, stderr=log)
        try:
            yield process.pid
        finally:
            process.terminate()
            process.wait()


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(HERE.parents[1])}


def configure(home: Path, told: Mapping[str, Any]) -> None:
    lines = ['region = "LU"', 'log = "json"', 'state_dir = "state"']
    lines += [f'[{name}]\nlisten = "127.0.0.1:0"' for name in ("http", "admin")]
    lines += ["[source.crm]", *(f"{key} = {json.dumps(value)}" for key, value in told["source"].items())]
    lines += ['every = "12h"', 'full = "24h"', f'[sink.pbx]\ntype = "ccm"\nurl = "{told["manager"]}"']
    lines += [f'security_key = "{KEY}"', "rate = 1_000_000", "concurrency = 16"]
    file = home / "bridge.toml"
    file.touch(0o600)
    file.write_text("\n".join(lines) + "\n")


class Place:
    """A daemon at work, its database and its stand-ins, and what they have used so far."""

    def __init__(self, contacts: int, home: Path, parent: int, db: Store, stand: Stand, runner: asyncio.Runner) -> None:
        self._contacts, self._home, self._parent = contacts, home, parent
        self._db, self._stand, self._runner = db, stand, runner

    def value(self, sql: str) -> Any:
        return self._runner.run(self._db.value(sql))

    def execute(self, sql: str) -> None:
        self._runner.run(self._db.execute(sql))

    def first(self) -> Cost:
        """The run that the daemon begins by itself."""
        begun, wal = time.perf_counter(), self._wal()
        before = {**dict.fromkeys(PROCESSES, 0.0), "PostgreSQL": self._cpu()["PostgreSQL"]}
        while not (seconds := self.value("select max(seconds) from run")):
            time.sleep(0.2)
        assert self.value("select contacts from source") == self._contacts, (self._home / "log").read_text()
        return self._cost("first", seconds, time.perf_counter() - begun, before, wal, 0)

    def run(self, what: str, *words: str) -> Cost:
        """One that a command asks for."""
        for number in processes(self._parent).values():
            used.peak_begins(number)
        self._stand.ask("calls")
        self._stand.ask("taken")
        wal, rows, before = self._wal(), self.value(WRITTEN), self._cpu()
        begun = time.perf_counter()
        command = [sys.executable, "-m", "bridge", "sync", "--json", *words]
        made = subprocess.run(command, cwd=self._home, env=environment(), capture_output=True, text=True, check=False)
        took = time.perf_counter() - begun
        assert made.returncode == 0, f"{made.stdout}{made.stderr}{self._warnings()}"
        [said] = json.loads(made.stdout)["sources"]
        return self._cost(what, said["seconds"], took, before, wal, rows)

    def _warnings(self) -> str:
        """What the daemon's log has above mere news, the latest."""
        lines = (self._home / "log").read_text().splitlines(keepends=True)
        return "".join([line for line in lines if '"level":"info"' not in line and '"level":"debug"' not in line][-40:])

    def settle(self, changed: int) -> None:
        """Everything is delivered, and what changes later is there to be changed."""
        self.execute(DELIVERED)
        self._stand.ask(f"admit {changed}")
        self.execute(WELL)
        self.execute("vacuum (analyze) contact, number, entry")

    def _cpu(self) -> dict[str, float]:
        """Seconds of CPU that each has used; PostgreSQL's processes, ended ones too, are one."""
        own = {name: used.cpu(number) for name, number in processes(self._parent).items()}
        return {**own, "PostgreSQL": used.server(self._home / "state")}

    def _wal(self) -> int:
        return int(self.value("select pg_current_wal_insert_lsn() - '0/0'"))

    def _cost(self, what: str, run: float, all: float, before: Mapping[str, float], wal: int, rows: int) -> Cost:
        after = self._cpu()
        begun = float(self.value("select extract(epoch from max(started_at)) from run"))
        time.sleep(1.5)  # a session says what it wrote a second later, or at its end
        cost = Cost(
            self._contacts,
            what,
            run,
            max(self._stand.exactly("last") - begun, 0.0) if what.endswith(" changed") else run,
            all,
            {name: after[name] - before[name] for name in before},
            {name: used.peak(number) for name, number in processes(self._parent).items()},
            self._stand.ask("calls"),
            self._stand.ask("taken"),
            self.value(WRITTEN) - rows,
            self._wal() - wal,
            self.value("select pg_database_size(current_database())"),
        )
        print(" | ".join(f"{head} {cell}" for head, cell in zip(HEADS, cost.cells(), strict=True)), flush=True)
        return cost


def measure(contacts: int) -> list[Cost]:
    """All runs of one size."""
    with contextlib.ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bridge-bench-")))
        stand = stack.enter_context(standing(contacts))
        configure(home, stand.told)
        runner = stack.enter_context(asyncio.Runner())
        server = runner.run(_opened(home / "state"))
        stack.callback(lambda: runner.run(server.close()))
        db = Store(server.dsn)
        stack.callback(lambda: runner.run(db.close()))
        runner.run(store.migrate(db))
        parent = stack.enter_context(daemon(home))
        processes(parent)
        place = Place(contacts, home, parent, db, stand, runner)
        costs = [place.first()]
        changes = {f"{count:,} changed": count for count in (1_000, contacts // 100) if count <= contacts // 10}
        place.settle(max(changes.values()))
        costs += [place.run("nothing new"), place.run("unchanged", "--full")]
        for what, count in changes.items():
            time.sleep(1.1)  # the CRM's stamps are whole seconds
            stand.ask(f"change {count}")
            costs.append(place.run(what))
        return costs


async def _opened(state: Path) -> embedded.Embedded:
    return await embedded.open(state)


def processes(keeper: int) -> dict[str, int]:
    """The daemon's processes by name, once they are there."""
    found = {"keeper": keeper}
    while len(found) < len(PROCESSES):
        for child in used.children(keeper):
            with contextlib.suppress(FileNotFoundError):
                words = Path(f"/proc/{child}/cmdline").read_bytes()
                found |= {name: child for name, module in PROCESSES.items() if module and module in words}
        time.sleep(0.01)
    return found


def table(costs: Sequence[Cost]) -> str:
    rows = [HEADS, tuple("---:" if n != 1 else "---" for n in range(len(HEADS))), *(cost.cells() for cost in costs)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def write(figures: Path, costs: Sequence[Cost]) -> None:
    """The table and the plots."""
    by_kind: dict[str, list[Cost]] = {}
    for cost in costs:
        for kind in _kinds(cost):
            by_kind.setdefault(kind, []).append(cost)
    seconds = {kind: [(one.contacts, one.run) for one in some] for kind, some in by_kind.items()}
    work = {kind: [(one.contacts, sum(one.cpu.values())) for one in some] for kind, some in by_kind.items()}
    peaks = {
        f"{name}, {kind}": [(one.contacts, one.peak[name]) for one in by_kind[kind]]
        for name in ("worker", "answering")
        for kind in ("first", "unchanged")
    }
    disk = {"after the first run": [(one.contacts, one.disk / 1e6) for one in by_kind["first"]]}
    figures.mkdir(parents=True, exist_ok=True)
    (figures / "costs.md").write_text(table(costs))
    for name, title, up, lines in (
        ("seconds", "How long a run takes", "seconds", seconds),
        ("cpu", "What a run costs, PostgreSQL included", "CPU seconds", work),
        ("memory", "Peak memory of the daemon's processes", "megabytes", peaks),
        ("disk", "The database on disk", "megabytes", disk),
    ):
        (figures / f"{name}.svg").write_text(svg.plot(title, "contacts", up, lines))


def _kinds(cost: Cost) -> list[str]:
    """The lines of a plot that it belongs to."""
    share = ["1 % changed"] if cost.what == f"{cost.contacts // 100:,} changed" else []
    return [cost.what, *share] if cost.what in KINDS else share


def verdict(costs: Sequence[Cost]) -> bool:
    """Print what is wanted of a million contacts, and of all; whether it is reached."""
    good = True
    for cost in costs:
        what = f"{cost.contacts:,} contacts from Salesforce, 1.7 times as many numbers, a sink: {cost.what}"
        if (seconds := WANTED.get((cost.contacts, cost.what))) is not None:
            good &= goals.at_most(f"{what}, until the Manager has it", cost.delivered, seconds, "s")
        if cost.what == "unchanged":
            good &= goals.at_most(f"{what}, contact rows written", cost.rows, 0)
            goals.shown(f"{what}, bytes of write-ahead log a contact", f"{cost.wal / cost.contacts:.1f}")
    peak = max(sum(cost.peak.values()) for cost in costs)
    most = max(cost.contacts for cost in costs)
    return goals.at_most(f"up to {most:,} contacts: all processes of the daemon at most", peak, MEMORY, "MB") and good


def main() -> int:
    options = argparse.ArgumentParser()
    options.add_argument("--contacts", type=int, action="append")
    options.add_argument("--large", action="store_true")
    options.add_argument("--figures", type=Path, default=HERE.parents[1] / "deploy" / "figures")
    asked = options.parse_args()
    sizes = asked.contacts or [*SIZES, *([LARGE] if asked.large else [])]
    costs: list[Cost] = []
    for size in sizes:
        costs += measure(size)
        write(asked.figures, costs)
    print("\n" + table(costs))
    return 0 if verdict(costs) else 1


if __name__ == "__main__":
    sys.exit(main())
