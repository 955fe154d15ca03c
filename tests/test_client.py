"""The HTTP client against a server that says, and does, what each test tells it."""

from __future__ import annotations

import asyncio
import datetime
import email.utils
import gzip
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yarl
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from bridge import client, digest, errors, reach, urls

Say = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Site:
    """One server; `seen` are the requests that came."""

    def __init__(self, say: Say) -> None:
        self.seen: list[str] = []
        self._say = say
        self.url = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.text()
        self.seen.append(f"{request.method} {request.raw_path} {body}".strip())
        return await self._say(request)


@asynccontextmanager
async def site(say: Say, tls: ssl.SSLContext | None = None) -> AsyncIterator[Site]:
    """A server on loopback for one test."""
    made = Site(say)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        made.url = f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
        yield made
    finally:
        await runner.cleanup()


@asynccontextmanager
async def asking(base: str, **more: Any) -> AsyncIterator[client.Client]:
    """A client, closed again."""
    http = client.Client(base, **more)
    try:
        yield http
    finally:
        await http.close()


async def echo(request: web.Request) -> web.Response:
    """What was asked, and by whom."""
    return web.Response(text=f"{request.method} {request.raw_path} {request.headers.get('Authorization', '-')}")


def saying(status: int, **headers: str) -> Say:
    """Always the same answer."""

    async def say(request: web.Request) -> web.Response:
        return web.Response(status=status, headers={name.replace("_", "-"): text for name, text in headers.items()})

    return say


async def hang_up(request: web.Request) -> web.Response:
    """The connection ends in place of an answer."""
    assert request.transport is not None
    request.transport.close()
    return web.Response()


async def cut(request: web.Request) -> web.StreamResponse:
    """An answer ends half way."""
    response = web.StreamResponse(headers={"Content-Length": "100"})
    await response.prepare(request)
    await response.write(b"half")
    return await hang_up(request)


async def stall(request: web.Request) -> web.Response:
    """An answer comes too late for anybody."""
    await asyncio.sleep(0.6)
    return web.Response()


async def test_references_are_resolved_and_their_escapes_kept() -> None:
    async with site(echo) as here, asking(f"{here.url}/a/b/") as http:
        answer = await http.request("PROPFIND", "c%2fd%7e ä(1)'?x=%20y", body=b"<x/>")
        assert answer.body == b"PROPFIND /a/b/c%2fd%7e%20%C3%A4(1)'?x=%20y -"
        assert answer.url == f"{here.url}/a/b/c%2fd%7e%20%C3%A4(1)'?x=%20y"


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("http://[::1]:80/x%2f?a=b", "http://[::1]/x%2f?a=b"),
        ("HTTPS://DAV.Example.com", "https://dav.example.com/"),
        ("https://user:password@example.com:8443/x#part", "https://example.com:8443/x"),
    ],
)
def test_an_address_is_read_without_a_login_in_it(text: str, want: str) -> None:
    assert str(urls.read(text)) == want


async def test_statuses_become_values_and_errors() -> None:
    for status, want in (
        (401, errors.Denied),
        (403, errors.Denied),
        (404, errors.Unavailable),
        (500, errors.Unavailable),
    ):
        async with site(saying(status)) as here, asking(here.url) as http:
            with pytest.raises(want, match=str(status)):
                await http.request("GET", "/path?key=secret")
            assert (await http.request("GET", accept={status})).status == status


@pytest.mark.parametrize("as_date", [False, True])
async def test_how_long_to_wait_is_passed_on(as_date: bool) -> None:
    then = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=120)
    text = email.utils.format_datetime(then) if as_date else "120"
    async with site(saying(429, Retry_After=text)) as here, asking(here.url) as http:
        with pytest.raises(errors.Unavailable) as caught:
            await http.request("GET")
        assert caught.value.after == pytest.approx(120, abs=5)
        assert len(here.seen) == 1


@pytest.mark.parametrize("say", [hang_up, cut, saying(502), saying(503, Retry_After="0")])
async def test_what_is_safe_to_repeat_is_asked_three_times(say: Say) -> None:
    async with site(say) as here, asking(here.url) as http:
        with pytest.raises(errors.Unavailable) as caught:
            await http.request("REPORT", body=b"body")
        assert not isinstance(caught.value, errors.Unsettled)
        assert here.seen == ["REPORT / body"] * 3


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("say", [hang_up, cut, stall])
async def test_what_is_not_is_asked_once_and_left_unsettled(say: Say, method: str) -> None:
    async with site(say) as here, asking(here.url, timeout=0.3) as http:
        with pytest.raises(errors.Unsettled):
            await http.request(method, repeat=False)
        assert len(here.seen) == 1


async def test_a_passing_fault_is_not_seen() -> None:
    turns = iter((502, 503, 200))

    async def say(request: web.Request) -> web.Response:
        return web.Response(status=next(turns))

    async with site(say) as here, asking(here.url) as http:
        assert (await http.request("GET")).status == 200


async def test_a_long_pause_is_not_waited_for_here() -> None:
    async with site(saying(503, Retry_After="60")) as here, asking(here.url) as http:
        with pytest.raises(errors.Unavailable, match="503"):
            await http.request("GET")
        assert len(here.seen) == 1


async def test_a_late_answer_is_too_much_and_asked_once() -> None:
    async with site(stall) as here, asking(here.url, timeout=0.2) as http:
        with pytest.raises(client.TooMuch, match="in time"):
            await http.request("GET")
        assert len(here.seen) == 1


async def test_no_connection_is_unavailable_and_never_unsettled() -> None:
    for url, reason in (("http://127.0.0.1:1/x?key=secret", "refused"), ("http://nobody.invalid/", "no such host")):
        async with asking(url, timeout=2) as http:
            with pytest.raises(errors.Unavailable, match=f"(?i){reason}") as caught:
                await http.request("POST", repeat=False)
            assert not isinstance(caught.value, errors.Unsettled)
            assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["ftp://example.com/", "http:///x", "nonsense", "http://[::1/"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(errors.Unavailable, match="not an http or https address"):
        client.Client(url)


async def test_bodies_are_capped_after_they_are_unpacked() -> None:
    async def bomb(request: web.Request) -> web.Response:
        return web.Response(body=gzip.compress(bytes(3 << 20)), headers={"Content-Encoding": "gzip"})

    async with site(bomb) as here, asking(here.url) as http:
        assert len((await http.request("GET")).body) == 3 << 20
        with pytest.raises(client.TooMuch, match="more than 1 MiB"):
            await http.request("GET", limit=1 << 20)
        async with http.spool("GET") as spool:
            assert sum(len(chunk) for chunk in spool.chunks()) == 3 << 20
            assert sum(len(chunk) for chunk in spool.chunks(1000)) == 3 << 20


async def test_header_lines_of_one_name_are_joined() -> None:
    async def say(request: web.Request) -> web.Response:
        response = web.Response()
        response.headers.extend([("DAV", "1, 2"), ("DAV", "addressbook")])
        return response

    async with site(say) as here, asking(here.url) as http:
        assert (await http.request("OPTIONS")).headers["dav"] == "1, 2, addressbook"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_keep_method_body_and_credentials_on_one_host(status: int) -> None:
    async with (
        site(echo) as there,
        site(saying(status, Location=f"{there.url}/new")) as here,
        asking(here.url, username="u", password="p", auth="basic") as http,
    ):
        answer = await http.request("REPORT", "/old", body=b"body")
        assert (answer.body, answer.url) == (b"REPORT /new Basic dTpw", f"{there.url}/new")
        assert there.seen == ["REPORT /new body"]


async def test_credentials_never_follow_to_another_host() -> None:
    async with site(echo) as there:
        elsewhere = there.url.replace("127.0.0.1", "localhost")
        async with (
            site(saying(301, Location=elsewhere)) as here,
            asking(here.url, username="u", password="p", auth="basic") as http,
        ):
            http.trust("localhost")
            assert (await http.request("GET")).body == b"GET / -"


async def test_a_redirect_to_a_dead_port_is_tried_where_it_came_from() -> None:
    async def say(request: web.Request) -> web.Response:
        if request.path == "/old":
            return web.Response(status=301, headers={"Location": "http://127.0.0.1:1/new"})
        return await echo(request)

    async with site(say) as here, asking(here.url) as http:
        assert (await http.request("PROPFIND", "/old")).url == f"{here.url}/new"


async def test_redirects_in_a_circle_end() -> None:
    async with site(saying(302, Location="/again")) as here, asking(here.url) as http:
        with pytest.raises(errors.Unavailable, match="redirects more than 5 times"):
            await http.request("GET")
        assert len(here.seen) == 6


def test_a_redirect_never_leads_from_https_to_http() -> None:
    with pytest.raises(errors.Unavailable, match="from https to http"):
        urls.redirect(yarl.URL("https://dav.example.com/"), "http://other.example.com/")
    inner = urls.redirect(yarl.URL("https://dav.example.com/x"), "http://dav.example.com:8080/dav/")
    assert inner == (yarl.URL("https://dav.example.com/dav/"), None)


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        ("p07-contacts.icloud.com", "icloud.com"),
        ("dav.example.co.uk", "example.co.uk"),
        ("co.uk", ""),
        ("localhost", ""),
        ("192.0.2.7", ""),
        ("::1", ""),
    ],
)
def test_a_registrable_domain_is_told(host: str, domain: str) -> None:
    assert urls.registrable(host) == domain


async def test_requests_keep_to_their_rate_and_number() -> None:
    at_once = most = 0

    async def say(request: web.Request) -> web.Response:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.02)
        at_once -= 1
        return web.Response()

    async with site(say) as here, asking(here.url, connections=2, rate=50) as http:
        began = time.monotonic()
        await asyncio.gather(*(http.request("GET") for _ in range(10)))
        assert most <= 2
        assert time.monotonic() - began >= 0.15


async def test_bearer_is_sent() -> None:
    async with site(echo) as here, asking(here.url, auth="bearer", token="abc") as http:
        assert (await http.request("GET")).body == b"GET / Bearer abc"


def test_a_digest_answer_is_that_of_the_rfc() -> None:
    """RFC 7616, 3.9.1, with its client nonce."""
    header = (
        'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=MD5, '
        'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
    )
    challenge = digest.challenge(header)
    assert challenge is not None
    answer = challenge.answer(
        "Mufasa", "Circle of Life", "GET", "/dir/index.html", "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
    )
    assert 'response="8ca523f5e9506fed4657c9700eebdbec"' in answer
    assert "nc=00000001" in answer


def test_the_strongest_challenge_is_taken_and_basic_beside_it_is_seen() -> None:
    header = (
        'Basic realm="a, b", Digest realm="x", nonce="1", algorithm=MD5, Digest realm="x", nonce="2", algorithm=SHA-256'
    )
    found = digest.challenge(header)
    assert found is not None
    assert (found.algorithm, found.nonce) == ("SHA-256", "2")
    assert digest.challenge(header, alone=True) is None
    assert digest.challenge('Digest realm="x", nonce="1", qop="auth-int"') is None


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[ssl.SSLContext, Path, str]:
    """A server's TLS context, its self-signed certificate for 127.0.0.1, and that one's fingerprint."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "dav")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "certificate.pem"
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private = tmp_path / "key.pem"
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(path, private)
    return context, path, made.fingerprint(hashes.SHA256()).hex(":").upper()


async def test_certificates_are_verified_unless_told_otherwise(certificate: tuple[ssl.SSLContext, Path, str]) -> None:
    context, path, fingerprint = certificate
    async with site(echo, context) as here:
        url = here.url.replace("127.0.0.1", "localhost")
        for keys in (
            {"ca": path},
            {"verify": False},
            {"fingerprint": fingerprint},
            {"fingerprint": fingerprint.replace(":", "").lower()},
        ):
            async with asking(url, **keys) as http:
                assert (await http.request("GET")).status == 200
        async with asking(url) as http:
            with pytest.raises(errors.Unavailable, match=r"the certificate of localhost:\d+ is not accepted"):
                await http.request("GET")
        async with asking(url, fingerprint="00" * 32) as http:
            with pytest.raises(errors.Unavailable, match="another certificate than the pinned one"):
                await http.request("GET")


async def test_what_is_not_safe_to_repeat_is_asked_for_only_by_whose_it_still_is() -> None:
    def check() -> None:
        raise errors.Fenced("another's")

    async with site(echo) as here, asking(here.url) as http:
        token = client.FENCE.set(check)
        try:
            for method, repeat in (("GET", None), ("POST", True)):
                assert (await http.request(method, repeat=repeat)).status == 200
            for method, repeat in (("POST", None), ("PUT", None), ("GET", False)):
                with pytest.raises(errors.Fenced):
                    await http.request(method, repeat=repeat)
        finally:
            client.FENCE.reset(token)
        assert (await http.request("POST")).status == 200
    assert [line.split()[0] for line in here.seen] == ["GET", "POST", "POST"]


@contextmanager
def behind(*allow: tuple[str, int | None], **names: list[str]) -> Iterator[reach.Reach]:
    """A gate to these servers, for clients made in the block; `names` resolve to those, `_` for a dot in them."""
    asked: list[str] = []

    async def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        assert asked.count(host) == 1, "resolved twice"
        return names[host.replace(".", "_")]

    gate = reach.Reach(allow, resolve)
    token = client.GATE.set(gate)
    try:
        yield gate
    finally:
        client.GATE.reset(token)


async def test_behind_a_gate_a_name_is_where_the_gate_says_and_its_certificate_its_own(
    certificate: tuple[ssl.SSLContext, Path, str],
) -> None:
    context, path, _ = certificate
    async with site(echo, context) as here:
        port = yarl.URL(here.url).port
        local = ("127.0.0.1", port)
        with behind(("localhost", None), ("other.example.com", None), local, other_example_com=["127.0.0.1"],
                    localhost=["127.0.0.1"]):  # fmt: skip
            async with asking(f"https://localhost:{port}", ca=path) as http:
                for _ in range(3):
                    assert (await http.request("GET")).status == 200
            async with asking(f"https://other.example.com:{port}", ca=path) as http:
                with pytest.raises(errors.Unavailable, match=r"certificate of other\.example\.com"):
                    await http.request("GET")
        assert len(here.seen) == 3


async def test_behind_a_gate_nothing_else_is_connected_to() -> None:
    async with site(echo) as there:
        port = yarl.URL(there.url).port
        with behind(("name.example.com", None), ("127.0.0.2", None), name_example_com=["127.0.0.1"]) as gate:
            for url in (there.url, f"http://[::ffff:127.0.0.1]:{port}", f"http://name.example.com:{port}"):
                async with asking(url) as http:
                    with pytest.raises(reach.Forbidden):
                        await http.request("GET")
            assert gate.refused
        with behind(("127.0.0.1", 1)):
            async with asking(there.url) as http:
                with pytest.raises(reach.Forbidden):
                    await http.request("GET")
        assert there.seen == []


async def test_behind_a_gate_redirects_are_looked_at_again() -> None:
    async with site(echo) as there:
        port = yarl.URL(there.url).port
        for elsewhere in (f"http://localhost:{port}/", f"http://2130706433:{port}/", f"http://0:{port}/", there.url):
            async with site(saying(302, Location=elsewhere)) as here:
                with behind(("127.0.0.1", yarl.URL(here.url).port)) as gate:
                    async with asking(here.url) as http:
                        with pytest.raises(reach.Forbidden):
                            await http.request("GET")
                    assert gate.refused
        assert there.seen == []


async def test_a_client_made_without_a_gate_goes_anywhere() -> None:
    async with site(echo) as here, asking(here.url) as http:
        with behind():
            assert (await http.request("GET")).status == 200


async def test_a_bundle_that_is_none_fails_its_own_source_alone(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text("no certificate")
    async with asking("https://localhost:1/", ca=bundle) as http:
        with pytest.raises(errors.Unavailable, match="PEM is expected"):
            await http.request("GET")


@pytest.mark.parametrize("header", ["", "=", "Bearer", 'Basic realm="x"', "Digest", 'Digest nonce=""'])
def test_what_is_no_digest_challenge_is_none(header: str) -> None:
    assert digest.challenge(header) is None


@pytest.mark.parametrize("abrupt", [True, False])
async def test_a_request_that_is_given_up_is_taken_back_where_it_must_not_come_late(abrupt: bool) -> None:
    end: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.read(1024):
                pass
            end.set_result("closed")
        except ConnectionResetError:
            end.set_result("reset")
        writer.close()

    server = await asyncio.start_server(hear, "127.0.0.1", 0)
    async with (
        server,
        asking(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", timeout=0.2, abrupt=abrupt) as http,
    ):
        with pytest.raises(errors.Unsettled):
            await http.request("POST", "/", repeat=False)
        async with asyncio.timeout(5):
            assert await end == ("reset" if abrupt else "closed")
