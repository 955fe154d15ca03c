"""Making, changing and forgetting accounts.

Whoever does it holds the lock `accounts` of the tenant; the rows, the users that extensions are made of and what the
sinks should hold of them are committed together.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from bridge import accounts, errors, extensions, forgotten, store
from bridge.accounts import details
from bridge.accounts.details import Change, Details
from bridge.accounts.passwords import Passwords
from bridge.accounts.seals import Seal
from bridge.contact import User
from bridge.extensions import Taker
from bridge.forgotten import Forgotten
from bridge.store import Connection, Store

SQL = accounts.SQL
Fate = Literal["added", "changed", "unchanged"]
Takers = Mapping[str, Taker]
"""The sinks that take extensions."""


@dataclass(frozen=True, slots=True)
class _Row:
    """An account as it is kept."""

    username: str
    login: str = field(repr=False)
    sealed: bytes = field(repr=False)
    details: Details


async def save(
    db: Store, tenant: str, changes: Sequence[Change], seal: Seal, passwords: Passwords, takers: Takers
) -> list[Fate | errors.Refused]:
    """Make or change accounts, all at once; what became of each, Refused where it cannot be made, or was forgotten."""
    async with _alone(db, tenant) as session:
        names = [change.username for change in changes]
        erased = await forgotten.load(session, tenant)
        known = {row["username"]: _row(row) for row in await session.fetch(SQL["known"], tenant, names)}
        made = await _all(_made(tenant, one, known.get(one.username), seal, passwords, erased) for one in changes)
        rows = [row for row in made if isinstance(row, _Row) and row != known.get(row.username)]
        async with session.transaction():
            await session.execute(
                SQL["save"],
                tenant,
                [row.username for row in rows],
                [row.login for row in rows],
                [row.sealed for row in rows],
                [details.dump(row.details) for row in rows],
            )
            await _enlist(session, tenant, rows, takers)
    return [row if isinstance(row, errors.Refused) else _fate(row, known.get(row.username)) for row in made]


async def delete(db: Store, tenant: str, username: str, takers: Takers) -> bool:
    """Forget an account, its devices and the user that an extension is made of; whether there was one."""
    async with _alone(db, tenant) as session, session.transaction():
        gone = await session.execute(SQL["delete"], tenant, username)
        await _settle(session, tenant, {}, [username], takers)
    return bool(gone)


@asynccontextmanager
async def _alone(db: Store, tenant: str) -> AsyncIterator[Connection]:
    async with store.locked(db.of(tenant), "accounts", tenant) as session:
        assert session is not None
        yield session


async def _all(work: Iterable[Coroutine[Any, Any, _Row | errors.Refused]]) -> list[_Row | errors.Refused]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one) for one in work]
    return [task.result() for task in tasks]


async def _made(
    tenant: str, change: Change, before: _Row | None, seal: Seal, passwords: Passwords, erased: Forgotten
) -> _Row | errors.Refused:
    """The row that a change leads to; the one before it, in every byte, where nothing changes."""
    after = details.applied(change, before.details if before else None)
    if erased.keeps_out_user(extensions.ACCOUNTS, User(change.username, after.extension, email=after.email)):
        return errors.Refused(
            "forgotten", "this person was forgotten: right is `bridge forget --undo`, if that was wrong"
        )
    missing = [name for name, there in _needed(change, before, after).items() if not there]
    if missing:
        return errors.Refused("missing", f"{' and '.join(missing)} missing: a new account needs both passwords")
    login, sealed = (before.login, before.sealed) if before else ("", b"")
    if change.password and not (before and await passwords.fits(before.login, change.password)):
        login = await passwords.hash(change.password)
    if change.sippassword and not (before and _opens(seal, tenant, before, change.sippassword)):
        sealed = seal.close(tenant, change.username, change.sippassword)
    return _Row(change.username, login, sealed, after)


def _needed(change: Change, before: _Row | None, after: Details) -> dict[str, bool]:
    return {
        "password": bool(before or change.password),
        "sipusername": bool(after.sipusername),
        "sippassword": bool(before or change.sippassword),
    }


def _opens(seal: Seal, tenant: str, row: _Row, sippassword: str) -> bool:
    try:
        return seal.open(tenant, row.username, row.sealed) == sippassword
    except errors.Unavailable:
        # Sealed with a key that is lost: this is how the password is brought back.
        return False


def _row(raw: Mapping[str, Any]) -> _Row:
    return _Row(raw["username"], raw["login"], bytes(raw["sealed"]), details.load(raw["details"]))


def _fate(row: _Row, before: _Row | None) -> Fate:
    if before is None:
        return "added"
    return "unchanged" if row == before else "changed"


async def _enlist(session: Connection, tenant: str, rows: Sequence[_Row], takers: Takers) -> None:
    users = {row.username: details.user(row.username, row.details) for row in rows}
    if users:
        gone = [name for name, user in users.items() if user is None]
        await _settle(session, tenant, {name: user for name, user in users.items() if user}, gone, takers)


async def _settle(
    session: Connection, tenant: str, users: Mapping[str, User], gone: Sequence[str], takers: Takers
) -> None:
    """Keep these users and drop those, and decide anew what the sinks should hold."""
    await session.execute("select pg_advisory_xact_lock($1)", store.lock_key("commit", tenant))
    await extensions.amend_users(session, tenant, extensions.ACCOUNTS, list(users.values()), gone)
    for sink, taker in takers.items():
        await extensions.settle(session, tenant, sink, taker)
