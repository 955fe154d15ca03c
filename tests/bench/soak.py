"""Three daemons, fifty tenants, one database, and everything fails all the time.

    .venv/bin/python tests/bench/soak.py [--minutes 10] [--seed 1]

Intervals are seconds instead of minutes. CRMs and Managers fail in their own ways; proxies stand before the database
and the Managers, and delay, cut and half-open connections; daemons and their processes are killed and frozen; the
clock of one jumps (Debian's libfaketime, where it is installed). When the time is over all that ends; then every
Manager must come to hold exactly what its tenant's CRM does, within three minutes, and every daemon must answer so. The
third daemon is left alive all the while: its memory and its open files are shown as slopes after the warm-up. Exit
code 1 where anything is missing, twice, wrong, or grows.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import glob
import json
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
from aiohttp import web

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parent)]

import goals
import patience
from proxy import Proxy, tcp, unix

from bridge import embedded
from bridge.demo import crms
from bridge.demo.manager import Manager
from bridge.demo.salesforce import Fault
from bridge.demo.sample import Person

ROOT = Path(__file__).parents[2]
TENANTS, DAEMONS = 50, 3
TOKEN = "soak-token"
KINDS: tuple[crms.Name, ...] = ("carddav", "salesforce", "sugarcrm", "suitecrm", "zimbra")
FAULTS: dict[str, tuple[str, ...]] = {
    "salesforce": ("cut", "500", "503", "429", "html", "truncated", "null", "empty", "expired", "lost"),
    "sugarcrm": ("cut", "cut_midway", "truncated", "html", "null", "400", "lost"),
    "suitecrm": ("cut", "dropped", "expired", "html", "null", "lost", "status_500", "truncated"),
    "zimbra": ("cut", "fault_500", "busy_503", "html_200", "truncated", "null", "lost"),
    "carddav": ("cut_midway", "status_500", "html_200", "truncated_xml", "invalid_token_403"),
}
MANAGER = ("answer_lost_after_apply", "code_500_applied", "garbage", "html_200", "padded_codes", "cut_before_apply")
GUARD = "guard = { percent = 100, floor = 100000, most = 100000 }"


class Text:
    """A phone book at a URL, as text; it fails as files on web servers do."""

    def __init__(self) -> None:
        self.people: dict[str, Person] = {}
        self.fails = ""

    def put_person(self, key: str, person: Person) -> None:
        self.people[key] = person

    def remove_person(self, key: str) -> None:
        del self.people[key]

    def answer(self) -> web.Response:
        body = "".join(f"{''.join(one.cell.split())}:{one.first} {one.last}:\n" for one in self.people.values())
        fails, self.fails = self.fails, ""
        match fails:
            case "500":
                return web.Response(status=500)
            case "html":
                return web.Response(text="<html>Login</html>", content_type="text/html")
            case "empty":
                return web.Response(text="")
        return web.Response(text=body)


class Tenant:
    """One tenant: its CRM, its Manager, and who is in them."""

    def __init__(self, n: int) -> None:
        self.n, self.name = n, f"t{n:02}"
        self.kind = KINDS[n % len(KINDS)] if n < 2 * len(KINDS) else "text"
        self.crm: Any = Text() if self.kind == "text" else crms.make(self.kind)
        self.manager = Manager("k", seed=n)
        self.people: dict[str, Person] = {}
        self.made = 0

    def change(self, dice: random.Random) -> None:
        """Somebody comes, changes or goes; no two ever have one number."""
        self.made += 1
        key = f"p{self.made}"
        if len(self.people) > 12 and dice.random() < 0.6:
            key = dice.choice(sorted(self.people))
            # As many come as go: what grows is the daemon's own.
            if dice.random() < (0.4 if len(self.people) < 30 else 0.9):
                del self.people[key]
                self.crm.remove_person(key)
                return
        number = f"+352 621 {self.n:02}{self.made % 10000:04}"
        if key in self.people and dice.random() < 0.5:
            number = self.people[key].cell
        self.people[key] = Person(f"First{dice.randrange(99)}", f"Last{dice.randrange(99)}", "", "", number)
        self.crm.put_person(key, self.people[key])

    def fail(self, dice: random.Random) -> None:
        """One of the next requests to the CRM, or to the Manager, goes wrong."""
        if dice.random() < 0.5:
            self.manager.faults.set(dice.choice(MANAGER), times=1)
        elif self.kind == "text":
            self.crm.fails = dice.choice(("500", "html", "empty"))
        elif self.kind == "salesforce":
            self.crm.faults.append(Fault("/", kind=dice.choice(FAULTS[self.kind]), times=1, after=dice.randrange(4)))
        elif self.kind == "carddav":
            self.crm.server.faults ^= {dice.choice(FAULTS[self.kind])}
        else:
            self.crm.faults.set(dice.choice(FAULTS[self.kind]), times=1)

    def mend(self) -> None:
        self.manager.faults.clear()
        if self.kind == "text":
            self.crm.fails = ""
        else:
            (self.crm.server if self.kind == "carddav" else self.crm).faults.clear()

    def wanted(self) -> dict[str, tuple[str, str]]:
        return {"".join(filter(str.isdigit, one.cell)): (one.first, one.last) for one in self.people.values()}

    def right(self) -> bool:
        held = {number: names[:2] for number, names in self.manager.book().items()}
        return held == self.wanted() and not self.manager.duplicates()


class Daemon:
    """One of the daemons: started again when it was killed, as systemd would."""

    def __init__(self, n: int, home: Path, database: int, *, faketime: str = "") -> None:
        self.n, self.home = n, home
        self.proxy_port = database
        self.http, self.admin = free_port(), free_port()
        self._faketime = faketime
        self.process: asyncio.subprocess.Process | None = None

    def configure(self, tenants: Path) -> None:
        self.home.mkdir()
        file = self.home / "bridge.toml"
        file.touch(0o600)
        file.write_text(
            f'region = "LU"\nlog = "json"\nstate_dir = "state"\ntenants = "{tenants}/*.toml"\n'
            f'[database]\nurl = "postgresql://bridge@127.0.0.1:{self.proxy_port}/bridge"\n'
            f'[http]\nlisten = "127.0.0.1:{self.http}"\n[admin]\nlisten = "127.0.0.1:{self.admin}"\n'
        )

    async def start(self) -> None:
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        if self._faketime:
            (self.home / "clock").write_text("+0")
            env |= {
                "LD_PRELOAD": self._faketime,
                "FAKETIME_TIMESTAMP_FILE": str(self.home / "clock"),
                "FAKETIME_NO_CACHE": "1",
                "DONT_FAKE_MONOTONIC": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            }
        with (self.home / "log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "bridge", "run"), cwd=self.home, env=env, stdout=log, stderr=log
            )

    def jump(self, seconds: int) -> None:
        """The wall clock of its machine is set."""
        if self._faketime:
            (self.home / "clock").write_text(f"{seconds:+d}")

    def pids(self) -> list[int]:
        """The keeper and its children."""
        assert self.process is not None
        found, parents = [], {self.process.pid}
        with contextlib.suppress(OSError):
            os.kill(self.process.pid, 0)
            found.append(self.process.pid)
        for path in glob.glob("/proc/[0-9]*/stat"):
            with contextlib.suppress(OSError, ValueError):
                fields = Path(path).read_text().rpartition(")")[2].split()
                if int(fields[1]) in parents and fields[0] != "Z":
                    found.append(int(path.split("/")[2]))
        return found

    def send(self, pids: Sequence[int], order: int) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, order)

    async def again(self) -> None:
        """Start it again if it has ended."""
        if self.process is None or self.process.returncode is not None:
            await asyncio.sleep(0.5)
            await self.start()

    async def end(self) -> None:
        if self.process and self.process.returncode is None:
            self.send(self.pids(), signal.SIGCONT)
            self.process.terminate()
            try:
                async with asyncio.timeout(20):
                    await self.process.wait()
            except TimeoutError:
                self.send(self.pids(), signal.SIGKILL)


@dataclasses.dataclass
class Watch:
    """What the daemon that nobody kills uses, by process name: (seconds, kilobytes, open files)."""

    seen: dict[str, list[tuple[float, int, int]]] = dataclasses.field(default_factory=dict)

    def look(self, daemon: Daemon) -> None:
        for pid in daemon.pids():
            with contextlib.suppress(OSError, StopIteration, ValueError):
                words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
                name = next(word for word in words if word.startswith("bridge."))
                if name == "bridge.editions":
                    continue
                status = Path(f"/proc/{pid}/status").read_text()
                kilobytes = int(status.split("VmRSS:")[1].split()[0])
                self.seen.setdefault(f"{name} {pid}", []).append(
                    (time.monotonic(), kilobytes, len(os.listdir(f"/proc/{pid}/fd")))
                )

    def report(self) -> bool:
        """Print the slopes of what lived through the second half; whether none grows."""
        good = True
        for name, rows in self.seen.items():
            late = rows[len(rows) // 2 :]
            if len(late) < 20:
                continue
            hours = [row[0] / 3600 for row in late]
            memory = statistics.linear_regression(hours, [row[1] / 1024 for row in late])[0]
            files = statistics.linear_regression(hours, [float(row[2]) for row in late])[0]
            span = (late[-1][0] - late[0][0]) / 60
            print(
                f"{name}: {late[0][1] / 1024:.1f} to {late[-1][1] / 1024:.1f} MB ({memory:+.2f} MB an hour), "
                f"{late[0][2]} to {late[-1][2]} files ({files:+.1f} an hour), over {span:.0f} min"
            )
            process, part = name.split()[0], len(late) // 4
            # Of medians: at any one moment a few connections more or fewer are open.
            more, opened = (
                statistics.median(row[n] for row in late[-part:]) - statistics.median(row[n] for row in late[:part])
                for n in (1, 2)
            )
            if span < 25:  # Over a few minutes the slope is mostly noise.
                good &= goals.at_most(f"{process}: more memory at the end of {span:.0f} minutes", more / 1024, 4, "MB")
            else:
                good &= goals.at_most(f"{process}: memory, over the last {span:.0f} minutes", memory, 1, "MB an hour")
            good &= goals.at_most(f"{process}: more open files at the end of them", opened, 15)
        return good


async def trouble(
    dice: random.Random, tenants: Sequence[Tenant], daemons: Sequence[Daemon], proxies: Sequence[Proxy], end: float
) -> Counter[str]:
    """Everything goes wrong until then; what did, and how often."""
    count: Counter[str] = Counter()
    frozen: list[tuple[float, Daemon, list[int]]] = []
    while time.monotonic() < end:
        for _ in range(3):
            dice.choice(tenants).change(dice)
            count["changes"] += 1
        if dice.random() < 0.5:
            dice.choice(tenants).fail(dice)
            count["faults"] += 1
        proxy, victim, chance = dice.choice(proxies), dice.choice(daemons[:-1]), dice.random()
        if chance < 0.03:
            proxy.cut(0.5, dice)
            count["cuts"] += 1
        elif chance < 0.05:
            proxy.deaf = True
            asyncio.get_running_loop().call_later(dice.random() * 12, setattr, proxy, "deaf", False)
            count["half-open"] += 1
        elif chance < 0.07:
            proxy.delay = dice.random() * 0.05
            asyncio.get_running_loop().call_later(5, setattr, proxy, "delay", 0.0)
            count["delays"] += 1
        elif chance < 0.085 and (pids := victim.pids()):
            victim.send([dice.choice(pids)], signal.SIGKILL)
            count["kills"] += 1
        elif chance < 0.092 and not frozen:
            pids = victim.pids()
            victim.send(pids, signal.SIGSTOP)
            frozen.append((time.monotonic() + 5 + dice.random() * 20, victim, pids))
            count["freezes"] += 1
        elif chance < 0.10:
            daemons[0].jump(dice.randrange(-86400, 86400))
            count["clock jumps"] += 1
        for one in [one for one in frozen if one[0] < time.monotonic()]:
            frozen.remove(one)
            one[1].send(one[2], signal.SIGCONT)
        for daemon in daemons:
            if not any(one[1] is daemon for one in frozen):
                await daemon.again()
        await asyncio.sleep(0.2)
    for one in frozen:
        one[1].send(one[2], signal.SIGCONT)
    return count


async def settled(tenants: Sequence[Tenant], daemons: Sequence[Daemon]) -> bool:
    """Whether every Manager comes to hold what it should, and every daemon to answer so."""
    began = time.monotonic()
    end = began + 180
    while wrong := [one for one in tenants if not one.right()]:
        if time.monotonic() > end:
            end = await patience.until(daemons[-1].home, began, [one.name for one in wrong])
        if time.monotonic() > end:
            await told(wrong, daemons[-1].home)
            return False
        for daemon in daemons:
            await daemon.again()
        await asyncio.sleep(0.5)
    goals.shown(
        f"{TENANTS} tenants, {DAEMONS} daemons, faults everywhere: all Managers exactly right, no entry twice",
        f"{time.monotonic() - began:.0f} s after the last fault",
    )
    wrong_names = 0
    async with aiohttp.ClientSession() as http:
        for daemon in daemons:
            for tenant in tenants:
                for number, names in list(tenant.wanted().items())[:3]:
                    url = f"http://127.0.0.1:{daemon.http}/{tenant.name}/services/Lookup"
                    body = {"inputs": {"phoneNumber": number}}
                    async with http.post(url, json=body, headers={"X-Execution-Token": TOKEN}) as reply:
                        found = await reply.json()
                    wrong_names += reply.status != 200 or [one["name"] for one in found] != [" ".join(names)]
    return goals.at_most("lookups answered wrongly then, by any daemon", wrong_names, 0)


async def told(wrong: Sequence[Tenant], home: Path) -> None:
    """Print how these Managers differ from their CRMs, and what the daemon says of them."""
    for one in wrong:
        held = {number: names[:2] for number, names in one.manager.book().items()}
        missing, more = set(one.wanted().items()) - set(held.items()), set(held.items()) - set(one.wanted().items())
        print(one.name, one.kind, "wanted", sorted(missing), "held", sorted(more), "twice", one.manager.duplicates())
        print(await patience.said(home, "status", "--tenant", one.name))
        for number in sorted({number for number, _ in missing | more})[:3]:
            print(await patience.said(home, "explain", "--tenant", one.name, number))


@contextlib.asynccontextmanager
async def texts(tenants: Sequence[Tenant]) -> AsyncIterator[str]:
    """The web server of the phone books at URLs."""
    by_name = {tenant.name: tenant for tenant in tenants}

    async def answer(request: web.Request) -> web.Response:
        response: web.Response = by_name[request.match_info["name"]].crm.answer()
        return response

    app = web.Application()
    app.router.add_get("/{name}.txt", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def main(minutes: float, seed: int) -> int:
    dice = random.Random(seed)
    tenants = [Tenant(n) for n in range(TENANTS)]
    for tenant in tenants:
        for _ in range(15):
            tenant.change(dice)
    async with contextlib.AsyncExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bridge-soak-")))
        server = await embedded.open(home / "database")
        stack.push_async_callback(server.close)
        socket = parse_qs(urlsplit(server.dsn).query)["host"][0] + "/.s.PGSQL.5432"
        proxies = [Proxy(unix(socket)) for _ in range(DAEMONS)]
        ports = [await stack.enter_async_context(proxy.serve()) for proxy in proxies]
        books = await stack.enter_async_context(texts(tenants))
        (home / "tenants").mkdir()
        for tenant in tenants:
            pbx = urlsplit(await stack.enter_async_context(tenant.manager.serve()))
            proxy = Proxy(tcp(str(pbx.hostname), int(pbx.port or 0)))
            proxies.append(proxy)
            sink = f"http://127.0.0.1:{await stack.enter_async_context(proxy.serve())}{pbx.path}"
            table = {"type": "phonebook", "url": f"{books}/{tenant.name}.txt"}
            if tenant.kind != "text":
                table = tenant.crm.table(await stack.enter_async_context(tenant.crm.serve()))
            keys = {"every": "2s", "full": "60s", "timeout": "5s", **table}
            file = home / "tenants" / f"{tenant.name}.toml"
            file.touch(0o600)
            file.write_text(
                "\n".join(
                    [
                        f'region = "LU"\n[connector]\ntoken = "{TOKEN}"\n[source.crm]',
                        *(f"{key} = {json.dumps(value)}" for key, value in keys.items()),
                        f'{GUARD}\n[sink.pbx]\ntype = "ccm"\nurl = "{sink}"\nsecurity_key = "k"\nrate = 500',
                        'timeout = "2s"\n',
                    ]
                )
            )
        faketime = next(iter(glob.glob("/usr/lib/*/faketime/libfaketime.so.1")), "")
        daemons = [Daemon(n, home / f"d{n}", port, faketime=faketime if n == 0 else "") for n, port in enumerate(ports)]
        for daemon in daemons:
            daemon.configure(home / "tenants")
            await daemon.start()
            stack.push_async_callback(daemon.end)
        watch = Watch()
        working = asyncio.create_task(trouble(dice, tenants, daemons, proxies, time.monotonic() + 60 * minutes))
        while not working.done():
            watch.look(daemons[-1])
            await asyncio.sleep(2.0)
        count = working.result()
        for proxy in proxies:
            proxy.deaf, proxy.delay = False, 0.0
        for tenant in tenants:
            tenant.mend()
        daemons[0].jump(0)
        good = await settled(tenants, daemons)
        good &= watch.report()
        held = Counter({"entries held at the end": sum(len(tenant.manager.entries()) for tenant in tenants)})
        goals.shown(
            f"what happened in these {minutes:.0f} minutes" + ("" if faketime else ", libfaketime not installed"),
            ", ".join(f"{often:,} {what}" for what, often in (count + held).items()),
        )
        print("log of the third daemon:", events(daemons[-1].home / "log"))
        if not good:
            keep = Path(tempfile.mkdtemp(prefix="bridge-soak-logs-"))
            for daemon in daemons:
                (keep / f"d{daemon.n}.log").write_bytes((daemon.home / "log").read_bytes())
            print(f"logs kept in {keep}")
    return 0 if good else 1


def events(log: Path) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for line in log.read_text().splitlines():
        counts[json.loads(line).get("event", "") if line.startswith("{") else "?"] += 1
    return dict(counts)


def free_port() -> int:
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


if __name__ == "__main__":
    options = argparse.ArgumentParser()
    options.add_argument("--minutes", type=float, default=10.0)
    options.add_argument("--seed", type=int, default=1)
    asked = options.parse_args()
    sys.exit(asyncio.run(main(asked.minutes, asked.seed)))
