"""What SessionCloud softphones ask: which SIP accounts they have, at each start and whenever they come to the front."""

from __future__ import annotations

import asyncio
import math
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import orjson
from aiohttp import web

from bridge import config, errors, keys, log, metrics
from bridge.accounts import giving
from bridge.accounts.giving import Gift
from bridge.accounts.logins import Poll
from bridge.accounts.seals import Seal
from bridge.config import Tenant
from bridge.keys import Network
from bridge.server import Handler, bodies, peers
from bridge.server.desk import Desk, Turned, storable
from bridge.server.replies import Ready, Refusal

WRONG = "The user name or the password is wrong."
BROKEN = "Your account cannot be read at the moment. Please tell your administrator."
_UNCHANGED = b'{"update":false,"sipaccounts":[],"errmsg":""}'
_SLASHES = re.compile("/+")
_YES = ("true", "1", "yes")
_MARKS = 50_000
_LONGEST = 200
"""Characters of a device's id that are looked at."""
_LOG = log.get()

Words = Mapping[str, str]
"""What a request says, by lower-case names."""


class Provisioning:
    """One tenant's surface, under one configuration."""

    def __init__(
        self,
        tenant: Tenant,
        table: keys.Provisioning,
        state_dir: Path,
        desk: Desk,
        proxies: Sequence[Network],
        patience: float = bodies.SECONDS,
    ) -> None:
        self._tenant = tenant.name
        self._table = table
        self._state_dir = state_dir
        self._desk = desk
        self._access = desk.access
        self._proxies = proxies
        self._patience = patience
        self._seal: Seal | None = None
        self._sealing = asyncio.Lock()
        # What users are given while their rows are of these versions.
        self._marks: OrderedDict[str, tuple[int, bytes]] = OrderedDict()
        self.prefix = table.path if tenant.name == config.DEFAULT else f"/{tenant.name}{table.path}"

    def paths(self) -> Mapping[str, Handler]:
        """The page's URL as it is configured there, and as the softphone asks it."""
        return {self.prefix: self.answer, self.prefix + "/": self.answer}

    def find(self, path: str) -> Handler | None:
        """The same with more slashes."""
        return self.answer if _SLASHES.sub("/", path).rstrip("/") == self.prefix else None

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """200 with the page's JSON, whoever asks."""
        said = await self._said(request)
        words = said[0]
        ways = [(one["username"], one["password"]) for one in said if _named(one)]
        if not ways:
            return _counted(_document(False, errmsg=WRONG))
        device = storable(words.get("deviceid", ""))[:_LONGEST]
        address = peers.address(request, self._proxies)
        try:
            username, poll = await self._desk.admit(self._tenant, ways, device=device, address=address)
            again = words.get("reprovision", "").lower() in _YES
            return _counted(await self._given(username, device, poll, again=again))
        except Turned as turned:
            self._note("provisioning.denied", address=address, throttled=bool(turned.wait))
            return _counted(_document(False, errmsg=_wait(turned.wait) if turned.wait else WRONG))
        except errors.Unavailable as fault:
            metrics.provisioning("failed")
            self._note("provisioning.failed", reason=str(fault))
            raise

    async def _said(self, request: web.BaseRequest) -> Sequence[Words]:
        """What the request says, as each way of reading a `+` has it."""
        if request.method not in ("GET", "POST"):
            raise Refusal(405, "right is GET, or POST")
        query = request.rel_url.raw_query_string
        if not request.body_exists:
            return [_pairs(query, blank) for blank in ((True, False) if "+" in query else (True,))]
        raw = await bodies.read(request, seconds=self._patience)
        document = _parsed(raw)
        form = "" if document else raw.decode("utf-8", "surrogateescape")
        return [_pairs(f"{query}&{form}", blank) | document for blank in (True, False)]

    async def _given(self, username: str, device: str, poll: Poll, *, again: bool) -> bytes:
        """The answer to whom we know; `again`: only what differs from what the device has is an update."""
        if poll.disabled:
            if poll.mark != giving.NOTHING.mark:
                await self._give(username, device, giving.NOTHING)
            return _document(True, errmsg=WRONG)
        known = self._marks.get(username)
        if again and known and poll.mark is not None and known == (poll.version, poll.mark):
            return _UNCHANGED
        try:
            gift = await self._gift(username)
        except errors.Unavailable as fault:
            if self._access.due():
                _LOG.error("provisioning.failed", tenant=self._tenant, user=username, reason=str(fault))
            return _BROKEN
        if again and poll.mark == gift.mark:
            return _UNCHANGED
        await self._give(username, device, gift)
        return _document(True, gift.document)

    async def _gift(self, username: str) -> Gift:
        async with self._sealing:
            self._seal = self._seal or await giving.seal(self._table.key, self._state_dir)
        gift = await giving.gift(self._desk.db, self._seal, self._tenant, username, self._table.defaults)
        self._marks[username] = (gift.version, gift.mark)
        while len(self._marks) > _MARKS:
            self._marks.popitem(last=False)
        return gift

    async def _give(self, username: str, device: str, gift: Gift) -> None:
        await giving.give(self._desk.db, self._tenant, username, device, gift)
        self._note("provisioning.given", user=username, device=device, accounts=gift is not giving.NOTHING)

    def _note(self, event: str, **fields: Any) -> None:
        if self._access.due():
            self._access.write(event, tenant=self._tenant, **fields)


def _document(update: bool, accounts: bytes = b"[]", errmsg: str = "") -> bytes:
    return b'{"update":%b,"sipaccounts":%b,"errmsg":%b}' % (
        b"true" if update else b"false",
        accounts,
        orjson.dumps(errmsg),
    )


_BROKEN = _document(False, errmsg=BROKEN)


def _counted(document: bytes) -> Ready:
    """The answer, for the metrics as well."""
    if document.startswith(b'{"update":true'):
        metrics.provisioning("given")
    else:
        metrics.provisioning("unchanged" if document == _UNCHANGED else "failed" if document == _BROKEN else "denied")
    return Ready(document)


def _wait(seconds: float) -> str:
    minutes = math.ceil(seconds / 60)
    return f"Too many failed attempts. Please wait {minutes} minute{'s' if minutes > 1 else ''} and try again."


def _named(words: Words) -> bool:
    return bool(words.get("username", "").strip() and words.get("password"))


def _pairs(text: str, blank: bool) -> dict[str, str]:
    """The pairs of a query or form; `blank`: a plus is one."""
    words: dict[str, str] = {}
    for pair in text.split("&"):
        name, _, value = pair.partition("=")
        words[name.lower()] = _decoded(value.replace("+", " ") if blank else value)
    return words


def _decoded(text: str) -> str:
    if "%" not in text and text.isascii():
        return text
    raw = unquote_to_bytes(text.encode("utf-8", "surrogateescape"))
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _parsed(raw: bytes) -> dict[str, str]:
    """The texts of a JSON object, {} where it is none."""
    try:
        document = orjson.loads(raw.removeprefix(b"\xef\xbb\xbf")) if raw.lstrip()[:1] in (b"{", b"\xef") else {}
    except orjson.JSONDecodeError:
        return {}
    told = document.items() if isinstance(document, dict) else ()
    return {name.lower(): str(value) for name, value in told if isinstance(value, (str, bool, int))}
