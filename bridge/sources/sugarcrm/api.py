"""Sugar's REST API: one session on a platform of our own, and each answer as a value or an error.

The access token lives for an hour and is renewed a minute before its end; a renewal ends every token of before, and
so does any other login of the same user on the same platform. Errors are told apart by their label: the message
beside it is in the user's language.
"""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import re
import time
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from bridge import client, errors, logins

if TYPE_CHECKING:
    from bridge import keys

RATE = 5.0
"""Requests a second at most: the vendor's cloud blocks who asks more than 20."""
_OWN_MACHINE = ("127.0.0.1", "localhost", "::1")
_CONNECTIONS = 2
_EARLY = 60.0
"""Seconds before its end at which a session is renewed."""
_GOODBYE = 2.0
"""Seconds that a logout may take."""
_READ = frozenset({400, 401, 403, 404, 405, 409, 412, 413, 422, 424, 433, 500, *client.REDIRECTS})
"""Statuses whose labels are read; the others say nothing that the status itself does not."""
_LONGEST = 80
"""Characters of a label or a field's name; what is longer is none of Sugar's own and is cut."""
_TOKEN = re.compile("[!-~]+")
"""What can stand in a header as a token."""


class Forbidden(errors.Denied):
    """Sugar knows the login, and its roles do not allow this."""


class Refusal(errors.Unavailable):
    """Sugar answers that it will not do this; `code` is its label, `status` HTTP's, `fields` are those at fault."""

    def __init__(self, reason: str, status: int, label: str, fields: tuple[str, ...] = ()) -> None:
        super().__init__(reason, code=label)
        self.status = status
        self.fields = fields


@dataclass(frozen=True, slots=True)
class Session:
    """The tokens of one login, and when the first of them ends by our clock."""

    access: str
    refresh: str
    ends: float


class Api:
    """The API of one site; `said` is the server's own time before its last answer, in seconds since 1970."""

    def __init__(self, keys: keys.SugarCrm) -> None:
        self.host = urllib.parse.urlsplit(keys.url).hostname or ""
        self.said = 0.0
        self.version = keys.api_version
        self._keys = keys
        self._base = f"{keys.url.rstrip('/')}/rest/{keys.api_version}/"
        # Tokens go nowhere near the login's own requests: one that has ended would spoil them.
        self._door, self._http = self._client(), self._client()
        self._login = logins.Login(self._make, _lives)

    def begin(self) -> None:
        """A run or a check begins."""
        self._login.begin()

    async def ask(self, method: str, path: str, data: Any = None, *, repeat: bool | None = None) -> Mapping[str, Any]:
        """The object that is answered; a POST that only reads is `repeat`.

        Raises Refusal, Forbidden, Denied, Unavailable or Unsettled.
        """
        body = b"" if data is None else orjson.dumps(data)

        async def ask(session: Session) -> Mapping[str, Any]:
            return await self._exchange(self._http, method, path, body, repeat)

        return await self._login.use(ask)

    async def close(self) -> None:
        """Log out, if that is quickly done, and give back connections."""
        try:
            if self._login.drop() is not None:
                with contextlib.suppress(errors.BridgeError, TimeoutError):
                    async with asyncio.timeout(_GOODBYE):
                        await self._exchange(self._http, "POST", "oauth2/logout", b"", repeat=False)
        finally:
            await self._http.close()
            await self._door.close()

    def _client(self) -> client.Client:
        return client.Client(
            self._base,
            timeout=self._keys.timeout,
            ca=self._keys.ca,
            verify=self._keys.verify,
            connections=_CONNECTIONS,
            rate=0.0 if self.host in _OWN_MACHINE else RATE,
        )

    async def _make(self, ended: Session | None) -> Session:
        """Renew the session that ended, or else log in with the password."""
        told = None
        if ended is not None and ended.refresh:
            try:
                told = await self._token({"grant_type": "refresh_token", "refresh_token": ended.refresh})
            except (errors.Denied, Refusal):
                told = None
        if told is None:
            told = await self._by_password()
        access, refresh, lasts = told.get("access_token"), told.get("refresh_token"), told.get("expires_in")
        if not isinstance(access, str) or not _TOKEN.fullmatch(access):
            raise errors.Unavailable(f"{self.host} answers a login without a usable token")
        seconds = float(lasts) if isinstance(lasts, int | float) else 3600.0
        self._http.present({"OAuth-Token": access})
        ends = time.monotonic() + seconds - min(_EARLY, seconds / 2)
        return Session(access, refresh if isinstance(refresh, str) else "", ends)

    async def _by_password(self) -> Mapping[str, Any]:
        keys = self._keys
        try:
            return await self._token(
                {"grant_type": "password", "username": keys.username, "password": keys.password.reveal()}
            )
        except logins.Expired as refused:
            raise errors.Denied(
                f"{self.host} takes no login as {keys.username} ({refused.code}): right are the name and password of "
                "a user of Sugar itself, active and not locked out, who does not log in through another service",
                refused.code,
            ) from None
        except Refusal as refused:
            raise errors.Denied(
                f'{self.host} refuses the login ({refused.code}): right is platform = "{keys.platform}" registered '
                f'under Admin > Configure API Platforms, and client_id = "{keys.client_id}" under Admin > OAuth Keys',
                refused.code,
            ) from None

    async def _token(self, grant: Mapping[str, str]) -> Mapping[str, Any]:
        keys = self._keys
        asked = {
            **grant,
            "client_id": keys.client_id,
            "client_secret": keys.client_secret.reveal(),
            "platform": keys.platform,
        }
        # A login whose answer is lost may be made again: it takes the place of the one before.
        return await self._exchange(self._door, "POST", "oauth2/token", orjson.dumps(asked), repeat=True)

    async def _exchange(
        self, http: client.Client, method: str, path: str, body: bytes, repeat: bool | None
    ) -> Mapping[str, Any]:
        headers = {"Accept": "application/json", "Cache-Control": "no-cache"}
        if body:
            headers["Content-Type"] = "application/json"
        began = time.monotonic()
        answer = await http.request(
            method, path, body=body, headers=headers, accept=_READ, repeat=repeat, redirects=False
        )
        self.said = _date(answer.headers.get("Date", "")) - (time.monotonic() - began)
        return self._value(answer)

    def _value(self, answer: client.Answer) -> Mapping[str, Any]:
        try:
            told = orjson.loads(answer.body)
        except orjson.JSONDecodeError:
            told = None
        if 200 <= answer.status < 300 and isinstance(told, dict) and "error" not in told:
            return told
        label, fields = _label(told)
        if label == "incorrect_version":
            raise errors.Unavailable(
                f'{self.host} has no API {self.version}: right is an api_version that it has, such as "v11_1"'
            )
        if answer.status in client.REDIRECTS:
            raise errors.Unavailable(
                f"{self.host} answers {answer.status}, a redirect: right is the address of Sugar itself as url"
            )
        if answer.status < 300 and not label:
            raise errors.Unavailable(
                f"{self.host} answers with no whole JSON object: right is the address of Sugar itself as url"
            )
        raise self._fault(answer.status, label, fields)

    def _fault(self, status: int, label: str, fields: tuple[str, ...]) -> errors.BridgeError:
        if status == 500:
            # What a page too large for PHP's memory or the database's patience ends in.
            return client.TooMuch(f"{self.host} answers 500", code=label)
        if not label:
            if status in (401, 403):
                told = f"{self.host} answers {status}, and not as Sugar does: something stands before it"
                return errors.Denied(told, str(status))
            return Refusal(f"{self.host} answers {status}", status, "")
        if status == 401:
            fault = logins.Expired(f"{self.host} does not know the session any more ({label})", label)
        elif status == 403:
            return Forbidden(f"{self.host} forbids this ({label}): the user's roles lack the right", label)
        else:
            of = f" for {', '.join(fields)[: 2 * _LONGEST]}" if fields else ""
            return Refusal(f"{self.host} answers {status} {label}{of}", status, label, fields)
        return fault


def _lives(session: Session) -> bool:
    return time.monotonic() < session.ends


def _date(text: str) -> float:
    """The time of a Date header; ours where there is none that a clock may show."""
    try:
        found = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return time.time()
    return found.timestamp() if 2000 <= found.year <= 2200 else time.time()


def _label(told: Any) -> tuple[str, tuple[str, ...]]:
    """The label of an error, and the fields that it names: words of Sugar's own, never a text of its records."""
    if not isinstance(told, dict):
        return "", ()
    label, why = told.get("error"), told.get("error_message")
    fields = tuple(name[:_LONGEST] for name in why if name.isidentifier()) if isinstance(why, dict) else ()
    return (label[:_LONGEST] if isinstance(label, str) and label.isidentifier() else ""), fields[:10]
