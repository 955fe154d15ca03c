"""The timetable of sources: who waits waits once, whoever's clock was wrong, and everybody has a turn."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection
from typing import Any, cast

import pytest
from daemons import until
from listed import record
from served import hold

from bridge import errors, keys, runs
from bridge.config import Tenant
from bridge.runs import Runs
from bridge.store import Store

CRM = keys.SuiteCrm(url="http://crm.example.com", username="u", password="p")


class Hanging(Runs):
    """The sources of so many tenants, all at one host, which hangs until it is `over`; `read` are those lent since."""

    def __init__(self, db: Store, count: int) -> None:
        self.names = [f"t{n}" for n in range(count)]
        self.tenants = {name: Tenant(name, "LU", 5, {"crm": CRM}, {}, None, {}, None, None) for name in self.names}
        self.over = asyncio.Event()
        self.read: list[str] = []
        self.looks = 0
        super().__init__(db, self.tenants, self._hang, cast("Any", None), lambda: None)
        self.take_up(self.tenants.values())

    @contextlib.asynccontextmanager
    async def _hang(self, tenant: Tenant, _name: str) -> AsyncIterator[Any]:
        await self.over.wait()
        self.read.append(tenant.name)
        raise errors.Unsupported("once is enough")
        yield  # it is a generator all the same

    async def _look(self, tenants: Collection[str]) -> None:
        await super()._look(tenants)
        self.looks += 1

    @property
    def waiting(self) -> int:
        """How many wait for room."""
        return sum(len(queue) for queue in self._ready.values())

    async def looked(self, times: int) -> None:
        """It has looked so often again."""
        enough = self.looks + times
        await until(lambda: self.looks >= enough, 10)


async def test_who_waits_at_a_host_that_hangs_waits_once_and_has_a_turn(
    db: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "_LOOK", 0.02)
    made = Hanging(db, 50)
    working = asyncio.create_task(made.work())
    try:
        await made.looked(10)
        assert made.waiting == 46, "of one host four at a time"
        again = made.names[30:]
        await made.let_go(again)
        await made.looked(2)
        assert made.waiting == 26
        made.take_up(made.tenants[name] for name in again)
        await made.looked(10)
        assert made.waiting == 46
        made.over.set()
        await until(lambda: len(made.read) >= 50, 10)
        assert sorted(made.read) == sorted(made.names)
        assert made.waiting == 0
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


@pytest.mark.parametrize(("read", "whole", "full"), [("2 hours", "-1 hour", False), ("2 hours", "2 hours", True)])
async def test_what_was_read_by_a_clock_that_was_set_back_since_is_due(
    db: Store, read: str, whole: str, full: bool
) -> None:
    await hold(db, "crm", record("1", "Ann Lee", "+352 621 100 001"))
    move = "update source set tried_at = now() + $1::text::interval, full_at = now() + $2::text::interval, rank = 0"
    await db.execute(move, read, whole)
    [state] = await db.fetch(runs.SQL["states"], ["default"])
    assert runs.due(state, CRM, b"1") == (0.0, full)
    await db.execute(move, "-1 second", "-1 hour")
    [state] = await db.fetch(runs.SQL["states"], ["default"])
    wait, full = runs.due(state, CRM, b"1")
    assert CRM.every - 60 < wait < CRM.every
    assert not full
