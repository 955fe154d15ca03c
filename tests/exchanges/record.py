"""Records the exchanges of a source with its stand-in: in `tests`, `python -m exchanges.record [FOLDER…]`.

A folder is added by a scene below: a source's table, and a stand-in that is served, filled and, between two runs,
changed.
"""

from __future__ import annotations

import asyncio
import datetime
import json
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp
import msgspec
import yarl
from aiohttp import web
from exchanges import replay
from mirrored import Mirror, card
from phonebook_server import PhoneBookServer, as_json, as_xml, entry

from bridge import normalise
from bridge.demo import sample
from bridge.demo.crms import Crm
from bridge.demo.dav import Book, DavServer
from bridge.demo.dav_faults import Fault
from bridge.demo.salesforce import Org, SalesforceServer
from bridge.demo.sugarcrm import SugarServer
from bridge.demo.suitecrm import SuiteCrm
from bridge.demo.zimbra import ZimbraServer

_NOT_KEPT = ("connection", "content-encoding", "content-length", "keep-alive", "server", "transfer-encoding")
SECRET = "a-secret-of-the-tests"
"""The secret in every scene's table; it is looked for in all that is said."""


def _nothing() -> None:
    return None


@dataclass(frozen=True, slots=True)
class Stage:
    """A stand-in that serves: where (the address that keys name first), how it is changed, how its time passes."""

    origins: Sequence[str]
    change: Callable[[], object]
    later: Callable[[], object] = _nothing


@dataclass(frozen=True, slots=True)
class Scene:
    """How a folder is recorded: the source's table, `{url}` being the server's address, and its stand-in.

    `route` tells by a path which of several origins it is of.
    """

    table: dict[str, Any]
    serve: Callable[[], AbstractAsyncContextManager[Stage]]
    route: Callable[[str], int] = lambda path: 0


def _at_instance(path: str) -> int:
    """Salesforce: whether a path is none of the login host's."""
    return int(not path.startswith(("/services/oauth2", "/services/Soap")))


NOON = datetime.datetime(2026, 11, 20, 12, tzinfo=datetime.UTC)
PEOPLE = [sample.Person(f"First{n}", f"Last N{n}", f"Company {n % 2}", f"+352 26 {100100 + n}", "") for n in range(6)]


@asynccontextmanager
async def _phonebook(spell: Callable[[list[Any]], bytes]) -> AsyncIterator[Stage]:
    held = [entry(str(n), f"Person N{n}", f"+352 621 {100100 + n}", MobileNumber=[f"{n}"]) for n in range(6)]
    server = PhoneBookServer(spell(held))
    server.basic, server.etag = f"phones:{SECRET}", '"1"'

    def change() -> None:
        server.body, server.etag = spell([*held[1:5], entry("5", "Other Name", "+352 1"), entry("6", "New")]), '"2"'

    async with server.serve() as url:
        yield Stage([url.removesuffix("/book")], change)


@asynccontextmanager
async def _carddav(*faults: Fault) -> AsyncIterator[Stage]:
    book, other = Book("/dav/alice/staff/", "Staff"), Book("/dav/alice/friends/", "Friends")
    for n in range(6):
        book.put(f"{n} ä.vcf", card(f"Person N{n}", f"+352 621 {100100 + n}", "ORG:Acme;Sales"))
    inner = Book("/dav/alice/staff/inner/", "Inner")
    inner.put("inner.vcf", card("Inner"))
    other.put("bad.vcf", "BEGIN:VCARD\r\nUID:x\r\nEND:VCARD\r\n")

    def change() -> None:
        book.put("0 ä.vcf", card("Other Name", "+352 1"))
        book.put("new.vcf", card("New"))
        book.delete("1 ä.vcf")

    server = DavServer(book, inner, other, password=SECRET)
    server.faults |= set(faults)
    async with server.serve() as url:
        yield Stage([url], change)


@asynccontextmanager
async def _salesforce() -> AsyncIterator[Stage]:
    org = Org()
    server = SalesforceServer(org, client_id="bridge", client_secret=SECRET)
    org.now = NOON
    _fill(server)
    org.put("Lead", {"FirstName": "Leo", "LastName": "Lead", "Company": "Prospect", "Phone": "+352 26 2"})

    def later() -> None:
        org.now += datetime.timedelta(minutes=30)

    def change() -> None:
        _change(server)
        org.update(org.ids("Account")[1], {"Name": "Renamed"})

    later()
    async with server.serve() as url:
        yield Stage([url, server.instance_url], change, later)


@asynccontextmanager
async def _sugarcrm() -> AsyncIterator[Stage]:
    server = SugarServer(password=SECRET)
    server.now = NOON
    _fill(server)
    server.put("Leads", {"first_name": "Leo", "last_name": "Lead", "phone_work": "+352 26 2"})
    server.tick(1800)
    async with server.serve() as url:
        yield Stage([url], lambda: _change(server), lambda: server.tick(1800))


@asynccontextmanager
async def _suitecrm() -> AsyncIterator[Stage]:
    server = SuiteCrm(password=SECRET)
    server.store.now = NOON
    _fill(server)
    server.put("Leads", {"first_name": "Leo", "last_name": "Lead", "phone_work": "+352 26 2"})

    def later() -> None:
        server.store.now += datetime.timedelta(minutes=30)

    later()
    async with server.serve() as url:
        yield Stage([url], lambda: _change(server), later)


@asynccontextmanager
async def _zimbra() -> AsyncIterator[Stage]:
    server = ZimbraServer("phones@example.com", SECRET)
    _fill(server)
    mailbox, owner = server.mailbox, server.accounts.add("sales@example.com", SECRET).mailbox
    mailbox.put({"lastName": "Nested", "workPhone": "+352 26 3"}, mailbox.make_folder("Contacts/Nested"))
    theirs = owner.make_folder("Customers")
    owner.put({"lastName": "Shared", "workPhone": "+352 26 4"}, theirs)
    owner.share(theirs, mailbox)
    mailbox.link("Customers", owner, theirs)
    server.gal.put("g1", fullName="Directory Person", workPhone="+352 26 5")

    def change() -> None:
        _change(server)
        owner.put({"lastName": "New Shared", "workPhone": "+352 26 6"}, theirs)
        server.gal.put("g2", fullName="New Person", workPhone="+352 26 8")

    async with server.serve() as url:
        yield Stage([url], change)


def _fill(server: Crm) -> None:
    for n, person in enumerate(PEOPLE):
        server.put_person(str(n), person)


def _change(server: Crm) -> None:
    """One is another, one is new, one is gone."""
    server.put_person("0", replace(PEOPLE[0], last="Other", cell="+352 621 9"))
    server.put_person("new", sample.Person("New", "One", "", "+352 26 7", ""))
    server.remove_person("1")


_BOOK = {"type": "phonebook", "url": "{url}/book", "username": "phones", "password": SECRET}
_DAV = {"type": "carddav", "url": "{url}", "username": "alice", "password": SECRET}
_SALESFORCE = {"type": "salesforce", "url": "{url}", "client_id": "bridge", "client_secret": SECRET}
_ZIMBRA = {"type": "zimbra", "url": "{url}", "username": "phones@example.com", "password": SECRET}

SCENES = {
    "carddav": Scene(_DAV, _carddav),
    "carddav-lists": Scene(_DAV, lambda: _carddav("no_sync_collection")),
    "phonebook": Scene(_BOOK, lambda: _phonebook(as_json)),
    "phonebook-xml": Scene(_BOOK, lambda: _phonebook(as_xml)),
    "salesforce": Scene(_SALESFORCE, _salesforce, _at_instance),
    "salesforce-bulk": Scene({**_SALESFORCE, "bulk_from": 1}, _salesforce, _at_instance),
    "sugarcrm": Scene({"type": "sugarcrm", "url": "{url}", "username": "bridge", "password": SECRET}, _sugarcrm),
    "suitecrm": Scene({"type": "suitecrm", "url": "{url}", "username": "bridge", "password": SECRET}, _suitecrm),
    "zimbra": Scene(_ZIMBRA, _zimbra),
    "zimbra-all": Scene({**_ZIMBRA, "folders": ["*"], "gal": True}, _zimbra),
}


@dataclass
class Recorder:
    """Stands between a source and its server, and writes down what passes, as if all were one origin."""

    origins: Sequence[str]
    route: Callable[[str], int]
    url: str = ""
    exchanges: list[replay.Exchange] = field(default_factory=list)
    _http: aiohttp.ClientSession | None = None

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        """Listen on loopback; the address to give to the source."""
        app = web.Application(client_max_size=64 << 20)
        app.router.add_route("*", "/{path:.*}", self._relay)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        try:
            async with aiohttp.ClientSession() as self._http:
                await web.TCPSite(runner, "127.0.0.1", 0).start()
                self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
                yield self.url
        finally:
            await runner.cleanup()

    async def _relay(self, request: web.Request) -> web.Response:
        assert self._http is not None
        origin = self.origins[self.route(request.rel_url.raw_path)]
        headers = {name: value for name, value in request.headers.items() if name != "Host"}
        async with self._http.request(
            request.method,
            yarl.URL(f"{origin}{request.raw_path}", encoded=True),
            data=await request.read(),
            headers=headers,
            allow_redirects=False,
        ) as answer:
            body = self._placed(await answer.read())
            kept = [(name, value) for name, value in answer.headers.items() if name.lower() not in _NOT_KEPT]
        told = {name: self._placed(value.encode()).decode() for name, value in kept}
        exchange = replay.Exchange(request.method, request.rel_url.raw_path, answer.status, told, body)
        self.exchanges.append(exchange)
        return replay.answer(exchange, self.url)

    def _placed(self, text: bytes) -> bytes:
        """The text with the server's addresses taken out."""
        for origin in self.origins:
            text = text.replace(origin.removeprefix("http://").encode(), replay.PLACE.encode())
        return text

    def taken(self) -> list[replay.Exchange]:
        """What passed since the last time."""
        taken, self.exchanges = self.exchanges, []
        return taken


async def record(name: str) -> replay.Folder:
    """A first full run, the same again by its cursor, and the run after a change; each by a source opened anew."""
    scene, mirror = SCENES[name], Mirror()
    steps: dict[str, list[replay.Exchange]] = {}
    expected: dict[str, list[Any]] = {}
    async with scene.serve() as stage:
        recorder = Recorder(stage.origins, scene.route)
        async with recorder.serve() as url:
            async with replay.opened(name, scene.table, url) as source:
                said = await source.check()
            steps["check"] = recorder.taken()
            for step in ("full", "again", "changes"):
                if step == "changes":
                    stage.change()
                stage.later()
                async with replay.opened(name, scene.table, url) as source:
                    await mirror.run(source, full=step == "full")
                steps[step] = recorder.taken()
                mirror.cursor = json.loads(json.dumps(mirror.cursor))
                expected[step] = _contacts(mirror, name, url)
    assert expected.pop("again") == expected["full"], f"{name}: the same again is something else"
    return replay.Folder(
        name, scene.table, [SECRET], said.replace(url.removeprefix("http://"), replay.PLACE), steps, expected
    )


def _contacts(mirror: Mirror, name: str, url: str) -> list[Any]:
    """What is held, as contacts, with the server's address taken out."""
    held = [
        normalise.normalise(mirror.records[id], name, replay.REGION, replay.DIGITS) for id in sorted(mirror.records)
    ]
    text = msgspec.json.encode(held).decode().replace(url.removeprefix("http://"), replay.PLACE)
    contacts: list[Any] = json.loads(text)
    return contacts


async def main(names: list[str]) -> None:
    """Record these folders, or all."""
    for name in names or SCENES:
        folder = await record(name)
        folder.save()
        counts = ", ".join(f"{step} {len(exchanges)}" for step, exchanges in folder.steps.items())
        print(f"{name}: exchanges {counts}; contacts {', '.join(str(len(c)) for c in folder.expected.values())}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
