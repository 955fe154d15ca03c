"""What is left of a phone book whose making is called off, at whichever step."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest
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
