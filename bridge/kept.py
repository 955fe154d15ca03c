"""What a process owes to the one that keeps it: to say how it is, and not to outlive it."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
from collections.abc import Callable

Report = Callable[[str], None]
_PR_SET_PDEATHSIG = 1
_BEAT = 5.0
_STARVED = 60
"""Seconds after which a process whose event loop does not turn is ended by the kernel, keeper or none."""


def reporter() -> Report:
    """Writes lines to the pipe that the keeper names in BRIDGE_REPORT; to nobody where it names none."""
    fd = os.environ.get("BRIDGE_REPORT")
    if not fd:
        return lambda _line: None
    number = int(fd)
    os.set_blocking(number, False)

    def report(line: str) -> None:
        # A keeper that is gone hears nothing; a pipe that is full has one that does not listen.
        with contextlib.suppress(OSError):
            os.write(number, f"{line}\n".encode())

    return report


async def beat(report: Report) -> None:
    """Say from the event loop that it turns, for ever.

    A keeper kills one that does not. One that has lost its keeper is told to end, and would not hear that.
    """
    try:
        while True:
            report("beat")
            signal.alarm(_STARVED)
            await asyncio.sleep(_BEAT)
    finally:
        signal.alarm(0)


def die_with_parent() -> None:
    """Have the kernel end this process when the keeper dies: what runs must be somebody's."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.environ.get("BRIDGE_KEEPER") not in (None, str(os.getppid())):
        raise SystemExit(1)
