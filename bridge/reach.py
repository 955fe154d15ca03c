"""Which servers may be reached on behalf of others: those that a list names, at addresses of the public internet.

What a name resolves to is found out once, checked, and the only place that is connected to: a name that means another
address a moment later leads nowhere. An address that is not public is reached only where the list names it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Collection, Sequence

from bridge import errors

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Servers = Collection[tuple[str, int | None]]
"""Hosts in small letters, each with the port that may be reached, None for any."""
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

_PATIENCE = 10.0
"""Seconds that a name server may take."""
# Public by the registry's letter, and never a server's: what 6to4, NAT64 and IPv4 in IPv6 hold is an address again.
_NEVER = [ipaddress.ip_network(text) for text in ("100.64.0.0/10", "192.0.0.0/24", "192.88.99.0/24", "fec0::/10")]
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class Forbidden(errors.Unavailable):
    """This server, or the address that its name leads to, may not be reached."""


class Reach:
    """A `client.Gate`: holds what each name resolved to; `refused` tells whether any server was turned down."""

    def __init__(self, allow: Servers, resolve: Resolve | None = None) -> None:
        self.refused = False
        self._allow = allow
        self._resolve = resolve or _resolve
        self._turn = asyncio.Lock()
        self._known: dict[str, Sequence[Address]] = {}

    async def addresses(self, host: str, port: int) -> Sequence[str]:
        """The addresses of a host, all of them checked; Forbidden, or Unavailable where it has none."""
        if not named(self._allow, host, port):
            self.refused = True
            raise Forbidden(f"{host}:{port} is not allowed")
        async with self._turn:
            if host not in self._known:
                self._known[host] = await self._look_up(host, port)
        found = self._known[host]
        if not all(public(each) or named(self._allow, str(each), port) for each in found):
            self.refused = True
            raise Forbidden(f"{host} has an address that is not public and not allowed")
        return [str(each) for each in found]

    async def _look_up(self, host: str, port: int) -> Sequence[Address]:
        if (literal := _address(host)) is not None:
            return [literal]
        try:
            async with asyncio.timeout(_PATIENCE):
                texts = await self._resolve(host, port)
        except (OSError, UnicodeError, TimeoutError):
            texts = ()
        found = [address for text in dict.fromkeys(texts) if (address := _address(text)) is not None]
        if not found:
            raise errors.Unavailable(f"{host}: no such host name")
        return found


def named(allow: Servers, host: str, port: int) -> bool:
    """Whether the list names this host or address, whatever its spelling, and with this port."""
    literal = _address(host)
    spelled = str(literal) if literal is not None else host.lower().rstrip(".")
    return any(name.rstrip(".") == spelled and number in (None, port) for name, number in allow)


def public(address: Address) -> bool:
    """Whether it is an address of the public internet, and no disguise of one that is not."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64:
            return public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        if address.ipv4_mapped is not None or address.sixtofour is not None or address.is_reserved:
            return False
    if address.is_multicast or any(address in network for network in _NEVER):
        return False
    return address.is_global


def _address(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


async def _resolve(host: str, port: int) -> Sequence[str]:
    found = await asyncio.get_running_loop().getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
    )
    return [str(sockaddr[0]) for *_, sockaddr in found]
