"""Who has a telephone here, to find one person among them: users of CRMs, and accounts with their devices."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import msgspec

from bridge import extensions, numbers, store
from bridge.accounts import details
from bridge.config import Tenant
from bridge.contact import User
from bridge.forgotten import mail
from bridge.store import Connection

SQL = store.queries("forget")
_USERS = msgspec.json.Decoder(User)


@dataclass(frozen=True, slots=True)
class PhoneUser:
    """One of them: by which addresses and numbers they are known, and the extension as a PBX has it ("": none).

    `source` is `extensions.ACCOUNTS` where it is an account. `shown`: the caller id, which may be many people's.
    """

    source: str
    id: str
    mails: frozenset[str]
    extension: str
    shown: frozenset[str]
    devices: Sequence[str] = ()

    @property
    def is_account(self) -> bool:
        return self.source == extensions.ACCOUNTS


async def load(connection: Connection, tenant: Tenant) -> list[PhoneUser]:
    """All of a tenant."""
    return [
        _account(tenant, row["id"], details.load(row["details"]), row["devices"])
        if row["details"]
        else _user(tenant, row["source"], _USERS.decode(row["body"]))
        for row in await connection.fetch(SQL["users"], tenant.name)
    ]


def find(people: Sequence[PhoneUser], keys: Collection[str], email: str) -> list[PhoneUser]:
    """Those with this address, extension or caller id; one that several extensions show is nobody's own."""
    showing: defaultdict[str, set[str]] = defaultdict(set)
    for one in people:
        for key in one.shown:
            showing[key].add(one.extension or f"{one.source}:{one.id}")
    own = {key for key in keys if len(showing[key]) == 1}
    return [one for one in people if (email and email in one.mails) or one.extension in keys or own & one.shown]


def extensions_of(people: Iterable[PhoneUser]) -> frozenset[str]:
    """The extensions that they have."""
    return frozenset(one.extension for one in people if one.extension)


def _user(tenant: Tenant, source: str, user: User, names: Iterable[str] = (), devices: Sequence[str] = ()) -> PhoneUser:
    return PhoneUser(
        source=source,
        id=user.id,
        mails=frozenset(mail(text) for text in (user.email, *names) if "@" in text),
        extension="".join(user.extension.split()),
        shown=frozenset(numbers.read(user.caller_id, tenant.region, tenant.internal_digits)),
        devices=devices,
    )


def _account(tenant: Tenant, username: str, held: details.Details, devices: Sequence[str]) -> PhoneUser:
    """An account may be called by an address as well."""
    user = User(username, held.extension, held.firstname, held.lastname, held.email, held.callerid)
    names = (username, held.sipusername, held.authusername)
    return _user(tenant, extensions.ACCOUNTS, user, names, devices)
