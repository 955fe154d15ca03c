"""`bridge` as its users start it: another process, in a directory with a bridge.toml."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
_WITHIN = 30.0


@dataclass(frozen=True)
class Ran:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def environment(**more: str) -> dict[str, str]:
    """Ours without what would change how commands behave, and with bridge to be found in it."""
    # Compiled modules are kept, whatever the shell says: a command then starts in half the time. And standard error has
    # a buffer, as where bridge is installed, and that a lock.
    unwanted = (
        "PYTHONDONTWRITEBYTECODE",
        "PYTHONUNBUFFERED",
        "NO_COLOR",
        "FORCE_COLOR",
        "STATE_DIRECTORY",
        "NOTIFY_SOCKET",
    )
    kept = {name: text for name, text in os.environ.items() if name not in unwanted and not name.startswith("BRIDGE_")}
    return {**kept, "PYTHONPATH": str(ROOT), **more}


async def bridge(home: Path, *words: str, within: float = _WITHIN, **more: str) -> Ran:
    """Run a command to its end."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bridge", *words),
        cwd=home,
        env=environment(**more),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), within)
    except TimeoutError:
        process.kill()
        out, err = await process.communicate()
        raise AssertionError(f"bridge {' '.join(words)} did not end: {out.decode()}{err.decode()}") from None
    assert process.returncode is not None
    return Ran(process.returncode, out.decode(), err.decode())


def card(id: str, name: str, *numbers: str) -> str:
    """A vCard."""
    first, _, last = name.partition(" ")
    lines = ["BEGIN:VCARD", "VERSION:3.0", f"UID:{id}", f"FN:{name}", f"N:{last};{first}"]
    return "\n".join([*lines, *(f"TEL;TYPE=CELL:{number}" for number in numbers), "END:VCARD", ""])


def crowd(count: int, start: int = 0) -> str:
    """Cards of so many people."""
    return "".join(card(f"p{n}", f"Person N{n}", f"+352 621 {100_000 + n}") for n in range(start, start + count))


@contextlib.contextmanager
def full_pipe() -> Iterator[int]:
    """What takes nothing that is written to it, as the journal does where it hangs: the end to write to."""
    read, write = os.pipe()
    try:
        os.set_blocking(write, False)
        for size in (65536, 1):
            with contextlib.suppress(BlockingIOError):
                while True:
                    os.write(write, b"x" * size)
        os.set_blocking(write, True)
        yield write
    finally:
        os.close(read)
        os.close(write)


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])
