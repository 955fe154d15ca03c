"""The directories of whole tenants in memory, so that a lookup asks nobody; filled in the background, within bounds.

A tenant that was asked for is read from one moment of the database, some seconds later, in slices that no lookup has
to wait for. What is here is right at every instant: from before that moment on, each number that a commit names is
noted and not spoken of any more, and a commit that names none takes the whole tenant away. While word of commits does
not arrive nothing is here at all. Whoever finds nothing here asks the database.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

from bridge import errors, log, shown, store
from bridge.sheets import Maker, Sheet
from bridge.store import Connection, Store

SQL = store.queries("nearby")
_QUIET = 5.0
"""Seconds between the wish to hold a tenant, or its last great change, and its being read."""
_IDLE, _FULL = 600.0, 3600.0
"""Seconds for which a tenant that is not asked keeps its place, and until one that found no room is tried again."""
_AT_ONCE = 64
"""Tenants that are read together."""
_STALE, _STALE_SHARE = 32, 0.1
"""How many numbers may change, or which share of all, until a tenant is read anew; and by which share its sheet may
have grown for them where there is no room."""
_REST, _SLICE = 4.0, 0.001
"""A slice is followed by a pause of so many times its length, and ends after so many seconds where rows are long."""
_PATIENCE = 60.0
_LOG = log.get()

Take = Callable[[Maker, Any], None]


class Nearby:
    """Sheets by their tenants.

    `most`: bytes that all of them may take together, those in the making included; `quiet`: seconds between a wish or
    a great change and the reading; `stale`: numbers that may change before a small tenant is read anew.
    """

    def __init__(self, db: Store, most: int = 96_000_000, quiet: float = _QUIET, stale: int = _STALE) -> None:
        self._db = db
        self._most = most
        self._quiet = quiet
        self._stale = stale
        self._sheets: dict[str, Sheet] = {}
        self._making: dict[str, Maker] = {}
        self._due: dict[str, float] = {}
        self._held = 0
        self._hearing = False

    def sheet(self, tenant: str) -> Sheet | None:
        """The tenant's, if it is here; if it is not, it will be before long."""
        sheet = self._sheets.get(tenant)
        if sheet is not None:
            sheet.asked = time.monotonic()
        elif tenant not in self._due and tenant not in self._making:
            self._later(tenant, self._quiet)
        return sheet

    @property
    def bytes(self) -> int:
        """What all take together."""
        return self._held + sum(maker.bytes for maker in self._making.values())

    @property
    def reading(self) -> bool:
        """Whether tenants are being read."""
        return bool(self._making)

    def hearing(self) -> None:
        """Word of every commit from now on arrives at `changed`."""
        self._hearing = True

    def deaf(self) -> None:
        """Word of commits may be missed from now on."""
        self._hearing = False
        self.forget()

    def forget(self, tenant: str = "") -> None:
        """Let go of what is held of a tenant ("": of all), and of what is being read; it is read anew."""
        here = {*self._sheets, *self._making}
        for one in here & {tenant} if tenant else here:
            self.changed(one)

    def changed(self, tenant: str, numbers: Collection[str] = ()) -> None:
        """A commit has changed these numbers of the tenant; none are named: it may have changed any."""
        sheet, maker = self._sheets.get(tenant), self._making.get(tenant)
        if not numbers:
            if sheet is not None or maker is not None or tenant in self._due:
                self._drop(tenant)
                self._making.pop(tenant, None)
                self._later(tenant, self._quiet)
            return
        if maker is not None:
            maker.stale.update(numbers)
        if sheet is not None:
            before = sheet.bytes
            sheet.stale.update(numbers)
            self._held += sheet.bytes - before
            if maker is None:
                self._renew(tenant, sheet)

    def _renew(self, tenant: str, sheet: Sheet) -> None:
        """Have a tenant read anew of which much has changed; until then its sheet stays, where there is room for it."""
        cramped = sheet.grown > _STALE_SHARE * sheet.bytes and self.bytes > self._most
        if cramped:
            self._drop(tenant)
        if cramped or len(sheet.stale) > max(self._stale, _STALE_SHARE * sheet.size):
            self._due.setdefault(tenant, time.monotonic() + self._quiet)

    async def run(self) -> None:
        """Read what is due, for ever."""
        while True:
            now = time.monotonic()
            batch = [tenant for tenant, due in self._due.items() if due <= now][:_AT_ONCE]
            if batch and self._hearing:
                await self._read(batch)
            await asyncio.sleep(min(1.0, self._quiet))

    async def _read(self, tenants: Sequence[str]) -> None:
        self._making = {tenant: Maker() for tenant in tenants}
        for tenant in tenants:
            del self._due[tenant]
        try:
            # What changes from here on is noted, so that the moment that is read may be any later one.
            async with self._db.of("*").session() as connection, connection.transaction():
                await connection.execute(SQL["one_moment"])
                await connection.execute(SQL["all_of_it"])
                await self._all(connection, SQL["contacts"], SQL["next_contacts"], _contact)
                await self._all(connection, SQL["numbers"], SQL["next_numbers"], _number)
            await self._finish()
        except errors.Unavailable as fault:
            _LOG.debug("nearby.failed", reason=str(fault))
            for tenant in self._making:
                self._later(tenant, self._quiet)
        finally:
            self._making = {}

    async def _all(self, connection: Connection, cursor: str, following: str, take: Take) -> None:
        """Take every row of a cursor, as long as anybody wants them."""
        declare = await connection.prepare(cursor)
        await declare.fetch(list(self._making), within=_PATIENCE)
        fetch = await connection.prepare(following)
        while self._making and (rows := await fetch.fetch(within=_PATIENCE)):
            began = time.perf_counter()
            for tenant, *row in rows:
                maker = self._making.get(tenant)
                if maker is not None:
                    take(maker, row)
                if time.perf_counter() - began > _SLICE:
                    await self._rest(began)
                    began = time.perf_counter()
            await self._rest(began)

    async def _finish(self) -> None:
        """Hold what was read; whatever changes meanwhile is noted for those that are not held yet."""
        read = list(self._making)
        for tenant in read:
            began = time.perf_counter()
            maker = self._making.pop(tenant, None)
            if maker is not None:
                self._hold(tenant, maker.sheet())
            await self._rest(began)
        _LOG.debug("nearby.read", tenants=len(read), bytes=self._held)

    async def _rest(self, began: float) -> None:
        """After a slice."""
        self._make_room()
        await asyncio.sleep(_REST * (time.perf_counter() - began))

    def _make_room(self) -> None:
        """Let go of what there is no room for: what is read anew, what nobody asks for, at last what is being read."""
        while self._making and self.bytes > self._most:
            again = next((tenant for tenant in self._making if tenant in self._sheets), None)
            idle = min(self._sheets, key=lambda tenant: self._sheets[tenant].asked, default=None)
            if again is not None:
                self._drop(again)
            elif idle is not None and self._sheets[idle].asked < time.monotonic() - _IDLE:
                self._drop(idle)
            else:
                largest = max(self._making, key=lambda tenant: self._making[tenant].bytes)
                del self._making[largest]
                self._later(largest, _FULL)
                _LOG.debug("nearby.no_room", tenant=largest)

    def _hold(self, tenant: str, sheet: Sheet) -> None:
        self._drop(tenant)
        sheet.asked = time.monotonic()
        self._sheets[tenant] = sheet
        self._held += sheet.bytes

    def _drop(self, tenant: str) -> None:
        sheet = self._sheets.pop(tenant, None)
        if sheet is not None:
            self._held -= sheet.bytes

    def _later(self, tenant: str, seconds: float) -> None:
        self._due[tenant] = time.monotonic() + seconds


def _contact(maker: Maker, row: Sequence[Any]) -> None:
    key, source, body = row
    maker.contact(key, source, shown.compact(body))


def _number(maker: Maker, row: Sequence[Any]) -> None:
    maker.number(*row)
