"""A TCP proxy that behaves like a bad network: it delays, cuts, and stops in the middle without a word."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

Reach = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


class Proxy:
    """Passes connections on to where `reach` leads, as the network of the moment lets it.

    delay: seconds that each piece takes; deaf: nothing passes, and nobody is told; refusing: nobody gets in.
    """

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self.delay = 0.0
        self.deaf = False
        self.refusing = False
        self._open: set[asyncio.StreamWriter] = set()

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[int]:
        """Serve for the block, which gets the port."""
        server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            self.cut()

    def cut(self, share: float = 1.0, dice: random.Random | None = None) -> None:
        """End connections at once, without what is still under way."""
        for writer in list(self._open):
            if dice is None or dice.random() < share:
                writer.transport.abort()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            writer.transport.abort()
            return
        self._open.add(writer)
        try:
            there_reader, there = await self._reach()
        except OSError:
            self._open.discard(writer)
            writer.transport.abort()
            return
        self._open.add(there)
        try:
            await asyncio.gather(self._pass(reader, there), self._pass(there_reader, writer))
        finally:
            for one in (writer, there):
                self._open.discard(one)
                one.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while piece := await reader.read(65536):
                while self.deaf and not (reader.at_eof() or reader.exception()):
                    await asyncio.sleep(0.1)
                if self.deaf:
                    break  # who sent it has taken it back, so no network would deliver it later
                if self.delay:
                    await asyncio.sleep(self.delay)
                writer.write(piece)
                await writer.drain()
        writer.transport.abort()


def tcp(host: str, port: int) -> Reach:
    """To a port."""
    return lambda: asyncio.open_connection(host, port)


def unix(path: str) -> Reach:
    """To a socket in a directory."""
    return lambda: asyncio.open_unix_connection(path)
