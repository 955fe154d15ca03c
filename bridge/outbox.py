"""Delivery to one sink: take what is owed, send it, settle what was lost, retry, refuse.

A push is noted as sent before it is sent. One whose answer was lost (cut, time-out, crash, garbage) is settled: an
update asks for the entry under every number that it may stand under, and only where the sink says that it is under
none of them is it added. So nothing is there twice and nothing is missing, whenever the daemon dies.
One daemon of several drains a sink: it holds the sink's tenant (`claims`), or writes nothing and sends nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable

import orjson

from bridge import claims, errors, log, owed, pushes, totals
from bridge.claims import Claim
from bridge.contact import Contact, load
from bridge.health import Health
from bridge.pushes import Row, Task, pause
from bridge.sinks import Entry, Push, Sink
from bridge.store import Connection, Store

SQL = owed.SQL
_LOG = log.get()
_BATCH, _BATCH_MOST = 16, 128
"""How many rows are taken at a time: twice as many as before where the last ones lasted for less than _BRISK seconds,
half as many where they lasted for more than _TARDY."""
_BRISK, _TARDY = 0.5, 2.0
_TOGETHER, _HOLD = 64, 0.05
"""How many pushes that the sink took are written down together, and the seconds for which the first waits for more."""
_POLL = 0.5
"""Seconds between looks at an empty outbox; a push that another process caused waits no longer."""
_MISSES = 4
"""Times in a row that a sink must fail to change an entry, without saying why, before we take it to hold none."""

Render = Callable[[Contact, str, str], Entry]
"""(contact, kind, number key) → the entry; raises Refused where it cannot be said to this sink."""


class Outbox:
    """The pushes owed to one sink of one tenant. `sent` counts the pushes that the sink took."""

    def __init__(
        self,
        db: Store,
        tenant: str,
        name: str,
        sink: Sink,
        render: Render,
        *,
        concurrency: int,
        timeout: float,
        claim: Claim | None = None,
    ) -> None:
        self._db = db
        self._key = (tenant, name)
        self._sink = sink
        self._render = render
        self._concurrency = concurrency
        self._timeout = timeout
        self._claim = claim
        self._batch = _BATCH
        self._taken_off_at = 0.0
        self._ready: deque[Task] = deque()
        self._under_way: set[str] = set()
        self._running: set[asyncio.Task[None]] = set()
        self._taken: list[tuple[Task, Push]] = []
        self._taken_at = 0.0
        self._wake = asyncio.Event()
        self._health = Health(tenant, name, concurrency)
        self._counted: Counter[str] = Counter()
        self._counts_kept = 0.0
        self._resting = False
        self._busy_at = float("inf")
        self.sent = 0

    def wake(self) -> None:
        """Something may be due."""
        self._wake.set()

    def rest(self) -> None:
        """End `drain` once what is under way is done."""
        self._resting = True
        self._wake.set()

    @property
    def idle(self) -> float:
        """Seconds since there was last something to do, below zero before it was looked for."""
        return time.monotonic() - self._busy_at

    @property
    def failing(self) -> bool:
        """Whether the last that was tried failed."""
        return self._health.trying_one

    async def drain(self) -> None:
        """Deliver until told to rest, or cancelled; what is under way then is waited for a little, the rest given back.

        Raises Unavailable when the database is lost: nothing is, for what was sent is known and will be settled.
        """
        for left in (self._ready, self._taken, self._under_way):
            left.clear()  # what a lost database left here stands there as sent
        with claims.fencing(self._claim):
            try:
                while self._running or not self._resting:
                    await self._turn()
            finally:
                # Without the database there is nothing to give back: what was taken stands there as sent.
                with contextlib.suppress(errors.Unavailable):
                    await self._stop()
                    await self._note_taken()
                    await self._keep_counts()

    @contextlib.asynccontextmanager
    async def _writing(self) -> AsyncIterator[Connection]:
        """A transaction in which nobody else delivers to this sink."""
        async with self._db.pooled() as connection, connection.transaction():
            await claims.hold(self._claim, connection)
            yield connection

    async def _turn(self) -> None:
        self._wake.clear()
        self._reap()
        if self._counted and time.monotonic() - self._counts_kept > 1.0:
            await self._keep_counts()
        if len(self._taken) >= _TOGETHER or time.monotonic() - self._taken_at > _HOLD or self._health.trying_one:
            await self._note_taken()
        if self._health.halted:
            await self._give_back()
        if len(self._ready) < self._low and not self._resting:
            async with self._db.pooled() as connection:
                halted = await self._health.waits(connection)
            if not halted and len(self._ready) < self._low:
                await self._take()
        for _ in range(0 if self._resting else min(len(self._ready), self._width - len(self._running))):
            working = asyncio.create_task(self._work())
            working.add_done_callback(lambda _: self._wake.set())
            self._running.add(working)
        if self._running or self._ready or self._busy_at == float("inf"):
            self._busy_at = time.monotonic()
        await self._nap(_HOLD if self._taken else _POLL)

    def _reap(self) -> None:
        """Let go of those who have nothing left to send; raises what ended one of them."""
        ended = {one for one in self._running if one.done()}
        self._running -= ended
        if faults := [fault for one in ended if (fault := one.exception())]:
            raise faults[0]

    async def _work(self) -> None:
        """Send what is ready, one after the other."""
        while self._ready and not self._resting and not self._health.halted and len(self._running) <= self._width:
            task = self._ready.popleft()
            if len(self._ready) + 1 == self._low:
                self._wake.set()
            await self._do(task)

    @property
    def _low(self) -> int:
        """More is taken where less than this is ready: those who send need not wait for it."""
        if self._health.trying_one:
            return 0 if self._running else 1
        return max(self._concurrency, self._batch // 2)

    @property
    def _width(self) -> int:
        """How many may be under way."""
        return 1 if self._health.trying_one else self._concurrency

    async def _keep_counts(self) -> None:
        counted, self._counted, self._counts_kept = self._counted, Counter(), time.monotonic()
        tenant, name = self._key
        if counted:
            async with self._db.pooled() as connection:
                await totals.add(connection, tenant, "sink", name, counted)

    async def _nap(self, seconds: float) -> None:
        # Not asyncio.wait_for: before Python 3.12 that loses a cancellation which comes with what it waits for.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    async def _stop(self) -> None:
        """Wait a little for what is under way; give back what was taken and not begun."""
        ready, self._ready = self._ready, deque()
        if self._running:
            _, late = await asyncio.wait(self._running, timeout=min(self._timeout, 4.0))
            for one in late:
                one.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)
            self._running = set()
        self._ready = ready
        await self._give_back()

    async def _give_back(self) -> None:
        """What is ready waits as it did before."""
        while self._ready:
            task = self._ready.popleft()
            async with self._writing() as connection:
                await self._back(connection, task, 0.0, "")
            self._under_way.discard(task.row.number)

    # What is due

    async def _take(self) -> None:
        """Take what is due, and write down that it is about to be sent."""
        limit = 1 if self._health.trying_one else self._batch
        async with self._writing() as session:
            found = await owed.rows(session, self._key, "take", limit)
            # What has stood here for longer than a push may take, at a slow sink, is under way all the same.
            rows = [row for row in found if row.number not in self._under_way]
            if not rows:
                return
            partners, more = await owed.partners(session, self._key, rows)
            moving = {one.number for one in partners.values()}
            tasks = []
            for row in [*rows, *more]:
                if row.number not in moving:
                    task = await self._task(session, row, partners.get(row.number))
                    tasks += [task] if task else []
            await owed.mark(session, self._key, tasks, 4 * self._timeout + 30.0)
        self._ready.extend(tasks)
        self._under_way.update(task.row.number for task in tasks)
        lasted, self._taken_off_at = time.monotonic() - self._taken_off_at, time.monotonic()
        if lasted < _BRISK and len(found) == limit:
            self._batch = min(2 * self._batch, _BATCH_MOST)
        elif lasted > _TARDY:
            self._batch = max(self._batch // 2, _BATCH)

    async def _task(self, session: Connection, row: Row, partner: Row | None) -> Task | None:
        """What to send for a row; None where nothing need or can be sent, which is then noted."""
        try:
            entry = None if row.contact is None or row.body is None else self._say(row.body, row)
        except errors.Refused as refusal:
            if row.acked is None and row.sent is None:
                await self._refuse(session, Task(row, None, (), partner), refusal, held_none=False)
                return None
            entry = None  # what stands there says somebody else's name, or an old one: it goes first
        if row.state == "due" and entry is not None and entry == row.acked:
            await session.execute(SQL["clean"], *self._key, row.number)
            return None
        task = Task(row, entry, pushes.plan(row, entry, partner), partner)
        if not task.pushes:
            await self._vacate(session, row.number)
            return None
        return task

    def _say(self, body: str, row: Row) -> Entry:
        return self._render(load(body), row.kind or "other", row.number)

    # Sending, and what comes of it

    async def _do(self, task: Task) -> None:
        begun = False
        try:
            for push in task.pushes:
                absent = await self._send(task, push)
                begun = True
                if not absent and push.op != "delete":
                    break
        except errors.Fenced:
            raise  # it says nothing of the sink
        except errors.Refused as refusal:
            async with self._writing() as connection:
                await self._refuse(connection, task, refusal, held_none=push.op == "add")
        except errors.Denied as fault:
            await self._denied(task, fault, begun)
        except errors.Unavailable as fault:
            lost = isinstance(fault, errors.Unsettled) or bool(fault.code)
            await (self._unsettled(task, fault) if lost or begun else self._unreachable(task, fault))
        else:
            self.sent += 1
            self._counted["push.settled"] += 1
            if task.entry is None or task.partner:
                await self._done(task, push)
            else:
                self._health.answered()
                self._taken_at = self._taken_at if self._taken else time.monotonic()
                self._taken.append((task, push))
                if len(self._taken) == _TOGETHER:
                    self._wake.set()
                return
        self._under_way.discard(task.row.number)

    async def _send(self, task: Task, push: Push) -> bool:
        """Send one push; True where the sink says that there is nothing to update or delete."""
        try:
            await self._sink.send(push)
        except errors.Refused as refusal:
            # Of an entry that may never have arrived any word but one on its names says that it is not there.
            absent = refusal.absent or push.op == "delete" or (task.may_be_absent(push) and refusal.perhaps_absent)
            if push.op == "add" or not absent:
                raise
            return True
        except errors.Unsettled:
            raise
        except errors.Unavailable as fault:
            # It answered that it failed. An entry that it never acknowledged and fails to change time and again is
            # taken for one that it does not hold; one that it did acknowledge never is.
            many = task.row.misses + 1 >= _MISSES
            if fault.code and push.op == "update" and task.may_be_absent(push) and many:
                return True
            raise
        return False

    async def _note_taken(self) -> None:
        """Write down what the sink took; should we die before, it stands as sent, and is asked for."""
        taken, self._taken = self._taken, []
        if not taken:
            return
        rows = [task.row for task, _ in taken]
        numbers, acked = [row.number for row in rows], [orjson.dumps(task.entry).decode() for task, _ in taken]
        held = [row.names for row in rows], [row.kind for row in rows], [row.contact for row in rows]
        async with self._writing() as connection:
            noted = await connection.fetch(SQL["arrived_together"], *self._key, numbers, acked, *held)
            await self._health.good(connection)
        left = set(numbers) - {row["number"] for row in noted}
        for task, push in taken:
            if task.row.number in left:
                await self._done(task, push)
            self._under_way.discard(task.row.number)

    async def _done(self, task: Task, push: Push) -> None:
        row = task.row
        async with self._writing() as connection:
            if task.entry is None:
                await self._vacate(connection, row.number)
            else:
                acked = orjson.dumps(task.entry).decode()
                await connection.execute(
                    SQL["arrived"], *self._key, row.number, acked, row.names, row.kind, row.contact
                )
            if task.partner and task.took_partner(push):
                await self._vacate(connection, task.partner.number)
            elif task.partner:
                await connection.execute(SQL["doubt"], *self._key, task.partner.number)
            await self._health.good(connection)

    async def _vacate(self, connection: Connection, number: str) -> None:
        """The sink holds nothing under that number now."""
        await connection.execute(SQL["vacated_unwanted"], *self._key, number)
        await connection.execute(SQL["vacated"], *self._key, number)

    async def _refuse(self, connection: Connection, task: Task, refusal: errors.Refused, *, held_none: bool) -> None:
        self._health.answered()
        self._counted["push.refused"] += 1
        row = task.row
        _LOG.warning("push.refused", sink=self._key[1], number=row.number, code=refusal.code, reason=str(refusal))
        doubt = row.state == "sent" and not held_none
        await connection.execute(
            SQL["refused"], *self._key, row.number, refusal.code, str(refusal), row.names, row.kind, held_none, doubt
        )
        if task.partner:
            await connection.execute(SQL["doubt" if doubt else "free"], *self._key, task.partner.number)

    async def _unsettled(self, task: Task, fault: errors.Unavailable) -> None:
        """It may have been done: ask before sending again."""
        self._counted["push.unsettled"] += 1
        misses = task.row.misses + 1 if fault.code and task.row.state == "sent" else 0
        _LOG.warning("push.unsettled", sink=self._key[1], number=task.row.number, reason=str(fault))
        wait = fault.after or pause(task.row.tries)
        async with self._writing() as connection:
            await connection.execute(
                SQL["unsettled"], *self._key, task.row.number, wait, misses, str(fault), fault.code
            )
            if not fault.code:
                await self._health.failed(connection, fault)

    async def _unreachable(self, task: Task, fault: errors.Unavailable) -> None:
        """Nothing was sent: it waits as it did before."""
        self._counted["push.later"] += 1
        async with self._writing() as connection:
            await self._back(connection, task, fault.after or pause(task.row.tries), str(fault))
            await self._health.failed(connection, fault)

    async def _denied(self, task: Task, fault: errors.Denied, begun: bool) -> None:
        """The key is refused: nothing more is sent but a probe a minute, rising to one in fifteen."""
        self._counted["push.stopped"] += 1
        async with self._writing() as connection:
            if begun:
                await connection.execute(
                    SQL["unsettled"], *self._key, task.row.number, 0.0, task.row.misses, str(fault), fault.code
                )
            else:
                await self._back(connection, task, 0.0, "")
            await self._health.denied(connection, fault)

    async def _back(self, connection: Connection, task: Task, wait: float, reason: str) -> None:
        row = task.row
        sent = orjson.dumps(row.sent).decode() if row.sent else None
        await connection.execute(SQL["later"], *self._key, row.number, row.state, sent, wait, reason, row.moved_from)
        if task.partner and row.state == "due":
            await connection.execute(SQL["free"], *self._key, task.partner.number)
