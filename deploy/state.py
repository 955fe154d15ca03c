"""What deploy/backup and deploy/restore do: the database and the accounts' key into one file, and back."""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from bridge import embedded, errors, postgres, store
from bridge.accounts import seals
from bridge.cli import session
from bridge.config import Config
from bridge.store import Store

DUMP = "database.dump"
DUMPED = ("--format=custom", "--no-owner", "--enable-row-security")
NEWER = b"SET transaction_timeout = 0;\n"
HEADER = 64
"""Lines within which that stands, and no data."""
HELD = 3
"""`bridge sync`: it was read, and losses wait for approval."""
SETTLE = """update entry set state = 'sent', sent_at = now(), due_at = now()
where acked is null and contact is not null"""
"""Of what the PBX is not known to hold, it is asked first: it may have been given it after the backup."""


class Failed(Exception):
    """What an admin has to see to."""


@asynccontextmanager
async def database(told: Config) -> AsyncIterator[str]:
    """The URL of the database; an embedded one is a running daemon's, or started for the block."""
    if told.database.url != "embedded":
        yield told.database.url[:]
        return
    server = await embedded.open(told.state_dir)
    try:
        yield server.dsn
    finally:
        await server.close()


def run(program: str, url: str, *words: str) -> None:
    """Run one of PostgreSQL's programs on a database; the password is not shown in the list of processes."""
    parts = urlsplit(url)
    user, _, hosts = parts.netloc.rpartition("@")
    name, _, password = user.partition(":")
    # Row security shows no rows without a word of whose; of several hosts the one that writes is meant.
    env = {"PGTARGETSESSIONATTRS": "read-write", **os.environ, "PGOPTIONS": "-c bridge.tenant=*"}
    if password:
        env["PGPASSWORD"] = unquote(password)
        url = urlunsplit(parts._replace(netloc=f"{name}@{hosts}"))
    done = subprocess.run([found(program), *words, "--dbname", url], env=env, check=False)
    if done.returncode:
        raise Failed(f"{program} failed")


def found(program: str) -> str:
    """The program that came with the embedded database, which knows every server's version; else the machine's."""
    try:
        return str(postgres.programs(postgres.Account(os.geteuid(), os.getegid(), dropped=False)) / program)
    except errors.Unavailable:
        path = shutil.which(program)
        if path is None:
            raise Failed(f"there is no {program}; on Debian and Ubuntu: apt install postgresql-client") from None
        return path


async def holds_tables(url: str) -> bool:
    """Whether bridge has ever been in this database."""
    db = Store(url)
    try:
        return await db.value("select to_regclass('schema_version')") is not None
    finally:
        await db.close()


def _whose(told: Config) -> str:
    if told.database.url != "embedded":
        return "; right is the database that the daemon uses"
    return f": the embedded database in {told.state_dir} is new; right is the state_dir that the daemon uses"


async def backup(told: Config, target: Path) -> None:
    """Write the file, whole or not at all."""
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        dump, key = Path(scratch, DUMP), told.state_dir / seals.FILE
        async with database(told) as url:
            if not await holds_tables(url):
                raise Failed(f"there is no table of bridge in it{_whose(told)}")
            await asyncio.to_thread(run, "pg_dump", url, *DUMPED, f"--file={dump}")
        packed = pack(Path(scratch, "packed"), dump, *([key] if key.exists() else []))
        packed.replace(target)


def pack(made: Path, *files: Path) -> Path:
    """These files in one, for nobody else to read, and on the disk."""
    with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as packed:
        with tarfile.open(fileobj=packed, mode="w") as tar:
            for file in files:
                tar.add(file, file.name)
        packed.flush()
        os.fsync(packed.fileno())
    return made


async def restore(told: Config, source: Path) -> None:
    """Fill an empty database, and put the key where it belongs."""
    with tempfile.TemporaryDirectory() as scratch:
        unpack(source, scratch)
        told.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        put_key(Path(scratch, seals.FILE), told.state_dir / seals.FILE)
        async with database(told) as url:
            if await holds_tables(url):
                raise Failed("the database holds bridge's tables already; right is an empty one, or a new state_dir")
            script = await asyncio.to_thread(written_out, Path(scratch, DUMP))
            words = ("--no-psqlrc", "--quiet", "--output=/dev/null", "--set=ON_ERROR_STOP=1", "--single-transaction")
            await asyncio.to_thread(run, "psql", url, *words, f"--file={script}")


def written_out(dump: Path) -> Path:
    """The dump as SQL that every server since PostgreSQL 15 takes: 17's pg_restore sets what 16 does not know."""
    raw, script = dump.with_suffix(".raw"), dump.with_suffix(".sql")
    words = ("--no-owner", "--no-privileges", f"--file={raw}", str(dump))
    if subprocess.run([found("pg_restore"), *words], check=False).returncode:
        raise Failed("pg_restore failed")
    with raw.open("rb") as lines, script.open("wb") as out:
        for _, line in zip(range(HEADER), lines, strict=False):
            if line != NEWER:
                out.write(line)
        shutil.copyfileobj(lines, out)
    raw.unlink()
    return script


def unpack(source: Path, scratch: str) -> None:
    """What a backup holds, into a directory."""
    try:
        with tarfile.open(source, "r:") as tar:
            for name in {DUMP, *tar.getnames()} & {DUMP, seals.FILE}:
                member = tar.extractfile(name)
                if member is None:
                    raise tarfile.TarError(f"{name} in it is no file")
                with member, Path(scratch, name).open("wb") as out:
                    shutil.copyfileobj(member, out)
    except (tarfile.TarError, KeyError) as fault:
        raise Failed(f"{source} is not what deploy/backup writes: {fault}") from fault


def put_key(saved: Path, place: Path) -> None:
    """Copy the key unless it is there; another one's place is not taken."""
    if not saved.exists():
        return
    key = saved.read_bytes()
    if place.exists():
        if place.read_bytes() != key:
            raise Failed(f"{place} is another key than the saved one; move it away if no account needs it")
        return
    with os.fdopen(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(key)
    if os.geteuid() == 0:
        owner = place.parent.stat()
        os.chown(place, owner.st_uid, owner.st_gid)


async def settle(told: Config) -> None:
    """Read every source once, pushing nothing, and have the PBX asked before anything is added."""
    # While it lasts, so that each command finds the embedded server running.
    async with database(told) as url:
        failed = []
        for tenant in [tenant for tenant in told.tenants.values() if tenant.sources]:
            words = ("sync", "--full", "--no-push", "--tenant", tenant.name, "--config", str(told.path))
            process = await asyncio.create_subprocess_exec(sys.executable, "-m", "bridge", *words)
            if await process.wait() not in (0, HELD):
                failed.append(tenant.name)
        db = Store(url)
        try:
            await store.migrate(db)
            await db.execute(SETTLE)
        finally:
            await db.close()
    if failed:
        raise Failed(
            f"not every source of {', '.join(failed)} could be read: before the daemon starts, mend that and "
            "run deploy/restore --settle"
        )


async def act(what: str, asked: argparse.Namespace) -> None:
    """Do what the command line says."""
    told = session.load(asked.config)
    if what == "backup":
        await backup(told, asked.file)
        return
    if asked.file:
        await restore(told, asked.file)
    await settle(told)


def main(what: str, words: Sequence[str]) -> int:
    """The exit code: 1 where something failed, 2 where the command line or the configuration is wrong."""
    options = argparse.ArgumentParser(prog=f"deploy/{what}")
    options.add_argument("--config", type=Path, help="else $BRIDGE_CONFIG, ./bridge.toml or /etc/bridge/bridge.toml")
    if what == "backup":
        options.add_argument("file", type=Path, help="what to write")
    else:
        either = options.add_mutually_exclusive_group(required=True)
        either.add_argument("file", type=Path, nargs="?", help="what deploy/backup wrote")
        either.add_argument("--settle", action="store_true", help="only read the sources again, after a restore")
    asked = options.parse_args(words)
    try:
        session.run(act(what, asked))
    except errors.ConfigError as wrong:
        print(*wrong.problems, sep="\n", file=sys.stderr)
        return 2
    except (errors.BridgeError, Failed, OSError) as fault:
        print(f"{what}: {fault}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
