"""The commands of `bridge`: the only part that prints or exits.

Exit codes: 0 done; 1 it ran and something failed; 2 a bad command line or a bad configuration; 3 held for approval.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Annotated

import typer

import bridge
from bridge import errors, log
from bridge.cli import accounts, asking, books, checking, forgetting, losses, output, running, syncing, watching

# Neither rich's boxes, which a pipe gets too, nor its tracebacks, which show locals and so secrets.
app = typer.Typer(
    name="bridge",
    help="Joins the customer databases of a company to its telephones.",
    epilog="Exit codes: 0 done, 1 something failed, 2 bad command line or configuration, 3 held for approval.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    no_args_is_help=True,
)


@app.callback(invoke_without_command=True)
def common(version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False) -> None:
    """Joins the customer databases of a company to its telephones."""
    if version:
        output.say(f"bridge {bridge.__version__}")
        raise typer.Exit


app.command("run")(running.run)
app.command("demo")(running.demo)
app.command("check")(checking.check)
app.command("sync")(syncing.sync)
app.command("lookup")(asking.lookup)
app.command("explain")(asking.explain)
app.command("status")(watching.show)
app.command("approve")(losses.approve)
app.command("restore")(losses.restore)
app.command("refused")(watching.refused)
app.command("export")(books.export)
app.add_typer(accounts.app, name="account")
app.command("forget")(forgetting.erase)
app.command("migrate")(running.migrate)


def main() -> None:
    """What the console script runs."""
    # Not `app()`: that would set a hook of its own for tracebacks.
    command = typer.main.get_command(app)
    log.setup("console", level=logging.WARNING)  # a fault before the configuration is read is told without locals, too
    try:
        command(prog_name="bridge")
    except errors.ConfigError as wrong:
        for problem in wrong.problems:
            output.tell(problem)
        sys.exit(output.USAGE)
    except errors.BridgeError as fault:
        output.tell(log.text(str(fault)))
        sys.exit(output.FAILED)
    except asyncio.CancelledError:
        output.tell("interrupted")
        sys.exit(output.FAILED)
    except Exception:
        # A mistake of ours: shown as the log shows one, with no secret in it.
        log.get().critical("command.broken", exc_info=True)
        sys.exit(output.FAILED)
