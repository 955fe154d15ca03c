"""What admins are told, from a real database."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from listed import Listed, record

from bridge import assembly, config, errors, status, sync
from bridge.config import Config
from bridge.sources import Page, Unreadable
from bridge.store import Store

CONFIG = """
region = "LU"
[source.crm]
type = "carddav"
url = "http://127.0.0.1:9/"
[source.office]
type = "file"
path = "office.vcf"
[sink.pbx]
type = "ccm"
url = "http://127.0.0.1:9/api.aspx"
security_key = "secret-key"
"""
ANN = record("1", "Ann Lee", "+352 621 111 111")
BOB = record("2", "Bob Ray", "+352 621 222 222")


@pytest.fixture
async def told(tmp_path: Path, db: Store) -> Config:
    file = tmp_path / "bridge.toml"
    file.write_text(CONFIG)
    told = config.load(file)
    await assembly.enrol(db, told)
    return told


def job(told: Config) -> sync.Job:
    return assembly.job(told.tenants["default"], "crm")


async def read(db: Store, told: Config) -> status.Status:
    return await status.read(db, list(told.tenants.values()))


async def test_what_never_ran_is_there_with_zeros(db: Store, told: Config) -> None:
    found = await read(db, told)
    assert found.sources == (
        status.SourceState("default", "crm", "carddav", configured=True),
        status.SourceState("default", "office", "file", configured=True),
    )
    assert found.sinks == (status.SinkState("default", "pbx", "ccm"),)


async def test_a_run_and_what_waits_after_it(db: Store, told: Config) -> None:
    await sync.run(db, job(told), Listed(ANN, BOB))
    found = await read(db, told)
    crm, pbx = found.sources[0], found.sinks[0]
    assert (crm.contacts, crm.error, crm.held, crm.failures) == (2, "", 0, 0)
    assert crm.read_at == crm.full_at == crm.changed_at
    assert crm.read_at is not None
    assert (pbx.waiting, pbx.refused) == (2, 0)
    assert pbx.waiting_since is not None


@pytest.mark.parametrize("fault", [errors.Unavailable("cut"), errors.Denied("wrong password")])
async def test_a_source_that_fails_says_since_when_and_why(db: Store, told: Config, fault: errors.BridgeError) -> None:
    source = Listed(ANN)
    source.fail = fault
    for _ in range(2):
        with pytest.raises(type(fault)):
            await sync.run(db, job(told), source)
    crm = (await read(db, told)).sources[0]
    assert (crm.error, crm.failures, crm.denied) == (str(fault), 2, isinstance(fault, errors.Denied))
    assert crm.failing_since is not None
    assert crm.tried_at is not None
    assert crm.failing_since < crm.tried_at
    assert crm.read_at is None


async def test_what_is_held_and_why(db: Store, told: Config) -> None:
    source = Listed(ANN, BOB)
    await sync.run(db, job(told), source)
    source.records = []
    await sync.run(db, job(told), source)
    crm = (await read(db, told)).sources[0]
    assert (crm.held, crm.why_held, crm.notes) == (2, "the source reads empty: all 2 contacts would go", ())
    assert crm.held_since is not None


async def test_unreadable_records_are_listed_with_their_reasons(db: Store, told: Config) -> None:
    source = Listed()
    bad = [Unreadable("/a.vcf", "no END"), Unreadable("/b.vcf", "no name")]
    source.pages = [Page(records=[ANN], unreadable=bad, notes=["a share is broken"]), Page(cursor={}, complete=True)]
    await sync.run(db, job(told), source)
    crm = (await read(db, told)).sources[0]
    assert [(one.source, one.id, one.reason) for one in crm.unreadable] == [
        ("crm", "/a.vcf", "no END"),
        ("crm", "/b.vcf", "no name"),
    ]
    assert crm.notes == ("a share is broken",)


async def test_a_source_that_left_the_file_is_shown_while_it_has_contacts(db: Store, told: Config) -> None:
    gone = replace(job(told), source="gone")
    await sync.run(db, gone, Listed(ANN))
    assert [(one.source, one.configured) for one in (await read(db, told)).sources] == [
        ("crm", True),
        ("office", True),
        ("gone", False),
    ]


async def test_refusals_name_the_contact_and_can_be_tried_again(db: Store, told: Config) -> None:
    await sync.run(db, job(told), Listed(ANN, BOB))
    refused = (
        "update entry set state = 'refused', code = 'LNAME_INVALID', reason = 'Invalid Last name' where number = $1"
    )
    await db.execute(refused, "+352621111111")
    tenants = list(told.tenants.values())
    [refusal] = await status.refusals(db, tenants)
    assert (refusal.sink, refusal.number, refusal.name, refusal.code, refusal.reason) == (
        "pbx",
        "+352621111111",
        "Ann Lee",
        "LNAME_INVALID",
        "Invalid Last name",
    )
    assert (await read(db, told)).sinks[0].refused == 1
    assert await status.retry(db, tenants) == 1
    assert await status.refusals(db, tenants) == []
    assert (await read(db, told)).sinks[0].waiting == 2


async def test_what_stands_for_a_number_at_each_sink(db: Store, told: Config) -> None:
    await sync.run(db, job(told), Listed(ANN, BOB))
    [entry] = await status.entries(db, "default", ["+352621222222", "+3520"])
    shown = (entry.sink, entry.number, entry.state, entry.contact, entry.name, entry.acked, entry.tries)
    assert shown == ("pbx", "+352621222222", "due", "crm:2", "Bob Ray", None, 0)
    assert await status.entries(db, "other", ["+352621222222"]) == []


async def test_a_sink_that_refuses_our_key(db: Store, told: Config) -> None:
    failing = "update sink set error = 'the key expired', denied = 'AUTH_ID_EXPIRED', failing_since = now()"
    await db.execute(failing)
    pbx = (await read(db, told)).sinks[0]
    assert (pbx.denied, pbx.error, pbx.ok_at) == ("AUTH_ID_EXPIRED", "the key expired", None)
    assert pbx.failing_since is not None
