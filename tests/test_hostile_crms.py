"""CRMs that mean harm: a thousand answers spoilt for each type of CRM, one in each run, and every run ends well or is
refused.

A real source reads a stand-in through the client. Between the client and everything above it stands `Wire`, which
spoils one answer of a run, chosen at random: cut, doubled, spliced, flipped, a value of another kind, a bomb, another
status or header. A run is a check (now and then), a full reading, the users, and a reading by the cursor that came;
all thousand are whole runs. None may end in anything but an error of bridge's own, which is short and shows no
secret, nor take long, nor hand on what cannot be stored; and none that says it is complete may have lost a record
where no list was altered.
"""

from __future__ import annotations

import asyncio
import contextlib
import csv
import datetime
import functools
import io
import json
import random
import re
import time
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import IO, Any, NamedTuple

import msgspec
import multidict
import orjson
import pytest
from mirrored import Mirror
from test_hostile import BOMBS, mutations

from bridge import client, contact, errors, keys, mishaps, normalise, sources
from bridge.demo.salesforce import Org, SalesforceServer
from bridge.demo.sugarcrm import SugarServer
from bridge.demo.suitecrm import SuiteCrm
from bridge.demo.zimbra import ZimbraServer
from bridge.sources.salesforce import bulk
from bridge.sources.salesforce.calls import Calls
from bridge.sources.zimbra import soap

TIMES = 1000
PARTS = 4
"""Tests that the thousand of one CRM are divided into."""
EXTRAS = ((False, False), (False, False), (False, True), (True, False))
"""Whether a run has a check, and whether users: half of them have neither."""
SECONDS = 10.0
"""Of CPU, for one run whatever its answer."""
NOON = datetime.datetime(2026, 11, 21, 12, tzinfo=datetime.UTC)
PASSWORD = "hunter2hunter2"
PERSON = "Zylindermacher"
"""The last name of everybody, which no message may show."""
RULES = normalise.rules("LU", 5)

PAGE = b"<!DOCTYPE html><html><body>Sign in</body></html>"
DEEP = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
LONG = b"x" * 3000
FAULTS = [
    *(PAGE, b"", b"{}", b"[]", b"null", b"0", b'""', b"[[]]", b"[null]"),
    b'{"error":"' + LONG + b'","error_message":"a"}',
    b'{"error":"invalid_grant","error_message":{"' + LONG + b'":1},"error_description":7}',
    b'{"error":{"a":1},"error_message":["a"]}',
    b'{"name":"a","number":"' + LONG + b'"}',
    b'{"name":["a"],"number":{"a":1},"description":"b"}',
    b'{"name":"Invalid Session ID","number":11,"description":"b"}',
    b'{"Body":{"Fault":{"Detail":{"Error":{"Code":"' + LONG + b'"}}}}}',
    b'{"Body":{"Fault":{"Detail":{"Error":{"Code":"mail.NO_SUCH_ITEM","a":{"n":"itemId","_content":["a"]}}}}}}',
    b'{"Body":{"Fault":{"Code":{"Value":7},"Detail":[]}}}',
    b'[{"errorCode":"' + LONG + b'","message":["a"],"fields":7}]',
    b'[{"errorCode":"INVALID_FIELD","message":"No such column \'' + LONG + b'\' on entity","fields":{"a":1}}]',
    b'[{"errorCode":["INVALID_FIELD"],"message":{"a":1},"fields":[7,null,["a"]]}]',
    b'<?xml version="1.0"?><Error><errorCode>' + LONG + b"</errorCode><message/></Error>",
]
"""Refusals that are none of any CRM's."""
FIT = [
    *(bomb for bomb in BOMBS if not bomb.startswith((b"BEGIN:VCARD", b"\xef\xbb\xbf"))),
    *(DEEP, b"[" * 2000 + b"]" * 2000, b'{"a":[' * 700 + b"]}" * 700),
]
"""Those bombs of the formats that another document than a vCard can be."""
VALUES: list[Any] = [
    *(None, True, False, 0, -1, 7, 1.5, 1e308, 10**30, 10**400, -(10**400), float("nan"), float("inf")),
    *("", " ", "\0", "a\0b", "x" * 100_000, "\ud800", "\u202e", "\r\n", "'; drop table contact; --", "<script>", "-1"),
    *("2026-99-99", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "9999-12-31 23:59:59"),
    *([], {}, [None], ["a"] * 50, [["a"]], [{}], {"a": {"b": 1}}, {"name": "a", "value": ["b"]}, "http://127.0.0.1:9/"),
    functools.reduce(lambda inner, _: [inner], range(200), []),
    functools.reduce(lambda inner, _: {"a": inner}, range(200), {}),
    "0001-01-01 00:00:00", "0000-00-00", "http://[::1", "//",
    "%", "../../../etc/passwd", "A" * 600, "a_b", "9" * 30, 2**63, -(2**63), 2**64 - 1,
]  # fmt: skip
STATUSES = (200, 204, 302, 400, 401, 403, 404, 409, 420, 429, 500, 503)
HEADERS: list[tuple[str, str]] = [
    *(("Date", ""), ("Date", "Sat, 99 Nov 2026 99:00:00 GMT"), ("Date", "Mon, 01 Jan 0001 00:00:00 +2359")),
    *(("Date", "Fri, 31 Dec 9999 23:59:59 -2359"), ("Date", "1 Jan 99999999999 00:00 +99999999"), ("Date", "\u202e")),
    *(("Retry-After", "999999999"), ("Retry-After", "-1"), ("Retry-After", "Mon, 01 Jan 0001 00:00:00 +2359")),
    *(("Location", "http://[::1"), ("Location", "http://127.0.0.1:9/"), ("Location", "file:///etc/passwd")),
    *(("Location", "x" * 4000), ("Sforce-Locator", "x" * 4000), ("Sforce-Locator", "../.."), ("Sforce-Locator", "")),
    *(("Sforce-NumberOfRecords", "9" * 5000), ("Sforce-NumberOfRecords", "\u0663"), ("Sforce-NumberOfRecords", "-1")),
    *(("Sforce-Limit-Info", f"api-usage={'9' * 5000}/1"), ("Sforce-Limit-Info", "api-usage=0/0")),
    *(("Content-Type", "text/html; charset=utf-99"), ("WWW-Authenticate", 'Digest realm="' + "x" * 4000)),
]


# How an answer is spoilt


@dataclass(frozen=True)
class Said:
    """An answer as it went on: what was asked, and how it was spoilt."""

    asked: str
    how: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    def __str__(self) -> str:
        head = f"{self.asked} [{self.how}] {self.status}"
        return f"{head} {self.body[:600]!r}{f'… {len(self.body)} bytes' if len(self.body) > 600 else ''}"


def spoilt(asked: str, spool: client.Spool, dice: random.Random) -> Said:
    """This answer and something wrong with it."""
    status, headers, body = spool.status, spool.headers, b"".join(spool.chunks())
    how = dice.choices(
        ["mutated", "value", "cut", "doubled", "bomb", "fault", "header"], [28, 40, 7, 3, 6, 10, 6]
    )[0]  # fmt: skip
    match how:
        case "mutated":
            body = next(mutations(body, 1, dice))
        case "value":
            body = altered(body, dice)
        case "cut":
            body = body[: dice.randrange(len(body))] if body else body
        case "doubled":
            body *= 2
        case "bomb":
            body = dice.choice(FIT)
        case "fault":
            status = dice.choice(STATUSES)
            body = dice.choice((body, dice.choice(FAULTS), dice.choice(FAULTS), altered(dice.choice(FAULTS), dice)))
        case "header":
            status = dice.choice((status, status, 302, 401, 503))
            headers = with_header(headers, *dice.choice(HEADERS))
    return Said(asked, how, status, headers, body)


def with_header(headers: Mapping[str, str], name: str, value: str) -> Mapping[str, str]:
    """The headers with another one, or another value of it."""
    return multidict.CIMultiDict(
        {**{key: text for key, text in headers.items() if key.lower() != name.lower()}, name: value}
    )


def altered(body: bytes, dice: random.Random) -> bytes:
    """The document with one value in it that is another, gone, twice or called otherwise; text is mutated."""
    try:
        document = json.loads(body)
    except ValueError:
        return in_csv(body, dice) if body[:1] == b'"' else next(mutations(body, 1, dice))
    places: dict[Any, list[tuple[Any, Any]]] = {}
    for holder, key in within(document):
        places.setdefault(key if isinstance(holder, dict) else "", []).append((holder, key))
    if not places:
        return json.dumps(dice.choice(VALUES)).encode()
    # Every name as often as any other, however often it is there.
    holder, key = dice.choice(places[dice.choice(list(places))])
    match dice.randrange(8):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, dict):
            holder[f"{key}_x"] = holder.pop(key)
        case 2 if isinstance(holder, list):
            holder.insert(key, holder[dice.randrange(len(holder))])
        case 3:
            holder[key] = {"0": holder[key]} if dice.random() < 0.5 else [holder[key]]
        case _:
            holder[key] = dice.choice(VALUES)
    return json.dumps(document).encode()


def within(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a document that holds something, as its holder and its key there."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(pairs):
        yield value, key
        yield from within(inner)


def in_csv(body: bytes, dice: random.Random) -> bytes:
    """A table with one cell that holds something else, or is gone, or is there twice."""
    rows = list(csv.reader(io.StringIO(body.decode(), newline="")))
    row = dice.choice(rows)
    at = dice.randrange(len(row))
    match dice.randrange(6):
        case 0:
            del row[at]
        case 1:
            row.insert(at, row[at])
        case 2:
            rows.append(row)
        case _:
            row[at] = str(dice.choice(VALUES))
    table = io.StringIO(newline="")
    csv.writer(table, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
    return table.getvalue().encode(errors="replace")


class Wire:
    """Between all clients and their servers: counts the answers, spoils the one that is due, remembers secrets."""

    def __init__(self) -> None:
        self.dice = random.Random()
        self.count = 0
        self.due = -1
        self.said: Said | None = None
        self.spoil: Callable[[str, client.Spool, random.Random], Said | None] = self._by_count
        self.secrets: set[str] = set()
        self.ports: set[int | None] = set()

    def begin(self, due: int = -1, seed: object = None) -> None:
        """The next run, whose answer of this number is spoilt."""
        self.count, self.due, self.said, self.secrets = 0, due, None, {PASSWORD}
        self.dice = random.Random(repr(seed))

    async def addresses(self, host: str, port: int) -> Sequence[str]:
        """The servers are here; a spoilt answer that names another one leads nowhere (`client.Gate`)."""
        if host != "127.0.0.1" or port not in self.ports:
            raise errors.Unavailable("nothing is asked of other hosts")
        return [host]

    def passed(self, ask: Any, shown: Mapping[str, str], spool: client.Spool) -> client.Spool:
        """The answer as it goes on."""
        asked = f"{ask.method} {ask.url.path_qs} {ask.body[:300].decode()}"
        for name in ("Authorization", "OAuth-Token", "Cookie"):
            self.secrets.add(re.sub(r"^(Bearer |ZM_AUTH_TOKEN=)", "", shown.get(name, "")))
        if re.search(r"password|oauth2/token|AuthRequest|method=login&", asked) and not ask.url.path.endswith("logout"):
            told = b"".join(spool.chunks()).decode(errors="replace")
            self.secrets |= {word for word in re.findall(r"[\w.!~-]{20,}", told) if re.search(r"\d", word)}
        self.count += 1
        said = self.spoil(asked, spool, self.dice)
        if said is None:
            return spool
        self.said = said
        spool._file.close()
        body: IO[bytes] = io.BytesIO(said.body)
        return client.Spool(said.status, said.headers, spool.url, body)

    def _by_count(self, asked: str, spool: client.Spool, dice: random.Random) -> Said | None:
        return spoilt(asked, spool, dice) if self.count - 1 == self.due else None


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    """In place; and nobody pauses."""
    made, read = Wire(), client.Client._read

    async def spoiling(self: client.Client, ask: Any, url: Any, headers: Mapping[str, str]) -> client.Spool:
        return made.passed(ask, headers, await read(self, ask, url, headers))

    async def at_once(self: Calls, ask: Any) -> Any:
        """As `Calls._patiently`, without its pauses."""
        for _ in range(2):
            with contextlib.suppress(bulk.answers.Passing):
                return await self._login.use(ask)
        return await self._login.use(ask)

    monkeypatch.setattr(client.Client, "_read", spoiling)
    monkeypatch.setattr(mishaps, "pause", lambda state: 0.0)
    monkeypatch.setattr(Calls, "_patiently", at_once)
    monkeypatch.setattr(bulk, "PAUSES", (0.0, 0.0))
    monkeypatch.setattr(soap, "_RATE", 0.0)
    before = client.GATE.set(made)
    yield made
    client.GATE.reset(before)


# The CRMs


@dataclass
class Stand:
    """A CRM that serves: `tables` are the keys by which it is read, `lists` finds the questions for ids."""

    kind: str
    tables: Sequence[Mapping[str, Any]]
    lists: re.Pattern[str]
    ports: set[int | None]
    before: Callable[[], object] = lambda: None
    """Puts the CRM where a full run begins."""
    between: Callable[[], object] = lambda: None
    """Changes something before the reading by cursor."""

    def source(self, table: Mapping[str, Any]) -> Any:
        """A source of these keys."""
        given = {"users": True, "timeout": "5s", **table}
        return sources.load(self.kind, "crm", keys.SOURCES[self.kind].model_validate(given))


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


@asynccontextmanager
async def sugarcrm() -> AsyncIterator[Stand]:
    server = SugarServer("bridge", PASSWORD)
    server.now, server.cap = NOON, 3
    firm = server.put("Accounts", {"id": "a1", "name": "Weber & Fils", "phone_office": "+352 26 00 10 00"})
    for n in range(4):
        mail = [{"email_address": f"c{n}@example.com", "primary_address": True}]
        more = {"account_id": firm, "tag": ["vip"], "email": mail, "primary_address_city": "Luxembourg"}
        server.put("Contacts", {"id": f"c{n}", "last_name": PERSON, "phone_work": f"26 00 10 0{n}", **more})
        server.tick(1)
    server.put("Leads", {"id": "l1", "last_name": PERSON, "phone_mobile": "621 000 001"})
    server.put("Leads", {"id": "l2", "last_name": PERSON, "converted": True})
    server.delete("Contacts", server.put("Contacts", {"id": "gone", "last_name": PERSON}))
    server.put("Users", {"id": "u1", "last_name": "A", "status": "Active", "employee_status": "Active",
                         "phone_work": "201", "email": ["a@example.com"]})  # fmt: skip
    async with server.serve() as url:
        tables = [{**server.table(url), "fields": {"Title": "title"}}, {**server.table(url), "modules": ["Contacts"]}]
        yield Stand("sugarcrm", tables, re.compile(r"/filter"), {port_of(url)})


@asynccontextmanager
async def suitecrm() -> AsyncIterator[Stand]:
    server = SuiteCrm("bridge", PASSWORD)
    server.store.now = NOON
    firm = server.put("Accounts", {"name": "Weber & Fils", "phone_office": "26 00 10"})
    for n in range(4):
        more = {"account_id": firm, "email1": f"c{n}@example.com", "primary_address_city": "Luxembourg"}
        server.put("Contacts", {"id": f"c{n}", "last_name": PERSON, "phone_work": f"26 00 10 0{n}", **more})
    server.put("Leads", {"id": "l1", "last_name": PERSON, "phone_mobile": "621 000 001"})
    server.delete("Contacts", server.put("Contacts", {"id": "gone", "last_name": PERSON}))
    server.put("Users", {"last_name": "Thill", "status": "Active", "phone_work": "312"})
    async with server.serve() as url:
        tables = [{**server.table(url), "fields": {"Title": "title"}}, {**server.table(url), "modules": ["Contacts"]}]
        lists = re.compile(r"method=get_(entr|relationships)")
        yield Stand("suitecrm", tables, lists, {port_of(url)})


@asynccontextmanager
async def salesforce() -> AsyncIterator[Stand]:
    org = Org()
    org.now = NOON
    org.log_began = NOON - datetime.timedelta(days=30)
    app = {"client_id": "3MVG9", "client_secret": PASSWORD}
    user = {"username": "phones@example.com", "password": PASSWORD, "security_token": "tok3n"}
    server = SalesforceServer(org, **app, **user)
    server.bulk_page = 3
    firm = org.put("Account", {"Name": "Acme", "Phone": "+352 26 1"})
    for n in range(4):
        more = {"AccountId": firm, "Email": f"c{n}@example.com", "MailingCity": "Luxembourg"}
        org.put("Contact", {"FirstName": "Ann", "LastName": PERSON, "Phone": f"+352 26 00 10 0{n}", **more})
    org.put("Lead", {"LastName": PERSON, "Company": "Prospect", "MobilePhone": "+352 621 1"})
    org.put("User", {"LastName": "User", "Extension": "21", "UserType": "Standard"})
    binned, purged = (org.put("Contact", {"LastName": PERSON}) for _ in range(2))
    org.now = NOON + datetime.timedelta(minutes=2)
    org.delete(binned)
    org.delete(purged, hard=True)

    def at(**after: float) -> None:
        org.now = NOON + datetime.timedelta(**after)

    async with server.serve() as url:
        alone = {"objects": ["Contact"]}
        logins: list[dict[str, Any]] = [
            app,
            {"login": "password", **app, **user, **alone},
            {"login": "soap", **user, **alone},
        ]
        tables = [
            {"type": "salesforce", "url": url, **login, "bulk_from": bulk_from, "quota": 100}
            for login in logins
            for bulk_from in (1, 10_000)
        ]
        lists = re.compile(r"/query(All)?/|/results|/queryAll|/deleted/")
        ports: set[int | None] = {port_of(url), port_of(server.instance_url)}
        yield Stand(
            "salesforce", tables, lists, ports,
            before=lambda: at(seconds=90), between=lambda: at(minutes=4),
        )  # fmt: skip


@asynccontextmanager
async def zimbra() -> AsyncIterator[Stand]:
    server = ZimbraServer("phones@example.com", PASSWORD)
    box = server.mailbox
    ids = [
        box.put(
            {
                "firstName": "Ann",
                "lastName": PERSON,
                "workPhone": f"+352 26 00 10 0{n}",
                "workCity": "Luxembourg",
                "email": f"c{n}@example.com",
                "workPhone4": ["26 00 10 12", "26 00 10 13"],
            }
        )
        for n in range(4)
    ]
    owner = server.accounts.add("kunden@example.com").mailbox
    folder = owner.make_folder("Kunden")
    owner.put({"lastName": PERSON, "workPhone": "+352 26 00 11 00"}, folder)
    owner.share(folder, box)
    box.link("Kunden", owner, folder)
    server.gal.put("gal:1", fullName=f"Anna {PERSON}", email="a@example.com", workPhone="312")
    late: list[int] = []

    def before() -> None:
        while late:
            box.delete(late.pop())
        late.append(box.put({"lastName": PERSON}))

    def between() -> None:
        box.delete(late.pop())
        box.update(ids[0], jobTitle=str(len(server.calls)))

    async with server.serve() as url:
        tables = [{**server.table(url), **more} for more in ({}, {"folders": ["*"], "gal": True})]
        # A folder that is not named any more is one that is not read.
        lists = re.compile(r"SyncRequest|GetContactsRequest|Gal|GetFolderRequest|SearchRequest")
        yield Stand("zimbra", tables, lists, {port_of(url)}, before=before, between=between)


CRMS = {"salesforce": salesforce, "sugarcrm": sugarcrm, "suitecrm": suitecrm, "zimbra": zimbra}


# The runs


class Way(NamedTuple):
    """A way to run: by which keys, with a check before it, with the users after the full reading."""

    table: int
    check: bool
    users: bool


@dataclass
class Ended:
    """How a run ended: what it read, and the refusals on the way."""

    full: Mirror | None = None
    whole: bool = False
    named: set[str] = field(default_factory=set)
    refusals: list[errors.BridgeError] = field(default_factory=list)


async def ran(stand: Stand, way: Way) -> Ended:
    """A check, a full reading, the users, a reading by cursor: whatever of it comes to its end."""
    ended = Ended()
    stand.before()
    source = stand.source(stand.tables[way.table])
    try:
        if way.check:
            line = await source.check()
            assert len(line) < 2000, "a line that is longer"
        ended.full = await read(source, None, ended)
        ended.whole = ended.full.complete
        if way.users:
            for user in await source.users():
                assert msgspec.convert(msgspec.to_builtins(user), contact.User) == user
        stand.between()
        await read(source, ended.full, ended)
    except errors.BridgeError as refusal:
        ended.refusals.append(refusal)
    finally:
        await source.close()
    return ended


async def read(source: Any, held: Mirror | None, ended: Ended) -> Mirror:
    """One reading, and what it hands on looked at as those who store it will."""
    mirror, last = held or Mirror(), None
    async for page in source.read(mirror.cursor, mirror.known):
        assert last is None or last.cursor is None, "a page after the last one"
        last = page
        for record in page.records:
            storable(record)
            mirror.records[record.id], mirror.versions[record.id] = record, record.version
        for bad in page.unreadable:
            assert isinstance(bad.id, str)
            assert isinstance(bad.reason, str)
        assert all(isinstance(id, str) for id in (*page.removed, *page.kept, *page.spared))
        for note in page.notes:
            assert PASSWORD not in note
        if held is None:
            ended.named |= {each.id for each in (*page.records, *page.unreadable)} | set(page.kept)
    assert last is not None
    assert last.cursor is not None, "a run without an end"
    mirror.cursor = orjson.loads(orjson.dumps(dict(last.cursor)))
    mirror.complete = last.complete and not last.withheld
    return mirror


def storable(record: contact.Record) -> None:
    """A record of the kinds that it is declared to hold, from which a contact can be made."""
    plain = msgspec.to_builtins(record, builtin_types=(datetime.datetime,))
    assert msgspec.convert(plain, contact.Record) == record
    if record.modified is not None:
        assert record.modified.tzinfo is not None
        record.modified.astimezone(datetime.UTC)
    assert record.id
    contact.digest(record, RULES)
    held = normalise.normalise(record, "crm", "LU")
    contact.names_sum(held)
    contact.dump(held)


def wrong(stand: Stand, wire: Wire, ended: Ended, there: set[str]) -> str:
    """What a run did that no run may do; "" where it did well."""
    for refusal in ended.refusals:
        text = str(refusal)
        if len(text) >= 500:
            return f"a message of {len(text)} characters: {text[:200]}…"
        if any(secret in text for secret in wire.secrets if secret) or PERSON in text:
            return f"a message that gives something away: {text}"
    assert wire.said is not None
    listed = stand.lists.search(wire.said.asked)
    if ended.whole and (not listed or wire.said.how == "cut") and (lost := there - ended.named):
        return f"a complete run that lost {sorted(lost)}"
    return ""


def told(fault: BaseException) -> str:
    """The kind of an exception, and the last place of bridge's or of this file's that it went through."""
    frames = [each for each in traceback.extract_tb(fault.__traceback__) if "/site-packages/" not in each.filename]
    own = [each for each in frames if "/bridge/" in each.filename] or frames
    where = f"{own[-1].filename.rpartition('/bridge/')[2]}:{own[-1].lineno} in {own[-1].name}" if own else "nowhere"
    return f"{type(fault).__name__}({str(fault)[:120]}) at {where}"


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("kind", list(CRMS))
async def test_a_run_with_one_spoilt_answer_ends_well_or_is_refused(kind: str, part: int, wire: Wire) -> None:
    dice = random.Random(f"{kind} {part}")
    found: dict[str, list[Said | None]] = {}
    outcomes: Counter[str] = Counter()
    async with CRMS[kind]() as stand:
        wire.ports = stand.ports
        there, sizes = await sound(stand, wire)
        done = 0
        while done < TIMES // PARTS:
            way = Way(dice.randrange(len(stand.tables)), *dice.choice(EXTRAS))
            wire.begin(dice.randrange(sizes[way]), dice.random())
            began, bad = time.process_time(), ""
            try:
                async with asyncio.timeout(60):
                    ended = await ran(stand, way)
                bad = wrong(stand, wire, ended, there[way.table]) if wire.said else ""
                outcomes[type(ended.refusals[0]).__name__ if ended.refusals else "well"] += 1
            except Exception as fault:
                bad = told(fault)
            if (took := time.process_time() - began) > SECONDS:
                bad = bad or f"{took:.1f} s of CPU"
            if bad:
                found.setdefault(bad, []).append(wire.said)
            done += wire.said is not None
    lines = [f"{len(which)} times {bad}\n    {min(map(str, which), key=len)}" for bad, which in sorted(found.items())]
    assert not found, f"{sum(map(len, found.values()))} of {done}\n" + "\n".join(lines)
    assert outcomes["well"] > 10
    assert outcomes["Unavailable"] > 10


async def sound(stand: Stand, wire: Wire) -> tuple[dict[int, set[str]], dict[Way, int]]:
    """What a run with nothing spoilt reads by each table, and how many answers one of each way has."""
    there: dict[int, set[str]] = {}
    sizes: dict[Way, int] = {}
    for way in (Way(table, *more) for table in range(len(stand.tables)) for more in EXTRAS):
        wire.begin()
        ended = await ran(stand, way)
        assert not ended.refusals
        assert ended.whole
        assert ended.full is not None
        # What is made for the run by cursor bears another id each time.
        there[way.table] = there.get(way.table, ended.named) & ended.named
        sizes[way] = wire.count
    assert all(len(ids) > 2 for ids in there.values())
    return there, sizes


def deep(opening: bytes, closing: bytes) -> bytes:
    """Three thousand of these within each other."""
    return opening * 3000 + b"1" + closing * 3000


ANSWERS: list[tuple[str, str, int, str | bytes, Any]] = [
    ("salesforce", r"/oauth2/token", 200, "access_token", "a\r\nb"),
    ("salesforce", r"/oauth2/token", 200, "access_token", "a\0b"),
    ("salesforce", r"/oauth2/token", 200, "instance_url", "http://[::1"),
    ("salesforce", r"/oauth2/token", 200, "instance_url", "http://127.0.0.1:99999"),
    ("salesforce", r"/Soap/", 200, rb"<serverUrl>.*</serverUrl>", b"<serverUrl>http://[::1</serverUrl>"),
    ("salesforce", r"/Soap/", 200, rb"<sessionId>.*</sessionId>", b"<sessionId>a&#10;b</sessionId>"),
    ("salesforce", r"/query/", 400, b"", b'[{"errorCode":"a","message":"b","fields":7}]'),
    ("salesforce", r"/query/", 400, b"", b'[{"errorCode":"a","message":"b","fields":{"a":[null]}}]'),
    ("salesforce", r"/queryAll/", 200, "SystemModstamp", "0001-01-01T00:00:00+23:59"),
    ("salesforce", r"/queryAll/", 200, "SystemModstamp", "9999-12-31T23:59:59-23:59"),
    ("salesforce", r"/deleted/", 200, "latestDateCovered", "0001-01-01T00:00:00+23:59"),
    ("sugarcrm", r"oauth2/token", 200, "access_token", "a\0b"),
    ("sugarcrm", r"oauth2/token", 200, "access_token", "a\r\nb"),
    ("sugarcrm", r"oauth2/token", 200, "expires_in", -5),
    ("sugarcrm", r"Contacts/filter ", 200, "account_id", ["a"]),
    ("sugarcrm", r"Contacts/filter ", 200, "account_id", {"a": 1}),
    ("sugarcrm", r"Contacts/filter ", 200, "date_modified", "0001-01-01T00:00:00+23:59"),
    ("sugarcrm", r"Contacts/filter ", 200, "date_modified", "9999-12-31T23:59:59-23:59"),
    ("sugarcrm", r"Contacts/filter ", 400, b"", b'{"error":"' + LONG + b'"}'),
    ("sugarcrm", r"Contacts/filter ", 422, b"", b'{"error":"missing","error_message":{"' + LONG + b'":1}}'),
    ("sugarcrm", r"filter/count", 200, "record_count", "x" * 5000),
    ("suitecrm", r"get_server_info", 200, b"", b'{"gmt_time":"' + b"x" * 5000),
    ("suitecrm", r"get_server_info", 200, "gmt_time", "0001-01-01 00:00:00"),
    ("suitecrm", r"get_server_info", 200, "gmt_time", "9999-12-31 23:59:59"),
    ("suitecrm", r"method=login&", 200, b"", b'{"id":"' + b"x" * 5000),
    ("suitecrm", r"get_module_fields", 200, b"", b'{"module_fields":"' + b"x" * 5000),
    ("suitecrm", r"get_entry_list", 200, b"", b'{"name":"a","number":"' + LONG + b'"}'),
    ("suitecrm", r"get_entry_list", 200, b"", deep(b'{"a":', b"}")),
    ("suitecrm", r"get_entry_list", 200, "date_modified", {"value": ["a"]}),
    ("zimbra", r"AuthRequest", 200, "lifetime", 10**400),
    ("zimbra", r"SyncRequest", 200, b"", deep(b'{"Body":', b"}")),
    ("zimbra", r"SyncRequest", 200, b"", b'{"Body":{"SyncResponse":' + deep(b'{"cn":', b"}") + b"}}"),
    ("zimbra", r"GetContactsRequest", 500, b"", b'{"Body":{"Fault":' + deep(b"[", b"]") + b"}}"),
    ("zimbra", r"GetContactsRequest", 200, "md", 10**400),
    ("zimbra", r"GetContactsRequest", 200, "workPhone", 10**400),
    ("zimbra", r"GetContactsRequest", 200, rb'"m?d": ?\d+', b'"d":' + b"9" * 400),
    ("zimbra", r'"cn":\[\{"id"', 200, rb'"id": ?"\d+",', b""),
]
"""Answers that have harmed, or nearly: whose, to which question, its status, what is in the place of what."""


@pytest.mark.parametrize(("kind", "question", "status", "old", "new"), ANSWERS, ids=lambda each: repr(each)[:30])
async def test_answers_that_have_harmed_are_read_or_refused(
    kind: str, question: str, status: int, old: str | bytes, new: Any, wire: Wire
) -> None:
    def spoil(asked: str, spool: client.Spool, dice: random.Random) -> Said | None:
        if not re.search(question, asked):
            return None
        body = b"".join(spool.chunks())
        if old == b"":
            body = new
        elif isinstance(old, bytes):
            body = re.sub(old, lambda _: new, body)
        else:
            document = json.loads(body)
            for holder, key in within(document):
                if key == old:
                    holder[key] = new
            body = json.dumps(document).encode()
        return Said(asked, "told", status, spool.headers, body)

    wire.spoil = spoil
    async with CRMS[kind]() as stand:
        wire.ports = stand.ports
        met = False
        for table in range(len(stand.tables)):
            for more in EXTRAS:
                wire.begin()
                async with asyncio.timeout(60):
                    ended = await ran(stand, Way(table, *more))
                if wire.said:
                    met = True
                    assert not wrong(stand, wire, ended, set())
        assert met
