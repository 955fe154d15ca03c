"""Input that means harm: every parser and every endpoint answers or refuses, soon, and gives nothing away."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from listed import record
from served import TOKEN, Served, configured, hold, serving

from bridge import calls, errors, formats
from bridge.accounts import sheet
from bridge.server import Front, Surfaces
from bridge.server.admin import Admin
from bridge.sources.carddav import answers
from bridge.store import Store

DATA = Path(__file__).parent / "data" / "formats"
TIMES = 1000
SECONDS = 20.0
"""Of CPU, for all inputs of one parser together."""

CARD = (
    b"BEGIN:VCARD\r\nVERSION:3.0\r\nFN:Ann\r\nTEL;TYPE=work:+352 621 1\r\n"
    b"NOTE;ENCODING=QUOTED-PRINTABLE:a=3D\r\nEND:VCARD\r\n"
)
SEEDS: dict[str, list[bytes]] = {
    "json": [(DATA / "sessioncloud.json").read_bytes()],
    "xml": [(DATA / "sessioncloud.xml").read_bytes()],
    "text": [(DATA / "mixvoip.txt").read_bytes()],
    "csv": [(DATA / "mixvoip-structured.csv").read_bytes(), (DATA / "mixvoip-unstructured.csv").read_bytes()],
    "vcard": [CARD * 3],
}
ENTITY = b'<!DOCTYPE c [<!ENTITY x SYSTEM "file:///etc/passwd">]><Contacts><Contact><Id>&x;</Id></Contact></Contacts>'
LAUGHS = (
    b'<!DOCTYPE l [<!ENTITY a "ha">'
    + b"".join(
        f'<!ENTITY {name} "{f"&{before};" * 10}">'.encode() for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    )
    + b"]><Contacts><Contact><Id>&i;</Id></Contact></Contacts>"
)
BOMBS = [
    ENTITY,
    LAUGHS,
    b"[" * 200_000,
    b'{"a":' * 100_000,
    b"<Contacts>" * 100_000,
    b'[{"Id":"' + b"x" * 5_000_000 + b'"}]',
    b'[{"Id":"1","WorkNumber":[' + b'"1",' * 300_000 + b'"1"]}]',
    b"BEGIN:VCARD\r\n" * 50_000,
    b"BEGIN:VCARD\r\nFN:" + b"x" * 5_000_000 + b"\r\nEND:VCARD\r\n",
    b"BEGIN:VCARD\r\nTEL" + b";TYPE=work" * 100_000 + b":1\r\nEND:VCARD\r\n",
    b"BEGIN:VCARD\r\nNOTE:a\r\n" + b" b\r\n" * 200_000 + b"END:VCARD\r\n",
    b'"Header.Name","#.Work"\n' + b'"=cmd|\' /C calc\'!A0","+352"\n' * 10_000,
    b'"a",' * 500_000,
    b'"' * 1_000_001,
    b"\xff\xfe" + "[]".encode("utf-16-le") * 1000,
    b"\x00" * 100_000,
    b"\xef\xbb\xbf" * 10_000,
    b"<html><body>Sign in</body></html>",
]
SPLICES = [
    *(
        b"\x00",
        b"\xff",
        b"\xed\xa0\x80",
        b"\r",
        b"\n",
        b'"',
        b"'",
        b"<",
        b">",
        b"&",
        b"&#0;",
        b"&x;",
        b"]]>",
        b"<![CDATA[",
    ),
    *(b"{", b"}", b"[", b"]", b"\\", b"\\ud800", b"=", b"=0D=0A", b";", b":", b",", b"END:VCARD", b"BEGIN:VCARD"),
    *(b"9" * 400, b"-1", b"1e999", b"null", b"\xe2\x80\xae", b"A" * 3000, b"%s%n", b"'; drop table contact; --"),
]


def _is_fit(refusal: errors.BridgeError) -> None:
    """An error that may be shown: short, and without what was in the input."""
    assert len(str(refusal)) < 500
    assert "hunter2hunter2" not in str(refusal)


def mutations(seed: bytes, count: int, dice: random.Random) -> Iterator[bytes]:
    """A good input, spoilt in a few places: cut, doubled, spliced, flipped."""
    for _ in range(count):
        spoilt = bytearray(seed)
        for _ in range(dice.randint(1, 6)):
            at = dice.randrange(len(spoilt) + 1)
            match dice.randrange(4):
                case 0:
                    spoilt[at:at] = dice.choice(SPLICES)
                case 1:
                    del spoilt[at : at + dice.randint(1, 40)]
                case 2:
                    spoilt[at:at] = spoilt[at : at + dice.randint(1, 200)]
                case 3 if at < len(spoilt):
                    spoilt[at] = dice.randrange(256)
        yield bytes(spoilt)


@pytest.mark.parametrize("format", list(SEEDS))
def test_a_thousand_spoilt_phone_books_of_each_kind_are_read_or_refused(format: str) -> None:
    dice, began = random.Random(7), time.process_time()
    seeds = SEEDS[format]
    for seed in seeds:
        for spoilt in mutations(seed, TIMES // len(seeds), dice):
            try:
                for item in formats.read([spoilt], format):
                    assert isinstance(item, formats.Record | formats.Unreadable)
            except errors.Unavailable as refusal:
                _is_fit(refusal)
    assert time.process_time() - began < SECONDS


@pytest.mark.parametrize("format", [*SEEDS, "auto"])
@pytest.mark.parametrize("bomb", range(len(BOMBS)))
def test_bombs_do_not_go_off(format: str, bomb: int) -> None:
    began = time.process_time()
    try:
        for item in formats.read((BOMBS[bomb][n : n + 65536] for n in range(0, len(BOMBS[bomb]), 65536)), format):
            assert b"root:" not in orjson.dumps(repr(item))
    except errors.Unavailable as refusal:
        _is_fit(refusal)
    assert time.process_time() - began < SECONDS


def test_a_thousand_spoilt_multistatus_answers_are_read_or_refused() -> None:
    seed = (
        b'<?xml version="1.0"?><d:multistatus xmlns:d="DAV:" xmlns:card="urn:ietf:params:xml:ns:carddav"><d:response>'
        b"<d:href>/a/1.vcf</d:href><d:propstat><d:prop><d:getetag>&quot;1&quot;</d:getetag><card:address-data>"
        + CARD
        + b"</card:address-data></d:prop><d:status>HTTP/1.1 200 OK</d:status></d:propstat></d:response></d:multistatus>"
    )
    began = time.process_time()
    for spoilt in [*mutations(seed, TIMES, random.Random(8)), ENTITY, LAUGHS]:
        document = answers.Multistatus("host")
        try:
            assert all(isinstance(row.href, str) for row in document.feed(spoilt))
            document.close()
        except errors.Unavailable as refusal:
            _is_fit(refusal)
    assert time.process_time() - began < SECONDS


def test_a_thousand_spoilt_account_sheets_name_rows_and_no_passwords() -> None:
    seed = b"username,password,sipusername,sippassword,extension\r\nann,hunter2hunter2,100,s3cret-s3cret,100\r\n" * 2
    for spoilt in mutations(seed, TIMES, random.Random(9)):
        try:
            for item in sheet.read([spoilt]):
                if isinstance(item, sheet.Bad):
                    assert b"hunter2hunter2" not in repr(item).encode()
        except errors.BridgeError as refusal:
            _is_fit(refusal)


def test_a_thousand_odd_calls_are_told_of_without_an_error() -> None:
    dice = random.Random(10)
    names = ("contactCrmId", "originatorNumber", "startedTime", "direction", "x" * 5000, "\x00", "queue")
    values: list[Any] = [
        None,
        True,
        1e308,
        -1,
        "",
        "x" * 100_000,
        "\ud800",
        ["a"] * 50,
        {"a": {"b": 1}},
        "2026-99-99",
        "\r\n",
    ]
    for _ in range(TIMES):
        told = calls.read({name: dice.choice(values) for name in dice.sample(names, dice.randint(0, len(names)))})
        action = calls.action("note", calls.key("default", "CallFlow", told), told, "", "")
        assert "\n" not in action.subject
        assert len(action.text) < 100_000


# The endpoints


@pytest.fixture
async def served(db: Store, tmp_path: Path) -> AsyncIterator[Served]:
    await hold(db, "crm", record("42", "Alexa Holiday", "+41 21 552 20 00"))
    more = (
        '[connector.workflow.CallFlow]\naction = "note"\n[phonebook.staff]\nusers = { phones = "phones-password" }\n'
        '[provisioning]\npath = "/provisioning"\n[pbxsync]\nallow = ["crm.example.com"]\n'
    )
    async with serving(db, configured(tmp_path, more)) as served:
        yield served


PATHS = [
    *(
        "/services/Lookup",
        "/services/CallFlow",
        "/services/",
        "/phonebook/staff",
        "/phonebook/staff.xml",
        "/phonebook/",
    ),
    *(
        "/provisioning",
        "/provisioning/",
        "/pbxsync/ann",
        "/pbxsync/sugarcrm/a/b/c/d/https",
        "/pbxsync/zimbradownload/a/b/c",
    ),
    *(
        "/",
        "/acme/services/Lookup",
        "/phonebook/..%2f..%2fetc%2fpasswd",
        "/phonebook/%00",
        "/phonebook/staff.json/../../x",
    ),
]
QUERIES = [
    *("", "?", "?PhoneNumber=%FF%FE", "?username=a&password=b&reprovision=maybe&deviceId=%00", "?format=../../x"),
    *(
        "?server=127.0.0.1&password=x",
        "?server=169.254.169.254&password=x",
        "?" + "a=b&" * 500,
        "?a[]=%u0000",
        "?=&=&=",
    ),
]
HEADERS: list[dict[str, str]] = [
    {},
    {"X-Execution-Token": TOKEN},
    {"X-Execution-Token": "x" * 4000},
    {"Authorization": "Basic " + "A" * 2000},
    {"Authorization": "Basic cGhvbmVzOnBob25lcy1wYXNzd29yZA==", "If-None-Match": '"' + "x" * 3000},
    {"Accept": "text/*;q=bad, */xml;;;", "Accept-Encoding": "gzip;q=nan, *;q=1e9"},
    {"X-Forwarded-For": "::ffff:1.2.3.4, %, " + "1," * 500},
    {"Content-Type": "application/x-www-form-urlencoded; charset=utf-99"},
    {"Range": "bytes=-1-,9-0", "If-Modified-Since": "never"},
]
BODIES = [
    *(b"", b"{", b"[]", b"null", b'{"inputs":null}', b'{"inputs":{"phoneNumber":{}}}', b"\xff" * 50, b"[" * 5000),
    *(
        b'{"inputs":{"phoneNumber":"' + b"1" * 50_000 + b'"}}',
        b"username=%&password=%zz",
        b'{"inputs":"{"}',
        b"x" * 70_000,
    ),
    orjson.dumps({"inputs": {"phoneNumber": "'; drop table number; --\x00"}}),
]


async def test_no_request_whatever_makes_the_server_fail_or_hang(served: Served) -> None:
    dice = random.Random(11)
    seen: set[int] = set()
    for _ in range(600):
        method = dice.choice(("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "BREW"))
        path = dice.choice(PATHS) + dice.choice(QUERIES)
        body = b"" if method == "HEAD" else dice.choice(BODIES)
        lines = [f"{method} {path} HTTP/1.1", "Host: bridge", f"Content-Length: {len(body)}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in dice.choice(HEADERS).items()]
        said = await _said(served.port, "\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        status = int(said.split(b" ", 2)[1])
        seen.add(status)
        # A workflow that nobody works on is answered with {} after its time, all else at once.
        assert status in (200, 304, 400, 401, 403, 404, 405, 408, 413, 415, 429, 502, 503), (lines, said[:300])
        assert b"Traceback" not in said
        assert b"phones-password" not in said
    assert {200, 401, 404} <= seen
    assert (await served.ask("41215522000"))[0]["name"] == "Alexa Holiday"


@pytest.mark.parametrize(
    "head",
    [
        b"GET /services/Lookup HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
        b"GET /services/Lookup HTTP/1.1\r\nHost: a\r\nX-Execution-Token: a\nSet-Cookie: b\r\n\r\n",
        b"GET http://[::1 HTTP/1.1\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /services/Lookup HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST /services/Lookup HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0",
        b"POST /services/Lookup HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100,
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
    ],
)
async def test_what_is_no_request_is_refused_and_the_others_go_on(served: Served, head: bytes) -> None:
    said = await _said(served.port, head)
    assert said == b"" or int(said.split(b" ", 2)[1]) in (400, 401, 404, 413, 414, 431)
    assert b"Set-Cookie" not in said
    assert (await served.ask("41215522000"))[0]["name"] == "Alexa Holiday"


async def test_many_slow_clients_keep_nobody_waiting(served: Served) -> None:
    slow = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(200)]
    try:
        for _, writer in slow:
            writer.write(b"POST /services/Lookup HTTP/1.1\r\nHost: a\r\nContent-Length: 50000\r\nX-Execution-Token: ")
        began = time.monotonic()
        for _ in range(20):
            assert await served.ask("41215522000")
        assert time.monotonic() - began < 5
    finally:
        for _, writer in slow:
            writer.close()


async def test_the_admins_pages_take_the_same(db: Store, tmp_path: Path) -> None:
    front = Front(Surfaces([Admin(db, configured(tmp_path))]))
    server = await asyncio.get_running_loop().create_server(front.server(), "127.0.0.1", 0)
    port, dice = server.sockets[0].getsockname()[1], random.Random(12)
    try:
        for _ in range(100):
            path = dice.choice(("/health/live", "/health/ready", "/metrics", "/x")) + dice.choice(QUERIES)
            head = "\r\n".join(f"{name}: {value}" for name, value in dice.choice(HEADERS).items())
            said = await _said(
                port, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{head}\r\n\r\n".encode()
            )
            assert int(said.split(b" ", 2)[1]) in (200, 400, 404)
    finally:
        server.close()


async def _said(port: int, request: bytes) -> bytes:
    """All that is answered, within the time that even a workflow may take."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        async with asyncio.timeout(8):
            return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()
