"""What is left of a phone book whose making is called off, at whichever step."""

from __future__ import annotations

import asyncio
import itertools
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from listed import record
from served import hold

from bridge import editions
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
