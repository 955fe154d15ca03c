"""Hundreds of tenants: added, changed and removed without touching the others, found, counted and shown in bounds."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import aiohttp
import msgspec
import orjson
import pytest
import web_pages
from aiohttp.test_utils import make_mocked_request
from answers_alone import Answering, answering
from listed import record
from prometheus_client.parser import text_string_to_metric_families
from served import hold, parts, serving

from bridge import assembly, config, counts, metrics, status, store
from bridge.claims import Claims
from bridge.config import Config
from bridge.contact import User
from bridge.extensions import ACCOUNTS
from bridge.lookup import Lookups
from bridge.server import surfaces
from bridge.server.connector import Connector
from bridge.server.surfaces import Shared
from bridge.store import Store
from bridge.web import standing

MANY = 300
TENANT = """
[source.crm]
type = "file"
path = "crm.vcf"
[source.office]
type = "file"
path = "office.vcf"
[sink.pbx]
type = "ccm"
url = "https://pbx.example.com/"
security_key = "key-of-{name}"
[connector]
token = "token-of-{name}"
"""


def write(folder: Path, name: str, more: str = "") -> None:
    """A tenant's file."""
    path = folder / "tenants" / f"{name}.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(TENANT.format(name=name) + more)
    path.chmod(0o600)


def names(count: int) -> list[str]:
    return [f"t{n:03}" for n in range(count)]


def several(folder: Path, count: int = MANY, main: str = "") -> Path:
    """A main file with so many tenants."""
    for name in names(count):
        write(folder, name)
    path = folder / "bridge.toml"
    path.write_text(f'region = "LU"\nlog = "json"\ntenants = "tenants/*.toml"\n{main}')
    path.chmod(0o600)
    return path


# Loaded anew by SIGHUP, in the answering process


async def asked(session: aiohttp.ClientSession, tenant: str, token: str = "") -> tuple[int, list[str]]:
    """The status of a lookup, and the names that it was answered."""
    headers = {"X-Execution-Token": token or f"token-of-{tenant}"}
    body = {"inputs": {"phoneNumber": "352621111111"}}
    async with session.post(f"/{tenant}/services/Lookup", json=body, headers=headers) as reply:
        found = await reply.json()
        return reply.status, [one["name"] for one in found] if reply.status == 200 else []


@contextlib.asynccontextmanager
async def asked_all_the_time(session: aiohttp.ClientSession, *tenants: str) -> AsyncIterator[list[Any]]:
    """These tenants' answers during the block."""
    answers: list[Any] = []

    async def ask(tenant: str) -> None:
        while True:
            answers.append((tenant, *await asked(session, tenant)))

    tasks = [asyncio.create_task(ask(tenant)) for tenant in tenants]
    try:
        yield answers
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert [one for one in ended if not isinstance(one, asyncio.CancelledError)] == []


async def reload(it: Answering, event: str = "config.loaded") -> Mapping[str, Any]:
    """Have it load the configuration anew; what it logged."""
    it.process.send_signal(signal.SIGHUP)
    logged: Mapping[str, Any] = await it.logged(event)
    return logged


async def test_tenants_come_change_and_go_while_the_others_are_answered(db: Store, dsn: str, tmp_path: Path) -> None:
    path = several(tmp_path)
    await assembly.enrol(db, config.load(path))
    for tenant in ("t001", "t002", "t003", "new"):
        await hold(db, "crm", record("1", f"Ann of {tenant}", "+352 621 111 111"), tenant=tenant)
    async with (
        answering(dsn, path) as it,
        aiohttp.ClientSession(f"http://127.0.0.1:{it.http}") as session,
    ):
        await it.reported("ready")
        assert await asked(session, "t001") == (200, ["Ann of t001"])
        assert (await asked(session, "new"))[0] == 404
        async with asked_all_the_time(session, "t001", "t250") as others:
            write(tmp_path, "new")
            assert (await reload(it))["tenants"] == MANY + 2
            assert await asked(session, "new") == (200, ["Ann of new"])

            (tmp_path / "tenants" / "t002.toml").write_text(TENANT.format(name="other"))
            await reload(it)
            assert (await asked(session, "t002"))[0] == 401
            assert await asked(session, "t002", "token-of-other") == (200, ["Ann of t002"])

            (tmp_path / "tenants" / "t003.toml").unlink()
            await reload(it)
            assert (await asked(session, "t003"))[0] == 404

            write(tmp_path, "t004", "limit = 0")
            write(tmp_path, "t005", 'header = "no header"')
            write(tmp_path, "late")
            refused = await reload(it, "config.refused")
            told = [problem.split(": ")[0].rpartition("/")[2] for problem in refused["problems"]]
            assert told == ["t004.toml:connector.limit", "t005.toml:connector.header"]
            assert await asked(session, "new") == (200, ["Ann of new"])
            assert (await asked(session, "late"))[0] == 404
            assert await asked(session, "t004") == (200, [])
        assert set(map(orjson.dumps, others)) == {b'["t001",200,["Ann of t001"]]', b'["t250",200,[]]'}


# What is served, by path


@pytest.fixture
async def shared(db: Store, tmp_path: Path) -> AsyncIterator[Shared]:
    made = parts(db, Lookups(db), config.load(several(tmp_path)))
    yield made
    await made.desk.close()


def places(told: Config, shared: Shared, *paths: str) -> list[str]:
    """Whose surface answers each of these paths, "" for nobody's."""
    made = surfaces.of(told, shared)
    found = []
    for path in paths:
        handler: Any = made.find(make_mocked_request("POST", path))
        owner = getattr(handler, "__self__", None) or getattr(getattr(handler, "func", None), "__self__", None)
        tenant = getattr(owner, "_tenant", "")
        found.append(f"{type(owner).__name__} {getattr(tenant, 'name', tenant)}".strip() if owner else "")
    return found


def test_each_path_is_its_tenants_and_all_others_the_main_ones(tmp_path: Path, shared: Shared) -> None:
    main = '[connector]\npath = "/"\ntoken = "main-token"\n[provisioning]\n[pbxsync]\nallow = ["zimbra.example.com"]\n'
    path = several(tmp_path, main=main)
    write(tmp_path, "t007", '[provisioning]\n[pbxsync]\nallow = ["a.example.com"]\n')
    write(tmp_path, "root", 'path = "/"\n')
    told = config.load(path)
    want = {
        "/t001/services/Lookup": "Connector t001",
        "/t001/services/": "Connector t001",
        "/t001//services//LOOKUP/": "Connector t001",
        "/t%30%301/services/lookup": "Connector t001",
        "/t001/services/CallFlow": "Connector t001",
        "/t001/other/Lookup": "",
        "/t001": "Connector default",
        "/t007/provisioning": "Provisioning t007",
        "/t007/pbxsync/x": "PbxSync t007",
        "/t006/provisioning": "",
        "/provisioning/": "Provisioning default",
        "/pbxsync/x": "PbxSync default",
        "/root": "Connector root",
        "/root/Lookup": "Connector root",
        "/root/CallFlow": "Connector root",
        "/Lookup": "Connector default",
        "/CallFlow": "Connector default",
        "/": "Connector default",
        "/nobody/services/Lookup": "",
    }
    assert dict(zip(want, places(told, shared, *want), strict=True)) == want


async def test_what_an_unchanged_tenant_serves_stays_as_it_is(tmp_path: Path, shared: Shared) -> None:
    path = several(tmp_path)
    first = config.load(path)
    surfaces.of(first, shared)

    def made() -> dict[str, Any]:
        assert shared.standing.built
        return {name: own.surfaces for name, own in shared.standing.built.owns.items()}

    before = made()
    write(tmp_path, "t005", "limit = 9")
    (tmp_path / "tenants" / "t006.toml").unlink()
    after = config.load(path, first)
    surfaces.of(after, shared)
    now = made()
    assert {name for name in before if now.get(name) is not before[name]} == {"t005", "t006"}
    [connector] = now["t005"]
    assert isinstance(connector, Connector)
    (tmp_path / "bridge.toml").write_text(path.read_text() + '[http]\ntrusted_proxies = ["10.0.0.0/8"]\n')
    surfaces.of(config.load(path, after), shared)
    assert [name for name, own in made().items() if own and own is now.get(name)] == []


# What the database is told


async def ranks(db: Store, *tenants: str) -> dict[tuple[str, str], int]:
    """The ranks of the sources of these tenants."""
    rows = await db.fetch("select tenant, name, rank from source where tenant = any($1::text[])", list(tenants))
    return {(row["tenant"], row["name"]): row["rank"] for row in rows}


async def versions(db: Store) -> dict[tuple[str, str], str]:
    """Marks of the rows of sources and sinks, which change whenever one is written."""
    rows = await db.fetch(
        "select tenant, name, xmin::text from source union all select tenant, name, xmin::text from sink"
    )
    return {(row["tenant"], row["name"]): row["xmin"] for row in rows}


async def test_only_what_changed_is_enrolled_anew(db: Store, dsn: str, tmp_path: Path) -> None:
    path = several(tmp_path)
    first = config.load(path)
    await assembly.enrol(db, first)
    assert len(await ranks(db, *names(MANY))) == 2 * MANY
    written = await versions(db)
    assert len(written) == 3 * MANY
    for tenant in ("t001", "t002", "t003"):
        await hold(db, "crm", record("1", f"Ann of {tenant}", "+352 621 111 111"), tenant=tenant)
    written = await versions(db)
    told: list[str] = []
    async with db.session() as listening:
        await listening.listen(store.CHANNEL, told.append)
        text = TENANT.format(name="t001").replace(
            "[source.crm]", "[source.aaa]\ntype = 'file'\npath = 'a'\n[source.crm]"
        )
        (tmp_path / "tenants" / "t001.toml").write_text(text)
        (tmp_path / "tenants" / "t002.toml").unlink()
        (tmp_path / "tenants" / "t004.toml").unlink()
        after = config.load(path, first)
        await assembly.enrol(db, after, first)
        await listening.value("select 1")
    assert await ranks(db, "t001", "t002", "t004") == {
        ("t001", "aaa"): 0,
        ("t001", "crm"): 1,
        ("t001", "office"): 2,
        ("t002", "crm"): 32767,
    }
    assert sorted(map(orjson.loads, told)) == [["t001"], ["t002"], ["t004"]]
    assert await db.value("select count(*) from contact where tenant = 't002'") == 1
    assert await db.value("select policy from sink where tenant = 't001'") == "digits LU\naaa\ncrm\noffice\n*"
    changed = {tenant for (tenant, name), mark in (await versions(db)).items() if written.get((tenant, name)) != mark}
    assert changed == {"t001", "t002"}
    written = await versions(db)
    await assembly.enrol(db, after)
    assert await versions(db) == written


async def test_a_sink_follows_its_policy_however_it_came_to_be(db: Store, tmp_path: Path) -> None:
    path = several(tmp_path, 3)
    first = config.load(path)
    await hold(db, "office", record("2", "Bob", "+352 621 111 111"), tenant="t001")
    await hold(db, "crm", record("1", "Ann", "+352 621 111 111"), tenant="t001")
    await assembly.enrol(db, first)
    owner = "select c.source from entry e join contact c on c.tenant = e.tenant and c.pk = e.contact"
    assert [row["source"] for row in await db.fetch(owner)] == ["crm"]
    write(tmp_path, "t001")
    told = (tmp_path / "tenants" / "t001.toml").read_text()
    (tmp_path / "tenants" / "t001.toml").write_text(
        told.replace("[sink.pbx]", '[sink.pbx]\nsources = ["office", "crm"]')
    )
    await assembly.enrol(db, config.load(path, first), first)
    assert [row["source"] for row in await db.fetch(owner)] == ["office"]


async def test_what_a_sink_should_hold_is_decided_by_who_works_for_its_tenant(db: Store, tmp_path: Path) -> None:
    path = several(tmp_path, 3)
    first = config.load(path)
    await hold(db, "crm", record("1", "Ann", "+352 621 111 111"), tenant="t001")
    await assembly.enrol(db, first)
    await db.execute("update entry set state = 'clean'")
    told = (tmp_path / "tenants" / "t001.toml").read_text()
    (tmp_path / "tenants" / "t001.toml").write_text(
        told.replace("[sink.pbx]", '[sink.pbx]\nnumbers = "zeros"\nextensions = true')
    )
    body = msgspec.json.encode(User("u1", "101", "Ann", "Lee", "ann@example.com")).decode()
    await db.execute("insert into crm_user values ('t001', $1, 'u1', $2)", ACCOUNTS, body)
    tenant = config.load(path).tenants["t001"]
    holder = Claims(db, AsyncMock(), AsyncMock())

    async def follow() -> tuple[str, str, str | None]:
        await assembly.follow(db, [tenant], lambda one: holder.of(one.name))
        policy = await db.value("select policy from sink where tenant = 't001'")
        state = await db.value("select state from entry")
        return policy.split()[0], state, await db.value("select state from extension")

    assert await follow() == ("digits", "clean", None)
    holder.wanted = ["t001"]
    await holder.turn()
    assert await follow() == ("zeros", "due", "due")


async def test_enrolling_many_takes_few_statements(db: Store, tmp_path: Path) -> None:
    told = config.load(several(tmp_path))
    await assembly.enrol(db, told)
    before = await db.value("select xact_commit from pg_stat_database where datname = current_database()")
    await assembly.enrol(db, told)
    await db.value("select pg_stat_force_next_flush()")
    await db.value("select pg_stat_clear_snapshot()")
    after = await db.value("select xact_commit from pg_stat_database where datname = current_database()")
    assert after - before < 20


# What is counted


def series(page: bytes) -> dict[str, dict[tuple[str, ...], float]]:
    """The values of every metric, by the values of its labels."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(page.decode()):
        for sample in family.samples:
            labels = tuple(value for _, value in sorted(sample.labels.items(), reverse=True))
            found.setdefault(sample.name, {})[labels] = sample.value
    return found


async def trouble(db: Store) -> None:
    """Things that go wrong with some of the tenants."""
    await db.execute("update source set read_at = now(), tried_at = now(), contacts = 2")
    await db.execute("update source set error = 'away', failing_since = now() where tenant = 't003' and name = 'crm'")
    await db.execute(
        "insert into held (tenant, source, id, loss, since) select 't004', 'crm', n::text, 'removed', now()"
        " from generate_series(1, 12) n"
    )
    await db.execute("update sink set denied = 'INVALID_AUTH_ID', error = 'no' where tenant = 't005'")
    await db.execute(
        "insert into entry (tenant, sink, number, state, since, due_at)"
        " select 't' || lpad(n::text, 3, '0'), 'pbx', '1', s, now() - a * interval '1 minute', now()"
        " from (values (6, 'due', 60), (7, 'due', 1), (8, 'refused', 1), (9, 'sent', 2)) x (n, s, a)"
    )
    await db.execute(
        "insert into total (tenant, subject, name, event, count)"
        " select tenant, 'source', name, 'run.done', 3 from source union all"
        " select tenant, 'sink', name, 'push.settled', 5 from sink"
    )
    await web_pages.workflow(db, "k1", "failed")
    await db.execute("update workflow_call set tenant = 't010'")
    await web_pages.workflow(db, "k2", "due")
    await db.execute("update workflow_call set tenant = 't011' where key = 'k2'")


async def test_metrics_of_many_tenants_are_bounded_and_their_sums_are_right(db: Store, tmp_path: Path) -> None:
    told = config.load(several(tmp_path))
    await assembly.enrol(db, told)
    await trouble(db)
    few = series(metrics.render(await counts.snapshot(db, told, many=MANY + 1)))
    page = metrics.render(await counts.snapshot(db, told))
    many = series(page)
    assert len(page) < 10_000
    assert many["bridge_tenants"] == {(): MANY + 1}
    assert many["bridge_source_failing"] == {("t003", "crm"): 1, ("t004", "crm"): 0, ("_others", "_others"): 0}
    assert many["bridge_held"] == {("t003", "crm"): 0, ("t004", "crm"): 12, ("_others", "_others"): 0}
    assert many["bridge_sink_stopped"] == {
        ("t005", "pbx"): 1,
        ("t006", "pbx"): 0,
        ("t008", "pbx"): 0,
        ("_others", "_others"): 0,
    }
    assert 3600 <= many["bridge_queue_oldest_seconds"]["t006", "pbx"] < 3700
    assert 120 <= many["bridge_queue_oldest_seconds"]["_others", "_others"] < 200
    assert many["bridge_queue"]["_others", "_others"] == 2
    assert many["bridge_refused"]["t008", "pbx"] == 1
    assert many["bridge_workflow_calls"]["t010", "failed"] == 1
    assert many["bridge_workflow_calls"]["_others", "waiting"] == 1
    assert many["bridge_source_last_good_run_timestamp_seconds"]["_others", "_others"] > 1.7e9
    assert len(few["bridge_runs_total"]) == 2 * MANY * 4
    extremes = {"queue_oldest_seconds", "source_last_good_run_timestamp_seconds", "source_every_seconds"}
    for name in set(few) - {f"bridge_{one}" for one in extremes}:
        if not name.startswith(("bridge_lookup", "bridge_process", "bridge_provisioning", "bridge_phonebook")):
            assert (name, sum(many[name].values())) == (name, sum(few[name].values()))


async def test_what_is_wrong_with_very_many_has_no_more_series_than_the_worst(db: Store, tmp_path: Path) -> None:
    told = config.load(several(tmp_path))
    await assembly.enrol(db, told)
    await db.execute(
        "update source set error = 'away', failing_since = now() - rank * interval '1 h', tried_at = now()"
    )
    await db.execute("update sink set error = 'away'")
    found = series(metrics.render(await counts.snapshot(db, told)))
    for name, count in (("bridge_source_failing", 2 * MANY), ("bridge_sink_failing", MANY)):
        assert len(found[name]) == counts.WORST + 1
        assert found[name]["_others", "_others"] == count - counts.WORST
    assert {source for _, source in found["bridge_source_failing"]} == {"office", "_others"}


async def test_who_is_denied_is_named_before_all_that_merely_fail(db: Store, tmp_path: Path) -> None:
    told = config.load(several(tmp_path))
    await assembly.enrol(db, told)
    await db.execute("update source set error = 'away', failing_since = now() - interval '1 h', tried_at = now()")
    await db.execute("update source set denied = true, failing_since = now() where tenant = 't250' and name = 'office'")
    few = series(metrics.render(await counts.snapshot(db, told, many=MANY + 1)))
    assert [key for key, value in few["bridge_source_denied"].items() if value] == [("t250", "office")]
    many = series(metrics.render(await counts.snapshot(db, told)))
    assert [key for key, value in many["bridge_source_denied"].items() if value] == [("t250", "office")]
    await db.execute("update source set denied = true")
    many = series(metrics.render(await counts.snapshot(db, told)))
    assert many["bridge_source_denied"]["_others", "_others"] == 2 * MANY - counts.WORST


async def test_a_source_is_late_by_its_own_interval(db: Store, tmp_path: Path) -> None:
    path = several(tmp_path)
    for name in ("t007", "t008"):
        file = tmp_path / "tenants" / f"{name}.toml"
        file.write_text(file.read_text().replace("[sink.pbx]", 'every = "6h"\n[sink.pbx]'))
    told = config.load(path)
    await assembly.enrol(db, told)
    await db.execute("update source set read_at = now() - interval '50 minutes', tried_at = now()")
    await db.execute("update source set read_at = now() - interval '5 h' where tenant in ('t006', 't007')")
    await db.execute("update source set read_at = now() - interval '14 h' where tenant = 't008'")
    few = series(metrics.render(await counts.snapshot(db, told, many=MANY + 1)))["bridge_source_every_seconds"]
    assert (few["t006", "office"], few["t007", "office"], few["t007", "crm"]) == (30, 21600, 30)
    many = series(metrics.render(await counts.snapshot(db, told)))["bridge_source_every_seconds"]
    late = {("t006", "crm"): 30, ("t006", "office"): 30, ("t007", "crm"): 30}
    late |= {("t008", "crm"): 30, ("t008", "office"): 21600}
    assert many == {**late, ("_others", "_others"): 21600}


async def test_a_tenant_that_left_is_counted_no_more(db: Store, tmp_path: Path) -> None:
    path = several(tmp_path)
    first = config.load(path)
    await assembly.enrol(db, first)
    await trouble(db)
    for name in ("t003", "t004", "t005", "t006"):
        (tmp_path / "tenants" / f"{name}.toml").unlink()
    told = config.load(path, first)
    await assembly.enrol(db, told, first)
    found = series(metrics.render(await counts.snapshot(db, told)))
    assert found["bridge_held"] == {("_others", "_others"): 0}
    assert found["bridge_sink_stopped"] == {("t008", "pbx"): 0, ("_others", "_others"): 0}
    assert found["bridge_queue"]["_others", "_others"] == 2


async def test_phone_books_and_provisioning_are_counted_by_result(db: Store, tmp_path: Path) -> None:
    write(tmp_path, "t001", '[phonebook.staff]\nsources = ["crm"]\nusers = { phones = "right" }\n[provisioning]\n')
    path = tmp_path / "bridge.toml"
    path.write_text('region = "LU"\ntenants = "tenants/*.toml"\n')
    told = config.load(path)
    await assembly.enrol(db, told)

    def counted() -> dict[tuple[str, str], float]:
        found = series(metrics.render(None))
        names = ("phonebook", "provisioning")
        return {(n, one): v for n in names for (one,), v in found[f"bridge_{n}_requests_total"].items()}

    before = counted()
    async with serving(db, told) as it:

        async def book(password: str = "right", **headers: str) -> aiohttp.ClientResponse:
            headers["Authorization"] = aiohttp.encode_basic_auth("phones", password, "utf-8")
            async with it.session.get(f"{it.url}/t001/phonebook/staff", headers=headers) as reply:
                return reply

        assert (await book()).status == 503
        assert (await book("wrong")).status == 401
        await hold(db, "crm", record("1", "Ann", "+352 621 111 111"), tenant="t001")
        await asyncio.sleep(1.0)  # a look at the sources is good for so long
        sent = await book()
        assert sent.status == 200
        assert (await book(**{"If-None-Match": sent.headers["ETag"]})).status == 304
        async with it.session.get(f"{it.url}/t001/provisioning?username=nobody&password=x") as reply:
            assert (await reply.json())["update"] is False
    after = counted()
    assert {key: after[key] - before[key] for key in after if after[key] != before[key]} == {
        ("phonebook", "failed"): 1,
        ("phonebook", "denied"): 1,
        ("phonebook", "sent"): 1,
        ("phonebook", "unchanged"): 1,
        ("provisioning", "denied"): 1,
    }


# What admins are shown


async def test_status_shows_the_worst_of_many(db: Store, tmp_path: Path) -> None:
    told = config.load(several(tmp_path))
    await assembly.enrol(db, told)
    await trouble(db)
    found = await status.read(db, list(told.tenants.values()))
    assert len(found.sources) == 2 * MANY
    shown = status.worst(found, 5)
    assert [(one.tenant, one.source) for one in shown.sources[:2]] == [("t003", "crm"), ("t004", "crm")]
    assert [one.tenant for one in shown.sinks[:3]] == ["t005", "t008", "t006"]
    assert (len(shown.sources), len(shown.sinks)) == (5, 5)
    assert status.worst(found, 1_000) == found
    refusals = await status.refusals(db, list(told.tenants.values()))
    assert [one.tenant for one in refusals] == ["t008", "t010"]
    assert await status.retry(db, list(told.tenants.values())) == 2


async def test_the_page_of_many_tenants_lists_the_worst_and_finds_the_others(db: Store, tmp_path: Path) -> None:
    told = config.load(several(tmp_path))
    await assembly.enrol(db, told)
    await trouble(db)
    worst = await standing.worst(db, list(told.tenants.values()), 8)
    assert [one.name for one in worst.tenants[:6]] == ["t003", "t005", "t004", "t006", "t008", "t010"]
    assert (worst.failing, worst.attention, len(worst.tenants)) == (2, 4, 8)
    async with web_pages.serving(db, told) as (url, _), aiohttp.ClientSession(url) as session:
        page = await (await session.get("/")).text()
        assert "301 tenants, 2 failing, 4 to look at; the worst 50 are shown" in page
        assert page.count('scope="row"') == 50
        assert page.index("t003") < page.index("t005") < page.index("t004") < page.index("t000")
        assert "<select" not in page
        page = await (await session.get("/", params={"find": "T29"})).text()
        assert "301 tenants, 10 with “T29” in the name" in page
        assert page.count('scope="row"') == 10
        page = await (await session.get("/", params={"find": "<b>"})).text()
        assert "0 with “&lt;b&gt;” in the name" in page
        page = await (await session.get("/", params={"tenant": "t299"})).text()
        assert 'value="t299"' in page
        assert "t298" not in page
