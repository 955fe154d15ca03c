"""A stand-in Salesforce: an org in memory behind a login host and an instance, strict about what the real one refuses.

    org = Org()
    server = SalesforceServer(org, client_id="3MVG9", client_secret="secret")
    async with server.serve() as login_url: ...

Logins go to `login_url`, all else to `server.instance_url`, another port. What goes wrong is in `server.faults`
(`salesforce_faults`); `server.calls` are the last 100,000 requests, as `METHOD /path`.
"""

from __future__ import annotations

import asyncio
import urllib.parse
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from email.utils import format_datetime

from aiohttp import web

from bridge.demo import salesforce_faults as faults
from bridge.demo import salesforce_rest as rest
from bridge.demo.salesforce_faults import Fault
from bridge.demo.salesforce_login import Credentials, Logins
from bridge.demo.salesforce_org import Org
from bridge.demo.salesforce_wire import JSON, Ask, Limits, Refused, Reply, not_found
from bridge.demo.sample import Person

__all__ = ["Fault", "Org", "Person", "SalesforceServer"]

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_CALLS = 100_000
_LONGEST = 16_384


class SalesforceServer(Limits):
    """One org served; the limits of `Limits` are its own, and `login` says how one may log in."""

    def __init__(
        self,
        org: Org,
        *,
        client_id: str = "",
        client_secret: str = "",
        username: str = "",
        password: str = "",
        security_token: str = "",
        public_key: str = "",
    ) -> None:
        super().__init__()
        self.org = org
        self.login = Credentials(client_id, client_secret, username, password, security_token, public_key)
        self.faults: list[Fault] = []
        self.calls: list[str] = []
        self.app = ""
        self._logins = Logins(org, self.login)
        self._rest = rest.Rest(org, self)
        self._closing = asyncio.Event()
        self._accounts: dict[str, str] = {}
        self._people: dict[str, str] = {}
        if username:
            org.update(org.user, {"Username": username})

    @property
    def instance_url(self) -> str:
        """Where all but logins go."""
        return self._logins.instance_url

    @asynccontextmanager
    async def serve(self, port: int = 0) -> AsyncIterator[str]:
        """Listen on two loopback ports; the address of the login host."""
        self._closing = asyncio.Event()
        runners = [self._runner(self._at_login), self._runner(self._at_instance)]
        try:
            for runner, wanted in zip(runners, (port, 0), strict=True):
                await runner.setup()
                await web.TCPSite(runner, "127.0.0.1", wanted).start()
            login, instance = (f"http://127.0.0.1:{runner.addresses[0][1]}" for runner in runners)
            self._logins.login_url, self._logins.instance_url = login, instance
            yield login
        finally:
            self._closing.set()
            for runner in runners:
                await runner.cleanup()

    def table(self, url: str) -> dict[str, str]:
        """The keys of a `[source.x]` table that reads this org."""
        return {
            "type": "salesforce",
            "url": url,
            "client_id": self.login.client_id,
            "client_secret": self.login.client_secret,
        }

    def put_person(self, key: str, person: Person) -> None:
        """A contact of this key, with its account, made or changed."""
        numbers = [number.strip() for number in person.work.split(",") if number.strip()]
        fields = {
            "FirstName": person.first if person.last else None,
            "LastName": person.last or person.name,
            "AccountId": self._account(person.company),
            "Phone": numbers[0] if numbers else None,
            "OtherPhone": numbers[1] if len(numbers) > 1 else None,
            "MobilePhone": person.cell or None,
        }
        if key in self._people:
            self.org.update(self._people[key], fields)
        else:
            self._people[key] = self.org.put("Contact", fields)

    def remove_person(self, key: str) -> None:
        """The contact of this key goes into the bin."""
        self.org.delete(self._people.pop(key))

    def expire(self) -> None:
        """End every session."""
        self._logins.expire()

    def _account(self, name: str) -> str | None:
        """The account of this name, made where there is none."""
        if not name:
            return None
        rows, known = self.org.tables["Account"].rows, self._accounts.get(name, "")
        if known not in rows or rows[known]["Name"] != name:
            found = (id for id in self.org.ids("Account") if rows[id]["Name"] == name) if known else iter(())
            known = self._accounts[name] = next(found, None) or self.org.put("Account", {"Name": name})
        return known

    def _runner(self, handler: _Handler) -> web.AppRunner:
        app = web.Application(client_max_size=64 << 20)
        app.router.add_route("*", "/{path:.*}", handler)
        return web.AppRunner(app, access_log=None, max_line_size=1 << 18, shutdown_timeout=0.1)

    async def _at_login(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, login_host=True)

    async def _at_instance(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, login_host=False)

    async def _answer(self, request: web.Request, *, login_host: bool) -> web.StreamResponse:
        line = f"{request.method} {request.path}"
        self.calls.append(line)
        del self.calls[:-_CALLS]
        body = await request.read()
        fault = next((each for each in self.faults if each.due(line)), None)
        instead = fault.instead() if fault else None
        if fault is not None and fault.kind in ("drop", "hang"):
            await self._pause(fault.seconds if fault.kind == "hang" else 0)
            return _ended(request)
        reply = instead or self._replied(request, body, fault, login_host=login_host)
        if fault is not None and instead is None:
            return await self._spoilt(request, reply, fault)
        return self._dressed(request, reply)

    def _replied(self, request: web.Request, body: bytes, fault: Fault | None, *, login_host: bool) -> Reply:
        path = request.raw_path.partition("?")[0]
        parts = tuple(urllib.parse.unquote(part) for part in path.strip("/").split("/"))
        ask = Ask(request.method, parts, request.query, request.headers, body)
        if len(request.raw_path) > _LONGEST:
            return faults.INSTEAD["414"]
        try:
            if parts[:2] in (("services", "oauth2"), ("services", "Soap")) or parts[0] == "id":
                self.usage += request.method == "POST"
                return self._logins.answer(ask)
            if parts[:2] == ("services", "async"):
                return _bulk_1(ask)
            if parts[:2] != ("services", "data") or login_host:
                raise not_found()
            return self._replied_by_rest(ask, fault)
        except Refused as refused:
            return refused.reply()

    def _replied_by_rest(self, ask: Ask, fault: Fault | None) -> Reply:
        if len(ask.parts) == 2:
            return rest.versions()
        version = rest.version_of(ask.parts[2])
        self._logins.check(ask.headers.get("Authorization"))
        if self.usage >= self.quota:
            return faults.INSTEAD["quota"]
        self.usage += 1
        ask = Ask(ask.method, ask.parts[3:], ask.query, ask.headers, ask.body, version)
        if fault is not None and fault.kind == "failed":
            self._rest.fail_job(ask.parts[-1])
        return self._rest.answer(ask)

    def _dressed(self, request: web.Request, reply: Reply) -> web.Response:
        """The answer with the org's date, and from REST with what is used of the day's calls."""
        headers = {"Date": format_datetime(self.org.now, usegmt=True), **reply.headers}
        if request.path.startswith("/services/data/v"):
            own = f"; per-app-api-usage={self.usage}/{self.quota}(appName={self.app})" if self.app else ""
            headers["Sforce-Limit-Info"] = f"api-usage={self.usage}/{self.quota}{own}"
        if reply.body or reply.type != JSON:
            headers["Content-Type"] = reply.type
        return web.Response(status=reply.status, reason=reply.reason, body=reply.body, headers=headers)

    async def _spoilt(self, request: web.Request, reply: Reply, fault: Fault) -> web.StreamResponse:
        """An answer after the fact, as the fault has it."""
        if fault.kind == "slow":
            await self._pause(fault.seconds)
        if fault.kind == "lost":
            return _ended(request)
        if fault.kind == "cut":
            return await _cut(request, self._dressed(request, reply), reply.body)
        if fault.kind == "truncated":
            return self._dressed(request, faults.half(reply))
        return self._dressed(request, faults.with_nuls(reply) if fault.kind == "nul" else reply)

    async def _pause(self, seconds: float) -> None:
        """Wait, but not longer than the server lives."""
        try:
            async with asyncio.timeout(seconds):
                await self._closing.wait()
        except TimeoutError:
            return


def _bulk_1(ask: Ask) -> Reply:
    """The older Bulk API, which has its own header and errors, and is not served."""
    version = ask.parts[2].removesuffix(".0") if len(ask.parts) > 2 else ""
    if not version.isdigit() or int(version) not in rest.VERSIONS:
        return Reply(400, b'{"exceptionCode":"InvalidVersion","exceptionMessage":"Api version is not supported"}')
    return Reply(400, b'{"exceptionCode":"InvalidSessionId","exceptionMessage":"Invalid session id"}')


def _ended(request: web.Request) -> web.Response:
    """The connection ends without an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _cut(request: web.Request, dressed: web.Response, body: bytes) -> web.StreamResponse:
    """The head and half of an answer, then the end of the connection; of an answer without a body, the end alone."""
    if not body:
        return _ended(request)
    response = web.StreamResponse(status=dressed.status, headers={**dressed.headers, "Content-Length": str(len(body))})
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()
    return response
