"""How much may be done at the same time, so that nobody starves the rest. No I/O."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from urllib.parse import urlsplit

Key = tuple[str, str]
"""A tenant, and the source or the sink of it."""


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

    def crowded(self, host: str) -> bool:
        """Whether nothing more may begin at this host; "" is nobody's."""
        return self.full or bool(host and self._hosts[host] >= self._limits.host)

    def room(self, key: Key, host: str, *, slow: bool) -> bool:
        """Whether this may begin."""
        if self.crowded(host) or self._tenants[key[0]] >= self._limits.tenant:
            return False
        return not slow or self._slow < self._limits.slow

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


def host(url: str) -> str:
    """Whom a URL asks: host and port, "" for none."""
    return urlsplit(url).netloc.rpartition("@")[2].lower()
