"""`bridge forget` beside a running daemon: accounts, finished phone books and the page's lookups go at once."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from commands import bridge
from daemons import KEY, Daemon, number, until
from softphone import basic

from bridge import assembly, config
from bridge.accounts import giving, saving, sheet
from bridge.accounts.passwords import Passwords
from bridge.demo.manager import Manager
from bridge.keys import Secret
from bridge.store import Store

PEOPLE = {0: "Ann Lee", 1: "Bob Ray"}
MORE = """
[database]
url = "{dsn}"
[phonebook.team]
users = {{ phones = "phones-password" }}
[provisioning]
[sink.lines]
type = "ccm"
url = "{url}"
security_key = "{key}"
contacts = false
extensions = true
delete_extensions = {deletes}
"""
CSV = f"""username,password,sipusername,sippassword,extension,firstname,lastname,email,callerid
ann,ann-login,user1,ann-sip,101,Ann,Lee,ann@example.com,+{number(0)}
anns-mobile,ann-login,user3,ann-sip,,Ann,Lee,ANN@example.com,
bob,bob-login,user2,bob-sip,102,Bob,Ray,bob@example.com,+{number(1)}
"""
ENDINGS = ("json", "xml", "txt", "csv", "vcf")


class Place:
    """A daemon with people, accounts, a phone book in every format, and lookups that were answered."""

    def __init__(self, daemon: Daemon, manager: Manager, http: aiohttp.ClientSession) -> None:
        self.daemon, self.manager, self.http = daemon, manager, http

    @property
    def books(self) -> Path:
        return self.daemon.state / "phonebooks"

    def filed(self) -> str:
        """All that stands in files of phone books, finished or not."""
        texts = [path.read_bytes() for path in self.books.iterdir()]
        return "".join((gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode() for raw in texts)

    async def book(self, ending: str) -> str:
        url = f"http://127.0.0.1:{self.daemon.http}/phonebook/team.{ending}"
        async with self.http.get(url, headers={"Authorization": basic("phones", "phones-password")}) as reply:
            assert reply.status == 200
            return await reply.text()

    async def calls(self) -> str:
        """The page of calls, with its numbers."""
        async with self.http.get(f"http://127.0.0.1:{self.daemon.admin}/calls?numbers=1") as reply:
            return await reply.text()

    async def provisioned(self, user: str, password: str) -> Any:
        query = {"username": user, "password": password, "reprovision": "false", "deviceId": f"{user}-phone"}
        async with self.http.get(f"http://127.0.0.1:{self.daemon.http}/provisioning", params=query) as reply:
            return await reply.json()

    async def forget(self, who: str, *words: str) -> Any:
        return await bridge(self.daemon.home, "forget", who, "--json", *words)


@pytest.fixture
async def place(tmp_path: Path, dsn: str, db: Store, request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    manager = Manager(key=KEY)
    deletes = str(getattr(request, "param", True)).lower()
    async with manager.serve() as url, aiohttp.ClientSession() as http:
        daemon = Daemon(tmp_path, url, dsn)
        daemon.configure(MORE.format(dsn=dsn, url=url, key=KEY, deletes=deletes))
        daemon.write(PEOPLE)
        try:
            await daemon.start()
            await daemon.ready()
            yield await filled(Place(daemon, manager, http), db)
        finally:
            await daemon.end()


async def filled(place: Place, db: Store) -> Place:
    """With accounts, with finished books, and with lookups that were answered."""
    told = config.load(place.daemon.config)
    passwords, seal = Passwords(2), await giving.seal(Secret(), told.state_dir, make=True)
    changes = [row for row in sheet.read([CSV.encode()]) if not isinstance(row, sheet.Bad)]
    takers = assembly.extension_takers(told.tenants["default"])
    await saving.save(db, "default", [change for _, change in changes], seal, passwords, takers)
    passwords.close()
    await until(lambda: sorted(place.manager.extensions) == ["101", "102"])
    await until(lambda: len(place.manager.book()) == 2)
    for user in ("ann", "bob"):
        assert (await place.provisioned(user, f"{user}-login"))["update"] is True
    books = await asyncio.gather(*(place.book(ending) for ending in ENDINGS))
    assert all("Ann" in book and "Bob" in book for book in books)
    assert await place.daemon.names(number(0)) == ["Ann Lee"]
    assert "Ann Lee" in await place.calls()
    return place


async def test_a_person_goes_from_everywhere_at_once_and_the_others_stay(place: Place, db: Store) -> None:
    assert "Ann" in place.filed()
    ran = await place.forget(f"+{number(0)}")
    assert ran.code == 0, ran.err
    # Nothing is waited for: what the command says is so when it has said it.
    assert "Ann" not in place.filed()
    assert "Ann" not in await place.calls()
    found = {(one["place"], one["what"]): one["state"] for one in ran.json["found"]}
    assert set(found.values()) == {"gone"}
    assert {
        ("account", "ann"),
        ("device", "ann: ann-phone"),
        ("sink lines", "extension 101"),
        ("sink pbx", f"+{number(0)}"),
        ("finished phone books", "5"),
    } < found.keys()
    assert "recent lookups" in {where for where, _ in found}
    assert sorted(place.manager.extensions) == ["102"]
    assert (await place.provisioned("ann", "ann-login"))["update"] is False
    assert (await place.provisioned("bob", "bob-login"))["update"] is True
    assert await place.daemon.names(number(0)) == []
    assert await place.daemon.names(number(1)) == ["Bob Ray"]
    books = await asyncio.gather(*(place.book(ending) for ending in ENDINGS))
    assert all("Ann" not in book and "Bob" in book for book in books)
    # Her other account has neither the number nor an extension, so nothing says that it is hers but its address.
    ran = await place.forget("ann@example.com")
    found = {(one["place"], one["what"]) for one in ran.json["found"] if one["place"] != "recent lookups"}
    assert found == {("account", "anns-mobile")}
    for table in ("account", "device", "crm_user", "extension", "contact", "removed", "entry"):
        assert "Ann" not in str([dict(row) for row in await db.fetch(f"select * from {table}")]), table


@pytest.mark.parametrize("place", [False], indirect=True)
async def test_an_extension_that_no_sink_may_delete_is_said_to_stay(place: Place, db: Store) -> None:
    ran = await place.forget("101")
    assert (ran.code, "extensions stay" in ran.err) == (0, True)
    states = {(one["place"], one["what"]): one["state"] for one in ran.json["found"]}
    assert states["sink lines", "extension 101"] == "stays"
    assert states["account", "ann"] == "gone"
    assert sorted(place.manager.extensions) == ["101", "102"]
    # That it is there is all that is known of it.
    row = await db.row("select wanted, acked::text, sent from extension where number = '101'")
    assert tuple(row) == (None, "{}", None)


async def test_files_of_a_daemon_that_is_not_there_go_too(place: Place) -> None:
    await place.daemon.stop()
    left = place.books / "making-1-0.book"
    left.write_text("Ann")
    assert "Ann" in place.filed()
    ran = await place.forget(f"+{number(0)}")
    assert {"place": "finished phone books", "what": "5", "state": "gone"} in ran.json["found"]
    assert "Ann" not in place.filed()
