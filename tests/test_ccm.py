from __future__ import annotations

import asyncio
import datetime
import ipaddress
import json
import logging
import ssl
import time
import traceback
import urllib.parse
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from bridge import errors, sinks
from bridge.demo.manager import Manager
from bridge.sinks import Entry, Push, ccm

KEY = 's3cret+/=&ü #%"1'
ANNA = Entry("Anna", "Müller", "35212345", "Luxflux")
ADD = Push("add", ANNA)
UPDATE = Push("update", replace(ANNA, number="352999"), "35212345")
DELETE = Push("delete", None, "35212345")
CREATED = '{"status":"Contact Created","errorMessage":"","errorCode":""}'


@dataclass(frozen=True)
class Table:
    """A `[sink.pbx]` table."""

    url: str
    security_key: str = KEY
    numbers: str = "digits"
    concurrency: int = 4
    rate: float = 0.0
    timeout: float = 5.0
    fingerprint: str = ""
    max_url: int = 2000
    delete_contact_action: str = "deletePhonebook"
    delete_contact_key: str = "dContact"
    delete_extension_action: str = "deleteExt"
    delete_extension_key: str = "dExtension"


@asynccontextmanager
async def opened(table: Table) -> AsyncIterator[sinks.Sink]:
    sink = sinks.load("ccm", "pbx", table)
    try:
        yield sink
    finally:
        await sink.close()


@pytest.fixture
async def manager() -> Manager:
    return Manager(KEY)


@pytest.fixture
async def sink(manager: Manager) -> AsyncIterator[sinks.Sink]:
    async with manager.serve() as url, opened(Table(url)) as sink:
        yield sink


class Canned:
    """A server with one answer to everything; keeps the requests as they came."""

    def __init__(self) -> None:
        self.body = b""
        self.status = 200
        self.headers = {"Content-Type": "application/json"}
        self.requests: list[web.BaseRequest] = []
        self.url = ""

    async def answer(self, request: web.BaseRequest) -> web.Response:
        self.requests.append(request)
        return web.Response(status=self.status, body=self.body, headers=self.headers)

    def says(self, body: str | bytes, status: int = 200, kind: str = "application/json", **headers: str) -> None:
        self.body = body.encode() if isinstance(body, str) else body
        self.status = status
        self.headers = {"Content-Type": kind, **headers}


@asynccontextmanager
async def serving(answer: Callable[[web.BaseRequest], Awaitable[web.Response]]) -> AsyncIterator[str]:
    """A server that answers so to anything; yields the URL to give as a Manager's."""
    runner = web.ServerRunner(web.Server(answer, access_log=None), shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/api.aspx"
    await runner.cleanup()


@pytest.fixture
async def canned() -> AsyncIterator[Canned]:
    canned = Canned()
    async with serving(canned.answer) as canned.url:
        yield canned


async def outcome(canned: Canned, push: Push = ADD) -> tuple[str, str, bool] | None:
    """What a send raises: the error's name, code and `absent`; None where it is done."""
    async with opened(Table(canned.url)) as sink:
        try:
            await sink.send(push)
        except errors.BridgeError as error:
            return type(error).__name__, getattr(error, "code", ""), getattr(error, "absent", False)
    return None


def failed(message: str, code: str) -> str:
    return json.dumps({"message": message, "errorCode": code})


async def test_entry_is_added_moved_and_deleted(manager: Manager, sink: sinks.Sink) -> None:
    await sink.send(ADD)
    assert manager.book() == {"35212345": ("Anna", "Müller", "Luxflux")}
    await sink.send(UPDATE)
    assert manager.book() == {"352999": ("Anna", "Müller", "Luxflux")}
    await sink.send(Push("delete", None, "352999"))
    assert manager.entries() == []


@pytest.mark.parametrize(
    "entry",
    [
        Entry("Jörg", 'Müller, "Jogi"', "352621", "Bäcker & Söhne <i> 100% +1 #2; a=b?"),
        Entry("👩‍👩‍👧", "Ζωή", "0", "株式会社"),
        Entry("O'Neill\\", "d`Été", "1", "“quoted” ″"),
    ],
)
async def test_any_text_arrives_as_it_is(manager: Manager, sink: sinks.Sink, entry: Entry) -> None:
    await sink.send(Push("add", entry))
    assert manager.book() == {entry.number: (entry.first_name, entry.last_name, entry.company)}


async def test_plus_arrives_where_the_manager_takes_it(manager: Manager, sink: sinks.Sink) -> None:
    manager.plus = True
    await sink.send(Push("add", replace(ANNA, number="+35212345")))
    assert list(manager.book()) == ["+35212345"]


async def test_request_is_a_post_with_all_in_the_url_and_no_body(canned: Canned) -> None:
    canned.says(CREATED)
    assert await outcome(canned, Push("add", Entry("Zoë", "<X>", "352", "A&B, C"))) is None
    request = canned.requests[0]
    assert (request.method, request.headers["Content-Length"]) == ("POST", "0")
    value = "%7B%22sContact%22:%5B%7B%22FirstName%22:%22Zo%C3%AB%22,%22LastName%22:%22%5Cu003cX%3E%22,"
    value += "%22PhoneNumber%22:%22352%22,%22CompanyName%22:%22A%5Cu0026B,%20C%22%7D%5D%7D"
    key = urllib.parse.quote(KEY, safe="")
    assert request.raw_path == f"/api.aspx?action=addPhonebook&qstype=1&qsSecuritykey={key}&qsValue={value}"


async def test_update_names_the_registered_number(manager: Manager, sink: sinks.Sink) -> None:
    await sink.send(ADD)
    await sink.send(UPDATE)
    assert manager.calls[-1] == (
        "updatePhonebook",
        {
            "FirstName": "Anna",
            "LastName": "Müller",
            "PhoneNumber": "352999",
            "CompanyName": "Luxflux",
            "RegisteredPhoneNumber": "35212345",
        },
    )


async def test_delete_is_spelled_as_configured() -> None:
    manager = Manager(KEY, delete_contact=("delPhonebook", "sContact"))
    async with manager.serve() as url:
        table = Table(url, delete_contact_action="delPhonebook", delete_contact_key="sContact")
        async with opened(table) as sink:
            await sink.send(ADD)
            await sink.send(DELETE)
    assert manager.entries() == []


@pytest.mark.parametrize(
    ("push", "status"), [(ADD, "Contact Created"), (UPDATE, "Contact Updated"), (DELETE, "Contact Deleted")]
)
@pytest.mark.parametrize("code", [200, 201, 302, 404, 500])
async def test_success_is_read_from_the_body_at_any_status(canned: Canned, push: Push, status: str, code: int) -> None:
    canned.says(json.dumps({"status": status, "errorMessage": "", "errorCode": ""}), status=code)
    assert await outcome(canned, push) is None


@pytest.mark.parametrize(
    "body",
    [
        '{ "status" : " Contact Created ", "errorMessage" : " ", "errorCode" : " " }',
        "{“status”:”Contact Created”, “errorMessage”:””, “errorCode”:””}",
        "\ufeff" + CREATED,
        "\r\n" + CREATED + "\r\n\r\n<!DOCTYPE html><html></html>",
        '{"Status":"contact created","ErrorCode":null}',
        CREATED.replace('Message":"', 'Message":"é').encode("latin-1"),
    ],
)
async def test_success_is_read_however_it_is_written(canned: Canned, body: str | bytes) -> None:
    canned.says(body, kind="text/html; charset=iso-8859-1")
    assert await outcome(canned) is None


INVALID = [
    ("Invalid First name", "FNAME_INVALID", False),
    ("Invalid Last name", "LNAME_INVALID", False),
    ("Invalid Phone Number", "PHONE_NUMBER_INVALID", True),
    ("Invalid Extension number", "INVALID_EXTENSION", True),
    ("Invalid Email Address", "INVALID_EMAIL", False),
    ("Invalid company", " company_invalid ", False),
]


@pytest.mark.parametrize(("message", "code", "absent"), INVALID)
@pytest.mark.parametrize("status", [200, 500])
async def test_invalid_fields_refuse_the_record(
    canned: Canned, message: str, code: str, absent: bool, status: int
) -> None:
    canned.says(failed(message, code), status=status)
    want = code.strip().upper()
    assert await outcome(canned, ADD) == ("Refused", want, False)
    assert await outcome(canned, UPDATE) == ("Refused", want, absent)
    assert await outcome(canned, DELETE) == ("Refused", want, absent)


@pytest.mark.parametrize(
    ("message", "code"),
    [("Authentication Token invalid", "INVALID_AUTH_ID"), ("Authentication Token expired", " AUTH_ID_EXPIRED ")],
)
@pytest.mark.parametrize("status", [200, 401, 500])
async def test_key_errors_are_denied_and_say_what_to_do(canned: Canned, message: str, code: str, status: int) -> None:
    canned.says(failed(message, code), status=status)
    async with opened(Table(canned.url)) as sink:
        for act in (sink.check(), sink.send(ADD), sink.send(DELETE)):
            with pytest.raises(errors.Denied, match=r"security_key of \[sink\.pbx\]") as caught:
                await act
            assert caught.value.code == code.strip()


@pytest.mark.parametrize(
    "body",
    [
        failed("Internal Server error", "500"),
        failed("Internal Server error", " 500 "),
        '{"message":"Internal Server error","errorCode":500}',
        "{“message”:”Internal Server error”, “errorCode”:”500″}",
    ],
)
async def test_internal_error_is_tried_again(canned: Canned, body: str) -> None:
    canned.says(body)
    assert await outcome(canned, UPDATE) == ("Unavailable", "500", False)


@pytest.mark.parametrize(
    "message",
    [
        "Extension number does not exit",
        "Phone number doesn't exist.",
        "System.Exception: The contact was not found",
        "Contact not found in database",
        "No such contact",
        "Could not find the phone number",
        "not found",
    ],
)
async def test_error_that_says_not_there_is_absent(canned: Canned, message: str) -> None:
    canned.says(failed(message, " WEBSERVICE_ERROR "))
    assert await outcome(canned, ADD) == ("Unavailable", "WEBSERVICE_ERROR", False)
    assert await outcome(canned, UPDATE) == ("Refused", "WEBSERVICE_ERROR", True)
    assert await outcome(canned, DELETE) == ("Refused", "WEBSERVICE_ERROR", True)


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("Exception Detail", "WEBSERVICE_ERROR"),
        ("The server was not found or was not accessible", "WEBSERVICE_ERROR"),
        ("Table Contact does not exist", "WEBSERVICE_ERROR"),
        ("No such host is known", "WEBSERVICE_ERROR"),
        ("The database does not respond", "WEBSERVICE_ERROR"),
        ("Object reference not set to an instance of an object", "WEBSERVICE_ERROR"),
        ("Extension number already exist", "EXTENSION_EXIST"),
        ("", "E1234"),
    ],
)
async def test_any_other_error_is_tried_again_with_its_code(canned: Canned, message: str, code: str) -> None:
    canned.says(failed(message, code))
    assert await outcome(canned, DELETE) == ("Unavailable", code, False)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"OK",
        b"null",
        b'"Contact Created"',
        b"[1]",
        b"<html><body>Contact Created</body></html>",
        CREATED.encode()[:-1],
        CREATED.encode() + b"}",
        b"{}",
        b'{"status":"","errorCode":""}',
        b'{"status":"Contact Updated","errorMessage":"","errorCode":""}',
        b'{"message":"Authentication Token invalid"}',
        b"\x00\xff\xfe garbage",
        b"[" * 30_000,
        b" " * 70_000,
    ],
)
async def test_answer_that_says_nothing_leaves_it_unsettled(canned: Canned, body: bytes) -> None:
    canned.says(body)
    assert await outcome(canned) == ("Unsettled", "", False)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_server_error_without_json_is_unsettled(canned: Canned, status: int) -> None:
    canned.says("<html>Server Error</html>", status=status, kind="text/html", **{"Retry-After": "7"})
    async with opened(Table(canned.url)) as sink:
        with pytest.raises(errors.Unsettled, match=f"HTTP {status}") as caught:
            await sink.send(ADD)
    assert caught.value.after == 7.0
    assert len(canned.requests) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405])
async def test_web_server_that_turns_away_did_nothing_and_the_url_is_doubted(canned: Canned, status: int) -> None:
    canned.says("<html>no</html>", status=status, kind="text/html")
    async with opened(Table(canned.url)) as sink:
        with pytest.raises(errors.Unavailable, match=r"check url of \[sink\.pbx\]") as caught:
            await sink.send(ADD)
    assert type(caught.value) is errors.Unavailable
    assert caught.value.code == ""


async def test_too_many_requests_is_waited_for(canned: Canned) -> None:
    canned.says("slow down", status=429, kind="text/plain", **{"Retry-After": "30"})
    async with opened(Table(canned.url)) as sink:
        with pytest.raises(errors.Unavailable, match="429") as caught:
            await sink.send(ADD)
    assert caught.value.after == 30.0


async def test_no_connection_is_unavailable_and_nothing_was_sent(unused_tcp_port: int) -> None:
    async with opened(Table(f"http://127.0.0.1:{unused_tcp_port}/api.aspx")) as sink:
        with pytest.raises(errors.Unavailable) as caught:
            await sink.send(ADD)
    assert type(caught.value) is not errors.Unsettled
    assert not isinstance(caught.value, errors.Unsettled)


@pytest.mark.parametrize("applied", [True, False])
@pytest.mark.parametrize("fault", ["cut", "hang", "garbage", "html_200", "status_500_html"])
async def test_lost_answer_is_unsettled_whether_applied_or_not(fault: str, applied: bool) -> None:
    manager = Manager(KEY)
    names = {True: "answer_lost_after_apply", False: "cut_before_apply"}
    manager.faults.set(names[applied] if fault == "cut" else fault, times=1, applied=applied)
    async with manager.serve() as url, opened(Table(url, timeout=0.3)) as sink:
        with pytest.raises(errors.Unsettled):
            await sink.send(ADD)
        assert len(manager.entries()) == int(applied)
        assert manager.counts["requests"] == 1
        await sink.send(ADD)


async def test_dressed_answers_are_understood(manager: Manager, sink: sinks.Sink) -> None:
    manager.error_status = 500
    manager.faults.read("curly_quotes,padded_codes,bom,text_html,slow@0.01")
    await sink.send(ADD)
    await sink.send(UPDATE)
    with pytest.raises(errors.Refused, match="phone number") as caught:
        await sink.send(DELETE)
    assert (caught.value.code, caught.value.absent) == ("PHONE_NUMBER_INVALID", True)


async def test_check_shows_the_key_and_changes_nothing(manager: Manager, sink: sinks.Sink) -> None:
    await sink.send(ADD)
    assert await sink.check() == "the Call Control Manager answers and takes the security key"
    assert manager.entries() == [
        {"FirstName": "Anna", "LastName": "Müller", "PhoneNumber": "35212345", "CompanyName": "Luxflux"}
    ]
    manager.key = "another"
    with pytest.raises(errors.Denied, match="does not know the security key"):
        await sink.check()
    manager.expired.add(KEY)
    with pytest.raises(errors.Denied, match="expired"):
        await sink.check()


async def test_check_of_something_else_is_no_success(canned: Canned) -> None:
    canned.says("<html>hello</html>", kind="text/html")
    async with opened(Table(canned.url)) as sink:
        with pytest.raises(errors.Unavailable, match="check url"):
            await sink.check()
        canned.says(failed("Internal Server error", "500"))
        with pytest.raises(errors.Unavailable, match="500"):
            await sink.check()
        canned.says(failed("Exception Detail", "WEBSERVICE_ERROR"))
        assert (await sink.check()).endswith("it says nothing bad (WEBSERVICE_ERROR)")


async def test_overlong_entry_is_cut_company_first_and_always_alike(manager: Manager, sink: sinks.Sink) -> None:
    entry = Entry("Änne", "Müller", "352", "Ö" * 900)
    await sink.send(Push("add", entry))
    await sink.send(Push("update", entry, "352"))
    first, last, company = manager.book()["352"]
    assert (first, last) == ("Änne", "Müller")
    assert company == "Ö" * len(company)
    assert 200 < len(company) < 300
    (_, added), (_, updated) = manager.calls
    assert added["CompanyName"] == updated["CompanyName"]


async def test_overlong_names_are_cut_when_the_company_is_gone(manager: Manager, sink: sinks.Sink) -> None:
    await sink.send(Push("add", Entry("A" * 3000, "Bo " * 900, "352", "C")))
    first, last, company = manager.book()["352"]
    assert company == ""
    assert first == "A" * len(first)
    assert 600 < len(first) < 700
    assert last == ("Bo " * 900)[: len(first)].rstrip()


async def test_url_is_as_long_as_allowed_and_no_longer(canned: Canned) -> None:
    canned.says(CREATED.replace("Created", "Updated"))
    async with opened(Table(canned.url, max_url=700)) as sink:
        for size in range(450, 500):
            await sink.send(Push("update", replace(ANNA, company="x" * size), ccm.LONGEST_NUMBER))
    origin = canned.url.removesuffix("/api.aspx")
    assert {len(origin + request.raw_path) for request in canned.requests} == {700}


async def test_entry_that_fits_no_url_is_refused_unsent(canned: Canned) -> None:
    async with opened(Table(canned.url, max_url=100)) as sink:
        with pytest.raises(errors.Refused, match="max_url") as caught:
            await sink.send(ADD)
    assert caught.value.code == "URL_TOO_LONG"
    assert canned.requests == []


async def test_manager_that_takes_shorter_urls_than_configured_refuses_the_record() -> None:
    manager = Manager(KEY, max_url=1000)
    async with manager.serve() as url, opened(Table(url, max_url=4000)) as sink:
        await sink.send(ADD)
        with pytest.raises(errors.Refused, match=r"lower max_url of \[sink\.pbx\]") as caught:
            await sink.send(Push("add", replace(ANNA, company="x" * 2000)))
    assert caught.value.code == "URL_TOO_LONG"


async def test_missing_page_is_no_matter_of_length_until_a_manager_answered(canned: Canned) -> None:
    canned.says("<html>404</html>", status=404, kind="text/html")
    pushed = Push("add", replace(ANNA, company="x" * 1500))
    assert await outcome(canned, pushed) == ("Unavailable", "", False)
    canned.says("<html>414</html>", status=414, kind="text/html")
    assert await outcome(canned, pushed) == ("Refused", "URL_TOO_LONG", False)


def test_cut_never_parts_a_character_from_its_accents() -> None:
    entry = Entry("A", "B", "1", "Zoe\u0308 👩‍👩‍👧 & Co")
    got = {cut.company for size in range(20) if (cut := ccm.shorten(entry, lambda e, n=size: len(e.company) <= n))}
    assert got == {"", "Z", "Zo", "Zoe\u0308", *(f"Zoe\u0308 👩‍👩‍👧{end}" for end in ("", " &", " & C", " & Co"))}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A self-signed certificate with its key in one file, and its fingerprint."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "pbx")])
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - day, now + day)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    path = tmp_path_factory.mktemp("tls") / "pbx.pem"
    path.write_bytes(
        key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain) + certificate.public_bytes(encoding)
    )
    return path, certificate.fingerprint(hashes.SHA256()).hex()


@pytest.fixture
async def secure(manager: Manager, certificate: tuple[Path, str]) -> AsyncIterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate[0])
    async with manager.serve(tls=context) as url:
        yield url


async def test_self_signed_manager_is_taken_by_its_fingerprint_only(
    manager: Manager, secure: str, certificate: tuple[Path, str]
) -> None:
    pinned = certificate[1]
    async with opened(Table(secure, fingerprint=pinned)) as sink:
        await sink.send(ADD)
    for fingerprint in ("", pinned[:-2] + ("00" if pinned[-2:] != "00" else "11")):
        async with opened(Table(secure, fingerprint=fingerprint)) as sink:
            with pytest.raises(errors.Unavailable, match="certificate") as caught:
                await sink.send(ADD)
        assert not isinstance(caught.value, errors.Unsettled)
    assert manager.counts["requests"] == 1


async def test_no_more_requests_at_once_than_configured() -> None:
    running = most = 0

    async def answer(_: web.BaseRequest) -> web.Response:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.02)
        running -= 1
        return web.Response(text=CREATED)

    async with serving(answer) as url, opened(Table(url, concurrency=3)) as sink:
        await asyncio.gather(*(sink.send(ADD) for _ in range(12)))
    assert most == 3


async def test_rate_is_kept(canned: Canned) -> None:
    canned.says(CREATED)
    began = time.monotonic()
    async with opened(Table(canned.url, rate=50.0)) as sink:
        await asyncio.gather(*(sink.send(ADD) for _ in range(26)))
    assert 0.45 < time.monotonic() - began < 2


def everything(error: BaseException | None) -> Iterator[str]:
    """All that anybody could print of an error and of what it grew out of."""
    while error is not None:
        yield from (str(error), repr(error), repr(vars(error)), *traceback.format_exception(error, chain=True))
        error = error.__cause__ or error.__context__


def leaks(text: str, key: str = KEY) -> list[str]:
    spellings = (key, urllib.parse.quote(key, safe=""), urllib.parse.quote_plus(key), json.dumps(key)[1:-1])
    return [spelled for spelled in spellings if spelled.lower() in text.lower()]


def echoing(code: str) -> AbstractAsyncContextManager[str]:
    """A server whose errors quote what it was asked, raw and decoded."""

    async def answer(request: web.BaseRequest) -> web.Response:
        said = "Failed: " + "x" * 80 + request.raw_path + urllib.parse.unquote(request.raw_path)
        return web.json_response({"message": said, "errorCode": code or said})

    return serving(answer)


async def errors_at(url: str) -> list[BaseException]:
    async with opened(Table(url, timeout=0.2)) as sink:
        return [
            error
            for act in (sink.check(), sink.send(ADD), sink.send(UPDATE), sink.send(DELETE))
            for error in await asyncio.gather(act, return_exceptions=True)
            if isinstance(error, BaseException)
        ]


async def test_key_is_in_no_error_and_no_log(caplog: pytest.LogCaptureFixture, unused_tcp_port: int) -> None:
    caplog.set_level(logging.DEBUG)
    raised = await errors_at(f"http://127.0.0.1:{unused_tcp_port}/api.aspx")
    faults = ("answer_lost_after_apply", "hang", "garbage", "html_200", "status_500_html", "code_500", "key_invalid")
    for fault in faults:
        manager = Manager(KEY)
        manager.faults.set(fault)
        async with manager.serve() as url:
            raised += await errors_at(url)
            raised += await errors_at(url.replace("http:", "https:"))
            raised += await errors_at(url.replace("api.aspx", "nowhere"))
    for code in ("", "WEBSERVICE_ERROR", "PHONE_NUMBER_INVALID"):
        async with echoing(code) as url:
            raised += await errors_at(url)
    assert len(raised) > 80
    assert all(isinstance(error, errors.BridgeError) for error in raised)
    assert [text for error in raised for text in everything(error) if leaks(text)] == []
    assert leaks(caplog.text) == []


async def test_manager_s_own_words_are_shown(canned: Canned) -> None:
    canned.says(failed("Exception\r\n  Detail: disk full", "WEBSERVICE_ERROR"))
    async with opened(Table(canned.url)) as sink:
        with pytest.raises(errors.Unavailable) as caught:
            await sink.send(ADD)
    assert str(caught.value) == "the Call Control Manager failed (WEBSERVICE_ERROR): Exception Detail: disk full"


@pytest.mark.parametrize(
    ("first", "last", "display", "company", "kind", "want"),
    [
        ("Anna", "Müller", "Dr. A. Müller", "Luxflux", "work", ("Anna", "Müller", "Luxflux")),
        ("", "", "Anna Maria Müller", "", "work", ("Anna Maria", "Müller", "")),
        ("", "", "Cher", "Universal", "mobile", ("Cher", "Universal", "Universal")),
        ("", "", "Cher", "", "mobile", ("Cher", "Mobile", "")),
        ("Cher", "", "Cher", "", "home", ("Cher", "Home", "")),
        ("", "Müller", "Müller", "Luxflux", "work", ("Luxflux", "Müller", "Luxflux")),
        ("", "Müller", "", "", "fax", ("Fax", "Müller", "")),
        ("", "von Müller", "Dr. Anna von Müller", "", "work", ("Dr. Anna", "von Müller", "")),
        ("Anna", "", "Anna Müller", "Luxflux", "work", ("Anna", "Müller", "Luxflux")),
        ("Anna Maria", "", "", "Luxflux", "work", ("Anna", "Maria", "Luxflux")),
        ("", "", "", "Luxflux S.A.", "work", ("Luxflux", "S.A.", "Luxflux S.A.")),
        ("", "", "", "Luxflux", "other", ("Luxflux", "Other", "Luxflux")),
        ("", "", "LUXFLUX", "Luxflux", "work", ("LUXFLUX", "Work", "Luxflux")),
        (" A\tn\x00n\na ", "\u202aMu\u0308ller\u202c", "", "\xa0L\u2028x \ud800", "work", ("A n n a", "Müller", "L x")),
        ("\u200b", " ", "\x07", "Luxflux", "work", ("Luxflux", "Work", "Luxflux")),
        ("👩‍👩‍👧", 'O\'Neill, "X"', "", "", "work", ("👩‍👩‍👧", 'O\'Neill, "X"', "")),
    ],
)
def test_both_names_are_always_filled(
    first: str, last: str, display: str, company: str, kind: str, want: tuple[str, str, str]
) -> None:
    got = ccm.render(first, last, display, company, kind, "352621")
    assert got == Entry(want[0], want[1], "352621", want[2])
    again = ccm.render(got.first_name, got.last_name, display, got.company, kind, "352621")
    assert again == got


def test_contact_without_any_name_is_refused() -> None:
    with pytest.raises(errors.Refused, match="no name and no company") as caught:
        ccm.render("", " \u200b", "\n", "", "work", "352")
    assert caught.value.code == "NAME_MISSING"


@pytest.mark.parametrize("number", ["", "+", "*21", "352 1", "352+1", "++352", "٣٥٢", "352\n", "12a"])
def test_number_that_is_not_digits_is_refused(number: str) -> None:
    with pytest.raises(errors.Refused, match="not made of digits") as caught:
        ccm.render("A", "B", "", "", "work", number)
    assert caught.value.code == "NUMBER_NOT_DIALABLE"


@pytest.mark.parametrize("number", ["352621", "+352621", "0035212", "12", "0"])
def test_number_of_digits_is_taken_as_it_is(number: str) -> None:
    assert ccm.render("A", "B", "", "", "work", number).number == number
