"""The HTTP server: every request goes to the surface that its path names, under the configuration in force.

It sits on aiohttp's low-level server: finding the handler is two looks into dictionaries, however many tenants there
are, and nothing stands between a telephone that rings and its answer; the usual lookup does not even come that far
(`lane`). A new configuration is a new `Surfaces`, swapped between two requests.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from bridge import errors, log
from bridge.server import replies
from bridge.server.lane import Admit, Heads, Lanes
from bridge.server.replies import Refusal

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
_LOG = log.get()
_IDLE = 75.0
"""Seconds after which a connection is closed that has not said all of a request's head."""
_LINGERING = 2.0
"""Seconds that what is left of a refused body is waited for."""


class Surface(Protocol):
    """What one table of the configuration serves."""

    def paths(self) -> Mapping[str, Handler]:
        """Handlers by the paths that clients usually ask, exactly as they stand in the request."""

    def find(self, path: str) -> Handler | None:
        """The handler of any other path, decoded; None where it is not this surface's."""


@runtime_checkable
class Quick(Surface, Protocol):
    """A surface some of whose requests may take the fast lane."""

    def quick(self) -> Mapping[str, Admit]:
        """Those of its paths whose requests may; what `Admit` makes of one is what the path's handler would."""


class _Place(NamedTuple):
    """What is served under one first part of paths."""

    surfaces: Sequence[Surface]
    usual: Mapping[str, Handler]
    quick: Mapping[str, Admit]


class _Places:
    """By the first part of paths: what is served there, put together when it is asked for first."""

    def __init__(self, surfaces: Sequence[Surface], below: Mapping[str, Sequence[Surface]]) -> None:
        self._surfaces, self._below = surfaces, below
        self._known: dict[str, _Place] = {}

    def of(self, path: str) -> _Place:
        first = path.lstrip("/").partition("/")[0]
        own = self._below.get(first)
        name = first if own is not None else ""
        place = self._known.get(name)
        if place is None:
            place = self._known[name] = _put_together((*(own or ()), *self._surfaces))
        return place

    def quick(self, path: str) -> Admit | None:
        return self.of(path).quick.get(path)


class Surfaces:
    """All that one configuration serves.

    `below`: surfaces by the first part that all of their paths have; `surfaces`: those that may have any, and come
    behind them. Nothing in it refers back to it: the moment another configuration is in force it is gone.
    """

    def __init__(self, surfaces: Sequence[Surface] = (), below: Mapping[str, Sequence[Surface]] | None = None) -> None:
        self._places = _Places(surfaces, below or {})
        self.heads = Heads(self._places.quick)

    def find(self, request: web.BaseRequest) -> Handler | None:
        """Who answers this request."""
        raw = request.rel_url.raw_path
        handler = self._places.of(raw).usual.get(raw)
        if handler is None:
            path = request.path
            handler = next((found for one in self._places.of(path).surfaces if (found := one.find(path))), None)
        return handler


def _put_together(surfaces: Sequence[Surface]) -> _Place:
    usual: dict[str, Handler] = {}
    quick: dict[str, Admit] = {}
    for surface in surfaces:
        own = surface.paths()
        usual.update(own)
        # A path is its last surface's, on the lane as well.
        quick = {path: admit for path, admit in quick.items() if path not in own}
        quick |= surface.quick() if isinstance(surface, Quick) else {}
    return _Place(surfaces, usual, quick)


class Front:
    """The handler of all connections. `surfaces` may be replaced at any time."""

    def __init__(self, surfaces: Surfaces) -> None:
        self.surfaces = surfaces
        self._busy = 0
        self._ending: asyncio.Event | None = None

    def server(self) -> Lanes:
        """A protocol factory for `loop.create_server`."""
        return Lanes(self, _Server(self.handle), _IDLE)

    @property
    def heads(self) -> Heads:
        """What may take the fast lane."""
        return self.surfaces.heads

    @property
    def ending(self) -> bool:
        """Whether connections end with the request that is under way."""
        return self._ending is not None

    def enter(self) -> None:
        """A request is under way."""
        self._busy += 1

    def leave(self) -> None:
        """It is no more."""
        self._busy -= 1
        if self._ending:
            self._ending.set()

    async def drain(self, seconds: float) -> None:
        """Wait so long for the requests under way, whose bodies may still be coming; their connections end with them.

        (aiohttp's own way down hears nothing more of a connection, and so breaks off what is half said.)
        """
        self._ending = asyncio.Event()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._busy:
                    self._ending.clear()
                    await self._ending.wait()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """The answer, whatever happens; every error is JSON."""
        self.enter()
        try:
            reply = await self._answer(request)
        finally:
            self.leave()
        if self.ending:
            reply.force_close()
        return reply

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            handler = self.surfaces.find(request)
            if handler is None:
                return replies.error(404, "there is nothing at this path")
            return await handler(request)
        except Refusal as refusal:
            return refusal.reply()
        except errors.Unavailable as fault:
            return replies.unavailable(fault)
        except (web.RequestPayloadError, HttpProcessingError):
            return replies.error(400, "the body of the request is broken", close=True)
        except ConnectionError:
            raise
        except Exception:
            # The last resort of a request: whoever asks is told, the log has the rest, and the next one is served.
            _LOG.exception("request.failed", method=request.method, path=request.path)
            return replies.error(500, "this failed, and the log of bridge says why", close=True)


class _Server(web.Server):
    def __call__(self) -> web.RequestHandler:
        return _Connection(
            self,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=_IDLE,
            lingering_time=_LINGERING,
            access_log=None,  # type: ignore[arg-type]  # None is how aiohttp is told to write none
            auto_decompress=False,  # bodies stay as they come: nobody here compresses them
        )


class _Connection(web.RequestHandler):
    __slots__ = ()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Bytes that are no HTTP. They are neither said back nor logged, as aiohttp would: they may hold a token."""
        _LOG.info("request.unreadable", address=request.remote, fault=type(exc).__name__)
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has already begun")
        return replies.error(status, "this is no request that bridge can read", close=True)
