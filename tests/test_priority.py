"""Who waits for whom: read back from the kernel, of real processes."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

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


def slice_of(thread: str) -> int:
    """Nanoseconds of its slice, as the kernel says."""
    found = re.search(r"^se\.slice\s*:\s*(\d+)$", Path(f"/proc/{thread}/sched").read_text(), re.MULTILINE)
    if not found:
        pytest.skip("this kernel does not say what a slice is")
    return int(found[1])


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


def in_a_thread(work: Callable[[], None]) -> None:
    """What a thread is told stays with it."""
    one = threading.Thread(target=work)
    one.start()
    one.join()


def test_who_answers_goes_before_all_where_that_is_granted_and_its_threads_and_children_do_not() -> None:
    told: list[object] = []

    def answer() -> None:
        try:
            os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
        except PermissionError:
            told.append("not granted")
            return
        os.sched_setscheduler(0, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, os.sched_param(0))
        priority.be_prompt()
        told.append((os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK, os.sched_getparam(0).sched_priority))
        in_a_thread(lambda: told.append(os.sched_getscheduler(0)))
        program = [sys.executable, "-c", "import os; print(os.sched_getscheduler(0))"]
        told.append(int(subprocess.run(program, stdout=subprocess.PIPE, text=True, check=True).stdout))

    in_a_thread(answer)
    if told == ["not granted"]:
        pytest.skip("real-time priorities are not granted here")
    assert told == [(os.SCHED_RR, 1), os.SCHED_OTHER, os.SCHED_OTHER]


def test_who_answers_has_a_short_slice_where_nothing_better_is_granted(monkeypatch: pytest.MonkeyPatch) -> None:
    if platform.machine() not in ("x86_64", "aarch64"):
        pytest.skip("no slices here")
    if tuple(map(int, platform.release().split(".")[:2])) < (6, 12):
        pytest.skip("this kernel lets nobody choose a slice")
    usual, told = slice_of("thread-self"), []

    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refuse)

    def answer() -> None:
        priority.be_prompt()
        told.append(slice_of("thread-self"))
        in_a_thread(lambda: told.append(slice_of("thread-self")))
        program = [sys.executable, "-c", "print(open('/proc/self/sched').read())"]
        printed = subprocess.run(program, stdout=subprocess.PIPE, text=True, check=True).stdout
        told.append(int(re.findall(r"^se\.slice\s*:\s*(\d+)$", printed, re.MULTILINE)[0]))

    in_a_thread(answer)
    assert told == [1_000_000, usual, usual]


def test_who_runs_by_a_policy_of_an_administrators_keeps_it() -> None:
    told = []

    def answer() -> None:
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        priority.be_prompt()
        told.append(os.sched_getscheduler(0))

    in_a_thread(answer)
    assert told == [os.SCHED_BATCH]
