"""Questions to the database while a telephone rings, on connections that are held.

What waits is asked together, in one query: a lone question waits for nothing, and many cost little more than one.
Where many come at a time, half of them are waited for, a millisecond at most, so that one half is on its way while
the other comes in. Without the database a question is told so at once, and connections come back by themselves.
What a replica cannot say for certain goes on to the primary (`replica`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, NamedTuple, TypeVar

from bridge import errors, log, store
from bridge.store import Connection, Prepared, Store

SQL = store.queries("questions")
DEADLINE = 2.0
"""Seconds after which the database is taken to be away."""
_AT_ONCE = 256
_PLAN_GOOD = 60.0
"""Seconds that a plan is good for, if the tables are not known to have changed."""
_PLAN_LEAST = 1.0
_PAUSES = (0.05, 1.0)
_FEW = 4
"""Questions at a time up to which none is waited for."""
_GATHER = 0.001
_LOG = log.get()


class Question(NamedTuple):
    """Numbers of one tenant, the best reading first."""

    tenant: str
    numbers: tuple[str, ...]
    limit: int


Found = tuple[str, str]
"""The source of one contact, and the contact as `contact.dump` made it."""


Current = Callable[[], Awaitable[bool]]
"""Whether what one connection answers now counts."""

T = TypeVar("T")
Waiting = tuple[Question, "asyncio.Future[list[Found]]"]


async def _always() -> bool:
    return True


class Questions:
    """Answers each question with the contacts of the first of its numbers that has any, in the order of the rule.

    `current` makes of each connection what says whether its answers count; questions that it leaves go to `instead`.
    `named` is what the log calls it.
    """

    def __init__(
        self,
        db: Store,
        held: int = 2,
        *,
        named: str = "lookup",
        patience: float = DEADLINE,
        current: Callable[[Connection], Current] = lambda _connection: _always,
        instead: Questions | None = None,
    ) -> None:
        self._db = db
        self._held = held
        self._named = named
        self._patience = patience
        self._current = current
        self._instead = instead
        self._waiting: deque[Waiting] = deque()
        self._idle: list[asyncio.Future[None]] = []
        self._called = False
        self._later: asyncio.TimerHandle | None = None
        self._under_way = 0
        self._crowd = 0.0
        self._up = 0
        self._changes = 0
        self.lines: list[asyncio.Task[None]] = []
        """The keepers of the connections; only a mistake ends one."""
        self.reason = "the database has not been reached yet"
        """Why there is no answer; "" while there is."""

    async def start(self) -> None:
        """Connect, and return when that has succeeded or failed for the first time."""
        loop = asyncio.get_running_loop()
        tried = [loop.create_future() for _ in range(self._held)]
        self.lines = [asyncio.create_task(self._hold(first)) for first in tried]
        await asyncio.gather(*tried)

    async def close(self) -> None:
        """Let go of the connections; what waits is told so."""
        for line in self.lines:
            line.cancel()
        await asyncio.gather(*self.lines, return_exceptions=True)
        self._leave("this process is stopping")

    @property
    def up(self) -> bool:
        """Whether there is a connection."""
        return self._up > 0

    def adopt(self, batch: Sequence[Waiting], reason: str = "") -> None:
        """Answer questions that were put elsewhere, where that is possible."""
        if self._up:
            self._waiting.extend(batch)
            self._call()
        else:
            _fail(batch, reason or self.reason)

    def put(self, question: Question) -> asyncio.Future[list[Found]]:
        """What `ask` waits for."""
        if not self._up:
            raise errors.Unavailable(self.reason, after=1.0)
        future: asyncio.Future[list[Found]] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, future))
        self._call()
        return future

    def tables_changed(self) -> None:
        """Have the next questions planned anew, a second after the last time at the earliest."""
        self._changes += 1

    def _call(self) -> None:
        """Wake a connection, now or when more are there. One is enough: it takes all that waits."""
        if not self._waiting or not self._idle or self._called:
            return
        if self._crowd <= _FEW or 2 * len(self._waiting) >= self._crowd:
            self._wake()
        elif self._later is None:
            self._later = asyncio.get_running_loop().call_later(_GATHER, self._wake)

    def _wake(self) -> None:
        if self._later:
            self._later.cancel()
            self._later = None
        while self._waiting and self._idle and not self._called:
            idle = self._idle.pop()
            if not idle.done():
                self._called = True
                idle.set_result(None)

    def _take(self) -> list[Waiting]:
        """What waits, or half of a crowd where another connection is free for the rest.

        How many are about at a time is remembered, and forgotten by and by.
        """
        share = len(self._waiting)
        self._crowd = max(share + self._under_way, 0.8 * self._crowd)
        if share > 2 * _FEW and self._idle:
            share = (share + 1) // 2
        batch = [self._waiting.popleft() for _ in range(min(share, _AT_ONCE))]
        self._wake()
        return batch

    async def _hold(self, tried: asyncio.Future[None]) -> None:
        loop = asyncio.get_running_loop()
        pause = _PAUSES[0]
        while True:
            began = loop.time()
            try:
                connection = await within_deadline(self._db.connect(DEADLINE))
                try:
                    await self._line(connection, tried)
                except errors.Unavailable as fault:
                    # Before the connection is closed, which may take its time.
                    self._lost(str(fault))
                finally:
                    await self._db.release(connection)
            except errors.Unavailable as fault:
                self._lost(str(fault))
            if not tried.done():
                tried.set_result(None)
            pause = _PAUSES[0] if loop.time() - began > 2 * DEADLINE else min(2 * pause, _PAUSES[1])
            await asyncio.sleep(pause)

    async def _line(self, connection: Connection, tried: asyncio.Future[None]) -> None:
        """Answer on one connection until it is lost."""
        find = await within_deadline(_prepared(connection))
        self._up += 1
        if self.reason:
            self.reason = ""
            _LOG.info(f"{self._named}.ready")
        if not tried.done():
            tried.set_result(None)
        try:
            await self._answer(connection, find)
        finally:
            self._up -= 1

    async def _answer(self, connection: Connection, find: Prepared) -> None:
        loop = asyncio.get_running_loop()
        idle: asyncio.Future[None] = loop.create_future()

        def ended() -> None:
            if not idle.done():
                idle.set_result(None)

        connection.at_end(ended)
        planned, changes = loop.time(), self._changes
        current = self._current(connection)
        while not connection.closed:
            idle = loop.create_future()
            self._idle.append(idle)
            self._call()
            try:
                await idle
            finally:
                self._called = False
                if idle in self._idle:
                    self._idle.remove(idle)
            age = loop.time() - planned
            if age > _PLAN_GOOD or (age > _PLAN_LEAST and changes != self._changes):
                planned, changes = loop.time(), self._changes
                await within_deadline(connection.execute(SQL["plan_anew"]))
            await self._carry(find, self._take(), current)
            if connection.misplaced:
                raise errors.Unavailable("the database's server is no longer the one to ask")
        raise errors.Unavailable("the database closed the connection")

    async def _carry(self, find: Prepared, batch: Sequence[Waiting], current: Current) -> None:
        self._under_way += len(batch)
        try:
            if batch and (self._instead is None or await current()):
                await _ask(find, batch, self._patience)
            elif batch and self._instead:
                self._instead.adopt(batch)
        except errors.Unavailable as fault:
            self._failed(batch, str(fault))
            raise
        except BaseException:
            self._failed(batch, "the lookup was broken off")
            raise
        finally:
            self._under_way -= len(batch)

    def _failed(self, batch: Sequence[Waiting], reason: str) -> None:
        """Those of them that nobody answered go elsewhere, or are told why not."""
        left = [one for one in batch if not one[1].done()]
        if self._instead:
            self._instead.adopt(left, reason)
        else:
            _fail(left, reason)

    def _lost(self, reason: str) -> None:
        if self._up:
            self._call()
            return
        if not self.reason or self.reason != reason:
            _LOG.warning(f"{self._named}.unavailable", reason=reason)
        self.reason = reason
        self._leave(reason)

    def _leave(self, reason: str) -> None:
        waiting, self._waiting = self._waiting, deque()
        self._failed(waiting, reason)


def _fail(batch: Sequence[Waiting], reason: str) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(errors.Unavailable(reason, after=1.0))


async def _prepared(connection: Connection) -> Prepared:
    for setting in ("plan_once", "by_index", "no_bitmaps"):
        await connection.execute(SQL[setting])
    find = await connection.prepare(SQL["find"])
    # Asked once for nothing: until then the driver leaves the transaction open in which it was prepared, and its locks
    # would stop a migration.
    await find.fetch(*arguments([]), within=DEADLINE)
    return find


async def within_deadline(work: Coroutine[Any, Any, T], seconds: float = DEADLINE) -> T:
    """What it makes; Unavailable where that takes longer."""
    try:
        async with asyncio.timeout(seconds):
            return await work
    except TimeoutError:
        raise errors.Unavailable(f"the database does not answer within {seconds:g} s") from None


async def _ask(find: Prepared, batch: Sequence[Waiting], within: float) -> None:
    """One query for all of them."""
    asked = [question for question, _ in batch]
    found = sort_out(await find.fetch(*arguments(asked), within=within), asked)
    for (_, future), contacts in zip(batch, found, strict=True):
        if not future.done():
            future.set_result(contacts)


def arguments(asked: Sequence[Question]) -> tuple[list[str], list[str], int]:
    """What the query `find` takes: every number of every question, in order, and the most that one of them takes."""
    tenants: list[str] = []
    numbers: list[str] = []
    most = 0
    for tenant, keys, limit in asked:
        tenants += [tenant] * len(keys)
        numbers += keys
        most = max(most, limit)
    return tenants, numbers, most


def sort_out(rows: Sequence[Any], asked: Sequence[Question]) -> list[list[Found]]:
    """For each question the contacts of its first number that has any."""
    by_number: dict[int, list[Found]] = {}
    for n, source, body in rows:
        if n in by_number:
            by_number[n].append((source, body))
        else:
            by_number[n] = [(source, body)]
    found, place = [], 0
    for _, numbers, limit in asked:
        mine: list[Found] = []
        for _ in numbers:
            place += 1
            mine = mine or by_number.get(place, mine)
        found.append(mine[:limit])
    return found
