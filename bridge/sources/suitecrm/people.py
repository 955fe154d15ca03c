"""The CRM's own users, who have telephones."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from bridge import errors
from bridge.contact import User
from bridge.sources import INTERNAL
from bridge.sources.suitecrm import entries, listing, runs, service

FIELD = "phone_work"
"""Where an extension stands unless the admin says so: the CRM has no field of its own for it."""

_FIELDS = ("id", "user_name", "first_name", "last_name", "email1", "phone_work", "is_group", "portal_only")


async def read(asked: service.Service, field: str) -> Sequence[User]:
    """The active users with an extension, which `field` holds ("": the office number, where that is a short one)."""
    if field and field not in await runs.fields_of(asked, "Users", [field]):
        raise errors.Unavailable(
            f"{asked.host}: Users has no field {field}, right is a field's name as Studio shows it"
        )
    wanted = dict.fromkeys((*_FIELDS, field or FIELD))
    users = []
    async with aclosing(_active(asked, list(wanted))) as rows:
        async for row in rows:
            extension = _extension(row, field)
            if extension:
                users.append(_user(row, extension))
    return users


async def _active(asked: service.Service, fields: Sequence[str]) -> AsyncGenerator[entries.Row]:
    """The rows of people who may log in; groups and portals are no people."""
    listed = listing.Listing(asked, "Users", fields, "users.status = 'Active'")
    async with aclosing(listed.pages()) as pages:
        async for rows in pages:
            for row in rows:
                if row.get("is_group", "0") != "1" and row.get("portal_only", "0") != "1":
                    yield row


def _extension(row: entries.Row, field: str) -> str:
    """As written in the field that the admin named; in the office number only what can be no outside number."""
    if field:
        return row.get(field, "").strip()
    written = row.get(FIELD, "").strip()
    return written if INTERNAL.fullmatch(written) else ""


def _user(row: entries.Row, extension: str) -> User:
    office = row.get("phone_work", "").strip()
    return User(
        id=row["id"],
        extension=extension,
        first_name=row.get("first_name", ""),
        last_name=row.get("last_name", "") or row.get("user_name", ""),
        email=row.get("email1", ""),
        caller_id="" if office == extension else office,
    )
