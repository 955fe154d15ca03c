"""What admins and Prometheus ask: health and metrics."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping

from aiohttp import web

from bridge import counts, errors, metrics
from bridge.config import Config
from bridge.metrics import Snapshot
from bridge.server import Handler, replies
from bridge.server.logins import Logins
from bridge.store import Store

_FRESH, _SHARE, _LONGEST = 1.0, 20.0, 5.0
"""Seconds for which what the database said is good, however often it is asked for; at least so many times as long as it
took, so that it never takes more than that share of what lookups need; and at the most."""
_DEADLINE = 2.0


class Admin:
    """The pages of [admin]; `told` may be replaced by a later configuration at any time.

    `alone`: what is to be said where the replica answers lookups alone, "" where it does not.
    """

    def __init__(
        self, db: Store, told: Config, logins: Logins | None = None, alone: Callable[[], str] = lambda: ""
    ) -> None:
        self.told = told
        self._alone = alone
        self._db = db
        self._logins = logins or Logins()
        self._counted: Snapshot | None = None
        self._good_until = float("-inf")
        self._making = asyncio.Lock()

    def paths(self) -> Mapping[str, Handler]:
        """The pages that there are."""
        return {"/health/live": self.live, "/health/ready": self.ready, "/metrics": self.metrics}

    def find(self, path: str) -> Handler | None:
        """None: all pages are at their paths alone."""
        return None

    async def live(self, _request: web.BaseRequest) -> web.StreamResponse:
        """200 while this process turns."""
        return replies.json(200, {"live": True})

    async def ready(self, _request: web.BaseRequest) -> web.StreamResponse:
        """200 while the database answers; 503 says why it does not."""
        try:
            async with asyncio.timeout(_DEADLINE):
                await self._db.value("select 1")
        except (errors.Unavailable, TimeoutError) as fault:
            # Who takes daemons out for this would take out all of them, while they do answer telephones.
            if alone := self._alone():
                return replies.json(200, {"ready": True, "database": alone, "configuration": str(self.told.path)})
            reason = str(fault) or f"the database does not answer within {_DEADLINE:.0f} s"
            return replies.json(503, {"ready": False, "database": reason, "configuration": str(self.told.path)})
        return replies.json(200, {"ready": True, "database": "ok", "configuration": str(self.told.path)})

    async def metrics(self, request: web.BaseRequest) -> web.StreamResponse:
        """All metrics; without the database, those that do not need it."""
        self._logins.admit(self.told.admin.users, request)
        async with self._making:
            if time.monotonic() > self._good_until:
                await self._count()
            page = metrics.render(self._counted)
        return web.Response(body=page, headers={"Content-Type": metrics.CONTENT_TYPE, "Server": "bridge"})

    async def _count(self) -> None:
        """Ask the database; what it says is good for a moment, that it says nothing is not."""
        began = time.monotonic()
        self._counted = None
        with contextlib.suppress(errors.Unavailable, TimeoutError):
            async with asyncio.timeout(_DEADLINE):
                self._counted = await counts.snapshot(self._db, self.told)
            now = time.monotonic()
            self._good_until = now + min(_LONGEST, max(_FRESH, _SHARE * (now - began)))
