"""How sources and sinks stand: what the overview shows, and what of it somebody has to look at."""

from __future__ import annotations

import asyncio
import datetime
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bridge import pace
from bridge.config import Tenant
from bridge.store import Store
from bridge.web import MANY, SQL, pictures
from bridge.web.pictures import Period, Picture

_RUNS = 3_000
"""Runs of a source that a picture sums up at most."""
_LAST = 12
_UNREADABLE = 20
_PATIENCE = 300.0
"""Seconds that a push may wait before somebody should know."""

Tone = Literal["good", "warn", "bad", "quiet"]
_WORST: tuple[Tone, ...] = ("bad", "warn")
When = datetime.datetime | None


@dataclass(frozen=True, slots=True)
class Source:
    """One source. `state` is a word for how it is, `tone` how bad that is; counts stop at `MANY`."""

    tenant: str
    name: str
    type: str
    label: str
    state: str
    tone: Tone
    contacts: int = 0
    every: float = 0.0
    full: float = 0.0
    tried_at: When = None
    read_at: When = None
    full_at: When = None
    changed_at: When = None
    due_at: When = None
    error: str = ""
    failing_since: When = None
    failures: int = 0
    denied: bool = False
    held: int = 0
    held_since: When = None
    unreadable: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sink:
    """One sink. `denied`: its code where it refuses the key."""

    tenant: str
    name: str
    type: str
    state: str
    tone: Tone
    waiting: int = 0
    waiting_since: When = None
    refused: int = 0
    ok_at: When = None
    error: str = ""
    failing_since: When = None
    denied: str = ""


@dataclass(frozen=True, slots=True)
class Concern:
    """Something that somebody has to look at: a sentence, and a link to what says more ("": nothing does)."""

    tone: Tone
    what: str
    link: str = ""
    page: str = "/"
    name: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """All of one tenant."""

    tenant: str
    sources: tuple[Source, ...]
    sinks: tuple[Sink, ...]
    failed_workflows: int

    @property
    def held(self) -> int:
        return min(MANY, sum(one.held for one in self.sources))

    @property
    def waiting(self) -> int:
        return min(MANY, sum(one.waiting for one in self.sinks))

    @property
    def refused(self) -> int:
        return min(MANY, sum(one.refused for one in self.sinks) + self.failed_workflows)

    @property
    def contacts(self) -> int:
        return sum(one.contacts for one in self.sources)

    @property
    def tone(self) -> Tone:
        """The worst of all."""
        tones = {one.tone for one in self.sources} | {one.tone for one in self.sinks}
        return next((tone for tone in _WORST if tone in tones), "warn" if self.refused else "good")

    @property
    def gravity(self) -> int:
        """Lower is worse."""
        return _WORST.index(self.tone) if self.tone in _WORST else len(_WORST)


@dataclass(frozen=True, slots=True)
class Worst:
    """Some of many tenants, the worst first; how many of all fail, and how many others want to be looked at."""

    tenants: Sequence[Tenant]
    failing: int = 0
    attention: int = 0


async def worst(db: Store, tenants: Sequence[Tenant], most: int) -> Worst:
    """As many of these tenants at most, in one query however many there are."""
    by_name = {tenant.name: tenant for tenant in tenants}
    sinks = [(tenant.name, name) for tenant in tenants for name in tenant.sinks]
    columns = ([tenant for tenant, _ in sinks], [name for _, name in sinks])
    rows = await db.fetch(SQL["worst"], list(by_name), *columns, most, _PATIENCE)
    listed = [by_name[row["tenant"]] for row in rows]
    wrong = {tenant.name for tenant in listed}
    others = (tenant for tenant in tenants if tenant.name not in wrong)
    shown = [*listed, *itertools.islice(others, most - len(listed))]
    return Worst(shown, rows[0]["failing"], rows[0]["attention"]) if rows else Worst(shown)


async def read(db: Store, tenants: Sequence[Tenant], now: datetime.datetime) -> list[Standing]:
    """How these tenants stand, in the order given."""
    names = [tenant.name for tenant in tenants]
    wanted = [(tenant.name, name) for tenant in tenants for name in tenant.sinks]
    async with db.pooled() as connection:
        sources = await connection.fetch(SQL["sources"], names, MANY)
        sinks = await connection.fetch(SQL["sinks"], [t for t, _ in wanted], [name for _, name in wanted], MANY)
        failed = {row["tenant"]: row["failed"] for row in await connection.fetch(SQL["failed_workflows"], names)}
    by_source = {(row["tenant"], row["name"]): row for row in sources}
    by_sink = {(row["tenant"], row["name"]): row for row in sinks}
    return [
        Standing(
            tenant=tenant.name,
            sources=tuple(_sources(tenant, by_source, now)),
            sinks=tuple(_sink(tenant, name, by_sink[tenant.name, name], now) for name in tenant.sinks),
            failed_workflows=failed.get(tenant.name, 0),
        )
        for tenant in tenants
    ]


def _sources(tenant: Tenant, rows: Mapping[tuple[str, str], Any], now: datetime.datetime) -> Sequence[Source]:
    """The configured ones in file order, then those that left the file."""
    left = [name for owner, name in rows if owner == tenant.name and name not in tenant.sources]
    return [_source(tenant, name, rows.get((tenant.name, name)), now) for name in (*tenant.sources, *left)]


_OF_SOURCE = (
    "contacts",
    "tried_at",
    "read_at",
    "full_at",
    "changed_at",
    "error",
    "failing_since",
    "failures",
    "denied",
)


def _source(tenant: Tenant, name: str, row: Any, now: datetime.datetime) -> Source:
    table = tenant.sources.get(name)
    known: dict[str, Any] = {key: row[key] for key in (*_OF_SOURCE, "held", "held_since", "unreadable")} if row else {}
    notes = tuple(row["notes"]) if row else ()
    if table is None:
        return Source(tenant.name, name, row["type"], name, "not configured", "warn", **known, notes=notes)
    state, tone = _state(row)
    return Source(
        tenant=tenant.name,
        name=name,
        type=table.type,
        label=table.label or name,
        state=state,
        tone=tone,
        every=table.every,
        full=table.full,
        due_at=_due(table.every, row, now),
        **known,
        notes=notes,
    )


def _state(row: Any) -> tuple[str, Tone]:
    if row is None or row["tried_at"] is None:
        return "never read", "quiet"
    if row["denied"]:
        return "denied", "bad"
    if row["error"]:
        return "failing", "bad"
    return ("held", "warn") if row["held"] else ("ok", "good")


def _due(every: float, row: Any, now: datetime.datetime) -> datetime.datetime:
    if row is None or row["tried_at"] is None:
        return now
    tried: datetime.datetime = row["tried_at"]
    return tried + datetime.timedelta(seconds=pace.interval(every, row["failures"], denied=row["denied"]))


def _sink(tenant: Tenant, name: str, row: Any, now: datetime.datetime) -> Sink:
    state: dict[str, Any] = {key: value for key, value in row.items() if key not in ("tenant", "name")}
    late = row["waiting"] and (now - row["waiting_since"]).total_seconds() > _PATIENCE
    word, tone = _sink_state(row, late=bool(late))
    return Sink(tenant.name, name, tenant.sinks[name].type, word, tone, **state)


def _sink_state(row: Any, *, late: bool) -> tuple[str, Tone]:
    if row["denied"]:
        return "denied", "bad"
    if row["error"]:
        return "failing", "bad"
    if late or row["refused"]:
        return ("behind", "warn") if late else ("refuses some", "warn")
    if row["waiting"]:
        return "busy", "quiet"
    return ("ok", "good") if row["ok_at"] else ("never asked", "quiet")


def concerns(one: Standing, works: bool) -> list[Concern]:
    """What somebody has to look at, the worst first."""
    found = [] if works else [Concern("bad", "No process works on this database: nothing is read and nothing pushed.")]
    for source in one.sources:
        more = (f"See {source.name}", "/source", source.name)
        if source.denied:
            found.append(
                Concern("bad", f"{source.name} refuses the login. Once mended, bridge check tries it at once.", *more)
            )
        elif source.error:
            found.append(Concern("bad", f"{source.name} cannot be read.", *more))
        if source.held:
            found.append(Concern("warn", f"{source.name}: losses are held.", "See what would go", "/held"))
        if source.state == "not configured":
            command = f"bridge approve {source.name}"
            found.append(Concern("warn", f"{source.name} left the configuration; its contacts stay until: {command}"))
    for sink in one.sinks:
        if sink.denied:
            found.append(Concern("bad", f"{sink.name} refuses the security key ({sink.denied})."))
        elif sink.error:
            found.append(Concern("bad", f"{sink.name} cannot be reached, or fails."))
        elif sink.state == "behind":
            found.append(Concern("warn", f"Pushes wait for {sink.name} longer than they should."))
        if sink.refused:
            found.append(Concern("warn", f"{sink.name} does not take some entries.", "See which", "/refused"))
    if one.failed_workflows:
        found.append(Concern("warn", "Some workflows failed for good.", "See why", "/refused"))
    return sorted(found, key=lambda concern: concern.tone != "bad")


async def drawn(
    db: Store, tenant: str, sources: Sequence[str], chosen: Period, now: datetime.datetime
) -> dict[str, Picture]:
    """A picture for each of these sources."""
    start = pictures.begin(chosen, now)
    slots: dict[str, list[Mapping[str, Any]]] = {name: [] for name in sources}
    for row in await db.fetch(SQL["runs"], tenant, list(slots), start, chosen.step, _RUNS):
        slots[row["name"]].append(row)
    made = {}
    for name, rows in slots.items():
        made[name] = pictures.draw(rows, start, chosen)
        # Others have their turn between two pictures.
        await asyncio.sleep(0)
    return made


@dataclass(frozen=True, slots=True)
class Closely:
    """One source, looked at closely: its last runs, and records that could not be read."""

    runs: Sequence[Any]
    unreadable: Sequence[Any]


async def closely(db: Store, tenant: str, source: str) -> Closely:
    """The last runs, the newest first, and some of the records that could not be read."""
    async with db.pooled() as connection:
        return Closely(
            runs=await connection.fetch(SQL["last_runs"], tenant, source, _LAST),
            unreadable=await connection.fetch(SQL["unreadable"], tenant, source, _UNREADABLE),
        )
