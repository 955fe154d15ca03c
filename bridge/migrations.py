"""From one version of the schema to the next, in the caller's transaction; what is in the way is said, not met."""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from bridge import errors

_OLDEST = 15
"""The oldest PostgreSQL that will do."""
_MADE = re.compile(r"^create (?:table|sequence) (\w+)", re.MULTILINE)
_OURS = """
select count(*) = 3 and exists (
    select from pg_attribute where attrelid = to_regclass('schema_version') and attname = 'version' and atttypid = 23
) from unnest(array['source', 'contact', 'number']) as t (name) where to_regclass(name) is not null
"""
_TAKEN = """
select relname from pg_class where relnamespace = current_schema()::regnamespace and relname = any($1) order by relname
"""
_LOOSE = "select rolsuper or rolbypassrls from pg_roles where rolname = current_user"
_OWN = (
    "give bridge a database of its own, or a schema: "
    "create schema bridge authorization USER; alter role USER in database NAME set search_path = bridge"
)


class Session(Protocol):
    """What is needed of a connection."""

    async def fetch(self, sql: str, *args: Any) -> list[Any]: ...
    async def value(self, sql: str, *args: Any) -> Any: ...
    async def execute(self, sql: str, *args: Any) -> int: ...
    def transaction(self) -> AbstractAsyncContextManager[None]: ...


async def version(session: Session) -> int:
    """The schema's version in the database; 0: there is none. Unsupported where its name is another program's."""
    if await session.value("select to_regclass('schema_version')") is None:
        return 0
    if not await session.value(_OURS):
        raise errors.Unsupported(f"the table schema_version in this database is another program's: {_OWN}")
    return int(await session.value("select version from schema_version") or 0)


async def unheld(session: Session) -> str:
    """What is to be said where row security does not hold the session's user; "" where it does."""
    if not await session.value(_LOOSE):
        return ""
    return (
        "its user is a superuser or bypasses row security, so that bridge's code alone keeps tenants apart: "
        "right is an ordinary role that owns the database"
    )


async def bring(session: Session, to: int) -> tuple[int, int]:
    """Bring the database to this version; (before, after).

    A database newer than the program is refused: an old program would write what the new one no longer reads.
    """
    server = await session.value("select current_setting('server_version_num')::int") // 10000
    if server < _OLDEST:
        raise errors.Unsupported(f"PostgreSQL {server} is too old: bridge needs {_OLDEST} or newer")
    before = await version(session)
    if before > to:
        raise errors.Unsupported(
            f"the database has schema {before}, this bridge knows {to}: run the newer bridge that made it"
        )
    if before == to:
        return before, before
    async with session.transaction():
        if before == 0:
            await _make(session)
        for number, sql in _steps():
            if before and before < number <= to:
                await session.execute(sql)
        await session.execute("update schema_version set version = $1", to)
    return before, to


async def _make(session: Session) -> None:
    schema = importlib.resources.files("bridge.sql").joinpath("schema.sql").read_text("utf-8")
    taken = [row["relname"] for row in await session.fetch(_TAKEN, _MADE.findall(schema))]
    if taken:
        raise errors.Unsupported(
            f"the database has tables of another program under names that bridge needs ({', '.join(taken)}): {_OWN}"
        )
    await session.execute("create table schema_version (version integer not null)")
    await session.execute("insert into schema_version values (0)")
    await session.execute(schema)


def _steps() -> Iterator[tuple[int, str]]:
    """The steps from one schema to the next: `migrations/0002_words.sql` arrives at version 2."""
    folder = importlib.resources.files("bridge.sql").joinpath("migrations")
    named = [file for file in folder.iterdir() if re.match(r"\d{4}_.*\.sql$", file.name)]
    for file in sorted(named, key=lambda one: one.name):
        yield int(file.name[:4]), file.read_text("utf-8")
