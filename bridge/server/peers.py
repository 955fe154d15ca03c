"""Who asks: the address of a client behind proxies, and how often it guessed wrong."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence

from aiohttp import web

from bridge.keys import Network


def address(request: web.BaseRequest, proxies: Sequence[Network]) -> str:
    """The client's address; what X-Forwarded-For says counts as far as `proxies` wrote it."""
    said = request.remote or ""
    if not proxies or not _within(said, proxies):
        return said
    for line in reversed(",".join(request.headers.getall("X-Forwarded-For", ())).split(",")):
        hop = _bare(line.strip())
        if not hop:
            break
        said = hop
        if not _within(hop, proxies):
            break
    return said


def _bare(hop: str) -> str:
    """An address without port or brackets; "" where it is none."""
    if hop.startswith("["):
        hop = hop[1:].partition("]")[0]
    elif hop.count(":") == 1:
        hop = hop.partition(":")[0]
    try:
        return str(ipaddress.ip_address(hop))
    except ValueError:
        return ""


def _within(said: str, networks: Sequence[Network]) -> bool:
    try:
        found = ipaddress.ip_address(said)
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped:
        found = found.ipv4_mapped
    return any(found in network for network in networks)


class Throttle:
    """Counts wrong guesses by address: after `most` of them within `seconds` the next ones have to wait.

    It remembers a bounded number of addresses; the networks that an IPv6 client can choose from count as one.
    """

    def __init__(
        self,
        most: int = 10,
        seconds: float = 600.0,
        addresses: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most, self._seconds, self._addresses, self._clock = most, seconds, addresses, clock
        self._wrong: OrderedDict[str, deque[float]] = OrderedDict()

    def wait(self, said: str) -> float:
        """The seconds until a guess is looked at, 0 where that is now; notes nothing."""
        times = self._wrong.get(_network(said))
        if not times or len(times) < self._most:
            return 0.0
        return max(0.0, times[-self._most] + self._seconds - self._clock())

    def wrong(self, said: str) -> float:
        """Note one wrong guess; the seconds to wait before the next is looked at, 0 where that is now."""
        now = self._clock()
        key = _network(said)
        times = self._wrong.setdefault(key, deque())
        self._wrong.move_to_end(key)
        while times and times[0] <= now - self._seconds:
            times.popleft()
        if len(times) >= self._most:
            return times[0] + self._seconds - now
        times.append(now)
        while len(self._wrong) > self._addresses:
            self._wrong.popitem(last=False)
        return 0.0


def _network(said: str) -> str:
    if ":" not in said:
        return said
    try:
        found = ipaddress.ip_address(said)
    except ValueError:
        return said
    if isinstance(found, ipaddress.IPv6Address) and not found.ipv4_mapped:
        return str(ipaddress.ip_network((int(found) >> 64 << 64, 64)))
    return said
