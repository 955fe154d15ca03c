"""Mixvoip's helper URLs: the contacts of a server that is named in the URL, as lines, by the daemon's own sources.

All is read or an error is raised: a PBX drops whoever is missing from what it is given.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal, cast

import orjson

from bridge import client, errors, sources
from bridge.forgotten import Forgotten
from bridge.pbxsync.lines import Gathering, Lines
from bridge.pbxsync.wanted import Wanted, table
from bridge.sources import Page, Source, Versions

_NO_API = frozenset({400, 401, 403, 404, 405, 406, 410, 415, 422, 500, 501, *client.REDIRECTS})
"""Statuses that may be answered where there is no such API."""
_PARTING = 3.0
"""Seconds that a logout may take once all is read."""
_AT_WORK = ThreadPoolExecutor(1, "pbxsync")
"""One thread for all readings: several would be no faster, and calls wait for each that is at work."""


class Partial(errors.Unavailable):
    """Something of what the server lists cannot be had; `missing`: so many contacts, 0 where nobody knows."""

    def __init__(self, missing: int) -> None:
        super().__init__(f"{missing or 'an unknown number of'} contacts cannot be read")
        self.missing = missing


@dataclass(frozen=True, slots=True)
class Place:
    """For whom is read: how numbers are written there, and who has been forgotten."""

    region: str
    internal_digits: int
    forgotten: Forgotten


async def read(wanted: Wanted, place: Place, gate: client.Gate) -> Lines:
    """The lines of all contacts there are, to be closed by the caller. Nothing is connected to but by the gate.

    Raises Denied, Unavailable, Malformed, and what the gate raises.
    """
    with _behind(gate):
        await gate.addresses(*wanted.server)
        keys = table(wanted, await _speaks(wanted.url) if wanted.kind == "sugar" else "sugarcrm")
        # Its modules are read from disk in a thread: calls are answered meanwhile.
        await asyncio.to_thread(importlib.import_module, f"bridge.sources.{keys.type}")
        source = sources.load(keys.type, "pbxsync", keys)
        try:
            return await _gathered(source, place)
        finally:
            with contextlib.suppress(errors.BridgeError, TimeoutError):
                async with asyncio.timeout(_PARTING):
                    await source.close()


@contextlib.contextmanager
def _behind(gate: client.Gate) -> Iterator[None]:
    """Clients that are made within the block connect by the gate."""
    token = client.GATE.set(gate)
    try:
        yield
    finally:
        client.GATE.reset(token)


async def _gathered(source: Source, place: Place) -> Lines:
    gathering = Gathering(place.region, place.internal_digits, place.forgotten)
    try:
        async with aclosing(_whole(source)) as pages:
            async for page in pages:
                await _to_its_end(gathering.add, page)
        lines = Lines()
        try:
            await _to_its_end(gathering.write, lines)
        except BaseException:
            lines.close()
            raise
        return lines
    finally:
        gathering.close()


async def _whole(source: Source) -> AsyncGenerator[Page]:
    """The pages of a full run, the last of which says that it was one.

    Partial where it has gaps; Denied where the login may not see it all, for that may have been taken from it since
    the last time, and a PBX would drop it.
    """
    missing, spared, complete, withheld = 0, False, False, False
    async with aclosing(cast(AsyncGenerator[Page], source.read(None, _nothing))) as pages:
        async for page in pages:
            missing += len(page.unreadable)
            spared = spared or bool(page.spared)
            complete, withheld = complete or page.complete, withheld or page.withheld
            yield page
    if withheld:
        raise errors.Denied("the login may not see all that is read", "403")
    if missing or spared or not complete:
        raise Partial(missing)


async def _nothing(versions: Versions) -> set[str]:
    """Nothing is held, so all is read."""
    return set()


async def _to_its_end(work: Callable[..., None], *given: object) -> None:
    """Have a thread work; as it cannot be stopped, a caller who is stopped waits for it with what it works on."""
    turn = asyncio.get_running_loop().run_in_executor(_AT_WORK, work, *given)
    try:
        await asyncio.shield(turn)
    except asyncio.CancelledError:
        await asyncio.wait([turn])
        raise


async def _speaks(url: str) -> Literal["sugarcrm", "suitecrm"]:
    """Which API there is: Sugar's own answers a ping, or a login without a name, in JSON, if only as wrong."""
    http = client.Client(url)
    try:
        for method, path, body in (("GET", "ping", b""), ("POST", "oauth2/token", b"{}")):
            answer = await http.request(
                method,
                f"{url}/rest/v11_1/{path}",
                headers={"Content-Type": "application/json"} if body else {},
                body=body,
                accept=_NO_API,
                redirects=False,
                repeat=True,
                limit=1 << 20,
            )
            try:
                told = orjson.loads(answer.body)
            except orjson.JSONDecodeError:
                continue
            if told == "pong" or (isinstance(told, dict) and "error" in told):
                return "sugarcrm"
    finally:
        await http.close()
    return "suitecrm"
