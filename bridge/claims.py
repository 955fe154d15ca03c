"""Which working process works for which tenant: exactly one at a time, whatever happens to any of them.

Every process beats in the table `daemon`, and the table `owner` says whose each tenant is. One that is silent is
taken for dead: its sessions are ended, its tenants go to others. Should it only have been frozen or cut off, it does
no harm when it comes back: what it would commit is refused (`Claim.hold`, in every transaction that writes), and it
sends nothing to a sink before it has been heard again (`Claim.check`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
import uuid
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from bridge import client, errors, log, store
from bridge.store import Connection, Store

SQL = store.queries("claims")
_LOG = log.get()
_BEAT, _SOON = 3.0, 0.3
"""Seconds from one beat to the next, and for a command that waits for its tenant."""
_DEAD = 15.0
"""Seconds of silence after which a process is taken for dead."""
_GOOD = 10.0
"""Seconds that a process trusts its own last beat: less than others wait before they take it for dead. After a longer
pause it begins anew to count how long they are silent."""
_UNWANTED = 10.0
"""Seconds that a tenant may be nobody's before it goes to whoever wants it, however much that one has."""
_PROC = Path("/proc")

Names = Collection[str]


def name(what: str) -> str:
    """What a new process calls its sessions, and is called by: `bridge worker 1f0c…`, the same for no two."""
    return f"bridge {what} {uuid.uuid4().hex[:16]}"


class Claim:
    """One tenant's, for what works for it."""

    def __init__(self, claims: Claims, tenant: str) -> None:
        self._claims = claims
        self._tenant = tenant

    async def hold(self, connection: Connection) -> None:
        """Keep the tenant until the transaction under way ends; Fenced where it is somebody else's by now."""
        if await connection.value(SQL["hold"], self._tenant, self._claims.id) is None:
            raise errors.Fenced(f"another daemon works for the tenant {self._tenant} by now")

    def check(self) -> None:
        """Fenced where somebody else may have the tenant, as the database has not heard of us for a while."""
        self._claims.check()


async def hold(claim: Claim | None, connection: Connection) -> None:
    """`claim.hold`, where there is more than one that might work."""
    if claim:
        await claim.hold(connection)


@contextlib.contextmanager
def fencing(claim: Claim | None) -> Iterator[None]:
    """In this block, and what it begins, no request that may not be repeated leaves once another may have the tenant.

    Asked as late as can be (`client.FENCE`): a request may have waited for its turn at a sink while a machine slept.
    """
    token = client.FENCE.set(claim.check if claim else client.FENCE.get())
    try:
        yield
    finally:
        client.FENCE.reset(token)


class Claims:
    """The tenants that one process works for; it goes by the name of its sessions (`db.name`, made by `name`).

    `take_up` and `let_go` are told which tenants are this process's from now on, and no longer; a tenant that is given
    back is nobody else's before `let_go` has returned. `lasting`: a daemon, which takes its share and no more; a
    command takes what is free.
    """

    def __init__(
        self,
        db: Store,
        take_up: Callable[[Names], Awaitable[None]],
        let_go: Callable[[Names], Awaitable[None]],
        *,
        lasting: bool = True,
    ) -> None:
        self.id = db.name
        self.wanted: Names = ()
        self.mine: set[str] = set()
        self._db = db
        self._take_up, self._let_go = take_up, let_go
        self._lasting = lasting
        self._entered = False
        self._beat = float("-inf")
        self._since: dict[tuple[str, datetime], float] = {}
        self._looked = float("-inf")
        self._turning = asyncio.Lock()

    def of(self, tenant: str) -> Claim:
        """What holds this tenant in a transaction."""
        return Claim(self, tenant)

    @property
    def heard(self) -> bool:
        """Whether the database has heard of this process so lately that nobody may take it for dead."""
        return _now() - self._beat <= _GOOD

    def check(self) -> None:
        """Fenced where others may take this process for dead."""
        if not self.heard:
            raise errors.Fenced("the database has not heard of this process for a while: another may be working")

    async def keep(self) -> None:
        """Beat, and hold this process's share of the tenants, until cancelled; Unavailable: the database is lost."""
        try:
            while True:
                await self.turn()
                waits = not self._lasting and len(self.mine) < len(self.wanted)
                await asyncio.sleep(_SOON if waits else _BEAT)
        except errors.Unavailable:
            self._looked = float("-inf")
            raise

    async def turn(self) -> None:
        """One beat, and what follows from who else lives."""
        async with self._turning:
            await self._live()
            others = await self._others()
            dead = [one for one in others if self._is_dead(one)]
            if dead:
                await self._bury([one["id"] for one in dead])
            peers = [one for one in others if one["lasting"] and one not in dead]
            share = _share(len(self.wanted), len(peers) + 1) if self._lasting else len(self.wanted)
            await self._give_back([*self._surplus(peers, share), *await self._disputed()])
            await self._take(share)

    async def leave(self) -> None:
        """Let go of everything, so that others need not wait."""
        async with self._turning:
            if self._entered:
                lost, self.mine = self.mine, set()
                await self._let_go(lost)
                self._entered = False
                await self._forget([self.id])

    async def _live(self) -> None:
        """Beat; start anew where others took this process for dead."""
        began = _now()
        if self._entered and not await self._db.execute(SQL["beat"], self.id, len(self.wanted), len(self.mine)):
            _LOG.error("daemon.taken_for_dead", silent=round(began - self._beat), tenants=len(self.mine))
            self._entered = False
            lost, self.mine = self.mine, set()
            await self._let_go(lost)
        if not self._entered:
            await self._db.execute(SQL["enter"], self.id, _place(os.getpid()), self._lasting, len(self.wanted))
            self._entered = True
        self._beat = began

    async def _others(self) -> list[Any]:
        """Who else lives, or did; and note when each beat of theirs was first seen.

        By our own clock, as the database's may be set. After the database was away or stood still, or this machine did,
        everybody was silent: they get as long as we had.
        """
        others = await self._db.fetch(SQL["others"], self.id)
        now = _now()
        known = self._since if now - self._looked <= _GOOD else {}
        beats = [(one["id"], one["beat_at"]) for one in others]
        self._since = {beat: known.get(beat, now) for beat in beats}
        self._looked = now
        return others

    def _is_dead(self, other: Any) -> bool:
        return _gone(other["place"]) or self._looked - self._since[other["id"], other["beat_at"]] > _DEAD

    async def _disputed(self) -> set[str]:
        """What only we or only the database take for ours: a commit was lost, or the answer to one."""
        return self.mine ^ set(await self._db.value(SQL["held"], self.id) or ())

    def _surplus(self, peers: Sequence[Any], share: int) -> list[str]:
        """What left the configuration, and what is beyond our share while another daemon has less than its own."""
        wanted = set(self.wanted)
        surplus = [*(self.mine - wanted)]
        if self._lasting and any(one["has"] < _share(one["wants"], len(peers) + 1) for one in peers):
            surplus += sorted(self.mine & wanted)[share:]
        return surplus

    async def _give_back(self, tenants: Sequence[str]) -> None:
        if tenants:
            await self._let_go(tenants)
            self.mine.difference_update(tenants)
            await self._db.execute(SQL["leave"], self.id, tenants)

    async def _take(self, share: int) -> None:
        missing = sorted(set(self.wanted) - self.mine)
        if not missing:
            return
        await self._db.execute(SQL["enlist"], missing)
        room = max(0, share - len(self.mine))
        taken = {row["tenant"] for row in await self._db.fetch(SQL["take"], self.id, missing, room, _UNWANTED)}
        if taken:
            self.mine |= taken
            await self._take_up(taken)

    async def _bury(self, dead: Sequence[str]) -> None:
        """End what dead processes left behind, and free their tenants."""
        _LOG.warning("daemon.dead", count=len(dead))
        await self._db.execute(SQL["end_sessions"], dead)
        await self._forget(dead)

    async def _forget(self, daemons: Sequence[str]) -> None:
        async with self._db.pooled() as connection, connection.transaction():
            await connection.execute(SQL["bury"], daemons)
            await connection.execute(SQL["free"], daemons)


def _share(tenants: int, daemons: int) -> int:
    return -(-tenants // daemons)


def _now() -> float:
    """Seconds that go on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _place(pid: int) -> str:
    """Machine, process namespace, process and when that began: what no two processes ever share."""
    with contextlib.suppress(OSError, KeyError):
        return f"{_machine()} {os.readlink(_PROC / 'self/ns/pid')} {pid} {_born(pid)}"
    return ""


def _machine() -> str:
    """What no other machine has.

    Where /proc shows nothing but processes (systemd's ProcSubset=pid) it is this run of the service, which knows its
    own. The machine-id would not do: machines made of one image share it.
    """
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return os.environ["INVOCATION_ID"]


def _born(pid: int) -> str:
    fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return "" if fields[0] == "Z" else fields[19]


def _gone(place: str) -> bool:
    """Whether that process was on this machine, and is there no more."""
    parts = place.split(" ")
    if len(parts) != 4 or parts[:2] != _place(os.getpid()).split(" ")[:2]:
        return False
    try:
        os.kill(int(parts[2]), 0)  # knows of those too that /proc does not show (hidepid, systemd's ProtectProc)
        return _born(int(parts[2])) != parts[3]
    except ProcessLookupError:
        return True
    except OSError:
        return False
