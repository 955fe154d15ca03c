"""304 to a client that has what it asks for: what ten thousand softphones are answered all day long."""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import formatdate

from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter


class Unchanged(web.StreamResponse):
    """304 whose head leaves in one piece, as bytes; what is out of the ordinary takes aiohttp's way."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        super().__init__(status=304)
        self._said = headers
        self._stays = True
        self._other: web.Response | None = None

    @property
    def keep_alive(self) -> bool | None:
        return self._stays

    def force_close(self) -> None:
        self._stays = False

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the client is gone")
        usual = request.version == HttpVersion11 and request.keep_alive
        # A client that does not read its answers is waited for, which is aiohttp's way, too.
        if usual and self._stays and not transport.get_write_buffer_size():
            transport.write(_head(self._said))
            return None
        self._other = web.Response(status=304, headers=self._said)
        if not self._stays:
            self._other.force_close()
        writer = await self._other.prepare(request)
        self._stays = bool(self._other.keep_alive)
        return writer

    async def write_eof(self, data: bytes = b"") -> None:
        if self._other:
            await self._other.write_eof()


_made: tuple[int, dict[str, bytes]] = (0, {})


def _head(headers: Mapping[str, str]) -> bytes:
    """All of the answer, made once a second for each tag."""
    global _made
    second = int(time.time())
    if _made[0] != second:
        _made = (second, {})
    key = headers["ETag"] + headers["Vary"]
    if key not in _made[1]:
        fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        _made[1][key] = f"HTTP/1.1 304 Not Modified\r\n{fields}Date: {formatdate(second, usegmt=True)}\r\n\r\n".encode()
    return _made[1][key]
