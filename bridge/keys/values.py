"""The types that values of bridge.toml have. Each says what is wrong and what is right, with an example."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, Strict, ValidationInfo

from bridge.keys import outside
from bridge.keys.regions import MISTAKEN, REGIONS
from bridge.keys.secret import Secret, reference

Style = Literal["digits", "e164", "zeros", "national"]
"""How a number is spelled: 352…, +352…, 00352…, or as dialled within the region."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd])", re.ASCII)
LONGEST = 3650 * UNITS["d"]
HOSTNAME = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*\.?", re.IGNORECASE)


class Endpoint(NamedTuple):
    """Where a server listens."""

    host: str
    port: int

    @property
    def loopback(self) -> bool:
        """Whether only this machine reaches it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Server(NamedTuple):
    """A server that may be reached; `port` None: any."""

    host: str
    port: int | None


def shown(value: Any) -> str:
    """A value of a file as a sentence names it; only for what is no secret."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"the number {value}"
        case str():
            return f'"{value}"' if len(value) <= 80 else f'"{value[:77]}…"'
        case list() | tuple():
            return "a list"
        case dict():
            return "a table"
    return f"a {type(value).__name__}"


def split_host(text: str) -> tuple[str, int | None]:
    """`host`, `host:port`, `[v6]` or `[v6]:port` in its parts, the host in small letters; ValueError otherwise."""
    found = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^\[\]:/\s]+)(?::(\d{1,5}))?", text)
    if not found:
        raise ValueError(text)
    host, port = found[1].lower(), None if found[2] is None else int(found[2])
    if host.startswith("["):
        host = str(ipaddress.IPv6Address(host[1:-1]))
    elif not HOSTNAME.fullmatch(host):
        raise ValueError(text)
    if port is not None and port > 65535:
        raise ValueError(text)
    return host, port


def _duration(value: Any, info: ValidationInfo) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and info.context is None:
        return float(value)
    right = 'right is a number and s, m, h or d, such as "30s", "5m", "1h" or "1d"'
    if not isinstance(value, str):
        raise ValueError(f"is {shown(value)}, {right}")
    found = DURATION.fullmatch(value.strip())
    if not found:
        raise ValueError(f"is {shown(value)}, {right}")
    seconds = float(found[1]) * UNITS[found[2]]
    if seconds > LONGEST:
        raise ValueError(f'is {shown(value)}, right is at most "3650d"')
    return seconds


def _at_least_a_second(seconds: float) -> float:
    if seconds < 1:
        raise ValueError('is under a second, right is "1s" or longer')
    return seconds


def _not_nothing(seconds: float) -> float:
    if seconds <= 0:
        raise ValueError('is no time at all, right is for example "30s"')
    return seconds


def _path(value: Any, info: ValidationInfo) -> Path:
    if not isinstance(value, (str, Path)) or not str(value):
        raise ValueError(f'is {shown(value)}, right is a path such as "/etc/bridge/ca.pem"')
    if "\0" in str(value):
        raise ValueError('holds a zero byte, right is a path such as "/etc/bridge/ca.pem"')
    return (outside.base(info) / value).absolute()


def _exists(path: Path, info: ValidationInfo) -> Path:
    if not path.is_file():
        raise ValueError(f"there is no file {path}, right is the path of one that bridge may read")
    outside.note(info, "stamp", str(path), outside.stamp(str(path)))
    return path


def _url(value: str) -> str:
    right = 'right is an address such as "https://crm.example.com"'
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        raise ValueError(f"is no address, {right}") from None
    if "@" in parts.netloc:
        raise ValueError("holds a user name or password before the @, right is the address without them")
    if parts.scheme.lower() not in ("http", "https") or not parts.hostname:
        raise ValueError(f"is no http or https address, {right}")
    if re.search(r"[\s\x00-\x1f\x7f]", value) or port == 0:
        raise ValueError(f"holds a blank or port 0, {right}")
    return value


def page_url(value: str) -> str:
    """The address checked, or ""."""
    return _url(value) if value else value


def _endpoint(value: str) -> str:
    parts = urlsplit(value)
    if parts.query or parts.fragment:
        raise ValueError("holds a ? or #, right is the address alone: what follows is added")
    return value


def _region(value: str) -> str:
    region = value.upper()
    if not region or region in REGIONS:
        return region
    hint = MISTAKEN.get(region)
    meant = f'; did you mean "{hint}"?' if hint else ""
    raise ValueError(f'is {shown(value)}, right is a country\'s two letters (ISO 3166), such as "LU"{meant}')


def _listen(value: Any) -> tuple[Endpoint, ...]:
    right = 'right is "127.0.0.1:8080", "[::1]:8080", "0.0.0.0:8080" for every address, or a list of such'
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)) or not items:
        raise ValueError(f"is {shown(value)}, {right}" if items != [] else f"is empty, {right}")
    found: list[Endpoint] = []
    for item in items:
        if isinstance(item, Endpoint):
            found.append(item)
            continue
        try:
            host, port = split_host(item)
        except (TypeError, ValueError):
            raise ValueError(f"{shown(item)} is no host and port, {right}") from None
        if port is None:
            raise ValueError(f"{shown(item)} has no port, {right}")
        if port and Endpoint(host, port) in found:
            raise ValueError(f"names {shown(item)} twice, right is once")
        found.append(Endpoint(host, port))
    return tuple(found)


def _network(value: Any) -> Network:
    right = 'right is a network such as "10.0.0.0/8", or one address'
    if isinstance(value, (ipaddress.IPv4Network, ipaddress.IPv6Network)):
        return value
    if not isinstance(value, str):
        raise ValueError(f"is {shown(value)}, {right}")
    try:
        return ipaddress.ip_network(value)
    except ValueError:
        pass
    try:
        meant = ipaddress.ip_network(value, strict=False)
    except ValueError:
        raise ValueError(f"is {shown(value)}, {right}") from None
    raise ValueError(f'is {shown(value)}, right is the network itself: "{meant}"')


def _server(value: Any) -> Server:
    if isinstance(value, Server):
        return value
    right = 'right is a host, or host and port, such as "zimbra.example.com" or "zimbra.example.com:8443"'
    try:
        return Server(*split_host(value))
    except (TypeError, ValueError):
        pass
    try:
        return Server(str(ipaddress.IPv6Address(value)), None)
    except ValueError:
        raise ValueError(f"is {shown(value)}, {right}") from None


def _fingerprint(value: str) -> str:
    bare = value.replace(":", "").replace(" ", "").lower()
    if bare and not re.fullmatch(r"[0-9a-f]{64}", bare):
        raise ValueError(
            f"is {len(bare)} characters, right is the certificate's SHA-256: 64 hexadecimal digits, colons or not"
        )
    return bare


def _prefix(value: str) -> str:
    right = 'right is a path such as "/services"'
    if not value.startswith("/"):
        raise ValueError(f"is {shown(value)}, {right}")
    bare = value.rstrip("/")
    if bare and not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", bare):
        raise ValueError(f"is {shown(value)}, {right}: letters, digits and . _ ~ - between slashes")
    return bare


def _named(values: tuple[str, ...]) -> tuple[str, ...]:
    if not values:
        raise ValueError("is empty, right is one name or more, or to leave the key out")
    return _once(values)


def _once(values: tuple[str, ...]) -> tuple[str, ...]:
    twice = next((value for n, value in enumerate(values) if value in values[:n]), None)
    if twice is not None:
        raise ValueError(f"names {shown(twice)} twice, right is once")
    return values


def _revealed(value: Any, info: ValidationInfo) -> str:
    return reference(value, info) if isinstance(value, dict) else value


Duration = Annotated[float, BeforeValidator(_duration)]
"""Seconds, written as "30s", "5m", "1h" or "1d"."""
Every = Annotated[Duration, AfterValidator(_at_least_a_second)]
Timeout = Annotated[Duration, AfterValidator(_not_nothing)]
AnyPath = Annotated[Path, BeforeValidator(_path)]
"""An absolute path; as written it may be relative to the file."""
ExistingFile = Annotated[AnyPath, AfterValidator(_exists)]
Text = Annotated[str, Field(min_length=1)]
HttpUrl = Annotated[str, AfterValidator(_url)]
PageUrl = Annotated[str, AfterValidator(page_url)]
"""An http or https address, or ""."""
EndpointUrl = Annotated[HttpUrl, AfterValidator(_endpoint)]
"""An address to which a query is added."""
PrivateUrl = Annotated[HttpUrl, BeforeValidator(_revealed), Field(repr=False)]
"""An address that may hold a secret, so that it may be a reference as a secret may; the value is plain text."""
PrivateText = Annotated[str, BeforeValidator(_revealed), Field(repr=False)]
Region = Annotated[str, AfterValidator(_region)]
"""Two capital letters, or ""."""
Listen = Annotated[tuple[Endpoint, ...], BeforeValidator(_listen)]
Networks = Annotated[tuple[Annotated[Network, BeforeValidator(_network)], ...], Strict(False)]
Servers = Annotated[tuple[Annotated[Server, BeforeValidator(_server)], ...], Strict(False)]
Fingerprint = Annotated[str, AfterValidator(_fingerprint)]
Prefix = Annotated[str, AfterValidator(_prefix)]
"""The path under which a surface answers, without a slash behind it."""
Names = Annotated[tuple[Text, ...], Strict(False), AfterValidator(_named)]
"""One name or more, none of them twice."""
NamesOrAll = Annotated[tuple[Text, ...], Strict(False), AfterValidator(_once)]
Secrets = Annotated[tuple[Secret, ...], Strict(False)]
