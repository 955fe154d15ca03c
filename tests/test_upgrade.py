"""Databases that earlier versions made, with data in every state, brought to this one.

`data/schemas/make.py` made them, by commands of those versions. Only their schemas differ; what they hold is alike, so
what is asked of all of them is the same.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from commands import Ran, bridge
from conftest import named

from bridge import store
from bridge.accounts import seals
from bridge.demo.manager import Manager
from bridge.store import Store

SCHEMAS = Path(__file__).parent / "data" / "schemas"
VERSIONS = sorted(int(path.stem) for path in SCHEMAS.glob("*.sql"))
WITH_ACCOUNTS = [version for version in VERSIONS if version >= 5]
TOML = """
region = "LU"
state_dir = "state"
[database]
url = "{dsn}"
[source.office]
type = "file"
path = "office.vcf"
guard = {{ floor = 2 }}
[source.list]
type = "file"
path = "list.vcf"
[sink.pbx]
type = "ccm"
url = "{url}"
security_key = "key"
rate = 1000
[connector]
token = "lookup-token"
[provisioning]
"""
BOOK = {
    "352621000001": ("Ann", "Lee", ""),
    "352260001": ("Ann", "Lee", ""),
    "352621000002": ("Bob", "Low", ""),
    "352621000003": ("Cem", "Ozan", ""),
    "352621000044": ("Dan", "Poe", ""),
    "352621000005": ("Eve", "Fox", ""),
    "352621000021": ("Fay", "Gum", ""),
    **{f"35262100001{n}": ("Held", f"N{n}", "") for n in range(5)},
}
"""What the Manager comes to hold: all that the sources hold now, and those whose loss is held."""
COLUMNS = """select table_name, column_name, data_type, is_nullable, column_default from information_schema.columns
where table_schema = 'public' order by table_name, ordinal_position"""
INDEXES = "select indexdef from pg_indexes where schemaname = 'public' order by indexdef"
CATALOGUE = {
    "columns": COLUMNS,
    "indexes": INDEXES,
    "constraints": "select conrelid::regclass::text, pg_get_constraintdef(oid) from pg_constraint"
    " where connamespace = 'public'::regnamespace order by 1, 2",
    "policies": "select tablename, policyname, permissive, roles, cmd, qual, with_check from pg_policies order by 1, 2",
    "secured": "select relname, relrowsecurity, relforcerowsecurity from pg_class"
    " where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') order by 1",
    "sequences": "select sequencename, data_type::text, increment_by, cache_size from pg_sequences order by 1",
    "functions": "select proname, prosrc from pg_proc where pronamespace = 'public'::regnamespace order by 1",
    "triggers": "select tgrelid::regclass::text, pg_get_triggerdef(oid) from pg_trigger where not tgisinternal"
    " order by 1, 2",
}
Rows = Mapping[str, Sequence[Mapping[str, Any]]]


@dataclass(frozen=True)
class Old:
    """A database of an earlier version, and what lay beside it."""

    version: int
    dsn: str
    db: Store
    home: Path
    manager: Manager

    async def __call__(self, *words: str) -> Ran:
        """Run a command of this version on it."""
        return await bridge(self.home, *words)

    async def rows(self) -> Rows:
        """All that it holds, by table."""
        tables = await self.db.fetch("select tablename from pg_tables where schemaname = 'public' order by 1")
        names = [row["tablename"] for row in tables if row["tablename"] != "schema_version"]
        return {
            name: [
                json.loads(row[0]) for row in await self.db.fetch(f"select to_jsonb(t)::text from {name} t order by 1")
            ]
            for name in names
        }


@pytest.fixture
async def old(request: pytest.FixtureRequest, postgres: str, tmp_path: Path) -> AsyncIterator[Old]:
    """That of the version which is the test's parameter; it is not upgraded yet."""
    version: int = request.param
    beside = json.loads((SCHEMAS / f"{version:04}.json").read_text())
    owner = Store(postgres)
    await owner.execute(f"create database v{version}")
    dsn = named(postgres, f"v{version}")
    db = Store(dsn)
    manager = Manager("key")
    for entry in beside["entries"]:
        manager._entries[entry["PhoneNumber"]] = [entry]
    try:
        await db.execute((SCHEMAS / f"{version:04}.sql").read_text())
        for name, text in beside["files"].items():
            (tmp_path / name).write_text(text)
        if beside["key"]:
            (tmp_path / "state").mkdir(mode=0o700)
            (tmp_path / "state" / seals.FILE).write_bytes(bytes.fromhex(beside["key"]))
        async with manager.serve() as url:
            (tmp_path / "bridge.toml").touch(0o600)
            (tmp_path / "bridge.toml").write_text(TOML.format(dsn=dsn, url=url))
            yield Old(version, dsn, db, tmp_path, manager)
    finally:
        await db.close()
        await owner.execute(f"drop database v{version} with (force)")
        await owner.close()


def lost(before: Rows, after: Rows) -> list[str]:
    """What was there and is not."""
    return [
        f"{table}: {row}"
        for table, rows in before.items()
        for row in rows
        if not any(row.items() <= now.items() for now in after.get(table, []))
    ]


async def catalogue(db: Store) -> dict[str, list[dict[str, Any]]]:
    """All that a schema consists of."""
    return {name: [dict(row) for row in await db.fetch(query)] for name, query in CATALOGUE.items()}


def test_there_is_one_of_the_first_version_and_none_of_a_later_one() -> None:
    assert (VERSIONS[0], VERSIONS[-1] <= store.VERSION) == (1, True)


@pytest.mark.parametrize("old", VERSIONS, indirect=True)
async def test_nothing_is_lost_and_all_is_as_in_a_new_database(old: Old, db: Store) -> None:
    before = await old.rows()
    states = {row["state"] for row in before["entry"]}
    assert states == {"clean", "due", "sent", "moving", "refused"}
    assert (len(before["held"]), len(before["removed"])) == (5, 1)
    assert await store.migrate(old.db) == (old.version, store.VERSION)
    assert lost(before, await old.rows()) == []
    assert await catalogue(old.db) == await catalogue(db)


@pytest.mark.parametrize("old", [VERSIONS[0], VERSIONS[-1]], indirect=True)
async def test_it_goes_on_where_the_old_version_stopped(old: Old) -> None:
    await store.migrate(old.db)
    ran = await old("lookup", "+352621000001")
    assert (ran.code, "Ann Lee" in ran.out, "Ann Other" in ran.out) == (0, True, True)
    held = await old.rows()

    ran = await old("sync", "--json")
    assert ran.code == 3, ran.out + ran.err
    told = {one["source"]: one for one in ran.json["sources"]}
    changes = {name: tuple(one[key] for key in ("added", "changed", "removed")) for name, one in told.items()}
    assert changes == {"office": (0, 0, 0), "list": (0, 0, 0)}
    now = await old.rows()
    assert known(now) == known(held)

    assert (old.manager.book(), old.manager.duplicates()) == (BOOK, [])
    assert old.manager.counts["Contact Created"] == 1, "only who had never been sent"
    assert {row["state"] for row in now["entry"]} == {"clean", "refused"}

    asked = old.manager.counts["requests"]
    assert (await old("sync", "--full")).code == 3
    assert old.manager.counts["requests"] == asked, "the second time there is nothing to push"


def known(rows: Rows) -> Rows:
    """What is known of people; but not the digests, which tell that the sources' files lie elsewhere now."""
    contacts = [{key: value for key, value in row.items() if key != "digest"} for row in rows["contact"]]
    return {"contact": contacts, **{table: rows[table] for table in ("number", "removed", "held")}}


@pytest.mark.parametrize("old", WITH_ACCOUNTS, indirect=True)
async def test_passwords_open_and_who_was_erased_stays_out(old: Old) -> None:
    await store.migrate(old.db)
    (old.home / "accounts.csv").write_text("username,sippassword\nann,ann-sip\nbob,bob-sip\n")
    ran = await old("account", "import", "accounts.csv", "--json")
    assert ran.json == {"added": 0, "changed": 0, "unchanged": 2, "refused": []}, (
        "their seals were opened and are right"
    )
    assert await old.db.value("select count(*) from forgotten") == 1
