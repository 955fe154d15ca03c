"""The serving process as its keeper starts it."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from answers_alone import answering
from certificates import certificate
from listed import record
from served import SOURCES, TOKEN, configured, hold

from bridge.store import Store

BODY = {"inputs": {"phoneNumber": "41215522000"}}
AUTH = {"X-Execution-Token": TOKEN}


async def asked(port: int, session: aiohttp.ClientSession, path: str = "/services/Lookup", **more: Any) -> Any:
    url = f"{more.pop('scheme', 'http')}://127.0.0.1:{port}{path}"
    async with session.post(url, json=BODY, headers=AUTH, **more) as reply:
        return reply.status, await reply.json()


async def test_it_answers_reports_and_ends_in_time(db: Store, dsn: str, tmp_path: Path) -> None:
    await hold(db, "crm", record("42", "Alexa Holiday", "+41 21 552 20 00"))
    told = configured(tmp_path)
    async with answering(dsn, told.path) as it, aiohttp.ClientSession() as session:
        await it.reported("ready")
        status, document = await asked(it.http, session)
        assert (status, [one["name"] for one in document]) == (200, ["Alexa Holiday"])
        event = await it.logged("lookup.answered")
        assert (event["number"], event["found"]) == ("4121…00", True)
        async with session.get(f"http://127.0.0.1:{it.admin}/health/ready") as reply:
            assert reply.status == 200
        it.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(5):
            assert await it.process.wait() == 0
        with pytest.raises(aiohttp.ClientConnectionError):
            await asked(it.http, session)


async def test_request_under_way_is_finished_at_the_end(db: Store, dsn: str, tmp_path: Path) -> None:
    await hold(db, "crm", record("42", "Alexa Holiday", "+41 21 552 20 00"))
    async with answering(dsn, configured(tmp_path).path) as it:
        await it.reported("ready")
        reader, writer = await asyncio.open_connection("127.0.0.1", it.http)
        body = json.dumps(BODY).encode()
        head = f"POST /services/Lookup HTTP/1.1\r\nHost: x\r\nX-Execution-Token: {TOKEN}\r\n"
        writer.write(head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body[:10])
        await asyncio.sleep(0.2)
        it.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.2)
        writer.write(body[10:])
        async with asyncio.timeout(5):
            assert b"Alexa Holiday" in await reader.read()
            assert await it.process.wait() == 0
        writer.close()
        await writer.wait_closed()


async def test_sighup_takes_a_good_configuration_and_refuses_a_bad_one(db: Store, dsn: str, tmp_path: Path) -> None:
    await hold(db, "crm", record("42", "Alexa Holiday", "+41 21 552 20 00"))
    told = configured(tmp_path)
    async with answering(dsn, told.path) as it, aiohttp.ClientSession() as session:
        await it.reported("ready")
        assert (await asked(it.http, session))[0] == 200
        told.path.write_text("[connector]\ntokn = 1")
        it.process.send_signal(signal.SIGHUP)
        event = await it.logged("config.refused")
        assert any("tokn" in problem for problem in event["problems"])
        assert (await asked(it.http, session))[0] == 200
        configured(tmp_path, 'path = "/new"', more=SOURCES.replace("Sugar CRM", "New Name"))
        it.process.send_signal(signal.SIGHUP)
        await it.logged("config.loaded")
        assert (await asked(it.http, session))[0] == 404
        status, document = await asked(it.http, session, "/new/Lookup")
        assert (status, document[0]["crmName"]) == (200, "New Name")


async def test_sighup_refuses_what_only_a_start_takes_up(db: Store, dsn: str, tmp_path: Path) -> None:
    """Half of it would be worse than none: users gone, and the page still open to other machines."""
    users = 'users = { admin = "hunter2" }'
    told = configured(tmp_path, more=f'{SOURCES}\n[admin]\nlisten = "0.0.0.0:8081"\n{users}')
    async with answering(dsn, told.path) as it, aiohttp.ClientSession() as session:
        await it.reported("ready")
        certificate(tmp_path, "first")
        changed = {
            "admin.listen": f'{SOURCES}\n[admin]\nlisten = "127.0.0.1:8081"',
            "database": f'{SOURCES}\n[admin]\nlisten = "0.0.0.0:8081"\n{users}\n[database]\nurl = "postgresql://other/b"',
            "http.listen": f'{SOURCES}\n[admin]\nlisten = "0.0.0.0:8081"\n{users}\n[http]\nlisten = "127.0.0.1:9"',
            "http.tls": f'{SOURCES}\n[admin]\nlisten = "0.0.0.0:8081"\n{users}\n'
            '[http]\ntls = { certificate = "tls.pem", key = "tls.key" }',
        }
        for key, more in changed.items():
            configured(tmp_path, more=more)
            it.process.send_signal(signal.SIGHUP)
            event = await it.logged("config.refused")
            wrong = "has changed, and only a start takes that up, right is to restart the daemon"
            assert event["problems"] == [f"{told.path}:{key}: {wrong}"]
            async with session.get(f"http://127.0.0.1:{it.admin}/") as reply:
                assert reply.status == 401


async def test_it_starts_without_a_database(tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        dsn = f"postgresql://bridge@127.0.0.1:{nobody.getsockname()[1]}/bridge"
        async with answering(dsn, configured(tmp_path).path) as it, aiohttp.ClientSession() as session:
            await it.logged("lookup.unavailable")
            assert (await asked(it.http, session))[0] == 503
            async with session.get(f"http://127.0.0.1:{it.admin}/health/ready") as reply:
                assert reply.status == 503


async def test_bad_configuration_ends_it_with_2(tmp_path: Path) -> None:
    told = configured(tmp_path)
    told.path.write_text("nonsense = 1")
    async with answering("postgresql://127.0.0.1:1/x", told.path) as it:
        assert [p for p in (await it.logged("config.refused"))["problems"] if "nonsense" in p]
        assert await it.process.wait() == 2


async def test_tls_with_a_certificate_that_is_renewed(db: Store, dsn: str, tmp_path: Path) -> None:
    await hold(db, "crm", record("42", "Alexa Holiday", "+41 21 552 20 00"))
    certificate(tmp_path, "first")
    told = configured(tmp_path, '[http]\ntls = { certificate = "tls.pem", key = "tls.key" }')
    async with answering(dsn, told.path) as it:
        await it.reported("ready")
        first = (tmp_path / "tls.pem").read_text()
        async with aiohttp.ClientSession() as session:
            context = ssl.create_default_context(cadata=first)
            assert (await asked(it.http, session, scheme="https", ssl=context))[0] == 200
        certificate(tmp_path, "second")
        it.process.send_signal(signal.SIGHUP)
        await it.logged("config.loaded")
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await asked(it.http, session, scheme="https", ssl=context)
            context = ssl.create_default_context(cadata=(tmp_path / "tls.pem").read_text())
            assert (await asked(it.http, session, scheme="https", ssl=context))[0] == 200
