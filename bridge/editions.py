"""A phone book as finished files: the bytes of one format, plain and gzipped, each with a tag of its content.

A large book is made in a process of its own (`python -m bridge.editions`, a recipe on its standard input), so that
neither its memory nor its work is that of the process which answers the telephones.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import os
import secrets
import signal
import sys
import time
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeVar

import msgspec

import bridge
from bridge import errors, log, numbers, phonebooks, priority
from bridge.formats import Format
from bridge.phonebooks import Moment, Recipe
from bridge.store import Store

MAKING = "making-"
"""How the names of unfinished files begin."""
_PACKED, _PLAIN = ".book.gz", ".book"
_LEVEL = 4
"""Of gzip: a tenth larger than at its best, in a third of the time."""
_ABANDONED = 600.0
"""Seconds after which nobody writes an unfinished file any more."""


_PARTING = 2.0
"""Seconds that a process which makes a book has to take its unfinished files with it."""
T = TypeVar("T")


class Copy(msgspec.Struct, frozen=True):
    """A finished file. `tag` stands for its content: other bytes have another."""

    name: str
    tag: str
    size: int


class Edition(msgspec.Struct, frozen=True):
    """A finished book, of the moment that `mark` stands for."""

    mark: str
    plain: Copy
    packed: Copy


class Order(msgspec.Struct, frozen=True):
    """What to make, and into which folder; `key`: how the names of its files begin."""

    book: Recipe
    format: Format
    folder: str
    key: str


def order(book: Recipe, format: Format, folder: Path) -> Order:
    """The order of a book, with another key for another book, and for other rules of writing it."""
    rules = f"{bridge.__version__} {numbers.RULES} {format} ".encode()
    key = hashlib.blake2b(rules + msgspec.json.encode(book), digest_size=12).hexdigest()
    return Order(book, format, str(folder), key)


async def make(db: Store, order: Order) -> Edition:
    """The book as it is now; raises Unavailable, and leaves nothing behind, where it cannot be made whole."""
    try:
        with _Files(Path(order.folder)) as files:
            await _in_thread(files.open)
            made = phonebooks.pieces(db, order.book, order.format, files.note)
            async with contextlib.aclosing(made):
                async for piece in made:
                    await _in_thread(partial(files.add, piece))
            return await _in_thread(partial(files.finish, order.key))
    except OSError as fault:
        raise errors.Unavailable(f"no phone book can be kept in {order.folder}: {fault.strerror or fault}") from fault


async def _in_thread(work: Callable[[], T]) -> T:
    """What a thread makes of it. Who is cancelled waits for its end: it must not go on with files that are deleted."""
    working = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.wait({working})
        raise


class _Files:
    """Two files under way. They get their names once both are whole, and are gone where anything fails."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._mark = ""
        stem = f"{MAKING}{os.getpid()}-{secrets.token_hex(4)}"
        self._plain = _File(folder / f"{stem}{_PLAIN}")
        self._packed = _File(folder / f"{stem}{_PACKED}")
        self._gzip = zlib.compressobj(_LEVEL, zlib.DEFLATED, 31)

    def __enter__(self) -> _Files:
        return self

    def __exit__(self, failed: type[BaseException] | None, *_: object) -> None:
        if failed:
            self._plain.discard()
            self._packed.discard()

    def open(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._plain.open()
        self._packed.open()

    def note(self, moment: Moment) -> None:
        self._mark = moment.mark

    def add(self, piece: bytes) -> None:
        self._plain.add(piece)
        self._packed.add(self._gzip.compress(piece))

    def finish(self, key: str) -> Edition:
        self._packed.add(self._gzip.flush())
        named = [file.finish(self._folder, f"{key}-{self._mark}") for file in (self._plain, self._packed)]
        return Edition(self._mark, *named)


class _File:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._out: BinaryIO = io.BytesIO()  # until it is opened
        self._hash = hashlib.blake2b(digest_size=16)
        self._size = 0

    def open(self) -> None:
        self._out = os.fdopen(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")

    def add(self, piece: bytes) -> None:
        self._hash.update(piece)
        self._size += len(piece)
        self._out.write(piece)

    def finish(self, folder: Path, stem: str) -> Copy:
        """Give it its name. It reaches the disk first: after a power cut a name stands for all of its content."""
        self._out.flush()
        os.fsync(self._out.fileno())
        self._out.close()
        tag = self._hash.hexdigest()
        ending = self._path.name[self._path.name.index(".") :]
        self._path = self._path.replace(folder / f"{stem}-{tag}{ending}")
        return Copy(self._path.name, tag, self._size)

    def discard(self) -> None:
        # Closing writes what is held, for which there may be no room.
        with contextlib.suppress(OSError):
            self._out.close()
        self._path.unlink(missing_ok=True)


def found(folder: Path) -> dict[str, Edition]:
    """Finished editions of earlier processes, by the keys of their orders; what else they left is deleted."""
    abandon(folder)
    copies: dict[tuple[str, str], dict[str, Copy]] = {}
    for file in sorted(folder.glob("*.book*")):
        stem, dot, ending = file.name.partition(".")
        parts = stem.split("-")
        if file.name.startswith(MAKING) or len(parts) != 3:
            continue
        with contextlib.suppress(FileNotFoundError):
            copy = Copy(file.name, parts[2], file.stat().st_size)
            copies.setdefault((parts[0], parts[1]), {})[dot + ending] = copy
    whole = {key: Edition(mark, two[_PLAIN], two[_PACKED]) for (key, mark), two in copies.items() if len(two) == 2}
    kept = {copy.name for edition in whole.values() for copy in (edition.plain, edition.packed)}
    for two in copies.values():
        for copy in two.values():
            if copy.name not in kept:
                (folder / copy.name).unlink(missing_ok=True)
    return whole


def abandon(folder: Path, after: float = _ABANDONED) -> None:
    """Delete unfinished files that nobody has written to for so many seconds."""
    for file in folder.glob(f"{MAKING}*"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - file.stat().st_mtime >= after:
                file.unlink()


async def make_apart(dsn: str, order: Order) -> Edition:
    """The same as `make`, in a process of its own, which ends with the caller."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bridge.editions",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "BRIDGE_DSN": dsn},
    )
    try:
        said, _ = await process.communicate(msgspec.json.encode(order))
    except asyncio.CancelledError:
        process.terminate()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PARTING):
                await process.wait()
        if process.returncode is None:
            process.kill()
            await process.wait()
        raise
    if process.returncode:
        raise errors.Unavailable(said.decode().strip() or f"the making of a phone book ended with {process.returncode}")
    return msgspec.json.decode(said, type=Edition)


def main() -> int:
    """One order, from standard input; the edition, or the reason why there is none, goes to standard output."""
    log.setup(aside=True)
    priority.give_way()
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    try:
        made = asyncio.run(_make(order))
    except errors.Unavailable as fault:
        print(fault, end="")
        return 1
    sys.stdout.buffer.write(msgspec.json.encode(made))
    return 0


async def _make(order: Order) -> Edition:
    task = asyncio.current_task()
    assert task
    # Told to end, it takes its unfinished files with it.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    db = Store(os.environ["BRIDGE_DSN"], name="bridge phone book", tenant="", yielding="BRIDGE_EMBEDDED" in os.environ)
    return await make(db, order)


if __name__ == "__main__":
    sys.exit(main())
