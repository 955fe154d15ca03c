"""Phone books from a real database: order, one moment, memory, and ends that come too early."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from listed import Listed, record

from bridge import config, errors, phonebooks, sync
from bridge.config import Tenant
from bridge.contact import Contact, Record
from bridge.formats import Format
from bridge.store import Store

JOB = sync.Job(tenant="default", source="crm", region="LU", rules=b"1")
CONFIG = """
region = "LU"
[source.crm]
type = "file"
path = "crm.vcf"
[source.office]
type = "file"
path = "office.vcf"
[phonebook.staff]
users = { phones = "phones-password" }
[phonebook.office]
sources = ["office"]
numbers = "national"
users = { phones = "phones-password" }
"""


@pytest.fixture
def tenant(tmp_path: Path) -> Tenant:
    file = tmp_path / "bridge.toml"
    file.write_text(CONFIG)
    return config.load(file).tenants["default"]


@pytest.fixture(autouse=True)
async def were_read(db: Store) -> None:
    """Both sources were read, and there was nothing in them."""
    await db.execute(
        "insert into source (tenant, name, read_at) values ('default', 'crm', now()), ('default', 'office', now())"
    )


def crowd(count: int) -> list[Record]:
    return [record(f"{n:05}", f"Person N{n}", f"+352 621 {100_000 + n}") for n in range(count)]


async def fill(db: Store, count: int, source: str = "crm") -> None:
    await sync.run(db, replace(JOB, source=source), Listed(*crowd(count)))


async def names(db: Store, sources: Sequence[str]) -> list[str]:
    pages: list[list[Contact]] = [page async for page in phonebooks.stream(db, "default", sources)]
    return [contact.name for page in pages for contact in page]


async def whole(db: Store, tenant: Tenant, name: str, format: Format = "text") -> bytes:
    return b"".join([piece async for piece in phonebooks.write(db, tenant, name, format)])


async def test_a_book_has_its_sources_one_after_the_other_and_no_other(db: Store) -> None:
    await sync.run(db, JOB, Listed(record("b", "Bob Ray", "12"), record("a", "Ann Lee", "11")))
    await sync.run(db, replace(JOB, source="office"), Listed(record("z", "Zoe Zed", "13")))
    await sync.run(db, replace(JOB, tenant="other"), Listed(record("o", "Other Tenant", "14")))
    assert await names(db, ["office", "crm", "office"]) == ["Zoe Zed", "Ann Lee", "Bob Ray"]
    assert await names(db, ["crm"]) == ["Ann Lee", "Bob Ray"]
    assert await names(db, []) == []


async def test_every_page_is_of_the_same_moment(db: Store) -> None:
    await fill(db, 1200)
    async with contextlib.aclosing(phonebooks.stream(db, "default", ["crm"])) as pages:
        first = await anext(pages)
        await db.execute('update contact set body = \'{"source": "crm", "id": "new"}\'')
        await db.execute("delete from contact where id > '00900'")
        rest = [contact async for page in pages for contact in page]
    assert [contact.name for contact in (*first, *rest)] == [f"Person N{n}" for n in range(1200)]


async def test_numbers_are_spelled_as_the_book_says(db: Store, tenant: Tenant) -> None:
    await sync.run(db, replace(JOB, source="office"), Listed(record("z", "Zoe Zed", "+352 621 111 111", "12")))
    assert await whole(db, tenant, "office") == b"621111111:Zoe Zed\n12:Zoe Zed\n"
    assert await whole(db, tenant, "staff") == b"+352621111111:Zoe Zed\n12:Zoe Zed\n"


async def test_the_same_book_is_the_same_bytes_in_every_format(db: Store, tenant: Tenant) -> None:
    await fill(db, 700)
    for format in ("json", "xml", "text", "csv", "vcard"):
        book = await whole(db, tenant, "staff", format)
        assert (book, book.count(b"100699")) == (await whole(db, tenant, "staff", format), 1)


async def test_an_empty_book_is_a_book(db: Store, tenant: Tenant) -> None:
    assert await whole(db, tenant, "staff") == b""
    assert orjson.loads(await whole(db, tenant, "staff", "json")) == []


async def test_pages_and_not_books_are_in_memory(db: Store, tenant: Tenant) -> None:
    await fill(db, 2500)
    async with contextlib.aclosing(phonebooks.write(db, tenant, "staff", "json")) as pieces:
        async for piece in pieces:
            assert len(piece) < 128 << 10
            assert sum(isinstance(one, Contact) for one in gc.get_objects()) <= 1001


async def test_who_stops_reading_leaves_no_connection_behind(dsn: str, tenant: Tenant) -> None:
    db = Store(dsn, size=1)
    await fill(db, 3000)
    async with contextlib.aclosing(phonebooks.write(db, tenant, "staff", "vcard")) as pieces:
        assert (await anext(pieces)).startswith(b"BEGIN:VCARD")
    reading = asyncio.create_task(whole(db, tenant, "staff", "text"))
    await asyncio.sleep(0.005)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    async with asyncio.timeout(5):
        assert len(await whole(db, tenant, "staff", "text")) > 60_000
    await db.close()


async def test_a_database_lost_on_the_way_is_no_short_book(db: Store, postgres: str, tenant: Tenant) -> None:
    await fill(db, 2500)
    async with contextlib.aclosing(phonebooks.write(db, tenant, "staff", "vcard")) as pieces:
        await anext(pieces)
        own = "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database()"
        await db.execute(f"{own} and pid <> pg_backend_pid()")
        with pytest.raises(errors.Unavailable, match="the database is not there"):
            async for _ in pieces:
                pass


async def test_a_book_of_a_source_that_was_never_read_is_none(db: Store, tenant: Tenant) -> None:
    await fill(db, 3)
    await db.execute("update source set read_at = null where name = 'office'")
    with pytest.raises(errors.Unavailable, match="office has not been read"):
        await whole(db, tenant, "staff")
