"""What one process does for the tenants that it holds: run sources, drain sinks, do workflows, answer commands.

A tenant that is added, changed or removed is taken up or let go by itself; the others go on. Whatever fails in one
source or sink is that one's alone; the database gone, all of them wait for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial

from bridge import asks, assembly, errors, log, pushes, store
from bridge.claims import Claim, Claims
from bridge.config import Config, Tenant
from bridge.deliveries import Deliveries
from bridge.lending import Lending
from bridge.runs import Runs
from bridge.sources import Source
from bridge.store import Store
from bridge.workflow_queue import Queue

_LOG = log.get()
_AGREED = 60.0
"""Seconds after which all daemons should have loaded the configuration that this one has."""


class Unit:
    """Everything that a configuration asks to be done, as far as it is this process's.

    `db` has a name of its own (`claims.name`). `lasting`: a daemon's, and no command's.
    """

    def __init__(self, db: Store, told: Config, *, lasting: bool = True) -> None:
        self._db = db
        self._told = told
        self._mine: dict[str, Tenant] = {}
        self._claimed: set[str] = set()
        self._unenrolled: Collection[str] = ()
        self._unfollowed: asyncio.Queue[Sequence[Tenant]] = asyncio.Queue()
        self._loaded = asyncio.Event()
        self._changing = asyncio.Lock()
        self.claims = Claims(db, self._take_up, self._let_go, lasting=lasting)
        self.lending = Lending()
        self.deliveries = Deliveries(db, self._mine, self.claims)
        self._runs = Runs(db, self._mine, self.lend, self.claims, self.wake)

    @property
    def mine(self) -> Mapping[str, Tenant]:
        """The tenants that this process works for now."""
        return self._mine

    def claim(self, tenant: str) -> Claim:
        """What holds one of them in a transaction."""
        return self.claims.of(tenant)

    def lend(self, tenant: Tenant, name: str) -> AbstractAsyncContextManager[Source]:
        """A source, for the block."""
        return self.lending.lend(tenant, name)

    def wake(self) -> None:
        """Something may be due in the outboxes."""
        self.deliveries.wake()

    async def run(self) -> None:
        """Bring the database to this version, enrol the sources, then work until cancelled."""
        await outlast("migrate", lambda: store.migrate(self._db), once=True)
        await outlast("enrol", lambda: assembly.enrol_sources(self._db, self._told), once=True)
        self.claims.wanted = set(self._told.tenants)
        self._loaded.set()
        queue = Queue(self._db, self._mine, self.lend)
        try:
            async with asyncio.TaskGroup() as group:
                for what, work in (
                    ("claim", self._keep_claims),
                    ("follow", self._follow),
                    ("compare", self._compare),
                    ("ask.listen", lambda: asks.serve(self._db, self)),
                    ("workflow.work", queue.work),
                    ("source.run", self._runs.work),
                    ("sink.drain", self.deliveries.work),
                ):
                    group.create_task(outlast(what, work))
        finally:
            await self.end()

    async def _keep_claims(self) -> None:
        """Without beats nothing is sent: soon again, however long the database was away."""
        while True:
            try:
                await self.claims.keep()
            except errors.Unavailable as fault:
                _LOG.warning("claim.interrupted", reason=str(fault))
                await asyncio.sleep(1.0)

    @contextlib.asynccontextmanager
    async def delivering(self, *, pushes: bool = True) -> AsyncIterator[Unit]:
        """Hold the tenants and, if `pushes`, deliver to their sinks for the block, and do nothing else."""
        self.claims.wanted = set(self._told.tenants)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self.claims.keep()), group.create_task(self._follow())]
                tasks += [group.create_task(self.deliveries.work())] if pushes else []
                try:
                    yield self
                finally:
                    for task in tasks:
                        task.cancel()
        except ExceptionGroup as faults:
            raise assembly.ours(faults) from None
        finally:
            await self.end()

    async def end(self) -> None:
        """Let others have what was this process's."""
        try:
            async with asyncio.timeout(3.0):
                await self.claims.leave()
        except (errors.Unavailable, TimeoutError) as fault:
            _LOG.warning("claim.left", reason=str(fault))
        await self.lending.close()

    async def reload(self, told: Config) -> None:
        """Go on under another configuration; what it leaves as it was goes on undisturbed.

        Tenants come and go while it is enrolled, for that may take long: who holds them up has no beat meanwhile.
        """
        before = self._told
        changed = {name for name, tenant in told.tenants.items() if before.tenants.get(name) != tenant}
        gone = before.tenants.keys() - told.tenants.keys()
        async with self._changing:
            await self._drop(self._mine.keys() & (changed | gone))
            self._told, self._unenrolled = told, changed
        await outlast("enrol", lambda: assembly.enrol_sources(self._db, told, before), once=True)
        async with self._changing:
            self._unenrolled = ()
            self._hold(self._claimed & changed)
        self.claims.wanted = set(told.tenants)
        await outlast("claim", self.claims.turn, once=True)
        self._loaded.set()

    async def _take_up(self, names: Collection[str]) -> None:
        async with self._changing:
            self._claimed.update(names)
            self._hold(self._told.tenants.keys() & set(names).difference(self._unenrolled))

    async def _let_go(self, names: Collection[str]) -> None:
        async with self._changing:
            self._claimed.difference_update(names)
            await self._drop(names)

    def _hold(self, names: Collection[str]) -> None:
        tenants = [self._told.tenants[name] for name in names]
        self._mine.update((tenant.name, tenant) for tenant in tenants)
        self._runs.take_up(tenants)
        self.deliveries.take_up(tenants)
        self._unfollowed.put_nowait(tenants)

    async def _follow(self) -> None:
        """Have what the sinks of tenants that were taken up should hold be as they are told, one after the other."""
        while True:
            tenants = await self._unfollowed.get()
            await outlast("follow", partial(assembly.follow, self._db, tenants, self._claim_as_told), once=True)

    def _claim_as_told(self, tenant: Tenant) -> Claim:
        if self._mine.get(tenant.name) is not tenant:
            raise errors.Fenced(f"the tenant {tenant.name} was let go, or is told otherwise by now")
        return self.claim(tenant.name)

    async def _compare(self) -> None:
        """Say so once where other daemons work by another configuration a while after this one was loaded."""
        while True:
            await self._loaded.wait()
            while self._loaded.is_set():
                self._loaded.clear()
                await asyncio.sleep(_AGREED)
            await outlast("compare", self._say_who_differs, once=True)

    async def _say_who_differs(self) -> None:
        others = [tenant for name, tenant in self._told.tenants.items() if name not in self._claimed]
        if differing := await assembly.differing(self._db, others):
            (tenant, sink), reason = differing[0], "another daemon works by another configuration: reload it (SIGHUP)"
            _LOG.warning("config.differs", sinks=len(differing), tenant=tenant, sink=sink, reason=reason)

    async def _drop(self, names: Collection[str]) -> None:
        await asyncio.gather(self._runs.let_go(names), self.deliveries.let_go(names))
        for name in names:
            self._mine.pop(name, None)
        await self.lending.let_go(names)


async def outlast(what: str, work: Callable[[], Awaitable[object]], *, once: bool = False) -> None:
    """Do it again after every loss of the database, with growing pauses, until it is done (`once`) or for ever."""
    tries = 0
    while True:
        begun = time.monotonic()
        try:
            await work()
            if once:
                return
        except errors.Unavailable as fault:
            tries = 0 if time.monotonic() - begun > 60 else tries + 1
            wait = pushes.pause(tries, 3.0)
            _LOG.warning(f"{what}.interrupted", reason=str(fault), again_in=round(wait, 1))
            await asyncio.sleep(wait)
