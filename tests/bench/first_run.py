"""A first and an unchanged run of a vCard file into the embedded database: contacts a second, memory, cost by size.

    .venv/bin/python tests/bench/first_run.py [--contacts 100000]… [--sink]

Each size, and a tenth of the first one, runs in a process of its own against a fresh embedded database, three times,
of which the median counts: once, then unchanged, timed by wall clock from the start of the run to its commit. CPU and
peak resident memory are of the process and of the one that reads a large file, together; PostgreSQL's CPU is told
apart, its memory is not counted. The floor beside it copies the same bytes of contact rows into an unlogged table, with
nothing else. `--sink`: what a Manager should hold of the numbers is written down as well.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import goals
import used

from bridge import assembly, config, embedded, keys, store, sync
from bridge.store import Store

WANTED = {"first": 8_000, "unchanged": 20_000}
"""Contacts a second."""
MEMORY = 250
ROUNDS = 3
FIRST = ("Anna", "Jörg", "Marie", "Luc", "Zoë", "Peter", "Ines", "Tom", "Léa", "Max")
LAST = ("Müller", "Weber", "Schmit", "Hoffmann", "Thill", "Klein", "Wagner", "Becker", "Faber", "Kieffer")


def write(path: Path, contacts: int) -> int:
    """A vCard file of so many contacts, two or three numbers each; the count of numbers."""
    pick = random.Random(1)
    numbers = 0
    with path.open("w", encoding="utf-8", newline="") as out:
        for n in range(contacts):
            first, last = pick.choice(FIRST), f"{pick.choice(LAST)}-{n % 977}"
            lines = [
                f"UID:{n:08x}-5b1c-4ea2-9bd5-{n * 7919 % 0xFFFFFFFFFFFF:012x}",
                f"FN:{first} {last}",
                f"N:{last};{first};;;",
                f"ORG:Firma {n // 5} S.à r.l.",
                f"EMAIL;TYPE=WORK:{first.lower()}.{n}@example.com",
                f"TEL;TYPE=CELL:+352 621 {n // 1000 % 1000:03} {n % 1000:03}",
                f"TEL;TYPE=WORK,VOICE:+49 30 {1_000_000 + n}",
            ]
            if n % 2:
                lines.append(f"TEL;TYPE=HOME:+33 1 {10_000_000 + n * 13 % 89_999_999}")
            numbers += 2 + n % 2
            lines.append("ADR;TYPE=WORK:;;1, rue de la Gare;Luxembourg;;1234;Luxembourg")
            out.write("\r\n".join(["BEGIN:VCARD", "VERSION:3.0", *lines, "END:VCARD", ""]))
    return numbers


async def measure(path: Path, state: Path, *, sink: bool) -> dict[str, float]:
    """Both runs, in this process."""
    server = await embedded.open(state)
    db = Store(server.dsn)
    try:
        await store.migrate(db)
        source = keys.File(path=path, region="LU")
        tenant = config.Tenant("default", "LU", 5, {"book": source}, {}, None, {}, None, None)
        job = replace(assembly.job(tenant, "book"), sinks={"pbx": ["book"]} if sink else {})
        got: dict[str, float] = {}
        for run in ("first", "unchanged"):
            begun, cpu, server_cpu = time.perf_counter(), _cpu(), used.server(state)
            await sync.run(db, job, assembly.source(tenant, "book"), full=True)
            got[run] = time.perf_counter() - begun
            got[f"{run} cpu"] = _cpu() - cpu
            got[f"{run} server cpu"] = used.server(state) - server_cpu
            reader = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024  # of the largest that has ended
            got[f"{run} peak"] = used.peak(os.getpid()) + reader
        return {**got, "floor": await floor(db)}
    finally:
        await db.close()
        await server.close()


def _cpu() -> float:
    return used.cpu(os.getpid(), ended_children=True)


async def floor(db: Store) -> float:
    """Seconds to COPY the stored contacts' bytes into a bare table."""
    rows = [tuple(row) for row in await db.fetch("select id, body from contact")]
    async with db.session() as session:
        await session.execute("create unlogged table floor (id text, body json)")
        begun = time.perf_counter()
        await session.copy("floor", ("id", "body"), rows)
        return time.perf_counter() - begun


def apart(contacts: int, *, sink: bool) -> dict[str, float]:
    """Measure one size in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "book.vcf"
        write(path, contacts)
        words = [sys.executable, __file__, "--path", str(path), "--state", folder, *(["--sink"] if sink else [])]
        made = subprocess.run(words, check=True, capture_output=True, text=True)
        got: dict[str, float] = json.loads(made.stdout.splitlines()[-1])
        return got


def show(contacts: int, got: dict[str, float]) -> None:
    for run, beside in (("first", f", {got['first'] / got['floor']:.1f} times the bare COPY"), ("unchanged", "")):
        own, server = (got[f"{run} {which}"] * 1e6 / contacts for which in ("cpu", "server cpu"))
        print(
            f"{contacts:>9,} contacts {run:9} {contacts / got[run]:>8,.0f}/s ({got[run]:.2f} s{beside}), CPU a contact "
            f"{own:.0f} us and PostgreSQL's {server:.0f}, {got[f'{run} peak']:.0f} MB resident",
            flush=True,
        )


def main() -> int:
    options = argparse.ArgumentParser()
    options.add_argument("--contacts", type=int, action="append")
    options.add_argument("--sink", action="store_true")
    options.add_argument("--path", type=Path)
    options.add_argument("--state", type=Path)
    asked = options.parse_args()
    if asked.path:
        print(json.dumps(asyncio.run(measure(asked.path, asked.state, sink=asked.sink))))
        return 0
    sizes = asked.contacts or [100_000]
    costs, every = {}, {}
    for contacts in (sizes[0] // 10, *sizes):
        rounds = [apart(contacts, sink=asked.sink) for _ in range(ROUNDS)]
        got = every[contacts] = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
        show(contacts, got)
        costs[contacts] = (got["first"] / contacts, (got["first cpu"] + got["first server cpu"]) / contacts)
    (wall, cpu), *rest = costs.values()
    good = True
    for contacts, (large_wall, large_cpu) in zip(sizes, rest, strict=True):
        many = f"{contacts:,} contacts from a vCard file"
        for run, wanted in WANTED.items():
            good &= goals.at_least(f"{many}: {run} run", contacts / every[contacts][run], wanted, "contacts a second")
        peak = max(every[contacts]["first peak"], every[contacts]["unchanged peak"])
        good &= goals.at_most(f"{many}: memory of what runs, its reader included", peak, MEMORY, "MB")
        than = f"{many}: cost of a contact, as a multiple of that at {sizes[0] // 10:,}"
        good &= goals.at_most(f"{than}, by CPU", large_cpu / cpu, 1.2)
        goals.shown(f"{than}, by the clock", f"{large_wall / wall:.2f}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
