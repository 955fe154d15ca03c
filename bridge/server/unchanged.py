"""304 to a client that has what it asks for: what ten thousand softphones are answered all day long."""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import formatdate

from aiohttp import web

from bridge.server.replies import Instant


class Unchanged(Instant):
    """304 with these headers."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        super().__init__(304)
        self._said = headers

    def whole(self) -> bytes:
        return _head(self._said)

    def plain(self) -> web.Response:
        return web.Response(status=304, headers=self._said)


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
