"""SOAP in JSON with one Zimbra server: one login, requests, and faults by their codes.

A fault arrives as HTTP 500 with a body; its `Detail.Error.Code` says what it is, never the status or the text.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import msgspec
import orjson

from bridge import client, errors, logins

if TYPE_CHECKING:
    from bridge import keys

MAIL = "urn:zimbraMail"
ACCOUNT = "urn:zimbraAccount"
_PATH = "/service/soap"
_HEADERS = {"Content-Type": "application/json; charset=utf-8", "Accept": "application/json, text/javascript"}
_RATE = 25.0
"""Requests a second: the server's filter against floods refuses more than 30."""
_LIFE = 0.8
"""The part of a session's lifetime after which another is made."""
_FOR_EVER = 10**14
"""Milliseconds that no session lasts."""
_EXPIRED = frozenset({"service.AUTH_EXPIRED", "service.AUTH_REQUIRED"})
_REJECTED = {
    "account.AUTH_FAILED": "the user, its password or its lock is at fault, which the server does not tell apart",
    "account.CHANGE_PASSWORD": "the password must be changed, right is one that does not expire",
    "account.PASSWORD_LOCKED": "the password is locked, right is to unlock the account",
    "account.TWO_FACTOR_SETUP_REQUIRED": "a second factor must be set up, right is an account without one",
    "account.TWO_FACTOR_AUTH_FAILED": "a second factor is asked for, right is a preauth_key, or an account without one",
    "service.INVALID_REQUEST": "the way of logging in is not taken: a password needs https, "
    "a preauth_key must be made for the domain",
    "service.PERM_DENIED": "the account may not log in",
    "service.AUTH_REQUIRED": "the account may not log in",
}
"""Faults of a login that only the admin ends, and what they mean."""
_PREAUTH_HINT = "the preauth_key is not that of the user's domain, or the clocks are more than 5 minutes apart"
_TWO_FACTORS = "right is a preauth_key of the domain, or a service account without a second factor that shares reach"

T = TypeVar("T")


class Fault(errors.Unavailable):
    """The server answered with a fault: `code` is its own word for it, `item` the id that it names."""

    def __init__(self, reason: str, code: str, item: str = "") -> None:
        super().__init__(reason, code=code)
        self.item = item


class Text(msgspec.Struct):
    """An element that holds text alone."""

    content: str = msgspec.field(name="_content", default="")


class _Argument(msgspec.Struct):
    n: str = ""
    content: str | int = msgspec.field(name="_content", default="")


class _Error(msgspec.Struct):
    code: str = msgspec.field(name="Code", default="service.FAILURE")
    arguments: list[_Argument] = msgspec.field(name="a", default_factory=list)


class _Detail(msgspec.Struct):
    error: _Error = msgspec.field(name="Error", default_factory=_Error)


class _Fault(msgspec.Struct):
    detail: _Detail = msgspec.field(name="Detail", default_factory=_Detail)


class _Envelope(msgspec.Struct):
    body: dict[str, msgspec.Raw] = msgspec.field(name="Body")


class _Token(msgspec.Struct):
    tokens: list[Text] = msgspec.field(name="authToken", default_factory=list)
    lifetime: int = 0
    second: Any = msgspec.field(name="twoFactorAuthRequired", default=None)


@dataclass(frozen=True, slots=True)
class _Session:
    token: str = field(repr=False)
    ends: float


class Soap:
    """Asks one server as one account; logs in when it must."""

    def __init__(self, keys: keys.Zimbra) -> None:
        self.site = keys.url.rstrip("/").removesuffix(_PATH).rstrip("/")
        self.host = urlsplit(self.site).hostname or ""
        self.username = keys.username
        self._keys = keys
        self._http = self._client(_RATE)
        # A dead token that is shown makes even a login fail, so the login has a client that never shows one.
        self._door = self._client(0.0)
        self._login = logins.Login(self._enter, lambda session: time.monotonic() < session.ends)

    def begin(self) -> None:
        """A run or a check begins."""
        self._login.begin()

    async def ask(
        self,
        name: str,
        question: Mapping[str, Any],
        reply: type[T],
        *,
        space: str = MAIL,
        account: str = "",
        change: str = "",
        repeat: bool = True,
    ) -> T:
        """What `<name>Request` answers; raises Fault with the server's code where it answers with one.

        `account` is the id of another mailbox's owner. `change`: Fault mail.MODIFY_CONFLICT where the item has been
        touched since. `repeat`: asking twice does no harm.
        """

        async def once(session: _Session) -> T:
            context: dict[str, Any] = {"authToken": {"_content": session.token}}
            if account:
                context["account"] = {"by": "id", "_content": account}
            if change:
                context["change"] = {"token": change, "type": "new"}
            try:
                return await self._exchange(self._http, name, question, reply, space, context, repeat)
            except Fault as fault:
                if fault.code in _EXPIRED:
                    raise logins.Expired(f"{self.host} does not know the session any more ({fault.code})") from None
                raise

        return await self._login.use(once)

    async def close(self) -> None:
        """Give back connections; a session ends by itself."""
        await self._http.close()
        await self._door.close()

    def _client(self, rate: float) -> client.Client:
        keys = self._keys
        return client.Client(self.site + _PATH, timeout=keys.timeout, ca=keys.ca, verify=keys.verify, rate=rate)

    async def _enter(self, _ended: _Session | None) -> _Session:
        """Log in, once; Denied says why not and what is right."""
        question = {"account": {"by": "name", "_content": self.username}, **self._proof()}
        try:
            told = await self._exchange(self._door, "Auth", question, _Token, ACCOUNT, {}, repeat=False)
        except Fault as fault:
            raise self._rejection(fault) from None
        except errors.Unsettled as lost:
            raise errors.Unavailable(str(lost)) from None
        if _true(told.second):
            raise errors.Denied(
                f"{self.host} asks {self.username} for a second factor: {_TWO_FACTORS}", "twoFactorAuthRequired"
            )
        token = told.tokens[0].content if told.tokens else ""
        if not re.fullmatch(r"[!#-+\--:<-\[\]-~]+", token):
            raise errors.Unavailable(f"{self.host} lets {self.username} in without a usable token")
        self._http.present({"Cookie": "ZM_AUTH_TOKEN=" + token})
        known = 0 < told.lifetime < _FOR_EVER
        return _Session(token, time.monotonic() + told.lifetime / 1000 * _LIFE if known else float("inf"))

    def _proof(self) -> dict[str, Any]:
        """What shows that we may log in: the password, or a word signed with the domain's key."""
        key = self._keys.preauth_key.reveal()
        if not key:
            return {"password": {"_content": self._keys.password.reveal()}}
        stamp = int(time.time() * 1000)
        word = f"{self.username}|name|0|{stamp}".encode()
        signed = hmac.new(key.encode(), word, hashlib.sha1).hexdigest()
        return {"preauth": {"timestamp": stamp, "expires": 0, "_content": signed}}

    def _rejection(self, fault: Fault) -> errors.BridgeError:
        why = _REJECTED.get(fault.code)
        if why is None and not fault.code.startswith("account.TWO_FACTOR"):
            return errors.Unavailable(
                f"{self.host} does not let {self.username} in now ({fault.code})", code=fault.code
            )
        if self._keys.preauth_key and fault.code == "account.AUTH_FAILED":
            why = _PREAUTH_HINT
        return errors.Denied(
            f"{self.host} rejects the login of {self.username} ({fault.code}): {why or _TWO_FACTORS}", fault.code
        )

    async def _exchange(
        self,
        http: client.Client,
        name: str,
        question: Mapping[str, Any],
        reply: type[T],
        space: str,
        context: Mapping[str, Any],
        repeat: bool,
    ) -> T:
        body = {
            "Header": {
                "context": {
                    "_jsns": "urn:zimbra",
                    "userAgent": {"name": "bridge"},
                    "format": {"type": "js"},
                    **context,
                }
            },
            "Body": {f"{name}Request": {"_jsns": space, **question}},
        }
        async with http.spool(
            "POST", body=orjson.dumps(body), headers=_HEADERS, accept=(500,), repeat=repeat, redirects=False
        ) as spool:
            status, said = spool.status, b"".join(spool.chunks())
        return self._read(name, status, said, reply)

    def _read(self, name: str, status: int, said: bytes, reply: type[T]) -> T:
        try:
            body = _envelope(said).body
            if (fault := body.get("Fault")) is not None:
                raise self._fault(name, msgspec.json.decode(fault, type=_Fault, strict=False).detail.error)
            if status < 300 and (answer := body.get(f"{name}Response")) is not None:
                return msgspec.json.decode(answer, type=reply, strict=False)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass
        if status >= 300:
            raise errors.Unavailable(f"{self.host} answers {name} with {status} and no fault in JSON")
        raise errors.Unavailable(f"{self.host} answers {name} with what is no whole {name}Response in JSON")

    def _fault(self, name: str, error: _Error) -> Fault:
        code = error.code if re.fullmatch(r"[\w.\-]{1,80}", error.code) else "service.FAILURE"
        items = [str(each.content) for each in error.arguments if each.n in ("itemId", "id")]
        return Fault(f"{self.host} answers {name} with {code}", code, items[0] if items else "")


_ESCAPE = re.compile(
    rb"(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\[^u]|\\u[^dD]|\\u[dD][0-7])"
    rb"|\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
)


def _envelope(said: bytes) -> _Envelope:
    """The envelope; half characters and bare control characters in somebody's notes spoil no batch of contacts."""
    try:
        return msgspec.json.decode(said, type=_Envelope)
    except msgspec.ValidationError:
        raise
    except (msgspec.DecodeError, UnicodeDecodeError):
        mended = re.sub(rb"[\x00-\x1f]", b" ", said.decode("utf-8", "replace").encode())
        mended = _ESCAPE.sub(lambda found: found[1] or b"\\ufffd", mended)
        return msgspec.json.decode(mended, type=_Envelope)


def _true(flag: Any) -> bool:
    """Whether a flag is set, as an element, a list of one or a plain value."""
    if isinstance(flag, list):
        flag = flag[0] if flag else None
    if isinstance(flag, dict):
        flag = flag.get("_content", True)
    return flag not in (None, False, 0, "", "0", "false", "FALSE")
