"""PostgreSQL servers on loopback ports, from the programs that bridge brings along: a primary and its standbys.

with cluster() as made:
    made.primary, made.standby   each with a `dsn`, `kill()`, `freeze()`, `promote()`
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from commands import free_port

from bridge import postgres

SETTINGS = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 60
shared_buffers = '32MB'
huge_pages = off
fsync = off
wal_level = replica
hot_standby = on
max_wal_senders = 4
wal_keep_size = '64MB'
wal_retrieve_retry_interval = '200ms'
timezone = 'UTC'
log_min_error_statement = panic
"""
_STARTED = 30.0


@dataclass
class Server:
    """One server on its data directory; it may be started again after it ended."""

    data: Path
    name: str
    account: postgres.Account
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def dsn(self) -> str:
        return f"postgresql://bridge@{self.place}/bridge"

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and return once it takes connections."""
        command = ["postgres", "-D", str(self.data), "-p", str(self.port), "-c", f"cluster_name={self.name}"]
        with (self.data.parent / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(**self._how(command), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        end = time.monotonic() + _STARTED
        while self.run("pg_isready", "-d", f"host=127.0.0.1 port={self.port} user=bridge", check=False):
            assert self.process.poll() is None, (self.data.parent / f"{self.name}.log").read_text()
            assert time.monotonic() < end
            time.sleep(0.05)

    def run(self, program: str, *words: str, check: bool = True) -> int:
        """Run one of PostgreSQL's programs to its end; the exit code."""
        done = subprocess.run(**self._how([program, *words]), capture_output=True, check=False)
        assert not (check and done.returncode), (done.stdout + done.stderr).decode()
        return done.returncode

    def _how(self, command: list[str]) -> dict[str, object]:
        command[0] = str(postgres.programs(self.account) / command[0])
        how: dict[str, object] = {"args": command, "cwd": self.data, "env": postgres.ENVIRONMENT, "umask": 0o077}
        if self.account.dropped:
            how |= {"user": self.account.uid, "group": self.account.gid, "extra_groups": []}
        return how

    def promote(self) -> None:
        """Make a primary of a standby; it takes writes when this returns."""
        self.run("pg_ctl", "promote", "-D", str(self.data), "-w", "-t", "30")

    def kill(self) -> None:
        """End it as a power cut would."""
        self._signal(signal.SIGKILL)
        if self.process:
            self.process.wait()

    def freeze(self) -> list[int]:
        """Stop all its processes, which go on holding their connections; their ids, for `thaw`."""
        assert self.process is not None
        pids = [self.process.pid, *self.children()]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        return pids

    def children(self) -> list[int]:
        """The processes that it has for its connections and chores."""
        assert self.process is not None
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in listed.split()]

    def _signal(self, order: int) -> None:
        if self.process and self.process.poll() is None:
            self.process.send_signal(order)


def thaw(pids: list[int]) -> None:
    """Let frozen processes go on."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


@dataclass(frozen=True)
class Cluster:
    """A primary and a standby that streams from it; `url` names both."""

    primary: Server
    standby: Server

    @property
    def url(self) -> str:
        return f"postgresql://bridge@{self.primary.place},{self.standby.place}/bridge"


@contextlib.contextmanager
def cluster(*, synchronous: bool = False) -> Iterator[Cluster]:
    """Both servers for the block. `synchronous`: a commit waits until the standby has it on disk."""
    top = Path(tempfile.mkdtemp(prefix="bridge-servers-"))
    account = postgres.account(top.stat())
    data = top / "primary"
    data.mkdir(0o700)
    lock = os.open(os.devnull, os.O_RDONLY)
    os.set_inheritable(lock, True)
    primary = Server(data, "primary", account)
    standby = Server(top / "standby", "standby", account)
    try:
        postgres.initialise(data, account, lock)
        with (data / "postgresql.conf").open("a") as settings:
            settings.write(SETTINGS)
        account.own(top)
        primary.start()
        source = f"host=127.0.0.1 port={primary.port} user=bridge application_name=standby"
        primary.run("pg_basebackup", "-D", str(standby.data), "-d", source, "-R", "-c", "fast", "--no-sync")
        standby.start()
        if synchronous:
            with (data / "postgresql.auto.conf").open("a") as settings:
                settings.write("synchronous_standby_names = 'standby'\n")
            primary.run("pg_ctl", "reload", "-D", str(data))
        yield Cluster(primary, standby)
    finally:
        os.close(lock)
        primary.kill()
        standby.kill()
        shutil.rmtree(top, ignore_errors=True)
