"""`bridge run`, `bridge demo` and `bridge migrate`."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from bridge import log, store
from bridge.cli import options, output, session
from bridge.config import Config
from bridge.demo import crms
from bridge.demo import run as demonstration


def run(config: options.ConfigFile = None) -> None:
    """Run the daemon in the foreground.

    SIGTERM ends it; SIGHUP reads the configuration again, and a wrong one changes nothing.
    """
    told = session.load(config)
    log.setup(told.log)
    for warning in told.warnings:
        log.get().warning("config.warning", said=warning)
    words = [sys.executable, "-m", "bridge.daemon", *_options(told)]
    # Not on the command line, which everybody sees: it may hold a password.
    environment = {**os.environ, "BRIDGE_DATABASE": told.database.url[:]}
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, words, environment)


def _options(told: Config) -> list[str]:
    words = ["--config", str(told.path), "--state-dir", str(told.state_dir), "--log", told.log]
    for place in told.http.listen:
        words += ["--http", str(place)]
    for place in told.admin.listen:
        words += ["--admin", str(place)]
    return words


def demo(
    _config: options.ConfigFile = None,
    crm: Annotated[crms.Name, typer.Option("--crm", help="The CRM that is played.")] = "carddav",
    once: Annotated[bool, typer.Option("--once", help="End when the first contacts have arrived.")] = False,
) -> None:
    """Show the whole main job, with nothing configured.

    A sample CRM, the daemon, and a stand-in Call Control Manager, on loopback ports and in a temporary directory,
    which is removed at the end. Ctrl-C ends it. It reads no configuration, a given one neither.
    """
    session.run(demonstration.run(output.say, crm=crm, once=once))


def migrate(config: options.ConfigFile = None) -> None:
    """Bring the database to this version.

    All other commands do so by themselves.
    """
    told = session.load(config)
    before, after = session.run(_migrate(told))
    if before == after:
        output.say(f"schema {after}: nothing to do")
    else:
        output.say(f"schema {before} -> {after}")


async def _migrate(told: Config) -> tuple[int, int]:
    async with session.database(told) as db:
        return await store.migrate(db)
