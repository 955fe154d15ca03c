"""deploy/backup and deploy/restore: a state saved while the daemon runs, and brought back with nothing pushed twice."""

from __future__ import annotations

import asyncio
import importlib.util
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from commands import ROOT, bridge, environment
from conftest import named
from daemons import KEY, book, number, running, until

from bridge import store
from bridge.demo.manager import Manager
from bridge.store import Store

STATE = ROOT / "deploy" / "state.py"
PEOPLE = {0: "Ann Lee", 1: "Bob Ray", 2: "Cem Oz", 3: "Dan Poe"}
SINCE = {0: "Ann Lee", 1: "Bob Low", 33: "Dan Poe", 4: "Eve Fox"}
"""What became of them after the backup: one is changed, one gone, one has another number, one is new."""
ACCOUNTS = "username,password,sipusername,sippassword\nann,ann-login,user1,ann-sip\n"
TAKEN = "the database holds bridge's tables already; right is an empty one, or a new state_dir"
TOML = """
region = "LU"
state_dir = "{state}"
[database]
url = "{dsn}"
[source.staff]
type = "file"
path = "staff.txt"
"""


async def state(home: Path, *words: str) -> tuple[int, str]:
    """Run what deploy/backup and deploy/restore run; its exit code and what it said."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(STATE), *words),
        cwd=home,
        env=environment(),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(60):
        said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


@pytest.fixture
async def other(postgres: str) -> AsyncIterator[str]:
    """An empty database."""
    owner = Store(postgres)
    await owner.execute("create database restored")
    try:
        yield named(postgres, "restored")
    finally:
        await owner.execute("drop database restored with (force)")
        await owner.close()


async def test_a_restored_state_goes_on_and_pushes_nothing_twice(tmp_path: Path) -> None:
    manager = Manager(key=KEY)
    (tmp_path / "accounts.csv").write_text(ACCOUNTS)
    async with manager.serve() as url:
        async with running(tmp_path, url, "embedded", PEOPLE) as daemon:
            daemon.configure("[provisioning]\n")
            assert (await bridge(tmp_path, "account", "import", "accounts.csv")).code == 0
            await until(lambda: manager.book() == book(PEOPLE.items()), why="the Manager holds all")
            assert await state(tmp_path, "backup", "saved.tar") == (0, ""), "while the daemon runs"
            assert (tmp_path / "saved.tar").stat().st_mode & 0o077 == 0
            daemon.write(SINCE)
            await until(lambda: manager.book() == book(SINCE.items()), why="the Manager holds what is new")
        added = manager.counts["Contact Created"]

        (tmp_path / "state").rename(tmp_path / "lost")
        code, said = await state(tmp_path, "restore", "saved.tar")
        assert code == 0, said
        again = await bridge(tmp_path, "account", "import", "accounts.csv", "--json")
        assert again.json["unchanged"] == 1, "the key came back with the database"

        assert (await bridge(tmp_path, "sync")).code == 0, "all that waited is pushed"
        assert (manager.book(), manager.duplicates()) == (book(SINCE.items()), [])
        assert manager.counts["Contact Created"] == added


async def test_an_own_database_into_another(tmp_path: Path, dsn: str, other: str) -> None:
    """What is in the way is said, and nothing is changed then."""
    config = tmp_path / "bridge.toml"
    config.touch(0o600)
    config.write_text(TOML.format(state="new", dsn=other))
    (tmp_path / "staff.txt").write_text(f"+{number(0)}:Ann Lee:\n")
    nothing = "there is no table of bridge in it; right is the database that the daemon uses"
    assert await state(tmp_path, "backup", "saved.tar") == (1, f"backup: {nothing}\n")
    assert not (tmp_path / "saved.tar").exists()
    config.write_text(TOML.format(state="state", dsn=dsn))
    assert (await bridge(tmp_path, "sync")).code == 0
    assert await state(tmp_path, "backup", "saved.tar") == (0, "")
    assert await state(tmp_path, "restore", "saved.tar") == (1, f"restore: {TAKEN}\n")

    config.write_text(TOML.format(state="new", dsn=other))
    (tmp_path / "no.tar").write_text("no archive")
    assert await state(tmp_path, "restore", "no.tar") == (
        1,
        "restore: no.tar is not what deploy/backup writes: truncated header\n",
    )
    (tmp_path / "staff.txt").rename(tmp_path / "away.txt")
    code, said = await state(tmp_path, "restore", "saved.tar")
    want = (
        "not every source of default could be read: before the daemon starts, mend that and run deploy/restore --settle"
    )
    assert (code, said.splitlines()[-1]) == (1, f"restore: {want}")
    (tmp_path / "away.txt").rename(tmp_path / "staff.txt")
    assert (await state(tmp_path, "restore", "--settle"))[0] == 0
    assert (await bridge(tmp_path, "lookup", number(0))).out.startswith("Ann Lee")


async def test_what_is_restored_is_sql_that_older_servers_take(tmp_path: Path, dsn: str) -> None:
    spec = importlib.util.spec_from_file_location("state", STATE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    db = Store(dsn)
    await store.migrate(db)
    await db.close()
    dump = tmp_path / "database.dump"
    await asyncio.to_thread(module.run, "pg_dump", dsn, *module.DUMPED, f"--file={dump}")
    words = [module.found("pg_restore"), "--no-owner", "--no-privileges", "--file=-", str(dump)]
    said = await asyncio.to_thread(lambda: subprocess.run(words, capture_output=True, check=True).stdout)
    want = b"".join(line for line in said.splitlines(keepends=True) if b"transaction_timeout" not in line)
    assert want != said, "pg_restore sets what PostgreSQL 16 does not know"

    def bare(script: bytes) -> list[bytes]:
        """Without the two lines that hold another word every time."""
        return [line for line in script.splitlines() if not line.startswith((b"\\restrict", b"\\unrestrict"))]

    assert bare(module.written_out(dump).read_bytes()) == bare(want)


async def test_a_command_line_that_means_nothing(tmp_path: Path) -> None:
    for words in (("backup", "--settle"), ("restore", "x.tar", "--settle")):
        assert (await state(tmp_path, *words))[0] == 2


def test_the_scripts_of_deploy_are_sound_shell() -> None:
    for name in ("backup", "restore", "bridge", "install", "test", "lock"):
        script = ROOT / "deploy" / name
        assert script.stat().st_mode & 0o111 == 0o111
        done = subprocess.run(["/bin/sh", "-n", script], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
