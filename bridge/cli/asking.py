"""`bridge lookup` and `bridge explain`: who is it that calls, and why."""

from __future__ import annotations

from typing import Any

import orjson

from bridge import explain as explanation
from bridge import lookup as lookups
from bridge import status
from bridge.cli import options, output, session
from bridge.config import Config, Tenant
from bridge.explain import Explanation, Reading
from bridge.status import EntryState

_SHOWN = ("name", "company", "id", "crmName", "contactUri")


def lookup(
    number: options.NumberText,
    as_json: options.AsJson = False,
    tenant: options.TenantName = options.MAIN,
    config: options.ConfigFile = None,
) -> None:
    """Show what the CONNECTOR is answered for a number.

    --json: the answer itself.
    """
    told = session.load(config)
    found = orjson.loads(session.run(_lookup(told, options.tenant(told, tenant), number)))
    if as_json:
        output.document(found)
        return
    output.table(_SHOWN, [[one[name] for name in _SHOWN] for one in found])
    if not found:
        output.tell(f"nobody has {number}")


async def _lookup(told: Config, tenant: Tenant, number: str) -> bytes:
    async with session.opened(told) as db:
        place = lookups.directory(tenant)
        return await lookups.answer_once(db, place, number)


def explain(
    number: options.NumberText,
    as_json: options.AsJson = False,
    tenant: options.TenantName = options.MAIN,
    config: options.ConfigFile = None,
) -> None:
    """Explain why a number gets the name that it gets.

    How it is read, everybody who has it, the rule that chose, and what each sink holds for it.
    """
    told = session.load(config)
    why, held = session.run(_explain(told, options.tenant(told, tenant), number))
    if as_json:
        output.document(_document(why, held))
        return
    _print(why)
    output.table(("sink", "number", "state", "since", "should hold", "holds", "why"), map(_held, held))


async def _explain(told: Config, tenant: Tenant, number: str) -> tuple[Explanation, list[EntryState]]:
    async with session.opened(told) as db:
        place = lookups.directory(tenant)
        why = await explanation.explain(db, place, number)
        return why, await status.entries(db, tenant.name, [reading.key for reading in why.readings])


def _document(why: Explanation, held: list[EntryState]) -> dict[str, Any]:
    return {
        "asked": why.asked,
        "region": why.region,
        "readings": why.readings,
        "meant": why.meant,
        "rule": why.rule,
        "results": why.results,
        "sinks": held,
    }


def _print(why: Explanation) -> None:
    best = why.results[0] if why.results else None
    output.say(f"{why.asked}: {best['name']} ({best['id']})" if best else f"{why.asked}: nobody")
    output.say(f"rule: {why.rule}")
    for reading in why.readings:
        mark = "meant" if reading.key == why.meant else f"{len(reading.candidates)} contacts"
        output.say(f"reading {reading.key}: {reading.why}: {mark}")
    output.table(
        ("candidate", "name", "number", "kind", "answered", "changed", "source read"),
        [row for reading in why.readings for row in _candidates(reading)],
    )


def _candidates(reading: Reading) -> list[list[output.Value]]:
    return [
        [
            f"{one.source}:{one.id}",
            one.name,
            one.number,
            f"{one.kind}, the company's" if one.company_number else one.kind,
            "yes" if one.answered else "no",
            one.changed_at,
            one.read_at,
        ]
        for one in reading.candidates
    ]


def _held(one: EntryState) -> list[output.Value]:
    held = " ".join(filter(None, (one.acked["first_name"], one.acked["last_name"]))) if one.acked else None
    why = ": ".join(filter(None, (one.code, one.reason)))
    return [one.sink, one.number, one.state, one.since, one.contact or "nobody", held, why or None]
