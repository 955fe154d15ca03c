"""A large file of contacts read in a process of its own (`python -m bridge.formats.apart`), ahead of who stores them.

The file is its standard input. Its standard output is parts, each behind its length; the last one says how it ended, so
that a process which was killed has not read a short file.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import sys
import traceback
from collections.abc import AsyncGenerator, Iterator
from itertools import islice
from pathlib import Path

import msgspec

from bridge import errors, formats
from bridge.contact import Record
from bridge.formats import NO_FIELDS, Fields, Unreadable

_LENGTH = 4
_PIECE = 1 << 18
_AHEAD = 1 << 19
"""Bytes that lie ready, twice as many at most, while the part before them is made use of."""


class Part(msgspec.Struct, frozen=True, array_like=True):
    """Some contacts. The last part has none: it says why what came before cannot be trusted, "" where it can."""

    records: list[Record] = []
    unreadable: list[Unreadable] = []
    last: bool = False
    fault: str = ""
    crash: str = ""


async def read(
    file: io.FileIO, format: str, name: str, size: int, fields: Fields = NO_FIELDS
) -> AsyncGenerator[Part, None]:
    """What `formats.read` makes of the file, in parts of `size`; raises what it does.

    Raises RuntimeError where the process ended otherwise: bridge's own fault, or somebody killed it.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", __name__, format, name, str(size), msgspec.json.encode(fields).decode()),
        stdin=file,
        stdout=asyncio.subprocess.PIPE,
        limit=_AHEAD,
    )
    assert process.stdout
    try:
        while True:
            length = int.from_bytes(await process.stdout.readexactly(_LENGTH), "big")
            part = _DECODER.decode(await process.stdout.readexactly(length))
            if not part.last:
                yield part
            elif part.crash:
                raise RuntimeError(f"the process that reads {name} failed: {part.crash}")
            elif part.fault:
                raise errors.Unavailable(part.fault)
            else:
                return
    except asyncio.IncompleteReadError:
        raise RuntimeError(f"the process that reads {name} ended with {await process.wait()}") from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


_DECODER = msgspec.msgpack.Decoder(Part)


def _parts(file: io.FileIO, format: str, name: str, size: int, fields: Fields) -> Iterator[Part]:
    """As `read` yields them, and the last one."""
    try:
        items = formats.read(iter(lambda: file.read(_PIECE), b""), format, name, fields)
        while some := list(islice(items, size)):
            yield part(some)
        yield Part(last=True)
    except errors.Unavailable as fault:
        yield Part(last=True, fault=str(fault))
    except OSError as fault:
        yield Part(last=True, fault=f"{name} cannot be read: {(fault.strerror or 'input/output error').lower()}")
    except Exception as fault:
        # Where it was, and no more: its words may be a contact's.
        last = traceback.extract_tb(fault.__traceback__)[-1]
        yield Part(last=True, crash=f"{type(fault).__name__} at {Path(last.filename).name}:{last.lineno}")


def part(items: list[Record | Unreadable]) -> Part:
    """Items as a part."""
    return Part(
        [item for item in items if isinstance(item, Record)],
        [item for item in items if isinstance(item, Unreadable)],
    )


def main() -> int:
    """As `read` starts it."""
    format, name, size, fields = sys.argv[1:]
    encoder = msgspec.msgpack.Encoder()
    with io.FileIO(0) as file, io.FileIO(1, "w") as out, contextlib.suppress(BrokenPipeError):
        for one in _parts(file, format, name, int(size), msgspec.json.decode(fields, type=dict[str, str])):
            data = encoder.encode(one)
            _write(out, len(data).to_bytes(_LENGTH, "big") + data)
    return 0


def _write(out: io.FileIO, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(out.fileno(), left) :]


if __name__ == "__main__":
    sys.exit(main())
