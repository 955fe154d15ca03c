"""Recorded exchanges with a server: as files hold them, and answered again on a loopback port.

A folder of `tests/exchanges` holds `source.json` (the source's table, the secrets in it, the line of `check`), for each
step its exchanges in order (`check`, `full`, `again`, `changes`), and the contacts that follow from `full` and from
`changes` (`expected.json`). It is made by `record.py`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from aiohttp import web

from bridge import sources
from bridge.keys.sources import SOURCES

HERE = Path(__file__).parent
PLACE = "replayed.invalid:80"
"""What stands in the files where the server names its own host and port."""

Fault = Literal["cut", "once cut", "500", "429", "401", "truncated", "html"]
STEPS = ("check", "full", "again", "changes")
UNEXPECTED = 599
REGION, DIGITS = "LU", 5
"""How numbers are read."""
_PAGE = b"<!DOCTYPE html><html><head><title>Log in</title></head><body><form></form></body></html>"


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request, by method and path alone, for times and sessions vary; and what was answered."""

    method: str
    path: str
    status: int
    headers: dict[str, str]
    body: bytes

    def dump(self) -> dict[str, Any]:
        """As the file has it; a body is text where it can be."""
        told = {"method": self.method, "path": self.path, "status": self.status, "headers": self.headers}
        try:
            return {**told, "body": self.body.decode()}
        except UnicodeDecodeError:
            return {**told, "base64": base64.b64encode(self.body).decode()}


def load(told: dict[str, Any]) -> Exchange:
    """The exchange that `dump` gave."""
    body = base64.b64decode(told["base64"]) if "base64" in told else told["body"].encode()
    return Exchange(told["method"], told["path"], told["status"], told["headers"], body)


@dataclass(frozen=True, slots=True)
class Folder:
    """Everything that was recorded of one source."""

    name: str
    table: dict[str, Any]
    secrets: Sequence[str]
    check: str
    steps: dict[str, Sequence[Exchange]]
    expected: dict[str, list[dict[str, Any]]]

    def save(self) -> None:
        """Write the files."""
        folder = HERE / self.name
        folder.mkdir(exist_ok=True)
        _write(folder / "source.json", {"table": self.table, "secrets": self.secrets, "check": self.check})
        _write(folder / "expected.json", self.expected)
        for step, exchanges in self.steps.items():
            _write(folder / f"{step}.json", [exchange.dump() for exchange in exchanges])


def folders() -> list[str]:
    """The folders that there are."""
    return sorted(path.parent.name for path in HERE.glob("*/source.json"))


def read(name: str) -> Folder:
    """What a folder holds."""
    folder = HERE / name
    source = json.loads((folder / "source.json").read_bytes())
    steps = {step: [load(each) for each in json.loads((folder / f"{step}.json").read_bytes())] for step in STEPS}
    expected = json.loads((folder / "expected.json").read_bytes())
    return Folder(name, source["table"], source["secrets"], source["check"], steps, expected)


@asynccontextmanager
async def opened(name: str, table: dict[str, Any], url: str) -> AsyncIterator[sources.Source]:
    """A source of these keys, at this address."""
    given = {key: value.replace("{url}", url) if isinstance(value, str) else value for key, value in table.items()}
    source = sources.load(table["type"], name, SOURCES[table["type"]].model_validate({"timeout": "5s", **given}))
    try:
        yield source
    finally:
        await source.close()


def _write(path: Path, data: Any) -> None:
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False, sort_keys=False) + "\n")


@dataclass
class Replay:
    """Answers with what was recorded: of the exchanges of a request's method and path, the first unused one.

    `play` begins a step. With a fault, the exchange at its index meets it each time ("once cut": the first time), and
    then an answer may be given twice, for a source may ask again. `unexpected` are requests of which nothing is
    recorded.
    """

    url: str = ""
    unexpected: list[str] = field(default_factory=list)
    _left: list[tuple[int, Exchange]] = field(default_factory=list)
    _used: list[tuple[int, Exchange]] = field(default_factory=list)
    _fault: Fault | None = None
    _at: int = -1

    def play(self, exchanges: Sequence[Exchange], fault: Fault | None = None, at: int = -1) -> None:
        """From now on answer with these."""
        self._left, self._used = list(enumerate(exchanges)), []
        self._fault, self._at = fault, at
        self.unexpected.clear()

    @property
    def unused(self) -> list[str]:
        """The recorded requests that nobody made."""
        return [f"{exchange.method} {exchange.path}" for _, exchange in self._left]

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        """Listen on loopback; the address of the server's root."""
        app = web.Application(client_max_size=64 << 20)
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield self.url
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        await request.read()
        path = request.rel_url.raw_path
        found = next((each for each in self._left if (each[1].method, each[1].path) == (request.method, path)), None)
        if found is None and self._fault:
            same = [each for each in self._used if (each[1].method, each[1].path) == (request.method, path)]
            found = same[-1] if same else None
        if found is None:
            self.unexpected.append(f"{request.method} {path}")
            return web.Response(status=UNEXPECTED)
        index, exchange = found
        if index == self._at and self._fault:
            fault = self._fault
            if fault == "once cut":
                self._at = -1
            return await self._faulty(request, exchange, fault)
        if found in self._left:
            self._left.remove(found)
            self._used.append(found)
        return answer(exchange, self.url)

    async def _faulty(self, request: web.Request, exchange: Exchange, fault: Fault) -> web.StreamResponse:
        if fault.isdecimal():
            return web.Response(status=int(fault), body=b"")
        if fault == "html":
            return web.Response(body=_PAGE, content_type="text/html")
        whole = answer(exchange, self.url)
        body = whole.body
        assert isinstance(body, bytes)
        if fault == "truncated":
            whole.body = body[: len(body) // 2]
            return whole
        response = web.StreamResponse(status=exchange.status, headers={"Content-Length": str(len(body) + 1)})
        await response.prepare(request)
        await response.write(body[: len(body) // 2])
        if request.transport is not None:
            request.transport.close()
        return response


def answer(exchange: Exchange, url: str) -> web.Response:
    """What was answered, by the server at `url`."""
    host = url.removeprefix("http://")
    headers = {name: value.replace(PLACE, host) for name, value in exchange.headers.items()}
    return web.Response(
        status=exchange.status, headers=headers, body=exchange.body.replace(PLACE.encode(), host.encode())
    )
