"""What the peoplefone CONNECTOR asks: `{path}/Lookup`, and the workflows beside it."""

from __future__ import annotations

import asyncio
import functools
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import orjson
from aiohttp import web

from bridge import config, errors, keys, lookup, metrics, workflows
from bridge.config import Tenant
from bridge.keys import Network
from bridge.lookup import Begun, Lookups
from bridge.recent import Recent
from bridge.server import Handler, bodies, peers, replies
from bridge.server.access import Access, masked
from bridge.server.lane import Admit, Ask, Later
from bridge.server.peers import Throttle
from bridge.server.replies import Ready, Refusal
from bridge.server.tokens import Tokens

_PAUSE = 0.5
"""Seconds that a throttled guess waits for its answer."""
_PAUSED_MOST = 64
_SLASHES = re.compile("/+")
_NUMBER = "phonenumber"
_WRITING = ("POST", "PUT", "GET")


class Guard:
    """What all tenants' connectors share: the count of wrong tokens, patience with slow bodies, and the log."""

    def __init__(self, throttle: Throttle | None = None, patience: float = bodies.SECONDS) -> None:
        self.throttle = throttle or Throttle()
        self.patience = patience
        self.access = Access()
        self.recent = Recent()
        self._paused = 0

    async def refuse(self, said: str) -> NoReturn:
        """401, after a pause for an address that has guessed too often; a right token is never refused for it."""
        wait = self.throttle.wrong(said)
        if self.access.due():
            self.access.write("lookup.denied", address=said, throttled=bool(wait))
        if wait and self._paused < _PAUSED_MOST:
            self._paused += 1
            try:
                await asyncio.sleep(_PAUSE)
            finally:
                self._paused -= 1
        raise Refusal(401, "the token is wrong", after=wait or None)


class Connector:
    """One tenant's surface, under one configuration."""

    def __init__(
        self, tenant: Tenant, table: keys.Connector, lookups: Lookups, guard: Guard, proxies: Sequence[Network]
    ) -> None:
        self._tenant = tenant
        self._place = lookup.directory(tenant)
        self._header = table.header
        self._tokens = Tokens(table.tokens)
        self._workflows = table.workflow
        self.prefix = table.path if tenant.name == config.DEFAULT else f"/{tenant.name}{table.path}"
        self._lookups = lookups
        self._guard = guard
        self._proxies = proxies

    def paths(self) -> Mapping[str, Handler]:
        """The lookup as the page spells it, and the root, which the CONNECTOR's first version asked."""
        ends = ("/Lookup", "/Lookup/", "/lookup", "/", *([""] if self.prefix else []))
        return {self.prefix + end: self.lookup for end in ends}

    def quick(self) -> Mapping[str, Admit]:
        """Lookups with the right token, wherever they are asked."""
        return dict.fromkeys(self.paths(), self._admit_quick)

    def find(self, path: str) -> Handler | None:
        """The lookup in any case and with any number of slashes; any other name is a workflow's."""
        above, _, name = _SLASHES.sub("/", path).rstrip("/").rpartition("/")
        if above + "/" + name == self.prefix or (above == self.prefix and name.lower() == "lookup"):
            return self.lookup
        return self.workflow if above == self.prefix and name else None

    async def lookup(self, request: web.BaseRequest) -> web.StreamResponse:
        """200 with who has the number, [] for nobody."""
        began = time.perf_counter()
        try:
            await self._admit(request)
            asked = await self._asked(request)
            found = self._lookups.remembered(self._place, asked)
            if found is None:
                found = await self._lookups.answer(self._place, asked)
        except Refusal as refusal:
            metrics.lookup("denied" if refusal.status in (401, 429) else "bad", time.perf_counter() - began)
            raise
        except errors.Unavailable:
            metrics.lookup("failed", time.perf_counter() - began)
            raise
        self._answered(asked, found, began)
        return Ready(found)

    def _admit_quick(self, headers: Mapping[str, str]) -> Ask | None:
        given = headers.get(self._header)
        return self._lookup_quick if given is not None and self._tokens.take(given) else None

    def _lookup_quick(self, raw: bytes) -> bytes | Later | None:
        """The same as `lookup`, where it comes to an answer."""
        began = time.perf_counter()
        try:
            asked = _in_body(raw)
            found = self._lookups.remembered(self._place, asked) or self._lookups.begin(self._place, asked)
        except (Refusal, errors.Unavailable):
            return None
        if isinstance(found, Begun):
            return Later(found.done, functools.partial(self._finish, found, asked, began))
        if found:
            self._answered(asked, found, began)
        return found

    def _finish(self, begun: Begun, asked: str, began: float) -> bytes:
        try:
            found = self._lookups.finish(begun)
        except errors.Unavailable:
            metrics.lookup("failed", time.perf_counter() - began)
            raise
        self._answered(asked, found, began)
        return found

    def _answered(self, asked: str, found: bytes, began: float) -> None:
        took = time.perf_counter() - began
        empty = found == lookup.NOBODY
        metrics.lookup("empty" if empty else "found", took)
        self._guard.recent.note(self._place.tenant, asked, found, took)
        if self._guard.access.due():
            fields = {"number": masked(asked), "found": not empty, "seconds": round(took, 4)}
            self._guard.access.write("lookup.answered", tenant=self._place.tenant, **fields)

    async def workflow(self, request: web.BaseRequest) -> web.StreamResponse:
        """What a button in the CONNECTOR asks for: 200 with what was made, {} where it is made later.

        The page names no method: what writes nothing elsewhere writes nothing here, unless it comes with inputs.
        """
        await self._admit(request)
        name = _SLASHES.sub("/", request.path).rstrip("/").rpartition("/")[2]
        wanted = self._workflows.get(name)
        if wanted is None:
            raise Refusal(404, "there is no workflow of this name; right is one of [connector.workflow]")
        if request.method not in _WRITING:
            refused = replies.error(405, "right is POST")
            refused.headers["Allow"] = ", ".join(_WRITING)
            return refused
        raw = await bodies.read(request, seconds=self._guard.patience)
        if request.method == "GET" and not raw.strip():
            raise Refusal(400, "the inputs are missing: right is POST with them")
        made = await workflows.ask(self._lookups.db, self._tenant, name, wanted, _inputs(raw))
        if self._guard.access.due():
            self._guard.access.write(
                "workflow.asked", tenant=self._place.tenant, workflow=name, made=made.get("id", "")
            )
        return Ready(orjson.dumps(made))

    async def _admit(self, request: web.BaseRequest) -> None:
        given = request.headers.get(self._header)
        if given is None:
            raise Refusal(401, f"the token is missing: it is expected in the header {self._header}")
        if not self._tokens.take(given):
            await self._guard.refuse(peers.address(request, self._proxies))

    async def _asked(self, request: web.BaseRequest) -> str:
        """The number that a request asks for, as it stands there; refused with 400 where it names none."""
        raw = await bodies.read(request, seconds=self._guard.patience)
        if raw:
            return _in_body(raw)
        for name, value in request.query.items():
            if name.lower() == _NUMBER:
                return value
        raise Refusal(400, 'there is no number: right is the body {"inputs": {"phoneNumber": "41215522000"}}')


def _in_body(raw: bytes) -> str:
    document = _parsed(raw)
    usual = document.get("inputs")
    if type(usual) is dict and type(found := usual.get("phoneNumber")) is str:
        return found
    found = _member(_of(document), _NUMBER, _MISSING)
    match found:
        case str():
            return found
        case bool():
            pass
        case int():
            return str(found)
        case float() if found.is_integer():
            return str(int(found))
        case None:
            return ""
    raise Refusal(400, 'phoneNumber is missing or no text: right is {"inputs": {"phoneNumber": "41215522000"}}')


_MISSING = object()


def _inputs(raw: bytes) -> Mapping[str, Any]:
    """The inputs of a workflow; none at all are no error."""
    document = _parsed(raw) if raw.strip() else {}
    if not isinstance(_member(document, "inputs"), dict | str | None):
        raise Refusal(400, 'the inputs are no object: right is {"inputs": {"contactCrmId": "crm:17"}}')
    return _of(document)


def _of(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """What stands under `inputs`, perhaps as a text; all of it where nothing does."""
    inputs = _member(document, "inputs")
    if isinstance(inputs, str):
        inputs = _parsed(inputs)
    return inputs if isinstance(inputs, dict) else document


def _parsed(raw: bytes | str) -> dict[str, Any]:
    try:
        document = orjson.loads(raw.removeprefix(b"\xef\xbb\xbf") if isinstance(raw, bytes) else raw)
    except orjson.JSONDecodeError:
        raise Refusal(400, "the body is no JSON") from None
    if not isinstance(document, dict):
        raise Refusal(400, 'the body is no JSON object: right is {"inputs": {"phoneNumber": "41215522000"}}')
    return document


def _member(document: Mapping[str, Any], name: str, default: Any = None) -> Any:
    """The value under a key in whatever case."""
    for key, value in document.items():
        if key.lower() == name:
            return value
    return default
