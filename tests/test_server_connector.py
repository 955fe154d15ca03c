"""What the peoplefone CONNECTOR asks, over HTTP and against a real database."""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest
from listed import record
from served import SOURCES, TOKEN, Served, configured, hold, serving

from bridge import embedded, store
from bridge.server import Handler, Surfaces, peers, surfaces
from bridge.server.connector import Guard
from bridge.server.peers import Throttle
from bridge.store import Store

ALEXA = record("42", "Alexa Holiday", "+41 21 552 20 00", company="White Cross Co")
BODY = {"inputs": {"phoneNumber": "41215522000"}}
AUTH = {"X-Execution-Token": TOKEN}
HOOK = 'action = "webhook"\nurl = "https://hooks.example.com/"'


@pytest.fixture
async def served(db: Store, tmp_path: Path) -> AsyncIterator[Served]:
    await hold(db, "crm", ALEXA)
    async with serving(db, configured(tmp_path, f"[connector.workflow.CallFlow]\n{HOOK}")) as served:
        yield served


async def said(served: Served, method: str, path: str, **more: Any) -> tuple[int, Any]:
    """Status and document of one request; it is always JSON."""
    async with served.session.request(method, served.url + path, **{"headers": AUTH, **more}) as reply:
        assert reply.headers["Content-Type"] == "application/json; charset=utf-8"
        return reply.status, await reply.json()


async def raw(served: Served, text: bytes) -> bytes:
    """All that the server answers to these bytes, until it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(text)
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    await writer.wait_closed()
    return answer


def names(document: Any) -> list[str]:
    return [one["name"] for one in document]


@pytest.mark.parametrize("path", ["/services/Lookup", "/services/lookup", "/services/LOOKUP/", "/services//lookUp/"])
@pytest.mark.parametrize("method", ["POST", "GET", "PUT"])
async def test_lookup_in_any_case_and_method(served: Served, method: str, path: str) -> None:
    status, document = await said(served, method, path, json=BODY)
    assert (status, names(document)) == (200, ["Alexa Holiday"])


@pytest.mark.parametrize("path", ["/services", "/services/", "/services/Lookup", "/services/lookup/"])
@pytest.mark.parametrize("name", ["PhoneNumber", "phoneNumber", "PHONENUMBER"])
async def test_lookup_by_query(served: Served, path: str, name: str) -> None:
    status, document = await said(served, "GET", f"{path}?{name}=%2B41215522000")
    assert (status, names(document)) == (200, ["Alexa Holiday"])


@pytest.mark.parametrize(
    "body",
    [
        b'{"inputs":{"phoneNumber":"41215522000"}}',
        b'{"Inputs":{"PHONENUMBER":"41215522000"}}',
        b'{"inputs":{"phoneNumber":41215522000}}',
        b'{"inputs":{"phoneNumber":41215522000.0}}',
        b'{"phonenumber":"+41 21 552 20 00"}',
        b'{"inputs":"{\\"phoneNumber\\":\\"0041215522000\\"}"}',
        b'{"inputs":null,"phoneNumber":"41215522000"}',
        b'\xef\xbb\xbf {"inputs":{"phoneNumber":"41215522000","more":[1]}}\r\n',
    ],
)
@pytest.mark.parametrize("kind", ["application/json", "text/plain", "application/x-www-form-urlencoded", ""])
async def test_bodies_that_say_it_in_their_own_way(served: Served, body: bytes, kind: str) -> None:
    headers = AUTH | ({"Content-Type": kind} if kind else {})
    status, document = await said(served, "POST", "/services/Lookup", data=body, headers=headers)
    assert (status, names(document)) == (200, ["Alexa Holiday"])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"41215522000"',
        b"PhoneNumber=41215522000",
        b"\xff\xfe",
        b'{"inputs":{}}',
        b'{"inputs":"nothing"}',
        b'{"inputs":{"phoneNumber":["41215522000"]}}',
        b'{"inputs":{"phoneNumber":true}}',
        b'{"inputs":{"phoneNumber":1.5}}',
    ],
)
async def test_bad_body_is_400(served: Served, body: bytes) -> None:
    status, document = await said(served, "POST", "/services/Lookup", data=body)
    assert (status, list(document)) == (400, ["error"])


@pytest.mark.parametrize("number", ["", None, "anonymous", "Unavailable", "garbage", "352621999999", 0])
async def test_no_result_is_an_empty_list_and_never_404(served: Served, number: Any) -> None:
    assert await served.ask(number) == []


async def test_wrong_and_missing_tokens_are_401(served: Served) -> None:
    for headers in ({"X-Execution-Token": "wrong"}, {"X-Execution-Token": ""}, {"X-Execution-Token": TOKEN + "x"}, {}):
        for path in ("/services/Lookup", "/services/CallFlow", "/services/Unknown"):
            status, document = await said(served, "POST", path, json=BODY, headers=headers)
            assert (status, list(document)) == (401, ["error"])


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
async def test_token_with_umlaut_in_every_encoding(served: Served, form: Any, encoding: str) -> None:
    token = unicodedata.normalize(form, TOKEN)
    if (form, encoding) == ("NFD", "latin-1"):
        return  # Latin-1 has no combining dots
    body = orjson.dumps(BODY)
    head = b"POST /services/Lookup HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n" % len(body)
    answer = await raw(served, head + b"x-execution-token:  " + token.encode(encoding) + b"\r\n\r\n" + body)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Alexa Holiday" in answer
    answer = await raw(served, head + b"X-Execution-Token: " + token.encode(encoding)[:-1] + b"\xff\r\n\r\n" + body)
    assert answer.startswith(b"HTTP/1.1 401 ")


async def test_header_and_several_tokens_are_configurable(db: Store, tmp_path: Path) -> None:
    await hold(db, "crm", ALEXA)
    told = configured(tmp_path, 'header = "X-Key"\ntokens = ["second"]')
    async with serving(db, told) as served:
        for token in (TOKEN.encode().decode("latin-1"), "second"):
            status, _ = await said(served, "POST", "/services/Lookup", json=BODY, headers={"x-key": token})
            assert status == (200 if token == "second" else 401)
        status, document = await said(served, "POST", "/services/Lookup", json=BODY)
        assert status == 401
        assert "X-Key" in document["error"]


async def test_a_workflow_is_written_down_and_answered_with_what_was_made(served: Served, db: Store) -> None:
    """The rest of a workflow is in test_workflows.py; here somebody else says that it is done."""
    body = {"inputs": {"contactCrmId": "crm:42", "originatorNumber": "41215522000", "direction": "incoming"}}
    asking = asyncio.create_task(said(served, "POST", "/services//CallFlow/", json=body))
    while not await db.execute(
        "update workflow_call set state = 'done', done_at = now(), made_id = '7', made_url = 'https://crm/7'"
    ):
        await asyncio.sleep(0.02)
    assert await asking == (200, {"id": "7", "url": "https://crm/7"})
    assert await said(served, "GET", "/services/CallFlow", json=body) == (200, {"id": "7", "url": "https://crm/7"})
    row = await db.row("select source, contact, told from workflow_call")
    assert (row["source"], row["contact"]) == ("crm", "42")
    assert orjson.loads(row["told"])["call"]["number"] == "41215522000"


async def test_inputs_of_a_workflow_may_be_a_text_or_missing(served: Served, db: Store) -> None:
    await db.execute(
        "create function done() returns trigger language plpgsql as 'begin new.state = $$done$$; return new; end'"
    )
    await db.execute("create trigger done before insert on workflow_call for each row execute function done()")
    text = orjson.dumps({"originatorNumber": "1"}).decode()
    for body in (orjson.dumps({"inputs": text}), orjson.dumps({"originatorNumber": "2"}), b"", b"{}"):
        assert await said(served, "POST", "/services/CallFlow", data=body) == (200, {"id": "", "url": ""})
    numbers = {orjson.loads(row["told"])["originator"] for row in await db.fetch("select told from workflow_call")}
    assert numbers == {"1", "2", ""}


async def test_a_workflow_wants_a_token_a_name_that_is_known_and_json(served: Served) -> None:
    assert (await said(served, "POST", "/services/CallFlow", json={}, headers={}))[0] == 401
    status, document = await said(served, "POST", "/services/Unknown", json={"inputs": {}})
    assert (status, list(document)) == (404, ["error"])
    for method in ("GET", "HEAD", "DELETE"):
        async with served.session.request(method, f"{served.url}/services/Unknown", headers=AUTH) as reply:
            assert reply.status == 404
    assert (await said(served, "POST", "/services/CallFlow", data=b"{"))[0] == 400
    for inputs in ([], 5, True):
        status, document = await said(served, "POST", "/services/CallFlow", json={"inputs": inputs})
        assert (status, list(document)) == (400, ["error"])


async def test_what_writes_nothing_elsewhere_begins_no_workflow(served: Served, db: Store) -> None:
    assert (await said(served, "GET", "/services/CallFlow"))[0] == 400
    for method in ("HEAD", "DELETE", "OPTIONS", "PATCH"):
        async with served.session.request(method, f"{served.url}/services/CallFlow", headers=AUTH) as reply:
            assert (reply.status, reply.headers["Allow"]) == (405, "POST, PUT, GET")
    assert await db.value("select count(*) from workflow_call") == 0


async def test_other_paths_are_404_as_json(served: Served) -> None:
    for path in ("/", "/service", "/services/a/Lookup", "/Lookup", "/../etc/passwd"):
        assert (await said(served, "GET", path))[0] == 404


async def test_tenants_have_paths_of_their_own(db: Store, tmp_path: Path) -> None:
    (tmp_path / "tenants").mkdir()
    acme = tmp_path / "tenants" / "acme.toml"
    acme.write_text(f'{SOURCES}\n[connector]\ntoken = "of acme"\n')
    acme.chmod(0o600)
    await hold(db, "crm", ALEXA)
    await hold(db, "crm", record("1", "Ann", "+41 21 552 20 00"), tenant="acme")
    async with serving(db, configured(tmp_path, above='tenants = "tenants/*.toml"')) as served:
        headers = {"X-Execution-Token": "of acme"}
        status, document = await said(served, "POST", "/acme/services/Lookup", json=BODY, headers=headers)
        assert (status, names(document)) == (200, ["Ann"])
        assert (await said(served, "POST", "/acme/services/lookup/", json=BODY))[0] == 401
        assert (await said(served, "POST", "/services/Lookup", json=BODY, headers=headers))[0] == 401
        assert names(await served.ask("41215522000")) == ["Alexa Holiday"]


async def test_connector_at_the_root(db: Store, tmp_path: Path) -> None:
    await hold(db, "crm", ALEXA)
    async with serving(db, configured(tmp_path, 'path = "/"')) as served:
        for path in ("/Lookup", "/lookup/", "/?PhoneNumber=1"):
            assert (await said(served, "POST", path, json=BODY))[0] == 200


async def test_longest_body_is_64_kib(served: Served) -> None:
    head = b'{"inputs":{"phoneNumber":"41215522000","more":"'
    fits = head + b"x" * (64 * 1024 - len(head) - 3) + b'"}}'
    assert (await said(served, "POST", "/services/Lookup", data=fits))[0] == 200
    status, document = await said(served, "POST", "/services/Lookup", data=fits + b" ")
    assert (status, list(document)) == (413, ["error"])

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" " * 4096

    assert (await said(served, "POST", "/services/Lookup", data=endless()))[0] == 413


async def test_slow_body_is_given_up(db: Store, tmp_path: Path) -> None:
    head = f"POST /services/Lookup HTTP/1.1\r\nHost: x\r\nX-Execution-Token: {TOKEN}\r\nContent-Length: 40\r\n\r\n"
    async with serving(db, configured(tmp_path), guard=Guard(patience=0.1)) as served:
        answer = await raw(served, head.encode() + b'{"inputs":')
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'{"error":"the body did not arrive' in answer


async def test_client_that_waits_for_100_continue(served: Served) -> None:
    async with served.session.post(served.url + "/services/Lookup", json=BODY, headers=AUTH, expect100=True) as reply:
        assert reply.status == 200


async def test_broken_chunks_are_400(served: Served) -> None:
    head = (
        f"POST /services/Lookup HTTP/1.1\r\nHost: x\r\nX-Execution-Token: {TOKEN}\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    answer = await raw(served, head.encode() + b"zz\r\n")
    assert answer.split(b" ")[1] == b"400"
    assert answer.endswith(b'{"error":"this is no request that bridge can read"}')


async def test_unreadable_request_is_neither_said_back_nor_logged(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = await raw(served, b"POST /services/Lookup HTTP/1.1\r\nX-Execution-Token: hush\x00hush\r\n\r\n")
    assert answer.split(b" ")[1] == b"400"
    assert b"hush" not in answer
    assert b"aiohttp" not in answer
    said = capsys.readouterr()
    assert "hush" not in said.out + said.err


async def test_several_requests_on_one_connection(served: Served) -> None:
    body = orjson.dumps(BODY)
    one = f"POST /services/Lookup HTTP/1.1\r\nHost: x\r\nX-Execution-Token: {TOKEN}\r\nContent-Length: {len(body)}\r\n"
    last = one.encode() + b"Connection: close\r\n\r\n" + body
    answer = await raw(served, (one.encode() + b"\r\n" + body) * 3 + last)
    assert answer.count(b"Alexa Holiday") == 4


async def test_database_gone_is_503_with_json_and_then_back(tmp_path: Path) -> None:
    server = await embedded.open(tmp_path)
    db = Store(server.dsn)
    await store.migrate(db)
    await hold(db, "crm", ALEXA)
    async with serving(db, configured(tmp_path)) as served:
        assert names(await served.ask("41215522000")) == ["Alexa Holiday"]
        await db.close()
        await server.close()
        async with asyncio.timeout(5):
            while not served.lookups.reason:
                await asyncio.sleep(0.01)
        began = asyncio.get_running_loop().time()
        async with served.session.post(served.url + "/services/Lookup", json=BODY, headers=AUTH) as reply:
            assert reply.status == 503
            assert reply.headers["Retry-After"] == "1"
            assert list(await reply.json()) == ["error"]
        assert asyncio.get_running_loop().time() - began < 1
        server = await embedded.open(tmp_path)
        async with asyncio.timeout(10):
            while served.lookups.reason:
                await asyncio.sleep(0.02)
        assert names(await served.ask("41215522000")) == ["Alexa Holiday"]
    await server.close()


async def test_after_ten_wrong_tokens_each_waits_and_the_right_one_still_works(db: Store, tmp_path: Path) -> None:
    await hold(db, "crm", ALEXA)
    async with serving(db, configured(tmp_path)) as served:
        wrong = {"X-Execution-Token": "guess"}
        got = [(await said(served, "POST", "/services/Lookup", json=BODY, headers=wrong))[0] for _ in range(10)]
        assert got == [401] * 10
        async with served.session.post(served.url + "/services/Lookup", json=BODY, headers=wrong) as reply:
            assert reply.status == 401
            assert 590 <= int(reply.headers["Retry-After"]) <= 600
            assert list(await reply.json()) == ["error"]
        assert names(await served.ask("41215522000")) == ["Alexa Holiday"]


async def test_throttle_goes_by_what_trusted_proxies_say(db: Store, tmp_path: Path) -> None:
    told = configured(tmp_path, more=SOURCES + '[http]\ntrusted_proxies = ["127.0.0.0/8"]')
    guard = Guard(Throttle(most=1))
    async with serving(db, told, guard=guard) as served:

        async def slowed(forwarded: str) -> bool:
            headers = {"X-Execution-Token": "guess", "X-Forwarded-For": forwarded}
            async with served.session.post(served.url + "/services/Lookup", json=BODY, headers=headers) as reply:
                assert reply.status == 401
                return "Retry-After" in reply.headers

        assert not await slowed("192.0.2.1")
        assert not await slowed("192.0.2.2")
        assert await slowed("192.0.2.1")
        assert await slowed("198.51.100.9, 192.0.2.1, 127.0.0.5")
        assert not await slowed("[2001:db8::1]:4711")
        assert await slowed("2001:db8::2")


def test_throttle_forgets_after_its_time_and_beyond_its_size() -> None:
    now = 0.0
    throttle = Throttle(most=2, seconds=10, addresses=2, clock=lambda: now)
    assert [throttle.wrong("a") for _ in range(3)] == [0, 0, 10]
    now = 4.0
    assert throttle.wrong("a") == 6
    now = 10.0
    assert throttle.wrong("a") == 0
    assert [throttle.wrong(name) for name in ("b", "c", "a")] == [0, 0, 0]
    assert peers.Throttle().wrong("") == 0


async def test_new_configuration_is_swapped_in_without_dropping_connections(served: Served, tmp_path: Path) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)

    async def ask(path: str, token: str) -> bytes:
        body = orjson.dumps(BODY)
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nX-Execution-Token: {token}\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        status = await reader.readline()
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = next(int(line.split(":")[1]) for line in head.splitlines() if line.startswith("content-length"))
        return status.split()[1] + b" " + await reader.readexactly(length)

    assert (await ask("/services/Lookup", TOKEN)).startswith(b'200 [{"name":"Alexa Holiday"')
    sources = SOURCES.replace("Sugar CRM", "New Name")
    told = configured(tmp_path, 'path = "/new"\ntokens = ["second"]', more=sources)
    served.front.surfaces = surfaces.of(told, served.shared)
    assert (await ask("/services/Lookup", TOKEN)).startswith(b"404 ")
    assert b'"crmName":"New Name"' in await ask("/new/Lookup", "second")
    writer.close()
    await writer.wait_closed()


class Broken:
    """A surface with a mistake in it."""

    def paths(self) -> Mapping[str, Handler]:
        return {}

    def find(self, path: str) -> Handler | None:
        raise ZeroDivisionError("words from inside")


async def test_failure_inside_is_500_without_a_trace(served: Served) -> None:
    served.front.surfaces = Surfaces([Broken()])
    status, document = await said(served, "POST", "/services/Lookup", json=BODY)
    assert (status, list(document)) == (500, ["error"])
    assert "inside" not in str(document)


@pytest.mark.parametrize(
    ("first", "headers", "want"),
    [
        (b"POST /services/Lookup HTTP/1.1", b"", b"HTTP/1.1 200 OK"),
        (b"POST /services/Lookup HTTP/1.1", b"Connection: close\r\n", b"HTTP/1.1 200 OK"),
        (b"POST /services/Lookup HTTP/1.0", b"", b"HTTP/1.0 200 OK"),
        (b"POST /services/Lookup HTTP/1.0", b"Connection: keep-alive\r\n", b"HTTP/1.0 200 OK"),
        (b"HEAD /services/Lookup HTTP/1.1", b"Connection: close\r\n", b"HTTP/1.1 200 OK"),
    ],
)
async def test_answer_is_whole_for_every_kind_of_client(
    served: Served, first: bytes, headers: bytes, want: bytes
) -> None:
    body = orjson.dumps(BODY)
    token = b"X-Execution-Token: %b\r\nContent-Length: %d\r\n\r\n" % (TOKEN.encode(), len(body))
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(first + b"\r\nHost: x\r\n" + headers + token + body)
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
    assert head.startswith(want + b"\r\n")
    assert fields[b"content-type"] == b"application/json; charset=utf-8"
    assert fields[b"date"].endswith(b"gmt")
    assert fields[b"server"] == b"bridge"
    if not first.startswith(b"HEAD"):
        answer = await asyncio.wait_for(reader.readexactly(int(fields[b"content-length"])), 5)
        assert names(orjson.loads(answer)) == ["Alexa Holiday"]
    if b"close" in headers or (b"HTTP/1.0" in first and not headers):
        assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()
    await writer.wait_closed()
