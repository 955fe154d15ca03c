"""REST v4_1 on the wire: one address, one session, an answer becomes a value or an error here.

Faults come with HTTP 200, a `null` stands for a refusal, and a PHP notice may stand before an answer. A call's
arguments are sent by the names that the server declares, in the order that it declares them: PHP 8 goes by the names,
older PHP by the order. Builds that declare other names end in a 500, and take a plain list.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import hashlib
import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from bridge import client, errors, logins

if TYPE_CHECKING:
    from bridge import keys

PLACE = "/service/v4_1/rest.php"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
SMALL = 4096
"""Bytes below which an answer may be a fault: they are a line, and what is longer is data."""
PARTING = 3.0
"""Seconds that a logout may take; a session that it does not end dies of itself."""

_ELSEWHERE = (301, 302, 303, 307, 308, 404, 405, 410)
_REJECTED = frozenset({"10", "12", "13", "70", "1008", "1009", "1012"})
_JUNK = re.compile(rb'[\[{]\s*["\[{\]}]')


class NoAccess(errors.Denied):
    """The login may not do this (fault 40)."""


class NoModule(errors.Unavailable):
    """The server has no such module (fault 20)."""


class Nothing(errors.Unavailable):
    """A bare `null`: the server refuses, and does not say why."""


class _Elsewhere(errors.Unavailable):
    """Something answers there that is not the REST service."""


@dataclass(frozen=True, slots=True)
class Session:
    """A login: the session's id (a secret), and who it is."""

    id: str
    user: str
    admin: bool


class Service:
    """Asks one server, logged in as one user. `login` is begun by every run and check."""

    def __init__(self, keys: keys.SuiteCrm) -> None:
        self.url = keys.url.partition("?")[0].removesuffix(PLACE).rstrip("/")
        self.host = urllib.parse.urlsplit(self.url).hostname or ""
        self.login = logins.Login(self._log_in)
        self._username = keys.username
        self._password = keys.password
        self._http = client.Client(self.url, timeout=keys.timeout, ca=keys.ca, verify=keys.verify)
        legacy = [] if self.url.endswith("/legacy") else [f"{self.url}/legacy{PLACE}"]
        self._places = [f"{self.url}{PLACE}", *legacy]
        self._place = ""
        self._listed = False

    async def now(self) -> datetime.datetime:
        """The server's clock (UTC). Asked first: it finds where the service is without showing a password."""
        answer = self.document("get_server_info", await self._found())
        text = answer.get("gmt_time") if isinstance(answer, dict) else None
        read = stamp(text) if isinstance(text, str) else None
        if read is None or not 2000 <= read.year <= 2200:
            raise errors.Unavailable(f"{self.host} does not tell its time, without which changes cannot be asked for")
        return read

    async def ask(self, method: str, arguments: Mapping[str, Any]) -> bytes:
        """The answer to a question, as JSON that is no fault; a session that ended is renewed once."""
        return await self.login.use(lambda session: self._post(method, {"session": session.id, **arguments}))

    async def order(self, method: str, arguments: Mapping[str, Any]) -> bytes:
        """The answer to what changes something: never sent twice, Unsettled where the answer was lost."""
        return await self.login.use(
            lambda session: self._post(method, {"session": session.id, **arguments}, repeat=False)
        )

    def document(self, asked: str, body: bytes, *, order: bool = False) -> Any:
        """An answer as JSON: only short ones were looked at before. Where it is cut, Unsettled for an order."""
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError:
            fault = errors.Unsettled if order else errors.Unavailable
            raise fault(f"{self.host} answers {asked} with JSON that has no end") from None

    async def close(self) -> None:
        """Log out where there is a session, and give back connections."""
        session = self.login.drop()
        if session is not None:
            with contextlib.suppress(errors.BridgeError, TimeoutError):
                async with asyncio.timeout(PARTING):
                    await self._post("logout", {"session": session.id}, repeat=False)
        await self._http.close()

    async def _found(self) -> bytes:
        """What `get_server_info` answers, from the place that has the service; later calls go there."""
        elsewhere: list[_Elsewhere] = []
        for place in sorted(self._places, key=lambda each: each != self._place):
            try:
                answer = await self._post("get_server_info", {}, place=place)
            except _Elsewhere as fault:
                elsewhere.append(fault)
                continue
            self._place = place
            return answer
        raise errors.Unavailable(str(elsewhere[0])) from None

    async def _log_in(self, ended: Session | None) -> Session:
        if not self._place:
            await self._found()
        digest = hashlib.md5(self._password[:].encode(), usedforsecurity=False).hexdigest()
        try:
            answer = await self._show(digest)
        except errors.Denied as rejected:
            # A directory must see the password itself, and only then says so.
            if rejected.code != "1012":
                raise
            answer = await self._show(self._password[:], encryption="PLAIN")
        match self.document("login", answer):
            case {"id": str(identity), **more} if identity:
                said = more.get("name_value_list")
                who = said if isinstance(said, dict) else {}
                return Session(identity, _said(who, "user_id"), _said(who, "user_is_admin") == "1")
        raise errors.Unavailable(f"{self.host} answers a login with something else than a session")

    async def _show(self, password: str, **more: str) -> bytes:
        auth = {"user_name": self._username, "password": password, "version": "1", **more}
        arguments = {"user_auth": auth, "application": "bridge", "name_value_list": []}
        return await self._post("login", arguments, repeat=False)

    async def _post(self, method: str, arguments: Mapping[str, Any], *, repeat: bool = True, place: str = "") -> bytes:
        """One call, by names; where that ends in a 500 and asking again does no harm, by a list, then and later."""
        answer = await self._send(method, list(arguments.values()) if self._listed else arguments, repeat, place)
        if answer.status == 500 and arguments and not self._listed and (repeat or method == "login"):
            answer = await self._send(method, list(arguments.values()), repeat, place)
            self._listed = answer.status == 200
        if answer.status == 500:
            raise errors.Unavailable(f"{self.host} answers 500 to {method}: the CRM's own log says why", code="500")
        module = arguments.get("module_name", "")
        return self._read(f"{method} of {module}" if module else method, answer)

    async def _send(self, method: str, arguments: Any, repeat: bool, place: str) -> client.Answer:
        form = {
            "method": method,
            "input_type": "JSON",
            "response_type": "JSON",
            "rest_data": orjson.dumps(arguments).decode(),
        }
        return await self._http.request(
            "POST",
            place or self._place,
            body=urllib.parse.urlencode(form).encode(),
            headers=FORM,
            accept=(500, *_ELSEWHERE),
            repeat=repeat,
            redirects=False,
        )

    def _read(self, asked: str, answer: client.Answer) -> bytes:
        """The body as JSON that is no fault, or an error that says what was `asked`."""
        if answer.status in _ELSEWHERE:
            raise _Elsewhere(self._astray(answer))
        body = answer.body.removeprefix(b"\xef\xbb\xbf").strip()
        if body == b"null":
            if asked == "logout":
                return body
            raise Nothing(f"{self.host} answers nothing (null) to {asked}", code="null")
        if body[:1] not in (b"{", b"[", b'"'):
            # What PHP has to say may stand before an answer; a page has no answer behind it.
            start = None if body[:1] == b"<" and b"<html" in body[:SMALL].lower() else _JUNK.search(body)
            if start is None:
                raise _Elsewhere(f"{self.host} answers {asked} with no JSON but a page or a text: {_RIGHT}")
            body = body[start.start() :]
        if len(body) < SMALL:
            small = self.document(asked, body)
            if isinstance(small, dict) and small.keys() >= {"name", "number"}:
                raise self._fault(asked, small)
        return body

    def _fault(self, asked: str, fault: Mapping[str, Any]) -> errors.BridgeError:
        """The error that a fault is; its number and name are the server's, cut short."""
        number, name = str(fault["number"])[:20], " ".join(str(fault["name"]).split())[:60]
        told = f"{self.host}: {name} (fault {number})"
        if number == "11":
            return logins.Expired(told, number)
        if number in _REJECTED:
            return errors.Denied(f"{told}; right is {_WHO.get(number, _WHO['10'])}", number)
        if number == "40":
            return NoAccess(f"{told} to {asked}; right is a role that may list and view what is read", number)
        if number == "20":
            return NoModule(f"{told} to {asked}", code=number)
        return errors.Unavailable(f"{told} to {asked}", code=number)

    def _astray(self, answer: client.Answer) -> str:
        location = answer.headers.get("Location", "")
        if answer.status >= 400 or not location:
            return f"{self.host} has no REST v4_1 there ({answer.status}): {_RIGHT}"
        try:
            target = urllib.parse.urlsplit(urllib.parse.urljoin(answer.url, location))
            where = f"{target.scheme}://{target.hostname}"[:100]
        except ValueError:
            where = "what is no address"
        return f"{self.host} redirects to {where}: {_RIGHT}, as it is after redirects"


_RIGHT = "right is url = the address of the CRM's start page"
_WHO = {
    "10": "a user of the CRM's own (no group, no portal user) and its password",
    "12": "a user who has logged in to the CRM by a browser once",
    "1008": "a password that has not expired",
    "1009": "to unlock the user in the CRM",
}


def stamp(text: str) -> datetime.datetime | None:
    """A time as the database spells it (UTC, without a zone); None where it is none."""
    try:
        return datetime.datetime.fromisoformat(text[:19] + "+00:00")
    except ValueError:
        return None


def spell(when: datetime.datetime) -> str:
    """A time as the database spells it."""
    return when.astimezone(datetime.UTC).strftime("%Y-%m-%d %H:%M:%S")


def _said(pairs: Mapping[str, Any], name: str) -> str:
    pair = pairs.get(name)
    value = pair.get("value") if isinstance(pair, dict) else None
    return "1" if value is True else "" if value is None or value is False else str(value)
