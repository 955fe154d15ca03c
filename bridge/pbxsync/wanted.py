"""What one of Mixvoip's helper URLs asks for. Pure; no message holds any part of the URL.

A path is split on its slashes as they stand, and each part is decoded once; a plus is a plus. So a slash within a
part is `%2F`, and SERVER may be `https%3A%2F%2Fcrm.example.com%3A8443`.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pydantic

from bridge import keys
from bridge.keys import values

Kind = Literal["zimbra", "salesforce", "sugar", "carddav"]

FORMS = {
    "zimbradownload": "zimbradownload/SERVER/USER/PASSWORD[/FOLDERS], the folders with | between them",
    "salesforce": "salesforce/USER/PASSWORDTOKEN, the security token right behind the password",
    "sugarcrm": "sugarcrm/USER/PASSWORD/SERVER/PATH/PROTOCOL",
    "carddav": "USER?password=PASSWORD&server=SERVER, or the same with carddav/ in front of USER",
}
_PORTS = {"http": 80, "https": 443}
_SERVER = re.compile(r"(?:(https?)://)?([^/?#\s\\]+)(/[^?#\s]*)?", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SALESFORCE = ".salesforce.com"


class Malformed(Exception):
    """The URL is none of the four; `str()` says what is right."""


class Unknown(Malformed):
    """There is no such helper."""


@dataclass(frozen=True, slots=True, repr=False)
class Wanted:
    """Whose contacts, and where they are; `server` is the host and port that are asked first."""

    kind: Kind
    url: str
    server: tuple[str, int]
    username: str
    password: str
    folders: tuple[str, ...] = ()


def read(parts: Sequence[str], query: str, allow: Sequence[values.Server] = ()) -> Wanted:
    """What the parts of a path behind /pbxsync/, as they stand in the request, and its query ask for."""
    decoded = [_decoded(part) for part in parts]
    while decoded and not decoded[-1]:
        decoded.pop()
    asked = [(_decoded(name).lower(), _decoded(value)) for name, _, value in map(_pair, query.split("&"))]
    said = dict(reversed(asked))
    match decoded:
        case [str(user)] if user.lower() not in FORMS or "server" in said:
            return _carddav(user, said.get("password", ""), said.get("server", ""))
        case [word, *rest] if word.lower() in FORMS:
            return _named(word.lower(), rest, said, [value for name, value in asked if name == "folder"], allow)
    raise Unknown("there is no such helper here: right is one of " + "; ".join(FORMS.values()))


def _named(
    word: str, rest: list[str], said: dict[str, str], folders: list[str], allow: Sequence[values.Server]
) -> Wanted:
    match word, rest:
        case "zimbradownload", [server, user, password]:
            return _zimbra(server, user, password, folders)
        case "zimbradownload", [server, user, password, more]:
            return _zimbra(server, user, password, [*more.split("|"), *folders])
        case "salesforce", [user, password]:
            url, place, _ = _server(said.get("server") or _login_host(allow), word)
            return Wanted("salesforce", url, place, *_login(user, password, word))
        case "sugarcrm", [user, password, server, *path]:
            return _sugar(user, password, server, path)
        case "carddav", [user]:
            return _carddav(user, said.get("password", ""), said.get("server", ""))
    raise _malformed(word)


def table(wanted: Wanted, speaks: Literal["sugarcrm", "suitecrm"] = "sugarcrm") -> keys.SourceKeys:
    """The keys of a source that reads what is wanted; `speaks`: what a Sugar was found to speak."""
    given = {"url": wanted.url, "username": wanted.username, "password": wanted.password}
    try:
        match wanted.kind:
            case "zimbra":
                return keys.Zimbra.model_validate({**given, "folders": wanted.folders or ("*",)})
            case "salesforce":
                return keys.Salesforce.model_validate({**given, "login": "soap"})
            case "carddav":
                return keys.CardDav.model_validate(given)
        return keys.SOURCES[speaks].model_validate(given)
    except pydantic.ValidationError:
        pass
    raise _malformed({"zimbra": "zimbradownload", "sugar": "sugarcrm"}.get(wanted.kind, wanted.kind))


def _zimbra(server: str, user: str, password: str, folders: Sequence[str]) -> Wanted:
    url, place, _ = _server(server, "zimbradownload")
    named = tuple(dict.fromkeys(folder.strip() for folder in folders if folder.strip()))
    if "*" in named:
        named = ()
    return Wanted("zimbra", url, place, *_login(user, password, "zimbradownload"), named)


def _sugar(user: str, password: str, server: str, path: list[str]) -> Wanted:
    """The last part is the protocol if it is one, and goes before what SERVER may say of that."""
    scheme = path.pop().lower() if path and path[-1].lower() in _PORTS else ""
    url, place, _ = _server(server, "sugarcrm", scheme)
    below = "/".join(part.strip("/") for part in path if part.strip("/"))
    url = f"{url.rstrip('/')}/{urllib.parse.quote(below)}".rstrip("/")
    return Wanted("sugar", url, place, *_login(user, password, "sugarcrm"))


def _carddav(user: str, password: str, server: str) -> Wanted:
    url, place, path = _server(server, "carddav")
    return Wanted("carddav", url if path else url + "/", place, *_login(user, password, "carddav"))


def _login(user: str, password: str, word: str) -> tuple[str, str]:
    if not user or not password:
        raise _malformed(word)
    return user, password


def _server(text: str, word: str, scheme: str = "") -> tuple[str, tuple[str, int], str]:
    """SERVER as a URL, as host and port, and its path; https where nothing says otherwise."""
    found = _SERVER.fullmatch(text.strip())
    try:
        host, port = values.split_host(found[2]) if found else ("", 0)
    except ValueError:
        host, port = "", 0
    if not found or not host or port == 0:
        raise _malformed(word)
    scheme = scheme or (found[1] or "https").lower()
    path = found[3] or ""
    shown = f"[{host}]" if ":" in host else host
    url = f"{scheme}://{shown}{f':{port}' if port else ''}{path}"
    return url, (host, port or _PORTS[scheme]), path


def _login_host(allow: Sequence[values.Server]) -> str:
    """The first host of Salesforce's that is allowed, such as the org's My Domain; else the one for everybody."""
    own = (host for host, port in allow if host.endswith(_SALESFORCE) and port in (None, 443))
    return next(own, "login" + _SALESFORCE)


def _pair(text: str) -> tuple[str, str, str]:
    return text.partition("=")


def _decoded(part: str) -> str:
    """One part, decoded once; a plus stays one."""
    try:
        text = urllib.parse.unquote(part, errors="strict")
        text.encode()
    except UnicodeError:
        text = "\0"
    if _CONTROL.search(text):
        raise Malformed("what is no UTF-8, or a control character, is in the address")
    return text


def _malformed(word: str) -> Malformed:
    return Malformed(f"right is {FORMS[word]}; a slash within a part is %2F")
