"""A call written into each CRM, end to end: read, looked up, asked for over HTTP, made once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
from served import TOKEN, configured, serving

from bridge import assembly, sync
from bridge.config import Tenant
from bridge.demo import crms
from bridge.demo.sample import Person
from bridge.sources import Source
from bridge.store import Store
from bridge.workflow_queue import Queue

ALEXA = Person("Alexa", "Holiday", "White Cross Co", "+41 21 552 20 00", "")
CALL = {
    "originatorNumber": "41215522000",
    "originatorName": "Alexa Holiday",
    "destinationNumber": "101",
    "direction": "incoming",
    "startedTime": "2026-11-21T10:00:00Z",
    "answeredTime": "2026-11-21T10:00:10Z",
    "endedTime": "2026-11-21T10:01:43Z",
}


@pytest.mark.parametrize("action", ["log-call", "ticket", "task", "note"])
@pytest.mark.parametrize("crm", ["salesforce", "sugarcrm", "suitecrm", "zimbra", "carddav"])
async def test_a_call_is_written_into_the_crm_that_the_caller_came_from(
    db: Store, tmp_path: Path, crm: crms.Name, action: str
) -> None:
    stand = crms.make(crm)
    stand.put_person("1", ALEXA)
    async with stand.serve() as url:
        table = "\n".join(f"{key} = {orjson.dumps(value).decode()}" for key, value in stand.table(url).items())
        workflow = f'[connector.workflow.CallFlow]\naction = "{action}"\n'
        told = configured(tmp_path, workflow, more=f"[source.crm]\n{table}\n")
        tenant = told.tenants["default"]
        source = assembly.source(tenant, "crm")

        @contextlib.asynccontextmanager
        async def lend(_tenant: Tenant, _name: str) -> AsyncIterator[Source]:
            yield source

        await sync.run(db, assembly.job(tenant, "crm"), source)
        working = asyncio.create_task(Queue(db, told.tenants, lend).work())
        try:
            async with serving(db, told) as served:
                [found] = await served.ask("41215522000")
                inputs = {**CALL, "contactCrmId": found["id"]}

                async def ask() -> dict[str, str]:
                    headers = {"X-Execution-Token": TOKEN}
                    where = f"{served.url}/services/CallFlow"
                    async with served.session.post(where, json={"inputs": inputs}, headers=headers) as reply:
                        assert reply.status == 200
                        document: dict[str, str] = await reply.json()
                        return document

                made = await ask()
                assert made["id"]
                assert made["url"].startswith("http") or (made["url"] == "" and crm in ("zimbra", "carddav"))
                assert await ask() == made
                # Even where the queue has lost its memory, the CRM's own mark tells that it was done.
                await db.execute("delete from workflow_call")
                assert await ask() == made
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
            await source.close()
