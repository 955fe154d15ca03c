"""From the configuration to all that is served under it."""

from __future__ import annotations

from dataclasses import dataclass

from bridge.bookshelf import Bookshelf
from bridge.config import Config
from bridge.lookup import Lookups
from bridge.server import Surfaces
from bridge.server.connector import Connector, Guard
from bridge.server.desk import Desk
from bridge.server.errands import Errands
from bridge.server.pbxsync import PbxSync
from bridge.server.phonebook import Library, PhoneBooks
from bridge.server.provisioning import Provisioning
from bridge.store import Store


@dataclass(frozen=True, slots=True)
class Shared:
    """What the surfaces of all tenants have in common, and what outlives each configuration."""

    lookups: Lookups
    guard: Guard
    desk: Desk
    library: Library
    errands: Errands


def shared(db: Store, lookups: Lookups, shelf: Bookshelf) -> Shared:
    """All of it anew."""
    desk = Desk(db)
    return Shared(lookups, Guard(), desk, Library(shelf, desk.check), Errands(db))


def of(told: Config, parts: Shared) -> Surfaces:
    """The surfaces of every tenant; a connector at the root stands last, as it takes what no other does."""
    proxies, tenants = told.http.trusted_proxies, told.tenants.values()
    books = [PhoneBooks(tenant, parts.library, proxies) for tenant in tenants]
    parts.library.shelf.stock(recipe for book in books for recipe in book.recipes)
    helpers = [PbxSync(one, one.pbxsync, parts.errands, proxies) for one in tenants if one.pbxsync]
    provisioning = [
        Provisioning(one, one.provisioning, told.state_dir, parts.desk, proxies, parts.guard.patience)
        for one in tenants
        if one.provisioning
    ]
    connectors = [
        Connector(one, one.connector, parts.lookups, parts.guard, proxies) for one in tenants if one.connector
    ]
    connectors.sort(key=lambda connector: len(connector.prefix), reverse=True)
    return Surfaces([*books, *helpers, *provisioning, *connectors])
