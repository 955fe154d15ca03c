"""CardDAV against real Radicale and real Xandikos."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from carddav_servers import PASSWORD, SERVERS, USER, Running, counted
from mirrored import Mirror, card, opened

from bridge import errors
from bridge.sources import Source

ODD_NAMES = ("ä ö ü.vcf", "a+b&c.vcf", "100%.vcf", "no-extension", "mail@home.vcf", "semi;colon.vcf")


@pytest.fixture(params=sorted(SERVERS))
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Running]:
    """A server with an empty book."""
    with SERVERS[request.param](tmp_path) as running:
        yield running


def alice(url: str, **more: object) -> AbstractAsyncContextManager[Source]:
    """A source with alice's login."""
    return opened(url, username=USER, password=PASSWORD, **more)


async def test_changes_arrive_and_nothing_else_is_asked_for(server: Running) -> None:
    server.fill({f"{number}.vcf": card(f"Person {number}") for number in range(20)})
    async with counted(server.url) as (url, seen), alice(url) as source:
        mirror = await Mirror().run(source)
        assert (mirror.complete, len(mirror.records)) == (True, 20)
        await server.put("1.vcf", card("Changed", uid="Person 1"))
        await server.put("new.vcf", card("New"))
        await server.put("flash.vcf", card("Flash"))
        await server.delete("flash.vcf")
        await server.delete("2.vcf")
        await mirror.run(source)
        assert (mirror.complete, mirror.read, len(mirror.records)) == (False, 2, 20)
        assert [name for name in mirror.names if name[:6] != "Person"] == ["Changed", "New"]
        seen.clear()
        await mirror.run(source)
        assert (mirror.complete, mirror.read, seen) == (False, 0, [f"REPORT {server.book}"])
        await mirror.run(source, full=True)
        assert (mirror.complete, mirror.read, len(mirror.records)) == (True, 0, 20)


async def test_a_book_deleted_and_made_again_is_read_in_full(server: Running) -> None:
    server.fill({f"{number}.vcf": card(f"Person {number}") for number in range(5)})
    async with alice(f"{server.url}{server.book}") as source:
        mirror = await Mirror().run(source)
        await server.delete("")
        with pytest.raises(errors.Unavailable, match="is not there"):
            await mirror.run(source)
        await server.make_book()
        await server.put("other.vcf", card("Other"))
        await mirror.run(source)
        assert (mirror.complete, mirror.names) == (True, ["Other"])


async def test_five_hundred_cards_with_odd_names_among_them_are_all_read(server: Running) -> None:
    names = [*ODD_NAMES, *(f"card {number}.vcf" for number in range(500 - len(ODD_NAMES)))]
    server.fill({name: card(f"Card {name}") for name in names})
    async with alice(server.url) as source:
        mirror = await Mirror().run(source)
        assert sorted(mirror.records) == sorted(f"{server.book}{name}" for name in names)
        assert await source.check() == f"1 address book: {server.name} (500 cards, changes by sync-collection)"
        await mirror.run(source, full=True)
        assert (mirror.read, len(mirror.records)) == (0, 500)


async def test_an_empty_book_is_read_as_empty(server: Running) -> None:
    async with alice(server.url) as source:
        mirror = await Mirror().run(source)
        assert (mirror.complete, mirror.records) == (True, {})


async def test_a_wrong_password_is_denied(tmp_path: Path) -> None:
    with SERVERS["radicale"](tmp_path) as server:
        async with opened(server.url, username=USER, password="wrong") as source:
            with pytest.raises(errors.Denied, match="refuses the credentials"):
                await source.check()
