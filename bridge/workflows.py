"""What a button in the CONNECTOR asks for: written down at once, done by whoever works, and answered when it is.

The answering process never speaks to a CRM itself: it waits a few seconds for the outcome and says nothing where
there is none yet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec

from bridge import calls, errors, log, store
from bridge.calls import Told
from bridge.config import Tenant
from bridge.keys import Workflow
from bridge.store import Store

SQL = store.queries("workflows")
CHANNEL = "bridge_workflow"
"""Where who works is told that something is owed."""
PATIENCE = 4.8
"""Seconds after which the CONNECTOR is answered, who waits for 5."""
_LOOKS = (0.02, 0.25)
"""Seconds between looks at the outcome: the first pause, and the longest."""
_READ_ONLY = frozenset({"file", "phonebook"})
"""Types of source that have no CRM behind them."""
_LOG = log.get()


async def ask(
    db: Store, tenant: Tenant, name: str, workflow: Workflow, inputs: Mapping[str, Any], patience: float = PATIENCE
) -> Mapping[str, str]:
    """Have it done once; `{"id", "url"}` of what was made, {} where it is done later, or nowhere.

    Raises Unavailable where it cannot even be written down in PATIENCE.
    """
    end = asyncio.get_running_loop().time() + patience
    told = calls.read(inputs)
    source, contact = place(tenant, workflow, told)
    if not source and workflow.action != "webhook":
        _LOG.warning("workflow.nowhere", workflow=name, tenant=tenant.name, reason="no CRM for this contact")
        return {}
    key = calls.key(tenant.name, name, told)
    db = db.of(tenant.name)
    words = (tenant.name, key, name, workflow.action, source, msgspec.json.encode(told).decode(), contact, CHANNEL)
    try:
        async with asyncio.timeout(PATIENCE):
            await db.execute(SQL["ask"], *words)
    except TimeoutError:
        raise errors.Unavailable("the database does not answer", after=5.0) from None
    try:
        async with asyncio.timeout_at(end):
            return await _outcome(db, tenant.name, key)
    except (TimeoutError, errors.Unavailable):
        return {}  # it is written down, and done as soon as that is possible


def place(tenant: Tenant, workflow: Workflow, told: Told) -> tuple[str, str]:
    """The source that it is done at, and the contact's id there: the contact's own CRM, else the workflow's."""
    source, colon, contact = told.contact.partition(":")
    table = tenant.sources.get(source) if colon else None
    if table is not None and (table.type not in _READ_ONLY or workflow.action == "webhook"):
        return source, contact
    return (workflow.source if workflow.source in tenant.sources else ""), ""


async def _outcome(db: Store, tenant: str, key: str) -> Mapping[str, str]:
    pause = _LOOKS[0]
    while True:
        row = await db.row(SQL["outcome"], tenant, key)
        if row is not None and row["state"] == "done":
            return {"id": row["made_id"], "url": row["made_url"]}
        if row is None or row["state"] == "failed":
            return {}
        await asyncio.sleep(pause)
        pause = min(_LOOKS[1], 1.5 * pause)
