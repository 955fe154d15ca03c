"""The one open source of each name: a second one would log in a second time, and might end the first one's session."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass

from bridge import assembly
from bridge.config import Tenant
from bridge.slots import Key
from bridge.sources import Source


@dataclass
class _Opened:
    source: Source
    tenant: Tenant
    users: int = 0
    over: bool = False


class Lending:
    """Opens each source once and lends it to whoever works with it."""

    def __init__(self) -> None:
        self._opened: dict[Key, _Opened] = {}

    @contextlib.asynccontextmanager
    async def lend(self, tenant: Tenant, name: str) -> AsyncIterator[Source]:
        """The source for the block; Unsupported where this version has none of its type."""
        key = (tenant.name, name)
        opened = self._opened.get(key)
        if opened is None or opened.tenant is not tenant:
            if opened:
                await self._return(key, opened)
            opened = self._opened[key] = _Opened(assembly.source(tenant, name), tenant)
        opened.users += 1
        try:
            yield opened.source
        finally:
            opened.users -= 1
            if opened.over and not opened.users:
                await opened.source.close()

    async def let_go(self, tenants: Collection[str]) -> None:
        """Close the sources of these tenants, each as soon as nobody works with it."""
        for key in [key for key in self._opened if key[0] in tenants]:
            await self._return(key, self._opened[key])

    async def close(self) -> None:
        """Close all of them."""
        await self.let_go({tenant for tenant, _ in self._opened})

    async def _return(self, key: Key, opened: _Opened) -> None:
        del self._opened[key]
        opened.over = True
        if not opened.users:
            await opened.source.close()
