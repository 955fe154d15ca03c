"""The working process: it does what `unit` says, under one configuration after the other.

It shares nothing with the answering process but the database.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import signal
from pathlib import Path

import uvloop

from bridge import claims, config, errors, kept, log, priority, sources
from bridge.config import Config
from bridge.store import Store
from bridge.unit import Unit

_LOG = log.get()
_GIVE_UP = 78
"""The exit code for what no restart mends, such as a database newer than this program (EX_CONFIG)."""


async def main(path: Path, dsn: str, report: kept.Report) -> None:
    """Work until SIGTERM; SIGHUP loads the configuration anew, and a bad one changes nothing."""
    told = config.load(path)
    log.setup(told.log, aside=True)
    log.hide(told.secrets)
    db = Store(dsn, size=8, name=claims.name("worker"), yielding="BRIDGE_EMBEDDED" in os.environ)
    signals: asyncio.Queue[int] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, signals.put_nowait, number)
    unit = Unit(db, told)
    _lay_foundations(told)
    tasks = [asyncio.create_task(work) for work in (unit.run(), _follow(unit, signals, told), kept.beat(report))]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await db.close()


def _lay_foundations(told: Config) -> None:
    """What stays is there before anything passes, and collections of garbage, small and often, leave it alone.

    Memory is then at its height soon, and not only when the first source of a kind is read, days later.
    """
    for kind in {table.type for tenant in told.tenants.values() for table in tenant.sources.values()}:
        sources.prepare(kind)
    gc.collect()
    gc.freeze()


async def _follow(unit: Unit, signals: asyncio.Queue[int], told: Config) -> None:
    """Have the unit go on under each new configuration that is good, until told to end."""
    while await signals.get() == signal.SIGHUP:
        try:
            fresh = await asyncio.to_thread(config.reload, told)
        except errors.ConfigError as problems:
            _LOG.error("config.refused", problems=list(problems.problems), in_force=str(told.path))
            continue
        await asyncio.to_thread(log.hide, fresh.secrets)
        await unit.reload(fresh)
        told = fresh


def start() -> None:
    """`python -m bridge.worker --config FILE`, as the keeper starts it."""
    options = argparse.ArgumentParser()
    options.add_argument("--config", type=Path, required=True)
    kept.die_with_parent()
    priority.give_way()
    log.setup(aside=True)  # after that: its thread, too, is to give way
    try:
        uvloop.run(main(options.parse_args().config, os.environ["BRIDGE_DSN"], kept.reporter()))
    except errors.Unsupported as lack:
        _LOG.error("worker.failed", reason=str(lack))
        raise SystemExit(_GIVE_UP) from None
    except errors.ConfigError as wrong:
        # Made wrong while we were running, and then we died: the keeper tries again until it is right.
        _LOG.error("config.refused", problems=list(wrong.problems))
        raise SystemExit(2) from None
    except Exception:
        # A mistake of ours: told as the log tells one, with no secret in it, and nobody waits for who reads it.
        _LOG.critical("worker.broken", exc_info=True)
        raise SystemExit(1) from None


if __name__ == "__main__":
    start()
