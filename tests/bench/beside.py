"""What the benchmarks of lookups beside something else share: a daemon with contacts, and lookups at a steady rate."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from first_run import write
from lookup_beside_load import answering, at_rate, loaded, percentile
from lookup_rate import TOKEN, free_port

from bridge import priority

CONTACTS = 10_000


@dataclass(frozen=True)
class Figures:
    """The seconds of lookups, sorted, and the CPU time that the process had meanwhile which answers."""

    seconds: list[float]
    cpu: float

    def __str__(self) -> str:
        p50, p99, p999 = (percentile(self.seconds, share) for share in (0.5, 0.99, 0.999))
        over = sum(one > 0.01 for one in self.seconds)
        return (
            f"{len(self.seconds)} lookups, p50 {p50:.2f} ms, p99 {p99:.2f} ms, p99.9 {p999:.2f} ms, longest "
            f"{self.seconds[-1] * 1e3:.1f} ms, {over} over 10 ms; {self.each:.2f} ms of CPU a lookup"
        )

    @property
    def each(self) -> float:
        """Milliseconds of CPU for each lookup, with all else that was done meanwhile."""
        return self.cpu / len(self.seconds) * 1e3


@dataclass(frozen=True)
class Stand:
    """A daemon that answers from a store of `CONTACTS`."""

    port: int
    admin: int
    http: aiohttp.ClientSession
    rate: int
    keeper: int

    def cpu(self) -> float:
        """Seconds of CPU that the process which answers has had: what holds lookups up shows here on a busy machine."""
        return answering(self.keeper).seconds

    async def during(self, work: Callable[[], Awaitable[object]]) -> Figures:
        """What lookups took that are asked while something is done."""
        before = self.cpu()
        done = asyncio.ensure_future(work())
        took = await at_rate(self.port, self.rate, done, CONTACTS)
        await done
        return Figures(took, self.cpu() - before)

    async def idle(self, seconds: float) -> Figures:
        """The same while nothing else is."""
        return await self.during(lambda: asyncio.sleep(seconds))


@contextlib.asynccontextmanager
async def standing(folder: Path, more: str, rate: int) -> AsyncIterator[Stand]:
    """A daemon with these tables in its file as well, for the block.

    Who asks is elsewhere in life: nothing on this machine makes it wait, idle or not.
    """
    priority.be_prompt()
    port, admin = free_port(), free_port()
    write(folder / "ready.vcf", CONTACTS)
    config = folder / "bridge.toml"
    config.write_text(
        f'region = "LU"\nstate_dir = "state"\n[http]\nlisten = "127.0.0.1:{port}"\n[admin]\n'
        f'listen = "127.0.0.1:{admin}"\n[source.a]\ntype = "file"\npath = "ready.vcf"\nevery = "1h"\n'
        f'[connector]\ntoken = "{TOKEN}"\n{more}\n'
    )
    config.chmod(0o600)
    with (folder / "log").open("w") as log:
        daemon = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bridge", "run", "--config", str(config)), stderr=log, stdout=log
        )
        try:
            async with aiohttp.ClientSession(headers={"X-Execution-Token": TOKEN}) as http:
                async with asyncio.timeout(120):
                    await loaded(http, f"http://127.0.0.1:{admin}/metrics", "a", CONTACTS)
                await asyncio.sleep(2)
                yield Stand(port, admin, http, rate, daemon.pid)
        finally:
            daemon.send_signal(signal.SIGTERM)
            await daemon.wait()
