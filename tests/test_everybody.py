"""One daemon for all that call it: the CONNECTOR, softphones, a desk PBX and an admin, while somebody attacks it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from aiohttp import web
from commands import bridge
from daemons import KEY, Daemon, number, until
from hooks import answering
from softphone import App, basic

from bridge.demo.dav import Book, DavServer
from bridge.demo.manager import Manager

MORE = """
[database]
url = "{dsn}"
[connector.workflow.CallFlow]
action = "webhook"
url = "{hook}"
[phonebook.office]
sources = ["staff"]
users = {{ phones = "phones-password" }}
accounts = true
[provisioning]
[pbxsync]
allow = ["{dav}"]
"""
CSV = "username,password,sipusername,sippassword,extension\nann,ann-login,101,sip-secret,101\n"
PEOPLE = {0: "Ann Lee", 1: "Bob Ray"}
CARD = "BEGIN:VCARD\r\nVERSION:3.0\r\nUID:1\r\nFN:Zoe Far\r\nN:Far;Zoe\r\nTEL:+352621900001\r\nEND:VCARD\r\n"
SECONDS = 6.0
ATTACKERS = 4


class Hook:
    """The webhook of a CRM: what it was told, by the key of each call."""

    def __init__(self) -> None:
        self.told: Counter[str] = Counter()
        self.hangs = asyncio.Event()
        self.hangs.set()

    @contextlib.asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        async def answer(request: web.BaseRequest) -> web.Response:
            key = request.headers["Idempotency-Key"]
            self.told[key] += 1
            await self.hangs.wait()
            return web.json_response({"id": key[:8], "url": "https://crm.example.com/"})

        async with answering(answer) as url:
            yield f"{url}/calls"


class Place:
    """A daemon with everything, and those who call it."""

    def __init__(self, daemon: Daemon, hook: Hook, dav: str, http: aiohttp.ClientSession) -> None:
        self.daemon, self.hook, self.dav, self.http = daemon, hook, dav, http
        self.url = f"http://127.0.0.1:{daemon.http}"

    async def call(self, n: int) -> dict[str, Any]:
        """The CONNECTOR's button, for the n-th call."""
        inputs = {"contactCrmId": "staff:x", "originatorNumber": number(0), "startedTime": 1_700_000_000 + n}
        headers = {"X-Execution-Token": self.daemon.token}
        async with self.http.post(f"{self.url}/services/CallFlow", json={"inputs": inputs}, headers=headers) as reply:
            assert reply.status == 200
            said: dict[str, Any] = await reply.json()
            return said

    async def text(self, path: str, **more: Any) -> str:
        async with self.http.get(path if "://" in path else self.url + path, **more) as reply:
            assert reply.status == 200, (path, reply.status)
            return await reply.text()

    async def provisioned(self, again: bool) -> Any:
        query = {"username": "ann", "password": "ann-login", "deviceId": "d", "reprovision": str(again).lower()}
        async with self.http.get(f"{self.url}/provisioning", params=query) as reply:
            assert reply.status == 200
            return await reply.json()


@pytest.fixture
async def place(tmp_path: Path, dsn: str) -> AsyncIterator[Place]:
    manager, hook, book = Manager(key=KEY), Hook(), Book("/dav/alice/staff/", "Staff")
    book.put("1.vcf", CARD)
    async with contextlib.AsyncExitStack() as stack:
        dav = await stack.enter_async_context(DavServer(book, username="alice", password="dav-password").serve())
        url = await stack.enter_async_context(hook.serve())
        daemon = Daemon(tmp_path, await stack.enter_async_context(manager.serve()), dsn)
        daemon.configure(MORE.format(dsn=dsn, hook=url, dav=dav.removeprefix("http://")))
        daemon.write(PEOPLE)
        (tmp_path / "accounts.csv").write_text(CSV)
        try:
            await daemon.start()
            await daemon.ready()
            ran = await bridge(tmp_path, "account", "import", "accounts.csv")
            assert ran.code == 0, ran.err
            await until(lambda: len(manager.book()) == 2)
            http = await stack.enter_async_context(aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(15)))
            yield Place(daemon, hook, dav, http)
        except BaseException:
            print(daemon.text())
            raise
        finally:
            await daemon.end()


def callers(place: Place) -> Mapping[str, Callable[[int], Awaitable[None]]]:
    """What each asks, the n-th time, and is promised."""
    phone = App(f"{place.url}/phonebook/office", "ann", "ann-login")
    helper = f"/pbxsync/alice?password=dav-password&server={quote(place.dav, safe='')}"

    async def connector(n: int) -> None:
        assert await place.daemon.names(number(n % 2)) == [PEOPLE[n % 2]]

    async def button(n: int) -> None:
        made = [await place.call(n // 2) for _ in range(2)]
        assert made[0] == made[1]
        assert made[0]["url"] == "https://crm.example.com/"

    async def softphone(n: int) -> None:
        assert await phone.sync(place.http) == 200
        names = {f"{one['FirstName']} {one['LastName']}".strip() for one in phone.contacts.values()}
        assert names == set(PEOPLE.values())
        given = await place.provisioned(again=n > 0)
        assert (given["update"], given["errmsg"]) == (n == 0, "")

    async def desk(_n: int) -> None:
        login = {"Authorization": basic("phones", "phones-password")}
        assert "Ann Lee" in await place.text("/phonebook/office.txt", headers=login)
        assert await place.text(helper) == "+352621900001:Zoe Far\n"

    async def admin(_n: int) -> None:
        for path in ("/", "/calls", "/phones", "/metrics", f"/lookup?number={number(0)}"):
            page = await place.text(f"http://127.0.0.1:{place.daemon.admin}{path}")
            assert "sip-secret" not in page

    return {"connector": connector, "button": button, "softphone": softphone, "desk": desk, "admin": admin}


async def attack(place: Place, seen: Counter[int]) -> None:
    """From another address of the same network: guesses, odd names, slow and giant requests, one after the other."""
    asked: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/services/Lookup", {"headers": {"X-Execution-Token": "guess"}, "json": {"inputs": {}}}),
        ("POST", "/services/CallFlow", {"json": {"inputs": {}}}),
        ("GET", "/phonebook/office", {"headers": {"Authorization": basic("eve", "guess")}}),
        ("GET", "/phonebook/office", {"headers": {"Authorization": basic("a\0b", "guess")}}),
        ("POST", "/phonebook/office", {"data": b'{"username":"ann\\u0000","password":"x"}'}),
        ("POST", "/phonebook/office", {"data": b"x" * 300_000}),
        ("GET", "/pbxsync/alice?password=x&server=169.254.169.254", {}),
        ("GET", "/pbxsync/salesforce/a/b", {}),
        ("GET", "/phonebook/..%2f..%2fetc%2fpasswd", {}),
        ("DELETE", "/services/CallFlow", {}),
    ]
    from_there = aiohttp.TCPConnector(local_addr=("127.0.0.2", 0))
    slow = []
    async with aiohttp.ClientSession(connector=from_there, timeout=aiohttp.ClientTimeout(20)) as http:
        try:
            while True:
                for method, path, more in asked:
                    with contextlib.suppress(aiohttp.ClientError):
                        async with http.request(method, place.url + path, **more) as reply:
                            seen[reply.status] += 1
                            said = await reply.text()
                            assert "Ann" not in said
                _, writer = await asyncio.open_connection("127.0.0.1", place.daemon.http)
                writer.write(b"POST /services/Lookup HTTP/1.1\r\nContent-Length: 5000\r\nX: ")
                slow.append(writer)
        finally:
            for writer in slow:
                writer.close()


async def test_everybody_gets_what_is_promised_while_somebody_attacks(place: Place) -> None:
    seen: Counter[int] = Counter()
    rounds: Counter[str] = Counter()
    end = asyncio.get_running_loop().time() + SECONDS

    async def again_and_again(name: str, ask: Callable[[int], Awaitable[None]]) -> None:
        # However slow the machine is: a desk's helper URL is a process of its own, which gives way.
        while asyncio.get_running_loop().time() < end or rounds[name] < 2:
            await ask(rounds[name])
            rounds[name] += 1

    attacking = [asyncio.create_task(attack(place, seen)) for _ in range(ATTACKERS)]
    try:
        await asyncio.gather(*(again_and_again(name, ask) for name, ask in callers(place).items()))
        assert not [one for one in attacking if one.done()]
    finally:
        for one in attacking:
            one.cancel()
        await asyncio.gather(*attacking, return_exceptions=True)
    assert seen.keys() <= {400, 401, 403, 404, 405, 413, 429}
    assert {401, 403} <= seen.keys()
    assert set(place.hook.told.values()) == {1}
    log = place.daemon.text()
    hidden = ("phones-password", "ann-login", "dav-password", "sip-secret", place.daemon.token, KEY)
    assert not [secret for secret in hidden if secret in log or base64.b64encode(secret.encode()).decode() in log]
    assert [one for one in place.daemon.log() if one.get("level") == "error"] == []


async def test_a_workflow_whose_worker_dies_in_the_act_is_done_by_the_next_one(place: Place) -> None:
    place.hook.hangs.clear()
    asking = asyncio.create_task(place.call(1))
    await until(lambda: place.hook.told, why="the webhook is told")
    worker = place.daemon.child("worker")
    assert worker
    os.kill(worker, signal.SIGKILL)
    assert await asking == {}
    place.hook.hangs.set()
    [key] = place.hook.told
    await until(lambda: place.hook.told[key] == 2, 60, "the next worker tells it, by the same key")
    assert (await place.call(1))["id"] == key[:8]
    assert place.hook.told == {key: 2}


async def test_calls_are_made_once_while_the_configuration_is_loaded_again_and_again(place: Place) -> None:
    async def reload() -> None:
        while True:
            place.daemon.signal(signal.SIGHUP)
            await asyncio.sleep(0.3)

    reloading = asyncio.create_task(reload())
    try:
        made = [await place.call(n) for n in range(30)]
    finally:
        reloading.cancel()
    assert all(one["url"] for one in made)
    assert sorted(place.hook.told.values()) == [1] * 30
    assert [one for one in place.daemon.log() if one.get("level") == "error"] == []
