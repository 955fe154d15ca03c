"""What is left of a phone book whose making is called off, at whichever step."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import msgspec
import pytest
from commands import environment, full_pipe
from listed import record
from served import hold

from bridge import bookshelf, editions
from bridge.phonebooks import Recipe
from bridge.store import Store


@pytest.mark.parametrize(("step", "time_of_it"), [("open", 1), ("fsync", 2)])
async def test_nothing_is_left_where_a_thread_was_at_work(
    db: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, time_of_it: int
) -> None:
    await hold(db, "crm", record("1", "Ann Lee", "+352621111111"))
    calls = itertools.count(1)
    begun, real = threading.Event(), getattr(os, step)

    def slowly(*given: Any) -> Any:
        if next(calls) == time_of_it:
            begun.set()
            time.sleep(0.1)
        return real(*given)

    order = editions.order(Recipe("default", ("crm",), "e164", "LU"), "json", tmp_path)
    monkeypatch.setattr(os, step, slowly)
    making = asyncio.create_task(editions.make(db, order))
    assert await asyncio.to_thread(begun.wait, 5)
    making.cancel()
    await asyncio.wait({making})
    assert making.cancelled()
    assert list(tmp_path.iterdir()) == []


async def test_a_book_is_made_apart_though_nobody_reads_the_log(db: Store, dsn: str, tmp_path: Path) -> None:
    """Whoever connects to one of several servers has something to say."""
    await hold(db, "crm", record("1", "Ann Lee", "+352621111111"))
    place = parse_qs(dsn.partition("?")[2])["host"][0]
    several = dsn.replace(f"host={place}", f"host={place},{place}")
    order = editions.order(Recipe("default", ("crm",), "e164", "LU"), "json", tmp_path)
    with full_pipe() as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bridge.editions"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            env=environment(BRIDGE_DSN=several),
        )
        try:
            async with asyncio.timeout(20):
                said, _ = await process.communicate(msgspec.json.encode(order))
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    assert process.returncode == 0
    made = msgspec.json.decode(said, type=editions.Edition)
    assert b"Ann" in (tmp_path / made.plain.name).read_bytes()


async def test_one_that_does_not_end_when_it_is_told_is_killed(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(60)\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(editions.__file__).parents[1]}")
    making = asyncio.create_task(
        editions.make_apart(dsn, editions.order(Recipe("default", ("crm",), "e164", "LU"), "json", tmp_path))
    )
    await asyncio.sleep(1.0)
    making.cancel()
    done, _ = await asyncio.wait({making}, timeout=10)
    assert done == {making}
    assert making.cancelled()


async def test_a_command_finds_the_books_of_a_daemon_whose_cache_systemd_named_to_it_alone(
    db: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await hold(db, "crm", record("1", "Ann Lee", "+352621111111"))
    state, cache = tmp_path / "state", tmp_path / "cache"
    earlier = state / "phonebooks" / "earlier.book"
    earlier.parent.mkdir(parents=True)
    earlier.write_text("from before there was a cache directory")
    monkeypatch.setenv("CACHE_DIRECTORY", str(cache))
    for _ in range(2):  # it starts again
        assert bookshelf.linked_folder(state) == cache / "phonebooks"
    assert not earlier.exists()
    book = Recipe("default", ("crm",), "e164", "LU")
    await editions.make(db, editions.order(book, "json", bookshelf.folder(state)))
    assert list(cache.rglob("*.book*"))

    monkeypatch.delenv("CACHE_DIRECTORY")
    assert await bookshelf.sweep(db, bookshelf.folder(state), [], "default") == 0
    assert list(cache.rglob("*.book*")) == []

    shutil.rmtree(cache)
    assert bookshelf.linked_folder(state) == state / "phonebooks"
    await editions.make(db, editions.order(book, "json", bookshelf.folder(state)))
    assert list((state / "phonebooks").glob("*.book*"))
