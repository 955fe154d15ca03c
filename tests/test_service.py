"""The systemd units ask for what bridge needs and give away little else; the daemon keeps its word to systemd."""

from __future__ import annotations

import asyncio
import configparser
import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest
from commands import ROOT, environment
from daemons import KEY, Daemon, until

from bridge import daemon as keeper
from bridge.demo.manager import Manager

UNIT = ROOT / "deploy" / "bridge.service"
TEMPLATE = ROOT / "deploy" / "bridge@.service"
CONFINED = {
    "CapabilityBoundingSet": "",
    "LimitRTPRIO": "1",
    "LockPersonality": "yes",
    "MemoryDenyWriteExecute": "yes",
    "NoNewPrivileges": "yes",
    "PrivateDevices": "yes",
    "PrivateTmp": "yes",
    "PrivateUsers": "yes",
    "ProcSubset": "pid",
    "ProtectClock": "yes",
    "ProtectControlGroups": "yes",
    "ProtectHome": "yes",
    "ProtectHostname": "yes",
    "ProtectKernelLogs": "yes",
    "ProtectKernelModules": "yes",
    "ProtectKernelTunables": "yes",
    "ProtectProc": "invisible",
    "ProtectSystem": "strict",
    "RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX",
    "RestrictNamespaces": "yes",
    "RestrictSUIDSGID": "yes",
    "SystemCallArchitectures": "native",
    "SystemCallFilter": "~@privileged",
    "UMask": "0077",
}


def service() -> dict[str, str]:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = lambda key: key
    parser.read_string(UNIT.read_text())
    return dict(parser["Service"])


def test_what_the_daemon_promises_systemd_is_asked_of_it() -> None:
    got = service()
    want = {
        "Type": "notify",
        "NotifyAccess": "main",
        "WatchdogSec": "30",
        "ExecReload": "/bin/kill -HUP $MAINPID",
        "KillMode": "mixed",
        "Restart": "always",
        "DynamicUser": "yes",
        "StateDirectory": "bridge",
    }
    assert {key: got.get(key) for key in want} == want
    assert int(got["TimeoutStopSec"]) > 10


def test_it_is_confined() -> None:
    got = service()
    assert {key: got.get(key) for key in CONFINED} == CONFINED


def test_an_instance_of_the_template_has_all_to_itself() -> None:
    """The template is the unit but for its instance's name, so that what is tested of one holds for the other."""
    got = TEMPLATE.read_text().split("[Unit]\n")[1]
    changes = (
        ("of a company", "of %i"),
        ("/etc/bridge/bridge.toml", "/etc/bridge/%i.toml"),
        ("User=bridge\n", "User=bridge-%i\n"),
        ("Directory=bridge\n", "Directory=bridge-%i\n"),
        (":/etc/bridge/", ":/etc/bridge/%i/"),
    )
    want = UNIT.read_text().split("[Unit]\n")[1]
    for old, new in changes:
        assert old in want
        want = want.replace(old, new)
    assert got == want


def test_systemd_finds_nothing_wrong(tmp_path: Path) -> None:
    if (analyze := shutil.which("systemd-analyze")) is None:
        return  # machines without systemd rely on the tests above
    for unit in (UNIT, TEMPLATE):
        (tmp_path / unit.name).write_text(unit.read_text().replace("/opt/bridge/", f"{ROOT}/"))
    units = [tmp_path / unit.name for unit in (UNIT, TEMPLATE)]
    done = subprocess.run([analyze, "verify", "--man=no", *units], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("unit", [UNIT, TEMPLATE], ids=lambda unit: unit.name)
def test_systemd_rates_its_exposure_at_two_or_less(unit: Path) -> None:
    if (analyze := shutil.which("systemd-analyze")) is None:
        return  # machines without systemd rely on the tests above
    done = subprocess.run([analyze, "security", "--offline=true", unit], capture_output=True, text=True, check=False)
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert found is not None, done.stderr
    assert float(found[1]) <= 2.0


# What the daemon says, to a socket in systemd's place


@dataclass
class Notified:
    """All that was said so far, with the times; `pid` is whom it came from (NotifyAccess=main)."""

    said: list[tuple[float, str]] = field(default_factory=list)
    pids: set[int] = field(default_factory=set)

    def count(self, word: str) -> int:
        return sum(line.startswith(word) for _, text in self.said for line in text.splitlines())

    def last(self, word: str) -> float:
        return max((at for at, text in self.said if text.startswith(word)), default=0.0)


@contextlib.asynccontextmanager
async def listening(path: Path) -> AsyncIterator[Notified]:
    heard = Notified()
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.bind(str(path))
        one.setblocking(False)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)

        def hear() -> None:
            data, credentials, _, _ = one.recvmsg(4096, socket.CMSG_SPACE(12))
            heard.pids.add(int.from_bytes(credentials[0][2][:4], "little"))
            heard.said.append((time.monotonic(), data.decode()))

        loop.add_reader(one, hear)
        try:
            yield heard
        finally:
            loop.remove_reader(one)


class Watched(Daemon):
    """A daemon that tells a socket how it is, and is asked for a beat within `WATCHDOG` seconds."""

    async def start(self) -> None:
        asked = {"NOTIFY_SOCKET": str(self.home / "notify"), "WATCHDOG_USEC": str(int(WATCHDOG * 1e6))}
        words = ("-m", "bridge.daemon", "--config", str(self.config), "--state-dir", str(self.state), "--log", "json")
        places = ("--http", f"127.0.0.1:{self.http}", "--admin", f"127.0.0.1:{self.admin}")
        with (self.home / "log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, *words, *places), stdout=log, stderr=log, env=environment(**asked, **self.database)
            )

    database: Mapping[str, str] = {}


WATCHDOG = 1.5


@pytest.fixture
async def watched(tmp_path: Path, dsn: str) -> AsyncIterator[tuple[Watched, Notified]]:
    """A daemon that answers, and what it says."""
    async with Manager(key=KEY).serve() as url, listening(tmp_path / "notify") as heard:
        daemon = Watched(tmp_path, url)
        daemon.database = {"BRIDGE_DATABASE": dsn}
        daemon.write({0: "Ann Lee"})
        try:
            await daemon.start()
            await until(lambda: heard.count("READY=1"), 30, "it says READY")
            yield daemon, heard
        finally:
            with contextlib.suppress(ProcessLookupError):
                daemon.signal(signal.SIGCONT)
            await daemon.end()


async def test_systemd_is_told_all_that_befalls_the_daemon(watched: tuple[Watched, Notified]) -> None:
    daemon, heard = watched
    assert await daemon.answers(), "READY is said once lookups are answered, not before"
    await until(lambda: heard.count("STATUS=lookups are answered") == 1, why="it says how it fares")
    before = len(heard.said)
    daemon.signal(signal.SIGHUP)
    await until(lambda: heard.count("READY=1") == 2, why="it is ready again")
    said = [text for _, text in heard.said[before:] if not text.startswith(("WATCHDOG", "STATUS"))]
    assert [text.partition("\n")[0] for text in said] == ["RELOADING=1", "READY=1"]
    assert 0 <= time.monotonic_ns() // 1000 - int(said[0].partition("MONOTONIC_USEC=")[2]) < 20e6
    assert (await daemon.stop())[0] == 0
    assert heard.said[-1][1] == "STOPPING=1"
    assert heard.pids == {daemon.pid}, "only the main process speaks: NotifyAccess=main"


async def test_without_its_database_it_asks_systemd_for_patience_and_is_not_ready(tmp_path: Path) -> None:
    async with listening(tmp_path / "notify") as heard:
        daemon = Watched(tmp_path, "http://127.0.0.1:9/api.aspx")
        daemon.database = {"BRIDGE_DATABASE": "postgresql://bridge@127.0.0.1:9/bridge"}
        daemon.write({0: "Ann Lee"})
        try:
            await daemon.start()
            await until(lambda: any("EXTEND_TIMEOUT_USEC=" in text for _, text in heard.said), 30, "it is at work")
            await until(lambda: any("database" in text for _, text in heard.said), 30, "and says what for")
            assert not heard.count("READY=1")
        finally:
            await daemon.end()


async def test_the_watchdog_hears_a_beat_in_time_until_the_keeper_is_frozen(watched: tuple[Watched, Notified]) -> None:
    daemon, heard = watched
    beats = heard.count("WATCHDOG=1")
    await until(lambda: heard.count("WATCHDOG=1") >= beats + 4, why="it beats")
    times = [at for at, text in heard.said if text == "WATCHDOG=1"]
    assert max(later - earlier for earlier, later in pairwise(times)) < WATCHDOG
    daemon.signal(signal.SIGSTOP)
    await asyncio.sleep(0.2)
    silent = heard.count("WATCHDOG=1")
    await asyncio.sleep(1)
    assert heard.count("WATCHDOG=1") == silent
    assert await daemon.answers(), "the answering process needs no keeper"
    daemon.signal(signal.SIGCONT)
    await until(lambda: heard.count("WATCHDOG=1") > silent, why="it beats again")


LIVING = """
import asyncio
from bridge import kept

async def main(report):
    report("ready")
    while True:
        report("beat")
        await asyncio.sleep(0.05)

asyncio.run(main(kept.reporter()))
"""


async def test_a_frozen_process_is_killed_and_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "_SILENT", 1.0)
    (tmp_path / "living.py").write_text(LIVING)
    path = os.pathsep.join((str(tmp_path), str(ROOT)))
    child = keeper.Child("living", [], environment(PYTHONPATH=path), [])
    keeping = asyncio.create_task(child.keep())
    try:
        await child.ready.wait()
        first = child._process
        assert first is not None
        for _ in range(5):
            await asyncio.sleep(0.3)
            assert child.well(), "who beats is not taken for frozen"
        assert child._process is first
        child.signal(signal.SIGSTOP)
        assert await first.wait() == -signal.SIGKILL
        await until(lambda: child.ready.is_set() and child.well(), why="another one is there")
        assert child._process is not first
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await child.stop(5)
