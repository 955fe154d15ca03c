"""A first and an unchanged run of a vCard file into the embedded database: contacts a second, memory, cost by size.

    .venv/bin/python tests/bench/first_run.py [--contacts 100000]

Each size runs in a process of its own against a fresh embedded database: once, then unchanged, timed by wall clock
from the start of the run to its commit; the process's peak resident memory is without PostgreSQL. The floor beside
it copies the same bytes of contact rows into an unlogged table, with nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bridge import assembly, config, embedded, keys, store, sync
from bridge.store import Store

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


async def measure(path: Path, state: Path) -> dict[str, float]:
    """Both runs, in this process."""
    server = await embedded.open(state)
    db = Store(server.dsn)
    try:
        await store.migrate(db)
        source = keys.File(path=path, region="LU")
        tenant = config.Tenant("default", "LU", 5, {"book": source}, {}, None, {}, None, None)
        job = assembly.job(tenant, "book")
        seconds = []
        for _ in range(2):
            begun = time.perf_counter()
            report = await sync.run(db, job, assembly.source(tenant, "book"), full=True)
            seconds.append(time.perf_counter() - begun)
        rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        first, unchanged = seconds
        return {"contacts": report.read, "first": first, "unchanged": unchanged, "rss": rss, "floor": await floor(db)}
    finally:
        await db.close()
        await server.close()


async def floor(db: Store) -> float:
    """Seconds to COPY the stored contacts' bytes into a bare table."""
    rows = [tuple(row) for row in await db.fetch("select id, body from contact")]
    async with db.session() as session:
        await session.execute("create unlogged table floor (id text, body json)")
        begun = time.perf_counter()
        await session.copy("floor", ("id", "body"), rows)
        return time.perf_counter() - begun


def apart(contacts: int) -> dict[str, float]:
    """Measure one size in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "book.vcf"
        write(path, contacts)
        words = [sys.executable, __file__, "--path", str(path), "--state", folder]
        made = subprocess.run(words, check=True, capture_output=True, text=True)
        got: dict[str, float] = json.loads(made.stdout.splitlines()[-1])
        return got


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--contacts", type=int, default=100_000)
    options.add_argument("--path", type=Path)
    options.add_argument("--state", type=Path)
    asked = options.parse_args()
    if asked.path:
        print(json.dumps(asyncio.run(measure(asked.path, asked.state))))
        return
    cost = {}
    for contacts in (asked.contacts // 10, asked.contacts):
        got = apart(contacts)
        cost[contacts] = got["first"] / contacts
        print(
            f"{contacts:>9,} contacts: first {contacts / got['first']:>8,.0f}/s ({got['first']:.2f} s, "
            f"{got['first'] / got['floor']:.1f} times the bare COPY), "
            f"unchanged {contacts / got['unchanged']:>8,.0f}/s, {got['rss']:.0f} MB resident"
        )
    small, large = cost.values()
    print(f"cost per contact at {asked.contacts:,}: {large / small:.2f} times that at {asked.contacts // 10:,}")


if __name__ == "__main__":
    main()
