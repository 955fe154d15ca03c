"""Load for phonebook_rate: N connections that ask for a book again and again, or once and read all of it.

Usage: pollers.py PORT CONNECTIONS REQUESTS < the head of the request; prints {"seconds", "answers", "bytes", "first",
"statuses"}: `first` is the slowest first byte of a connection's first answer.
"""

import asyncio
import json
import sys
import time
from collections import Counter

import uvloop


class Poller(asyncio.Protocol):
    """One connection, with one request under way; bodies are counted and let go."""

    def __init__(self, head: bytes, requests: int, statuses: Counter[str]) -> None:
        self._head, self._left, self._statuses = head, requests, statuses
        self._buffer = b""
        self._body = -1
        self.bytes = 0
        self.first = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        if not self._left:
            self._transport.close()
            self.done.set_result(None)
            return
        self._left -= 1
        self._asked = time.perf_counter()
        self._transport.write(self._head)

    def data_received(self, data: bytes) -> None:
        if self._body < 0:
            if not self.first:
                self.first = time.perf_counter() - self._asked
            self._buffer += data
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head, data, self._buffer = self._buffer[:end].lower(), self._buffer[end + 4 :], b""
            self._statuses[head[9:12].decode()] += 1
            at = head.find(b"content-length:")
            self._body = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        self.bytes += len(data)
        self._body -= len(data)
        if self._body <= 0:
            self._body = -1
            self._ask()

    def connection_lost(self, fault: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(fault or ConnectionError("the server hung up"))


async def main(port: int, connections: int, requests: int) -> None:
    head = sys.stdin.buffer.read()
    statuses: Counter[str] = Counter()
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    pollers = [
        (await loop.create_connection(lambda: Poller(head, requests, statuses), "127.0.0.1", port))[1]
        for _ in range(connections)
    ]
    await asyncio.gather(*(poller.done for poller in pollers))
    said = {
        "seconds": time.perf_counter() - began,
        "answers": statuses.total(),
        "bytes": sum(poller.bytes for poller in pollers),
        "first": max(poller.first for poller in pollers),
    }
    print(json.dumps(said | {"statuses": statuses}))


uvloop.run(main(*map(int, sys.argv[1:])))
