"""The admin's page over HTTP: what it shows, what may be done from it, and who may."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import html
import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
import web_pages
from listed import Listed, record
from web_pages import USERS, configured, eventful, serving

from bridge import approval, assembly, embedded, pace, store, sync
from bridge.config import Config
from bridge.recent import Recent
from bridge.store import Store
from bridge.web import MANY, SQL, pages, pictures, views, words

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HTML = {"Accept": "text/html"}
HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7*7 }}\u202e'
TENANT = 'region = "LU"\n[source.crm]\ntype = "file"\npath = "x.vcf"\n'


@pytest.fixture
async def told(tmp_path: Path) -> Config:
    return configured(tmp_path)


@contextlib.asynccontextmanager
async def asking(
    db: Store, told: Config, recent: Recent | None = None, user: str = ""
) -> AsyncIterator[aiohttp.ClientSession]:
    headers = {**HTML, **({"Authorization": basic(user)} if user else {})}
    async with serving(db, told, recent) as (url, _), aiohttp.ClientSession(url, headers=headers) as session:
        yield session


def basic(user: str) -> str:
    return "Basic " + base64.b64encode(user.encode()).decode()


async def got(session: aiohttp.ClientSession, path: str, status: int = 200, **more: Any) -> str:
    async with session.get(path, **more) as reply:
        text = await reply.text()
        assert reply.status == status, text
        return text


def said(page: str) -> str:
    """The text of <main> as people read it, with single blanks."""
    main = page[page.index("<main") : page.index("</main>")]
    main = re.sub(r"</?(?:a|code|span|strong|time)\b[^>]*>", "", main)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", main)).split())


def hidden(page: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert found, name
    return found[1]


async def sent(session: aiohttp.ClientSession, path: str, form: dict[str, str], **headers: str) -> tuple[int, str]:
    """The status and text of what a form leads to, its redirect followed by hand."""
    async with session.post(path, data=form, headers=headers, allow_redirects=False) as reply:
        if reply.status != 303:
            return reply.status, said(await reply.text())
        assert reply.headers["Cache-Control"] == "no-store"
        return 303, said(await got(session, reply.headers["Location"]))


class Structure(HTMLParser):
    """Elements and attributes of a page, as a browser would find them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]


async def test_a_day_at_a_glance(db: Store, told: Config) -> None:
    recent = Recent()
    await eventful(db, told, recent)
    async with asking(db, told, recent) as session:
        page = await got(session, "/")
        text = said(page)
        for want in (
            "No process works on this database",
            "partners cannot be read. See partners",
            "crm: losses are held. See what would go",
            "pbx does not take some entries.",
            "Contacts 17",
            "Losses held 14",
            "Refused 3",
            "held: 14 of 16 contacts would be lost",
            "Failing since 2 h ago, 24 runs in a row: partners.vcf: there is no such file",
            "pbx ccm refuses some",
            "Unreadable 1 record",
        ):
            assert want in text, want
        assert '<svg class="lane added"' in page
        assert re.search(r'aria-label="2\d\d runs in 24 hours: [^"]+ changed, [^"]+ failed"', page)


async def test_every_page_is_whole_and_needs_no_script(db: Store, told: Config) -> None:
    recent = Recent()
    await eventful(db, told, recent)
    async with asking(db, told, recent) as session:
        for path in [*views.PAGES, "/source?name=crm", "/lookup?number=26001001", "/nowhere"]:
            async with session.get(path) as reply:
                page = await reply.text()
                assert reply.status == (404 if path in ("/nowhere", "/source") else 200), page
                assert reply.headers["Content-Security-Policy"] == POLICY
                assert reply.headers["X-Content-Type-Options"] == "nosniff"
                assert reply.headers["Referrer-Policy"] == "no-referrer"
                assert reply.headers["Cache-Control"] == "no-store"
                assert reply.headers["Content-Type"] == "text/html; charset=utf-8"
            found = Structure(page)
            assert [found.tags.count(tag) for tag in ("h1", "main", "nav", "style")][:2] == [1, 1]
            assert "style" not in found.tags
            assert found.tags.count("table") == found.tags.count("caption")
            assert not [one for one in found.attributes if one[1] == "style" or one[1].startswith("on")]
            assert [value for tag, name, value in found.attributes if (tag, name) == ("script", "src")] == [
                pages.ASSETS["web.js"].path
            ]


async def test_files_of_the_page_are_kept_by_browsers_and_change_their_path(db: Store, told: Config) -> None:
    async with asking(db, told) as session:
        for name, kind in (("web.css", "text/css"), ("web.js", "text/javascript"), ("icon.svg", "image/svg+xml")):
            async with session.get(pages.ASSETS[name].path) as reply:
                assert reply.status == 200
                assert reply.headers["Content-Type"].startswith(kind)
                assert "immutable" in reply.headers["Cache-Control"]
                assert reply.headers["X-Content-Type-Options"] == "nosniff"
        await got(session, "/static/web.css", 404)


async def test_what_was_shown_is_approved_and_nothing_else(db: Store, told: Config) -> None:
    await assembly.enrol(db, told)
    await web_pages.hold(db, told, 14)
    job = assembly.job(told.tenants["default"], "crm")
    async with asking(db, told) as session:
        page = await got(session, "/held")
        assert "crm: 14 losses" in said(page)
        assert "Person 004 the contact would go c004" in said(page)
        form = {name: hidden(page, name) for name in ("token", "source", "mark")}
        # Another run wants less: what was shown is no longer what would go.
        survivors = [record(f"c{n:03}", f"Person {n:03}", f"+352 621 {n:06}") for n in range(3)]
        await sync.run(db, job, Listed(*survivors), full=True)
        status, text = await sent(session, "/approve", form)
        assert (status, "has changed since you saw it: nothing was done" in text) == (303, True)
        assert len(await approval.held(db, "default", "crm")) == 13
        form["mark"] = hidden(await got(session, "/held"), "mark")
        status, text = await sent(session, "/approve", form)
        assert (status, "crm: 13 removed, 0 changed." in text, "Nothing is held." in text) == (303, True, True)
        assert await db.value("select count(*) from contact") == 3
        status, text = await sent(session, "/approve", form)
        assert "has changed since you saw it" in text


async def test_an_approval_waits_for_a_run_and_nobody_for_it(db: Store, told: Config) -> None:
    await assembly.enrol(db, told)
    await web_pages.hold(db, told, 14)
    async with serving(db, told, patience=0.2) as (url, _), aiohttp.ClientSession(url) as session:
        page = await got(session, "/held")
        form = {name: hidden(page, name) for name in ("token", "source", "mark")}
        async with store.locked(db, "source", "default", "crm"):
            status, text = await sent(session, "/approve", form)
            assert (status, "A run of crm is under way" in text) == (303, True)
        async with asyncio.timeout(10):
            while "crm" in await held(session):
                await asyncio.sleep(0.05)
    assert await db.value("select count(*) from contact") == 2


async def held(session: aiohttp.ClientSession) -> str:
    return said(await got(session, "/held"))


async def test_a_long_list_of_losses_comes_in_pages(db: Store, told: Config) -> None:
    await assembly.enrol(db, told)
    await web_pages.hold(db, told, 130)
    async with asking(db, told) as session:
        page = await got(session, "/held")
        assert "Let all 130 losses go through" in said(page)
        assert page.count('data-label="Id"') == 100
        more = re.search(r'href="(/held\?[^"]*after=[^"]*)"', page)
        assert more
        rest = await got(session, more[1].replace("&amp;", "&"))
        assert rest.count('data-label="Id"') == 30
        assert hidden(rest, "mark") == hidden(page, "mark")


async def test_what_was_refused_is_tried_again(db: Store, told: Config) -> None:
    await eventful(db, told, Recent())
    async with asking(db, told) as session:
        page = await got(session, "/refused")
        for want in (
            "+352621999001 nobody pbx INVALID_NAME the Manager does not take this name 3 h ago",
            "CallFlow: Ann Lee",
        ):
            assert want in said(page)
        number = await db.value("select told -> 'call' ->> 'number' from workflow_call where state = 'failed'")
        assert number not in page
        assert number in said(await got(session, "/refused?numbers=1"))
        status, text = await sent(session, "/retry", {"token": hidden(page, "token")})
        assert (status, "3 entries will be tried again now." in text) == (303, True)
        assert "Nothing is refused." in text
        assert await db.value("select count(*) from entry where state = 'refused'") == 0
        _, text = await sent(session, "/retry", {"token": hidden(page, "token")})
        assert "There was nothing to try again." in text


async def test_a_lookup_is_explained(db: Store, told: Config) -> None:
    await eventful(db, told, Recent())
    async with asking(db, told) as session:
        text = said(await got(session, "/lookup", params={"number": "+352 26 00 10 01"}))
        assert "Ann Lee Nobody else has this number." in text
        assert "+35226001001" in text
        assert "this one counts" in text
        assert "pbx +35226001001 due Ann Lee nothing" in text
        assert "Nobody no contact" not in text
        assert "Nobody No contact has this number." in said(await got(session, "/lookup?number=99999999"))
        assert "This is no number." in said(await got(session, "/lookup?number=garbage%00%ff"))


async def test_callers_numbers_are_masked_until_asked_for(db: Store, told: Config) -> None:
    recent = Recent()
    await eventful(db, told, recent)
    recent.note("default", "41215522000", b'[{"name": "Zoe"}, {"name": "Yan"}]', 0.004)
    recent.note("default", "41215522001", b"x" * 9000, 0.004)
    recent.note("other", "41215529999", b"[]", 0.004)
    async with asking(db, told, recent) as session:
        page = await got(session, "/calls")
        text = said(page)
        assert "4121…00 Zoe and 1 more 4 ms" in text
        assert "4121…01 a long answer" in text
        assert "crm +352…11 Ann Lee done 00T9" in text
        assert "the contact is not there any more" in text
        assert 'href="https://crm.example.com/task/00T9" rel="noreferrer noopener"' in page
        for number in ("41215522000", "352621111111", "41215529999"):
            assert number not in page
        shown = await got(session, "/calls?numbers=1")
        assert "41215522000" in said(shown)
        assert "+352621111111" in said(shown)
        assert "41215529999" not in shown


async def test_phone_books_accounts_and_devices(db: Store, told: Config) -> None:
    await eventful(db, told, Recent())
    await db.execute("update source set read_at = null where name = 'partners'")
    for n in range(60):
        await web_pages.account(db, f"user{n:02}")
    async with asking(db, told) as session:
        page = await got(session, "/phones")
        text = said(page)
        assert "Staff /phonebook/staff .json .xml .txt .csv .vcf crm, partners not whole never read: partners" in text
        assert "phones, every account" in text
        assert "They fetch what they need at /provisioning" in text
        assert "ann Ann Lee 101 active" in text
        assert "4f0c-iphone was given 1 SIP account" in text
        more = re.search(r'href="(/phones\?after=[^"]*)"', page)
        assert more
        rest = said(await got(session, more[1]))
        assert "user59" in rest
        assert "user00" not in rest
        assert "phones-password" not in page


async def test_one_source_closely(db: Store, told: Config) -> None:
    await eventful(db, told, Recent())
    async with asking(db, told) as session:
        text = said(await got(session, "/source?name=office"))
        assert "cards/17.vcf line 3 is no property" in text
        assert 'the field "Mobile__c" may not be seen by this login' in text
        assert "failed 0.3 s 4 000" in text
        assert "There is no source" in said(await got(session, "/source?name=nosuch", 404))


async def test_names_that_others_chose_are_text_and_short(db: Store, told: Config) -> None:
    recent = Recent()
    await assembly.enrol(db, told)
    long = HOSTILE + "x" * 5000
    await sync.run(
        db,
        assembly.job(told.tenants["default"], "crm"),
        Listed(record(HOSTILE, long, "+352 621 999 001", contact_url="javascript:alert(1)")),
    )
    pk = await db.value("select pk from contact")
    await web_pages.refuse(db, "+352621999001", HOSTILE, long, pk)
    await web_pages.workflow(db, "k", "failed", name=long, reason=long, url="javascript:alert(3)")
    await web_pages.workflow(db, "d", "done", name=long, url="javascript:alert(3)")
    await web_pages.account(db, HOSTILE, long, first=long)
    await db.execute("update source set error = $1, notes = array[$1], failures = 1", long)
    await db.execute("update run set error = $1", long)
    await db.execute("insert into unreadable values ('default', 'crm', $1, '', $1)", long[:800])
    await db.execute(
        "insert into held (tenant, source, id, loss, since) values ('default', 'crm', $1, 'removed', now())", HOSTILE
    )
    recent.note("default", HOSTILE, b'[{"name": "<script>alert(1)</script>"}]', 0.1)
    paths = [*views.PAGES, "/source?name=crm", "/calls?numbers=1", "/lookup?number=%2B352621999001"]
    hostile = quote(HOSTILE)
    paths += [f"/lookup?number={hostile}", f"/source?name={hostile}", f"/?tenant={hostile}", f"/?note={hostile}"]
    async with asking(db, told, recent) as session:
        for path in paths:
            async with session.get(path) as reply:
                page = await reply.text()
            assert reply.status in (200, 404), path
            found = Structure(page)
            assert found.tags.count("script") == 1, path
            assert "x" * 2100 not in page, path
            assert "\u202e" not in page, path
            assert "49" not in re.findall(r"&gt;(\d+)", page)
            assert not [a for a in found.attributes if a[1].startswith("on") or a[2].lower().startswith("javascript:")]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 303),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "null"}, 303),
        ({"Origin": "null"}, 303),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "none"}, 403),
        ({"Origin": "https://evil.example.com"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
    ],
)
async def test_forms_of_other_sites_do_nothing(db: Store, told: Config, headers: dict[str, str], status: int) -> None:
    await eventful(db, told, Recent())
    async with asking(db, told) as session:
        token = hidden(await got(session, "/refused"), "token")
        assert (await sent(session, "/retry", {"token": token}, **headers))[0] == status
        assert await db.value("select count(*) from entry where state = 'refused'") == (0 if status == 303 else 2)


async def test_a_token_is_of_one_process_and_one_user(db: Store, tmp_path: Path) -> None:
    told = configured(tmp_path, USERS)
    await eventful(db, told, Recent())
    async with asking(db, told, user="second:other") as session:
        foreign = hidden(await got(session, "/refused"), "token")
    async with asking(db, told, user="admin:open-sesame") as session:
        own = hidden(await got(session, "/refused"), "token")
        other = {"Authorization": basic("second:other")}
        assert own != foreign
        for token in ("", "x", "ö" * 64, foreign):
            status, text = await sent(session, "/retry", {"token": token})
            assert (status, "too old" in text) == (403, True)
        assert (await sent(session, "/retry", {"token": own}, **other))[0] == 403
        assert (await sent(session, "/retry", {}))[0] == 403
        assert (await sent(session, "/approve", {"source": "crm"}))[0] == 403
        assert await db.value("select count(*) from entry where state = 'refused'") == 2
        assert (await sent(session, "/retry", {"token": own}))[0] == 303


async def test_a_password_is_asked_for_wherever_there_are_users(db: Store, tmp_path: Path) -> None:
    told = configured(tmp_path, USERS)
    await eventful(db, told, Recent())
    async with asking(db, told) as session:
        for path in [*views.PAGES, "/nowhere"]:
            async with session.get(path) as reply:
                page = await reply.text()
                assert reply.status == 401
                assert reply.headers["WWW-Authenticate"].startswith("Basic ")
                assert reply.headers["Content-Security-Policy"] == POLICY
            assert "Person" not in page
            assert 'name="token"' not in page
        async with session.post("/retry", data={}) as reply:
            assert reply.status == 401
        right = {"Authorization": basic("admin:open-sesame"), "Host": "bridge.example.com"}
        assert "Logged in as admin." in await got(session, "/", headers=right)
        wrong = {"Authorization": basic("admin:wrong")}
        assert [(await session.get("/", headers=wrong)).status for _ in range(11)] == [401] * 10 + [429]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8081", 200),
        ("127.0.0.1", 200),
        ("[::1]:8081", 200),
        ("192.0.2.7:8081", 200),
        ("evil.example.com", 421),
        ("localhost.evil.example.com", 421),
        ("127.0.0.1.evil.example.com", 421),
        ("[::1", 421),
    ],
)
async def test_without_a_password_no_other_name_leads_here(db: Store, told: Config, host: str, status: int) -> None:
    async with asking(db, told) as session, session.get("/", headers={"Host": host}) as reply:
        assert reply.status == status


async def test_other_methods_and_paths(db: Store, told: Config) -> None:
    async with asking(db, told) as session:
        async with session.get("/approve") as reply:
            assert (reply.status, reply.headers["Allow"]) == (405, "POST")
        async with session.delete("/") as reply:
            assert (reply.status, reply.headers["Allow"]) == (405, "GET, HEAD")
        async with session.head("/") as reply:
            assert (reply.status, await reply.read()) == (200, b"")
        assert "There is nothing at this path." in said(await got(session, "/nowhere/else", 404))
        plain = await got(session, "/nowhere", 404, headers={"Accept": "*/*"})
        assert plain == '{"error":"there is nothing at this path"}'
        assert await got(session, "/health/live") == '{"live":true}'
        assert "There is no tenant" in said(await got(session, "/?tenant=nobody", 404))
        async with session.post("/retry", data=b"a=1&" * 40) as reply:
            assert reply.status == 400
        async with session.post("/retry", data=b"x" * 70_000) as reply:
            assert reply.status == 413


async def test_several_tenants_are_kept_apart(db: Store, tmp_path: Path) -> None:
    (tmp_path / "tenants").mkdir()
    for name in ("acme", "zeta"):
        (tmp_path / "tenants" / f"{name}.toml").write_text(TENANT)
    told = configured(tmp_path, above='tenants = "tenants/*.toml"')
    await eventful(db, told, Recent())
    await web_pages.hold(db, told, 12, tenant="acme")
    await web_pages.account(db, "walter", tenant="acme")
    async with asking(db, told) as session:
        text = said(await got(session, "/"))
        assert "3 tenants" in text
        assert "acme attention 14 crm 0 12 0" in text
        assert "zeta ok 0 crm 0 0 0" in text
        page = await got(session, "/held?tenant=acme")
        assert "crm: 12 losses" in said(page)
        assert "tenant=acme" in page
        assert "Nothing is held." in said(await got(session, "/held?tenant=zeta"))
        assert "walter" in await got(session, "/phones?tenant=acme")
        assert "walter" not in await got(session, "/phones?tenant=default")
        form = {name: hidden(page, name) for name in ("token", "source", "mark")}
        assert (await sent(session, "/approve", form))[0] == 400
        assert "has changed" in (await sent(session, "/approve", {**form, "tenant": "default"}))[1]
        assert (await sent(session, "/approve", {**form, "tenant": "nobody"}))[0] == 404
        status, text = await sent(session, "/approve", {**form, "tenant": "acme"})
        assert (status, "crm: 12 removed" in text) == (303, True)
        assert len(await approval.held(db, "default", "crm")) == 14


async def test_database_away_is_said_and_passes(tmp_path: Path) -> None:
    server = await embedded.open(tmp_path)
    db = Store(server.dsn)
    await store.migrate(db)
    await web_pages.refuse(db, "+352621999001", "INVALID_NAME", "")
    async with asking(db, configured(tmp_path)) as session:
        page = await got(session, "/refused")
        await server.close()
        for path in views.PAGES:
            if path != "/lookup":
                text = said(await got(session, path, 503))
                assert "The database is not there" in text
        assert "Look it up" in await got(session, "/lookup")
        assert (await sent(session, "/retry", {"token": hidden(page, "token")}))[0] == 503
        again = await embedded.open(tmp_path)
        async with asyncio.timeout(20):
            while (await session.get("/")).status != 200:
                await asyncio.sleep(0.05)
    await db.close()
    await again.close()


async def test_a_new_configuration_is_shown_at_once(db: Store, tmp_path: Path) -> None:
    told = configured(tmp_path)
    async with serving(db, told) as (url, web), aiohttp.ClientSession(url, headers=HTML) as session:
        assert "newcomer" not in await got(session, "/")
        web.told = configured(tmp_path, '[source.newcomer]\ntype = "file"\npath = "n.vcf"')
        assert "newcomer" in await got(session, "/")


async def test_a_page_reads_little_however_much_there_is(db: Store, told: Config) -> None:
    await assembly.enrol(db, told)
    await db.execute(
        "insert into entry (tenant, sink, number, state, since, due_at) select 'default', 'pbx', n::text,"
        " case when n < 12000 then 'due' when n < 24000 then 'refused' else 'clean' end, now(), now()"
        " from generate_series(1, 60000) n"
    )
    await db.execute("analyze entry")
    plan = "\n".join(row[0] for row in await db.fetch("explain " + SQL["sinks"], ["default"], ["pbx"], MANY))
    for index in ("entry_due", "entry_refused"):
        assert index in plan
    assert "Seq Scan on entry" not in plan
    async with asking(db, told) as session:
        text = said(await got(session, "/"))
        assert "Pushes waiting 10 000+" in text
        page = await got(session, "/refused")
        assert page.count('data-label="Code"') == 200
        assert "The first of each" in said(page)


async def test_lookups_are_remembered_for_a_while_and_a_few() -> None:
    now = 1000.0
    recent = Recent(most=3, clock=lambda: now)
    for n in range(5):
        recent.note("default", str(n), b"[]", 0.1)
    assert [one.asked for one in recent.of("default")] == ["4", "3", "2"]
    assert recent.of("other") == []
    now = 5000.0
    recent.note("default", "late", b"[]", 0.1)
    assert [one.asked for one in recent.of("default")] == ["late"]


def test_pace_of_a_source() -> None:
    assert pace.interval(300.0, 0, denied=False) == 300.0
    assert [pace.interval(300.0, n, denied=False) for n in (1, 2, 9)] == [5.0, 10.0, 300.0]
    assert [pace.interval(1.0, n, denied=True) for n in (1, 2, 99)] == [60.0, 120.0, 900.0]


def test_times_and_counts_in_words() -> None:
    assert [words.span(n) for n in (0, 0.25, 1, 59, 61, 200, 3600, 90000, 864000)] == [
        *("0 s", "250 ms", "1 s", "59 s", "1 min 1 s", "3 min", "1 h", "1 d 1 h", "10 d"),
    ]
    assert [words.seconds(n) for n in (0.0002, 0.0042, 0.5, 12.34, 360)] == [
        "under 1 ms",
        "4 ms",
        "0.5 s",
        "12.3 s",
        "6 min",
    ]
    assert [words.bounded(n) for n in (0, 1234, MANY)] == ["0", "1\u202f234", "10\u202f000+"]
    assert words.text("a\u202eb\nc" + "d" * 400, 10) == "a b cddddd…"
    assert [words.link(url) for url in ("https://a.example/", "javascript:x", "https://a b\n", "//x")] == [
        *("https://a.example/", "", "", ""),
    ]


def test_picture_of_runs() -> None:
    day = pictures.period("day")
    start = pictures.begin(day, web_pages.MOMENT)
    assert 0 <= (web_pages.MOMENT - start).total_seconds() - day.seconds + day.step <= day.step
    row = {"slot": 71, "runs": 2, "added": 100_000, "changed": 0, "removed": 3, "seconds": 42.0, "failed": 1}
    drawn = pictures.draw([row, {**row, "slot": 3, "added": 1, "failed": 0}, {**row, "slot": 99}], start, day)
    assert drawn.told == "4 runs in 24 hours: 100\u202f001 added, 0 changed, 6 removed, at most 42.0 s, 1 failed"
    assert drawn.lanes[0].bars == "M711 100v-100h8v100zM31 100v-10h8v10z"
    assert drawn.lanes[1].bars == ""
    assert drawn.failed == "M710 0h10v100h-10z"
    assert [moment.told for moment in drawn.moments] == [
        "31 Jan 12:20 UTC: 2 runs, 100\u202f000 added, 0 changed, 3 removed, at most 42.0 s, 1 failed",
        "30 Jan 13:40 UTC: 2 runs, 1 added, 0 changed, 3 removed, at most 42.0 s",
    ]
