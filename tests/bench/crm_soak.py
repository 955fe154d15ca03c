"""All CRMs at once, each changing and failing in random ways, one real daemon, a Manager that fails too.

    .venv/bin/python tests/bench/crm_soak.py [--seconds 120] [--seed 1]

Intervals are a second instead of minutes. When the time is over the faults end; then the Manager must come to hold
exactly what the CRMs do, none missing, none twice: within a minute and a half, or, where a source is left in peace for
longer because its login was refused or taken away, as soon as `bridge status` says that it is read next. Exit code 1
where it does not.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parent)]

import goals
import patience

from bridge.demo import crms
from bridge.demo.manager import Manager
from bridge.demo.salesforce import Fault
from bridge.demo.sample import Person

ROOT = Path(__file__).parents[2]
FAULTS: dict[crms.Name, tuple[str, ...]] = {
    "salesforce": ("cut", "500", "503", "406", "420", "429", "html", "truncated", "null", "empty", "expired", "lost"),
    "sugarcrm": ("cut", "cut_midway", "truncated", "html", "null", "400", "lost"),
    "suitecrm": ("cut", "dropped", "expired", "html", "null", "lost", "status_500", "status_503", "truncated"),
    "zimbra": ("cut", "fault_500", "error_500", "busy_503", "html_200", "truncated", "null", "lost"),
    "carddav": (
        "cut_midway",
        "status_500",
        "status_503",
        "html_200",
        "truncated_xml",
        "invalid_token_403",
        "wrong_root",
    ),
}
_NUMBERS = 500
"""So many numbers the people of one CRM have in turn."""
MANAGER = ("answer_lost_after_apply", "code_500_applied", "garbage", "html_200", "padded_codes", "cut_before_apply")


class Played:
    """One CRM and the people in it; `place` keeps its numbers apart from those of the others."""

    def __init__(self, name: crms.Name, place: int) -> None:
        self.name, self.place = name, place
        self.crm: Any = crms.make(name)
        self.people: dict[str, Person] = {}
        self.made = 0

    def change(self, dice: random.Random) -> None:
        """Somebody comes, changes or goes."""
        if not self.people or (len(self.people) < 40 and dice.random() < 0.5):
            self.made += 1
            key = f"p{self.made}"
        else:
            key = dice.choice(sorted(self.people))
            if len(self.people) > 15 and dice.random() < 0.3:
                del self.people[key]
                self.crm.remove_person(key)
                return
        # Numbers come again, with other people; two never have one, for nobody can say here which of them it is.
        held = {one.cell for one in self.people.values()}
        drawn = (f"+352 621 {self.place}{n:05}" for n in dice.sample(range(_NUMBERS), 60))
        number = next(one for one in drawn if one not in held)
        self.people[key] = Person(f"First{dice.randrange(99)}", f"Last{dice.randrange(99)}", "", "", number)
        self.crm.put_person(key, self.people[key])

    def fail(self, dice: random.Random) -> None:
        """One of the next requests goes wrong."""
        fault = dice.choice(FAULTS[self.name])
        if self.name == "salesforce":
            if len(self.crm.faults) > 1:
                return  # they would pile up while it is left in peace
            self.crm.faults.append(Fault("/", kind=fault, times=1, after=dice.randrange(4)))
        elif self.name == "carddav":
            self.crm.server.faults ^= {fault}
        else:
            self.crm.faults.set(fault, times=1)

    def mend(self) -> None:
        (self.crm.server if self.name == "carddav" else self.crm).faults.clear()

    def entries(self) -> dict[str, tuple[str, str]]:
        """What a Manager should hold of it."""
        return {"".join(filter(str.isdigit, one.cell)): (one.first, one.last) for one in self.people.values()}


async def main(seconds: float, seed: int) -> int:
    dice, manager = random.Random(seed), Manager("k", seed=seed)
    played = [Played(name, n) for n, name in enumerate(FAULTS)]
    for one in played:
        for _ in range(20):
            one.change(dice)
    async with contextlib.AsyncExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bridge-bench-")))
        urls = [await stack.enter_async_context(one.crm.serve()) for one in played]
        pbx = await stack.enter_async_context(manager.serve())
        configure(home, played, urls, pbx)
        log = stack.enter_context((home / "log").open("wb"))
        daemon = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bridge", "run"),
            cwd=home,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=log,
            stderr=log,
        )
        try:
            end, changes = time.monotonic() + seconds, 0
            while time.monotonic() < end:
                dice.choice(played).change(dice)
                changes += 1
                if dice.random() < 0.4:
                    dice.choice(played).fail(dice)
                if dice.random() < 0.2:
                    manager.faults.set(dice.choice(MANAGER), times=1)
                await asyncio.sleep(0.25)
            for one in played:
                one.mend()
            manager.faults.clear()
            wrong = await settled(home, manager, played)
            if wrong:
                await told(home, wrong[:5])
        finally:
            daemon.terminate()
            await daemon.wait()
        struck = {name: count for name, count in manager.counts.items() if name.startswith("fault.")}
        print(f"{changes} changes in {seconds:.0f} s; the Manager met {struck}; the log has {events(home / 'log')}")
    return 1 if wrong else 0


def configure(home: Path, played: list[Played], urls: list[str], pbx: str) -> None:
    lines = ['region = "LU"', 'log = "json"', '[http]\nlisten = "127.0.0.1:0"', '[admin]\nlisten = "127.0.0.1:0"']
    for one, url in zip(played, urls, strict=True):
        table = {"every": "1s", "full": "20s", **one.crm.table(url)}
        guard = "guard = { percent = 100, floor = 1000, most = 1000 }"
        lines += [f"[source.{one.name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items()), guard]
    lines += [f'[sink.pbx]\ntype = "ccm"\nurl = "{pbx}"\nsecurity_key = "k"\nrate = 500\ntimeout = "2s"']
    (home / "bridge.toml").touch(0o600)
    (home / "bridge.toml").write_text("\n".join(lines) + "\n")


async def settled(home: Path, manager: Manager, played: list[Played]) -> list[str]:
    """The numbers under which the Manager never comes to hold what it should; what differs is printed."""
    wanted: dict[str, tuple[str, str]] = {}
    for one in played:
        wanted |= one.entries()
    began = time.monotonic()
    end = began + 90
    while time.monotonic() < end or (end := await patience.until(home, began)) > time.monotonic():
        held = {number: names[:2] for number, names in manager.book().items()}
        if held == wanted and not manager.duplicates():
            what = "all CRMs at once, faults everywhere: the Manager exactly right, no entry twice"
            goals.shown(what, f"{time.monotonic() - began:.0f} s after the last fault, {len(held)} entries")
            return []
        await asyncio.sleep(0.5)
    missing, wrong = set(wanted.items()) - set(held.items()), set(held.items()) - set(wanted.items())
    print("wanted", sorted(missing), "held", sorted(wrong), "twice", manager.duplicates(), flush=True)
    return sorted({number for number, _ in missing | wrong} | set(manager.duplicates()))


async def told(home: Path, numbers: Sequence[str]) -> None:
    """Print what the daemon says of itself and of these numbers."""
    for words in (("status",), *(("explain", number) for number in numbers)):
        asked = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bridge", *words), cwd=home, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        await asked.wait()


def events(log: Path) -> dict[str, int]:
    counts: dict[str, int] = {}
    for line in log.read_text().splitlines():
        name = json.loads(line).get("event", "") if line.startswith("{") else "?"
        counts[name] = counts.get(name, 0) + 1
    return counts


options = argparse.ArgumentParser()
options.add_argument("--seconds", type=float, default=120.0)
options.add_argument("--seed", type=int, default=1)
asked = options.parse_args()
sys.exit(asyncio.run(main(asked.seconds, asked.seed)))
