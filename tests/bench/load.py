"""Load for lookup_rate: N connections, each asks again as soon as it is answered.

Usage: load.py PORT CONNECTIONS TOKEN < one number a line; prints {"seconds", "answers", "empty", "p50", "p99"}.
"""

import asyncio
import collections
import json
import sys
import time

import uvloop


class Asker(asyncio.Protocol):
    """One connection, with one question under way."""

    def __init__(self, numbers: collections.deque[bytes], head: bytes, took: list[float], empty: list[int]) -> None:
        self._numbers, self._head, self._took, self._empty = numbers, head, took, empty
        self._buffer = b""
        self._asked = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        if not self._numbers:
            self._transport.close()
            self.done.set_result(None)
            return
        body = b'{"inputs":{"phoneNumber":"' + self._numbers.popleft() + b'"}}'
        self._asked = time.perf_counter()
        self._transport.write(self._head % len(body) + body)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[:end].lower()
        at = head.index(b"content-length:") + 15
        length = int(head[at:].split(b"\r\n", 1)[0])
        if len(self._buffer) < end + 4 + length:
            return
        if not head.startswith(b"http/1.1 200"):
            self.done.set_exception(RuntimeError(self._buffer.decode()))
            self._transport.abort()
            return
        self._took.append(time.perf_counter() - self._asked)
        self._empty[0] += length == 2
        self._buffer = b""
        self._ask()

    def connection_lost(self, fault: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(fault or ConnectionError("the server hung up"))


async def main(port: int, connections: int, token: str) -> None:
    numbers = collections.deque(line.strip() for line in sys.stdin.buffer)
    head = (
        f"POST /services/Lookup HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nX-Execution-Token: {token}\r\n"
        "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    ).encode()
    took: list[float] = []
    empty = [0]
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    askers = [
        (await loop.create_connection(lambda: Asker(numbers, head, took, empty), "127.0.0.1", port))[1]
        for _ in range(connections)
    ]
    await asyncio.gather(*(asker.done for asker in askers))
    seconds = time.perf_counter() - began
    took.sort()
    said = {"seconds": seconds, "answers": len(took), "empty": empty[0]}
    print(json.dumps(said | {"p50": took[len(took) // 2], "p99": took[int(len(took) * 0.99)]}))


uvloop.run(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
