"""Processes that drain a sink and can be killed in the act, forked from one that has all imports, for speed.

    with nursery() as born:
        pid = born.start(dsn, config)
        kill(pid)

Run as a program it is the forking process itself: a line of JSON in, the number of a new process out.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from bridge import assembly, config, deliveries, errors, log
from bridge.store import Store

NAME = "drainer"
"""What their connections to the database are called."""


class Nursery:
    """Starts drainers; those that nobody killed end with it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def start(self, dsn: str, path: Path) -> int:
        """The process id of a new drainer of the sink `pbx` of that bridge.toml."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([dsn, str(path)]) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


@contextlib.contextmanager
def nursery() -> Iterator[Nursery]:
    """A forking process for the block."""
    process = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield Nursery(process)
    finally:
        process.communicate()


def kill(pid: int) -> None:
    """End it as a power cut would."""
    os.kill(pid, signal.SIGKILL)


async def _drain(dsn: str, path: str) -> None:
    told = config.load(Path(path))
    db, tenant = Store(dsn, name=NAME), told.tenants["default"]
    made = assembly.delivery(db, tenant, "pbx")
    while True:
        try:
            await deliveries.recover(db, {("default", "pbx"): tenant.sinks["pbx"].timeout})
            await made.drain()
        except errors.Unavailable:
            await asyncio.sleep(0.05)


def _main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how they ended
    living = []
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            log.setup(stream=sys.stderr, level=logging.CRITICAL)
            asyncio.run(_drain(*json.loads(line)))
        living.append(pid)
        print(pid, flush=True)
    for pid in living:
        with contextlib.suppress(ProcessLookupError):
            kill(pid)


if __name__ == "__main__":
    _main()
