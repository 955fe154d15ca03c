"""From the configuration to all that is served under it."""

from __future__ import annotations

from bridge.config import Config
from bridge.lookup import Lookups
from bridge.server import Surfaces
from bridge.server.connector import Connector, Guard


def of(told: Config, lookups: Lookups, guard: Guard) -> Surfaces:
    """The surfaces of every tenant; a connector at the root stands last, as it takes what no other does."""
    connectors = [
        Connector(tenant, tenant.connector, lookups, guard, told.http.trusted_proxies)
        for tenant in told.tenants.values()
        if tenant.connector
    ]
    connectors.sort(key=lambda connector: len(connector.prefix), reverse=True)
    return Surfaces(connectors)
