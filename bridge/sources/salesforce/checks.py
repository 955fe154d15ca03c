"""What `bridge check` says of an org, in one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bridge import errors
from bridge.sources.salesforce import answers, schema, soql
from bridge.sources.salesforce.calls import Calls


async def line(
    calls: Calls, tables: Sequence[schema.Table], fields: Mapping[str, str], extension: str, quota: int
) -> str:
    """Who is logged in and where, how much of each object is there, what is hidden, what is left of the quota."""
    describer = schema.Describer(calls)
    counted = []
    for table in tables:
        chosen = await describer.choose(table, fields)
        if chosen is not None:
            count = await calls.count(table.name, chosen.condition())
            counted.append(f"{table.name} {count:,}")
    session = await calls.session()
    if not counted:
        raise errors.Denied(f"{session.host}: {'; '.join(describer.notes)}: right is a permission set with read access")
    notes = list(describer.notes)
    if extension:
        found = await describer.fields("User")
        if "." not in extension and (found is None or extension.lower() not in found):
            notes.append(schema.hidden_note("User", [extension]))
    who = await _name(calls, "User", session.user, "Username") or "the login"
    where = await _name(calls, "Organization", session.org, "Name")
    parts = [f"{who} at {session.host}" + (f" ({where})" if where else ""), ", ".join(counted), *notes]
    return "; ".join([*parts, *_quota(calls, quota)])


async def _name(calls: Calls, table: str, id: str, column: str) -> str:
    """What the org calls its user or itself; "" where the login may not know."""
    if not soql.full_id(id):
        return ""
    try:
        rows = await calls.find(soql.select((column,), table, f"Id = {soql.text(id)}"))
    except answers.Rejected:
        return ""
    name = rows[0].get(column) if rows else None
    return " ".join(name.split()) if isinstance(name, str) else ""


def _quota(calls: Calls, quota: int) -> list[str]:
    usage = calls.usage
    if usage is None:
        return []
    left = max(0, usage.most - usage.used)
    said = f"{left:,} of {usage.most:,} API calls of the day are left"
    if usage.percent >= quota:
        said += f": runs end at once, for quota = {quota} % is reached"
    return [said]
