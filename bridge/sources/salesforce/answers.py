"""What Salesforce says, read: error bodies in all their shapes, what is left of the quota, the server's clock. No I/O.

The codes are those of "Status Codes and Error Responses" in the REST API guide; what each means for a run is here.
"""

from __future__ import annotations

import datetime
import email.utils
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import orjson

from bridge import errors, logins

HOURS = 3600.0
"""Seconds to wait where the daily quota is spent: it is counted over the last 24 hours."""
SOON = 15.0
"""Seconds to wait where too many long requests run at the same time."""

_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_]{1,79}", re.ASCII)
_USAGE = re.compile(r"(?<![\w-])api-usage=(\d{1,15})/(\d{1,15})(?!\d)")
_QUOTED = re.compile(r"No such column '(\w+)'", re.I | re.A)
_POLICY = ("not valid for use with the rest api", "connected app is not attached to agent")
"""401s with the code of an expired session that no new session heals."""
_STATE = {
    "API_CURRENTLY_DISABLED": "the API is switched off for the moment",
    "ORG_IN_MAINTENANCE": "the org is in maintenance",
    "ORG_LOCKED": "the org is locked",
    "SERVER_UNAVAILABLE": "the server is busy",
    "TRIAL_EXPIRED": "the org's trial has expired",
    "UNABLE_TO_LOCK_ROW": "somebody else is writing the same record",
}
_RIGHTS = {
    "API_DISABLED_FOR_ORG": "this edition has no API, or the user lacks the permission API Enabled",
    "CLIENT_NOT_ACCESSIBLE_FOR_USER": "the user may not use this app",
    "TXN_SECURITY_METERING_ERROR": "a transaction security policy stands in the way: "
    "right is the permission Exempt from Transaction Security for the user",
}

_LACKS = ("INSUFFICIENT", "FUNCTIONALITY", "FEATURE")
"""How codes begin that deny one object or one API, and not the login."""


class Rejected(errors.Unavailable):
    """A well-formed no to one question, for its `code` (Salesforce's) to be acted on; `fields` are those it names.

    `text` is what Salesforce says, for the program to look at and for nobody to be shown.
    """

    def __init__(self, reason: str, code: str, status: int, text: str = "", fields: Sequence[str] = ()) -> None:
        super().__init__(reason, code=code)
        self.status = status
        self.text = text
        self.fields = tuple(fields)


class Garbled(errors.Unavailable):
    """An answer that says yes in a way that cannot be read."""


class Passing(errors.Unavailable):
    """A no that the same question, a moment later, may not meet."""


@dataclass(frozen=True, slots=True)
class Fault:
    """An error body: the code of its first entry, all its texts, all fields that it names."""

    code: str = ""
    text: str = ""
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Usage:
    """API calls of the whole org in the last 24 hours, and how many it may make."""

    used: int
    most: int

    @property
    def percent(self) -> float:
        """How much of the quota is spent."""
        return 100 * self.used / self.most if self.most else 100.0


def usage(headers: Mapping[str, str]) -> Usage | None:
    """What `Sforce-Limit-Info` says of the org, in any of its forms."""
    found = _USAGE.search(headers.get("Sforce-Limit-Info", ""))
    return Usage(int(found.group(1)), int(found.group(2))) if found else None


def date(headers: Mapping[str, str]) -> datetime.datetime | None:
    """The server's own clock."""
    try:
        found = email.utils.parsedate_to_datetime(headers.get("Date", ""))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=datetime.UTC)


def document(host: str, body: bytes) -> Any:
    """A JSON answer; a page, a half answer or nothing at all is Garbled."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        what = "a web page" if body.lstrip()[:1] == b"<" else "what is no whole JSON"
        raise Garbled(f"{host} answers with {what}") from None


def mapping(host: str, body: bytes) -> Mapping[str, Any]:
    """A JSON answer that is an object."""
    found = document(host, body)
    if not isinstance(found, dict):
        raise Garbled(f"{host} answers with JSON of another kind than was asked for")
    return found


def fault(body: bytes) -> Fault:
    """What an error body says: a JSON array, an object with any of three pairs of keys, XML, or none of these."""
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        return _xml(body)
    entries = [each for each in (said if isinstance(said, list) else [said]) if isinstance(each, dict)]
    if not entries:
        return Fault()
    named = [each["fields"] for each in entries if isinstance(each.get("fields"), list)]
    fields = tuple(name for names in named for name in names if isinstance(name, str))
    return Fault(
        _code(_first(entries[0], "errorCode", "statusCode", "exceptionCode", "error")),
        "\n".join(_first(each, "message", "exceptionMessage", "error_description") for each in entries),
        fields,
    )


def judge(host: str, status: int, headers: Mapping[str, str], body: bytes) -> None:
    """Raises what an answer with an error status means; Expired only where a new session can help."""
    if 200 <= status < 300:
        return
    said = fault(body)
    shown = f"{status}, {said.code}" if said.code else str(status)
    if said.code == "REQUEST_LIMIT_EXCEEDED":
        raise _limit(host, said.text)
    if said.code in _STATE:
        raise errors.Unavailable(f"{host}: {_STATE[said.code]} ({said.code})", after=SOON, code=said.code)
    if said.code in _RIGHTS:
        raise errors.Denied(f"{host}: {_RIGHTS[said.code]} ({said.code})", said.code)
    if status == 401:
        raise _unknown(host, body, said)
    if status in (406, 420):
        raise Passing(f"{host} answers {shown}, which passes by itself")
    if status == 410 or said.code == "UNSUPPORTED_API_VERSION":
        raise errors.Unavailable(f"{host} no longer speaks this api_version ({shown}): right is a newer one")
    if status >= 500:
        raise errors.Unavailable(f"{host} answers {shown}", code=said.code)
    if status == 403 and not said.code.upper().startswith(_LACKS):
        raise errors.Denied(f"{host} forbids this ({shown}): the login lacks the right", said.code)
    raise Rejected(f"{host} refuses ({shown})", said.code, status, said.text, said.fields)


def _limit(host: str, text: str) -> errors.Unavailable:
    """The daily quota ends for hours, the one on long requests at the same time in a moment."""
    if "concurrent" in text.lower():
        return errors.Unavailable(
            f"{host} runs too many long requests of this org at once", after=SOON, code="REQUEST_LIMIT_EXCEEDED"
        )
    return errors.Unavailable(
        f"{host}: the org's API calls of the last 24 hours are used up", after=HOURS, code="REQUEST_LIMIT_EXCEEDED"
    )


def _unknown(host: str, body: bytes, said: Fault) -> errors.Denied:
    policy = any(words in said.text.lower() for words in _POLICY)
    if policy:
        return errors.Denied(
            f"{host} lets this session not use the REST API: the app or its policies forbid it", said.code
        )
    if said.code in ("INVALID_SESSION_ID", "INVALID_AUTH_HEADER") or not body.strip():
        return logins.Expired(f"{host} does not know the session", said.code)
    return errors.Denied(f"{host} refuses the session (401{', ' + said.code if said.code else ''})", said.code)


def quoted_names(text: str) -> tuple[str, ...]:
    """The fields that a refusal without a list of fields names in its text."""
    found = _QUOTED.search(text)
    return (found.group(1),) if found else ()


def _xml(body: bytes) -> Fault:
    if not body.lstrip().startswith(b"<?xml") or b"<!DOCTYPE" in body:
        return Fault()
    try:
        root = ElementTree.fromstring(body)
    except (ElementTree.ParseError, LookupError, ValueError):  # the latter two for encodings that are none
        return Fault()
    found = {each.tag.rpartition("}")[2]: (each.text or "").strip() for each in root.iter()}
    return Fault(_code(_first(found, "errorCode", "exceptionCode")), _first(found, "message", "exceptionMessage"))


def _first(entry: Mapping[str, Any], *names: str) -> str:
    return next((entry[name] for name in names if isinstance(entry.get(name), str) and entry[name]), "")


def _code(text: str) -> str:
    """Something that can be shown: a code is one word."""
    return text if _CODE.fullmatch(text) else ""
