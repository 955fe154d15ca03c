"""From the configuration to all that is served under it.

What a tenant serves stays, with all that it remembers, for as long as its `Tenant` is the same object: a new
configuration of thousands of tenants costs what has changed in it. It may be built in a thread, beside the lookups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from bridge import config
from bridge.bookshelf import Bookshelf
from bridge.config import Config, Tenant
from bridge.editions import Order
from bridge.keys import Network
from bridge.lookup import Lookups
from bridge.server import Surface, Surfaces
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
    standing: Standing = field(default_factory=lambda: Standing(), repr=False)


class Place(NamedTuple):
    """What all tenants have from the main file beside their own."""

    proxies: Sequence[Network]
    state_dir: Path


class Own(NamedTuple):
    """What one tenant serves."""

    tenant: Tenant
    surfaces: Sequence[Surface]
    orders: Sequence[Order]


class Built(NamedTuple):
    """What one configuration serves, by tenant and together."""

    place: Place
    owns: dict[str, Own]
    surfaces: Surfaces
    orders: Sequence[Order]


@dataclass(slots=True)
class Standing:
    """What is in force."""

    built: Built | None = None


def shared(db: Store, lookups: Lookups, shelf: Bookshelf) -> Shared:
    """All of it anew."""
    desk = Desk(db)
    return Shared(lookups, Guard(), desk, Library(shelf, desk), Errands(db))


def of(told: Config, parts: Shared) -> Surfaces:
    """The surfaces of every tenant, from now on in force for `parts` as well."""
    return put(build(told, parts), parts)


def build(told: Config, parts: Shared) -> Built:
    """The surfaces of every tenant; nothing that is in force changes."""
    place = Place(told.http.trusted_proxies, told.state_dir)
    last = parts.standing.built
    before = last.owns if last and last.place == place else {}
    owns: dict[str, Own] = {}
    for name, tenant in told.tenants.items():
        own = before.get(name)
        owns[name] = own if own and own.tenant is tenant else _own(tenant, place, parts)
    below = {name: own.surfaces for name, own in owns.items()}
    made = Surfaces(below.pop(config.DEFAULT), below)
    return Built(place, owns, made, [order for own in owns.values() for order in own.orders])


def put(built: Built, parts: Shared) -> Surfaces:
    """Have the shelf hold the phone books of what was built; its surfaces."""
    last = parts.standing.built
    if last is None or last.orders != built.orders:
        parts.library.shelf.stock(built.orders)
    parts.standing.built = built
    return built.surfaces


def _own(tenant: Tenant, place: Place, parts: Shared) -> Own:
    """One tenant's surfaces; the connector last: at the root it takes what no other does."""
    made: list[Surface] = []
    orders: Sequence[Order] = ()
    if tenant.phonebooks:
        books = PhoneBooks(tenant, parts.library, place.proxies)
        made.append(books)
        orders = parts.library.shelf.orders(books.recipes)
    if tenant.pbxsync:
        made.append(PbxSync(tenant, tenant.pbxsync, parts.errands, place.proxies))
    if tenant.provisioning:
        patience = parts.guard.patience
        made.append(Provisioning(tenant, tenant.provisioning, place.state_dir, parts.desk, place.proxies, patience))
    if tenant.connector:
        made.append(Connector(tenant, tenant.connector, parts.lookups, parts.guard, place.proxies))
    return Own(tenant, made, orders)
