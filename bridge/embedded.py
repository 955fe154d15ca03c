"""A private PostgreSQL under `state_dir`, shared by all bridge processes that use that directory.

Whoever comes first starts it and whoever leaves last stops it. Only locks that die with their processes decide who
that is, so that neither SIGKILL nor a power cut leaves anything to tidy up. In `state_dir/postgres`:

    start.lock    held by the one process that starts or stops the server
    users.lock    shared by all that use it: whoever can have it alone is the last
    server.lock   held by the server's own processes: whoever can have it knows that none of them runs
    server.log    what the server said, a few megabytes at most
    socket        names the directory of the socket, where `data` has too long a path for one
    data          belongs to the account that the server runs as
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import shutil
import signal
import socket
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

from bridge import errors, postgres

SOCKET_LIMIT = 107  # bytes of a socket's path, on Linux
LOG_MOST, LOG_KEPT = 4_000_000, 1_000_000  # bytes
START_WITHIN, STOP_WITHIN, QUIT_WITHIN = 120.0, 7.0, 1.0  # seconds; after a crash, up to 2 GB of WAL are read first
POLL, LOOK_EVERY = 0.01, 5.0  # seconds


async def open(state_dir: Path) -> Embedded:
    """Start the server of `state_dir` or join the one that runs; raises `Unavailable` saying what is in the way."""
    server = _Server(state_dir)
    entering = asyncio.ensure_future(asyncio.to_thread(server.enter))
    try:
        await asyncio.shield(entering)
    except asyncio.CancelledError:
        server.abandoned.set()
        with contextlib.suppress(errors.Unavailable):
            await entering
        await asyncio.to_thread(server.leave)
        raise
    return Embedded(server)


class Embedded:
    """One process's use of the server at `dsn`; while it lasts, a server that died is started again."""

    def __init__(self, server: _Server) -> None:
        self.dsn = server.dsn
        self._server = server
        self._looking: asyncio.Task[None] | None = asyncio.create_task(self._look_after())

    async def close(self, within: float = STOP_WITHIN) -> None:
        """Leave, and stop the server as the last to leave, in so many seconds; closing again does nothing."""
        looking, self._looking = self._looking, None
        if looking is None:
            return
        self._server.abandoned.set()
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
        await asyncio.to_thread(self._server.leave, within)

    async def _look_after(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY)
            # If it cannot be started now, clients see that nothing answers, and the server's log says why.
            with contextlib.suppress(errors.Unavailable, OSError):
                self._server.trim_log()
                if not self._server.runs():
                    await asyncio.to_thread(self._server.revive)


class _Server:
    """The server of one state directory, as one of its users sees it; every method blocks."""

    def __init__(self, state_dir: Path) -> None:
        self.abandoned = threading.Event()
        self.dsn = ""
        self._state_dir = state_dir.absolute()
        self._home = self._state_dir / "postgres"
        self._data = self._home / "data"
        self._log = self._home / "server.log"
        self._account: postgres.Account
        self._users: int | None = None

    def enter(self) -> None:
        """Register as a user of a server that takes connections, which is started if need be."""
        try:
            self._make_home()
            with self._alone():
                self._users = self._open("users.lock")
                fcntl.flock(self._users, fcntl.LOCK_SH)
                self._ensure()
        except OSError as problem:
            self.leave()
            raise errors.Unavailable(self._explain(problem)) from problem
        except BaseException:
            self.leave()
            raise
        where = quote(str(self._socket_dir()), safe="/")
        self.dsn = f"postgresql://{postgres.ROLE}@/bridge?host={where}&port=5432"

    def leave(self, within: float = STOP_WITHIN) -> None:
        """End the registration, and stop the server if it was the last; does nothing where there is none."""
        end = time.monotonic() + within
        users, self._users = self._users, None
        if users is None:
            return
        try:
            with contextlib.suppress(errors.Unavailable), self._alone(leaving=True, within=within):
                if _take(users):
                    self._stop(end)
        finally:
            os.close(users)

    def revive(self) -> None:
        """Start the server again if it is gone."""
        with self._alone():
            self._ensure()

    def runs(self) -> bool:
        """Whether any process of the server is alive."""
        lock = self._open("server.lock")
        try:
            return not _take(lock, fcntl.LOCK_SH)
        finally:
            os.close(lock)

    def trim_log(self) -> None:
        """Keep only the end of a log that has grown too long; the server goes on appending to the same file."""
        if self._log.stat().st_size <= LOG_MOST:
            return
        with self._log.open("rb") as log:
            log.seek(-LOG_KEPT, os.SEEK_END)
            kept = log.read().partition(b"\n")[2]
        os.truncate(self._log, 0)
        with self._log.open("ab") as log:
            log.write(kept)

    def _make_home(self) -> None:
        self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = self._state_dir.stat()
        if os.geteuid() == 0:
            os.chown(self._home, owner.st_uid, owner.st_gid)
        self._account = postgres.account(owner)
        os.close(self._open("server.log"))
        self.trim_log()

    def _open(self, name: str, flags: int = os.O_RDWR) -> int:
        """Open a file of ours, which is the state directory's owner's even where root makes it."""
        opened = os.open(self._home / name, flags | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        if os.geteuid() == 0:
            owner = self._home.stat()
            os.fchown(opened, owner.st_uid, owner.st_gid)
        return opened

    @contextlib.contextmanager
    def _alone(self, *, leaving: bool = False, within: float = START_WITHIN) -> Iterator[None]:
        """Nobody else starts or stops the server meanwhile."""
        lock = self._open("start.lock")
        try:
            self._wait(lambda: _take(lock), within, "another process starts or stops it", leaving=leaving)
            yield
        finally:
            os.close(lock)

    def _wait(self, done: Callable[[], bool], seconds: float, trouble: str, *, leaving: bool = False) -> None:
        end = time.monotonic() + seconds
        while not done():
            if self.abandoned.is_set() and not leaving:
                raise errors.Unavailable("the start of the embedded PostgreSQL was broken off")
            if time.monotonic() > end:
                raise errors.Unavailable(f"embedded PostgreSQL: {trouble} for {seconds:.0f} s; see {self._log}")
            time.sleep(POLL)

    def _ensure(self) -> None:
        """Have a server that takes connections: the one that runs, or a new one."""
        lock = self._open("server.lock")
        try:
            # Neither free nor ready: it still starts or stops, or the last processes of a dead one are going.
            self._wait(lambda: _take(lock) or self._ready(), START_WITHIN, "it has neither started nor stopped")
            if _take(lock):
                self._start(lock)
        finally:
            os.close(lock)
        self._wait(self._ready_or_dead, START_WITHIN, "it has not become ready")
        if not (self._data / postgres.DEMOTED).exists():
            postgres.demote(self._data, self._account, self._socket_dir())

    def _ready(self) -> bool:
        """Whether the server says so, and can be reached."""
        if [line.strip() for line in self._status()[7:8]] != ["ready"]:
            return False
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self._socket_dir() / postgres.SOCKET_NAME)) == 0

    def _ready_or_dead(self) -> bool:
        if self._ready():
            return True
        if not self.runs():
            raise errors.Unavailable(self._complaint())
        return False

    def _start(self, lock: int) -> None:
        if not self._data.exists():
            self._initialise(lock)
        major = (self._data / "PG_VERSION").read_text().strip()
        if major != postgres.MAJOR:
            raise errors.Unavailable(
                f"{self._data} was made by PostgreSQL {major} and this bridge brings {postgres.MAJOR}: "
                "upgrade it with pg_upgrade, or move it away and let bridge read its sources anew"
            )
        if self._data.stat().st_uid != self._account.uid:
            self._account.own(self._data)
        where = self._choose_socket_dir()
        # The lock says that no server runs: these name a dead process, or a stranger that has its number by now.
        for stale in (self._data / "postmaster.pid", where / f"{postgres.SOCKET_NAME}.lock"):
            stale.unlink(missing_ok=True)
        log = self._open("server.log", os.O_WRONLY | os.O_APPEND)
        try:
            os.write(log, b"\n")  # an empty line parts one start from the next
            postgres.serve(self._data, self._account, where, lock, log)
        finally:
            os.close(log)

    def _initialise(self, lock: int) -> None:
        """Make the data directory, which appears whole or not at all."""
        made = self._home / "data.new"
        if made.exists():
            shutil.rmtree(made)
        made.mkdir(mode=0o700)
        postgres.initialise(made, self._account, lock)
        made.rename(self._data)
        home = os.open(self._home, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(home)
        finally:
            os.close(home)

    def _stop(self, end: float) -> None:
        """A fast shutdown; an immediate one, which the next start recovers from, if that lasts until a second before
        `end`."""
        for order, until in ((signal.SIGINT, end - QUIT_WITHIN), (signal.SIGQUIT, end)):
            with contextlib.suppress(errors.Unavailable):
                # Just started, it has yet to write its number down.
                left = until - time.monotonic()
                self._wait(lambda: self._pid() is not None or not self.runs(), left, "it has no number", leaving=True)
                self._signal(order)
                left = until - time.monotonic()
                self._wait(lambda: not self.runs(), left, "it has not stopped", leaving=True)
                break
        where = self._socket_dir()
        if where != self._data:
            shutil.rmtree(where, ignore_errors=True)
            (self._home / "socket").unlink(missing_ok=True)

    def _signal(self, order: signal.Signals) -> None:
        pid = self._pid()
        if pid is not None and self.runs():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, order)

    def _pid(self) -> int | None:
        lines = self._status()
        return int(lines[0]) if lines and lines[0].isdigit() else None

    def _status(self) -> list[str]:
        """The lines of the server's own note about itself: the first its number, the eighth how it fares."""
        try:
            return (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return []

    def _socket_dir(self) -> Path:
        try:
            return Path((self._home / "socket").read_text())
        except FileNotFoundError:
            return self._data

    def _choose_socket_dir(self) -> Path:
        """The data directory where its path is fit for a socket (clients split hosts at commas), else a short one."""
        note = self._home / "socket"
        path = os.fsencode(self._data / postgres.SOCKET_NAME)
        if len(path) <= SOCKET_LIMIT and b"," not in path:
            note.unlink(missing_ok=True)
            return self._data
        # The one used before, if it is still ours: a server that is revived stays at its address.
        with contextlib.suppress(FileNotFoundError):
            noted = Path(note.read_text())
            found = noted.lstat()
            if stat.S_ISDIR(found.st_mode) and found.st_uid == self._account.uid and not found.st_mode & 0o077:
                return noted
        root = "/run" if self._account.dropped and os.access("/run", os.W_OK) else None
        made = Path(tempfile.mkdtemp(prefix="bridge-", dir=root))
        self._account.own(made)
        with os.fdopen(self._open("socket", os.O_WRONLY | os.O_TRUNC), "w") as file:
            file.write(str(made))
        return made

    def _complaint(self) -> str:
        lines = self._log.read_text(errors="replace").rpartition("\n\n")[2].splitlines()
        grave = [line for line in lines if "FATAL:" in line or "PANIC:" in line]
        said = grave[0] if grave else " ".join(lines[-3:]) or "it said nothing"
        return postgres.advise("the embedded PostgreSQL does not start", said, self._home)

    def _explain(self, problem: OSError) -> str:
        what = f"{problem.filename or self._home}: {problem.strerror or problem}"
        if problem.errno in (errno.ENOSPC, errno.EDQUOT):
            return f"{what}; make room on the disk of {self._home}"
        if problem.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return f"{what}; let user id {os.geteuid()} own and write {self._state_dir}, or name another state_dir"
        return f"the embedded PostgreSQL cannot run in {self._home}: {what}"


def _take(lock: int, how: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
