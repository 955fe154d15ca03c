"""What a login can do at a site, in one line."""

from __future__ import annotations

import re

from bridge import errors
from bridge.sources.sugarcrm import api, fields, listing, runs

_OPEN_LEADS = "filter%5B0%5D%5Bconverted%5D=0"


async def line(http: api.Api, username: str, plan: runs.Plan) -> str:
    """Who is logged in, how many rows of each module there are, and which fields are hidden; Denied for none."""
    schema = await fields.read(http, plan.modules, list(plan.reader.custom.values()))
    notes, seen, masks = list(schema.notes), [], fields.Masks()
    for module, names in schema.fields.items():
        try:
            for row in await listing.some(http, listing.Query(module, names), 1):
                masks.see(module, row, names)
            seen.append((module, await _count(http, module, names)))
        except api.Forbidden:
            notes.append(f"{module} may not be read: right is a role with access to it")
    if not any(module in plan.modules for module, _ in seen):
        raise errors.Denied(f"{http.host}: {'; '.join(notes)}")
    counts = ", ".join(f"{count} {module}" for module, count in seen)
    return "; ".join((f"{username} at {http.host} by REST {http.version}: {counts}", *notes, *masks.notes))


async def _count(http: api.Api, module: str, names: tuple[str, ...]) -> str:
    """How many rows, in digits; some, where Sugar does not count."""
    query = f"?{_OPEN_LEADS}" if "converted" in names else ""
    try:
        count = (await http.ask("GET", f"{module}/filter/count{query}")).get("record_count")
    except api.Refusal:
        count = None
    if isinstance(count, str) and not re.fullmatch("[0-9]{1,15}", count):
        return "some"
    return str(count) if isinstance(count, int | str) else "some"
