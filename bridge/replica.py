"""Lookups answered by a standby where it has replayed all that is known to be committed, else by the primary.

A commit is known once its NOTIFY is heard, which only the primary sends. From then on the primary answers, until its
position in the write-ahead log has been asked for; then a standby's answer counts if that position had been replayed
before the question was asked. So an answer from a standby is never older than the last word of a change, and answers
that are kept are dropped by the words still to come, as those from the primary are.

While nothing is heard and the primary is away, a standby answers as far as it knows: nothing is kept then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from bridge import errors, store
from bridge.questions import Current, Found, Question, Questions, within_deadline
from bridge.store import Connection, Store

SQL = store.queries("replica")
_PATIENCE = 0.5
"""Seconds after which the primary is asked what the replica does not answer."""
_LOOK = 0.02
"""Seconds between looks at how far a standby has come that is behind."""
_AGAIN = 0.5


class Either:
    """Questions to a replica, where there is one and it is up to date, or to the primary."""

    def __init__(self, db: Store, replica: Store | None = None) -> None:
        self._db = db
        self._spare = replica
        self._primary = Questions(db)
        self._replica = (
            Questions(replica, named="replica", patience=_PATIENCE, current=self._current, instead=self._primary)
            if replica
            else None
        )
        self._hears = False
        self._need: int | None = None
        self._identity: int | None = None
        self._moves = 0
        self._moved = asyncio.Event()
        self._measuring: list[asyncio.Task[None]] = []

    @property
    def lines(self) -> Sequence[asyncio.Task[None]]:
        """What works for the answers; only a mistake ends one."""
        return [*self._primary.lines, *(self._replica.lines if self._replica else ()), *self._measuring]

    @property
    def reason(self) -> str:
        """Why there are no answers; "" while there are."""
        return "" if self._alone else self._primary.reason

    @property
    def alone(self) -> str:
        """That the replica answers alone, and why; "" where it does not."""
        return f"lookups are answered by the replica alone: {self._primary.reason}" if self._alone else ""

    @property
    def state(self) -> str:
        """Who answers, in words."""
        return self.alone or (f"lookups wait: {self.reason}" if self.reason else "lookups are answered")

    @property
    def store(self) -> Store:
        """Where to ask what is not asked here: the primary, and its replica while that is all there is."""
        return self._spare if self._spare and self._alone else self._db

    @property
    def _alone(self) -> bool:
        """Whether the replica has to answer, whatever it knows."""
        return bool(self._replica and self._replica.up and not self._primary.up and not self._hears)

    async def start(self) -> None:
        """Connect, and return when that has succeeded or failed for the first time."""
        if self._replica:
            self._measuring = [asyncio.create_task(self._measure())]
            await asyncio.gather(self._primary.start(), self._replica.start())
        else:
            await self._primary.start()

    async def close(self) -> None:
        """Let go of the connections; what waits is told so."""
        for task in self._measuring:
            task.cancel()
        await asyncio.gather(*self._measuring, return_exceptions=True)
        if self._replica:
            await self._replica.close()
        await self._primary.close()

    async def ask(self, question: Question) -> list[Found]:
        """The contacts, [] for none; Unavailable at once where the database is away."""
        return await self.put(question)

    def put(self, question: Question) -> asyncio.Future[list[Found]]:
        """What `ask` waits for."""
        if self._replica and self._replica.up:
            return self._replica.put(question)
        return self._primary.put(question)

    def changed(self) -> None:
        """Word of a commit was heard: what is asked from now on is answered in sight of it."""
        self._primary.tables_changed()
        if self._replica:
            self._replica.tables_changed()
            self._need = None
            self._moves += 1
            self._moved.set()

    def hears(self, whether: bool) -> None:
        """Whether word of commits arrives from now on."""
        self._hears = whether
        self.changed()

    async def _measure(self) -> None:
        """After every word of a commit, note how far the primary had written by then."""
        while True:
            await self._moved.wait()
            self._moved.clear()
            moves, at = self._moves, None
            if self._hears:
                try:
                    at = await within_deadline(self._db.value(SQL["written"]))
                    self._identity = self._identity or await within_deadline(self._db.value(SQL["whose"]))
                except errors.Unavailable:
                    await asyncio.sleep(_AGAIN)
                    self._moved.set()
            if moves == self._moves and self._hears:
                self._need = at

    def _current(self, connection: Connection) -> Current:
        """Whether what that connection to a standby answers now counts."""
        replayed, looked, known = -1, float("-inf"), False
        now = asyncio.get_running_loop().time

        async def current() -> bool:
            nonlocal replayed, looked, known
            if not known and self._identity is not None:
                if await within_deadline(connection.value(SQL["whose"]), _PATIENCE) != self._identity:
                    raise errors.Unavailable("the replica is none of this database's")
                known = True
            if self._alone or self._need is None:
                return self._alone
            if replayed < self._need and now() - looked > _LOOK:
                looked = now()
                at = await within_deadline(connection.value(SQL["replayed"]), _PATIENCE)
                if at is None:
                    raise errors.Unavailable("the replica stands by no more")
                replayed = at
            return self._need is not None and replayed >= self._need

        return current
