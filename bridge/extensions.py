"""Which extensions a sink should hold: the users of its sources, one an extension number.

The users of a source are read whole by every run. One who is gone takes the extension along only where the sink may
delete extensions (`delete_extensions`), and never more of them at a time than the source's guard lets go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import msgspec
import orjson

from bridge import losses, store
from bridge.contact import User
from bridge.keys import Guard
from bridge.sinks import Extension
from bridge.store import Connection

SQL = store.queries("extensions")
ACCOUNTS = "@accounts"
"""What stands in a source's place for users that are accounts' and no CRM's; no source can be called so."""
Render = Callable[[User], Extension]
_USERS = msgspec.json.Decoder(User)


@dataclass(frozen=True, slots=True)
class Taker:
    """A sink that takes extensions: from these sources, the best first; `delete`: it may lose some again."""

    sources: Sequence[str]
    render: Render
    delete: bool


@dataclass(frozen=True, slots=True)
class Row:
    """What is known of one extension of a sink (table `extension`)."""

    number: str
    state: str
    wanted: Extension | None
    acked: Extension | None
    exists: bool
    sent: Extension | None
    tries: int = 0


@dataclass(frozen=True, slots=True)
class Held:
    """How many users keep their extension although the CRM lacks them, and why; `new`: some did not wait before."""

    count: int = 0
    why: str = ""
    new: bool = False


async def keep_users(session: Connection, tenant: str, source: str, users: Sequence[User], guard: Guard | None) -> Held:
    """Keep what a run read of a source's users; `guard` None: nothing is lost with them."""
    key = (tenant, source)
    before = {row["id"] for row in await session.fetch(SQL["users"], *key)}
    bodies = {user.id: msgspec.json.encode(user).decode() for user in users}
    gone = sorted(before - bodies.keys())
    why = losses.judge(len(gone), 0, len(before), len(bodies), guard, of="users with an extension") if guard else ""
    await session.execute(SQL["keep_users"], *key, list(bodies), list(bodies.values()))
    await session.execute(SQL["end_hold"], *key, [f"user:{id}" for id in gone] if why else [])
    if not why:
        await session.execute(SQL["drop_users"], *key, gone)
        return Held()
    return Held(len(gone), why, bool(await session.execute(SQL["hold_users"], *key, gone)))


async def amend_users(
    session: Connection, tenant: str, source: str, users: Sequence[User], gone: Sequence[str]
) -> None:
    """Keep these users and drop those; the others stay."""
    bodies = [msgspec.json.encode(user).decode() for user in users]
    await session.execute(SQL["keep_users"], tenant, source, [user.id for user in users], bodies)
    await session.execute(SQL["drop_users"], tenant, source, list(gone))


async def let_go(session: Connection, tenant: str, source: str) -> int:
    """Drop the users whose loss was held and is approved; how many."""
    approved = [row["id"] for row in await session.fetch(SQL["approved"], tenant, source)]
    await session.execute(SQL["drop_users"], tenant, source, approved)
    return len(approved)


async def dismiss(session: Connection, tenant: str, source: str) -> None:
    """Drop the users of a source that left the configuration."""
    await session.execute(SQL["dismiss"], tenant, source)


async def settle(session: Connection, tenant: str, sink: str, taker: Taker) -> None:
    """Decide anew what the sink should hold; what differs from what it acknowledged becomes due."""
    users = [_USERS.decode(row["body"]) for row in await session.fetch(SQL["all_users"], tenant, list(taker.sources))]
    rows = {row["number"]: read(row) for row in await session.fetch(SQL["held_now"], tenant, sink)}
    wanted: dict[str, Extension] = {}
    for user in users:
        extension = taker.render(user)
        wanted.setdefault(extension.number, extension)
    told, forgotten = decide(wanted, rows, delete=taker.delete)
    numbers = list(told)
    bodies = [orjson.dumps(wanted[number]).decode() if number in wanted else None for number in numbers]
    await session.execute(SQL["want"], tenant, sink, numbers, bodies, [told[number] for number in numbers])
    await session.execute(SQL["forget"], tenant, sink, forgotten)


def decide(
    wanted: Mapping[str, Extension], rows: Mapping[str, Row], *, delete: bool
) -> tuple[dict[str, str], list[str]]:
    """The new state of each extension that changes, and those that nobody has or had."""
    told: dict[str, str] = {}
    forgotten = []
    for number in sorted(wanted.keys() | rows.keys()):
        want, row = wanted.get(number), rows.get(number)
        if want is None:
            assert row is not None
            if not row.exists and row.state != "sent":
                forgotten.append(number)
            elif row.wanted is not None or row.state == ("clean" if delete else "due"):
                told[number] = "due" if delete else "clean"
        elif row is None or row.wanted != want:
            told[number] = "clean" if row is not None and row.acked == want else "due"
    return told, forgotten


def read(raw: Mapping[str, Any]) -> Row:
    """A row as the database gives it."""
    values = {name: orjson.loads(raw[name]) if raw[name] else None for name in ("wanted", "acked", "sent")}
    made = {name: Extension(**value) if value else None for name, value in values.items()}
    known = values["acked"] is not None
    return Row(number=raw["number"], state=raw["state"], tries=raw["tries"], exists=known, **made)


def dump(extension: Extension | None) -> str:
    """As the tables keep it; None: there is something of which nothing is known."""
    return orjson.dumps(asdict(extension) if extension else {}).decode()
