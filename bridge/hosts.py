"""The servers that a database's URL names, and how soon a connection to one that vanished is taken for lost."""

from __future__ import annotations

import os
import socket
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

_PORT = "5432"
_TCP = {
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE): 1,
    (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPIDLE", 0)): 5,
    (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPINTVL", 0)): 2,
    (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPCNT", 0)): 3,
    (socket.IPPROTO_TCP, getattr(socket, "TCP_USER_TIMEOUT", 0)): 10_000,
}
"""Our end: a silent peer is lost after 5 + 3·2 seconds, one that takes nothing of what we send after 10."""
SERVER = {
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
"""The server's end, as settings: the locks of a machine that vanished are free as soon."""


class Host(NamedTuple):
    """One server; no port: where the URL leaves no choice and says it all."""

    name: str = ""
    port: int = 0

    def options(self) -> dict[str, Any]:
        """What the driver is told beside the URL."""
        return {"host": self.name, "port": self.port} if self.port else {}

    def __str__(self) -> str:
        return f"{self.name}:{self.port}"


def named(dsn: str) -> list[Host]:
    """The servers in a URL, in its order: `postgresql://user@a,b:5433/db` or `…?host=a,b&port=5432,5433`."""
    parts = urlsplit(dsn)
    asked = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    listed = [unquote(one) for one in parts.netloc.rpartition("@")[2].split(",") if one]
    listed = listed or [one for one in asked.get("host", "").split(",") if one]
    if len(listed) < 2:
        return [Host()]
    ports = (asked.get("port") or os.environ.get("PGPORT") or _PORT).split(",")
    ports = ports if len(ports) == len(listed) else ports[:1] * len(listed)
    return [_host(text, int(port)) for text, port in zip(listed, ports, strict=True)]


def _host(text: str, port: int) -> Host:
    """A name or address with or without a port, in brackets where it is IPv6; or the directory of a socket."""
    if text.startswith("/"):
        return Host(text, port)
    name, colon, own = text.rpartition(":")
    if not colon or "]" in own:
        return Host(text.strip("[]"), port)
    return Host(name.strip("[]"), int(own or port))


def watch(transport: Any) -> None:
    """Have a connection over TCP end by itself soon after its peer has vanished."""
    peer = transport.get_extra_info("socket")
    if peer is None or peer.family not in (socket.AF_INET, socket.AF_INET6):
        return
    with socket.socket(fileno=os.dup(peer.fileno())) as one:
        for (level, option), value in _TCP.items():
            if option:
                one.setsockopt(level, option, value)
