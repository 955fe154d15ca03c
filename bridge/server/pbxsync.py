"""Mixvoip's helper URLs: `/pbxsync/…`, with the login of another server in them.

Nothing of such a URL is kept, logged or said back, nor is the text of any error, which may hold a part of it.
"""

from __future__ import annotations

import asyncio
import functools
import math
import time
import traceback
import urllib.parse
from collections.abc import Mapping, Sequence
from pathlib import Path

from aiohttp import web

from bridge import client, config, errors, forgotten, keys, pbxsync, reach
from bridge.config import Tenant
from bridge.forgotten import Forgotten
from bridge.keys import Network
from bridge.pbxsync import wanted as urls
from bridge.pbxsync.apart import Broken, Order
from bridge.pbxsync.lines import Lines
from bridge.pbxsync.wanted import Wanted
from bridge.server import Handler, peers
from bridge.server.errands import Busy, Errands

_HEADERS = {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store", "Server": "bridge"}
_AGAIN = 10.0
"""Seconds after which a busy bridge is worth asking again."""
_STALLED = 60.0
"""Seconds that a client may take for one piece, before it is taken for gone."""
_RIGHTS = frozenset({"", "403", "40", "not_authorized", "API_DISABLED_FOR_ORG", "service.PERM_DENIED"})
"""Codes of a Denied by which a server knows the login and forbids it to read; "": it names none."""


class _No(Exception):
    """An answer without lines: a sentence for who asked, a word for the log."""

    def __init__(self, status: int, text: str, why: str, after: float | None = None) -> None:
        super().__init__(text)
        self.status, self.why, self.after = status, why, after

    def reply(self) -> web.Response:
        """The sentence."""
        more = {} if self.after is None else {"Retry-After": str(max(1, math.ceil(self.after)))}
        more |= {"Allow": "GET"} if self.status == 405 else {}
        return web.Response(status=self.status, body=f"{self}\n".encode(), headers={**_HEADERS, **more})


class PbxSync:
    """One tenant's surface, under one configuration."""

    def __init__(self, tenant: Tenant, table: keys.PbxSync, errands: Errands, proxies: Sequence[Network]) -> None:
        self._tenant = tenant
        self._allow = table.allow
        self._errands = errands
        self._proxies = proxies
        self.prefix = "/pbxsync" if tenant.name == config.DEFAULT else f"/{tenant.name}/pbxsync"

    def paths(self) -> Mapping[str, Handler]:
        """None is usual."""
        return {}

    def find(self, path: str) -> Handler | None:
        """All that is below the prefix."""
        return self.answer if path == self.prefix or path.startswith(self.prefix + "/") else None

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """200 with all the lines there are, or a status and a sentence."""
        began, address, kind = time.perf_counter(), peers.address(request, self._proxies), ""
        try:
            wanted = self._wanted(request, address)
            kind = wanted.kind
            key = (self._tenant.name, self._allow, wanted)
            async with self._errands.lines(key, wanted.server, functools.partial(self._read, wanted)) as lines:
                self._note(address, kind, 200, "", began, lines=lines.count)
                return await _sent(request, lines)
        except ConnectionError:
            raise
        except Exception as fault:
            # The last resort stands here and not in the server, whose log would hold the path and the fault's text.
            no = _judged(fault)
        if no.why == "login":
            self._errands.throttle.wrong(address)
        self._note(address, kind, no.status, no.why, began)
        return no.reply()

    def _wanted(self, request: web.BaseRequest, address: str) -> Wanted:
        """What is asked for, where anything may be asked from there."""
        if wait := self._errands.throttle.wait(address):
            raise _No(401, "too many wrong logins from this address: ask again later", "throttled", wait)
        if request.method != "GET":
            raise _No(405, "right is GET", "method")
        path, _, query = request.raw_path.partition("?")
        if not path.startswith("/"):
            path, query = request.rel_url.raw_path, request.rel_url.raw_query_string
        parts = path.split("/")
        depth = self.prefix.count("/") + 1
        if urllib.parse.unquote("/".join(parts[:depth])) != self.prefix:
            raise urls.Unknown("there is nothing at this path")
        wanted = urls.read(parts[depth:], query, self._allow)
        if not reach.named(self._allow, *wanted.server):
            raise reach.Forbidden("not allowed")
        return wanted

    async def _read(self, wanted: Wanted) -> Lines:
        place = pbxsync.Place(self._tenant.region, self._tenant.internal_digits, await self._forgotten())
        return await self._errands.read(Order(wanted, place, tuple(self._allow)))

    async def _forgotten(self) -> Forgotten:
        try:
            async with self._errands.db.of(self._tenant.name).session() as connection:
                return await forgotten.load(connection, self._tenant.name)
        except errors.Unavailable as fault:
            raise _No(503, "the database is not there at the moment: ask again", "database", fault.after) from None

    def _note(self, address: str, kind: str, status: int, why: str, began: float, **more: int) -> None:
        access = self._errands.access
        if access.due():
            fields = {"kind": kind, "status": status, "why": why, "address": address, **more}
            seconds = round(time.perf_counter() - began, 3)
            access.write("pbxsync.answered", tenant=self._tenant.name, seconds=seconds, **fields)


def _judged(fault: Exception) -> _No:
    """The answer to who asked; of the fault's own words none."""
    match fault:
        case _No():
            return fault
        case urls.Malformed():
            return _No(404 if isinstance(fault, urls.Unknown) else 400, str(fault), "malformed")
        case Busy():
            return _No(503, "as much is being read as may be at once: ask again", "busy", _AGAIN)
        case reach.Forbidden():
            return _No(403, "this server, or the address that its name leads to, is not allowed here", "not allowed")
        case errors.Denied() if fault.code in _RIGHTS:
            return _No(403, "the server does not let this login read all it needs", "rights")
        case errors.Denied():
            return _No(401, "the server does not take this login", "login")
        case TimeoutError() | client.Late():
            return _No(502, "the server took too long", "time-out")
        case pbxsync.Partial():
            text = f"{fault.missing or 'some'} of the server's contacts cannot be read, so none are given"
            return _No(502, text, "partial")
        case errors.BridgeError():
            after = fault.after if isinstance(fault, errors.Unavailable) else None
            return _No(502, "the server failed, or what it answers cannot be read", "server", after)
    where = str(fault) if isinstance(fault, Broken) else f"{type(fault).__name__} at {_where(fault)}"
    return _No(500, "this failed, and the log of bridge says where", where)


def _where(fault: Exception) -> str:
    """The line of the program that it comes from."""
    last = traceback.extract_tb(fault.__traceback__)[-1]
    return f"{Path(last.filename).name}:{last.lineno}"


async def _sent(request: web.BaseRequest, lines: Lines) -> web.StreamResponse:
    """The lines as the answer, a piece in memory at a time; a client that stops reading is let go."""
    reply = web.StreamResponse(headers=_HEADERS)
    reply.content_length = lines.size
    at = 0
    try:
        await reply.prepare(request)
        while piece := lines.piece(at):
            async with asyncio.timeout(_STALLED):
                await reply.write(piece)
            at += len(piece)
        await reply.write_eof()
    except (TimeoutError, OSError):
        # The answer has a length: a client that gets less knows that it has not all.
        if request.transport:
            request.transport.abort()
        raise ConnectionResetError("the lines were not sent to their end") from None
    return reply
