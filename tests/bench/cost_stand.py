"""A stand-in CRM and a stand-in Manager in a process of their own, for cost_curves.py: cost_stand.py CONTACTS KEY.

Seven of ten contacts have two numbers, the others one. The Manager refuses the key until it is let in. Prints the keys
of `[source.crm]` and the Manager's URL as JSON; then for each line of its input one line of JSON:

    change N    N contacts, spread over all, get another last name; how many numbers they have
    admit N     the Manager takes the key, and holds what those N contacts' numbers are
    calls       how many requests came to the CRM since it was last asked for
    taken       how many requests came to the Manager since it was last asked for
    last        when the last one came, in seconds since 1970
"""

from __future__ import annotations

import asyncio
import datetime
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2])]

from bridge import keys
from bridge.demo.manager import Manager
from bridge.demo.salesforce import Org, SalesforceServer
from bridge.demo.sample import Person
from bridge.keys.secret import Secret
from bridge.sinks import Entry, Push, ccm

_AT_ONCE = 16


def person(n: int, last: str = "Müller") -> Person:
    """Somebody with a number, seven of ten with two; five work in a company."""
    cell = f"+352 621 {n:06}" if two_numbers(n) else ""
    return Person(f"Anna{n}", f"{last}-{n}", f"Firma {n // 5}", f"+49 30 {1_000_000 + n}", cell)


def two_numbers(n: int) -> bool:
    """Seven of ten, whichever of all are looked at."""
    return n * 7919 % 1009 % 10 < 7


class Stand:
    """Both stand-ins, and what is asked of them."""

    def __init__(self, contacts: int, key: str) -> None:
        self._contacts = contacts
        self._key = key
        self._changes = 0
        self._calls = self._pushes = 0
        self.last = 0.0
        self.crm = SalesforceServer(Org(), client_id="bench", client_secret=key)
        # All is older than a delta's overlap reaches.
        self.crm.org.now = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
        for n in range(contacts):
            self.crm.put_person(str(n), person(n))
        self.manager = Manager(key)
        self.manager.expired.add(key)

    def tick(self) -> None:
        """The CRM's clock is right, to the second."""
        self.crm.org.now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)

    def _some(self, count: int) -> Iterator[int]:
        return (n * (self._contacts // count) for n in range(count))

    def change(self, count: int) -> int:
        """Rename some; how many numbers they have."""
        self._changes += 1
        for n in self._some(count):
            self.crm.put_person(str(n), person(n, f"Meier{self._changes}"))
        return sum(1 + two_numbers(n) for n in self._some(count))

    async def admit(self, count: int, url: str) -> int:
        """Let the key in, and add the numbers of some; how many."""
        self.manager.expired.clear()
        sink = ccm.open("pbx", keys.Ccm(url=url, security_key=Secret(self._key), rate=1_000_000))
        written = (text for n in self._some(count) for text in (person(n).work, person(n).cell) if text)
        numbers = iter(["".join(filter(str.isdigit, text)) for text in written])

        async def add() -> int:
            added = 0
            for number in numbers:
                await sink.send(Push("add", Entry("Anna", "Müller", number)))
                added += 1
            return added

        try:
            return sum(await asyncio.gather(*(add() for _ in range(_AT_ONCE))))
        finally:
            await sink.close()

    async def watch(self) -> None:
        """Note when requests come."""
        seen = 0
        while True:
            if self.manager.counts["requests"] != seen:
                seen, self.last = self.manager.counts["requests"], time.time()
            await asyncio.sleep(0.01)

    def calls(self) -> int:
        before, self._calls = self._calls, len(self.crm.calls)
        return self._calls - before

    def taken(self) -> int:
        before, self._pushes = self._pushes, self.manager.counts["requests"]
        return self._pushes - before


async def main(contacts: int, key: str) -> None:
    stand = Stand(contacts, key)
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async with stand.crm.serve() as crm, stand.manager.serve() as pbx:
        print(json.dumps({"source": dict(stand.crm.table(crm)), "manager": pbx}), flush=True)
        stand.tick()
        watching = asyncio.create_task(stand.watch())
        while words := (await lines.readline()).decode().split():
            stand.tick()
            match words:
                case ["change", count]:
                    said = stand.change(int(count))
                case ["admit", count]:
                    said = await stand.admit(int(count), pbx)
                case ["calls"]:
                    said = stand.calls()
                case ["last"]:
                    said = stand.last
                case _:
                    said = stand.taken()
            print(json.dumps(said), flush=True)
        watching.cancel()


asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
