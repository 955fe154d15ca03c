"""Delivery of extensions to one sink: one request at a time, for each mails to a user.

A lost answer is settled without a second mail: the extension is added again, and where the PBX says that it is there
already, what was sent before is taken for done. (Only an update without an address, which mails to nobody, is sent
again.) Several new ones go in one request where nothing is known against any; if that fails, each goes alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from bridge import claims, errors, extensions, log, store, totals
from bridge.claims import Claim
from bridge.extensions import Row, dump
from bridge.health import Health
from bridge.pushes import pause
from bridge.sinks import Extension, Sink
from bridge.store import Connection, Store

SQL = store.queries("extension_outbox")
_LOG = log.get()
_MOST = 200
"""Extensions looked at together."""
_POLL = 0.5

Op = Literal["add", "update", "delete"]
Check = Callable[[Extension], None]
"""Raises Refused where the sink would not take it."""


@dataclass(frozen=True, slots=True)
class Task:
    """One row, and what to tell the sink about it."""

    row: Row
    op: Op
    extension: Extension


def plan(row: Row, *, delete: bool) -> tuple[Op, Extension] | None:
    """What brings the sink nearer to what it should hold; None where nothing need be sent."""
    if row.wanted is None:
        there = row.exists or row.state == "sent"
        return ("delete", row.acked or Extension(row.number, "")) if delete and there else None
    if row.state == "sent":
        silent = row.exists and row.sent is not None and not row.sent.email
        return ("update" if silent else "add", row.wanted)
    return ("update" if row.exists else "add", row.wanted)


class ExtensionOutbox:
    """The extensions owed to one sink of one tenant. `with_contacts`: an `Outbox` delivers there as well."""

    def __init__(
        self,
        db: Store,
        tenant: str,
        name: str,
        sink: Sink,
        check: Check,
        *,
        delete: bool,
        timeout: float,
        with_contacts: bool = False,
        claim: Claim | None = None,
    ) -> None:
        self._db = db
        self._key = (tenant, name)
        self._sink = sink
        self._check = check
        self._delete = delete
        self._timeout = timeout
        self._with_contacts = with_contacts
        self._claim = claim
        self._health = Health(tenant, name, 1)
        self._alone: set[str] = set()
        self._wake = asyncio.Event()
        self._counted: Counter[str] = Counter()
        self._resting = False
        self._busy_at = float("inf")

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
        """Deliver until told to rest, or cancelled; as `Outbox.drain`."""
        with claims.fencing(self._claim):
            while not self._resting:
                self._wake.clear()
                more = await self._turn()
                if more or self._busy_at == float("inf"):
                    self._busy_at = time.monotonic()
                if more:
                    continue
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_POLL):
                        await self._wake.wait()

    @contextlib.asynccontextmanager
    async def _writing(self) -> AsyncIterator[Connection]:
        """A transaction in which nobody else delivers to this sink."""
        async with self._db.pooled() as connection, connection.transaction():
            await claims.hold(self._claim, connection)
            yield connection

    async def _turn(self) -> bool:
        """Send one request, if one is due and may be sent; whether there may be more to do."""
        async with self._writing() as connection:
            if self._counted:
                counted, self._counted = self._counted, Counter()
                await totals.add(connection, self._key[0], "sink", self._key[1], counted)
            if await self._health.waits(connection) or await self._tried_by_contacts(connection):
                return False
            rows = [extensions.read(raw) for raw in await connection.fetch(SQL["take"], *self._key, _MOST)]
            tasks = [task for row in rows if (task := await self._task(connection, row))]
        if not tasks:
            return False
        new = [one for one in tasks if one.op == "add" and one.row.state == "due"]
        many = [one for one in new if one.row.number not in self._alone]
        if len(many) > 1 and not self._health.trying_one:
            await self._send_many(many[: self._sink.fitting([one.extension for one in many])])
        else:
            await self._send(tasks[0])
        return True

    async def _tried_by_contacts(self, session: Connection) -> bool:
        """Whether the sink failed, and a contact's push is what tries it: one request is enough."""
        if not (self._health.trying_one and self._with_contacts):
            return False
        return bool(await session.value(SQL["contacts_try"], *self._key, self._timeout))

    async def _task(self, session: Connection, row: Row) -> Task | None:
        """What to send for a row; None where nothing need or can be sent, which is then noted."""
        step = plan(row, delete=self._delete)
        if step is None:
            await self._holds(session, row.number, row.acked, exists=row.exists)
            return None
        op, extension = step
        try:
            if op != "delete":
                self._check(extension)
        except errors.Refused as refusal:
            await self._refuse(session, row.number, extension, refusal)
            return None
        return Task(row, op, extension)

    async def _send(self, task: Task) -> None:
        await self._mark([task])
        number, settling = task.row.number, task.row.state == "sent"
        try:
            await self._sink.send_extensions(task.op, [task.extension])
        except errors.Refused as refusal:
            self._health.answered()
            async with self._writing() as connection:
                if refusal.present:
                    # Added by the request whose answer was lost; or by somebody else: then it is brought up to date.
                    await self._holds(connection, number, task.row.sent if settling else None, exists=True)
                elif refusal.absent and task.op != "add":
                    await self._holds(connection, number, None, exists=False)
                else:
                    await self._refuse(connection, number, task.extension, refusal)
        except errors.Fenced:
            raise  # it says nothing of the sink
        except (errors.Denied, errors.Unavailable) as fault:
            await self._failed([task], fault)
        else:
            self._counted["push.settled"] += 1
            gone = task.op == "delete"
            async with self._writing() as connection:
                await self._health.good(connection)
                await self._holds(connection, number, None if gone else task.extension, exists=not gone)

    async def _send_many(self, tasks: Sequence[Task]) -> None:
        await self._mark(tasks)
        try:
            await self._sink.send_extensions("add", [one.extension for one in tasks])
        except errors.Refused as refusal:
            self._health.answered()
            self._alone |= {one.row.number for one in tasks}
            _LOG.info("extensions.alone", sink=self._key[1], count=len(tasks), code=refusal.code)
            async with self._writing() as connection:
                for one in tasks:
                    await self._back(connection, one, "due", 0.0, "")
        except errors.Fenced:
            raise  # it says nothing of the sink
        except (errors.Denied, errors.Unavailable) as fault:
            await self._failed(tasks, fault)
        else:
            self._counted["push.settled"] += len(tasks)
            async with self._writing() as connection:
                await self._health.good(connection)
                for one in tasks:
                    await self._holds(connection, one.row.number, one.extension, exists=True)

    async def _failed(self, tasks: Sequence[Task], fault: errors.Denied | errors.Unavailable) -> None:
        """Nothing is known to have been done: what may have been is settled later, the rest sent again."""
        if isinstance(fault, errors.Denied):
            self._counted["push.stopped"] += len(tasks)
            async with self._writing() as connection:
                for one in tasks:
                    await self._back(connection, one, one.row.state, 0.0, "")
                await self._health.denied(connection, fault)
            return
        lost, said = isinstance(fault, errors.Unsettled), bool(fault.code)
        event = "unsettled" if lost or said else "later"
        self._counted[f"push.{event}"] += len(tasks)
        _LOG.warning(f"push.{event}", sink=self._key[1], extensions=len(tasks), reason=str(fault))
        async with self._writing() as connection:
            for one in tasks:
                # An update that the sink says it failed at is sent again, an add is asked for.
                state = "sent" if lost or (said and one.op == "add") else one.row.state
                await self._back(connection, one, state, fault.after or pause(one.row.tries), str(fault))
            if not said:
                await self._health.failed(connection, fault)

    async def _mark(self, tasks: Sequence[Task]) -> None:
        """Write down what is about to be sent; Fenced where it must not be."""
        numbers = [one.row.number for one in tasks]
        sent = [dump(_doubtful(one)) for one in tasks]
        async with self._writing() as connection:
            await connection.execute(SQL["mark"], *self._key, numbers, sent, 4 * self._timeout + 30.0)

    async def _back(self, session: Connection, task: Task, state: str, wait: float, reason: str) -> None:
        sent = dump(_doubtful(task)) if state == "sent" else None
        await session.execute(SQL["later"], *self._key, task.row.number, state, sent, wait, reason)

    async def _holds(self, session: Connection, number: str, acked: Extension | None, *, exists: bool) -> None:
        await session.execute(SQL["holds"], *self._key, number, dump(acked) if exists else None, not self._delete)
        if not exists:
            await session.execute(SQL["forget"], *self._key, number)

    async def _refuse(self, session: Connection, number: str, extension: Extension, refusal: errors.Refused) -> None:
        self._counted["push.refused"] += 1
        _LOG.warning("extension.refused", sink=self._key[1], extension=number, code=refusal.code, reason=str(refusal))
        await session.execute(SQL["refused"], *self._key, number, dump(extension), refusal.code, str(refusal))


def _doubtful(task: Task) -> Extension | None:
    """What the sink may hold once this was sent; what an earlier request sent counts until that is settled."""
    if task.row.state == "sent":
        return task.row.sent
    return None if task.op == "delete" else task.extension
