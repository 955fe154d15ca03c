"""A reading in a process of its own (`python -m bridge.pbxsync.apart`): what a foreign server says, however much it is,
is taken apart where no telephone waits for it.

The order comes on standard input, which stays open for as long as anybody wants the answer: one line of what came of
it, and the lines. Of a fault no word comes back that the foreign server, or the address that was asked, may have put
into it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
import traceback
from pathlib import Path
from typing import Literal

import msgspec

from bridge import client, errors, log, pbxsync, priority, reach
from bridge.pbxsync import wanted as urls
from bridge.pbxsync.lines import Lines
from bridge.pbxsync.wanted import Wanted

_PARTING = 5.0
"""Seconds that a process which is told to end has for its logout."""
_LENGTH = 4
_PIECE = 1 << 16

Kind = Literal["lines", "forbidden", "denied", "late", "partial", "malformed", "server", "broken"]


class Broken(Exception):
    """A fault of bridge itself; `str()` says where, and no more."""


class Order(msgspec.Struct, frozen=True):
    """What to read, for whom, and which servers may be reached."""

    wanted: Wanted
    place: pbxsync.Place
    allow: tuple[tuple[str, int | None], ...]

    def __repr__(self) -> str:
        return "Order(***)"


class Came(msgspec.Struct, frozen=True, omit_defaults=True):
    """What came of it: `size` bytes of lines, or a fault by its kind, with what may be said of it."""

    kind: Kind
    size: int = 0
    text: str = ""
    after: float | None = None
    missing: int = 0


async def read(order: Order) -> Lines:
    """The lines of all contacts there are, to be closed by the caller.

    Raises Forbidden, Denied, TimeoutError, Partial, Malformed, Unavailable, and Broken.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", __name__),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        limit=_PIECE,
    )
    try:
        return await _read(process, msgspec.json.encode(order))
    finally:
        await _end(process)


async def _read(process: asyncio.subprocess.Process, order: bytes) -> Lines:
    assert process.stdin
    assert process.stdout
    try:
        process.stdin.write(len(order).to_bytes(_LENGTH, "big") + order)
        await process.stdin.drain()
        came = msgspec.json.decode(await process.stdout.readline(), type=Came)
    except (ConnectionError, msgspec.DecodeError):
        raise Broken(f"the process that reads ended with {await process.wait()}") from None
    if came.kind != "lines":
        raise _fault(came)
    lines = Lines()
    try:
        while piece := await process.stdout.read(_PIECE):
            lines.add(piece)
        if lines.size != came.size:
            raise Broken("the process that reads ended half-way")
    except BaseException:
        lines.close()
        raise
    return lines


async def _end(process: asyncio.subprocess.Process) -> None:
    """Have it log out and go, if it has not; at last it goes in any case."""
    assert process.stdin
    process.stdin.close()
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(_PARTING):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _fault(came: Came) -> Exception:
    match came.kind:
        case "forbidden":
            return reach.Forbidden("not allowed")
        case "denied":
            return errors.Denied("the server does not take this login", code=came.text)
        case "late":
            return TimeoutError()
        case "partial":
            return pbxsync.Partial(came.missing)
        case "malformed":
            return urls.Malformed(came.text)
        case "server":
            return errors.Unavailable("the server failed", after=came.after)
    return Broken(came.text)


def _told(fault: Exception) -> Came:
    match fault:
        case urls.Malformed():
            return Came("malformed", text=str(fault))
        case reach.Forbidden():
            return Came("forbidden")
        case errors.Denied():
            return Came("denied", text=fault.code)
        case TimeoutError() | client.Late():
            return Came("late")
        case pbxsync.Partial():
            return Came("partial", missing=fault.missing)
        case errors.BridgeError():
            return Came("server", after=fault.after if isinstance(fault, errors.Unavailable) else None)
    last = traceback.extract_tb(fault.__traceback__)[-1]
    return Came("broken", text=f"{type(fault).__name__} at {Path(last.filename).name}:{last.lineno}")


async def here(order: Order) -> Lines:
    """The same in this process; raises what the reading does."""
    gate = reach.Reach(order.allow)
    try:
        lines = await pbxsync.read(order.wanted, order.place, gate)
    except errors.BridgeError:
        if gate.refused:
            raise reach.Forbidden("not allowed") from None
        raise
    if gate.refused:
        # The source went on without the host that it was refused, so without what is there.
        lines.close()
        raise reach.Forbidden("not allowed")
    return lines


async def _work() -> None:
    """One order, from standard input to standard output, unless nobody wants it any more."""
    loop = asyncio.get_running_loop()
    orders = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    size = int.from_bytes(await orders.readexactly(_LENGTH), "big")
    order = msgspec.json.decode(await orders.readexactly(size), type=Order)
    task = asyncio.create_task(here(order))
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    unwanted = asyncio.create_task(orders.read())
    unwanted.add_done_callback(lambda _: task.cancel())
    try:
        lines = await task
    except Exception as fault:
        _say(_told(fault))
        return
    _say(Came("lines", size=lines.size))
    at = 0
    while piece := lines.piece(at):
        sys.stdout.buffer.write(piece)
        at += len(piece)
    sys.stdout.buffer.flush()
    lines.close()


def _say(came: Came) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(came) + b"\n")
    sys.stdout.buffer.flush()


def main() -> int:
    """As `read` starts it."""
    priority.give_way()
    log.setup("json", level=logging.CRITICAL)
    with contextlib.suppress(asyncio.CancelledError, BrokenPipeError):
        asyncio.run(_work())
    return 0


if __name__ == "__main__":
    sys.exit(main())
