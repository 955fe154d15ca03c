"""A tenant that a test takes away from who works for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from bridge import errors
from bridge.assembly import Delivery
from bridge.claims import Claim
from bridge.store import Connection


class Lost(Claim):
    """This process's until `lost`; the database goes on taking what it writes, as it does for a few seconds."""

    def __init__(self) -> None:
        self.lost = False

    async def hold(self, _connection: Connection) -> None: ...

    def check(self) -> None:
        if self.lost:
            raise errors.Fenced("another daemon works for it by now")


async def drained_until_lost(made: Delivery, claim: Lost, begun: Callable[[], object]) -> None:
    """Deliver, and lose the claim a moment after something has begun; it ends with Fenced."""
    draining = asyncio.create_task(made.drain())
    try:
        async with asyncio.timeout(10):
            while not begun():
                await asyncio.sleep(0.02)
            await asyncio.sleep(0.2)
            claim.lost = True
            with pytest.raises(errors.Fenced):
                await draining
    finally:
        draining.cancel()
        await asyncio.gather(draining, return_exceptions=True)
        await made.sink.close()
