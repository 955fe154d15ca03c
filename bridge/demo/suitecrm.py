"""A stand-in SuiteCRM 7.14, with REST v4_1 on PHP 8: strict where the real one is, and wrong where it is.

    crm = SuiteCrm("bridge", "secret")
    identity = crm.put("Contacts", {"last_name": "Weber", "phone_work": "26 00 10 01"})
    async with crm.serve() as url: ...

`calls` are the methods that were asked for; `faults` (`suitecrm_faults`) and the attributes may change while it serves.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson
from aiohttp import web

from bridge.demo import suitecrm_faults as faults
from bridge.demo.sample import Person
from bridge.demo.suitecrm_methods import NAMES, PARAMETERS, Crash, Fault, Methods
from bridge.demo.suitecrm_store import Store

PLACE = "/service/v4_1/rest.php"
_USER = "1"


class SuiteCrm:
    """One CRM and one login.

    `store` holds the records, and `store.now` its clock; `methods` what the user may see and how lists are counted.
    `before`: called before each method is carried out. `php`: 8 goes by the names of arguments, less by their order.
    `declares`: the name that this build gives the second argument of `login`; one that is not it ends in a 500.
    `directory`: passwords are checked by LDAP. `lives`: calls that a session lives for, 0 for any. `lockout`: wrong
    logins after which the user is locked. `legacy`: SuiteCRM 8, which has the service below /legacy only.
    """

    def __init__(self, username: str = "bridge", password: str = "demo", *, path: str = "") -> None:
        self.username = username
        self.password = password
        self.store = Store()
        self.methods = Methods(self.store)
        self.faults = faults.Faults()
        self.calls: list[str] = []
        self.before: faults.Hook | None = None
        self.php = 8
        self.declares = "application"
        self.directory = False
        self.admin = True
        self.lives = 0
        self.legacy = False
        self.lockout = 5
        self.failed = 0
        self.delay = 0.5
        self._path = path
        self._sessions: dict[str, int] = {}
        self._named = self.methods.named()
        self.store.put("Users", {"id": _USER, "user_name": username, "last_name": "Bridge", "status": "Active"})

    def put(self, module: str, values: Mapping[str, str]) -> str:
        """Add a record and return its id."""
        return self.store.put(module, values)

    def update(self, module: str, identity: str, values: Mapping[str, str]) -> None:
        """Change a record."""
        self.store.update(module, identity, values)

    def delete(self, module: str, identity: str) -> None:
        """Mark a record deleted."""
        self.store.delete(module, identity)

    def expire(self) -> None:
        """End every session."""
        self._sessions.clear()

    def table(self, url: str) -> dict[str, str]:
        """The keys of a `[source.x]` that reads it."""
        return {"type": "suitecrm", "url": url, "username": self.username, "password": self.password}

    def put_person(self, key: str, person: Person) -> None:
        """Add or change somebody of the sample, with the account that the company is."""
        identity = str(uuid.uuid5(uuid.NAMESPACE_URL, key))
        values = {
            "first_name": person.first,
            "last_name": person.last,
            "phone_work": person.work,
            "phone_mobile": person.cell,
            "account_id": self._account(person.company),
        }
        if identity in self.store.modules["Contacts"].rows:
            self.update("Contacts", identity, {**values, "deleted": "0"})
        else:
            self.put("Contacts", {**values, "id": identity})

    def remove_person(self, key: str) -> None:
        """Delete somebody of the sample."""
        self.delete("Contacts", str(uuid.uuid5(uuid.NAMESPACE_URL, key)))

    def _account(self, name: str) -> str:
        if not name:
            return ""
        identity = str(uuid.uuid5(uuid.NAMESPACE_DNS, name))
        if identity not in self.store.modules["Accounts"].rows:
            self.put("Accounts", {"id": identity, "name": name})
        return identity

    @asynccontextmanager
    async def serve(self, port: int = 0) -> AsyncIterator[str]:
        """Listen on loopback; the address of the CRM's start page."""
        app = web.Application(client_max_size=16 << 20)
        below = "/legacy" if self.legacy else ""
        app.router.add_route("*", f"{self._path}{below}{PLACE}", self._answer)
        app.router.add_route("*", "/{path:.*}", self._page)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", port).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}{self._path}"
        finally:
            await runner.cleanup()

    async def _page(self, request: web.Request) -> web.Response:
        """Any other page: SuiteCRM 8's front controller answers all with its own, 7 with a 404."""
        known = self.legacy or request.path in (f"{self._path}/", f"{self._path}/index.php")
        return web.Response(text=faults.LOGIN_PAGE, content_type="text/html", status=200 if known else 404)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        form = request.query if request.method == "GET" else await request.post()
        method, data = str(form.get("method", "")), str(form.get("rest_data", ""))
        if form.get("input_type") != "JSON" or form.get("response_type") != "JSON":
            return web.Response(text="Array\n(\n)\n" if form else "", content_type="text/html")
        if method not in PARAMETERS:
            fault = {"name": "An Undefined Error - invalid_call occurred", "number": "-1", "description": ""}
            return _json(orjson.dumps(fault))
        self.calls.append(method)
        struck = self.faults.draw(method)
        if struck == "dropped":
            return _ended(request)
        if (early := await self._early(struck)) is not None:
            return early
        if self.before is not None:
            self.before(method)
        try:
            body = orjson.dumps(self._carried_out(method, data, request.cookies.get("PHPSESSID", "")))
        except Fault as fault:
            name, told = NAMES[fault.number]
            body = orjson.dumps({"name": name, "number": fault.number, "description": told})
        except Crash as crash:
            return web.Response(status=500, text=crash.told, content_type="text/html")
        return await self._late(request, struck, body, method, data)

    async def _early(self, struck: faults.Fault | None) -> web.Response | None:
        """An answer in the place of what was asked for."""
        match struck:
            case "slow":
                await asyncio.sleep(self.delay)
            case "expired":
                self.expire()
            case "null":
                return _json(b"null")
            case "html":
                return web.Response(text=faults.LOGIN_PAGE, content_type="text/html")
            case "status_500":
                return web.Response(status=500, text=faults.DATABASE, content_type="text/html")
            case "status_503":
                return web.Response(status=503, text="Service Unavailable", content_type="text/html")
        return None

    async def _late(
        self, request: web.Request, struck: faults.Fault | None, body: bytes, method: str, data: str
    ) -> web.StreamResponse:
        """What was asked for, as the fault lets it arrive."""
        if struck == "lost":
            return _ended(request)
        if struck == "cut":
            half = web.StreamResponse(headers={"Content-Length": str(len(body))})
            await half.prepare(request)
            await half.write(body[: len(body) // 2])
            _ended(request)
            return half
        if struck == "truncated":
            body = body[: len(body) * 2 // 3]
        if struck == "notice":
            body = faults.NOTICE.encode() + body
        response = _json(body)
        if cookie := _session(method, data, body):
            response.set_cookie("PHPSESSID", cookie, path="/")
        return response

    def _carried_out(self, method: str, data: str, cookie: str) -> Any:
        """The answer to a call, by the arguments as PHP binds them."""
        try:
            given = orjson.loads(data)
        except orjson.JSONDecodeError:
            if method == "login":
                raise Fault(10) from None
            return None
        bound = self._bound(method, given)
        match method:
            case "login":
                return self._log_in(bound, cookie)
            case "get_server_info":
                return {"flavor": "CE", "version": "6.5.25", "gmt_time": self.store.time()}
        session = bound.pop("session", None)
        if not session:
            return None
        self._used(str(session))
        match method:
            case "logout":
                self._sessions.pop(str(session), None)
                return None
            case "get_user_id":
                return _USER
        try:
            return self._named[method](**bound)
        except (TypeError, ValueError, KeyError, AttributeError):
            raise Crash from None

    def _bound(self, method: str, given: Any) -> dict[str, Any]:
        """Arguments by name; PHP 8 ends at a name that is not declared, any PHP at too few."""
        needed, optional = PARAMETERS[method]
        names = [*needed, *optional]
        if method == "login":
            names[1] = self.declares
        if isinstance(given, Mapping) and (self.php < 8 or list(given) == [name for name in names if name in given]):
            bound = dict(given) if self.php >= 8 else dict(zip(names, given.values(), strict=False))
        elif isinstance(given, Mapping):
            raise Crash
        else:
            values = given if isinstance(given, Sequence) and not isinstance(given, str) else [given]
            bound = dict(zip(names, values, strict=False))
        if not bound.keys() >= set(needed):
            raise Crash
        return bound

    def _log_in(self, bound: Mapping[str, Any], cookie: str) -> Any:
        auth = bound["user_auth"]
        if not isinstance(auth, Mapping):
            raise Fault(10)
        if self.failed >= self.lockout:
            raise Fault(1009)
        shown = str(auth.get("password", ""))
        plain = auth.get("encryption") == "PLAIN"
        if self.directory and not plain:
            raise Fault(1012)
        right = self.password if plain else hashlib.md5(self.password.encode(), usedforsecurity=False).hexdigest()
        if auth.get("user_name") != self.username or shown != right:
            self.failed += 1
            raise Fault(10)
        self.failed = 0
        # Whoever comes with a cookie is given the session of that cookie, everybody else's too.
        session = cookie or secrets.token_hex(13)
        self._sessions[session] = self.lives
        said: dict[str, Any] = {
            "user_id": _USER,
            "user_name": self.username,
            "user_language": "en_us",
            "user_currency_id": None,
        }
        said |= {"user_is_admin": self.admin, "mobile_max_list_entries": 10}
        pairs = {name: {"name": name, "value": value} for name, value in said.items()}
        return {"id": session, "module_name": "Users", "name_value_list": pairs}

    def _used(self, session: str) -> None:
        """One call of a session; it ends after `lives` of them."""
        if session not in self._sessions:
            raise Fault(11)
        if self.lives:
            self._sessions[session] -= 1
            if self._sessions[session] < 0:
                del self._sessions[session]
                raise Fault(11)


def _session(method: str, data: str, body: bytes) -> str:
    """The session that PHP sets a cookie for: the one that was made, or whatever was shown."""
    with contextlib.suppress(orjson.JSONDecodeError, AttributeError, TypeError, LookupError):
        if method == "login":
            return str(orjson.loads(body).get("id", ""))
        given = orjson.loads(data)
        return str(given["session"] if isinstance(given, dict) else given[0])
    return ""


def _ended(request: web.Request) -> web.StreamResponse:
    """No answer: the connection is gone."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _json(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json", charset="UTF-8")
