"""How many lookups a second as telephones ask: a few callers often, most of them once, some that nobody knows.

    python tests/bench/lookup_zipf.py [--numbers 1000000] [--asked 50000] [--exponent 1.0] [--unknown 0.1]
        [--connections 16] [--rounds 5] [--state DIR]

The store's numbers are asked in a Zipf mix, as a share of a bare aiohttp handler with a constant answer in the same
run. The first round is answered by the database and warms up; then the answering process has time to read the tenant
into memory. `--state` keeps the filled database for the next time, that of lookup_rate.py being as good. Exit code 1
where the share is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import statistics
import sys
import tempfile
from pathlib import Path

import goals
from lookup_rate import HERE, TOKEN, free_port, load, prepared, serving

FIRST, UNKNOWN = 621000000, 691000000
WANTED = 0.8


class Callers:
    """Who calls: the n-th most frequent of them with a weight of 1 / n ** exponent."""

    def __init__(self, numbers: int, exponent: float, unknown: float) -> None:
        self._pick = random.Random(1)
        self._numbers = list(range(numbers))
        self._pick.shuffle(self._numbers)
        self._weights = list(itertools.accumulate(1 / rank**exponent for rank in range(1, numbers + 1)))
        self._unknown = unknown

    def next(self, calls: int) -> list[int]:
        """The numbers of so many calls."""
        callers = self._pick.choices(self._numbers, cum_weights=self._weights, k=calls)
        return [(UNKNOWN if self._pick.random() < self._unknown else FIRST) + caller for caller in callers]


def measure(options: argparse.Namespace, dsn: str, folder: Path) -> list[float]:
    """The share of the floor in each round."""
    port, floor_port = free_port(), free_port()
    told = folder / "bridge.toml"
    told.write_text(
        f'region = "LU"\n[http]\nlisten = "127.0.0.1:{port}"\n[admin]\nlisten = "127.0.0.1:{free_port()}"\n'
        f'[source.crm]\ntype = "file"\npath = "none.vcf"\n[connector]\ntoken = "{TOKEN}"\n'
    )
    told.chmod(0o600)
    callers = Callers(options.numbers, options.exponent, options.unknown)
    shares = []
    # The process says `ready` to its keeper's pipe, which here is its standard output.
    with (
        serving(str(HERE / "floor_aiohttp.py"), str(floor_port)),
        serving(
            "-m", "bridge.answer", "--config", str(told), env={"BRIDGE_DSN": dsn, "BRIDGE_REPORT": "1"}
        ) as answering,
    ):
        for turn in range(options.rounds + 1):
            calls, before = callers.next(options.asked), answering.seconds
            floor, ours = (load(where, options.connections, calls) for where in (floor_port, port))
            share = ours["answers"] / ours["seconds"] / (floor["answers"] / floor["seconds"])
            print(
                f"{ours['answers'] / ours['seconds']:8.0f}/s  p50 {ours['p50'] * 1e3:.2f} ms"
                f"  p99 {ours['p99'] * 1e3:.2f} ms  {(answering.seconds - before) / len(calls) * 1e6:3.0f} us of CPU"
                f" time each  {len(set(calls)) / len(calls):.0%} different  {ours['empty'] / len(calls):.0%} unknown"
                f"  {share:.2f} of a bare handler{'' if turn else '  (by the database, not judged)'}"
            )
            if turn:
                shares.append(share)
            else:
                answering.settle()
    return shares


def main() -> int:
    options = argparse.ArgumentParser()
    options.add_argument("--numbers", type=int, default=1_000_000)
    options.add_argument("--asked", type=int, default=50_000)
    options.add_argument("--exponent", type=float, default=1.0)
    options.add_argument("--unknown", type=float, default=0.1)
    options.add_argument("--connections", type=int, default=16)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--state", type=Path)
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="bridge-bench-") as folder, asyncio.Runner() as runner:
        server = runner.run(prepared(given.state or Path(folder), given.numbers))
        try:
            share = statistics.median(measure(given, server.dsn, Path(folder)))
        finally:
            runner.run(server.close())
    mix = f"lookups in a Zipf mix of {given.numbers:,} numbers, {given.unknown:.0%} unknown"
    what = f"{mix}, as a share of a bare aiohttp handler's rate"
    return 0 if goals.at_least(what, share, WANTED) else 1


if __name__ == "__main__":
    sys.exit(main())
