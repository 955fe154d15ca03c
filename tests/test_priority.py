"""Who waits for whom: read back from the kernel, of real processes."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import free_port
from daemons import running, until

from bridge import priority
from bridge.store import Store

OWN = os.getpriority(os.PRIO_PROCESS, 0)
"""The nice value of the tests, which may be run gently themselves."""
GENTLE = max(15, OWN)


def nice(pid: int) -> int:
    return os.getpriority(os.PRIO_PROCESS, pid)


def group(pid: int | str) -> str:
    """The nice value of its autogroup, "15" where it has none: no such kernel, or in nobody's session since boot."""
    file = Path(f"/proc/{pid}/autogroup")
    return (file.read_text().split() or ["15"])[-1] if file.exists() else "15"


@pytest.fixture
def sleeper() -> Iterator[int]:
    """The id of a process in a session of its own."""
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as process:
        yield process.pid
        process.kill()


def test_a_process_gives_way_and_its_session_stays_as_it_is() -> None:
    program = (
        "import os; from bridge import priority; priority.give_way(); "
        "print(os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0))"
    )
    before = group("self")
    said = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=True).stdout
    assert (said.split(), group("self")) == ([str(GENTLE), str(os.SCHED_BATCH)], before)


def test_one_in_a_session_of_its_own_is_made_to_give_way_to_those_in_others(sleeper: int) -> None:
    priority.make_give_way(sleeper)
    assert (nice(sleeper), group(sleeper), os.sched_getscheduler(sleeper)) == (GENTLE, "15", os.SCHED_BATCH)
    assert (nice(0), os.sched_getscheduler(0)) == (OWN, os.SCHED_OTHER)


def test_what_is_gentler_yet_stays_so(sleeper: int) -> None:
    os.setpriority(os.PRIO_PROCESS, sleeper, 19)
    os.sched_setscheduler(sleeper, os.SCHED_IDLE, os.sched_param(0))
    priority.make_give_way(sleeper)
    assert (nice(sleeper), os.sched_getscheduler(sleeper)) == (19, os.SCHED_IDLE)


def test_one_that_has_ended_is_no_error() -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    priority.make_give_way(process.pid)


async def test_what_the_embedded_database_does_for_a_run_gives_way(dsn: str) -> None:
    db = Store(dsn, yielding=True)
    connection = await db.connect()
    try:
        run, pooled = await connection.value("select pg_backend_pid()"), await db.value("select pg_backend_pid()")
        assert (nice(run), group(run)) == (GENTLE, "15")
        assert nice(pooled) == OWN
    finally:
        await db.release(connection)
        await db.close()


def run(program: str) -> str:
    """What a process of its own prints."""
    lines = (
        "import os, re, subprocess, sys, threading, time",
        "from bridge import priority",
        "def of(thread): return os.sched_getscheduler(thread) & ~os.SCHED_RESET_ON_FORK",
        "def slice_of(thread):",
        "    said = open(f'/proc/self/task/{thread}/sched').read()",
        "    return re.findall(r'^se.slice\\s*:\\s*(\\d+)$', said, re.MULTILINE)[0]",
        "def begin():",
        "    thread = threading.Thread(target=time.sleep, args=(60,), daemon=True)",
        "    thread.start()",
        "    return thread.native_id",
    )
    whole = "\n".join((*lines, program))
    return subprocess.run([sys.executable, "-c", whole], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def granted() -> bool:
    """Whether a process of ours may have a real-time priority."""
    return (
        run("try: os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1)); print(1)\nexcept OSError: print(0)") == "1"
    )


def test_who_answers_goes_before_all_where_that_is_granted_and_later_threads_and_children_do_not() -> None:
    if not granted():
        pytest.skip("real-time priorities are not granted here")
    said = run(
        "there = begin(); priority.be_prompt(); later = begin()\n"
        "print(of(0), of(there), os.sched_getparam(0).sched_priority, of(later), flush=True)\n"
        "subprocess.run([sys.executable, '-c', 'import os; print(os.sched_getscheduler(0))'])"
    )
    assert said.split() == [str(os.SCHED_RR), str(os.SCHED_RR), "1", str(os.SCHED_OTHER), str(os.SCHED_OTHER)]


def test_who_answers_has_a_short_slice_where_nothing_better_is_granted() -> None:
    if platform.machine() not in ("x86_64", "aarch64"):
        pytest.skip("no slices here")
    if tuple(map(int, platform.release().split(".")[:2])) < (6, 12):
        pytest.skip("this kernel lets nobody choose a slice")
    if "se.slice" not in Path("/proc/self/sched").read_text():
        pytest.skip("this kernel does not say what a slice is")
    said = run(
        "print(slice_of(os.getpid()), end=' ', flush=True)\n"
        "def refuse(*_): raise PermissionError\n"
        "os.sched_setscheduler = refuse; there = begin(); priority.be_prompt(); later = begin()\n"
        "print(*map(slice_of, (os.getpid(), there, later)), flush=True)\n"
        "subprocess.run(['grep', 'se.slice', '/proc/self/sched'])"
    )
    usual, *slices = said.replace(":", " ").split()
    assert slices == ["1000000", "1000000", usual, "se.slice", usual]


async def test_a_daemon_that_answers_is_prompt_and_its_worker_waits(tmp_path: Path, dsn: str) -> None:
    async with running(tmp_path, f"http://127.0.0.1:{free_port()}", dsn) as daemon:
        worker, answer = await until(lambda: daemon.child("worker")), await until(lambda: daemon.child("answer"))
        await until(lambda: os.sched_getscheduler(worker) == os.SCHED_BATCH and nice(worker) == GENTLE)
        assert (os.sched_getscheduler(daemon.pid), nice(daemon.pid)) == (os.SCHED_OTHER, OWN)
        if not granted():
            pytest.skip("real-time priorities are not granted here")
        assert os.sched_getscheduler(answer) & ~os.SCHED_RESET_ON_FORK == os.SCHED_RR


def test_who_runs_by_a_policy_of_an_administrators_keeps_it() -> None:
    said = run("os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0)); priority.be_prompt(); print(of(0))")
    assert said == str(os.SCHED_BATCH)
