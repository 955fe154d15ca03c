"""All figures of the README, one benchmark after the other, each one's words in a file of deploy/figures.

    .venv/bin/python tests/bench/figures.py [NAME]… [--minutes 60]
    .venv/bin/python tests/bench/figures.py --table

Without a name: all of them, which takes three hours or so, an hour of it the soak (`--minutes`). What needs something
that is not installed says what, and is left out. Above what a benchmark printed stand its command, the day, and how
much of the processors others had meanwhile (steal, from /proc/stat), for on a shared machine no figure means much
without it. After each of them the table in the README is made anew of all these files (`--table`: that alone). Exit
code 1 where one of them missed a goal.
"""

from __future__ import annotations

import argparse
import datetime
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import goals

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FIGURES = ROOT / "deploy" / "figures"
BEGIN, END = "<!-- figures: made by tests/bench/figures.py -->\n", "<!-- figures end -->\n"
HEADS = "| what | seen | goal | others had |\n|---|---|---|---|\n"


@dataclass(frozen=True)
class Bench:
    """One benchmark: its words on the command line, and the programs that it needs beside bridge."""

    name: str
    words: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()


def benches(minutes: int) -> Sequence[Bench]:
    """All of them, in the order of the README."""
    return (
        Bench("first_run"),
        Bench("carddav_sync", ("--vdirsyncer", "vdirsyncer"), ("vdirsyncer",)),
        Bench("lookup_rate"),
        Bench("lookup_zipf"),
        Bench("lookup_beside_slapd", (), ("slapd",)),
        Bench("lookup_beside_load", ("--contacts", "1000000")),
        Bench("lookup_beside_pages"),
        Bench("pbxsync_beside_lookups"),
        Bench("crm_sync"),
        Bench("phonebook_rate"),
        Bench("provisioning_rate"),
        Bench("numbers_speed"),
        Bench("vcard_speed"),
        Bench("tenants", ("--run", "300")),
        Bench("cost_curves", ("--large",)),
        Bench("patroni", (), ("patroni", "etcd", "haproxy")),
        Bench("crm_soak"),
        Bench("soak", ("--minutes", str(minutes))),
    )


def main(names: Sequence[str], minutes: int) -> int:
    """How many missed a goal, as an exit code."""
    known = {bench.name: bench for bench in benches(minutes)}
    if unknown := [name for name in names if name not in known]:
        sys.exit(f"there is no {', '.join(unknown)}; right is one of {', '.join(known)}")
    missed = 0
    for bench in (known[name] for name in names or known):
        if absent := [program for program in bench.needs if not _installed(program)]:
            print(f"{bench.name}: left out, {', '.join(absent)} not installed", flush=True)
            continue
        seconds, code = _run(bench, FIGURES / f"{bench.name}.txt")
        write(table(known))
        missed += code != 0
        print(f"{bench.name}: {'met' if code == 0 else 'missed'}, {seconds / 60:.0f} min", flush=True)
    return 1 if missed else 0


def table(names: Iterable[str]) -> str:
    """What the files of these say, as the README shows it."""
    files = [FIGURES / f"{name}.txt" for name in names]
    return HEADS + "".join(row for file in files if file.exists() for row in _rows(file))


def write(rows: str) -> None:
    """Put that into the README."""
    readme = ROOT / "README.md"
    before, begin, rest = readme.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        sys.exit("README.md has lost the two lines between which its figures stand")
    readme.write_text(f"{before}{begin}{rows}{end}{after}")


def _rows(file: Path) -> Iterator[str]:
    lines = file.read_text().splitlines()
    others = lines[1].rpartition("others had ")[2].partition(" ")[0]
    for line in lines:
        if line.startswith(goals.LINE):
            cells = [cell.strip() for cell in line.removeprefix(goals.LINE).split("|")]
            yield f"| {' | '.join([*cells, others])} |\n"


def _run(bench: Bench, to: Path) -> tuple[float, int]:
    command = ["tests/bench/" + bench.name + ".py", *bench.words]
    stolen, began = _stolen(), time.monotonic()
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    seconds = time.monotonic() - began
    lost = (_stolen() - stolen) / (seconds * (os.cpu_count() or 1))
    day = datetime.datetime.now(datetime.UTC).date()
    head = f"{' '.join(command)}\n{day}, {seconds:.0f} s, {os.cpu_count()} processors, others had {lost:.0%} of them\n"
    to.parent.mkdir(parents=True, exist_ok=True)
    said = done.stdout.replace(str(ROOT), ".").replace(tempfile.gettempdir(), "$TMPDIR")
    to.write_text(f"{head}exit code {done.returncode}\n\n{said}")
    return seconds, done.returncode


def _stolen() -> float:
    """Seconds that the machine's processors were others', all together, since it was started."""
    return int(Path("/proc/stat").read_text().split()[8]) / os.sysconf("SC_CLK_TCK")


def _installed(program: str) -> bool:
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin") is not None


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--table", action="store_true")
    asked = parser.parse_args()
    if asked.table:
        write(table([bench.name for bench in benches(asked.minutes)]))
    else:
        sys.exit(main(asked.names, asked.minutes))
