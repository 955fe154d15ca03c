"""Every endpoint takes whatever comes, made up by Hypothesis from what each of them reads, while others are served.

No request makes it fail or hang, or gives a secret away; and those who ask properly meanwhile are all answered.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import pytest
import web_pages
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from served import TOKEN, Served, configured, hold, parts, serving
from softphone import basic

from bridge.accounts import giving, saving
from bridge.accounts.details import Change
from bridge.accounts.passwords import Passwords
from bridge.contact import RawNumber, Record
from bridge.keys import Secret
from bridge.lookup import Lookups
from bridge.server.desk import Desk
from bridge.server.peers import Throttle
from bridge.server.phonebook import Library
from bridge.store import Store
from bridge.web import views

MORE = """
[connector.workflow.CallFlow]
action = "webhook"
url = "http://127.0.0.1:9/"
[phonebook.staff]
sources = ["crm"]
users = { phones = "phones-password" }
accounts = true
[provisioning]
[pbxsync]
allow = ["crm.invalid"]
"""
SECRETS = (b"phones-password", b"sip-password", b"$argon2", b"Traceback")
SETTINGS = settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)

ODD = st.sampled_from(
    [
        *("", " ", "\0", "a\0b", "\ud800", "\x1f", "\r\nSet-Cookie: a=b", "..", "../../etc/passwd", "%00", "%", "+"),
        *("'; drop table number; --", "x" * 3000, "9" * 400, "-1", "1e999", "null", "\u202e", "jo\u0308rg", "ann", "*"),
    ]
)
TEXT = ODD | st.text(max_size=30) | st.characters(codec="utf-8").map(lambda c: c * 3)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
INPUTS = st.dictionaries(
    st.sampled_from(
        [*("phoneNumber", "PHONENUMBER", "contactCrmId", "userCrmId", "originatorNumber", "originatorName"),
         *("destinationNumber", "direction", "startedTime", "endedTime", "declinedTime", "queue", "a\0")]
    ),
    JSON | st.sampled_from(["crm:1", "crm:\0", "41215522000", "2026-11-21T10:00:00Z", "incoming"]),
    max_size=6,
)  # fmt: skip
NAMES = st.sampled_from(["username", "user", "password", "pwd", "reprovision", "deviceId", "format", "PhoneNumber"])


def encoded(text: str) -> str:
    """As it may stand in a path or a query, lone surrogates and all."""
    return quote(text.encode("utf-8", "surrogatepass"), safe="")


def dumped(value: object) -> bytes:
    return json.dumps(value).encode()


PAIRS = st.lists(st.tuples(NAMES, TEXT), max_size=5)
FORM = PAIRS.map(lambda pairs: "&".join(f"{name}={encoded(value)}" for name, value in pairs))
QUERY = st.one_of(
    st.just(""), FORM, st.text("&=%+a0[]\u00e9", max_size=20).map(lambda text: quote(text, safe="&=%+[]"))
)
BODY = st.one_of(
    st.just(b""),
    st.binary(max_size=60),
    JSON.map(dumped),
    INPUTS.map(lambda inputs: dumped({"inputs": inputs})),
    INPUTS.map(lambda inputs: dumped({"inputs": json.dumps(inputs)})),
    FORM.map(str.encode),
    PAIRS.map(lambda pairs: dumped(dict(pairs))),
)
VALUE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=60)
LOGIN = st.one_of(
    st.just(basic("phones", "phones-password")),
    st.tuples(TEXT, TEXT).map(
        lambda pair: "Basic " + base64.b64encode(":".join(pair).encode("utf-8", "surrogatepass")).decode()
    ),
    VALUE,
)
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "X-Execution-Token": st.just(TOKEN) | VALUE,
        "Authorization": LOGIN,
        "Accept": st.sampled_from(["*/*", "application/xml", "text/plain;q=0.1, */*;q=nan", ";;,"]) | VALUE,
        "Accept-Encoding": st.sampled_from(["gzip", "*;q=0", "gzip;q=2"]) | VALUE,
        "If-None-Match": st.sampled_from(["*", 'W/"a"']) | VALUE,
        "X-Forwarded-For": st.sampled_from(["::1", "1.2.3.4, %"]) | VALUE,
        "Content-Type": VALUE,
        "Range": VALUE,
    },
)
METHOD = st.sampled_from(["GET", "POST", "POST", "PUT", "HEAD", "DELETE", "PATCH", "OPTIONS", "BREW"])
PART = TEXT.map(encoded)
PATH = st.one_of(
    st.sampled_from(
        [
            *("/services/Lookup", "/services/CallFlow", "/services", "/phonebook/staff", "/phonebook/staff.xml"),
            *(
                "/phonebook/staff.txt",
                "/phonebook/staff.csv",
                "/phonebook/staff.vcf/",
                "/provisioning",
                "/provisioning/",
            ),
        ]
    ),
    st.tuples(st.sampled_from(["/services/", "/phonebook/", "/provisioning/", "/pbxsync/", "/"]), PART).map("".join),
    st.lists(
        PART | st.sampled_from(["salesforce", "sugarcrm", "zimbradownload", "crm.invalid", "https"]), max_size=6
    ).map(lambda parts: "/".join(["/pbxsync", *parts])),
)


async def said(
    port: int, method: str, path: str, query: str, headers: dict[str, str], body: bytes
) -> tuple[int, bytes]:
    """Status and all that is answered to one request, within the time that even a workflow may take."""
    lines = [f"{method} {path}{'?' if query else ''}{query} HTTP/1.1", "Host: 127.0.0.1", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines.append(f"Content-Length: {len(body)}")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (b"" if method == "HEAD" else body))
        async with asyncio.timeout(8):
            answer = await reader.read()
    finally:
        writer.close()
    assert not [secret for secret in SECRETS if secret in answer]
    assert b"Set-Cookie" not in answer
    return int(answer.split(b" ", 2)[1]), answer


@pytest.fixture
async def served(db: Store, tmp_path: Path) -> AsyncIterator[Served]:
    """All surfaces, with somebody who does what workflows ask for."""
    told = configured(tmp_path, MORE)
    person = Record("1", display_name="Alexa Holiday", numbers=(RawNumber("+41 21 552 20 00", "work"),))
    await hold(db, "crm", person)
    seal = await giving.seal(Secret(), told.state_dir, make=True)
    change = Change("ann", "anns-password", "sip-password", {"sipusername": "ann"})
    await saving.save(db, "default", [change], seal, Passwords(), {})
    await db.execute(
        "create function done() returns trigger language plpgsql as 'begin new.state = $$done$$; return new; end'"
    )
    await db.execute("create trigger done before insert on workflow_call for each row execute function done()")
    desk = Desk(db, Throttle(most=10**6), Throttle(most=10**6))
    library = Library(parts(db, Lookups(db), told).library.shelf, desk, Throttle(most=10**6))
    async with serving(db, told, desk=desk, library=library) as served:
        yield served
    await library.shelf.close()


@contextlib.asynccontextmanager
async def honest(served: Served) -> AsyncIterator[None]:
    """Those who ask properly meanwhile, and are all answered."""
    asked = [
        (
            "POST",
            "/services/Lookup",
            {"X-Execution-Token": TOKEN},
            b'{"inputs":{"phoneNumber":"41215522000"}}',
            b"Alexa",
        ),
        ("GET", "/phonebook/staff", {"Authorization": basic("ann", "anns-password")}, b"", b"Alexa"),
        ("GET", "/provisioning?username=ann&password=anns-password&reprovision=true&deviceId=d", {}, b"", b'"update"'),
    ]
    rounds = 0

    async def ask() -> None:
        nonlocal rounds
        while True:
            for method, path, headers, body, wanted in asked:
                async with served.session.request(method, served.url + path, headers=headers, data=body) as reply:
                    answer = await reply.read()
                assert (reply.status, wanted in answer) == (200, True), (path, reply.status, answer[:200])
            rounds += 1
            await asyncio.sleep(0.02)

    asking = asyncio.create_task(ask())
    try:
        yield
    finally:
        done = asking.done()
        asking.cancel()
        if done:
            asking.result()
        await asyncio.gather(asking, return_exceptions=True)
    assert rounds


async def test_whatever_is_asked_no_endpoint_fails_and_others_are_served(served: Served) -> None:
    seen: set[int] = set()

    @SETTINGS
    @given(METHOD, PATH, QUERY, HEADERS, BODY)
    def ask(method: str, path: str, query: str, headers: dict[str, str], body: bytes) -> None:
        asking = asyncio.run_coroutine_threadsafe(said(served.port, method, path, query, headers, body), loop)
        status, answer = asking.result()
        seen.add(status)
        # A server of the helper URLs may be away; of all else nothing may be.
        away = (502,) if path.startswith("/pbxsync") else ()
        assert status in (200, 304, 400, 401, 403, 404, 405, 413, *away), (status, answer[:300])

    loop = asyncio.get_running_loop()
    async with honest(served):
        await asyncio.to_thread(ask)
    assert {200, 400, 401, 404, 405} <= seen


FIELDS = st.sampled_from(["token", "tenant", "source", "name", "number", "numbers", "mark", "note", "after", "find"])
WORDS = st.lists(st.tuples(FIELDS, TEXT | st.sampled_from(["crm", "default", "1"])), max_size=5).map(
    lambda pairs: "&".join(f"{name}={encoded(value)}" for name, value in pairs)
)
PAGE = st.one_of(
    st.sampled_from([*views.PAGES, "/approve", "/retry", "/metrics", "/health/live", "/health/ready"]),
    PART.map(lambda part: "/" + part),
)


async def test_whatever_is_asked_of_the_admins_pages_none_fails(db: Store, tmp_path: Path) -> None:
    told = web_pages.configured(tmp_path)
    held = await db.value("select count(*) from contact")

    @SETTINGS
    @given(METHOD, PAGE, WORDS, HEADERS, WORDS.map(str.encode) | BODY)
    def ask(method: str, path: str, query: str, headers: dict[str, str], body: bytes) -> None:
        asking = asyncio.run_coroutine_threadsafe(said(port, method, path, query, headers, body), loop)
        status, answer = asking.result()
        assert status in (200, 303, 400, 403, 404, 405, 413), (status, answer[:300])
        assert b"secret-key" not in answer

    loop = asyncio.get_running_loop()
    async with web_pages.serving(db, told) as (url, _):
        port = int(url.rpartition(":")[2])
        await asyncio.to_thread(ask)
    assert await db.value("select count(*) from contact") == held
