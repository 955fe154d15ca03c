"""What softphones ask for their SIP accounts, over HTTP and against a real database."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
import statistics
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import structlog
from served import Served, configured, serving

from bridge import accounts, keys, log
from bridge.accounts import giving, saving
from bridge.accounts.details import Change
from bridge.accounts.logins import Logins
from bridge.accounts.passwords import Passwords
from bridge.config import Config
from bridge.keys import Secret
from bridge.server.desk import Desk
from bridge.server.peers import Throttle
from bridge.server.provisioning import BROKEN, WRONG
from bridge.store import Store

TABLE = '[provisioning]\ndefaults = { transport = "TLS", srtp = "Enabled" }'
ANN = Change("ann", "7578743843", "29de?8", {"sipusername": "user1"})
SIP = {"sipusername": "user1", "sippassword": "29de?8", "transport": "TLS", "srtp": "Enabled"}
REFUSED = {"update": False, "sipaccounts": [], "errmsg": WRONG}
UNCHANGED = {"update": False, "sipaccounts": [], "errmsg": ""}
GIVEN = {"update": True, "sipaccounts": [SIP], "errmsg": ""}
REVOKED = {"update": True, "sipaccounts": [], "errmsg": WRONG}


class Phones:
    """A server with accounts, and the softphones that ask it."""

    def __init__(self, db: Store, served: Served, told: Config) -> None:
        self.db, self.served, self.told = db, served, told

    async def save(self, *changes: Change, tenant: str = "default") -> None:
        table = self.told.tenants[tenant].provisioning
        assert table
        passwords = Passwords()
        seal = await giving.seal(table.key, self.told.state_dir, make=True)
        await saving.save(self.db, tenant, changes, seal, passwords, {})
        passwords.close()

    async def ask(
        self,
        username: str = "ann",
        password: str = "7578743843",
        *,
        again: bool = True,
        device: str = "d1",
        **more: Any,
    ) -> Any:
        """As the page has it."""
        query = {"username": username, "password": password, "reprovision": str(again).lower(), "deviceId": device}
        return await self.raw(params=query, **more)

    async def raw(self, method: str = "GET", path: str = "/provisioning", **more: Any) -> Any:
        headers = {"Connection": "close", "Cache-Control": "max-age=0", "User-Agent": "SessionTalk/6.0.0"}
        more = {"headers": headers, "allow_redirects": False, **more}
        async with self.served.session.request(method, self.served.url + path, **more) as reply:
            assert reply.status == 200, await reply.text()
            assert reply.headers["Cache-Control"] == "no-store"
            assert reply.headers["Content-Type"] == "application/json; charset=utf-8"
            return await reply.json()


@contextlib.asynccontextmanager
async def phones(db: Store, folder: Path, table: str = TABLE, desk: Desk | None = None) -> AsyncIterator[Phones]:
    told = configured(folder, table)
    async with serving(db, told, **({"desk": desk} if desk else {})) as served:
        yield Phones(db, served, told)


@pytest.fixture
async def place(db: Store, tmp_path: Path) -> AsyncIterator[Phones]:
    """A server with one account, ann's."""
    async with phones(db, tmp_path) as made:
        await made.save(ANN)
        yield made


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """All that is logged."""
    root, stream = logging.getLogger(), io.StringIO()
    level, handlers = root.level, list(root.handlers)
    log.setup("json", stream)
    yield stream
    structlog.reset_defaults()
    logging.captureWarnings(False)
    root.setLevel(level)
    root.handlers[:] = handlers


@pytest.mark.parametrize("path", ["/provisioning", "/provisioning/", "/provisioning//"])
async def test_first_time_set_up_with_and_without_a_slash(place: Phones, path: str) -> None:
    query = {"username": "ann", "password": "7578743843", "reprovision": "false", "deviceId": "3kQs875391li29"}
    assert await place.raw(path=path, params=query) == GIVEN
    assert await place.raw(path=path, params=query) == GIVEN


async def test_the_answer_is_written_as_on_the_page(place: Phones) -> None:
    every = {
        "subdomain": "pbx",
        "authusername": "629456",
        "transport": "UDP",
        "srtp": "Enabled",
        "proxy": "proxy.sessiontalk.co.uk",
        "messaging": "Enabled",
        "video": "Disabled",
        "callrecording": "Enabled",
    }
    await place.save(Change("ann", details={**every, "extension": "101", "email": "ann@example.com"}))
    url = place.served.url + "/provisioning?username=ann&password=7578743843&reprovision=false&deviceId=1"
    async with place.served.session.get(url) as reply:
        assert await reply.read() == (
            b'{"update":true,"sipaccounts":[{"sipusername":"user1","sippassword":"29de?8","subdomain":"pbx",'
            b'"authusername":"629456","transport":"UDP","srtp":"Enabled","proxy":"proxy.sessiontalk.co.uk",'
            b'"messaging":"Enabled","video":"Disabled","callrecording":"Enabled"}],"errmsg":""}'
        )


async def test_an_update_comes_once_for_each_device_and_each_change(place: Phones) -> None:
    assert await place.ask(again=False) == GIVEN
    assert await place.ask() == UNCHANGED
    assert await place.ask(device="d2") == GIVEN
    assert await place.ask(device="d2") == UNCHANGED
    await place.save(Change("ann", details={"email": "ann@example.com", "extension": "101"}))
    assert await place.ask() == UNCHANGED
    await place.save(Change("ann", None, "newsip"))
    changed = {**GIVEN, "sipaccounts": [{**SIP, "sippassword": "newsip"}]}
    assert [await place.ask(), await place.ask(), await place.ask(device="d2")] == [changed, UNCHANGED, changed]
    assert await place.ask(again=False) == changed


async def test_what_changes_and_changes_back_is_no_change_to_who_did_not_see_it(place: Phones) -> None:
    assert await place.ask(again=False) == GIVEN
    for sippassword in ("another", "29de?8"):
        await place.save(Change("ann", None, sippassword))
    assert await place.ask() == UNCHANGED


async def test_new_defaults_are_a_change(place: Phones, tmp_path: Path) -> None:
    assert await place.ask(again=False) == GIVEN
    async with phones(place.db, tmp_path, '[provisioning]\ndefaults = { transport = "UDP" }') as other:
        changed = {"sipusername": "user1", "sippassword": "29de?8", "transport": "UDP"}
        assert await other.ask() == {**GIVEN, "sipaccounts": [changed]}
        assert await other.ask() == UNCHANGED


async def test_unknown_wrong_and_disabled_with_wrong_are_told_the_same(place: Phones) -> None:
    await place.save(Change("bob", "right", "s", {"sipusername": "user2"}))
    await accounts.switch(place.db, "default", "bob", disabled=True)
    asked = [("ann", "wrong"), ("nobody", "7578743843"), ("bob", "wrong"), ("ANN", "7578743843"), ("a\0nn", "x")]
    assert [await place.ask(*one) for one in asked] == [REFUSED] * 5
    assert [await place.ask(*one) for one in (("", ""), ("ann", ""), ("", "x"))] == [REFUSED] * 3
    assert await place.raw() == REFUSED


async def test_unknown_wrong_and_disabled_with_wrong_take_the_same_time(db: Store, tmp_path: Path) -> None:
    desk = Desk(db, Throttle(most=1000), Throttle(most=1000))
    async with phones(db, tmp_path, desk=desk) as place:
        await place.save(ANN, Change("bob", "right", "s", {"sipusername": "user2"}))
        await accounts.switch(db, "default", "bob", disabled=True)
        took: dict[str, list[float]] = {"ann": [], "bob": [], "nobody": []}
        for _ in range(12):
            for name, times in took.items():
                began = time.process_time()
                assert await place.ask(name, "wrong") == REFUSED
                times.append(time.process_time() - began)
    means = [statistics.median(times) for times in took.values()]
    assert max(means) < 1.5 * min(means)


async def test_a_disabled_user_loses_the_accounts_and_an_enabled_one_gets_them_back(place: Phones) -> None:
    assert await place.ask(again=False) == GIVEN
    await accounts.switch(place.db, "default", "ann", disabled=True)
    assert [await place.ask(), await place.ask(), await place.ask(again=False)] == [REVOKED] * 3
    [account] = await accounts.listed(place.db, "default")
    assert [(one.device, one.given) for one in account.devices] == [("d1", [])]
    await accounts.switch(place.db, "default", "ann", disabled=False)
    assert [await place.ask(), await place.ask()] == [GIVEN, UNCHANGED]


async def test_what_each_device_was_given_is_remembered_without_passwords(place: Phones) -> None:
    await place.ask(again=False)
    await place.ask(again=False, device="d2\0\n" + "x" * 300)
    [account] = await accounts.listed(place.db, "default")
    given = [{"sipusername": "user1", "transport": "TLS", "srtp": "Enabled"}]
    assert [(len(one.device), one.given) for one in account.devices] == [(200, given), (2, given)]
    assert "29de" not in str(await place.db.fetch("select device::text as told from device"))


# How it is asked


async def test_a_plus_is_a_blank_and_itself(place: Phones) -> None:
    await place.save(
        Change("a+b", "p+q r", "s", {"sipusername": "plus"}), Change("c d", "x y", "s", {"sipusername": "blank"})
    )
    queries = {
        "username=a%2Bb&password=p%2Bq+r": "plus",
        "username=a%2Bb&password=p%2Bq%20r": "plus",
        "username=a+b&password=p+q%20r": "plus",
        "username=c+d&password=x+y": "blank",
        "username=c%20d&password=x%20y": "blank",
        "username=c+d&password=x%2By": "",
        "username=a+b&password=p+q+r": "",
    }
    for query, want in queries.items():
        got = await raw_query(place, query)
        assert [one["sipusername"] for one in got["sipaccounts"]] == ([want] if want else []), query


async def raw_query(place: Phones, query: str, body: bytes = b"") -> Any:
    """The document for a query exactly as it is spelled here."""
    reader, writer = await asyncio.open_connection("127.0.0.1", place.served.port)
    method = b"POST" if body else b"GET"
    target = b"/provisioning" + (b"?" + query.encode("latin-1") if query else b"")
    head = b"%b %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    writer.write(head % (method, target, len(body)) + body)
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    await writer.wait_closed()
    head, _, document = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK"), answer
    return json.loads(document)


async def test_names_and_passwords_in_any_encoding(place: Phones) -> None:
    await place.save(Change("jürgen", "pässwörd", "s", {"sipusername": "user3"}))
    for query in (
        "username=j%C3%BCrgen&password=p%C3%A4ssw%C3%B6rd",
        "username=j%FCrgen&password=p%E4ssw%F6rd",
        "username=ju%CC%88rgen&password=pa%CC%88sswo%CC%88rd",
        "USERNAME=j%C3%BCrgen&Password=p%C3%A4ssw%C3%B6rd&extra",
    ):
        got = await raw_query(place, query)
        assert got["update"], query


@pytest.mark.parametrize(
    ("word", "again"), [("true", True), ("TRUE", True), ("1", True), ("false", False), ("0", False), ("", False)]
)
async def test_reprovision_in_any_spelling(place: Phones, word: str, again: bool) -> None:
    await place.ask(again=False)
    query = {"username": "ann", "password": "7578743843", "reprovision": word, "deviceId": "d1"}
    assert await place.raw(params=query) == (UNCHANGED if again else GIVEN)


async def test_a_post_is_answered_too(place: Phones) -> None:
    words: Mapping[str, Any] = {"username": "ann", "password": "7578743843", "deviceId": "d1"}
    assert await place.raw("POST", data={**words, "reprovision": "false"}) == GIVEN
    assert await place.raw("POST", json={**words, "reprovision": True}) == UNCHANGED
    assert await place.raw("POST", params={**words, "reprovision": "true"}) == UNCHANGED
    assert await raw_query(place, "", b"username=ann&password=757874+3843") == REFUSED
    for broken in (b"{", b"[]", b"\xff\xfe", b'{"username":["ann"],"password":{}}', b"&&=&"):
        assert await raw_query(place, "", broken) == REFUSED
    async with place.served.session.put(place.served.url + "/provisioning") as reply:
        assert reply.status == 405


async def test_tenants_are_apart(db: Store, tmp_path: Path) -> None:
    (tmp_path / "tenants").mkdir()
    acme = tmp_path / "tenants" / "acme.toml"
    acme.write_text('[provisioning]\npath = "/phones"\nkey = "the key of acme"\ndefaults = { transport = "UDP" }\n')
    acme.chmod(0o600)
    told = configured(tmp_path, TABLE, above='tenants = "tenants/*.toml"')
    async with serving(db, told) as served:
        place = Phones(db, served, told)
        await place.save(ANN)
        await place.save(Change("ann", "of acme", "other", {"sipusername": "of-acme"}), tenant="acme")
        assert await place.ask(again=False) == GIVEN
        assert await place.ask(password="of acme") == REFUSED
        assert await place.ask(path="/acme/phones") == REFUSED
        sip = {"sipusername": "of-acme", "sippassword": "other", "transport": "UDP"}
        assert await place.ask(password="of acme", path="/acme/phones") == {**GIVEN, "sipaccounts": [sip]}


# Guesses


async def test_after_ten_failures_a_user_waits_even_with_the_right_password(db: Store, tmp_path: Path) -> None:
    desk = Desk(db, addresses=Throttle(most=1000))
    async with phones(db, tmp_path, desk=desk) as place:
        await place.save(ANN)
        assert await place.ask(again=False) == GIVEN
        assert [await place.ask(password=f"guess{n}") for n in range(10)] == [REFUSED] * 10
        for password in ("7578743843", "another"):
            got = await place.ask(password=password)
            assert got.pop("errmsg") == "Too many failed attempts. Please wait 10 minutes and try again."
            assert got == {"update": False, "sipaccounts": []}
        assert [await place.ask("nobody") for _ in range(10)] == [REFUSED] * 10
        assert "wait" in (await place.ask("nobody"))["errmsg"]


async def test_after_ten_failures_an_address_waits(place: Phones) -> None:
    assert [await place.ask(f"user{n}") for n in range(10)] == [REFUSED] * 10
    assert "wait" in (await place.ask())["errmsg"]


async def test_many_guesses_at_once_are_no_more_than_ten(place: Phones) -> None:
    got = await asyncio.gather(*(place.ask(password=f"guess{n}") for n in range(60)))
    assert sum(one == REFUSED for one in got) == 10
    assert sum("wait" in one["errmsg"] for one in got) == 50


async def test_many_phones_of_one_address_come_in_at_once(place: Phones) -> None:
    got = await asyncio.gather(*(place.ask(device=f"d{n}") for n in range(30)))
    assert got == [GIVEN] * 30


async def test_the_wait_ends(db: Store, tmp_path: Path) -> None:
    now = 0.0
    async with phones(db, tmp_path, desk=Desk(db, Throttle(clock=lambda: now), Throttle(clock=lambda: now))) as place:
        await place.save(ANN)
        for _ in range(10):
            await place.ask(password="wrong")
        now = 590.0
        assert (await place.ask())["errmsg"] == "Too many failed attempts. Please wait 1 minute and try again."
        now = 601.0
        assert await place.ask(again=False) == GIVEN


# What a poll costs, and what is told of it


class Counting(Passwords):
    """Counts the hashes that are checked."""

    checks = 0

    def _is(self, kept: str, password: bytes) -> bool:
        self.checks += 1
        return super()._is(kept, password)


async def test_polls_that_change_nothing_cost_no_argon2_and_write_nothing(db: Store, tmp_path: Path) -> None:
    passwords = Counting()
    async with phones(db, tmp_path, desk=Desk(db, logins=Logins(db, passwords))) as place:
        await place.save(ANN)
        await place.ask(again=False)
        written = await db.fetch("select xmin::text, device from device")
        assert [await place.ask() for _ in range(20)] == [UNCHANGED] * 20
        assert passwords.checks == 1
        assert await db.fetch("select xmin::text, device from device") == written
        assert [await place.ask(password="wrong") for _ in range(2)] == [REFUSED] * 2
        assert passwords.checks == 3
        await place.save(Change("ann", "new"))
        assert await place.ask() == REFUSED
        assert await place.ask(password="new") == UNCHANGED
        assert passwords.checks == 5


async def test_a_key_that_does_not_open_is_said_to_the_user_in_words(
    place: Phones, tmp_path: Path, logged: io.StringIO
) -> None:
    async with phones(place.db, tmp_path, '[provisioning]\nkey = "another key than that"') as other:
        assert await other.ask(again=False) == {"update": False, "sipaccounts": [], "errmsg": BROKEN}
    assert "sealed with another key" in logged.getvalue()
    for path in (tmp_path / ".bridge").iterdir():
        path.unlink()
    assert await place.ask(again=False) == {"update": False, "sipaccounts": [], "errmsg": BROKEN}
    assert "the key of the accounts is not there" in logged.getvalue()


async def test_nothing_secret_is_logged(place: Phones, logged: io.StringIO) -> None:
    await place.ask(again=False)
    await place.ask(password="hunter2-wrong")
    await place.ask("my-password-as-a-name", "x")
    said = logged.getvalue()
    assert [word in said for word in ("provisioning.given", "provisioning.denied")] == [True, True]
    for secret in ("7578743843", "29de", "hunter2", "my-password", "argon2id"):
        assert secret not in said


async def test_without_the_database_phones_are_told_to_ask_again(db: Store, tmp_path: Path) -> None:
    nowhere = Store("postgresql://bridge@127.0.0.1:1/bridge")
    async with phones(db, tmp_path, desk=Desk(nowhere)) as place:
        query = {"username": "ann", "password": "7578743843"}
        async with place.served.session.get(place.served.url + "/provisioning", params=query) as reply:
            assert (reply.status, list(await reply.json())) == (503, ["error"])


def test_the_tables_key_is_a_secret() -> None:
    assert "hush" not in repr(keys.Provisioning(key=Secret("hush-hush")))
