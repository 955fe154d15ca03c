"""Runs and pushes on behalf of a command: by the daemon where one works, else here."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Mapping

from bridge import asks, assembly, errors
from bridge.asks import Emit, Request, Said
from bridge.config import Config, Tenant
from bridge.store import Store
from bridge.unit import Unit


async def perform(db: Store, told: Config, tenant: Tenant, request: Request, emit: Emit) -> None:
    """Have it done, and tell what happens as `asks.perform` does; Unavailable where the daemon leaves half-way."""
    heard = False
    if await asks.daemon_works(db):
        try:
            async for said in asks.ask(db, request):
                heard = True
                await emit(said)
            return
        except errors.Unavailable:
            # It left before it began: then nobody else does it.
            if heard or await asks.daemon_works(db):
                raise
    async with _working(db, told, tenant, request) as unit:
        await asks.perform(db, tenant, request, emit, unit)


async def enrol(db: Store, told: Config) -> None:
    """Tell the database which sources there are, unless a daemon does."""
    if not await asks.daemon_works(db):
        await assembly.enrol(db, told)


async def deliver(db: Store, told: Config, tenant: Tenant, patience: float) -> Mapping[str, str]:
    """Wait until the sinks have taken all that is owed to them; the reasons of those that did not."""
    undelivered: Mapping[str, str] = {}

    async def emit(said: Said) -> None:
        nonlocal undelivered
        if said["event"] == "end":
            undelivered = said["undelivered"]

    await enrol(db, told)
    # A daemon holds the sinks; should it go meanwhile, they are ours.
    async with Unit(db, _of(told, tenant), lasting=False).delivering() as unit:
        sinks_alone = dataclasses.replace(tenant, sources={})
        await asks.perform(db, sinks_alone, Request(tenant.name, patience=patience), emit, unit)
    return undelivered


@contextlib.asynccontextmanager
async def _working(db: Store, told: Config, tenant: Tenant, request: Request) -> AsyncIterator[Unit]:
    """What does a run here, for the block; waits while another command works for the same tenant."""
    unit = Unit(db, _of(told, tenant), lasting=False)
    if request.dry:
        yield unit
        return
    await assembly.enrol(db, told)
    async with unit.delivering(pushes=request.push):
        while tenant.name not in unit.mine:  # noqa: ASYNC110 - it is asked of the database, time and again
            await asyncio.sleep(0.05)
        yield unit


def _of(told: Config, tenant: Tenant) -> Config:
    return dataclasses.replace(told, tenants={tenant.name: tenant})
