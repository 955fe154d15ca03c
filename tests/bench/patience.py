"""How long a bench waits for the daemon: while the daemon itself says that it leaves a source in peace."""

from __future__ import annotations

import asyncio
import datetime
import json
import os
import sys
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
MARGIN = 30.0
"""Seconds that a run and its deliveries may take once it is due."""
LONGEST = 1200.0
"""Seconds after which nothing is waited for any more."""


async def until(home: Path, began: float, tenants: Collection[str] = ()) -> float:
    """Until when (monotonic) something may still come for these tenants; prints which sources fail, and why.

    `home` holds a bridge.toml; `began` is when the faults ended. Without `tenants`, of the only one.
    """
    sources: list[dict[str, Any]] = []
    for words in [("--tenant", tenant) for tenant in tenants] or [()]:
        sources += json.loads(await said(home, "status", "--json", *words))["sources"]
    failing = [one for one in sources if one["error"]]
    for one in failing:
        print(
            f"{time.monotonic() - began:.0f} s after the faults: {one.get('tenant', '')} {one['source']}",
            f"is read again at {one['due_at']}: {one['error']}",
            flush=True,
        )
    now = datetime.datetime.now(datetime.UTC)
    # What a run has changed a moment ago may be on its way: one that was left in peace has just been read.
    moments = [one["due_at"] for one in failing] + [one["changed_at"] for one in sources if one["changed_at"]]
    left = max(((datetime.datetime.fromisoformat(when) - now).total_seconds() for when in moments), default=-60)
    return min(time.monotonic() + left + MARGIN, began + LONGEST)


async def said(home: Path, *words: str) -> str:
    """What a command prints."""
    asked = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bridge", *words),
        cwd=home,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
    )
    return (await asked.communicate())[0].decode()
