"""Runs and pushes on behalf of a command: by the daemon where one works, else here."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable, Mapping

from bridge import asks, assembly, errors
from bridge.asks import Emit, Request, Said
from bridge.config import Config, Tenant
from bridge.store import Store


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
    pushing = request.push and not request.dry
    if not request.dry:
        await assembly.enrol(db, told)
    async with _draining(db, tenant, pushing) as wake:
        await asks.perform(db, tenant, request, emit, wake)


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
    async with _draining(db, tenant, True) as wake:
        sinks_alone = dataclasses.replace(tenant, sources={})
        await asks.perform(db, sinks_alone, Request(tenant.name, patience=patience), emit, wake)
    return undelivered


@contextlib.asynccontextmanager
async def _draining(db: Store, tenant: Tenant, pushing: bool) -> AsyncIterator[Callable[[], None]]:
    """Have the sinks' outboxes delivered for the block, which gets what wakes them."""
    names = [name for name, sink in tenant.sinks.items() if assembly.delivers(sink)] if pushing else []
    made = [assembly.delivery(db, tenant, name) for name in names]

    def wake() -> None:
        for one in made:
            one.wake()

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one.drain()) for one in made]
            try:
                yield wake
            finally:
                for task in tasks:
                    task.cancel()
    except ExceptionGroup as faults:
        raise assembly.ours(faults) from None
    finally:
        for one in made:
            await one.sink.close()
