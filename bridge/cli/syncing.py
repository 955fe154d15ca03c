"""`bridge sync`: one run now."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from bridge import errors, log, status
from bridge.asks import Request, Said
from bridge.cli import delivery, options, output, session
from bridge.config import Config, Tenant

_COUNTS = ("read", "added", "changed", "removed", "unchanged", "refused", "held", "seconds")
_PUBLIC = ("source", *_COUNTS, "error")


def sync(
    sources: Annotated[list[str] | None, typer.Argument(metavar="SOURCE", help="These; else all.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write and push nothing; list what would change.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Read everything, not what changed.")] = False,
    no_push: Annotated[bool, typer.Option("--no-push", help="Push nothing here, and wait for no daemon to.")] = False,
    as_json: options.AsJson = False,
    tenant: options.TenantName = options.MAIN,
    config: options.ConfigFile = None,
) -> None:
    """Read the sources now, and push what changed.

    Waits until the sinks have taken it. A running daemon does it, and this follows; else it is done here. Exit code
    1: a source failed, or a sink did not take its pushes; 3: losses are held (with --dry-run: would be).
    """
    told = session.load(config)
    place = options.tenant(told, tenant)
    names = tuple(dict.fromkeys(options.one_of(name, place.sources, "source") for name in sources or ()))
    request = Request(place.name, names, full=full, dry=dry_run, push=not no_push)
    seen = Seen(as_json=as_json, dry=dry_run)
    try:
        session.run(_sync(told, place, request, seen))
    except errors.ConfigError:
        raise
    except errors.BridgeError as fault:
        # What was done before stays done, and is told; a document is one in any case.
        seen.failed(str(fault))
    raise typer.Exit(seen.finish())


async def _sync(told: Config, tenant: Tenant, request: Request, seen: Seen) -> None:
    async with session.opened(told) as db:
        with seen.following():
            await delivery.perform(db, told, tenant, request, seen.emit)
        if not request.dry:
            found = await status.read(db, [tenant])
            seen.unreadable = {one.source: [(bad.id, bad.reason) for bad in one.unreadable] for one in found.sources}
            if request.push:
                _tell_refused(found)


def _tell_refused(found: status.Status) -> None:
    for sink in found.sinks:
        if sink.refused:
            output.tell(f"{sink.sink}: {sink.refused} numbers are refused until they change: see bridge refused")


class Seen:
    """What a run said, shown as it comes, and summed up at its end."""

    def __init__(self, *, as_json: bool, dry: bool) -> None:
        self._as_json = as_json
        self._dry = dry
        self._table = output.for_people() and not as_json
        self._bars = Bars() if output.for_people(_stderr()) else None
        self._reports: list[Said] = []
        self._would: list[Said] = []
        self._undelivered: dict[str, str] = {}
        self.unreadable: dict[str, list[tuple[str, str]]] = {}
        self._error = ""

    @contextlib.contextmanager
    def following(self) -> Iterator[None]:
        """Show progress bars for the block, where a person sees them."""
        with self._bars or contextlib.nullcontext():
            yield

    async def emit(self, said: Said) -> None:
        """Take one thing that `asks.perform` tells."""
        self._would += said.get("would") or ()
        match said["event"]:
            case "source":
                self._reports.append(said)
                if not self._table and not self._as_json:
                    output.say(_line(said))
            case "end":
                self._undelivered = said["undelivered"]
                self._error = said.get("error", "")
        if self._bars:
            self._bars.show(said)

    def failed(self, reason: str) -> None:
        """It ended before its end."""
        self._error = log.text(reason)

    def finish(self) -> int:
        """Print what was not printed yet; the exit code."""
        if self._as_json:
            output.document({"sources": [self._public(one) for one in self._reports]})
        elif self._table:
            output.table(("source", *_COUNTS), [[one[name] for name in ("source", *_COUNTS)] for one in self._reports])
        if self._dry and not self._as_json:
            rows = [(one["source"], _WOULD[one["change"]], one["id"], one["name"]) for one in self._would]
            output.table(("source", "would", "id", "name"), rows)
        self._tell()
        if self._error or self._undelivered or any(one["error"] for one in self._reports):
            return output.FAILED
        return output.HELD if any(one["held"] for one in self._reports) else output.DONE

    def _public(self, said: Said) -> dict[str, Any]:
        shown = {name: said[name] for name in _PUBLIC}
        if self._dry:
            mine = self._mine(said["source"])
            shown["would"] = [{"change": _WOULD[one["change"]], "id": one["id"], "name": one["name"]} for one in mine]
        return shown

    def _mine(self, source: str) -> list[Said]:
        return [one for one in self._would if one["source"] == source]

    def _tell(self) -> None:
        for one in self._reports:
            name = one["source"]
            if one["error"]:
                output.tell(f"{name}: {one['error']}")
            for note in one["notes"]:
                if not note.startswith("held: "):
                    output.tell(f"{name}: {note}")
            more = one["added"] + one["changed"] + one["removed"] - len(self._mine(name))
            if self._dry and more > 0:
                output.tell(f"{name}: {more} more would change, which are not listed")
            for line in output.some(f"{name}: unreadable", self.unreadable.get(name, ())):
                output.tell(line)
            if one["held"]:
                how = "would be held" if self._dry else f"are held: bridge approve {name} lets them through"
                output.tell(f"{name}: {one['why_held']}; {one['held']} losses {how}")
        for sink, reason in self._undelivered.items():
            output.tell(f"{sink}: has not taken its pushes: {reason}")
        if self._error:
            output.tell(self._error)


_WOULD = {"add": "added", "change": "changed", "remove": "removed"}


def _line(said: Said) -> str:
    return output.line(said["source"], [(name, said[name]) for name in _COUNTS])


def _stderr() -> Any:
    return Console(stderr=True).file


class Bars(Progress):
    """A bar a source while it is read, and one for the pushes that wait."""

    def __init__(self) -> None:
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.fields[count]}"))
        super().__init__(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True)
        self._tasks_by_name: dict[str, TaskID] = {}
        self._most = 0

    def show(self, said: Said) -> None:
        """Draw what `asks.perform` told."""
        match said["event"]:
            case "reading":
                self._draw(said["source"], f"{said['read']:,} read")
            case "source":
                self._draw(said["source"], f"{said['read']:,} read", total=1, completed=1)
            case "sinks":
                self._most = max(self._most, said["waiting"])
                done = self._most - said["waiting"]
                self._draw("sinks", f"{done:,} of {self._most:,} pushed", total=self._most or 1, completed=done)

    def _draw(self, name: str, count: str, total: float | None = None, completed: float = 0) -> None:
        if name not in self._tasks_by_name:
            self._tasks_by_name[name] = self.add_task(name, total=None, count=count)
        self.update(self._tasks_by_name[name], total=total, completed=completed, count=count)
