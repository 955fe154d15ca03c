"""What processes have used, from /proc: CPU seconds and peak memory. Used by first_run.py and cost_curves.py."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def cpu(process: int, *, ended_children: bool = False) -> float:
    """CPU seconds of a process, and of those of its children that have ended; 0 where it has ended itself."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        words = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, words[11 : 15 if ended_children else 13])) / _TICKS
    return 0.0


def children(process: int) -> list[int]:
    """The processes that it started and that still are."""
    return [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def server(state_dir: Path) -> float:
    """CPU seconds of the embedded PostgreSQL in this directory, all of its processes together."""
    postmaster = int((state_dir / "postgres/data/postmaster.pid").read_text().split()[0])
    return cpu(postmaster, ended_children=True) + sum(map(cpu, children(postmaster)))


def peak(process: int) -> float:
    """Megabytes that were resident at most, since `peak_begins` if that was called."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def peak_begins(process: int) -> None:
    """Forget the peak so far."""
    Path(f"/proc/{process}/clear_refs").write_text("5")
