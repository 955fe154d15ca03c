"""`bridge forget`: a person goes from everywhere and does not come back, and nobody else goes along."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from commands import bridge, card

from bridge import assembly, config, extensions, forget, forgotten, keys, workflows
from bridge.contact import Contact, Number, User
from bridge.demo.manager import Manager
from bridge.forget import Who
from bridge.forgotten import Forgotten, hashed
from bridge.store import Store

CONFIG = """
region = "LU"
[database]
url = "{dsn}"
[source.crm]
type = "file"
path = "crm.vcf"
[source.office]
type = "file"
path = "office.vcf"
[sink.pbx]
type = "ccm"
url = "{url}"
security_key = "k"
rate = 1000
[connector]
token = "t"
"""
MAIL = "EMAIL:Ann.Lee@example.com\r\nEND:VCARD"
ANN = card("1", "Ann Lee", "+352 621 111 111", "+352 621 111 112").replace("END:VCARD", MAIL)
BOB = card("2", "Bob Ray", "+352 621 222 222")
ANN_AT_OFFICE = card("7", "Ann L.", "+352 621 111 111")


class Place:
    def __init__(self, home: Path, manager: Manager) -> None:
        self.home, self.manager = home, manager

    def write(self, crm: str, office: str) -> None:
        (self.home / "crm.vcf").write_text(crm)
        (self.home / "office.vcf").write_text(office)


@pytest.fixture
async def place(tmp_path: Path, dsn: str) -> AsyncIterator[Place]:
    manager = Manager("k")
    async with manager.serve() as url:
        (tmp_path / "bridge.toml").touch(0o600)
        (tmp_path / "bridge.toml").write_text(CONFIG.format(dsn=dsn, url=url))
        made = Place(tmp_path, manager)
        made.write(ANN + BOB, ANN_AT_OFFICE)
        assert (await bridge(tmp_path, "sync")).code == 0
        assert sorted(manager.book()) == ["352621111111", "352621111112", "352621222222"]
        yield made


async def test_a_person_is_erased_by_any_spelling_of_a_number_with_proof(place: Place, db: Store) -> None:
    ran = await bridge(place.home, "forget", "00352 621 111 111", "--json")
    assert ran.code == 0, ran.err
    assert ran.json == {
        "found": [
            {"place": "contact", "what": "crm:1 Ann Lee", "state": "gone"},
            {"place": "contact", "what": "office:7 Ann L.", "state": "gone"},
            {"place": "sink pbx", "what": "+352621111111", "state": "gone"},
            {"place": "sink pbx", "what": "+352621111112", "state": "gone"},
        ]
    }
    assert sorted(place.manager.book()) == ["352621222222"]
    for table in ("contact", "removed", "held", "entry"):
        rows = await db.fetch(f"select * from {table}")
        assert not [row for row in rows if "Ann" in str(dict(row)) or "111111" in str(dict(row))]
    assert (await bridge(place.home, "lookup", "+352621111111", "--json")).json == []


async def test_later_runs_do_not_bring_the_person_back_whatever_changes(place: Place) -> None:
    assert (await bridge(place.home, "forget", "+352621111111")).code == 0
    assert (await bridge(place.home, "sync", "--full")).code == 0
    assert sorted(place.manager.book()) == ["352621222222"]
    # The same record with another number, and another record with the same number.
    moved = card("1", "Ann Lee", "+352 621 999 999")
    place.write(moved + BOB, card("8", "A. Lee", "0621 111 111", "621 111 111"))
    assert (await bridge(place.home, "sync", "--full")).code == 0
    assert sorted(place.manager.book()) == ["352621222222"]


async def test_calls_go_however_their_number_was_told(place: Place, db: Store) -> None:
    tenant = config.load(place.home / "bridge.toml").tenants["default"]
    workflow = keys.Workflow(action="webhook", url="http://127.0.0.1:9/")
    theirs = ("00352621111111", "621 111 111", "+352 621 111-112", "352621111111", "0621111111")
    others = ("621 222 222", "+33621111111", "1111", "")
    for number in (*theirs, *others):
        inputs = {"originatorNumber": number, "originatorName": "N", "direction": "incoming"}
        await workflows.ask(db, tenant, "CallFlow", workflow, inputs, patience=0.0)
    inputs = {"contactCrmId": "crm:1", "originatorNumber": "anonymous", "direction": "incoming"}
    await workflows.ask(db, tenant, "CallFlow", workflow, inputs, patience=0.0)
    # Who is removed already, with the calls of then.
    place.write(BOB, card("9", "Zed", "+352 621 555 555"))
    assert (await bridge(place.home, "sync", "--full")).code == 0
    ran = await bridge(place.home, "forget", "+352621111111")
    assert (ran.code, ran.out.count("CallFlow")) == (0, len(theirs) + 1), ran.out
    left = await db.fetch("select told -> 'call' ->> 'number' as number from workflow_call")
    assert sorted(row["number"] for row in left) == sorted(others)


async def test_an_address_is_as_good(place: Place) -> None:
    ran = await bridge(place.home, "forget", " ann.lee@EXAMPLE.com")
    assert ran.code == 0
    assert "crm:1 Ann Lee" in ran.out
    # The office has no address of hers: what it holds is another person's, as far as anybody can tell.
    assert sorted(place.manager.book()) == ["352621111111", "352621222222"]
    assert place.manager.book()["352621111111"][0] == "Ann"
    assert (await bridge(place.home, "sync", "--full")).code == 0
    assert "352621111112" not in place.manager.book()


async def test_a_sink_that_is_away_is_named_and_told_later(place: Place) -> None:
    place.manager.key = "other"
    ran = await bridge(place.home, "forget", "+352621222222")
    assert ran.code == 1
    assert "pbx: has not taken its deletes yet" in ran.err
    assert "waits" in ran.out
    place.manager.key = "k"
    assert (await bridge(place.home, "sync", "--full")).code == 0
    assert "352621222222" not in place.manager.book()


async def test_who_was_forgotten_by_mistake_comes_back_with_undo(place: Place) -> None:
    assert (await bridge(place.home, "forget", "+352621111111")).code == 0
    assert (await bridge(place.home, "forget", "--undo", "621111111")).code == 0
    assert (await bridge(place.home, "sync", "--full")).code == 0
    assert sorted(place.manager.book()) == ["352621111111", "352621111112", "352621222222"]
    assert (await bridge(place.home, "forget", "--undo", "621111111")).code == 1


async def test_nobody_held_is_kept_out_all_the_same(place: Place) -> None:
    ran = await bridge(place.home, "forget", "+352621333333")
    assert (ran.code, "kept out from now on" in ran.err) == (0, True)
    place.write(ANN + BOB + card("3", "Carl", "+352621333333"), ANN_AT_OFFICE)
    assert (await bridge(place.home, "sync", "--full")).code == 0
    assert "352621333333" not in place.manager.book()


async def test_what_is_neither_is_said_so(place: Place) -> None:
    ran = await bridge(place.home, "forget", "anonymous")
    assert (ran.code, "neither a number nor an e-mail address" in ran.err) == (2, True)


async def test_only_salted_hashes_stay(place: Place, db: Store) -> None:
    await bridge(place.home, "forget", "+352621111111")
    rows = await db.fetch("select hash from forgotten")
    assert len(rows) == 3
    async with db.pooled() as connection:
        kept = await forgotten.load(connection, "default")
    assert {row["hash"] for row in rows} == {hashed(kept.salt, word) for word in ("+352621111111", "crm:1", "office:7")}


async def test_a_crms_user_goes_with_the_extension_and_a_shared_caller_id_is_nobodys(place: Place, db: Store) -> None:
    users = [
        User("u1", "101", "Ann", "Lee", "Ann.Lee@example.com", "+352 26 26 26"),
        User("u2", "102", "Bob", "Ray", "bob@example.com", "+352 26 26 26"),
        User("u3", "103", "Cem", "Oz", "", "+352 621 333 333"),
    ]
    told = config.load(place.home / "bridge.toml")
    sink = told.tenants["default"].sinks["pbx"].model_copy(update={"extensions": True, "delete_extensions": True})
    tenant = dataclasses.replace(told.tenants["default"], sinks={"pbx": sink})
    takers, jobs = assembly.extension_takers(tenant), {"crm": assembly.job(tenant, "crm")}
    async with db.pooled() as session, session.transaction():
        await extensions.amend_users(session, "default", "crm", users, [])
        await extensions.settle(session, "default", "pbx", takers["pbx"])
        await session.execute("update extension set state = 'clean', acked = wanted")

    async def found(**who: Any) -> list[str]:
        before, _ = await forget.forget(db, tenant, Who(**who), jobs, takers)
        return [one.what for one in before.found if one.place == "user" or "extension" in one.what]

    async def extension(number: str) -> tuple[str, str | None]:
        return tuple(await db.row("select state, acked::text from extension where number = $1", number))

    assert await found(keys=("+352262626",)) == []
    assert await found(keys=("+352621333333",)) == ["crm:u3", "extension 103"]
    assert await found(email="ann.lee@example.com") == ["crm:u1", "extension 101"]
    assert [row["id"] for row in await db.fetch("select id from crm_user")] == ["u2"]
    assert [await extension(number) for number in ("101", "103")] == [("due", "{}")] * 2
    assert await found(keys=("102",)) == ["crm:u2", "extension 102"]


def test_a_companys_number_is_nobodys_own() -> None:
    kept = Forgotten(b"salt", frozenset({hashed(b"salt", "+352262626")}))
    own, companys = Number("+352262626", "work", "x"), Number("+352262626", "work", "x", True)
    assert kept.keeps_out(Contact("crm", "1", numbers=(own,)))
    assert not kept.keeps_out(Contact("crm", "1", numbers=(companys,)))
