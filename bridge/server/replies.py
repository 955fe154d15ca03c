"""What the servers answer: JSON, always with a length and never with a trace of what is inside."""

from __future__ import annotations

import abc
import math
import time
from collections.abc import Mapping
from email.utils import formatdate
from typing import Any

import orjson
from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter
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


class Instant(web.StreamResponse):
    """An answer that is ready: head and body leave in one piece, as bytes.

    Most of what aiohttp does for an answer is to make a head. What is out of the ordinary takes aiohttp's way.
    """

    methods: frozenset[str] | None = None
    """Those to which it may be given so; None: all."""

    def __init__(self, status: int = 200) -> None:
        super().__init__(status=status)
        self._stays = True
        self._other: web.Response | None = None

    @abc.abstractmethod
    def whole(self) -> bytes:
        """The answer as it goes over the wire to a client that stays."""

    @abc.abstractmethod
    def plain(self) -> web.Response:
        """The same as aiohttp's."""

    @property
    def keep_alive(self) -> bool | None:
        return self._stays

    def force_close(self) -> None:
        self._stays = False

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the client is gone")
        fits = self.methods is None or request.method in self.methods
        # A client that does not read its answers is waited for, which is aiohttp's way, too.
        if request.version == HttpVersion11 and fits and not transport.get_write_buffer_size():
            self._stays = self._stays and request.keep_alive
            transport.write(self.whole() if self._stays else last(self.whole()))
            return None
        self._other = self.plain()
        if not self._stays:
            self._other.force_close()
        writer = await self._other.prepare(request)
        self._stays = bool(self._other.keep_alive)
        return writer

    async def write_eof(self, data: bytes = b"") -> None:
        if self._other:
            await self._other.write_eof()


class Ready(Instant):
    """200 with a JSON document: a lookup's answer differs from the last one in nothing but its length and body."""

    methods = frozenset({"GET", "POST"})

    def __init__(self, raw: bytes) -> None:
        super().__init__()
        self._raw = raw

    def whole(self) -> bytes:
        return ready(self._raw)

    def plain(self) -> web.Response:
        return web.Response(body=self._raw, headers=_HEADERS)


def ready(raw: bytes) -> bytes:
    """200 with a JSON document, as it goes over the wire to a client that stays."""
    return b"%b%d\r\n\r\n%b" % (_head(), len(raw), raw)


def written(reply: web.Response) -> bytes:
    """A reply with a body of bytes, as it goes over the wire to a client that stays."""
    body = reply.body
    assert isinstance(body, bytes)
    date = formatdate(int(time.time()), usegmt=True)
    fields = {**reply.headers, "Date": date, "Content-Length": str(len(body))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {reply.status} {reply.reason}\r\n{lines}\r\n".encode() + body


def last(said: bytes) -> bytes:
    """What goes over the wire, told to be the last on its connection."""
    return said.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)


_head_made = (0, b"")


def _head() -> bytes:
    """All of the head but the length, made once a second."""
    global _head_made
    second = int(time.time())
    if _head_made[0] != second:
        fields = "".join(f"{name}: {value}\r\n" for name, value in _HEADERS.items())
        date = formatdate(second, usegmt=True)
        _head_made = (second, f"HTTP/1.1 200 OK\r\n{fields}Date: {date}\r\nContent-Length: ".encode())
    return _head_made[1]


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
