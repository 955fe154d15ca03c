"""`bridge forget` and what the answering process has in memory: nobody is left in it who was erased."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from listed import record
from served import configured, hold

from bridge import assembly, forget, lookup, wiping
from bridge.answer import Serving
from bridge.config import Config
from bridge.forget import Who
from bridge.store import Store

ANN, BOB = "352621111111", "352621222222"


@pytest.fixture
def told(tmp_path: Path) -> Config:
    return configured(tmp_path)


@pytest.fixture
async def serving(told: Config, dsn: str, db: Store) -> AsyncIterator[Serving]:
    """All of an answering process but its doors; it hears of who is erased."""
    made = Serving(db.of(""), told, lambda line: None, dsn)
    made._lookups._nearby._quiet = 0.02
    async with made.open([], []):
        running = asyncio.create_task(made.run())
        async with asyncio.timeout(10):
            while not (await wiping.ask(db, "nobody")).heard:
                await asyncio.sleep(0.01)
        yield made
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def texts(serving: Serving) -> Iterator[bytes]:
    """All that its lookups have of contacts."""
    for sheet in serving._lookups._nearby._sheets.values():
        for held in (sheet._made._own, sheet._made._common):
            yield from map(zlib.decompress, held._pieces)
    for _, body in serving._lookups._answers._kept.values():
        yield body


def having(serving: Serving, name: bytes) -> int:
    """How many of these have a name."""
    return sum(name in text for text in texts(serving))


async def test_who_is_erased_is_in_no_sheet_and_in_no_answer(serving: Serving, told: Config, db: Store) -> None:
    tenant = told.tenants["default"]
    place = lookup.directory(tenant)
    other = replace(place, tenant="acme")
    await hold(db, "crm", record("1", "Ann Lee", f"+{ANN}", company="Lee Ltd"), record("2", "Bob Ray", f"+{BOB}"))
    await hold(db, "crm", record("1", "Ann Other", f"+{ANN}"), tenant="acme")

    async def asked() -> None:
        """Everybody is in a sheet and in an answer."""
        lookups = serving._lookups
        async with asyncio.timeout(10):
            while len(lookups._nearby._sheets) < 2:
                lookups._nearby.sheet("default"), lookups._nearby.sheet("acme")
                await asyncio.sleep(0.01)
        for one in (place, other):
            for number in (ANN, BOB):
                await lookups.answer(one, number)

    await asked()
    assert [having(serving, name) for name in (b"Ann Lee", b"Lee Ltd", b"Bob Ray", b"Ann Other")] == [2] * 4
    jobs = {"crm": assembly.job(tenant, "crm")}
    _, wiped = await forget.forget(db, tenant, Who(keys=(f"+{ANN}",)), jobs, {})
    assert (wiped.heard, wiped.silent) == (1, 0)
    assert [having(serving, name) for name in (b"Ann Lee", b"Lee Ltd", b"Ann Other")] == [0, 0, 2]
    await asked()
    assert [having(serving, name) for name in (b"Ann Lee", b"Lee Ltd", b"Bob Ray", b"Ann Other")] == [0, 0, 2, 2]
    # Whose word was missed is not known: nothing is held of any tenant.
    await serving._shelf._wipe_all("")
    assert not list(texts(serving))


async def test_who_is_erased_while_a_tenant_is_read_is_not_held_by_that_reading(serving: Serving, db: Store) -> None:
    await hold(db, "crm", record("1", "Ann Lee", f"+{ANN}"))
    near = serving._lookups._nearby
    near.sheet("default")
    async with asyncio.timeout(10):
        while not near.reading:
            await asyncio.sleep(0)
    await hold(db, "crm", record("2", "Bob Ray", f"+{BOB}"))
    near.forget("default")
    assert not near.reading
    async with asyncio.timeout(10):
        while near.sheet("default") is None:
            await asyncio.sleep(0.01)
    assert (having(serving, b"Ann Lee"), having(serving, b"Bob Ray")) == (0, 1)
