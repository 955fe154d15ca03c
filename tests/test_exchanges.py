"""One suite for every source: what was recorded of it is answered again, whole and with every fault at every exchange.

A source is in it as soon as `tests/exchanges` has a folder of it (`exchanges.record`).
"""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, get_args

import pytest
import structlog
from exchanges import replay
from exchanges.replay import DIGITS, REGION, Fault, Folder, Replay, opened

from bridge import errors, log, sync
from bridge.store import Store

NAMES = replay.folders()
FAULTS: tuple[Fault, ...] = get_args(Fault)
LANES = 8
"""Runs that are under way at once; each has a tenant and a server of its own."""


@pytest.fixture(autouse=True)
def said() -> Iterator[io.StringIO]:
    """All that is logged, with nothing struck out but what looks like a secret to the log itself."""
    level, handlers = logging.getLogger().level, list(logging.getLogger().handlers)
    stream = io.StringIO()
    log.setup("json", stream, logging.DEBUG)
    yield stream
    structlog.reset_defaults()
    logging.captureWarnings(False)
    logging.getLogger().setLevel(level)
    logging.getLogger().handlers[:] = handlers


@dataclass
class Lane:
    """One tenant's source, and the server that it is told of."""

    db: Store
    folder: Folder
    tenant: str
    server: Replay

    async def run(self, step: str, fault: Fault | None = None, at: int = -1, *, full: bool = False) -> sync.Report:
        """One run of a source opened anew, against what was recorded of a step."""
        self.server.play(self.folder.steps[step], fault, at)
        job = sync.Job(self.tenant, self.folder.name, region=REGION, rules=b"1", internal_digits=DIGITS)
        async with opened(self.folder.name, self.folder.table, self.server.url) as source:
            return await sync.run(self.db, job, source, full=full)

    async def rows(self) -> list[tuple[Any, ...]]:
        """Every contact's row, as the database has it."""
        told = "select xmin, id, version, body::text from contact where tenant = $1 order by id"
        return [tuple(row) for row in await self.db.fetch(told, self.tenant)]

    async def cursor(self) -> tuple[Any, ...]:
        """Where the next run begins, and when the last full one was."""
        return tuple(await self.db.row("select cursor::text, full_at from source where tenant = $1", self.tenant) or ())

    async def contacts(self) -> list[Any]:
        """The contacts, as `expected.json` has them."""
        rows = await self.db.fetch(
            'select body::text from contact where tenant = $1 order by id collate "C"', self.tenant
        )
        host = self.server.url.removeprefix("http://")
        return [json.loads(row["body"].replace(host, replay.PLACE)) for row in rows]

    def secret(self, text: str) -> bool:
        """Whether a secret of the configuration is in the text."""
        return any(secret in text for secret in self.folder.secrets)


@asynccontextmanager
async def lane(db: Store, name: str, tenant: str = "default") -> AsyncIterator[Lane]:
    """A lane whose source has not been read yet."""
    server = Replay()
    async with server.serve():
        yield Lane(db, replay.read(name), tenant, server)


def counts(report: sync.Report) -> tuple[int, int, int, int]:
    return report.added, report.changed, report.removed, report.held


@pytest.mark.parametrize("name", NAMES)
async def test_full_the_same_again_and_changes(name: str, db: Store, said: io.StringIO) -> None:
    async with lane(db, name) as one:
        expected = one.folder.expected
        for step, full, wanted in (
            ("full", False, "full"),
            ("again", False, "full"),
            ("full", True, "full"),
            ("changes", False, "changes"),
        ):
            before = await one.rows()
            report = await one.run(step, full=full)
            assert (one.server.unexpected, one.server.unused) == ([], []), step
            assert await one.contacts() == expected[wanted], step
            if (step, full) == ("full", False):
                assert counts(report) == (len(expected["full"]), 0, 0, 0)
            elif wanted == "full":
                assert counts(report) == (0, 0, 0, 0), step
                assert await one.rows() == before, step
            else:
                assert sum(counts(report)) > 0
        stored = await db.fetch("select s::text from source s union all select r::text from run r")
        assert not one.secret(said.getvalue() + "".join(row[0] for row in stored))


@pytest.mark.parametrize("name", NAMES)
async def test_check_is_one_line(name: str, said: io.StringIO) -> None:
    server, folder = Replay(), replay.read(name)
    async with server.serve() as url:
        server.play(folder.steps["check"])
        async with opened(name, folder.table, url) as source:
            assert (await source.check()).replace(url.removeprefix("http://"), replay.PLACE) == folder.check
        assert (server.unexpected, server.unused) == ([], [])
    assert "\n" not in folder.check
    assert not any(secret in folder.check + said.getvalue() for secret in folder.secrets)


@pytest.mark.parametrize("name", NAMES)
async def test_a_fault_at_any_exchange_changes_nothing(name: str, db: Store, said: io.StringIO) -> None:
    steps = replay.read(name).steps
    places = [(step, at) for step in ("full", "changes") for at in range(len(steps[step]))]
    todo = itertools.product(FAULTS, places)

    async def work(tenant: str) -> None:
        async with lane(db, name, tenant) as one:
            await one.run("full")
            for fault, (step, at) in todo:
                await faulty(one, step, fault, at)

    async with asyncio.TaskGroup() as group:
        for n in range(LANES):
            group.create_task(work(f"t{n}"))
    stored = await db.fetch("select s::text from source s union all select r::text from run r")
    secrets = replay.read(name).secrets
    assert not any(secret in said.getvalue() + "".join(row[0] for row in stored) for secret in secrets)


async def faulty(one: Lane, step: str, fault: Fault, at: int) -> None:
    """A run that meets a fault: it fails and leaves all as it was, or it ends right."""
    where = f"{fault} at exchange {at} of {step}: {one.folder.steps[step][at].method} {one.folder.steps[step][at].path}"
    before = await one.rows(), await one.cursor()
    raised: BaseException | None = None
    try:
        await one.run(step, fault, at, full=step == "full")
    except (errors.Denied, errors.Unavailable) as error:
        raised = error
    if raised is None:
        assert await one.contacts() == one.folder.expected[step], where
        await one.run("full", full=True)
        return
    assert isinstance(raised, errors.Unavailable) or fault == "401", f"{where}: {raised!r}"
    assert (await one.rows(), await one.cursor()) == before, where
    while raised is not None:
        assert not one.secret(repr(raised)), where
        raised = raised.__cause__ or (None if raised.__suppress_context__ else raised.__context__)
