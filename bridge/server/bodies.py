"""Bodies of requests: bounded in size and in time."""

from __future__ import annotations

import asyncio

from aiohttp import web

from bridge.server.replies import Refusal

MOST = 64 * 1024
SECONDS = 10.0


async def read(request: web.BaseRequest, most: int = MOST, seconds: float = SECONDS) -> bytes:
    """The whole body; refused with 413 when it is longer than `most`, with 408 when it takes longer than `seconds`."""
    content = request.content
    if content.is_eof():
        # All of it came with the head, as it nearly always does.
        data = content.read_nowait(-1)
        if len(data) > most:
            raise _too_long(most)
        return data
    if (request.content_length or 0) > most:
        raise _too_long(most)
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    try:
        async with asyncio.timeout(seconds):
            return await _all(request, most)
    except TimeoutError:
        raise Refusal(408, f"the body did not arrive within {seconds:.0f} s", close=True) from None


async def _all(request: web.BaseRequest, most: int) -> bytes:
    parts = bytearray()
    while part := await request.content.readany():
        parts += part
        if len(parts) > most:
            raise _too_long(most)
    return bytes(parts)


def _too_long(most: int) -> Refusal:
    return Refusal(413, f"the body is longer than {most // 1024} KiB", close=True)
