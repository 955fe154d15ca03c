"""Mixvoip's helper URLs against the stand-in servers: whose lines come, who is turned away, what is not said."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import os
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import aiohttp
import pytest
import structlog
import yarl
from aiohttp import web
from aiohttp.test_utils import TestServer
from served import SOURCES, Served, configured, parts, serving

from bridge import forgotten, log, metrics, pbxsync
from bridge.config import Config
from bridge.contact import RawNumber, Record
from bridge.demo.dav import Book, DavServer
from bridge.demo.salesforce import Org, SalesforceServer
from bridge.demo.salesforce_faults import Fault
from bridge.demo.sugarcrm import SugarServer
from bridge.demo.suitecrm import SuiteCrm
from bridge.demo.zimbra import ZimbraServer
from bridge.forgotten import Forgotten
from bridge.lookup import Lookups
from bridge.pbxsync import apart
from bridge.pbxsync import wanted as urls
from bridge.pbxsync.apart import Order
from bridge.pbxsync.lines import Gathering, Lines
from bridge.server import Front, peers, surfaces
from bridge.server.errands import Busy, Errands
from bridge.sources import Page
from bridge.store import Store

HERE = '[pbxsync]\nallow = ["127.0.0.1"]'
CARD = "BEGIN:VCARD\r\nVERSION:3.0\r\nFN:{}\r\nN:{};;;;\r\nTEL;TYPE=CELL:{}\r\nEND:VCARD\r\n"


@dataclass(frozen=True)
class Helpers(Served):
    """A server with helper URLs."""

    errands: Errands

    async def get(self, path: str, method: str = "GET") -> tuple[int, str]:
        """Status and text of one request, whose path is sent as it stands here; none is JSON, and none is kept."""
        said = await self.raw(f"{method} {path} HTTP/1.1\r\nHost: bridge\r\nConnection: close\r\n\r\n")
        head, _, body = said.partition(b"\r\n\r\n")
        assert b"Content-Type: text/plain; charset=utf-8" in head
        assert b"Cache-Control: no-store" in head
        assert f"Content-Length: {len(body)}".encode() in head
        return int(head.split()[1]), body.decode()

    async def raw(self, text: str) -> bytes:
        """All that is answered to this, until the server closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(text.encode())
        said = await asyncio.wait_for(reader.read(), 20)
        writer.close()
        await writer.wait_closed()
        return said

    async def head(self, path: str) -> aiohttp.ClientResponse:
        """The answer, for its headers."""
        async with self.session.get(self.url + path) as reply:
            await reply.read()
            return reply


@contextlib.asynccontextmanager
async def helping(db: Store, told: Config, **more: Any) -> AsyncIterator[Helpers]:
    """The server under a configuration; it reads in this process, if nothing else is said."""
    lookups, errands = Lookups(db), Errands(db, **{"read": apart.here, **more})
    shared = parts(db, lookups, told, errands=errands)
    front = Front(surfaces.of(told, shared))
    handler = front.server()
    server = await asyncio.get_running_loop().create_server(handler, "127.0.0.1", 0)
    try:
        async with aiohttp.ClientSession() as session:
            yield Helpers(server.sockets[0].getsockname()[1], front, lookups, session, shared, errands)
    finally:
        server.close()
        await handler.shutdown(1)
        await lookups.close()
        await shared.desk.close()


@pytest.fixture
async def helpers(db: Store, tmp_path: Path) -> AsyncIterator[Helpers]:
    async with helping(db, configured(tmp_path, HERE)) as made:
        yield made


def part(text: str) -> str:
    """One part of a path."""
    return quote(text, safe="")


def filled() -> DavServer:
    """A CardDAV server with two people in a book."""
    book = Book("/dav/alice/staff/", "Staff")
    book.put("1.vcf", CARD.format("Ann Weber", "Weber", "+352 621 000 001"))
    book.put("2.vcf", CARD.format("Bob: Bauer", "Bauer", "621 000 002"))
    return DavServer(book, username="alice", password="p+w%d/x")


def carddav(url: str, password: str = "p+w%d/x") -> str:
    return f"/pbxsync/alice?password={quote(password, safe='+')}&server={part(url)}"


BOTH = "+352621000001:Ann Weber\n+352621000002:Bob Bauer\n"


async def test_carddav_in_both_forms(helpers: Helpers) -> None:
    async with filled().serve() as url:
        assert await helpers.get(carddav(url)) == (200, BOTH)
        assert await helpers.get(carddav(url).replace("/alice", "/carddav/alice")) == (200, BOTH)
        assert await helpers.get(carddav(f"{url}/dav/alice/staff/")) == (200, BOTH)


async def test_zimbra_with_folders_and_without(helpers: Helpers) -> None:
    server = ZimbraServer("me@example.com", "s/e c%r|e+t")
    server.mailbox.put({"firstName": "Ann", "lastName": "Weber", "workPhone": "26 00 10 01", "company": "Weber SA"})
    customers = server.mailbox.make_folder("Kunden & Co")
    server.mailbox.put({"firstName": "Bob", "mobilePhone": "621 000 002"}, customers)
    ann, bob = "+35226001001:Ann Weber:Weber SA\n", "+352621000002:Bob\n"
    async with server.serve() as url:
        login = f"/pbxsync/zimbradownload/{part(url)}/me%40example.com/s%2Fe%20c%25r%7Ce+t"
        assert await helpers.get(login) == (200, ann + bob)
        assert await helpers.get(login + "/") == (200, ann + bob)
        assert await helpers.get(login + "/Kunden%20%26%20Co") == (200, bob)
        assert await helpers.get(login + "/Contacts|Kunden%20%26%20Co") == (200, ann + bob)
        assert await helpers.get(login + "/Contacts%7CKunden%20%26%20Co") == (200, ann + bob)
        assert await helpers.get(login + "?folder=Contacts") == (200, ann)
        assert (await helpers.get(login + "/Kunden"))[0] == 502
        assert (await helpers.get(login.replace("+t", "%20t")))[0] == 401


async def test_salesforce_by_password_and_token(helpers: Helpers) -> None:
    org = Org()
    org.put("Contact", {"FirstName": "Ann", "LastName": "Weber", "Phone": "26 00 10 01"})
    server = SalesforceServer(org, username="me@example.com", password="pass+", security_token="tok3n")
    async with server.serve() as url:
        path = f"/pbxsync/salesforce/me%40example.com/pass+tok3n?server={part(url)}"
        assert await helpers.get(path) == (200, "+35226001001:Ann Weber\n")
        assert (await helpers.get(path.replace("tok3n", "token")))[0] == 401
        server.faults.append(Fault("/query", "disabled", times=9))
        assert (await helpers.get(path))[0] == 403


async def test_salesforce_at_the_host_for_everybody_must_be_allowed(helpers: Helpers) -> None:
    status, _ = await helpers.get("/pbxsync/salesforce/me%40example.com/pass+tok3n")
    assert status == 403


@pytest.mark.parametrize("path", ["", "/crm", "/my%20crm/sub", "/my%20crm%2Fsub"])
async def test_sugar_in_whatever_it_speaks(helpers: Helpers, path: str) -> None:
    below = unquote(path)
    for server in (SugarServer("me", "secret", path=below), SuiteCrm("me", "secret", path=below)):
        server.put("Contacts", {"first_name": "Ann", "last_name": "Weber", "phone_work": "26 00 10 01"})
        async with server.serve() as url:
            place = part(url.split("://")[1].split("/")[0])
            login = f"/pbxsync/sugarcrm/me/secret/{place}{path or '/'}/http"
            assert await helpers.get(login) == (200, "+35226001001:Ann Weber\n")
            assert (await helpers.get(login.replace("secret", "wrong")))[0] == 401


@pytest.mark.parametrize("hidden", [{"Contacts"}, {"Leads"}, {"Accounts"}, {"Contacts", "Leads"}])
@pytest.mark.parametrize("kind", [SugarServer, SuiteCrm])
async def test_a_right_that_lacks_is_forbidden_and_no_shorter_list(
    helpers: Helpers, kind: Any, hidden: set[str]
) -> None:
    server = kind("me", "secret")
    server.put("Contacts", {"first_name": "Ann", "phone_work": "26 00 10 01"})
    server.put("Leads", {"first_name": "Lee", "phone_work": "26 00 10 02"})
    async with server.serve() as url:
        login = f"/pbxsync/sugarcrm/me/secret/{part(url)}"
        assert await helpers.get(login) == (200, "+35226001001:Ann\n+35226001002:Lee\n")
        taken = server.forbidden if kind is SugarServer else server.methods.hidden
        taken |= hidden
        assert (await helpers.get(login))[0] == 403


async def test_a_field_that_is_hidden_makes_no_shorter_list(helpers: Helpers) -> None:
    server = SugarServer("me", "secret")
    server.put("Contacts", {"first_name": "Ann", "phone_work": "26 00 10 01", "phone_home": "26 00 10 02"})
    async with server.serve() as url:
        login = f"/pbxsync/sugarcrm/me/secret/{part(url)}"
        assert (await helpers.get(login))[1].count("\n") == 2
        server.store.hidden.add(("Contacts", "phone_home"))
        assert (await helpers.get(login))[0] == 403


@pytest.mark.parametrize("hidden", [("Contact",), ("Lead",), ("Contact", "MobilePhone")])
async def test_what_salesforce_hides_makes_no_shorter_list(helpers: Helpers, hidden: tuple[str, ...]) -> None:
    org = Org()
    org.put("Contact", {"LastName": "Weber", "Phone": "26 00 10 01"})
    org.put("Lead", {"LastName": "Bauer", "Company": "B", "Phone": "26 00 10 02"})
    server = SalesforceServer(org, username="me@example.com", password="pass+", security_token="tok3n")
    async with server.serve() as url:
        path = f"/pbxsync/salesforce/me%40example.com/pass+tok3n?server={part(url)}"
        assert (await helpers.get(path))[1].count("\n") == 2
        org.hide(*hidden)
        assert (await helpers.get(path))[0] == 403


async def test_one_line_a_number_and_the_best_has_it(helpers: Helpers) -> None:
    server = SugarServer("me", "secret")
    account = server.put("Accounts", {"name": "Weber SA", "phone_office": "26 00 10 01"})
    for n, (name, number) in enumerate([("Old", "621 000 002"), ("New", "621 000 002"), ("Own", "26 00 10 01")]):
        server.tick(60 * n)
        more = {"account_id": account} if name == "New" else {}
        server.put("Contacts", {"last_name": name, "phone_mobile": number, **more})
    async with server.serve() as url:
        status, text = await helpers.get(f"/pbxsync/SugarCRM/me/secret/{part(url)}")
    assert (status, text) == (200, "+35226001001:Own\n+352621000002:New:Weber SA\n")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/pbxsync", 404),
        ("/pbxsync/", 404),
        ("/pbxsync/hubspot/me/secret", 404),
        ("/pbxsync/zimbradownload/127.0.0.1/me", 400),
        ("/pbxsync/zimbradownload/127.0.0.1//secret", 400),
        ("/pbxsync/zimbradownload/127.0.0.1/me/secret/a/b", 400),
        ("/pbxsync/zimbradownload/ftp%3A%2F%2F127.0.0.1/me/secret", 400),
        ("/pbxsync/zimbradownload/me%40127.0.0.1/me/secret", 400),
        ("/pbxsync/zimbradownload/127.0.0.1%3A0/me/secret", 400),
        ("/pbxsync/zimbradownload/127.0.0.1%3Fx/me/secret", 400),
        ("/pbxsync/zimbradownload/127.0.0.1/me%00/secret", 400),
        ("/pbxsync/zimbradownload/127.0.0.1/me%FF/secret", 400),
        ("/pbxsync/zimbradownload/127.0.0.1%0D%0Ax/me/secret", 400),
        ("/pbxsync/sugarcrm/me/secret", 400),
        ("/pbxsync/salesforce/me/secret/more", 400),
        ("/pbxsync/alice", 400),
        ("/pbxsync/alice?server=127.0.0.1", 400),
        ("/pbxsync/salesforce?server=192.0.2.1&password=p", 403),
        ("/pbxsync/zimbradownload/192.0.2.1/me/secret", 403),
        ("/pbxsync/zimbradownload/zimbra.example.com/me/secret", 403),
        ("/pbxsync/zimbradownload/127.1/me/secret", 403),
        ("/pbxsync/zimbradownload/2130706433/me/secret", 403),
        ("/pbxsync/zimbradownload/%5B%3A%3Affff%3A127.0.0.1%5D/me/secret", 403),
        ("/nobody/pbxsync/alice?server=127.0.0.1&password=p", 404),
    ],
)
async def test_what_is_none_of_them_or_not_allowed(helpers: Helpers, path: str, status: int) -> None:
    async with helpers.session.get(f"{helpers.url}/x") as reply:
        assert reply.status == 404
    if path.startswith("/nobody"):
        reply = await helpers.head(path)
        assert reply.status == status
        return
    got, text = await helpers.get(path)
    assert got == status
    assert not any(word in text for word in ("127", "192", "secret", "alice", "hubspot"))
    assert text.count("\n") == 1


async def test_other_methods_are_refused(helpers: Helpers) -> None:
    assert await helpers.get("/pbxsync/alice?server=127.0.0.1&password=p", "POST") == (405, "right is GET\n")


async def test_without_its_table_there_is_nothing(db: Store, tmp_path: Path) -> None:
    async with helping(db, configured(tmp_path)) as helpers:
        assert (await helpers.head("/pbxsync/alice?server=127.0.0.1&password=p")).status == 404


async def test_a_tenant_has_its_own(db: Store, tmp_path: Path) -> None:
    (tmp_path / "acme.toml").write_text('region = "DE"\n[pbxsync]\nallow = ["127.0.0.1"]\n')
    told = configured(tmp_path, above='tenants = "acme.toml"', more=SOURCES)
    book = Book("/dav/alice/staff/", "Staff")
    book.put("1.vcf", CARD.format("Ann", "Ann", "030 200001"))
    async with DavServer(book, password="p").serve() as url, helping(db, told) as helpers:
        path = carddav(url, "p")
        assert await helpers.get("/acme" + path) == (200, "+4930200001:Ann\n")
        assert (await helpers.head(path)).status == 404


@pytest.mark.parametrize("allow", ['"localhost"', '"localhost:1", "127.0.0.1", "::1"'])
async def test_a_name_that_leads_inside_or_to_another_port_is_forbidden(db: Store, tmp_path: Path, allow: str) -> None:
    server = filled()
    async with server.serve() as url, helping(db, configured(tmp_path, f"[pbxsync]\nallow = [{allow}]")) as helpers:
        assert (await helpers.get(carddav(url.replace("127.0.0.1", "localhost"))))[0] == 403
        assert server.seen == []


async def test_a_name_whose_addresses_are_allowed_too_is_not(db: Store, tmp_path: Path) -> None:
    told = configured(tmp_path, '[pbxsync]\nallow = ["localhost", "127.0.0.1", "::1"]')
    async with filled().serve() as url, helping(db, told) as helpers:
        assert await helpers.get(carddav(url.replace("127.0.0.1", "localhost"))) == (200, BOTH)


async def test_redirects_and_homes_elsewhere_are_forbidden(helpers: Helpers) -> None:
    server = filled()
    async with server.serve() as url:
        elsewhere = url.replace("127.0.0.1", "localhost")
        server.homes = [f"{elsewhere}/dav/alice/"]
        assert (await helpers.get(carddav(url)))[0] == 403

        async def lead(request: web.BaseRequest) -> web.Response:
            return web.Response(status=301, headers={"Location": elsewhere})

        async with answering(lead) as leading:
            assert (await helpers.get(carddav(leading)))[0] == 403


async def test_an_instance_that_is_not_allowed_is_forbidden(db: Store, tmp_path: Path) -> None:
    server = SalesforceServer(Org(), username="me@example.com", password="pass", security_token="tok3n")
    async with server.serve() as url:
        port = url.rpartition(":")[2]
        async with helping(db, configured(tmp_path, f'[pbxsync]\nallow = ["127.0.0.1:{port}"]')) as helpers:
            path = f"/pbxsync/salesforce/me%40example.com/passtok3n?server={part(url)}"
            assert (await helpers.get(path))[0] == 403
            assert not any("/query" in call for call in server.calls)


@contextlib.asynccontextmanager
async def answering(say: Any) -> AsyncIterator[str]:
    """A server that says always the same."""
    server = web.Server(say)
    listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    finally:
        listening.close()
        await server.shutdown(0.1)


@pytest.mark.parametrize("fault", ["status_500", "status_503", "status_429", "html_200", "cut_midway", "truncated_xml"])
async def test_a_failing_server_is_never_a_short_book(helpers: Helpers, fault: Any) -> None:
    server = filled()
    server.faults.add(fault)
    async with server.serve() as url:
        status, text = await helpers.get(carddav(url))
    assert (status, text) == (502, "the server failed, or what it answers cannot be read\n")


async def test_a_server_that_is_not_there_is_a_failing_one(helpers: Helpers) -> None:
    assert (await helpers.get(carddav("http://127.0.0.1:1")))[0] == 502


async def test_what_cannot_be_read_in_part_is_not_given_at_all(helpers: Helpers) -> None:
    server = filled()
    server.books[0].put("3.vcf", "BEGIN:VCARD\r\nnonsense")
    async with server.serve() as url:
        status, text = await helpers.get(carddav(url))
    assert (status, text) == (502, "1 of the server's contacts cannot be read, so none are given\n")


async def test_a_broken_share_is_a_gap(helpers: Helpers) -> None:
    server = ZimbraServer("me@example.com", "secret")
    server.mailbox.put({"firstName": "Ann", "workPhone": "26 00 10 01"})
    other = server.accounts.add("other@example.com", "secret").mailbox
    folder = other.make_folder("Theirs")
    other.put({"firstName": "Bob", "workPhone": "26 00 10 02"}, folder)
    other.share(folder, server.mailbox)
    server.mailbox.link("Theirs", other, folder)
    async with server.serve() as url:
        login = f"/pbxsync/zimbradownload/{part(url)}/me%40example.com/secret"
        assert await helpers.get(login) == (200, "+35226001001:Ann\n+35226001002:Bob\n")
        other.share(folder, server.mailbox, "")
        assert (await helpers.get(login))[0] == 403
        other.share(folder, server.mailbox, "r")
        other.down = True
        assert (await helpers.get(login))[0] == 502


async def test_a_slow_server_ends_in_time(db: Store, tmp_path: Path) -> None:
    server = filled()
    server.faults.add("slow")
    server.delay = 20.0
    async with server.serve() as url, helping(db, configured(tmp_path, HERE), seconds=0.3) as helpers:
        assert await helpers.get(carddav(url)) == (502, "the server took too long\n")


async def test_few_are_read_at_once_and_the_same_only_once(db: Store, tmp_path: Path) -> None:
    server = filled()
    server.faults.add("slow")
    server.delay = 0.1
    async with server.serve() as url, helping(db, configured(tmp_path, HERE)) as helpers:
        same = [asyncio.create_task(helpers.get(carddav(url))) for _ in range(5)]
        other = asyncio.create_task(helpers.get(carddav(f"{url}/dav/alice/staff/")))
        await until(lambda: bool(server.seen))
        reply = await helpers.head(carddav(f"{url}/dav/alice/"))
        assert (reply.status, reply.headers["Retry-After"]) == (503, "10")
        assert await asyncio.gather(*same, other) == [(200, BOTH)] * 6
        assert await helpers.get(carddav(f"{url}/dav/alice/")) == (200, BOTH)
        assert helpers.errands.under_way == 0
        once = len(server.seen)
        await helpers.get(carddav(url))
        assert len(server.seen) > once


async def test_who_goes_away_stops_nobody_else(db: Store, tmp_path: Path) -> None:
    server = filled()
    server.faults.add("slow")
    async with server.serve() as url, helping(db, configured(tmp_path, HERE)) as helpers:
        read = helpers.errands.lines

        async def never() -> Lines:
            await asyncio.sleep(60)
            raise AssertionError

        async def wait() -> None:
            async with read("key", "server", never):
                raise AssertionError

        first, second = asyncio.create_task(wait()), asyncio.create_task(wait())
        await asyncio.sleep(0.01)
        first.cancel()
        await asyncio.sleep(0.01)
        assert helpers.errands.under_way == 1
        second.cancel()
        await asyncio.sleep(0.01)
        assert helpers.errands.under_way == 0
        assert await helpers.get(carddav(url)) == (200, BOTH)


async def test_so_many_are_read_in_all_and_no_more(helpers: Helpers) -> None:
    let = asyncio.Event()

    async def wait() -> Lines:
        await let.wait()
        return Lines()

    async def read(n: int) -> int:
        async with helpers.errands.lines(n, n, wait) as lines:
            return lines.size

    tasks = [asyncio.create_task(read(n)) for n in range(8)]
    await until(lambda: helpers.errands.under_way == 8)
    reply = await helpers.head("/pbxsync/alice?password=p&server=127.0.0.1")
    assert reply.status == 503
    with pytest.raises(Busy):
        await read(9)
    let.set()
    assert await asyncio.gather(*tasks) == [0] * 8
    assert helpers.errands.under_way == 0


async def test_a_server_that_was_given_no_errands_has_its_own(db: Store, tmp_path: Path) -> None:
    async with filled().serve() as url, serving(db, configured(tmp_path, HERE)) as served:
        reply = await served.session.get(yarl.URL(served.url + carddav(url), encoded=True))
        assert (reply.status, await reply.text()) == (200, BOTH)


async def until(true: Any) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0.01)


async def test_wrong_logins_are_throttled_by_address(db: Store, tmp_path: Path) -> None:
    server = filled()
    throttle = peers.Throttle(most=3)
    async with server.serve() as url, helping(db, configured(tmp_path, HERE), throttle=throttle) as helpers:
        for n in range(3):
            assert (await helpers.get(carddav(url, f"wrong{n}")))[0] == 401
        asked = len(server.seen)
        reply = await helpers.head(carddav(url))
        assert (reply.status, len(server.seen)) == (401, asked)
        assert int(reply.headers["Retry-After"]) > 500


async def test_the_forgotten_stay_forgotten(db: Store, helpers: Helpers) -> None:
    async with db.session() as connection:
        await forgotten.keep_out(connection, "default", ["+352621000001"])
    async with filled().serve() as url:
        assert await helpers.get(carddav(url)) == (200, "+352621000002:Bob Bauer\n")


async def test_an_empty_book_is_an_empty_answer(helpers: Helpers) -> None:
    async with DavServer(Book("/dav/alice/staff/", "Staff"), password="p").serve() as url:
        assert await helpers.get(carddav(url, "p")) == (200, "")


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """All that is logged, for debugging too, as if the log struck nothing out."""
    level, handlers = logging.getLogger().level, list(logging.getLogger().handlers)
    stream = io.StringIO()
    log.setup("json", stream, logging.DEBUG)
    plain = [each for each in structlog.get_config()["processors"] if each is not log.redact]
    structlog.configure(processors=plain)
    logging.getLogger("aiohttp.access").setLevel(logging.DEBUG)
    yield stream
    structlog.reset_defaults()
    logging.captureWarnings(False)
    logging.getLogger().setLevel(level)
    logging.getLogger().handlers[:] = handlers


async def test_nothing_of_the_url_is_logged_or_said(helpers: Helpers, logged: io.StringIO) -> None:
    server = filled()
    zimbra = ZimbraServer("my name", "my secret")
    async with server.serve() as url, zimbra.serve() as other:
        told = ""
        server.faults.add("slow")
        server.delay = 0.01
        for path in (
            carddav(url),
            carddav(url, 'my "secret'),
            carddav("http://127.0.0.1:1", "my secret"),
            f"/pbxsync/zimbradownload/{part(other)}/my%20name/my%20secret/my%20folder",
            f"/pbxsync/zimbradownload/{part(other)}/my%20name/secret",
            "/pbxsync/zimbradownload/my.server/my%20name/my%20secret",
            "/pbxsync/my%20name/my%20secret/my%20folder",
            "/pbxsync/my%20name%00/my%20secret/my%20folder",
            "/pbxsync/salesforce/my%20name/my%20secret?server=http%3A%2F%2F127.0.0.1%3A1",
            f"/pbxsync/sugarcrm/my%20name/my%20secret/{part(url)}/my%20folder",
        ):
            told += (await helpers.get(path))[1].replace(BOTH, "")
        assert b"400 Bad Request" in await helpers.raw("GET /pbxsync/my name/my secret HTTP/1.1\r\n\r\n")
    # The stand-ins write access logs of their own, of what bridge asked them.
    told += "".join(line for line in logged.getvalue().splitlines() if '"bridge/' not in line.replace("\\", ""))
    assert "pbxsync.answered" in told
    told += metrics.render(None).decode()
    for word in ("alice", "p+w", "my name", "my%20", "secret", "my folder", "my.server", url[-5:], other[-5:], "/dav"):
        assert word not in told, word


async def test_a_fault_of_bridge_itself_says_where_and_no_more(db: Store, tmp_path: Path, logged: io.StringIO) -> None:
    async def broken(order: Order) -> Lines:
        raise KeyError(order.wanted.password)

    async with helping(db, configured(tmp_path, HERE), read=broken) as helpers:
        status, text = await helpers.get("/pbxsync/alice?password=my%20secret&server=127.0.0.1")
    assert (status, text) == (500, "this failed, and the log of bridge says where\n")
    assert "secret" not in logged.getvalue()
    assert "KeyError at test_server_pbxsync.py" in logged.getvalue()


# In a process of its own


def reading() -> list[int]:
    """The processes that read for this one."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words, state = (entry / "cmdline").read_text(), (entry / "stat").read_text().rpartition(")")[2].split()
            if "bridge.pbxsync.apart" in words and int(state[1]) == os.getpid() and state[0] != "Z":
                found.append(int(entry.name))
    return found


async def test_what_is_read_apart_comes_to_the_same_as_here(db: Store, tmp_path: Path, logged: io.StringIO) -> None:
    spoilt = filled()
    spoilt.books[0].put("3.vcf", "BEGIN:VCARD")
    async with filled().serve() as url, spoilt.serve() as partial:
        asked = [
            carddav(url),
            carddav(url, "wrong"),
            carddav(partial),
            carddav("http://127.0.0.1:9"),
        ]
        async with helping(db, configured(tmp_path, HERE)) as helpers:
            here = [await helpers.get(path) for path in asked]
        async with helping(db, configured(tmp_path, HERE), read=apart.read) as helpers:
            assert await asyncio.gather(*(helpers.get(path) for path in asked)) == here
    assert {status for status, _ in here} == {200, 401, 502}
    assert reading() == []
    assert "p+w" not in logged.getvalue()


async def test_a_process_that_nobody_waits_for_ends_and_a_killed_one_is_no_short_book(
    db: Store, tmp_path: Path
) -> None:
    server = filled()
    server.faults.add("slow")
    server.delay = 20.0
    async with server.serve() as url, helping(db, configured(tmp_path, HERE), read=apart.read) as helpers:
        asking = asyncio.create_task(helpers.get(carddav(url)))
        await until(lambda: bool(server.seen))
        os.kill(reading()[0], signal.SIGKILL)
        assert (await asking)[0] == 500
        server.seen.clear()
        wanted = urls.read(["alice"], carddav(url).partition("?")[2])
        order = Order(wanted, pbxsync.Place("LU", 5, Forgotten()), (("127.0.0.1", None),))
        task = asyncio.create_task(apart.read(order))
        await until(lambda: bool(server.seen))
        assert len(reading()) == 1
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert (task.cancelled(), reading()) == (True, [])


def test_many_lines_are_gathered_on_disk() -> None:
    gathering = Gathering("LU", 5, Forgotten())
    lines = Lines()
    try:
        for page in range(50):
            ids = range(page * 1000, page * 1000 + 1000)
            numbers = [(n, RawNumber(f"+352 621 {n:06}")) for n in ids]
            gathering.add(Page(records=[Record(str(n), last_name=f"Name {n}", numbers=(one,)) for n, one in numbers]))
        gathering.add(Page(records=[Record("7", last_name="Later", numbers=(RawNumber("+352 621 000 008"),))]))
        gathering.add(Page(removed=["8", "9"]))
        gathering.write(lines)
        assert lines.count == 50_000 - 3 + 1
        text = b"".join(iter_pieces(lines))
        assert text.startswith(b"+352621000000:Name 0\n")
        assert b"+352621000008:Later\n+352621000010:Name 10\n" in text
        assert text.count(b"\n") == lines.count
        assert len(text) == lines.size
    finally:
        lines.close()
        gathering.close()


def iter_pieces(lines: Lines) -> Iterator[bytes]:
    at = 0
    while piece := lines.piece(at):
        yield piece
        at += len(piece)


@pytest.mark.parametrize(
    ("ping", "token", "speaks"),
    [
        ((200, '"pong"'), None, "sugarcrm"),
        ((401, '{"error": "need_login"}'), None, "sugarcrm"),
        ((404, '{"error": "no_method"}'), None, "sugarcrm"),
        ((404, "<html>"), (400, '{"error": "invalid_request"}'), "sugarcrm"),
        ((404, "<html>"), (404, "<html>"), "suitecrm"),
        ((500, ""), (302, ""), "suitecrm"),
    ],
)
async def test_which_api_a_server_speaks(ping: tuple[int, str], token: tuple[int, str] | None, speaks: str) -> None:
    async def answer(request: web.Request) -> web.Response:
        said = ping if request.path.endswith("/ping") else token
        assert said, "what is known is not asked for again"
        return web.Response(status=said[0], text=said[1])

    app = web.Application()
    app.router.add_route("*", "/rest/v11_1/{what:.*}", answer)
    async with TestServer(app) as server:
        assert await pbxsync._speaks(str(server.make_url("")).rstrip("/")) == speaks
