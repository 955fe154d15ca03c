"""What a softphone is given, and the memory of what it was given last."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import NamedTuple

import orjson

from bridge import accounts
from bridge.accounts import details, seals
from bridge.accounts.seals import Seal
from bridge.keys import Defaults, Secret
from bridge.store import Store

SQL = accounts.SQL


class Gift(NamedTuple):
    """SIP accounts as a JSON array, and what is remembered of them: all but the passwords, and a mark of the whole.

    `version` is that of the account that it was made of.
    """

    document: bytes
    given: str
    mark: bytes
    version: int = 0


NOTHING = Gift(b"[]", "[]", b"")
"""What a disabled user is given."""


async def seal(key: Secret, state_dir: Path, *, make: bool = False) -> Seal:
    """The seal that a configuration asks for; `make`: a key in `state_dir` is made if there is none."""
    return await (asyncio.to_thread(seals.given, key) if key else asyncio.to_thread(seals.kept, state_dir, make=make))


async def gift(db: Store, seal: Seal, tenant: str, username: str, defaults: Defaults) -> Gift:
    """What this user is given now, NOTHING where there is none any more; Unavailable where it cannot be opened."""
    row = await db.of(tenant).row(SQL["sip_account"], tenant, username)
    if row is None:
        return NOTHING
    given = details.public(details.load(row["details"]), defaults)
    sippassword = seal.open(tenant, username, bytes(row["sealed"]))
    document = b"[%b]" % details.document(given, sippassword)
    return Gift(document, orjson.dumps([given]).decode(), seal.mark(document), row["version"])


async def give(db: Store, tenant: str, username: str, device: str, gift: Gift) -> None:
    """Note that this device is given it; devices that were given nothing for long are forgotten."""
    async with db.of(tenant).pooled() as connection, connection.transaction():
        await connection.execute(SQL["give"], tenant, username, device, gift.given, gift.mark)
        await connection.execute(SQL["forget_devices"], tenant, username, accounts.DEVICES)
