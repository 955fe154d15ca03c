"""Health and metrics."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from listed import record
from served import configured, hold

from bridge import counts, embedded, errors, metrics, store
from bridge.config import Config
from bridge.server import Front, Surfaces
from bridge.server.admin import Admin
from bridge.store import Store

USERS = '[admin]\nusers = { admin = "sesämé-open", other = "second" }'


@contextlib.asynccontextmanager
async def admin(db: Store, told: Config) -> AsyncIterator[aiohttp.ClientSession]:
    handler = Front(Surfaces([Admin(db, told)])).server()
    server = await asyncio.get_running_loop().create_server(handler, "127.0.0.1", 0)
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as session:
            yield session
    finally:
        server.close()
        await handler.shutdown(1)


async def got(session: aiohttp.ClientSession, path: str, **more: Any) -> tuple[int, str]:
    async with session.get(path, **more) as reply:
        return reply.status, await reply.text()


async def test_health_while_all_is_well(db: Store, tmp_path: Path) -> None:
    told = configured(tmp_path)
    async with admin(db, told) as session:
        assert await got(session, "/health/live") == (200, '{"live":true}')
        async with session.get("/health/ready") as reply:
            assert reply.status == 200
            assert await reply.json() == {"ready": True, "database": "ok", "configuration": str(told.path)}


async def test_health_and_metrics_without_a_database(tmp_path: Path) -> None:
    server = await embedded.open(tmp_path)
    db = Store(server.dsn)
    await store.migrate(db)
    async with admin(db, configured(tmp_path)) as session:
        assert (await got(session, "/health/ready"))[0] == 200
        await server.close()
        assert (await got(session, "/health/live"))[0] == 200
        async with session.get("/health/ready") as reply:
            assert reply.status == 503
            said = await reply.json()
        assert said["ready"] is False
        assert "database" in said["database"]
        status, page = await got(session, "/metrics")
        assert status == 200
        assert "bridge_database_up 0.0" in page
        assert "bridge_lookups_total" in page
    await db.close()


async def test_metrics_without_a_password_are_for_who_means_this_machine(db: Store, tmp_path: Path) -> None:
    async with admin(db, configured(tmp_path)) as session:
        assert (await got(session, "/metrics", headers={"Host": "evil.example"}))[0] == 421
        assert (await got(session, "/metrics", headers={"Host": "localhost:8081"}))[0] == 200


async def test_metrics_count_what_the_database_holds(db: Store, tmp_path: Path) -> None:
    await hold(db, "crm", record("1", "Ann", "+352 621 111 111"), record("2", "Bob", "+352 621 222 222"))
    await hold(db, "crm", record("1", "Ann", "+352 621 111 111"))
    sink = '[sink.pbx]\ntype = "ccm"\nurl = "https://pbx.example.com/"\nsecurity_key = "key"'
    await db.execute("insert into sink (tenant, name, denied) values ('default', 'pbx', 'INVALID_AUTH_ID')")
    await db.execute(
        "insert into entry (tenant, sink, number, state, since, due_at) select 'default', 'pbx', n::text, s,"
        " now() - interval '1 minute', now()"
        " from unnest(array['due', 'sent', 'refused', 'clean']) with ordinality x(s, n)"
    )
    async with admin(db, configured(tmp_path, sink)) as session:
        async with session.get("/metrics") as reply:
            assert reply.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            page = (await reply.text()).splitlines()
        for line in (
            "bridge_database_up 1.0",
            'bridge_contacts{source="crm",tenant="default"} 1.0',
            'bridge_runs_total{result="done",source="crm",tenant="default"} 2.0',
            'bridge_records_total{change="added",source="crm",tenant="default"} 2.0',
            'bridge_records_total{change="removed",source="crm",tenant="default"} 1.0',
            'bridge_contacts{source="office",tenant="default"} 0.0',
            'bridge_queue{sink="pbx",tenant="default"} 2.0',
            'bridge_refused{sink="pbx",tenant="default"} 1.0',
            'bridge_sink_stopped{sink="pbx",tenant="default"} 1.0',
        ):
            assert line in page
        [oldest] = [line for line in page if line.startswith("bridge_queue_oldest_seconds{")]
        assert 60 <= float(oldest.split()[-1]) < 70
        assert any(line.startswith("bridge_source_last_good_run_timestamp_seconds{source=") for line in page)


async def test_queue_is_counted_without_reading_what_is_clean(db: Store) -> None:
    await db.execute("insert into sink (tenant, name) values ('default', 'pbx')")
    await db.execute(
        "insert into entry (tenant, sink, number, state, since, due_at)"
        " select 'default', 'pbx', n::text, case when n < 10 then 'due' else 'clean' end, now(), now()"
        " from generate_series(1, 5000) n"
    )
    await db.execute("analyze entry")
    plan = "\n".join(row[0] for row in await db.fetch("explain " + counts.SQL["sinks"]))
    assert "entry_due" in plan
    assert "entry_refused" in plan
    assert "entry_pkey" not in plan
    assert "Seq Scan on entry" not in plan


async def test_password_is_asked_for_everything_but_health(db: Store, tmp_path: Path) -> None:
    async with admin(db, configured(tmp_path, USERS)) as session:
        assert (await got(session, "/health/live"))[0] == 200
        assert (await got(session, "/health/ready"))[0] == 200
        async with session.get("/metrics") as reply:
            assert reply.status == 401
            assert reply.headers["WWW-Authenticate"].startswith("Basic ")
        for user, password, status in (
            ("admin", "sesämé-open", 200),
            ("other", "second", 200),
            ("admin", "second", 401),
            ("nobody", "", 401),
        ):
            auth = aiohttp.encode_basic_auth(user, password, "utf-8")
            assert (await got(session, "/metrics", headers={"Authorization": auth}))[0] == status
        for header in ("Basic !!!", "Basic", "Bearer x", "Basic w6Q"):
            assert (await got(session, "/metrics", headers={"Authorization": header}))[0] == 401


async def test_guessing_is_slowed_down(db: Store, tmp_path: Path) -> None:
    async with admin(db, configured(tmp_path, USERS)) as session:
        wrong = {"Authorization": "Basic d3Jvbmc6d3Jvbmc="}
        assert [(await got(session, "/metrics", headers=wrong))[0] for _ in range(11)] == [401] * 10 + [429]


async def test_nothing_else_is_there(db: Store, tmp_path: Path) -> None:
    async with admin(db, configured(tmp_path)) as session:
        for path in ("/", "/metrics/x", "/services/Lookup"):
            status, page = await got(session, path)
            assert (status, page) == (404, '{"error":"there is nothing at this path"}')


async def test_the_database_is_counted_once_a_second_and_lookups_at_once(
    db: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = 0
    snapshot = counts.snapshot

    async def counting(*given: Any) -> metrics.Snapshot:
        nonlocal counted
        counted += 1
        if counted == 1:
            raise errors.Unavailable("away")
        return await snapshot(*given)

    monkeypatch.setattr(counts, "snapshot", counting)
    async with admin(db, configured(tmp_path)) as session:
        assert "bridge_database_up 0.0" in (await got(session, "/metrics"))[1]
        pages = await asyncio.gather(*(got(session, "/metrics") for _ in range(5)))
        assert all("bridge_database_up 1.0" in page for _, page in pages), "that it was away is not remembered"
        assert counted == 2
        metrics.lookup("found", 0.001)
        before, after = (_found(page) for _, page in (pages[0], await got(session, "/metrics")))
        assert after == before + 1


def _found(page: str) -> float:
    [line] = [line for line in page.splitlines() if line.startswith('bridge_lookups_total{result="found"}')]
    return float(line.split()[-1])
