"""The admin's page on a loopback port, over a store in which a lot has happened."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
from collections.abc import AsyncIterator
from pathlib import Path

from listed import Listed, record

from bridge import approval, asks, assembly, config, status, sync
from bridge.config import Config, Tenant
from bridge.recent import Recent
from bridge.server import Front, Surfaces
from bridge.server.admin import Admin
from bridge.server.page import Actions, Web
from bridge.store import Store

SOURCES = """
region = "LU"
[source.crm]
type = "carddav"
url = "http://127.0.0.1:9/"
label = "Sales"
[source.office]
type = "file"
path = "office.vcf"
[source.partners]
type = "file"
path = "partners.vcf"
[sink.pbx]
type = "ccm"
url = "http://127.0.0.1:9/api.aspx"
security_key = "secret-key"
extensions = true
"""
SURFACES = """
[connector]
token = "a-long-enough-token"
[connector.workflow.CallFlow]
action = "log-call"
source = "crm"
[phonebook.staff]
title = "Staff"
sources = ["crm", "partners"]
users = { phones = "phones-password" }
accounts = true
[provisioning]
"""
MOMENT = datetime.datetime(2026, 1, 31, 12, 34, 56, tzinfo=datetime.UTC)
USERS = '[admin]\nusers = { admin = "open-sesame", second = "other" }\n'


def configured(folder: Path, more: str = "", *, above: str = "", sources: str = SOURCES) -> Config:
    """A loaded bridge.toml with three sources and a sink."""
    path = folder / "bridge.toml"
    path.write_text(f"{above}\n{sources}\n{SURFACES}\n{more}")
    path.chmod(0o600)
    return config.load(path)


@contextlib.asynccontextmanager
async def serving(
    db: Store, told: Config, recent: Recent | None = None, patience: float = 5.0
) -> AsyncIterator[tuple[str, Web]]:
    """The URL of the admin server, and its pages, with the actions that the daemon has."""

    async def approve(tenant: Tenant, source: str) -> dict[str, int]:
        return dict(await approval.approve(db, assembly.job(tenant, source)))

    async def retry(tenant: Tenant) -> int:
        return await status.retry(db, [tenant])

    async def works() -> bool:
        return await asks.daemon_works(db)

    made = Web(db, told, Actions(approve=approve, retry=retry, works=works), recent, patience=patience)
    handler = Front(Surfaces([Admin(db, told), made])).server()
    server = await asyncio.get_running_loop().create_server(handler, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", made
    finally:
        server.close()
        await handler.shutdown(1)


async def hold(db: Store, told: Config, losses: int, tenant: str = "default") -> None:
    """Have the source crm lose so many contacts, more than its guard lets through."""
    job = assembly.job(told.tenants[tenant], "crm")
    people = [record(f"c{n:03}", f"Person {n:03}", f"+352 621 {n:06}") for n in range(losses + 2)]
    await sync.run(db, job, Listed(*people))
    await sync.run(db, job, Listed(*people[:2]), full=True)


async def refuse(db: Store, number: str, code: str, reason: str, contact: int | None = None) -> None:
    """Have the sink pbx refuse a number."""
    await db.execute(
        "insert into entry (tenant, sink, number, contact, state, since, due_at, code, reason)"
        " values ('default', 'pbx', $1, $4, 'refused', now() - interval '3 hours', now(), $2, $3)"
        " on conflict (tenant, sink, number) do update set state = 'refused', code = excluded.code,"
        " reason = excluded.reason",
        number,
        code,
        reason,
        contact,
    )


async def runs(db: Store, source: str, count: int) -> None:
    """Runs of the last day: a large one first, then small ones, some of which failed."""
    await db.execute(
        'insert into run (tenant, source, started_at, seconds, "full", read, added, changed, removed, unchanged,'
        " refused, lost, held, error)"
        " select 'default', $1, now() - interval '1 day' * n / $2, case when n = $2 then 42 else 0.2 + n % 7 * 0.1 end,"
        " n = $2, 4000, case when n = $2 then 4000 when n % 5 = 0 then n % 9 else 0 end, (n * 7) % 23,"
        " case when n % 11 = 0 then 3 else 0 end, 3990, 0, 0, 0,"
        " case when n % 40 between 1 and 3 then 'the server does not answer' else '' end"
        " from generate_series(1, $2::int) n",
        source,
        count,
    )


async def workflow(db: Store, key: str, state: str, name: str = "Ann Lee", reason: str = "", url: str = "") -> None:
    """A call that a workflow was asked for."""
    await db.execute(
        "insert into workflow_call (tenant, key, workflow, action, source, told, contact, contact_url, state, asked_at,"
        " due_at, made_id, made_url, code, reason) values ('default', $1, 'CallFlow', 'log-call', 'crm',"
        " json_build_object('call', json_build_object('number', '+352621111111', 'name', $3::text)), '1', '', $2,"
        " now() - interval '2 minutes', now(), case when $2 = 'done' then '00T9' else '' end, $5, '', $4)",
        key,
        state,
        name,
        reason,
        url,
    )


async def account(db: Store, name: str, *devices: str, first: str = "Ann", tenant: str = "default") -> None:
    """A softphone account with its devices."""
    await db.execute(
        "insert into account (tenant, username, login, sealed, details) values ($1, $2, '', '',"
        " json_build_object('sipusername', '101', 'extension', '101', 'firstname', $3::text, 'lastname', 'Lee'))",
        tenant,
        name,
        first,
    )
    for device in devices:
        await db.execute(
            "insert into device (tenant, username, device, given, mark) values ($1, $2, $3, '[{\"x\": \"y\"}]', '')",
            tenant,
            name,
            device,
        )


async def eventful(db: Store, told: Config, recent: Recent) -> None:
    """A day in which much happened, and some of it went wrong."""
    await assembly.enrol(db, told)
    await hold(db, told, 14)
    await sync.run(
        db, assembly.job(told.tenants["default"], "office"), Listed(record("1", "Ann Lee", "+352 26 00 10 01"))
    )
    for source, count in (("crm", 120), ("office", 260)):
        await runs(db, source, count)
    await db.execute(
        "update source set error = 'partners.vcf: there is no such file', failing_since = now() - interval '2 hours',"
        " failures = 24, tried_at = now() - interval '3 minutes', read_at = now() - interval '2 hours'"
        " where name = 'partners'"
    )
    await db.execute(
        "update source set notes = array['the field \"Mobile__c\" may not be seen by this login'] where name = 'office'"
    )
    await db.execute(
        "insert into unreadable (tenant, source, id, version, reason)"
        " values ('default', 'office', 'cards/17.vcf', '1', 'line 3 is no property')"
    )
    await db.execute("update sink set ok_at = now() - interval '4 seconds' where name = 'pbx'")
    await refuse(db, "+352621999001", "INVALID_NAME", "the Manager does not take this name")
    await refuse(db, "+352621999002", "PHONE_NUMBER_INVALID", "the Manager does not take this number")
    await workflow(db, "k1", "done", url="https://crm.example.com/task/00T9")
    await workflow(db, "k2", "due")
    await workflow(db, "k3", "failed", reason="the contact is not there any more")
    await account(db, "ann", "4f0c-iphone", "8811-desk")
    await account(db, "bob", first="Bob")
    for n in range(12):
        recent.note("default", f"3526211111{n:02}", b'[{"name": "Ann Lee"}]' if n % 3 else b"[]", 0.0021)
