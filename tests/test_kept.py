"""A process that nobody keeps any more."""

from __future__ import annotations

import asyncio
import signal
import sys

STARVED = """
import asyncio, time
from bridge import kept
kept._STARVED = 1
async def main():
    beating = asyncio.create_task(kept.beat(print))
    await asyncio.sleep(0)
    {after}
asyncio.run(main())
"""


async def ended(after: str) -> int | None:
    """How one ends that beats, and then does this."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", STARVED.format(after=after))
    async with asyncio.timeout(20):
        return await process.wait()


async def test_one_whose_loop_does_not_turn_is_ended_by_the_kernel() -> None:
    assert await ended("time.sleep(15)") == -signal.SIGALRM


async def test_one_that_has_ended_its_beat_is_left_alone() -> None:
    assert await ended("beating.cancel(); await asyncio.wait({beating}); time.sleep(1.5)") == 0
