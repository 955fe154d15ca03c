"""What the servers answer: JSON, always with a length and never with a trace of what is inside."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import web
from multidict import CIMultiDict

from bridge import errors

JSON = "application/json; charset=utf-8"
_HEADERS = CIMultiDict({"Content-Type": JSON, "Cache-Control": "no-store", "Server": "bridge"})


class Refusal(Exception):
    """A request that is not carried out: raised by whoever finds out, answered as JSON `{"error": …}`."""

    def __init__(
        self, status: int, reason: str, *, close: bool = False, after: float | None = None, challenge: str = ""
    ) -> None:
        super().__init__(reason)
        self.status = status
        self._close = close
        self._after = after
        self._challenge = challenge

    def reply(self) -> web.Response:
        """The answer; with Retry-After where it is worth while, and with how to log in where that is asked for."""
        reply = error(self.status, str(self), close=self._close, after=self._after)
        if self._challenge:
            reply.headers["WWW-Authenticate"] = self._challenge
        return reply


def body(raw: bytes) -> web.Response:
    """200 with a JSON document that is ready."""
    return web.Response(body=raw, headers=_HEADERS)


def json(status: int, document: Any, headers: Mapping[str, str] | None = None) -> web.Response:
    """A JSON document with any status."""
    return web.Response(status=status, body=orjson.dumps(document), headers={**_HEADERS, **(headers or {})})


def error(status: int, reason: str, *, close: bool = False, after: float | None = None) -> web.Response:
    """`{"error": reason}`; `close`: what else comes on this connection is of no use."""
    headers = {} if after is None else {"Retry-After": str(max(1, math.ceil(after)))}
    reply = json(status, {"error": reason}, headers)
    if close:
        reply.force_close()
    return reply


def unavailable(fault: errors.Unavailable) -> web.Response:
    """503, to be asked again soon. The reason is in the log and in `status`: it may name machines."""
    return error(503, "the database is not there at the moment: ask again", after=fault.after or 1.0)
