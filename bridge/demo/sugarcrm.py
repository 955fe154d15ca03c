"""A stand-in SugarCRM: REST v10 to v11_20 on a loopback port, records in memory, strict about what Sugar refuses.

    server = SugarServer()
    contact = server.put("Contacts", {"last_name": "Weber", "phone_work": "26 00 10 01"})
    async with server.serve() as url: ...

It does what the vendor's REST API pages say; `faults` (`sugarcrm_faults.Name`) may change while it serves.
"""

from __future__ import annotations

import email.utils
import re
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from aiohttp import web

from bridge.demo import sugarcrm_faults as faults
from bridge.demo import sugarcrm_rows as rows
from bridge.demo.sample import Person
from bridge.demo.sugarcrm_logins import Failure, Logins
from bridge.demo.sugarcrm_store import Store

VERSIONS = frozenset({"v10", "v11", *(f"v11_{minor}" for minor in range(1, 21))})
_KEYED_FROM = 10
"""The minor version of v11 that brought sync keys."""
_LISTING = {"filter", "max_num", "offset", "order_by", "fields", "deleted", "q", "view", "filter_id", "my_items"}
_LISTING |= {"favorites"}

Args = Mapping[str, Any]


class SugarServer:
    """One Sugar at `path` and its one service user; `calls` are the requests that came, as `METHOD Contacts/filter`.

    `now` stands still at the time it is set to; None: it is the real one. `cap` is the most rows of a page,
    `padded` has `next_offset` promise more than there is, `shows_deleted` lets `deleted` rows be asked for,
    `forbidden` modules answer 403, `sync_keys` False keeps upserts to administrators, `own_ids` False refuses ids
    that a client chose.
    """

    def __init__(self, username: str = "bridge", password: str = "bridge-password", path: str = "") -> None:
        self.now: datetime | None = None
        self.cap = 1000
        self.padded = False
        self.shows_deleted = True
        self.sync_keys = True
        self.own_ids = True
        self.forbidden: set[str] = set()
        self.calls: list[str] = []
        self.faults = faults.Faults()
        self.before: Callable[[str], None] = lambda line: None
        self.logins = Logins({username: password})
        self.store = Store(self.clock)
        self._login = (username, password)
        self._path = path
        self._named: dict[str, str] = {}

    @property
    def records(self) -> dict[str, dict[str, rows.Row]]:
        """The rows of each module by id, deleted ones among them."""
        return {name: table.rows for name, table in self.store.tables.items()}

    def clock(self) -> datetime:
        """The server's time, in whole seconds."""
        return self.now or datetime.now(UTC).replace(microsecond=0)

    def tick(self, seconds: float) -> None:
        """Let time pass, from where it stands still."""
        self.now = self.clock() + timedelta(seconds=seconds)

    def put(self, module: str, values: Args) -> str:
        """A new record; its id."""
        return self.store.add(module, values)

    def update(self, module: str, identity: str, values: Args) -> None:
        """Change a record."""
        self.store.change(module, identity, values)

    def delete(self, module: str, identity: str) -> None:
        """Put a record into the recycle bin, as Sugar does: it stays, marked."""
        self.store.change(module, identity, {"deleted": True})

    def put_person(self, key: str, person: Person) -> None:
        """A contact of the sample, new or changed, with its account."""
        phones = [number.strip() for number in person.work.split(",")]
        values = {
            "first_name": person.first,
            "last_name": person.last,
            "phone_work": phones[0],
            "phone_other": ", ".join(phones[1:]),
            "phone_mobile": person.cell,
            "account_id": self._account(person.company),
        }
        if key in self._named:
            self.update("Contacts", self._named[key], values)
        else:
            self._named[key] = self.put("Contacts", values)

    def remove_person(self, key: str) -> None:
        """A contact of the sample is deleted."""
        self.delete("Contacts", self._named.pop(key))

    def table(self, url: str) -> dict[str, str]:
        """The keys of a `[source.x]` table that reads this server at `url`."""
        return {"type": "sugarcrm", "url": url, "username": self._login[0], "password": self._login[1]}

    @asynccontextmanager
    async def serve(self, port: int = 0) -> AsyncIterator[str]:
        """Listen on loopback; the address of the site."""
        app = web.Application(client_max_size=8 << 20)
        app.router.add_route("*", "/{path:.*}", self._serve)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", port).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}{self._path}"
        finally:
            await runner.cleanup()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        prefix = f"{self._path}/rest/"
        if not request.path.startswith(prefix):
            return web.Response(status=404, text=faults.PAGE, content_type="text/html")
        version, _, rest = request.path.removeprefix(prefix).partition("/")
        parts = rest.strip("/").split("/")
        line = f"{request.method} {'/'.join(parts)}"
        self.calls.append(line)
        self.before(line)
        struck = self.faults.draw(line)
        if "expire" in struck and "oauth2" not in line:
            self.logins.expire()
        if "kick" in struck and "oauth2" not in line:
            self.logins.kick()
        body = await request.read()
        if "cut" in struck:
            return _hang_up(request)
        if (instead := _instead(struck)) is not None:
            return instead
        status, told = self._answer(request, version, parts, body)
        return await self._said(request, status, told, struck)

    def _answer(self, request: web.Request, version: str, parts: list[str], body: bytes) -> tuple[int, Any]:
        try:
            if version not in VERSIONS:
                raise Failure(301, "incorrect_version", "La versión de la API no es válida.")
            args = _arguments(request, body)
            if parts == ["oauth2", "token"] and request.method == "POST":
                return 200, self.logins.grant(args)
            header = request.headers.get("Authorization", "")
            token = request.headers.get("OAuth-Token") or header.removeprefix("Bearer ")
            user = self.logins.user(token)
            if parts == ["oauth2", "logout"] and request.method == "POST":
                self.logins.logout(token)
                return 200, {"success": True}
            if parts == ["me"]:
                return 200, {"current_user": {"type": "user", "user_name": user, "full_name": user}}
            if parts == ["ping"]:
                return 200, "pong"
            if parts == ["metadata"]:
                return 200, self._metadata(args)
            return self._module(request.method, version, parts, args)
        except Failure as failure:
            return failure.status, {"error": failure.label, "error_message": failure.message}

    def _metadata(self, args: Args) -> dict[str, Any]:
        asked = [name for name in str(args.get("module_filter", "")).split(",") if name] or list(self.store.modules)
        told = {}
        for name in asked:
            if name in self.store.modules and name not in self.forbidden:
                kinds = self.store.fields(name)
                told[name] = {"fields": {field: {"name": field, "type": kind} for field, kind in kinds.items()}}
        return {"modules": told, "_hash": "1"}

    def _module(self, method: str, version: str, parts: list[str], args: Args) -> tuple[int, Any]:
        if parts[0] == "integrate":
            parts = parts[1:]
        module, *rest = parts
        if module not in self.store.modules:
            raise Failure(404, "no_method", "Could not find a route with the given path")
        if module in self.forbidden:
            raise Failure(403, "not_authorized", f"No está autorizado para ver {module}")
        match method, rest:
            case ("GET", []) | ("GET" | "POST", ["filter"]):
                return 200, self._list(module, args)
            case "GET", ["filter", "count"] | ["count"]:
                return 200, {"record_count": len(self._found(module, args, limit=1 << 62))}
            case "GET", ["enum", name]:
                return 200, {each: each for each in self.store.modules[module].enums.get(name, ())}
            case "PATCH", ["sync_key", key] if _keyed(version):
                return self._upsert(module, key, args)
            case "GET", [identity]:
                return 200, self.store.shown(module, self.store.live(module, identity), self._wanted(module, args))
            case "POST", []:
                return 200, self._create(module, args)
            case "PUT", [identity]:
                return 200, self._update(module, identity, args)
            case "DELETE", [identity]:
                self.store.live(module, identity)
                self.delete(module, identity)
                return 200, {"id": identity}
            case "POST", [identity, "link", *more] if len(more) in (0, 2):
                return 200, self._link(module, identity, more, args)
        raise Failure(404, "no_method", "Could not find a route with the given path")

    def _list(self, module: str, args: Args) -> dict[str, Any]:
        if unknown := args.keys() - _LISTING:
            raise Failure(422, "invalid_parameter", f"unknown argument {min(unknown)}")
        asked, offset = int(args.get("max_num") or 20), int(args.get("offset") or 0)
        limit = min(asked, self.cap)
        found = self._found(module, args, offset, limit + 1)
        names = self._wanted(module, args)
        more = len(found) > limit or (self.padded and found)
        return {
            "next_offset": offset + limit if more else -1,
            "records": [self.store.shown(module, row, names) for row in found[:limit]],
        }

    def _found(self, module: str, args: Args, offset: int = 0, limit: int = 0) -> list[rows.Row]:
        fields, filters = self.store.fields(module), args.get("filter") or []
        passes = rows.test(filters, fields)
        deleted = self.shows_deleted and str(args.get("deleted", "")).lower() in ("true", "1")
        order = rows.order(str(args.get("order_by") or ""), fields)
        table = self.store.tables[module]
        return table.find(
            passes if deleted else lambda row: not row["deleted"] and passes(row),
            order,
            rows.since(filters),
            offset,
            limit,
        )

    def _wanted(self, module: str, args: Args) -> list[str]:
        fields = self.store.fields(module)
        names = [name.strip() for name in str(args.get("fields") or "").split(",") if name.strip()]
        if unknown := [name for name in names if name not in fields]:
            raise Failure(422, "invalid_parameter", f"unknown field {unknown[0]} in {module}")
        return names or list(fields)

    def _create(self, module: str, args: Args) -> dict[str, Any]:
        values, links = self.store.written(module, args, new=True)
        identity = str(values.get("id") or uuid.uuid4())
        if "id" in values and not self.own_ids:
            raise Failure(422, "invalid_parameter", "id is not yours to choose")
        if identity in self.store.tables[module].rows:
            raise Failure(422, "invalid_parameter", f"Record already exists: {identity} in module: {module}")
        self.store.add(module, {**values, "id": identity})
        return self._joined(module, identity, links)

    def _update(self, module: str, identity: str, args: Args) -> dict[str, Any]:
        self.store.live(module, identity)
        values, links = self.store.written(module, args, new=False)
        self.update(module, identity, values)
        return self._joined(module, identity, links)

    def _joined(self, module: str, identity: str, links: Mapping[str, list[str]]) -> dict[str, Any]:
        for name, ids in links.items():
            self.store.link(module, identity, name, ids)
        return self.store.shown(module, self.store.live(module, identity), self.store.fields(module))

    def _upsert(self, module: str, key: str, args: Args) -> tuple[int, Any]:
        if not self.sync_keys:
            raise Failure(403, "not_authorized", "No está autorizado.")
        table = self.store.tables[module].rows.values()
        found = [row["id"] for row in table if row.get("sync_key") == key and not row["deleted"]]
        if found:
            return 200, {"record": self._update(module, found[0], args)["id"]}
        return 201, {"record": self._create(module, {**args, "sync_key": key})["id"]}

    def _link(self, module: str, identity: str, more: list[str], args: Args) -> dict[str, Any]:
        self.store.live(module, identity)
        name, ids = (more[0], [more[1]]) if more else (str(args.get("link_name")), list(args.get("ids", ())))
        target = self.store.modules[module].links.get(name)
        if target is None:
            raise Failure(404, "not_found", f"no link {name}")
        for one in ids:
            self.store.live(target, one)
        self.store.link(module, identity, name, ids)
        return {"record": self.store.shown(module, self.store.live(module, identity), ())}

    async def _said(
        self, request: web.Request, status: int, told: Any, struck: frozenset[faults.Name]
    ) -> web.StreamResponse:
        if "lost" in struck:
            return _hang_up(request)
        if "endless" in struck and isinstance(told, dict) and "next_offset" in told:
            told["next_offset"] = 1000
        body = b"null" if "null" in struck else orjson.dumps(told)
        if "truncated" in struck:
            body = body[: len(body) // 2]
        date = email.utils.format_datetime(self.clock(), usegmt=True)
        headers = {"Content-Type": "application/json", "Date": date}
        if "cut_midway" in struck:
            response = web.StreamResponse(status=status, headers={**headers, "Content-Length": str(len(body))})
            await response.prepare(request)
            await response.write(body[: len(body) // 2])
            return _hang_up(request, response)
        return web.Response(status=status, body=body, headers=headers)

    def _account(self, name: str) -> str:
        if not name:
            return ""
        accounts = self.store.tables["Accounts"].rows.values()
        found = [row["id"] for row in accounts if row["name"] == name and not row["deleted"]]
        return found[0] if found else self.put("Accounts", {"name": name})


def _keyed(version: str) -> bool:
    return int(version.partition("_")[2] or 0) >= _KEYED_FROM


def _arguments(request: web.Request, body: bytes) -> dict[str, Any]:
    """What a request asks: the query, and the JSON object of the body, whatever type it is said to have."""
    args: dict[str, Any] = {}
    for name, value in request.query.items():
        if found := re.fullmatch(r"filter\[(\d+)\]\[([^\]]+)\](?:\[([^\]]+)\])?", name):
            expression = {found[3]: value} if found[3] else value
            args.setdefault("filter", []).append({found[2]: expression})
        else:
            args[name] = value
    if body:
        try:
            told = orjson.loads(body)
        except ValueError:
            told = None
        if not isinstance(told, dict):
            raise Failure(422, "invalid_parameter", "the body is a JSON object")
        args |= told
    return args


def _instead(struck: frozenset[faults.Name]) -> web.Response | None:
    """What answers in Sugar's place."""
    for name in struck:
        if name in ("html", "403_html"):
            return web.Response(status=200 if name == "html" else 403, text=faults.PAGE, content_type="text/html")
        if name == "redirect":
            return web.Response(status=302, headers={"Location": "https://sso.example.com/login"})
        if name.isdigit():
            told = {"error": faults.LABELS[name], "error_message": "Sugar no está disponible"}
            headers = {"Retry-After": "30"} if name == "429" else None
            return web.json_response(told, status=int(name), headers=headers)
    return None


def _hang_up(request: web.Request, response: web.StreamResponse | None = None) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    return response or web.Response()
