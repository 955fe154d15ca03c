"""The fast lane beside aiohttp's own way: whatever a client sends, it cannot tell which of them answered."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpRequestParser
from listed import record
from served import TOKEN, configured, hold, parts

from bridge import config
from bridge.lookup import Lookups
from bridge.server import Front, Surfaces, surfaces
from bridge.server.lane import MOST, Heads, Lanes
from bridge.store import Store

BODY = b'{"inputs":{"phoneNumber":"41215522000"}}'
TOKEN_LINE = f"X-Execution-Token: {TOKEN}\r\n".encode()


def request(body: bytes = BODY, *lines: bytes, first: bytes = b"POST /services/Lookup HTTP/1.1") -> bytes:
    """A request with the right token, and with these lines more."""
    more = b"".join(line + b"\r\n" for line in lines)
    return b"%b\r\nHost: x\r\n%b%bContent-Length: %d\r\n\r\n%b" % (first, TOKEN_LINE, more, len(body), body)


USUAL = request()


@dataclass(frozen=True)
class Both:
    """One front behind lanes, and behind aiohttp's server alone."""

    db: Store
    front: Front
    lanes: Lanes
    lookups: Lookups
    ports: Mapping[str, int]
    clients: list[Client]

    async def open(self, way: str = "lane") -> Client:
        self.clients.append(Client(*await asyncio.open_connection("127.0.0.1", self.ports[way])))
        return self.clients[-1]

    async def remembered(self) -> None:
        """Have the usual answer kept, as soon as answers are."""
        async with asyncio.timeout(5):
            while not self.lookups._answers.live:
                await asyncio.sleep(0.01)
        await (await self.open("aiohttp")).ask(USUAL)

    async def idle(self) -> None:
        """Wait until no request is under way."""
        async with asyncio.timeout(5):
            while self.front._busy:
                await asyncio.sleep(0.01)

    async def busy(self) -> None:
        """Wait until one is."""
        async with asyncio.timeout(5):
            while not self.front._busy:
                await asyncio.sleep(0.01)


@dataclass(frozen=True)
class Client:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, data: bytes) -> tuple[str, dict[str, str], bytes]:
        self.writer.write(data)
        return await self.answer()

    async def answer(self) -> tuple[str, dict[str, str], bytes]:
        """First line, headers but the date, and body of the next answer."""
        async with asyncio.timeout(5):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines)
            assert len(headers) == len(lines)
            assert headers.pop("date").endswith(" gmt")
            return first, headers, await self.reader.readexactly(int(headers["content-length"]))

    async def again(self) -> tuple[str, dict[str, str], bytes] | None:
        """What the usual request is answered, None where the server has closed the connection."""
        try:
            return await self.ask(USUAL)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    async def ended(self) -> bool:
        """That the server closes the connection without another word."""
        async with asyncio.timeout(5):
            return await self.reader.read() == b""

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


@pytest.fixture
async def both(db: Store, tmp_path: Path) -> AsyncIterator[Both]:
    await hold(db, "crm", record("42", "Alexa Holiday", "+41 21 552 20 00"))
    lookups = Lookups(db)
    told = configured(tmp_path)
    front = Front(surfaces.of(told, parts(db, lookups, told)))
    await lookups.start()
    loop = asyncio.get_running_loop()
    ways = {"lane": front.server(), "aiohttp": front.server().server}
    servers = {way: await loop.create_server(made, "127.0.0.1", 0) for way, made in ways.items()}
    ports = {way: server.sockets[0].getsockname()[1] for way, server in servers.items()}
    lanes = ways["lane"]
    assert isinstance(lanes, Lanes)
    both = Both(db, front, lanes, lookups, ports, [])
    yield both
    for client in both.clients:
        await client.close()
    for way, server in servers.items():
        server.close()
        await ways[way].shutdown(1)
    await lookups.close()


def holding(both: Both) -> int:
    """How many connections are in the lane."""
    return len(both.lanes.lanes)


LONGEST = b'{"inputs":{"phoneNumber":"41215522000"},"x":"' + b"x" * (64 * 1024 - 47) + b'"}'
CHUNKED = b"POST /services/Lookup HTTP/1.1\r\nHost: x\r\n" + TOKEN_LINE + b"Transfer-Encoding: chunked\r\n"
STAYS = {
    "found": USUAL,
    "nobody": request(b'{"inputs":{"phoneNumber":"352621999999"}}'),
    "no number": request(b'{"inputs":{"phoneNumber":"anonymous"}}'),
    "other spelling": request(b'{"Inputs":"{\\"PHONENUMBER\\":\\"+41 21 552 20 00\\"}"}'),
    "other path": request(first=b"POST /services/lookup HTTP/1.1"),
    "kept alive": request(BODY, b"Connection: keep-alive"),
    "other headers": request(BODY, b"User-Agent: a/1", b"Accept-Encoding: gzip, br", b"X-Forwarded-For: 192.0.2.1"),
    "Latin-1": USUAL.replace(TOKEN.encode(), TOKEN.encode("latin-1")),
    "upgrade to what is not known": request(BODY, b"Upgrade: h2c"),
}
LEAVES = {
    "other slashes": request(first=b"POST /services//Lookup HTTP/1.1"),
    "number in the query": request(b"", first=b"POST /services/Lookup?PhoneNumber=41215522000 HTTP/1.1"),
    "body and query": request(first=b"POST /services/Lookup?PhoneNumber=1 HTTP/1.1"),
    "absolute": request(first=b"POST http://x/services/Lookup HTTP/1.1"),
    "GET": request(first=b"GET /services/Lookup HTTP/1.1"),
    "PUT": request(first=b"PUT /services/Lookup HTTP/1.1"),
    "HTTP/1.0": request(first=b"POST /services/Lookup HTTP/1.0"),
    "closing": request(BODY, b"Connection: close"),
    "expecting": request(BODY, b"Expect: 100-Continue"),
    "workflow": request(first=b"POST /services/CallFlow HTTP/1.1"),
    "nothing there": request(first=b"POST /other HTTP/1.1"),
    "no body": request(b""),
    "no JSON": request(b"{"),
    "no number at all": request(b'{"inputs":{}}'),
    "wrong token": request().replace(TOKEN.encode(), b"wrong"),
    "no token": request().replace(TOKEN_LINE, b""),
    "two tokens, the right one last": request().replace(TOKEN_LINE, b"X-Execution-Token: wrong\r\n" + TOKEN_LINE),
    "chunked": CHUNKED + b"\r\n28\r\n" + BODY + b"\r\n0\r\n\r\n",
    "bad chunks": CHUNKED + b"\r\nzz\r\n",
    "length twice": request(BODY, b"Content-Length: 40"),
    "two lengths": request(BODY, b"Content-Length: 4"),
    "length and chunks": request(BODY, b"Transfer-Encoding: chunked"),
    "list of lengths": USUAL.replace(b"Length: 40", b"Length: 40, 40"),
    "signed length": USUAL.replace(b"Length: 40", b"Length: +40"),
    "hidden encoding": request(BODY, b"Transfer-Encoding : chunked"),
    "folded": request(BODY, b"X-More: a\r\n b"),
    "line feeds alone": USUAL.replace(b"\r\n", b"\n"),
    "one line feed alone": USUAL.replace(b"\r\nHost", b"\nHost"),
    "no host": USUAL.replace(b"Host: x\r\n", b""),
    "two hosts": request(BODY, b"Host: y"),
    "null": request(BODY, b"X-More: a\x00b"),
    "longest body": request(LONGEST),
    "too long a body": request(LONGEST + b" "),
    "long head": request(BODY, b"X-More: " + b"x" * MOST),
    "too long a header": request(BODY, b"X-More: " + b"x" * 9000),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
}


@pytest.mark.parametrize(("requests", "stays"), [(STAYS, True), (LEAVES, False)], ids=["stays", "leaves"])
async def test_both_ways_answer_the_same(both: Both, requests: Mapping[str, bytes], stays: bool) -> None:
    await both.remembered()
    for _ in range(2):  # from memory, then from the database
        got: dict[str, dict[str, object]] = {way: {} for way in both.ports}
        for way, answers in got.items():
            for name, sent in requests.items():
                client = await both.open(way)
                answer = await client.ask(sent)
                assert holding(both) == (stays and way == "lane"), name
                answers[name] = (answer, await client.again())
                await client.close()
        assert got["lane"] == got["aiohttp"]
        both.lookups.forget()


async def test_request_split_anywhere_is_answered(both: Both) -> None:
    client = await both.open()
    want = await client.ask(USUAL)
    for place in range(1, len(USUAL)):
        client = await both.open()
        client.writer.write(USUAL[:place])
        await asyncio.sleep(0.002)
        assert await client.ask(USUAL[place:]) == want
        assert await client.again() == want
        await client.close()


async def test_many_requests_one_after_the_other_stay(both: Both) -> None:
    client = await both.open()
    for _ in range(3):
        for sent in STAYS.values():
            assert (await client.ask(sent))[0] == "HTTP/1.1 200 OK"
    assert holding(both) == 1


@pytest.mark.parametrize("tail", [b"", USUAL[:60], b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n"])
async def test_pipelined_requests_are_answered_in_order(both: Both, tail: bytes) -> None:
    nobody = STAYS["nobody"]
    client = await both.open()
    await client.ask(USUAL)
    client.writer.write(USUAL + nobody + USUAL + tail)
    got = [(await client.answer())[2] for _ in range(3)]
    assert [b"Alexa" in one for one in got] == [True, False, True]
    if tail.startswith(b"GET"):
        assert (await client.answer())[0] == "HTTP/1.1 404 Not Found"
    elif tail:
        assert b"Alexa" in (await client.ask(USUAL[60:]))[2]


async def test_what_comes_while_an_answer_is_waited_for_is_next(both: Both) -> None:
    client = await both.open()
    async with both.db.session() as session, session.transaction():
        await session.execute("lock table contact in access exclusive mode")
        client.writer.write(USUAL)
        await both.busy()
        client.writer.write(STAYS["nobody"][:70])
        await asyncio.sleep(0.05)
        assert holding(both) == 1
    assert b"Alexa" in (await client.answer())[2]
    assert (await client.ask(STAYS["nobody"][70:]))[2] == b"[]"
    assert b"Alexa" in (await client.ask(USUAL))[2]
    assert holding(both) == 0


async def test_client_that_goes_while_its_answer_is_waited_for(both: Both) -> None:
    clients = [await both.open() for _ in range(3)]
    async with both.db.session() as session, session.transaction():
        await session.execute("lock table contact in access exclusive mode")
        for client in clients:
            client.writer.write(USUAL)
        await both.busy()
        clients[0].writer.transport.abort()  # reset
        clients[1].writer.write_eof()  # half closed: nobody waits for what such a client asked, here as there
        clients[2].writer.close()
        await asyncio.sleep(0.1)
        assert holding(both) == 0
    await both.idle()
    assert await clients[1].reader.read() == b""
    assert b"Alexa" in (await (await both.open()).ask(USUAL))[2]


async def test_half_closed_client_is_answered_from_memory(both: Both) -> None:
    await both.remembered()
    client = await both.open()
    client.writer.write(USUAL)
    client.writer.write_eof()
    assert b"Alexa" in (await client.answer())[2]
    assert await client.ended()


async def test_what_is_under_way_is_finished_at_the_end_and_ends_its_connection(both: Both) -> None:
    waiting, idle = await both.open(), await both.open()
    await idle.ask(STAYS["nobody"])
    async with both.db.session() as session, session.transaction():
        await session.execute("lock table contact in access exclusive mode")
        waiting.writer.write(USUAL)
        await both.busy()
        draining = asyncio.create_task(both.front.drain(5))
        await asyncio.sleep(0.05)
        assert not draining.done()
    first, headers, body = await waiting.answer()
    assert (first, headers["connection"], b"Alexa" in body) == ("HTTP/1.1 200 OK", "close", True)
    assert await waiting.ended()
    async with asyncio.timeout(1):
        await draining
    # A connection that is idle then may still ask, and is told that this was the last time.
    assert (await idle.ask(STAYS["nobody"]))[1]["connection"] == "close"
    assert await idle.ended()


async def test_shutdown_closes_idle_connections_and_waits_for_the_others(both: Both) -> None:
    waiting, idle = await both.open(), await both.open()
    await idle.ask(STAYS["nobody"])
    async with both.db.session() as session, session.transaction():
        await session.execute("lock table contact in access exclusive mode")
        waiting.writer.write(USUAL)
        await both.busy()
        ending = asyncio.create_task(both.lanes.shutdown(5))
        await asyncio.sleep(0.05)
    assert b"Alexa" in (await waiting.answer())[2]
    assert await idle.ended()
    assert await waiting.ended()
    await ending
    assert holding(both) == 0


async def test_idle_connection_is_closed_in_time(both: Both) -> None:
    both.lanes.idle = 0.3
    client, silent = await both.open(), await both.open()
    for _ in range(4):
        await asyncio.sleep(0.15)
        await client.ask(USUAL)
    assert await silent.ended()
    assert await client.again()
    assert await client.ended()


async def test_database_lost_meanwhile_is_503_the_same_way(both: Both) -> None:
    got = {}
    for way in both.ports:
        async with asyncio.timeout(5):
            while both.lookups.reason:
                await asyncio.sleep(0.01)
        client = await both.open(way)
        await client.ask(STAYS["nobody"])
        async with both.db.session() as session, session.transaction():
            await session.execute("lock table contact in access exclusive mode")
            client.writer.write(USUAL)
            await both.busy()
            await asyncio.sleep(0.1)
            await session.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where wait_event_type = 'Lock'"
            )
            got[way] = await client.answer()
        assert holding(both) == (way == "lane")
        await client.close()
    assert got["lane"] == got["aiohttp"]
    first, headers, body = got["lane"]
    assert (first, headers["retry-after"]) == ("HTTP/1.1 503 Service Unavailable", "1")
    assert list(orjson.loads(body)) == ["error"]


async def test_mistake_inside_is_500_and_logged(both: Both, capsys: pytest.CaptureFixture[str]) -> None:
    await both.db.execute("update contact set body = '[]'")
    client = await both.open()
    first, _, body = await client.ask(USUAL)
    assert (first, list(orjson.loads(body))) == ("HTTP/1.1 500 Internal Server Error", ["error"])
    assert await client.ended()
    assert "request.failed" in capsys.readouterr().out


async def test_token_that_is_taken_back_ends_with_its_configuration(both: Both, tmp_path: Path) -> None:
    client = await both.open()
    assert (await client.ask(USUAL))[0] == "HTTP/1.1 200 OK"
    told = configured(tmp_path)
    told.path.write_text(told.path.read_text().replace(TOKEN, "another"))
    both.front.surfaces = surfaces.of(config.load(told.path), parts(both.db, both.lookups, told))
    assert (await client.ask(USUAL))[0] == "HTTP/1.1 401 Unauthorized"
    both.front.surfaces = Surfaces()
    assert (await client.ask(USUAL))[0] == "HTTP/1.1 404 Not Found"


async def test_client_that_reads_late_is_waited_for(both: Both) -> None:
    await hold(both.db, "crm", record("42", "Alexa" + "x" * 100_000, "+41 21 552 20 00"))
    client = await both.open()
    size = len((await client.ask(USUAL))[2])
    for _ in range(200):
        client.writer.write(USUAL)
        await asyncio.sleep(0.001)
    assert holding(both) == 0
    for _ in range(200):
        assert len((await client.answer())[2]) == size


def test_heads_take_nothing_that_the_parser_reads_otherwise() -> None:
    """Random damage to a request whose head is known: what is still answered is the same request to the parser."""
    loop = asyncio.new_event_loop()

    async def check() -> int:
        heads = Heads({"/services/Lookup": lambda headers: (lambda body: body) if token(headers) else None}.get)
        assert heads.answer(USUAL) == BODY
        chance, taken = random.Random(1), 0
        for _ in range(30_000):
            sent = damaged(USUAL, chance)
            found = heads.answer(sent)
            if found is not None:
                taken += 1
                parser = HttpRequestParser(BaseProtocol(loop), loop, 2**20, auto_decompress=False)
                [(message, content)], upgraded, _ = parser.feed_data(sent)
                assert content.is_eof()
                assert content.read_nowait(-1) == found
                assert (message.method, message.path, message.version) == ("POST", "/services/Lookup", (1, 1))
                assert token(message.headers)
                assert (upgraded, message.should_close, message.chunked) == (False, False, False)
                # Nothing is left in it: what comes next is a request of its own.
                [(second, _)], _, _ = parser.feed_data(USUAL)
                assert second.path == "/services/Lookup"
        return taken

    try:
        assert loop.run_until_complete(check()) > 1_000
    finally:
        loop.close()


def token(headers: Mapping[str, str]) -> bool:
    return headers.get("X-Execution-Token") == TOKEN


PIECES = [
    *re.split(rb"(\r\n|: |[{}:])", USUAL),
    b"\r",
    b"\n",
    b" ",
    b"\t",
    b"\x00",
    b"0",
    b"1",
    b"Connection: close\r\n",
]
PIECES += [b"Transfer-Encoding: chunked\r\n", b"Content-Length: 1\r\n", b"Expect: 100-continue\r\n", b"\r\n\r\n"]


def damaged(data: bytes, chance: random.Random) -> bytes:
    """The bytes with one to three pieces put in, left out or written over."""
    for _ in range(chance.randint(1, 3)):
        at, piece = chance.randrange(len(data) + 1), chance.choice(PIECES)
        over = chance.choice((0, 0, 1, len(piece), chance.randrange(4)))
        data = data[:at] + piece + data[at + over :]
    return data


async def test_heads_that_differ_each_time_are_bounded() -> None:
    heads = Heads({"/services/Lookup": lambda _headers: lambda body: body}.get)
    for number in range(9_000):
        assert heads.answer(request(BODY, b"X-Request-Id: %d" % number)) == BODY
    assert len(heads._known) == 8192
    assert heads.answer(request(BODY, b"X-Request-Id: " + b"9" * 2_000)) == BODY
    assert len(heads._known) == 8192


async def test_unread_garbage_is_left_alone() -> None:
    heads = Heads({"/services/Lookup": lambda _headers: lambda body: body}.get)
    chance = random.Random(2)
    for size in range(300):
        assert heads.answer(chance.randbytes(size) + b"\r\n\r\n" + chance.randbytes(size)) is None
