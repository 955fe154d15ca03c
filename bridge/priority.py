"""Who waits for whom on a busy machine: what reads, pushes and makes books waits for what answers a telephone.

A nice value alone does not do it on Linux. Each of PostgreSQL's processes has a session, and so an autogroup, of its
own, and between autogroups nice values mean nothing (sched(7), "The autogroup feature"). What wakes stops one that has
had more than its share lately, however nice it is itself, unless it is a batch (sched(7), "SCHED_BATCH"). And one that
is stopped while it answers waits for a whole tick of the others, 4 ms, however small their share: only a real-time
priority spares it that (sched(7), "SCHED_RR"); without one it helps to ask for a shorter slice than theirs
(sched_setattr(2), `sched_runtime`, since 6.12). Measured in tests/bench/lookup_beside_load.py.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import struct
from pathlib import Path

_GENTLE = 15
"""The nice value of what waits."""
_SLICE = 1_000_000
"""Nanoseconds: less than anybody has who asks for none (1.4 ms at 2 processors, 2.8 at 8 and more), and as much as an
answer takes. One that runs on past its slice may have to wait for a whole tick of others, 4 ms."""
_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}
"""The system call's number; the C library has a name for it only since 2.41."""
_RESET_ON_FORK = 1


def give_way() -> None:
    """Have this process wait for those that answer."""
    _wait(0)


def make_give_way(pid: int) -> None:
    """The same for another one, which shares its session with none: its autogroup waits too.

    Nothing happens where we may not, or where it has ended.
    """
    _wait(pid)
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text(str(_GENTLE))


def be_prompt() -> None:
    """Have this process's threads run as soon as they wake, before all that is not as prompt; not those to come.

    All that are there, for each may hold the lock of the interpreter while another is to answer. Neither are its
    children prompt. At the lowest real-time priority where that is granted (`LimitRTPRIO=`), or else by a short slice;
    nothing happens where neither is to be had.
    """
    for entry in Path("/proc/self/task").glob("*"):
        with contextlib.suppress(OSError):
            if _as_usual(thread := int(entry.name)):
                _be_prompt(thread)


def _be_prompt(thread: int) -> None:
    try:
        os.sched_setscheduler(thread, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    except OSError:
        number = _SCHED_SETATTR.get(platform.machine())
        if number is None:
            return
        nice = os.getpriority(os.PRIO_PROCESS, thread)
        # struct sched_attr: size, policy, flags, nice, priority, runtime, deadline, period
        attributes = struct.pack("=IIQiIQQQ", 48, os.SCHED_OTHER, _RESET_ON_FORK, nice, 0, _SLICE, 0, 0)
        ctypes.CDLL(None).syscall(number, thread, attributes, 0)


def _wait(pid: int) -> None:
    with contextlib.suppress(OSError):
        if _as_usual(pid):
            os.sched_setscheduler(pid, os.SCHED_BATCH, os.sched_param(0))
    with contextlib.suppress(OSError):
        # What an administrator made gentler yet stays so.
        os.setpriority(os.PRIO_PROCESS, pid, max(_GENTLE, os.getpriority(os.PRIO_PROCESS, pid)))


def _as_usual(pid: int) -> bool:
    """Whether its scheduling policy is that of most; any other one is an administrator's."""
    return os.sched_getscheduler(pid) & ~os.SCHED_RESET_ON_FORK == os.SCHED_OTHER
