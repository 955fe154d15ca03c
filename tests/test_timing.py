"""What the time of an answer says about a secret: nothing. Work is counted where it is what takes the time; else the
least CPU time of many tries counts, taken in turns, so that whatever else the machine does hits all alike.

Secrets are a megabyte long here: what a comparison gives away by the byte is then far above all noise.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest
from aiohttp.test_utils import make_mocked_request
from served import Served, configured, parts, serving
from softphone import basic

from bridge import accounts
from bridge.accounts import saving
from bridge.accounts.details import Change
from bridge.accounts.logins import Logins as Rows
from bridge.accounts.passwords import NOBODY, Passwords
from bridge.accounts.seals import Seal
from bridge.lookup import Lookups
from bridge.server.credentials import Known, Login
from bridge.server.desk import Desk
from bridge.server.logins import Logins
from bridge.server.peers import Throttle
from bridge.server.phonebook import Library
from bridge.server.replies import Refusal
from bridge.server.tokens import Tokens
from bridge.store import Store

LENGTH = 1 << 20
SECRET = "s" * LENGTH
NEAR = SECRET[:-1] + "x"
FAR = "x" + SECRET[1:]
TRIES = 40
ALIKE = 1.3
"""The slowest may take so many times what the fastest does. A comparison that ends early makes it more than that."""


def told_apart(ways: Mapping[str, Callable[[], object]]) -> float:
    """How many times what the fastest of these takes the slowest does."""
    least = dict.fromkeys(ways, float("inf"))
    for _ in range(TRIES):
        for name, way in ways.items():
            began = time.thread_time()
            way()
            least[name] = min(least[name], time.thread_time() - began)
    return max(least.values()) / min(least.values())


def test_the_measure_sees_a_comparison_that_ends_at_the_first_difference() -> None:
    right = SECRET.encode()
    assert told_apart({given[:1]: lambda given=given: given.encode() == right for given in (NEAR, FAR)}) > ALIKE


def test_a_token_that_is_nearly_right_takes_what_a_wrong_one_does() -> None:
    tokens = Tokens(["another", SECRET])
    assert tokens.take(SECRET)
    assert not tokens.take(NEAR)
    assert told_apart({given[:1]: lambda given=given: tokens.take(given) for given in (NEAR, FAR)}) < ALIKE


def test_a_phone_books_names_are_not_told_from_unknown_ones_nor_near_passwords_from_far_ones() -> None:
    known = Known({"ann": SECRET, "bob": "b" * LENGTH})
    assert known.take([Login("ann", SECRET)]) == "ann"
    wrong = {"near": Login("ann", NEAR), "far": Login("ann", FAR), "other's": Login("bob", SECRET)}
    nobody = {"nobody": Login("eve", NEAR), "nobody, right": Login("eve", SECRET)}
    asked = wrong | nobody
    assert [known.take([one]) for one in asked.values()] == [""] * 5
    assert told_apart({name: lambda one=one: known.take([one]) for name, one in asked.items()}) < ALIKE


def test_the_admins_names_are_all_compared_to_their_end_whoever_asks() -> None:
    many = 200
    users = {"n" * (LENGTH // 32) + f"{n:03}": "password" for n in range(many)}
    first, *_, last = users
    asked = {
        "first": admitting(users, first, "password"),
        "last": admitting(users, last, "password"),
        "near": admitting(users, last, "passwort"),
        "nobody": admitting(users, first + "x", "password"),
        "far": admitting(users, "x" + first[1:], "password"),
    }
    assert [ask() for ask in asked.values()] == [first, last, "401", "401", "401"]
    assert told_apart(asked) < ALIKE
    few = admitting({first: "password"}, first, "password")
    assert told_apart({"few": few, "many": asked["first"]}) > many / 20


def admitting(users: Mapping[str, str], name: str, password: str) -> Callable[[], str]:
    """Asks who this is on the admin's page: the name, or the status of the refusal."""
    request = make_mocked_request("GET", "/", headers={"Authorization": basic(name, password)})
    logins = Logins(Throttle(most=10_000))

    def admit() -> str:
        try:
            return logins.admit(users, request)
        except Refusal as refusal:
            return str(refusal.status)

    return admit


# Accounts: what takes the time is Argon2


class Counted(Passwords):
    """Notes which hashes passwords are held against."""

    def __init__(self) -> None:
        super().__init__()
        self.held_against: list[str] = []

    async def check(self, kept: str, password: str, unless: Callable[[], object] = lambda: None) -> bool:
        self.held_against.append(kept)
        return await super().check(kept, password, unless)

    def costs(self) -> set[str]:
        """The parameters of the hashes since the last time, which decide what each check costs."""
        asked, self.held_against = self.held_against, []
        return {kept.rsplit("$", 2)[0] for kept in asked}


class Place:
    """A server whose accounts are ann and bob, who is disabled."""

    def __init__(self, served: Served, passwords: Counted) -> None:
        self.served, self.passwords = served, passwords

    async def provisioned(self, name: str, password: str) -> str:
        query = {"username": name, "password": password, "reprovision": "true", "deviceId": "d"}
        async with self.served.session.get(f"{self.served.url}/provisioning", params=query) as reply:
            return await reply.text()

    async def book(self, name: str, password: str) -> str:
        headers = {"Authorization": basic(name, password)}
        async with self.served.session.get(f"{self.served.url}/phonebook/staff", headers=headers) as reply:
            return f"{reply.status} {await reply.text()}"


BOOK = '[provisioning]\n[phonebook.staff]\nsources = ["crm"]\nusers = { phones = "p" }\naccounts = true'


@pytest.fixture
async def place(db: Store, tmp_path: Path) -> AsyncIterator[Place]:
    told = configured(tmp_path, BOOK)
    passwords = Counted()
    desk = Desk(db, Throttle(most=1000), Throttle(most=1000), Rows(db, passwords))
    changes = [Change(name, f"{name}'s", "sip", {"sipusername": name}) for name in ("ann", "bob")]
    await saving.save(db, "default", changes, Seal(bytes(32)), passwords, {})
    await accounts.switch(db, "default", "bob", disabled=True)
    shelf = parts(db, Lookups(db), told).library.shelf
    library = Library(shelf, desk, Throttle(most=1000))
    async with serving(db, told, desk=desk, library=library) as served:
        yield Place(served, passwords)
    await shelf.close()


WRONG = {"wrong": ("ann", "x"), "near": ("ann", "ann'"), "unknown": ("eve", "ann's"), "disabled": ("bob", "x")}


@pytest.mark.parametrize("surface", ["provisioned", "book"])
async def test_whoever_is_turned_away_costs_one_check_of_the_same_price_and_is_told_the_same(
    place: Place, surface: str
) -> None:
    ask = getattr(place, surface)
    price = NOBODY.rsplit("$", 2)[0]
    told = set()
    for name, password in WRONG.values():
        told.add(await ask(name, password))
        assert len(place.passwords.held_against) == 1
        assert place.passwords.costs() == {price}
    assert len(told) == 1


async def test_a_wrong_password_costs_a_check_every_time_also_where_the_right_one_is_known(place: Place) -> None:
    for _ in range(3):
        await place.provisioned("ann", "ann's")
    assert len(place.passwords.held_against) == 1
    for _ in range(3):
        await place.provisioned("ann", "x")
        await place.provisioned("eve", "ann's")
    assert len(place.passwords.held_against) == 7
