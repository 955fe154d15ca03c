"""The pages by their paths: what each reads, and the template that shows it."""

from __future__ import annotations

import datetime
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bridge.config import Tenant
from bridge.recent import Recent
from bridge.store import Store
from bridge.web import calls, holds, phones, pictures, refusals, standing, words

MOST_TENANTS = 50
"""Tenants that a page lists; beyond, the worst of them, and others by a part of their names."""
_LONGEST_NAME = 63


class Missing(Exception):
    """There is no such page; `str()` of it says what there is none of."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One look at a page. `tenant` None: none was chosen. `works`: whether a process reads and pushes."""

    db: Store
    tenants: Mapping[str, Tenant]
    tenant: Tenant | None
    query: Mapping[str, str]
    now: datetime.datetime
    recent: Recent
    works: Callable[[], Awaitable[bool]]

    @property
    def chosen(self) -> Tenant:
        """The tenant that was chosen, else the main one."""
        return self.tenant or next(iter(self.tenants.values()))


@dataclass(frozen=True, slots=True)
class View:
    """What a template is to show."""

    template: str
    title: str
    values: Mapping[str, Any] = field(default_factory=dict)


async def overview(asked: Asked) -> View:
    """How everything stands: of the tenant that was chosen, or of all where there are several."""
    works = await asked.works()
    if asked.tenant is None and len(asked.tenants) > 1:
        return await _all(asked, works)
    tenant = asked.chosen
    [one] = await standing.read(asked.db, [tenant], asked.now)
    chosen = pictures.period(asked.query.get("period", ""))
    values = {
        "one": one,
        "concerns": standing.concerns(one, works),
        "pictures": await standing.drawn(asked.db, tenant.name, list(tenant.sources), chosen, asked.now),
        "period": chosen,
        "periods": pictures.PERIODS,
    }
    return View("overview.html", "Overview", values)


async def _all(asked: Asked, works: bool) -> View:
    """The tenants whose names were asked for, the worst first."""
    find = asked.query.get("find", "").strip()[:_LONGEST_NAME]
    found = [tenant for name, tenant in asked.tenants.items() if find.lower() in name.lower()]
    worst = await standing.worst(asked.db, found, MOST_TENANTS)
    standings = await standing.read(asked.db, worst.tenants, asked.now)
    values = {
        "standings": sorted(standings, key=lambda one: one.gravity),
        "works": works,
        "all": len(asked.tenants),
        "found": len(found),
        "find": find,
        "worst": worst,
    }
    return View("tenants.html", "All tenants", values)


async def source(asked: Asked) -> View:
    """One source: its last runs, and what of it cannot be read."""
    tenant, name = asked.chosen, asked.query.get("name", "")
    [one] = await standing.read(asked.db, [tenant], asked.now)
    found = next((source for source in one.sources if source.name == name), None)
    if found is None:
        raise Missing(f'There is no source "{words.text(name, 60)}".')
    chosen = pictures.period(asked.query.get("period", ""))
    values = {
        "source": found,
        "close": await standing.closely(asked.db, tenant.name, name),
        "drawn": (await standing.drawn(asked.db, tenant.name, [name], chosen, asked.now))[name],
        "period": chosen,
        "periods": pictures.PERIODS,
    }
    return View("source.html", f"Source {name}", values)


async def held(asked: Asked) -> View:
    """What waits for an approval."""
    query = asked.query
    found = await holds.read(asked.db, asked.chosen.name, query.get("source", ""), query.get("after", ""))
    configured = set(asked.chosen.sources)
    values = {"holds": found, "configured": configured, "after": query.get("after", ""), "of": query.get("source", "")}
    return View("held.html", "Held", values)


async def refused(asked: Asked) -> View:
    """What is not taken until it changes."""
    found = await refusals.read(asked.db, asked.chosen)
    return View("refused.html", "Refused", {"refusals": found, "most": refusals.MOST})


async def lookup(asked: Asked) -> View:
    """Who has a number, and why."""
    number = asked.query.get("number", "")[: calls.LONGEST].strip()
    found = await calls.explained(asked.db, asked.chosen, number) if number else None
    return View("lookup.html", "Lookup", {"number": number, "found": found})


async def called(asked: Asked) -> View:
    """The lookups and workflows of late."""
    values = {
        "lookups": calls.answered(asked.recent, asked.chosen.name),
        "workflows": await calls.workflows(asked.db, asked.chosen.name),
        "connector": asked.chosen.connector,
        "most": calls.MOST,
    }
    return View("calls.html", "Calls", values)


async def telephones(asked: Asked) -> View:
    """Phone books, accounts and devices."""
    after = asked.query.get("after", "")
    return View("phones.html", "Phones", {"phones": await phones.read(asked.db, asked.chosen, after), "after": after})


PAGES: Mapping[str, Callable[[Asked], Awaitable[View]]] = {
    "/": overview,
    "/source": source,
    "/held": held,
    "/refused": refused,
    "/lookup": lookup,
    "/calls": called,
    "/phones": telephones,
}
MENU = (
    ("/", "Overview"),
    ("/held", "Held"),
    ("/refused", "Refused"),
    ("/lookup", "Lookup"),
    ("/calls", "Calls"),
    ("/phones", "Phones"),
)
