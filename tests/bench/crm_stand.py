"""A stand-in CRM in a process of its own, for crm_sync.py: crm_stand.py NAME CONTACTS.

Prints the keys of its `[source.x]` table as JSON; then for each line of its input: `change N` changes N contacts,
`calls` prints how many requests came since it was last asked for, and the seconds of CPU that this process took.
"""

from __future__ import annotations

import asyncio
import datetime
import json
import sys
import time
from pathlib import Path
from typing import Any, cast

sys.path[:0] = [str(Path(__file__).parents[2])]

from bridge.demo import crms
from bridge.demo.sample import Person


def person(n: int, last: str = "Müller") -> Person:
    """Somebody with two numbers, one of five in a company."""
    return Person(f"Anna{n}", f"{last}-{n}", f"Firma {n // 5}", f"+49 30 {1_000_000 + n}", f"+352 621 {n:06}")


def set_clock(name: crms.Name, crm: Any, moment: datetime.datetime) -> None:
    """What the stand-in stamps records with; Zimbra counts changes and has no such clock."""
    moment = moment.replace(microsecond=0)
    match name:
        case "salesforce":
            crm.org.now = moment
        case "sugarcrm":
            crm.now = moment
        case "suitecrm":
            crm.store.now = moment


async def main(name: crms.Name, contacts: int) -> None:
    crm: Any = crms.make(name)
    # All is older than a delta's overlap reaches.
    set_clock(name, crm, datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1))
    for n in range(contacts):
        crm.put_person(str(n), person(n))
    lines = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async with crm.serve() as url:
        print(json.dumps(crm.table(url)), flush=True)
        calls: list[str] = crm.calls
        seen = len(calls)
        set_clock(name, crm, datetime.datetime.now(datetime.UTC))
        while line := (await lines.readline()).decode().split():
            set_clock(name, crm, datetime.datetime.now(datetime.UTC))
            if line[0] == "change":
                for n in range(int(line[1])):
                    crm.put_person(str(n * 7), person(n * 7, f"Meier{time.time_ns() % 1000}"))
                print("changed", flush=True)
            else:
                print(json.dumps({"calls": len(calls) - seen, "cpu": time.process_time()}), flush=True)
                seen = len(calls)


asyncio.run(main(cast("crms.Name", sys.argv[1]), int(sys.argv[2])))
