"""Phone books, softphone accounts and their devices."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from bridge import config
from bridge.accounts import details
from bridge.accounts.details import Details
from bridge.config import Tenant
from bridge.store import Store
from bridge.web import SQL

PAGE = 50


@dataclass(frozen=True, slots=True)
class Book:
    """One phone book. `missing`: its sources that were never read, without which it is not given out."""

    name: str
    title: str
    path: str
    sources: tuple[str, ...]
    users: tuple[str, ...]
    accounts: bool
    contacts: int
    changed_at: datetime.datetime | None
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Device:
    """An installation of the softphone: the id that it gave itself, and how many SIP accounts it was last given."""

    id: str
    given: int
    given_at: datetime.datetime


@dataclass(frozen=True, slots=True)
class Account:
    """One user of a softphone; the device that was given something last is the first."""

    username: str
    details: Details
    disabled: bool
    changed_at: datetime.datetime
    devices: Sequence[Device]


@dataclass(frozen=True, slots=True)
class Phones:
    """All of a tenant's; of the accounts the page behind a user name. `after`: where the next page begins."""

    books: tuple[Book, ...]
    provisioning: str
    accounts: tuple[Account, ...]
    after: str


async def read(db: Store, tenant: Tenant, after: str = "") -> Phones:
    """The books of the configuration, and a page of the accounts."""
    async with db.pooled() as connection:
        rows = {row["name"]: row for row in await connection.fetch(SQL["books"], tenant.name)}
        found = await connection.fetch(SQL["accounts"], tenant.name, after, PAGE + 1)
        names = [row["username"] for row in found[:PAGE]]
        given = await connection.fetch(SQL["devices"], tenant.name, names)
    devices: dict[str, list[Device]] = {}
    for row in given:
        device = Device(row["device"], len(orjson.loads(row["given"])), row["given_at"])
        devices.setdefault(row["username"], []).append(device)
    above = "" if tenant.name == config.DEFAULT else f"/{tenant.name}"
    return Phones(
        books=tuple(_book(tenant, name, above, rows) for name in tenant.phonebooks),
        provisioning=above + tenant.provisioning.path if tenant.provisioning else "",
        accounts=tuple(
            Account(
                row["username"],
                details.load(row["details"]),
                row["disabled"],
                row["changed_at"],
                devices.get(row["username"], ()),
            )
            for row in found[:PAGE]
        ),
        after=names[-1] if len(found) > PAGE else "",
    )


def _book(tenant: Tenant, name: str, above: str, rows: Mapping[str, Mapping[str, Any]]) -> Book:
    table = tenant.phonebooks[name]
    read = [rows[one] for one in table.sources if one in rows and rows[one]["read"]]
    changed = [row["changed_at"] for row in read if row["changed_at"]]
    return Book(
        name=name,
        title=table.title or name,
        path=f"{above}/phonebook/{name}",
        sources=table.sources,
        users=tuple(table.users),
        accounts=table.accounts,
        contacts=sum(row["contacts"] for row in read),
        changed_at=max(changed, default=None),
        missing=tuple(one for one in table.sources if one not in rows or not rows[one]["read"]),
    )
