"""The admin's page in a real browser: Debian's chromium, which the machine must have."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import web_pages
from aiohttp import web
from listed import Listed, record
from playwright.async_api import Browser, Error, Page, async_playwright, expect
from web_pages import USERS, configured, eventful, serving

from bridge import assembly, sync
from bridge.config import Config
from bridge.recent import Recent
from bridge.store import Store
from bridge.web import pages

PATHS = ["/", "/held", "/refused", "/lookup?number=26001001", "/calls", "/phones", "/source?name=office", "/nowhere"]
CONTRAST = (Path(__file__).parent / "data" / "contrast.js").read_text()


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    found = shutil.which("chromium")
    assert found, "chromium is missing; on Debian: apt install chromium"
    # Root has no sandbox.
    args = ["--no-sandbox"] if os.geteuid() == 0 else []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=found, args=args)
        yield browser
        await browser.close()


@pytest.fixture
async def told(db: Store, tmp_path: Path) -> Config:
    return configured(tmp_path)


@contextlib.asynccontextmanager
async def looking(browser: Browser, url: str, **more: Any) -> AsyncIterator[Page]:
    """A tab whose page says nothing wrong, in whose time nothing happens by itself."""
    wrong: list[str] = []
    async with await browser.new_context(base_url=url, **more) as context:
        page = await context.new_page()
        page.on("pageerror", lambda fault: wrong.append(str(fault)))
        page.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None)
        page.on("dialog", lambda dialog: wrong.append(f"dialog {dialog.message}"))
        if more.get("java_script_enabled", True):
            await page.clock.install()
        yield page
    # That a page or a server was not there is what some tests are about.
    assert [said for said in wrong if not re.search(r"status of 4|net::ERR_FAILED", said)] == []


async def later(page: Page) -> None:
    """Let the page look for news."""
    await page.clock.run_for((pages.EVERY + 1) * 1000)


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_pages_fit_and_can_be_read(browser: Browser, db: Store, told: Config, scheme: Any) -> None:
    recent = Recent()
    await eventful(db, told, recent)
    async with serving(db, told, recent) as (url, _):
        for width in (320, 768, 1280):
            size = {"width": width, "height": 800}
            async with looking(browser, url, viewport=size, color_scheme=scheme) as page:
                for path in PATHS:
                    await page.goto(path)
                    wide = await page.evaluate("document.documentElement.scrollWidth")
                    assert (path, wide <= width) == (path, True)
                    assert (path, await page.evaluate(CONTRAST)) == (path, [])


async def test_the_picture_of_runs_is_seen_and_said(browser: Browser, db: Store, told: Config) -> None:
    await eventful(db, told, Recent())
    async with serving(db, told) as (url, _), looking(browser, url) as page:
        await page.goto("/")
        card = page.get_by_role("article", name="office")
        picture = card.get_by_role("img")
        await expect(picture).to_have_accessible_name(re.compile("runs in 24 hours"))
        bar = card.locator("svg.lane.changed path.bars")
        box = await bar.bounding_box()
        assert box
        assert box["width"] > 2
        assert box["height"] > 2
        colour = await bar.evaluate("one => getComputedStyle(one).fill")
        assert colour not in ("rgb(0, 0, 0)", "none")
        await card.get_by_role("link", name="office").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Source office")


async def test_a_page_updates_itself_and_leaves_alone_who_works_in_it(
    browser: Browser, db: Store, told: Config
) -> None:
    await assembly.enrol(db, told)
    await web_pages.account(db, "ann", "4f0c-iphone")
    async with serving(db, told) as (url, _), looking(browser, url) as page:
        await page.goto("/phones")
        await page.get_by_text("1 · last").click()
        await expect(page.get_by_text("4f0c-iphone")).to_be_visible()
        await web_pages.account(db, "bob")
        await later(page)
        await expect(page.get_by_role("rowheader", name="bob")).to_be_visible()
        await expect(page.get_by_text("4f0c-iphone")).to_be_visible()
        assert await page.evaluate("document.activeElement.tagName") == "SUMMARY"

        await page.get_by_role("button", name="Pause").click()
        await web_pages.account(db, "carl")
        await later(page)
        await expect(page.get_by_text("Updates are paused.")).to_be_visible()
        await expect(page.get_by_role("rowheader", name="carl")).to_have_count(0)
        await page.get_by_role("button", name="Go on").click()
        await expect(page.get_by_role("rowheader", name="carl")).to_be_visible()

        await page.goto("/lookup?number=26001001")
        await page.get_by_label("Who is").fill("2600")
        before = await page.locator("main time").first.text_content()
        await asyncio.sleep(1)
        await later(page)
        assert await page.get_by_label("Who is").input_value() == "2600"
        assert await page.locator("main time").first.text_content() == before


async def test_a_page_says_when_bridge_is_gone(browser: Browser, db: Store, told: Config) -> None:
    async with looking(browser, "http://localhost") as page:
        async with serving(db, told) as (url, _):
            await page.goto(url + "/")
            await expect(page.get_by_text("This page updates itself every 5 seconds.")).to_be_visible()
        await page.route("**/*", lambda route: route.abort())
        await later(page)
        await expect(page.get_by_text("bridge does not answer: trying again.")).to_be_visible()


async def test_losses_are_approved_by_keyboard(browser: Browser, db: Store, told: Config) -> None:
    await assembly.enrol(db, told)
    await web_pages.hold(db, told, 14)
    async with serving(db, told) as (url, _), looking(browser, url) as page:
        await page.goto("/")
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("link", name="Skip to the page")).to_be_focused()
        await page.keyboard.press("Enter")
        await page.get_by_role("link", name="See what would go").press("Enter")
        await expect(page.get_by_role("heading", level=2)).to_have_text("crm: 14 losses")
        button = page.get_by_role("button", name="Let all 14 losses go through")
        for _ in range(30):
            await page.keyboard.press("Tab")
            if await button.evaluate("one => one === document.activeElement"):
                break
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("status").first).to_have_text("crm: 14 removed, 0 changed.")
        await expect(page.get_by_text("Nothing is held.")).to_be_visible()
    assert await db.value("select count(*) from contact") == 2


async def test_one_of_many_tenants_is_found_by_its_name(browser: Browser, db: Store, tmp_path: Path) -> None:
    (tmp_path / "tenants").mkdir()
    for n in range(120):
        text = '[source.crm]\ntype = "file"\npath = "x.vcf"\n'
        (tmp_path / "tenants" / f"customer-with-a-name-{n:03}.toml").write_text(text)
    told = configured(tmp_path, above='tenants = "tenants/*.toml"')
    await eventful(db, told, Recent())
    await db.execute("update source set error = 'away', failing_since = now() where tenant like '%077'")
    async with serving(db, told) as (url, _):
        for width in (320, 1280):
            async with looking(browser, url, viewport={"width": width, "height": 800}) as page:
                await page.goto("/")
                assert await page.evaluate("document.documentElement.scrollWidth") <= width
                assert await page.evaluate(CONTRAST) == []
                await expect(page.get_by_text("the worst 50 are shown")).to_be_visible()
                first = page.get_by_role("rowheader").first
                await expect(first).to_have_text("default")
                await expect(page.get_by_role("rowheader").nth(1)).to_have_text("customer-with-a-name-077")
                await page.get_by_label("Tenant").fill("NAME-11")
                await page.get_by_role("button", name="Find").click()
                await expect(page.get_by_role("rowheader")).to_have_count(10)
                await page.get_by_role("link", name="customer-with-a-name-113").click()
                await expect(page.get_by_label("Tenant")).to_have_value("customer-with-a-name-113")
                await expect(page.get_by_role("heading", level=1)).to_have_text("Overview")


async def test_everything_works_without_scripts(browser: Browser, db: Store, tmp_path: Path) -> None:
    (tmp_path / "tenants").mkdir()
    (tmp_path / "tenants" / "acme.toml").write_text('[source.crm]\ntype = "file"\npath = "x.vcf"\n')
    told = configured(tmp_path, above='tenants = "tenants/*.toml"')
    await eventful(db, told, Recent())
    async with serving(db, told) as (url, _), looking(browser, url, java_script_enabled=False) as page:
        await page.goto("/")
        await expect(page.get_by_text("This page does not change by itself")).to_be_visible()
        await page.get_by_label("Tenant").select_option("default")
        await page.get_by_role("button", name="Show").click()
        await page.get_by_role("link", name="Refused").first.click()
        await page.get_by_role("button", name="Try all of it again now").click()
        await expect(page.get_by_text("3 entries will be tried again now.")).to_be_visible()
        await page.get_by_role("link", name="Lookup").click()
        await page.get_by_label("Who is").fill("26 00 10 01")
        await page.get_by_role("button", name="Look it up").click()
        await expect(page.get_by_role("heading", name="Ann Lee")).to_be_visible()
        await page.get_by_role("link", name="Held").click()
        await page.get_by_role("button", name="Let all 14 losses go through").click()
        await expect(page.get_by_text("crm: 14 removed, 0 changed.")).to_be_visible()


async def test_a_password_and_a_form_with_it(browser: Browser, db: Store, tmp_path: Path) -> None:
    told = configured(tmp_path, USERS)
    await eventful(db, told, Recent())
    async with serving(db, told) as (url, _):
        async with looking(browser, url) as page:
            with pytest.raises(Error, match="ERR_INVALID_AUTH_CREDENTIALS"):
                await page.goto("/")
        user: Any = {"username": "admin", "password": "open-sesame"}
        async with looking(browser, url, http_credentials=user) as page:
            await page.goto("/refused")
            await expect(page.get_by_text("Logged in as admin.")).to_be_visible()
            await page.get_by_role("button", name="Try all of it again now").click()
            await expect(page.get_by_text("3 entries will be tried again now.")).to_be_visible()


@contextlib.asynccontextmanager
async def elsewhere(body: str) -> AsyncIterator[str]:
    """Somebody else's site, with one page."""

    async def page(_request: web.Request) -> web.Response:
        return web.Response(text=body, content_type="text/html")

    app = web.Application()
    app.router.add_get("/", page)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        yield f"http://localhost:{port}/"
    finally:
        await runner.cleanup()


async def test_pages_of_others_can_do_nothing_here(browser: Browser, db: Store, told: Config) -> None:
    await eventful(db, told, Recent())
    async with serving(db, told) as (url, made), looking(browser, url) as page:
        await page.goto("/refused")
        token = await page.locator("input[name=token]").first.get_attribute("value")
        form = (
            f'<form method="post" action="{url}/retry"><input name="token" value="{token}"><button>go</button></form>'
            f'<iframe src="{url}/held"></iframe>'
        )
        async with elsewhere(form) as there, await browser.new_context() as context:
            other = await context.new_page()
            await other.goto(there)
            await expect(other.frame_locator("iframe").get_by_role("heading", name="Held")).to_have_count(0)
            assert other.frames[1].url.startswith("chrome-error:")
            async with other.expect_navigation() as went:
                await other.get_by_role("button", name="go").click()
            assert (await went.value).status == 403
        assert await db.value("select count(*) from entry where state = 'refused'") == 2
        assert made.told is told


async def test_names_that_others_chose_run_nothing(browser: Browser, db: Store, told: Config) -> None:
    recent = Recent()
    await eventful(db, told, recent)
    hostile = '"><script>alert(1)</script><img src=x onerror=alert(2)><svg onload=alert(3)>' + "long " * 300 + "x" * 900
    people = [record("1", hostile, "+352 26 00 10 01", contact_url="javascript:alert(4)")]
    await sync.run(db, assembly.job(told.tenants["default"], "office"), Listed(*people))
    await web_pages.refuse(db, "+35226001001", hostile, hostile, await db.value("select max(pk) from contact"))
    await web_pages.workflow(db, "h", "failed", name=hostile, reason=hostile, url="javascript:alert(5)")
    await web_pages.account(db, hostile[:200], hostile, first=hostile)
    await db.execute("update source set error = $1, notes = array[$1]", hostile)
    size: Any = {"width": 320, "height": 800}
    async with serving(db, told, recent) as (url, _), looking(browser, url, viewport=size) as page:
        for path in PATHS:
            await page.goto(path)
            assert (path, await page.evaluate("document.documentElement.scrollWidth")) == (path, 320)
            assert await page.locator("img").count() == 1
