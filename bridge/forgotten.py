"""Who was erased on demand and is kept out of later runs: salted hashes of numbers, addresses and ids, no more."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from bridge import store
from bridge.contact import Contact, User
from bridge.store import Connection

SQL = store.queries("forgotten")


@dataclass(frozen=True, slots=True)
class Forgotten:
    """The erased of one tenant."""

    salt: bytes = b""
    hashes: frozenset[bytes] = frozenset()

    def keeps_out(self, contact: Contact) -> bool:
        """Whether this is one of them: by its id, a number of its own (none that is its company's), or an address."""
        if not self.hashes:
            return False
        numbers = (number.key for number in contact.numbers if number.key and not number.company)
        return self.knows((f"{contact.source}:{contact.id}", *map(mail, contact.emails), *numbers))

    def keeps_out_user(self, source: str, user: User) -> bool:
        """Whether this user of a CRM or account is one of them, by id or address: an extension finds a new owner."""
        return self.knows((f"{source}:{user.id}", mail(user.email)))

    def knows(self, words: Iterable[str]) -> bool:
        """Whether any of these numbers, addresses (as `mail` has them) and ids (`source:id`) is one of theirs."""
        return bool(self.hashes) and any(hashed(self.salt, word) in self.hashes for word in words if word)


def mail(address: str) -> str:
    """An address as it is compared."""
    return address.strip().casefold()


def hashed(salt: bytes, word: str) -> bytes:
    """16 bytes that stand for a number, an address or `source:id`."""
    return hashlib.blake2b(word.encode(), key=salt, digest_size=16).digest()


async def load(connection: Connection, tenant: str) -> Forgotten:
    """The erased of a tenant."""
    rows = await connection.fetch(SQL["all"], tenant)
    return Forgotten(rows[0]["salt"], frozenset(row["hash"] for row in rows)) if rows else Forgotten()


async def keep_out(connection: Connection, tenant: str, words: Iterable[str]) -> None:
    """Keep out whoever has one of these numbers, addresses or ids (`source:id`)."""
    salt = await connection.value(SQL["salt"], tenant, secrets.token_bytes(16))
    await connection.execute(SQL["keep_out"], tenant, [hashed(salt, word) for word in words])


async def let_in(connection: Connection, tenant: str, words: Iterable[str]) -> int:
    """Undo that; how many of them were kept out."""
    salt = await connection.value(SQL["salt"], tenant, secrets.token_bytes(16))
    return await connection.execute(SQL["let_in"], tenant, [hashed(salt, word) for word in words])
