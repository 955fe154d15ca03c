"""Two tenants of one daemon with the same names for all they have, and the same numbers: neither ever sees the other.

Whatever is acme's has "Acme" in it and zeta's has "Zeta", so that what must not be there can be looked for anywhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson
import pytest
import web_pages
from commands import Ran, environment
from daemons import Daemon, until
from served import Served, hold, parts, serving
from softphone import basic

from bridge import accounts, assembly, config, forgotten, sync
from bridge.accounts import giving, saving
from bridge.accounts.details import Change
from bridge.accounts.logins import Logins
from bridge.accounts.passwords import Passwords
from bridge.config import Config
from bridge.contact import RawNumber, Record
from bridge.demo.dav import Book, DavServer
from bridge.demo.manager import Manager
from bridge.keys import Secret
from bridge.lookup import Lookups
from bridge.pbxsync import apart
from bridge.server.connector import Guard
from bridge.server.desk import Desk
from bridge.server.errands import Errands
from bridge.server.peers import Throttle
from bridge.server.phonebook import Library
from bridge.store import Store

BOTH = ("acme", "zeta")
OTHER = {"acme": "zeta", "zeta": "acme"}
NUMBER = "+352621000001"
MANY = 100_000
"""Guesses that nobody is made to wait for: what is looked for here is what a guess comes to, and many are made."""
TENANT = """
region = "LU"
[source.crm]
type = "carddav"
url = "{url}"
username = "alice"
password = "dav-password"
every = "1s"
[sink.pbx]
type = "ccm"
url = "{manager}"
security_key = "{tenant}-key"
rate = 1000
[connector]
token = "{tenant}-token"
[connector.workflow.CallFlow]
action = "log-call"
source = "crm"
[phonebook.staff]
users = {{ phones = "{tenant}-password" }}
accounts = true
[provisioning]
[pbxsync]
allow = ["{allow}"]
"""
PERSON = f'{{"sipusername": "%s", "callerid": "{NUMBER}"}}'
NOWHERE = "http://127.0.0.1:9/"


def marked(tenant: str) -> str:
    return tenant.capitalize()


def others(tenant: str, said: str | bytes) -> bool:
    """Whether anything of the other tenant is in it."""
    text = said.decode(errors="replace") if isinstance(said, bytes) else said
    return marked(OTHER[tenant]) in text


def configured(folder: Path, urls: dict[str, str] | None = None, manager: str = NOWHERE, allow: str = "") -> Config:
    """A configuration with both, and the main file's own tenant, which has nothing."""
    (folder / "tenants").mkdir(exist_ok=True)
    for tenant in BOTH:
        url = (urls or {}).get(tenant, NOWHERE)
        allowed = allow or url.split("/")[2]
        text = TENANT.format(tenant=tenant, url=url, manager=manager, allow=allowed)
        (folder / "tenants" / f"{tenant}.toml").write_text(text)
        (folder / "tenants" / f"{tenant}.toml").chmod(0o600)
    (folder / "bridge.toml").write_text('tenants = "tenants/*.toml"\n')
    (folder / "bridge.toml").chmod(0o600)
    return config.load(folder / "bridge.toml")


async def filled(db: Store, tenant: str, name: str = "Ann {}", **more: str) -> None:
    """The same contact, by its id and its number, under another name; and more of them."""
    await db.execute("insert into source (tenant, name, rank) values ($1, 'crm', 0) on conflict do nothing", tenant)
    records = [
        Record(id, display_name=name.format(marked(tenant)), numbers=(RawNumber(number, "mobile"),))
        for id, number in {"1": NUMBER, **more}.items()
    ]
    await hold(db, "crm", *records, tenant=tenant)


async def accounted(db: Store, told: Config, tenant: str, password: str) -> None:
    """The same user, whose SIP account is the tenant's own."""
    passwords = Passwords()
    seal = await giving.seal(Secret(), told.state_dir, make=True)
    change = Change("ann", password, f"{marked(tenant)}-sip", {"sipusername": f"{marked(tenant)}-user"})
    await saving.save(db, tenant, [change], seal, passwords, {})
    passwords.close()


@pytest.fixture
async def served(db: Store, tmp_path: Path) -> AsyncIterator[Served]:
    """A server with both tenants' contacts and accounts."""
    told = configured(tmp_path)
    for tenant in BOTH:
        await filled(db, tenant)
        await accounted(db, told, tenant, f"{tenant}-login")
    desk = Desk(db, Throttle(most=3), Throttle(most=MANY), Logins(db))
    made = parts(db, Lookups(db), told)
    library = Library(made.library.shelf, desk, Throttle(most=MANY))
    library.names = Throttle(most=MANY)
    async with serving(db, told, desk=desk, library=library, guard=Guard(Throttle(most=MANY))) as served:
        yield served
    await library.shelf.close()


async def asked(port: int, *requests: str) -> list[bytes]:
    """The answers to requests that are sent exactly as they stand here, on one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answers = []
    try:
        for request in requests:
            writer.write(request.encode())
            async with asyncio.timeout(10):
                head = await reader.readuntil(b"\r\n\r\n")
                size = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
                answers.append(head + await reader.readexactly(0 if b" 304 " in head[:20] else size))
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    return answers


def get(path: str, **headers: str) -> str:
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: bridge", *lines, "", ""])


def post(path: str, body: Any, token: str) -> str:
    text = orjson.dumps(body).decode()
    head = (
        "POST",
        path,
        f"Content-Type: application/json\r\nX-Execution-Token: {token}\r\nContent-Length: {len(text)}",
    )
    return f"{head[0]} {head[1]} HTTP/1.1\r\nHost: bridge\r\n{head[2]}\r\n\r\n{text}"


def tricks(tenant: str, below: str) -> list[str]:
    """Ways to write the path of what is the other tenant's, or to come to it from one's own."""
    own, other = tenant, OTHER[tenant]
    return [
        f"/{other}{below}",
        f"/{other}{below}/",
        f"/{own}/../{other}{below}",
        f"/{own}/%2e%2e/{other}{below}",
        f"/{own}/%2E%2E%2F{other}{below}",
        f"/{own}%2f..%2f{other}{below}",
        f"/{own}/..%2f..%2f{other}{below}",
        f"/{own}{below}/../../../{other}{below}",
        f"/{own}/{other}{below}",
        f"//{other}{below}",
        f"/{other}/{below}",
        f"///{other}//{below}",
        f"/./{other}{below}",
        f"/{other.upper()}{below}",
        f"/{other.capitalize()}{below}",
        f"/%{ord(other[0]):02x}{other[1:]}{below}",
        f"/{other}{below.replace('/', '%2F')}",
        f"/{other}{below.replace('/', '%252F')}",
        f"/{other}{below}%00",
        f"/{other}{below};/{own}",
        f"/{other}%20{below}",
        f"/{other}.{below}",
        f"\\{other}{below}",
        f"http://bridge/{other}{below}",
        f"http://{own}/{other}{below}",
        below,
    ]


@pytest.mark.parametrize("tenant", BOTH)
async def test_no_path_leads_to_the_others_phone_book_in_any_format(served: Served, tenant: str) -> None:
    logins = {
        "Authorization": [basic("phones", f"{tenant}-password"), basic("ann", f"{tenant}-login")],
        "query": [f"?username=phones&password={tenant}-password", f"?username=ann&password={tenant}-login"],
    }
    endings = ("", ".json", ".xml", ".txt", ".csv", ".vcf")
    own, found = 0, 0
    for ending in endings:
        paths = [*tricks(tenant, f"/phonebook/staff{ending}"), f"/{tenant}/phonebook/staff{ending}"]
        for header in logins["Authorization"]:
            for path in paths:
                [said] = await asked(served.port, get(path, Authorization=header, Accept_Encoding="identity"))
                assert not others(tenant, said), path
                own += marked(tenant).encode() in said
        for query in logins["query"]:
            for path in paths:
                [said] = await asked(served.port, get(path + query))
                assert not others(tenant, said), path
        found += 1
    # What is one's own was read all the while, or nothing of this would mean anything.
    assert own >= 2 * found


async def test_an_edition_of_the_others_is_no_edition_of_ours(served: Served) -> None:
    tags = {}
    for tenant in BOTH:
        login = basic("phones", f"{tenant}-password")
        [said] = await asked(served.port, get(f"/{tenant}/phonebook/staff", Authorization=login))
        tags[tenant] = said.partition(b"ETag: ")[2].split(b"\r\n")[0].decode()
        packed = said.partition(b"\r\n\r\n")[2]
        assert marked(tenant) in (gzip.decompress(packed) if packed[:2] == b"\x1f\x8b" else packed).decode()
    assert tags["acme"] != tags["zeta"]
    for tenant in BOTH:
        login, tag = basic("phones", f"{tenant}-password"), tags[OTHER[tenant]]
        ours, theirs = await asked(
            served.port,
            get(f"/{tenant}/phonebook/staff", Authorization=login, If_None_Match=tag),
            get(f"/{OTHER[tenant]}/phonebook/staff", Authorization=login, If_None_Match=tag),
        )
        assert (ours[:15], theirs[:12]) == (b"HTTP/1.1 200 OK", b"HTTP/1.1 401")
        assert tag.encode() not in ours + theirs


async def test_a_number_is_answered_with_ones_own_contact_whoever_asked_before(served: Served, db: Store) -> None:
    def lookup(tenant: str, token: str, number: str = NUMBER[1:]) -> str:
        return post(f"/{tenant}/services/Lookup", {"inputs": {"phoneNumber": number}}, f"{token}-token")

    # On one connection and in turns: so that neither the lane nor the memory of answers may mix them up.
    turns = [*BOTH, *BOTH, "zeta", "acme"]
    for tenant, said in zip(turns, await asked(served.port, *(lookup(one, one) for one in turns)), strict=True):
        [one] = orjson.loads(said.partition(b"\r\n\r\n")[2])
        assert (one["name"], one["id"]) == (f"Ann {marked(tenant)}", "crm:1")
    for tenant in BOTH:
        for path in tricks(tenant, "/services/Lookup"):
            [said] = await asked(served.port, post(path, {"inputs": {"phoneNumber": NUMBER}}, f"{tenant}-token"))
            assert not others(tenant, said), path
        [said] = await asked(served.port, lookup(OTHER[tenant], tenant))
        assert said.startswith(b"HTTP/1.1 401")
    # What changes for one changes for that one.
    await filled(db, "acme", "Eve {}")
    async with asyncio.timeout(5):
        while b"Eve Acme" not in (await asked(served.port, lookup("acme", "acme")))[0]:
            await asyncio.sleep(0.02)
    assert b"Ann Zeta" in (await asked(served.port, lookup("zeta", "zeta")))[0]


async def test_softphones_are_given_their_own_accounts(served: Served, db: Store, tmp_path: Path) -> None:
    async def given(path: str, password: str, again: str = "false") -> Any:
        query = f"?username=ann&password={password}&reprovision={again}&deviceId=d1"
        [said] = await asked(served.port, get(path + query))
        return said

    for tenant in BOTH:
        own = await given(f"/{tenant}/provisioning", f"{tenant}-login")
        assert f"{marked(tenant)}-user" in own.decode()
        assert f"{marked(tenant)}-sip" in own.decode()
    # The same device: what one tenant gave it is nothing that the other gave it.
    assert b'"update":false' in await given("/acme/provisioning", "acme-login", "true")
    changed = Change("ann", None, "Acme-new-sip")
    passwords = Passwords()
    seal = await giving.seal(Secret(), config.load(tmp_path / "bridge.toml").state_dir)
    await saving.save(db, "acme", [changed], seal, passwords, {})
    passwords.close()
    assert b"Acme-new-sip" in await given("/acme/provisioning", "acme-login", "true")
    assert b'"update":false' in await given("/zeta/provisioning", "zeta-login", "true")
    # Another tenant's guesses lock nobody out, whatever path they take.
    for path in tricks("acme", "/provisioning"):
        assert not others("acme", await given(path, "acme-login")), path
    assert b"wait" in await given("/zeta/provisioning", "zeta-login")
    assert b"Acme-user" in await given("/acme/provisioning", "acme-login")
    assert [one.username for one in await accounts.listed(db, "zeta")] == ["ann"]


async def test_the_same_login_and_the_same_hash_give_each_tenant_its_own(db: Store, tmp_path: Path) -> None:
    told = configured(tmp_path)
    for tenant in BOTH:
        await accounted(db, told, tenant, "one-password")
    await db.execute("update account set login = (select min(login) from account)")
    async with serving(db, told) as served:
        for tenant in [*BOTH, *BOTH]:
            query = "?username=ann&password=one-password&reprovision=false&deviceId=d"
            [said] = await asked(served.port, get(f"/{tenant}/provisioning{query}"))
            assert not others(tenant, said)
            assert marked(tenant).encode() in said


def card(tenant: str, number: str = NUMBER) -> str:
    name = marked(tenant)
    lines = ("BEGIN:VCARD", "VERSION:3.0", f"FN:Ann {name}", f"N:{name};Ann;;;", f"TEL;TYPE=CELL:{number}", "END:VCARD")
    return "\r\n".join((*lines, ""))


def book(tenant: str) -> Book:
    """A book with a card at the same path for both."""
    made = Book("/dav/alice/staff/", "Staff")
    made.put("1.vcf", card(tenant))
    return made


def dav(kept: Book) -> DavServer:
    """A server with a book, whose user and password are the same for both."""
    return DavServer(kept, username="alice", password="dav-password")


async def test_helper_urls_reach_ones_own_servers_and_leave_out_ones_own_forgotten(db: Store, tmp_path: Path) -> None:
    def helper(tenant: str, url: str) -> str:
        return f"/{tenant}/pbxsync/alice?password=dav-password&server={quote(url, safe='')}"

    async with dav(book("acme")).serve() as at_acme, dav(book("zeta")).serve() as at_zeta:
        urls = {"acme": at_acme, "zeta": at_zeta}
        async with serving(db, configured(tmp_path, urls), errands=Errands(db, read=apart.here)) as served:
            for tenant in BOTH:
                own, other, *_ = [
                    *await asked(served.port, get(helper(tenant, urls[tenant]))),
                    *await asked(served.port, get(helper(tenant, urls[OTHER[tenant]]))),
                ]
                assert f"{NUMBER}:Ann {marked(tenant)}" in own.decode()
                assert other.startswith(b"HTTP/1.1 403")
        async with serving(
            db, configured(tmp_path, urls, allow="127.0.0.1"), errands=Errands(db, read=apart.here)
        ) as served:
            async with db.pooled() as connection:
                await forgotten.keep_out(connection, "acme", [NUMBER])
            # At once, and the very same: a reading is shared by those of one tenant alone.
            [ours], [theirs] = await asyncio.gather(
                *(asked(served.port, get(helper(tenant, at_zeta))) for tenant in BOTH)
            )
            assert (NUMBER in ours.decode(), NUMBER in theirs.decode()) == (False, True)


async def test_the_page_of_one_tenant_shows_nothing_of_another(db: Store, tmp_path: Path) -> None:
    told = configured(tmp_path)
    recent = parts(db, Lookups(db), told).guard.recent
    for tenant in BOTH:
        await filled(db, tenant)
        await web_pages.account(db, f"{marked(tenant)}-account", f"{marked(tenant)}-device", tenant=tenant)
        recent.note(tenant, f"{marked(tenant)}-number", orjson.dumps([{"name": f"Ann {marked(tenant)}"}]), 0.1)
        job = sync.Job(tenant, "crm", region="LU", rules=b"1")
        await db.execute(
            "update source set error = $2, notes = array[$2] where tenant = $1", job.tenant, marked(tenant)
        )
    pages = ("/", "/source?name=crm", "/held", "/refused", f"/lookup?number={quote(NUMBER)}", "/calls", "/phones")
    async with web_pages.serving(db, told, recent) as (url, _), aiohttp.ClientSession() as http:
        for tenant in BOTH:
            shown = ""
            for page in pages:
                more = f"{'&' if '?' in page else '?'}tenant={tenant}&numbers=1"
                async with http.get(url + page + more) as reply:
                    text = await reply.text()
                    assert reply.status == 200
                # The menu of tenants is everybody's who may see this page.
                assert not others(tenant, text), page
                shown += text
            for what in ("Ann {}", "{}-account", "{}-device", "{}-number"):
                assert what.format(marked(tenant)) in shown
        for name in ("ACME", "acme%00", "acme/../zeta", "%20acme", "nobody"):
            async with http.get(f"{url}/calls?tenant={name}") as reply:
                text = await reply.text()
                assert reply.status == 404 or not ("Acme" in text and "Zeta" in text), name


# Commands, and what works in the background


async def rows_of(db: Store, tenant: str) -> dict[str, list[str]]:
    """Everything that the database holds of a tenant."""
    tables = await db.fetch(
        "select table_name from information_schema.columns where column_name = 'tenant' and table_schema = 'public'"
    )
    return {
        name: sorted(str(dict(row)) for row in await db.fetch(f"select * from {name} where tenant = $1", tenant))
        for (name,) in tables
    }


COMMANDS = """
import contextlib, io, json, sys
from bridge.cli import main
for line in sys.stdin:
    sys.argv[1:] = json.loads(line)
    out, err, code = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            code = end.code
    out.flush()
    print(json.dumps([code or 0, out.buffer.getvalue().decode(), err.getvalue()]), flush=True)
"""
"""Commands one after the other, in a process that has loaded them once."""

DONE = (("status",), ("restore", "crm"), ("approve", "crm"), ("refused", "--retry"))
"""Those that name nobody."""
Run = Callable[..., Awaitable[Ran]]


@contextlib.asynccontextmanager
async def commands(home: Path) -> AsyncIterator[Run]:
    """What runs `bridge` with these words."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", COMMANDS),
        cwd=home,
        env=environment(),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin
    assert process.stdout
    stdin, stdout = process.stdin, process.stdout

    async def run(*words: str) -> Ran:
        stdin.write(orjson.dumps(words) + b"\n")
        async with asyncio.timeout(30):
            return Ran(*orjson.loads(await stdout.readline()))

    try:
        yield run
    finally:
        stdin.close()
        await process.wait()


async def test_commands_for_one_tenant_neither_show_nor_touch_another(db: Store, dsn: str, tmp_path: Path) -> None:
    manager = Manager(key="acme-key")
    async with contextlib.AsyncExitStack() as stack:
        url = await stack.enter_async_context(manager.serve())
        told = configured(tmp_path, manager=url)
        (tmp_path / "bridge.toml").write_text(f'tenants = "tenants/*.toml"\n[database]\nurl = "{dsn}"\n')
        for tenant in BOTH:
            await filled(db, tenant, gone="+352621000002", waits="+352621000003")
            await accounted(db, told, tenant, f"{tenant}-login")
        await assembly.enrol(db, told)
        for tenant in BOTH:
            await db.execute("update account set details = $2::json where tenant = $1", tenant, PERSON % marked(tenant))
            await filled(db, tenant, waits="+352621000003")
            await db.execute(
                "insert into held (tenant, source, id, loss, shown, since)"
                " values ($1, 'crm', 'waits', 'removed', true, now())",
                tenant,
            )
            await db.execute(
                "update entry set state = 'refused', code = 'INVALID_NAME', reason = $2"
                " where tenant = $1 and number = $3",
                *(tenant, f"{marked(tenant)} is no name", NUMBER),
            )
        before = await rows_of(db, "zeta")
        run = await stack.enter_async_context(commands(tmp_path))
        for words in (
            ("lookup", NUMBER),
            ("explain", NUMBER),
            ("export", "staff", "--format", "text"),
            ("account", "list"),
            ("refused",),
            ("approve", "crm", "--list"),
            ("status",),
            ("restore", "crm"),
            ("approve", "crm"),
            ("refused", "--retry"),
            ("forget", NUMBER),
        ):
            ran = await run(*words, "--tenant", "acme")
            assert (ran.code, others("acme", ran.out + ran.err)) == (0, False), ran
            # Those that show something showed what is acme's own, or this would mean nothing.
            assert ("Acme" in ran.out) == (words not in DONE), ran
            assert await rows_of(db, "zeta") == before, words
        assert sorted(manager.book()) == ["352621000002"]
        ran = await run("forget", NUMBER, "--tenant", "Zeta")
        assert (ran.code, "did you mean" in ran.err) == (2, True)
    assert await rows_of(db, "zeta") == before


async def test_a_workflow_writes_to_ones_own_crm_whatever_ids_are_guessed(tmp_path: Path, dsn: str, db: Store) -> None:
    books = {tenant: book(tenant) for tenant in BOTH}
    manager = Manager(key="acme-key")
    books["zeta"].put("2.vcf", card("zeta", "+352621000002"))
    async with contextlib.AsyncExitStack() as stack:
        urls = {tenant: await stack.enter_async_context(dav(kept).serve()) for tenant, kept in books.items()}
        url = await stack.enter_async_context(manager.serve())
        configured(tmp_path, urls, url)
        daemon = Daemon(tmp_path, url, dsn)
        daemon.config.write_text('tenants = "tenants/*.toml"\n' + daemon.config.read_text())
        daemon.write({0: "Main Tenant"})
        stack.push_async_callback(daemon.end)
        await daemon.start()
        await daemon.ready()
        await until(lambda: manager.book(), why="acme has been read")
        await until(
            lambda: db.value("select count(*) = 2 from contact where tenant = 'zeta'"), why="zeta has been read"
        )
        before = dict(books["zeta"].cards)
        ids = ("crm:/dav/alice/staff/1.vcf", "crm:/dav/alice/staff/2.vcf", "zeta/crm:/dav/alice/staff/2.vcf", "../zeta")

        async def pressed(n: int, id: str) -> bytes:
            call = {"contactCrmId": id, "originatorNumber": NUMBER, "startedTime": f"2026-01-0{n}T10:00:00Z"}
            [said] = await asked(daemon.http, post("/acme/services/CallFlow", {"inputs": call}, "acme-token"))
            return said

        told = await asyncio.gather(*(pressed(n, id) for n, id in enumerate(ids, 1)))
        assert all(said.startswith(b"HTTP/1.1 200") for said in told)
        assert b"1.vcf" in told[0]
        assert "NOTE" in str(books["acme"].cards["1.vcf"])
        assert books["zeta"].cards == before
        assert {row["tenant"] for row in await db.fetch("select tenant from workflow_call")} == {"acme"}
        [said] = await asked(daemon.http, post("/zeta/services/CallFlow", {"inputs": {}}, "acme-token"))
        assert said.startswith(b"HTTP/1.1 401")
