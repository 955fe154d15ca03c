"""The answering process alone, as its keeper starts it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge import sockets

_LONGEST = 1 << 22
"""Bytes of a line that it logs."""


@dataclass
class Answering:
    """A serving process, and what it reported and logged."""

    process: asyncio.subprocess.Process
    reports: asyncio.StreamReader
    http: int
    admin: int

    async def reported(self, want: str) -> None:
        """Wait for this line."""
        async with asyncio.timeout(20):
            while (line := (await self.reports.readline()).decode().strip()) != want:
                assert line, f"it ended without saying {want!r}"

    async def logged(self, event: str) -> Any:
        """Wait for this event."""
        assert self.process.stderr
        async with asyncio.timeout(20):
            while line := await self.process.stderr.readline():
                if json.loads(line)["event"] == event:
                    return json.loads(line)
        raise AssertionError(f"it ended without logging {event!r}")


@contextlib.asynccontextmanager
async def answering(dsn: str, path: Path) -> AsyncIterator[Answering]:
    made = sockets.bind([("127.0.0.1", 0), ("127.0.0.1", 0)])
    for one in made:
        one.set_inheritable(True)
    reading, writing = os.pipe()
    env = {
        **os.environ,
        "BRIDGE_SOCKETS": json.dumps({"http": [made[0].fileno()], "admin": [made[1].fileno()]}),
        "BRIDGE_DSN": dsn,
        "BRIDGE_REPORT": str(writing),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "bridge.answer", "--config", str(path)),
        env=env,
        pass_fds=[writing, *(one.fileno() for one in made)],
        stderr=subprocess.PIPE,
        limit=_LONGEST,
    )
    os.close(writing)
    reports = asyncio.StreamReader()
    pipe = os.fdopen(reading, "rb", buffering=0)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reports), pipe
    )
    ports = [one.getsockname()[1] for one in made]
    for one in made:
        one.close()
    try:
        yield Answering(process, reports, *ports)
    finally:
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(10):
            # What it still logs is read, so that it does not wait for that.
            await process.communicate()
        transport.close()
