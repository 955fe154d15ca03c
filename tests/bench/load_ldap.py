"""Load for lookup_beside_slapd: N askers, each asks again as soon as it is answered.

Usage: load_ldap.py MODE PORT ASKERS [TOKEN] < one number a line, as the server is asked for it;
prints {"seconds", "answers", "empty", "p50", "p99", "busy"}, where busy is this process's share of one core.

MODE `ldap` binds anonymously once a connection and searches on it, `ldap-each` connects, binds, searches and unbinds
for every number, `http-each` connects and posts a `/services/Lookup` for every number. In the latter two a question
takes from before the connection to the end of the answer.
"""

import abc
import asyncio
import collections
import functools
import json
import sys
import time
from dataclasses import dataclass, field
from typing import cast

import uvloop

BASE = b"dc=example,dc=com"
ENTRY, DONE, BOUND = 0x64, 0x65, 0x61
UNBIND = b"\x42\x00"


def tlv(tag: int, *parts: bytes) -> bytes:
    """A BER element of definite length."""
    body = b"".join(parts)
    size = len(body)
    if size < 128:
        return bytes((tag, size)) + body
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + body


def integer(value: int) -> bytes:
    return tlv(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def message(number: int, operation: bytes) -> bytes:
    return tlv(0x30, integer(number), operation)


BIND = message(1, tlv(0x60, integer(3), tlv(0x04), tlv(0x80)))
# The whole subtree, aliases as they stand, no limits, values too.
SCOPE = tlv(0x04, BASE) + b"\x0a\x01\x02" + b"\x0a\x01\x00" + integer(0) + integer(0) + b"\x01\x01\x00"
TELEPHONE = tlv(0x04, b"telephoneNumber")


def search(number: int, telephone: bytes) -> bytes:
    """A search for entries of that number, all attributes."""
    return message(number, tlv(0x63, SCOPE, tlv(0xA3, TELEPHONE, tlv(0x04, telephone)), tlv(0x30)))


def span(data: bytes, at: int) -> tuple[int, int] | None:
    """Where the content of the element there begins and ends, None if its length has not all arrived."""
    if len(data) < at + 2:
        return None
    size, begin = data[at + 1], at + 2
    if size & 0x80:
        begin += size & 0x7F
        if len(data) < begin:
            return None
        size = int.from_bytes(data[at + 2 : begin], "big")
    return begin, begin + size


@dataclass
class Tally:
    """What is still to be asked, and what came of the rest."""

    numbers: collections.deque[bytes]
    took: list[float] = field(default_factory=list)
    empty: int = 0


class Asker(asyncio.Protocol):
    """One connection with one question under way: of one number, or of all that are left."""

    def __init__(self, tally: Tally, once: bool, begun: float) -> None:
        self._tally, self._once, self._asked = tally, once, begun
        self._buffer = b""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @abc.abstractmethod
    def question(self, number: bytes) -> bytes:
        """The bytes that ask for a number."""

    def farewell(self) -> bytes:
        return b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.ask()

    def ask(self) -> None:
        if not self._tally.numbers:
            self.leave()
            return
        if not self._once:
            self._asked = time.perf_counter()
        self._transport.write(self.question(self._tally.numbers.popleft()))

    def answered(self, empty: bool) -> None:
        self._tally.took.append(time.perf_counter() - self._asked)
        self._tally.empty += empty
        if self._once:
            self.leave()
        else:
            self.ask()

    def leave(self) -> None:
        if last := self.farewell():
            self._transport.write(last)
        self._transport.close()
        self.done.set_result(None)

    def fail(self, why: str) -> None:
        self.done.set_exception(RuntimeError(why))
        self._transport.abort()

    def connection_lost(self, fault: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(fault or ConnectionError("the server hung up"))


class Ldap(Asker):
    """LDAPv3: an anonymous bind, then one search after the other."""

    _number = 1
    _entries = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(BIND)

    def question(self, number: bytes) -> bytes:
        self._number += 1
        self._entries = 0
        return search(self._number, number)

    def farewell(self) -> bytes:
        return message(self._number + 1, UNBIND)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while not self.done.done() and (where := span(self._buffer, 0)) and where[1] <= len(self._buffer):
            whole = self._buffer[where[0] : where[1]]
            self._buffer = self._buffer[where[1] :]
            self._take(whole)

    def _take(self, whole: bytes) -> None:
        """One message of the server: its number, then an operation."""
        at = 2 + whole[1]
        if whole[at] == ENTRY:
            self._entries += 1
            return
        where = span(whole, at)
        # A result begins with its code, an enumerated value of one byte.
        if whole[at] not in (DONE, BOUND) or where is None or whole[where[0] : where[0] + 3] != b"\x0a\x01\x00":
            self.fail(f"the server answered {whole!r}")
        elif whole[at] == BOUND:
            self.ask()
        else:
            self.answered(empty=self._entries != 1)


class Http(Asker):
    """A lookup on a connection that is closed after it."""

    head = b""

    def question(self, number: bytes) -> bytes:
        body = b'{"inputs":{"phoneNumber":"' + number + b'"}}'
        return self.head % len(body) + body

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0 or self.done.done():
            return
        head = self._buffer[:end].lower()
        at = head.index(b"content-length:") + 15
        length = int(head[at:].split(b"\r\n", 1)[0])
        if not head.startswith(b"http/1.1 200"):
            self.fail(f"the server answered {self._buffer!r}")
        elif len(self._buffer) >= end + 4 + length:
            self.answered(empty=length == 2)


async def run(kind: type[Asker], port: int, tally: Tally, once: bool) -> None:
    """Ask until nothing is left, on one connection or on one a number."""
    loop = asyncio.get_running_loop()
    while tally.numbers:
        made = functools.partial(kind, tally, once, time.perf_counter())
        _, asker = await loop.create_connection(made, "127.0.0.1", port)
        await asker.done


async def main(mode: str, port: int, askers: int, token: str = "") -> None:
    Http.head = (
        f"POST /services/Lookup HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nX-Execution-Token: {token}\r\n"
        "Connection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    ).encode()
    tally = Tally(collections.deque(line.strip() for line in sys.stdin.buffer))
    kind = Http if mode == "http-each" else Ldap
    began, worked = time.perf_counter(), time.process_time()
    await asyncio.gather(*(run(kind, port, tally, mode != "ldap") for _ in range(askers)))
    seconds, busy = time.perf_counter() - began, time.process_time() - worked
    took = sorted(tally.took)
    said = {"seconds": seconds, "answers": len(took), "empty": tally.empty, "busy": busy / seconds}
    print(json.dumps(said | {"p50": took[len(took) // 2], "p99": took[int(len(took) * 0.99)]}))


uvloop.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:]))
