"""The fast lane: a client that asks the usual thing in the usual way is answered without all that a request may need.

A connection begins here, and stays for as long as each piece of it is one whole request whose head aiohttp's own
parser has read before, byte for byte, and was found to be one to answer here (`Heads`). Everything else (another
head, a part of a request or more than one, a wrong token, whatever is refused, the end of this process) goes with its
connection to aiohttp, unread and for good, as if that had had it from the first byte: no rule of HTTP is written
down here, and no answer but a found one, or that there is no database.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from aiohttp import HttpVersion11, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpProcessingError, HttpRequestParser

from bridge import errors, log
from bridge.server import replies

MOST = 8192
"""Bytes of the longest request that is answered here."""
_HEADS, _LONGEST = 8192, 1024
"""Heads that are remembered, and the bytes of the longest: a client has one for each length of the numbers it asks."""
_END = b"\r\n\r\n"
_LOG = log.get()


class Later(NamedTuple):
    """A document that has to be waited for: once `done` is, `finish` gives it, or raises."""

    done: asyncio.Future[Any]
    finish: Callable[[], bytes]


Ask = Callable[[bytes], bytes | Later | None]
"""From the body of a request to the JSON document of the answer; None: not here."""
Admit = Callable[[Mapping[str, str]], Ask | None]
"""From the headers of a request to who answers it, None: not here."""


class _Known(NamedTuple):
    length: int
    ask: Ask


class Heads:
    """Heads of requests, with who answers them under one configuration; `find` knows the paths that may be quick."""

    def __init__(self, find: Callable[[str], Admit | None]) -> None:
        self._find = find
        self._known: dict[bytes, _Known] = {}

    def answer(self, data: bytes) -> bytes | Later | None:
        """The document for what is one whole request, with nothing behind it; None: not here."""
        head, _, body = data.partition(_END)
        known = self._known.get(head) or self._learn(head, data, body)
        return known.ask(body) if known and known.length == len(body) else None

    def _learn(self, head: bytes, data: bytes, body: bytes) -> _Known | None:
        """What the parser makes of a head does not change: with a body of the same length it is the same request."""
        message = _whole(data, body) if data.startswith(b"POST ") and len(data) <= MOST else None
        admit = self._find(message.path) if message else None
        ask = admit(message.headers) if message and admit else None
        if ask is None:
            return None
        known = _Known(len(body), ask)
        if len(head) <= _LONGEST:
            if len(self._known) >= _HEADS:
                del self._known[next(iter(self._known))]
            self._known[head] = known
        return known


def _whole(data: bytes, body: bytes) -> Any:
    """The message that `data` is, if that is one whole POST with this body that asks for nothing out of the way."""
    loop = asyncio.get_running_loop()
    try:
        messages, upgraded, _ = HttpRequestParser(BaseProtocol(loop), loop, MOST, auto_decompress=False).feed_data(data)
    except HttpProcessingError:
        return None
    if len(messages) != 1 or upgraded:
        return None
    [(message, content)] = messages
    usual = message.method == "POST" and message.version == HttpVersion11 and "Expect" not in message.headers
    odd = message.should_close or message.chunked or message.upgrade
    return message if usual and not odd and body and content.is_eof() and content.read_nowait(-1) == body else None


class Behind(Protocol):
    """What a lane has to know of the server that it leads to."""

    @property
    def heads(self) -> Heads:
        """Those of the configuration in force."""

    @property
    def ending(self) -> bool:
        """Whether every connection has to end with its request."""

    def enter(self) -> None:
        """A request is under way."""

    def leave(self) -> None:
        """It is no more."""


class Lanes:
    """A protocol factory for `loop.create_server`: lanes that lead to a server of aiohttp's."""

    def __init__(self, behind: Behind, server: web.Server, idle: float) -> None:
        self.behind, self.server, self.idle = behind, server, idle
        self.lanes: set[Lane] = set()

    def __call__(self) -> Lane:
        return Lane(self)

    async def shutdown(self, seconds: float) -> None:
        """Close all connections; the answers under way have so long to leave."""
        waiting = [lane.done for lane in self.lanes if lane.done]
        rest = [asyncio.wait(waiting, timeout=seconds)] if waiting else []
        await asyncio.gather(self.server.shutdown(seconds), *rest)
        for lane in list(self.lanes):
            lane.close()


class Lane(asyncio.Protocol):
    """One connection, until it leaves the lane or is closed; at most one request of it is under way."""

    __slots__ = ("_asked", "_behind", "_full", "_held", "_lanes", "_later", "_loop", "_since", "_timer", "_transport")

    def __init__(self, lanes: Lanes) -> None:
        self._lanes, self._behind = lanes, lanes.behind
        self._loop = asyncio.get_running_loop()
        self._transport: Any = None
        self._timer: asyncio.TimerHandle | None = None
        self._since = 0.0
        self._later: Later | None = None
        self._asked = self._held = b""
        self._full = False

    @property
    def done(self) -> asyncio.Future[Any] | None:
        """Done when the answer under way can be given; None: there is none."""
        return self._later.done if self._later else None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._lanes.lanes.add(self)
        self._since = self._loop.time()
        self._timer = self._loop.call_later(self._lanes.idle, self._look)

    def data_received(self, data: bytes) -> None:
        if self._later:
            self._held += data
            self._transport.pause_reading()
            return
        # A client that does not read its answers is waited for, which is aiohttp's business, too.
        if self._behind.ending or self._transport.get_write_buffer_size():
            self._leave(data)
            return
        found = self._behind.heads.answer(data)
        if type(found) is bytes:
            self._transport.write(replies.ready(found))
            self._since = self._loop.time()
        elif isinstance(found, Later):
            self._later, self._asked = found, data
            self._behind.enter()
            found.done.add_done_callback(self._answer)
        else:
            self._leave(data)

    def _answer(self, _done: asyncio.Future[Any]) -> None:
        """Give the answer that was waited for, and go on with what came meanwhile."""
        later, self._later = self._later, None
        asked, held, self._asked, self._held = self._asked, self._held, b"", b""
        assert later
        try:
            said = replies.ready(later.finish())
        except errors.Unavailable as fault:
            said = replies.written(replies.unavailable(fault))
        except Exception:
            # Asked again the other way, it fails again and is answered for there; or it does not, and is here to read.
            _LOG.exception("request.failed", again=True)
            said, held = b"", asked + held
        finally:
            self._behind.leave()
        if self._transport is None or self._transport.is_closing():
            return
        self._since = self._loop.time()
        if said and self._behind.ending:
            self._transport.write(replies.last(said))
            self._transport.close()
            return
        if said:
            self._transport.write(said)
        if held:
            self._transport.resume_reading()
            self._leave(held)

    def _leave(self, data: bytes) -> None:
        """From here on the connection is aiohttp's."""
        self._forget()
        handler = self._lanes.server()
        self._transport.set_protocol(handler)
        handler.connection_made(self._transport)
        if self._full:
            handler.pause_writing()
        handler.data_received(data)

    def _look(self) -> None:
        """Close the connection once nothing was asked for so long."""
        left = self._since + self._lanes.idle - self._loop.time()
        if left <= 0 and not self._later:
            self.close()
        else:
            self._timer = self._loop.call_later(left if left > 0 else self._lanes.idle, self._look)

    def close(self) -> None:
        """Close it, once what was written has left."""
        if self._transport:
            self._transport.close()

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False

    def connection_lost(self, _fault: Exception | None) -> None:
        self._forget()
        self._transport = None

    def _forget(self) -> None:
        self._lanes.lanes.discard(self)
        if self._timer:
            self._timer.cancel()
            self._timer = None
