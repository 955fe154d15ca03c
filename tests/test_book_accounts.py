"""Softphone accounts at a phone book and at provisioning: one desk, whichever of the two is asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from served import Served, configured, hold, parts, ranked, serving
from softphone import basic

from bridge.accounts import giving, saving
from bridge.accounts.details import Change
from bridge.accounts.passwords import Passwords
from bridge.contact import RawNumber, Record
from bridge.keys import Secret
from bridge.lookup import Lookups
from bridge.server.desk import Desk
from bridge.server.phonebook import Library
from bridge.store import Store

BOOK = """
[phonebook.staff]
sources = ["crm"]
accounts = true
[provisioning]
"""


@pytest.fixture
async def served(db: Store, tmp_path: Path) -> AsyncIterator[Served]:
    told = configured(tmp_path, BOOK)
    desk = Desk(db)
    changes = [Change(name, f"{name}'s", "sip", {"sipusername": name}) for name in ("ann", "bob", "jörg")]
    seal = await giving.seal(Secret(""), told.state_dir, make=True)
    await saving.save(db, "default", changes, seal, Passwords(), {})
    await ranked(db, "crm")
    await hold(db, "crm", Record("1", display_name="Ann Lee", numbers=(RawNumber("+352621100001", "mobile"),)))
    library = Library(parts(db, Lookups(db), told).library.shelf, desk)
    async with serving(db, told, desk=desk, library=library) as served:
        yield served
    await library.shelf.close()


async def book(served: Served, name: str, password: str) -> int:
    async with served.session.get(
        f"{served.url}/phonebook/staff", headers={"Authorization": basic(name, password)}
    ) as reply:
        return reply.status


async def provisioned(served: Served, name: str, password: str) -> bool:
    query = {"username": name, "password": password}
    async with served.session.get(f"{served.url}/provisioning", params=query) as reply:
        assert reply.status == 200
        return bool((await reply.json())["update"])


@pytest.mark.parametrize("name", ["jo\u0308rg", " jörg ", "jörg"])
async def test_whom_provisioning_knows_the_book_knows(served: Served, name: str) -> None:
    assert await provisioned(served, name, "jörg's")
    assert await book(served, name, "jörg's") == 200


async def test_a_name_that_no_database_takes_disturbs_nobody(served: Served) -> None:
    async def odd() -> set[int]:
        return {await book(served, f"a\0{n}", "x") for n in range(5)}

    good = asyncio.gather(*(provisioned(served, "ann", "ann's") for _ in range(30)))
    assert await odd() == {401}
    assert await good == [True] * 30
    async with served.session.get(f"{served.url}/phonebook/staff?username=a%00b&password=x") as reply:
        assert reply.status == 401
    body = '{"username": "a\\u0000b", "password": "x\\u0000"}'
    async with served.session.post(f"{served.url}/phonebook/staff", data=body) as reply:
        assert reply.status == 401


async def test_many_guesses_at_once_are_not_more_than_ten(served: Served) -> None:
    await asyncio.gather(*(book(served, f"user{n}", "guess") for n in range(40)))
    assert await book(served, "bob", "bob's") == 429
    assert not await provisioned(served, "bob", "bob's")
