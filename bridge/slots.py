"""How much may be done at the same time, so that nobody starves the rest. No I/O."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

Key = tuple[str, str]
"""A tenant, and the source, the sink or the call of it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Of all, of one tenant's, of those that ask one host, and of those that are known to be slow."""

    total: int
    tenant: int
    host: int
    slow: int


class Slots:
    """What is being done, by tenant, host and pace."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._tenants: Counter[str] = Counter()
        self._hosts: Counter[str] = Counter()
        self._held: dict[Key, tuple[str, bool]] = {}
        self._slow = 0

    @property
    def full(self) -> bool:
        """Whether nothing more may begin, whosoever it is."""
        return len(self._held) >= self._limits.total

    @property
    def slowed(self) -> bool:
        """Whether no more that are slow may begin."""
        return self._slow >= self._limits.slow

    def crowds(self) -> tuple[set[str], set[str]]:
        """The tenants of which, and the hosts at which, nothing more may begin."""
        tenants = {one for one, count in self._tenants.items() if count >= self._limits.tenant}
        hosts = {one for one, count in self._hosts.items() if one and count >= self._limits.host}
        return tenants, hosts

    def crowded(self, host: str) -> bool:
        """Whether nothing more may begin at this host; "" is nobody's."""
        return self.full or bool(host and self._hosts[host] >= self._limits.host)

    def room(self, key: Key, host: str, *, slow: bool) -> bool:
        """Whether this may begin."""
        if self.crowded(host) or self._tenants[key[0]] >= self._limits.tenant:
            return False
        return not (slow and self.slowed)

    def enter(self, key: Key, host: str, *, slow: bool) -> None:
        """It has begun."""
        self._held[key] = host, slow
        self._tenants[key[0]] += 1
        self._hosts[host] += 1
        self._slow += slow

    def leave(self, key: Key) -> None:
        """It has ended."""
        host, slow = self._held.pop(key)
        for counter, one in ((self._tenants, key[0]), (self._hosts, host)):
            counter[one] -= 1
            if not counter[one]:
                del counter[one]
        self._slow -= slow


class Waiting:
    """Who waits for room: whoever waits longest is next, and no host's many keep another's from it."""

    def __init__(self) -> None:
        self._lines: dict[tuple[str, bool], dict[Key, None]] = {}

    def __bool__(self) -> bool:
        return bool(self._lines)

    def renew(self, due: Mapping[Key, tuple[str, bool]]) -> None:
        """These wait now, with their host and whether they are slow; those who did so before keep their places."""
        lines: dict[tuple[str, bool], dict[Key, None]] = {}
        for place, line in self._lines.items():
            for key in line:
                if due.get(key) == place:
                    lines.setdefault(place, {})[key] = None
        for key, place in due.items():
            lines.setdefault(place, {})[key] = None
        self._lines = lines

    def next(self, slots: Slots) -> tuple[Key, str, bool] | None:
        """Who may begin, their host, and whether they are slow; they wait no longer. None: nobody may."""
        for place, line in self._lines.items():
            host, slow = place
            if slots.full:
                return None
            if slots.crowded(host) or (slow and slots.slowed):
                continue
            for key in line:
                if slots.room(key, host, slow=slow):
                    del line[key], self._lines[place]
                    if line:
                        self._lines[place] = line  # behind the other hosts'
                    return key, host, slow
        return None


@functools.lru_cache(1 << 14)  # asked of every tenant's at a time
def host(url: str) -> str:
    """Whom a URL asks: host and port, "" for none."""
    return urlsplit(url).netloc.rpartition("@")[2].lower()
