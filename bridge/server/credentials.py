"""A name and a password, wherever in a request a softphone puts them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote, unquote_plus

import orjson

_NAMES = ("username", "user")
_PASSWORDS = ("password", "pwd")
_KEYS = "|".join((*_NAMES, *_PASSWORDS))
_MOST = 4
"""Readings of one request that are tried."""
_REMEMBERED = 256
_LONGEST = 2_000
"""Characters of a body that is searched for a template's values, which takes the square of them."""
# A template's values as they were put in, whatever is in them: each ends where another key or the object does.
_FILLED_IN = re.compile(rf'"({_KEYS})"\s*:\s*"(.*?)"\s*(?=,\s*"(?:{_KEYS})"\s*:|\}}\s*\Z)', re.IGNORECASE | re.DOTALL)


class Login(NamedTuple):
    """What somebody claims to be."""

    name: str
    password: str

    def __repr__(self) -> str:
        return "Login(***)"


def shown(authorization: str, query: str, body: bytes) -> list[Login]:
    """All that the parts of a request may mean as a login, the likeliest first; [] where nobody is named."""
    found = dict.fromkeys((*_basic(authorization), *_body(body), *_form(query)))
    return list(found)[:_MOST]


def _basic(header: str) -> Iterator[Login]:
    scheme, _, coded = header.partition(" ")
    if scheme.lower() != "basic":
        return
    try:
        given = base64.b64decode(coded.strip(), validate=True)
    except (binascii.Error, ValueError):
        return
    try:
        text = given.decode()
    except UnicodeDecodeError:
        text = given.decode("latin-1")
    name, colon, password = text.partition(":")
    if colon:
        yield Login(name, password)


def _body(raw: bytes) -> Iterator[Login]:
    """JSON, or what a template became when a password with a quote was put into it; else a form."""
    text = raw.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace").strip()
    if text.startswith("{"):
        yield from _json(text)
        # A backslash in a password is no escape to the app that put it in.
        if len(text) <= _LONGEST:
            yield from _pairs({key.lower(): value for key, value in _FILLED_IN.findall(text)})
    else:
        yield from _form(text)


def _json(text: str) -> Iterator[Login]:
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError:
        return
    values = {key.lower(): str(value) for key, value in document.items() if isinstance(value, str | int)}
    yield from _pairs(values)


def _form(text: str) -> Iterator[Login]:
    """A plus is a blank to a form, and itself to an app that did not encode it."""
    fields: list[tuple[str, str]] = []
    for field in text.split("&", 100)[:100]:
        name, _, value = field.partition("=")
        fields.append((unquote_plus(name).lower(), value))
    for decode in (unquote_plus, unquote):
        yield from _pairs({name: decode(value) for name, value in reversed(fields)})


def _pairs(values: Mapping[str, Any]) -> Iterator[Login]:
    name = next((values[key] for key in _NAMES if key in values), None)
    password = next((values[key] for key in _PASSWORDS if key in values), None)
    if name is not None and password is not None:
        yield Login(name, password)


class Known:
    """Names with their passwords, compared in the same time whoever it is; an ö may be spelled in two ways."""

    def __init__(self, users: Mapping[str, str]) -> None:
        self._salt = secrets.token_bytes(32)
        self._seen: dict[str, str] = {}
        self._marks = {name: self._mark(name, password[:]) for name, password in users.items()}

    def remembered(self, authorization: str) -> str:
        """The name behind a header whose login is right; one that was right before is not taken apart again."""
        name = self._seen.get(authorization)
        if name is None:
            name = self.take(_basic(authorization))
            if name:
                if len(self._seen) >= _REMEMBERED:
                    self._seen.clear()
                self._seen[authorization] = name
        return name

    def take(self, logins: Iterable[Login]) -> str:
        """The name of the first login that is right, "" where none is."""
        right = ""
        for login in logins:
            given = self._mark(*login)
            for name, mark in self._marks.items():
                if hmac.compare_digest(given, mark):
                    right = right or name
        return right

    def _mark(self, name: str, password: str) -> bytes:
        text = unicodedata.normalize("NFC", f"{name}\0{password}")
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), key=self._salt, digest_size=32).digest()
