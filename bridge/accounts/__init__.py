"""Softphone accounts: made and changed by `bridge account` (`saving`), given out by `[provisioning]` (`giving`)."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson

from bridge import store
from bridge.accounts import details
from bridge.accounts.details import Details
from bridge.store import Store

SQL = store.queries("accounts")
DEVICES = 1000
"""Devices of a user that are remembered."""


@dataclass(frozen=True, slots=True)
class Device:
    """What an installation of the softphone was last given: SIP accounts without their passwords, none where []."""

    device: str
    given: Sequence[Mapping[str, str]]
    given_at: datetime.datetime


@dataclass(frozen=True, slots=True)
class Account:
    """One user of a softphone, without either password."""

    username: str
    details: Details
    disabled: bool
    changed_at: datetime.datetime
    devices: Sequence[Device] = ()


async def listed(db: Store, tenant: str) -> list[Account]:
    """All accounts, by name, with their devices, the one that was given something last first."""
    async with db.of(tenant).pooled() as connection:
        rows = await connection.fetch(SQL["accounts"], tenant)
        found = await connection.fetch(SQL["devices"], tenant)
    devices: dict[str, list[Device]] = {}
    for row in found:
        device = Device(row["device"], orjson.loads(row["given"]), row["given_at"])
        devices.setdefault(row["username"], []).append(device)
    return [
        Account(name, details.load(row["details"]), row["disabled"], row["changed_at"], devices.get(name, ()))
        for row in rows
        for name in [row["username"]]
    ]


async def switch(db: Store, tenant: str, username: str, *, disabled: bool) -> bool:
    """Disable an account or enable it; whether that changed it. Its extension stays."""
    return bool(await db.of(tenant).execute(SQL["switch"], tenant, username, disabled))
