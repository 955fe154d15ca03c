"""A process and its keeper: one that nobody keeps any more, one that is silent or seems so, one that cannot be."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from commands import ROOT, environment, full_pipe
from daemons import Daemon, children, kill_all, until
from structlog.testing import capture_logs

from bridge import daemon as keeper

STARVED = """
import asyncio, time
from bridge import kept
kept._STARVED = 1
async def main():
    beating = asyncio.create_task(kept.beat(print))
    await asyncio.sleep(0)
    {after}
asyncio.run(main())
"""


async def ended(after: str) -> int | None:
    """How one ends that beats, and then does this."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", STARVED.format(after=after))
    async with asyncio.timeout(20):
        return await process.wait()


async def test_one_whose_loop_does_not_turn_is_ended_by_the_kernel() -> None:
    assert await ended("time.sleep(15)") == -signal.SIGALRM


async def test_one_that_has_ended_its_beat_is_left_alone() -> None:
    assert await ended("beating.cancel(); await asyncio.wait({beating}); time.sleep(1.5)") == 0


LIVING = """
import asyncio, pathlib
from bridge import kept

async def main(report):
    kept.die_with_parent()
    report("ready")
    pathlib.Path("lives").touch()
    while True:
        report("beat")
        await asyncio.sleep(0.05)

asyncio.run(main(kept.reporter()))
"""
KEEPING = """
import asyncio, os
from bridge import daemon
daemon._SILENT = 2.0
asyncio.run(daemon.Child("living", [], dict(os.environ), []).keep())
"""


def importing(home: Path) -> dict[str, str]:
    """The environment of a process that finds the modules in this directory, and bridge."""
    return environment(PYTHONPATH=os.pathsep.join((str(home), str(ROOT))))


@contextlib.asynccontextmanager
async def keeping(home: Path) -> AsyncIterator[tuple[Process, int]]:
    """A keeper of one process that beats, and that process's id."""
    (home / "living.py").write_text(LIVING)
    one = await asyncio.create_subprocess_exec(sys.executable, "-c", KEEPING, cwd=home, env=importing(home))
    try:
        await until((home / "lives").exists, why="its process lives")
        [child] = children(one.pid)
        yield one, child
    finally:
        kill_all([*children(one.pid), one.pid])
        await one.wait()


@pytest.mark.parametrize("both", [False, True], ids=["the keeper", "both"])
async def test_after_a_pause_of_the_keeper_its_process_goes_on(tmp_path: Path, both: bool) -> None:
    async with keeping(tmp_path) as (one, child):
        paused = [one.pid, *([child] if both else [])]
        for pid in paused:
            os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(3.0)
        for pid in paused:
            os.kill(pid, signal.SIGCONT)
        await asyncio.sleep(1.0)
        assert children(one.pid) == [child]


async def test_after_a_pause_of_the_keeper_one_that_stays_frozen_is_killed(tmp_path: Path) -> None:
    async with keeping(tmp_path) as (one, child):
        for pid in (one.pid, child):
            os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(3.0)
        os.kill(one.pid, signal.SIGCONT)
        await until(lambda: child not in children(one.pid), 4, "the frozen one is killed")
        await until(lambda: children(one.pid), why="there is another one")


@contextlib.asynccontextmanager
async def two(home: Path) -> AsyncIterator[tuple[keeper.Child, keeper.Child, asyncio.Task[int]]]:
    """The two processes, which do nothing but beat, and their keeping."""
    for name in ("answer", "worker"):
        (home / f"{name}.py").write_text(LIVING.replace('pathlib.Path("lives").touch()', ""))
    answer, worker = (keeper.Child(name, [], importing(home), []) for name in ("answer", "worker"))
    kept = asyncio.create_task(keeper._until_told(answer, worker, asyncio.Queue()))
    try:
        await until(lambda: answer.ready.is_set() and worker.ready.is_set(), why="both are there")
        yield answer, worker, kept
    finally:
        kept.cancel()
        await asyncio.gather(kept, return_exceptions=True)
        await asyncio.gather(answer.stop(5), worker.stop(5))


async def test_one_that_cannot_be_started_comes_later_and_the_other_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts: list[str] = []
    start = asyncio.create_subprocess_exec

    async def fail_once(*command: str, **how: Any) -> Process:
        starts.append(command[-1])
        if len(starts) == 1:
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return await start(*command, **how)

    async with two(tmp_path) as (answer, worker, kept):
        first, other, files = worker._process, answer._process, len(os.listdir("/proc/self/fd"))
        monkeypatch.setattr(asyncio, "create_subprocess_exec", fail_once)
        with capture_logs() as logged:
            worker.signal(signal.SIGKILL)
            await until(lambda: worker._process is not first and worker.ready.is_set(), why="the worker comes")
        assert starts == ["worker", "worker"]
        assert answer._process is other
        assert other is not None
        assert other.returncode is None
        assert not kept.done()
        await until(lambda: len(os.listdir("/proc/self/fd")) == files, why="both ends of the unused pipe are closed")
    died, failed = [one for one in logged if one["event"] == "process.died"]
    assert (died["process"], died["code"], died["again_in"]) == ("worker", -signal.SIGKILL, 0.0)
    assert (failed["process"], failed["reason"].errno, failed["again_in"]) == ("worker", errno.EAGAIN, 0.5)


async def test_what_ends_the_keeping_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: str, **__: Any) -> Process:
        raise ValueError("a mistake")

    async with two(tmp_path) as (_, worker, kept):
        monkeypatch.setattr(asyncio, "create_subprocess_exec", fail)
        with capture_logs() as logged:
            worker.signal(signal.SIGKILL)
            assert await asyncio.wait_for(kept, 10) == 1
    [broken] = [one for one in logged if one["event"] == "daemon.broken"]
    assert (broken["log_level"], repr(broken["exc_info"])) == ("critical", "ValueError('a mistake')")


BROKEN = """
import asyncio, pathlib
from bridge import {name}, log

async def fail(self):
    log.get().info("begun")
    await asyncio.sleep(0.3)
    pathlib.Path("fails").touch()
    raise ValueError("token=geheimgeheim")

{name}.{chore} = fail
{name}.start()
"""
CHORES = pytest.mark.parametrize(("name", "chore"), [("answer", "Serving.watch"), ("worker", "Unit.run")])


async def broken(home: Path, name: str, chore: str, log: int) -> Process:
    """That process, which logs there, as soon as a chore of its fails that never should."""
    daemon = Daemon(home, "http://127.0.0.1:9/api.aspx")
    daemon.write({})
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", BROKEN.format(name=name, chore=chore), "--config", str(daemon.config)),
        cwd=home,
        env=environment(BRIDGE_DSN="postgresql://bridge@127.0.0.1:9/bridge"),
        stderr=log,
    )
    await until((home / "fails").exists, why="the chore fails")
    return process


@CHORES
async def test_a_mistake_of_ours_is_told_as_an_event_without_secrets(tmp_path: Path, name: str, chore: str) -> None:
    with (tmp_path / "log").open("wb") as log:
        process = await broken(tmp_path, name, chore, log.fileno())
        assert await asyncio.wait_for(process.wait(), 10) == 1
    *_, last = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert (last["event"], last["level"]) == (f"{name}.broken", "critical")
    assert last["exception"][-1] == "ValueError: token=***"


@CHORES
async def test_after_a_mistake_of_ours_nothing_waits_for_a_log_that_nobody_reads(
    tmp_path: Path, name: str, chore: str
) -> None:
    with full_pipe() as nobody:
        process = await broken(tmp_path, name, chore, nobody)
        try:
            assert await asyncio.wait_for(process.wait(), 5) == 1
        finally:
            kill_all([process.pid])
