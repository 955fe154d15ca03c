"""Phone books over HTTP, as softphones, PBXs and people fetch them, from a real database."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import io
import json
import logging
import os
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
import structlog
from listed import record
from served import hold
from softphone import TEMPLATE, App, basic
from yarl import URL

from bridge import approval, bookshelf, config, editions, formats, log, sync
from bridge.accounts.logins import Poll
from bridge.bookshelf import Bookshelf
from bridge.contact import RawNumber, Record
from bridge.server import Front, Surfaces
from bridge.server.desk import Turned
from bridge.server.peers import Throttle
from bridge.server.phonebook import Library, PhoneBooks
from bridge.store import Store

ANN = record("1", "Ann Lee", RawNumber("+352 621 111 111", "mobile"), RawNumber("4711", "work"), company="White: Cross")
BOB = record("2", "Bob Ray", "+352 20 33 33 20", emails=("bob@example.com",), country="LU")
ZOE = record("9", "Zoe Zed", "+352 621 999 999", kind="mobile")
PASSWORD = 'pw "ö\\+&%'
SAMPLE = """[
  {
    "Id": "602a52f538975909a8e36a48", "FirstName": "John", "LastName": "Doe", "Email": ["JDoe@gmail.com"],
    "Address": ["Privet Drive", "Norfolk"], "Softphone": ["23423", "34534"],
    "WorkNumber": ["+442079460001", "+442079460002"], "HomeNumber": ["+442079460003", "+442079460004"],
    "MobileNumber": ["+447911123456", "+447911123457"], "Fax": ["+442079460007", "+442079460008"],
    "Other": ["+442079460009", "+442079460010"]
  }
]"""
TOLD = """
region = "LU"
tenants = "tenants/*.toml"
[source.crm]
type = "file"
path = "crm.vcf"
[source.office]
type = "file"
path = "office.vcf"
[phonebook.staff]
sources = ["crm"]
users = { phones = "phones-password", odd = 'pw "ö\\+&%' }
[phonebook.office]
sources = ["office"]
users = { phones = "phones-password" }
[phonebook.local]
sources = ["crm"]
numbers = "national"
accounts = true
"""
OTHER = """
region = "LU"
[source.crm]
type = "file"
path = "theirs.vcf"
[phonebook.staff]
users = { phones = "their-password" }
"""
PHONES = ("phones", "phones-password")
ALICE = ("alice", "alice-password")
QUERY = "username=phones&password=phones-password"


@dataclass(frozen=True)
class Served:
    """A server that answers for phone books."""

    url: str
    shelf: Bookshelf
    place: Path
    session: aiohttp.ClientSession

    async def get(
        self,
        path: str,
        method: str = "GET",
        login: tuple[str, str] | None = PHONES,
        headers: Mapping[str, str] | None = None,
        data: Any = None,
    ) -> tuple[int, bytes, Any]:
        """Status, body and headers; nothing is unpacked, and the path goes over the wire as it is."""
        sent = {**({"Authorization": basic(*login)} if login else {}), **(headers or {})}
        url = URL(self.url + path, encoded=True)
        async with self.session.request(method, url, headers=sent, data=data, allow_redirects=False) as reply:
            return reply.status, await reply.read(), reply.headers

    async def plain(self, path: str, **more: Any) -> bytes:
        """The book, which must be there."""
        status, body, _ = await self.get(path, headers={"Accept-Encoding": "identity"}, **more)
        assert status == 200
        return body

    async def names(self, path: str = "/phonebook/staff") -> list[str]:
        return [f"{one['FirstName']} {one['LastName']}" for one in orjson.loads(await self.plain(path))]


class Accounts:
    """The softphone accounts of a tenant."""

    def __init__(self, most: int) -> None:
        self.asked: list[tuple[str, str]] = []
        self._guesses = Throttle(most=most)

    async def admit(self, tenant: str, ways: Sequence[tuple[str, str]], *, address: str) -> tuple[str, Poll]:
        if wait := self._guesses.wait(address):
            raise Turned(wait)
        self.asked += [(tenant, username) for username, _ in ways]
        if tenant == "default" and ALICE in ways:
            return "alice", Poll("", False, 1, None)
        self._guesses.wrong(address)
        raise Turned


def configured(folder: Path) -> config.Config:
    (folder / "tenants").mkdir(exist_ok=True)
    for name, text in (("bridge.toml", TOLD), ("tenants/other.toml", OTHER)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o600)
    return config.load(folder / "bridge.toml")


@contextlib.asynccontextmanager
async def serving(
    db: Store, told: config.Config, *, library: Library | None = None, **shelving: Any
) -> AsyncIterator[Served]:
    place = bookshelf.folder(told.state_dir)
    shelf = library.shelf if library else Bookshelf(db, place, **{"look": 0.0, **shelving})
    library = library or Library(shelf)
    books = [PhoneBooks(tenant, library, told.http.trusted_proxies) for tenant in told.tenants.values()]
    shelf.stock(shelf.orders(recipe for surface in books for recipe in surface.recipes))
    handler = Front(Surfaces(books)).server()
    server = await asyncio.get_running_loop().create_server(handler, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        async with aiohttp.ClientSession(auto_decompress=False) as session:
            yield Served(url, shelf, place, session)
    finally:
        server.close()
        await handler.shutdown(1)
        await shelf.close()


@pytest.fixture
async def served(db: Store, tmp_path: Path) -> AsyncIterator[Served]:
    await hold(db, "crm", ANN, BOB)
    await hold(db, "office", ZOE)
    await hold(db, "crm", replace_id(ZOE, "o"), tenant="other")
    async with serving(db, configured(tmp_path)) as served:
        yield served


def replace_id(one: Record, id: str) -> Record:
    return record(id, one.display_name, *one.numbers)


@pytest.mark.parametrize("template", ["", TEMPLATE])
@pytest.mark.parametrize("ending", ["", ".json", ".xml", "?format=xml"])
async def test_the_app_keeps_its_directory_as_the_crm_has_it(
    served: Served, db: Store, template: str, ending: str
) -> None:
    app = App(f"{served.url}/phonebook/staff{ending}", template=template, basic=not template)
    assert await app.sync(served.session) == 200
    ann, bob = app.contacts.values()
    assert (ann["FirstName"], ann["MobileNumber"], ann["Softphone"]) == ("Ann", ["+352621111111"], ["4711"])
    assert (bob["WorkNumber"], bob["Email"], bob["CountryCode"]) == (["+35220333320"], ["bob@example.com"], "LU")
    assert (await app.sync(served.session), app.updates) == (200, 2)
    await hold(db, "crm", ANN, record("2", "Bob Ray", "+352 20 33 33 21"), ZOE)
    assert (await app.sync(served.session), app.updates) == (200, 4)
    assert list(app.contacts)[:2] == [ann["Id"], bob["Id"]]
    assert [one["WorkNumber"] for one in app.contacts.values()] == [[], ["+35220333321"], []]
    await hold(db, "crm", ANN, ZOE)
    assert (await app.sync(served.session), app.updates) == (200, 4)
    assert [one["FirstName"] for one in app.contacts.values()] == ["Ann", "Zoe"]


async def test_the_page_s_own_contact_comes_back_word_for_word(served: Served, db: Store) -> None:
    [john] = json.loads(SAMPLE)
    await hold(db, "crm", *(one for one in formats.read([SAMPLE.encode()]) if isinstance(one, Record)))
    [got] = json.loads(await served.plain("/phonebook/staff"))
    assert {key: got[key] for key in john if key != "Id"} == {key: john[key] for key in john if key != "Id"}
    assert re.fullmatch("[0-9a-f]{24}", got["Id"])
    assert (re.fullmatch("[0-9a-f]{32}", got["Checksum"]) is not None, got["CountryCode"]) == (True, "")


FORMS = [
    ("", "*/*", "application/json"),
    ("", "", "application/json"),
    ("/", "text/html", "application/json"),
    ("", "application/xml", "application/xml"),
    ("", "text/xml, application/json", "application/json"),
    ("", "text/xml;q=0.9, application/json;q=0.5", "application/xml"),
    ("", "application/json;q=0, text/csv", "text/csv"),
    ("", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "application/xml"),
    ("?format=xml", "application/json", "application/xml"),
    ("?Format=VCF", "", "text/vcard"),
    (".json", "application/xml", "application/json"),
    (".xml", "application/json", "application/xml"),
    (".txt", "", "text/plain"),
    (".csv", "", "text/csv"),
    (".vcf", "", "text/vcard"),
    ("%2Evcf", "", "text/vcard"),
]


async def test_the_form_is_what_is_asked_for(served: Served) -> None:
    got = []
    for path, accept, _ in FORMS:
        asked = {"Accept": accept, "Accept-Encoding": ""}
        status, body, headers = await served.get("/phonebook/staff" + path, headers=asked)
        assert (status, [type(one) for one in formats.read([body])]) == (200, [Record, Record])
        got.append((path, accept, headers["Content-Type"].removesuffix("; charset=utf-8")))
    assert got == FORMS


async def test_a_form_that_nobody_writes_is_400(served: Served) -> None:
    status, body, _ = await served.get("/phonebook/staff?format=pdf")
    assert (status, list(orjson.loads(body))) == (400, ["error"])


@contextlib.asynccontextmanager
async def serving_accounts(served: Served, most: int = 10) -> AsyncIterator[tuple[Served, Accounts]]:
    """The same books by a server that knows accounts."""
    accounts = Accounts(most)
    library = Library(served.shelf, accounts, Throttle(most=most))
    told = config.load(served.place.parent.parent / "bridge.toml")
    async with serving(served.shelf._db, told, library=library) as there:
        yield there, accounts


async def test_lines_have_every_number_once_and_no_colon_of_a_name(served: Served, db: Store) -> None:
    await hold(db, "crm", ANN, record("3", "Ann's: \nTwin", "+352 621 111 111", "12"))
    assert (
        await served.plain("/phonebook/staff.txt")
        == b"+352621111111:Ann Lee:White Cross\n4711:Ann Lee:White Cross\n12:Ann's Twin\n"
    )


async def test_numbers_are_spelled_as_the_book_says_and_a_checksum_tells(served: Served) -> None:
    async with serving_accounts(served) as (there, _):
        spelled = await there.plain("/phonebook/local", login=ALICE)
        plain = await there.plain("/phonebook/staff")
    assert orjson.loads(spelled)[0]["MobileNumber"] == ["621111111"]
    ids = [[one["Id"] for one in orjson.loads(body)] for body in (spelled, plain)]
    sums = [[one["Checksum"] for one in orjson.loads(body)] for body in (spelled, plain)]
    assert ids[0] == ids[1]
    assert set(sums[0]) & set(sums[1]) == set()


async def test_tenants_have_their_own_books_and_passwords(served: Served) -> None:
    assert await served.names() == ["Ann Lee", "Bob Ray"]
    assert (await served.get("/other/phonebook/staff"))[0] == 401
    body = await served.plain("/other/phonebook/staff.json", login=("phones", "their-password"))
    assert [one["FirstName"] for one in orjson.loads(body)] == ["Zoe"]
    assert (await served.get("/phonebook/staff", login=("phones", "their-password")))[0] == 401
    assert (await served.get("/other/phonebook/local", login=("phones", "their-password")))[0] == 404


NOWHERE = [
    "/phonebook",
    "/phonebook/",
    "/phonebook/nobody",
    "/phonebook/Staff",
    "/phonebook/staff.pdf",
    "/phonebook/staff.json.gz",
    "/phonebook/staff//",
    "/phonebook/staff/x",
    "/phonebook/..%2Fstaff",
    "/phonebook/%2e%2e/%2e%2e/etc/passwd",
    "/phonebook/staff%00.json",
    "/default/phonebook/staff",
    "/nobody/phonebook/staff",
]


async def test_no_other_path_leads_anywhere(served: Served) -> None:
    got = {path: (await served.get(path))[0] for path in NOWHERE}
    assert got == dict.fromkeys(NOWHERE, 404)


LOGINS: list[tuple[str, str, str | None, int]] = [
    ("GET", f"?{QUERY}", None, 200),
    ("HEAD", f"?{QUERY}", None, 200),
    ("GET", "?user=phones&pwd=phones-password", None, 200),
    ("GET", ".xml?PWD=phones-password&User=phones", None, 200),
    ("GET", "?username=phones", None, 401),
    ("GET", "", None, 401),
    ("POST", f"?{QUERY}", "", 401),
    ("POST", "", QUERY, 200),
    ("POST", "", "user=phones&pwd=phones%2Dpassword", 200),
    ("POST", "", '{"username":"phones","password":"phones-password"}', 200),
    ("POST", "", '\ufeff {"User":"phones","PWD":"phones-password","more":[1]}\r\n', 200),
    ("POST", "", '{"username":"phones"}', 401),
    ("POST", "", '{"username":["phones"],"password":{}}', 401),
    ("POST", "", "[" * 60_000, 401),
    ("POST", "", '{"user":"' * 7_000, 401),
    ("POST", "", "&" * 60_000, 401),
    ("POST", "", "x" * 70_000, 413),
    ("PUT", "", QUERY, 405),
    ("DELETE", f"?{QUERY}", None, 405),
]
KINDS = ("application/json", "application/x-www-form-urlencoded", "text/plain", "")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_login_wherever_a_client_puts_it(served: Served, kind: str) -> None:
    got = []
    for method, path, body, status in LOGINS:
        headers = {"Content-Type": kind} if kind else {}
        data = body.encode() if body is not None else None
        answered, _, said = await served.get("/phonebook/staff" + path, method, data=data, headers=headers, login=None)
        got.append((method, path, body, answered))
        assert said.get("WWW-Authenticate") == ('Basic realm="bridge", charset="UTF-8"' if status == 401 else None)
        assert said.get("Allow") == ("GET, HEAD, POST" if status == 405 else None)
    assert got == LOGINS


async def test_a_password_of_every_odd_character(served: Served) -> None:
    staff = served.url + "/phonebook/staff"
    quoted = "pw%20%22%C3%B6%5C%2B%26%25"
    coded = [f"odd:{PASSWORD}".encode(), f"odd:{PASSWORD}".encode("latin-1"), 'odd:pw "o\u0308\\+&%'.encode()]
    for raw in coded:
        status, _, _ = await served.get(
            "/phonebook/staff", login=None, headers={"Authorization": f"Basic {base64.b64encode(raw).decode()}"}
        )
        assert status == 200
    for app in (
        App(staff, "odd", PASSWORD, template=TEMPLATE, basic=False),
        App(staff, "odd", PASSWORD),
        App(f"{staff}?username=odd&password={quoted}", basic=False),
        App(f"{staff}", "odd", quoted, template="user=%user%&pwd=%pwd%", basic=False),
    ):
        assert await app.sync(served.session) == 200
    # A plus is a blank or itself, and not one here and the other there.
    both = "/phonebook/staff?username=odd&password=pw+%22%C3%B6%5C+%26%25"
    assert (await served.get(both, login=None))[0] == 401


async def test_what_is_no_basic_login_is_401(served: Served) -> None:
    for header in ("Basic", "Basic !!!", "Basic cGhvbmVz", "Bearer x", "Basic ", "Digest a=b"):
        status, body, headers = await served.get("/phonebook/staff", login=None, headers={"Authorization": header})
        assert (status, list(orjson.loads(body)), "WWW-Authenticate" in headers) == (401, ["error"], True)


async def test_guessing_is_slowed_and_a_right_password_still_let_in(served: Served) -> None:
    async with serving_accounts(served, most=2) as (there, _):
        statuses = [(await there.get("/phonebook/staff", login=("phones", "guess")))[0] for _ in range(3)]
        assert statuses == [401, 401, 429]
        assert (await there.get("/phonebook/staff"))[0] == 200


async def test_accounts_are_let_in_where_the_book_says_so_and_guesses_do_not_reach_them(served: Served) -> None:
    async with serving_accounts(served, most=2) as (there, accounts):
        assert (await there.get("/phonebook/local", login=ALICE))[0] == 200
        assert (await there.get("/phonebook/staff", login=ALICE))[0] == 401
        assert accounts.asked == [("default", "alice")]
        statuses = [(await there.get("/phonebook/local", login=("alice", "guess")))[0] for _ in range(3)]
        assert (statuses, len(accounts.asked)) == ([401, 401, 429], 3)


async def test_304_only_for_whom_has_this_very_copy(served: Served) -> None:
    _, plain, headers = await served.get("/phonebook/staff", headers={"Accept-Encoding": "identity"})
    _, packed, squeezed = await served.get("/phonebook/staff", headers={"Accept-Encoding": "br, gzip;q=0.5"})
    assert (headers.get("Content-Encoding"), squeezed["Content-Encoding"]) == (None, "gzip")
    assert gzip.decompress(packed) == plain
    tag, other = headers["ETag"], squeezed["ETag"]
    assert re.fullmatch('"[0-9a-f]{32}"', tag)
    assert tag != other
    assert (headers["Vary"], headers["Cache-Control"]) == ("Accept, Accept-Encoding", "private, no-cache")
    assert headers["Content-Length"] == str(len(plain))
    plainly = {"Accept-Encoding": "identity"}
    for known, want in ((tag, 304), (f'"x", W/{tag}', 304), ("*", 304), (other, 200), ('"x"', 200), ("", 200)):
        status, body, said = await served.get("/phonebook/staff", headers={**plainly, "If-None-Match": known})
        assert (status, len(body), said["ETag"]) == (want, len(plain) if want == 200 else 0, tag)
    gzipped = {"Accept-Encoding": "gzip", "If-None-Match": other}
    assert (await served.get("/phonebook/staff", "POST", data=QUERY, headers=gzipped))[0] == 304
    assert (await served.get("/phonebook/staff", login=None, headers=gzipped))[0] == 401
    assert (await served.get("/phonebook/staff.csv", headers={**plainly, "If-None-Match": tag}))[2]["ETag"] != tag


async def test_head_says_what_get_would(served: Served) -> None:
    _, body, _ = await served.get("/phonebook/staff.txt", headers={"Accept-Encoding": ""})
    status, nothing, headers = await served.get("/phonebook/staff.txt", "HEAD", headers={"Accept-Encoding": ""})
    assert (status, nothing, headers["Content-Length"]) == (200, b"", str(len(body)))


async def test_a_tag_stays_while_the_contacts_do(served: Served, db: Store) -> None:
    _, _, first = await served.get("/phonebook/staff")
    files = {path.name: path.stat().st_mtime_ns for path in served.place.iterdir()}
    await hold(db, "crm", ANN, BOB)  # a run that changes nothing
    await hold(db, "office", ANN)  # another book's source
    _, _, second = await served.get("/phonebook/staff")
    assert (first["ETag"], files) == (
        second["ETag"],
        {path.name: path.stat().st_mtime_ns for path in served.place.iterdir()},
    )
    await hold(db, "crm", ANN)
    _, _, third = await served.get("/phonebook/staff")
    assert third["ETag"] != first["ETag"]
    await hold(db, "crm", ANN, BOB)
    _, _, fourth = await served.get("/phonebook/staff")
    assert fourth["ETag"] == first["ETag"]
    assert len(list(served.place.iterdir())) == 2


async def test_what_is_restored_or_let_go_is_seen(served: Served, db: Store) -> None:
    job = sync.Job(tenant="default", source="crm", region="LU", rules=b"1")
    assert await served.names() == ["Ann Lee", "Bob Ray"]
    await approval.dismiss(db, job)
    assert await served.names() == []
    since = await db.value("select now() - interval '1 hour'")
    await approval.restore(db, job, since)
    assert await served.names() == ["Ann Lee", "Bob Ray"]


async def test_a_source_that_was_never_read_is_503_and_nothing(db: Store, tmp_path: Path) -> None:
    await hold(db, "crm", ANN)
    async with serving(db, configured(tmp_path)) as served:
        status, body, headers = await served.get("/phonebook/office.xml")
        assert (status, body, headers["Retry-After"]) == (503, b"", "5")
        await hold(db, "office")
        assert await served.names("/phonebook/office") == []


async def test_without_the_database_503_and_nothing(served: Served, db: Store, tmp_path: Path) -> None:
    app = App(served.url + "/phonebook/staff")
    assert await app.sync(served.session) == 200
    lost = Store("postgresql://bridge@127.0.0.1:1/none")
    async with serving(lost, config.load(tmp_path / "bridge.toml")) as without:
        app.url = without.url + "/phonebook/staff"
        assert (await app.sync(without.session), len(app.contacts)) == (503, 2)
        assert (await without.get("/phonebook/staff"))[1] == b""


async def test_no_room_is_503_until_there_is(served: Served, db: Store) -> None:
    served.place.rmdir() if served.place.exists() else None
    served.place.parent.mkdir(exist_ok=True)
    served.place.write_text("in the way")
    assert (await served.get("/phonebook/staff"))[:2] == (503, b"")
    served.place.unlink()
    assert await served.names() == ["Ann Lee", "Bob Ray"]
    assert [path.stat().st_mode & 0o777 for path in served.place.iterdir()] == [0o600, 0o600]
    assert served.place.stat().st_mode & 0o777 == 0o700


async def test_files_that_are_taken_away_are_made_anew(served: Served) -> None:
    assert await served.names() == ["Ann Lee", "Bob Ray"]
    for path in served.place.iterdir():
        path.unlink()
    assert await served.names() == ["Ann Lee", "Bob Ray"]


async def test_all_who_ask_at_once_wait_for_one_making(served: Served, db: Store, tmp_path: Path) -> None:
    await hold(db, "crm", *(record(f"{n:05}", f"Person N{n}", f"+352 621 {100_000 + n}") for n in range(3000)))
    told = config.load(tmp_path / "bridge.toml")
    async with serving(db, told, look=60.0) as there:
        answers = await asyncio.gather(*(there.get("/phonebook/staff.txt") for _ in range(20)))
    assert {status for status, _, _ in answers} == {200}
    assert len({body for _, body, _ in answers}) == 1
    assert gzip.decompress(answers[0][1]).count(b"\n") == 3000


async def test_while_a_making_takes_long_the_last_book_is_given(served: Served, db: Store, tmp_path: Path) -> None:
    told = config.load(tmp_path / "bridge.toml")
    async with serving(db, told, patience=0.05) as there:
        assert await there.names() == ["Ann Lee", "Bob Ray"]
        await hold(db, "crm", ANN)
        async with db.pooled() as blocking, blocking.transaction():
            await blocking.execute("lock table contact in access exclusive mode")
            assert await there.names() == ["Ann Lee", "Bob Ray"]
        async with asyncio.timeout(5):
            while await there.names() != ["Ann Lee"]:
                await asyncio.sleep(0.02)


async def test_a_later_process_goes_on_with_what_is_there(served: Served, db: Store, dsn: str, tmp_path: Path) -> None:
    _, body, _ = await served.get("/phonebook/staff.csv")
    (served.place / f"{editions.MAKING}old.book").write_bytes(b"half")
    os.utime(served.place / f"{editions.MAKING}old.book", (0, 0))
    (served.place / "aa-bb-cc.book").write_bytes(b"of a book that is no more")
    before = {path.name: path.stat().st_mtime_ns for path in served.place.iterdir()}
    async with serving(db, config.load(tmp_path / "bridge.toml")) as there:
        assert (await there.get("/phonebook/staff.csv"))[1] == body
    after = {path.name: path.stat().st_mtime_ns for path in served.place.iterdir()}
    assert (len(before), len(after)) == (4, 2)
    assert after.items() <= before.items()


async def test_outdated_files_do_not_stay(served: Served, db: Store) -> None:
    await served.names()
    await served.shelf.tend()
    assert len(list(served.place.iterdir())) == 2
    await hold(db, "crm", BOB)
    await served.shelf.tend()
    assert list(served.place.iterdir()) == []
    assert await served.names() == ["Bob Ray"]


async def test_the_folder_stays_within_its_bounds(served: Served, db: Store, tmp_path: Path) -> None:
    async with serving(db, config.load(tmp_path / "bridge.toml"), most=1000) as there:
        for ending in (".json", ".txt", ".csv", ".vcf"):
            assert (await there.get("/phonebook/staff" + ending))[0] == 200
        assert sum(path.stat().st_size for path in there.place.iterdir()) <= 1000


async def test_a_large_book_is_made_by_a_process_of_its_own(
    served: Served, db: Store, dsn: str, tmp_path: Path
) -> None:
    told = config.load(tmp_path / "bridge.toml")
    _, here, _ = await served.get("/phonebook/staff.vcf", headers={"Accept-Encoding": ""})
    for path in served.place.iterdir():
        path.unlink()
    async with serving(db, told, dsn=dsn, large=1) as there:
        assert (await there.get("/phonebook/staff.vcf", headers={"Accept-Encoding": ""}))[1] == here
    async with serving(db, told, dsn="postgresql://bridge@127.0.0.1:1/none", large=0) as there:
        await hold(db, "crm", ANN)
        assert (await there.get("/phonebook/staff.vcf"))[:2] == (503, b"")
    assert [path.name for path in served.place.glob(f"{editions.MAKING}*")] == []


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """What is logged, as lines of JSON; afterwards the log is as it was."""
    level, handlers = logging.getLogger().level, list(logging.getLogger().handlers)
    stream = io.StringIO()
    log.setup("json", stream)
    yield stream
    structlog.reset_defaults()
    logging.captureWarnings(False)
    logging.getLogger().setLevel(level)
    logging.getLogger().handlers[:] = handlers


async def test_no_password_and_no_query_is_logged(served: Served, logged: io.StringIO) -> None:
    await served.get(f"/phonebook/staff?{QUERY}", login=None)
    await served.get("/phonebook/staff?username=phones&password=my-guess", login=None)
    await served.get("/phonebook/staff", "POST", data='{"user":"phones","pwd":"my-guess"}', login=None)
    lines = [json.loads(line) for line in logged.getvalue().splitlines()]
    assert [line["event"] for line in lines] == [
        "phonebook.made",
        "phonebook.read",
        "phonebook.denied",
        "phonebook.denied",
    ]
    assert {key: lines[1][key] for key in ("book", "format", "reader", "status")} == {
        "book": "staff",
        "format": "json",
        "reader": "phones",
        "status": 200,
    }
    assert not re.search("phones-password|my-guess|username=", json.dumps(lines))


async def test_a_client_that_stops_reading_holds_nobody_up(served: Served, db: Store) -> None:
    await hold(db, "crm", *(record(f"{n:05}", f"Person N{n}", f"+352 621 {100_000 + n}") for n in range(6000)))
    reader, writer = await asyncio.open_connection("127.0.0.1", int(served.url.rpartition(":")[2]), limit=1024)
    head = f"GET /phonebook/staff HTTP/1.1\r\nHost: x\r\nAuthorization: {basic(*PHONES)}\r\n\r\n"
    writer.write(head.encode())
    await reader.readuntil(b"\r\n\r\n")
    assert len(await served.names()) == 6000
    writer.close()


async def test_who_is_erased_is_in_no_file_and_who_waits_gets_the_book_without(served: Served, db: Store) -> None:
    await served.names()
    await hold(db, "crm", ANN)
    async with db.pooled() as blocking, blocking.transaction():
        await blocking.execute("lock table contact in access exclusive mode")
        asking = asyncio.create_task(served.names())
        async with asyncio.timeout(5):
            while len(begun := list(served.place.glob(f"{editions.MAKING}*"))) < 2:
                await asyncio.sleep(0.01)
        # Of her book and of others' nothing is known to be outdated; of this one that is being made all is.
        assert await served.shelf.wipe("other") == 0
        assert all(path.exists() for path in begun)
        assert await served.shelf.wipe("default") == 1
        left = {path.name for path in served.place.iterdir()}
        assert not left & {path.name for path in begun}
        assert all(name.startswith(editions.MAKING) for name in left)
    assert await asking == ["Ann Lee"]
    assert await served.shelf.wipe() == 0
    assert len(list(served.place.iterdir())) == 2


async def test_a_book_of_which_nobody_can_tell_goes_too(served: Served, db: Store) -> None:
    await served.names()
    await db.execute("update source set read_at = null")
    assert await served.shelf.wipe("default") == 1
    assert list(served.place.iterdir()) == []
