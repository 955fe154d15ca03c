"""`bridge export`: one phone book, to a file or to standard output."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from bridge import errors, phonebooks
from bridge.cli import options, session
from bridge.config import Config, Tenant
from bridge.formats import Format


def export(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The phone book: a table [phonebook.NAME].")],
    format: Annotated[Format, typer.Option("--format", help="How it is written.")],
    file: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Into this file, which is replaced once all is written."),
    ] = None,
    tenant: options.TenantName = options.MAIN,
    config: options.ConfigFile = None,
) -> None:
    """Write one phone book.

    Exit code 1: it could not be written whole.
    """
    told = session.load(config)
    place = options.tenant(told, tenant)
    book = options.one_of(name, place.phonebooks, "phone book")
    try:
        with _replaced(file) if file else contextlib.nullcontext(sys.stdout.buffer) as out:
            session.run(_write(told, place, book, format, out))
            out.flush()
    except BrokenPipeError:
        raise
    except OSError as fault:
        raise errors.Unavailable(f"{file or 'standard output'} cannot be written: {fault.strerror or fault}") from fault


async def _write(told: Config, tenant: Tenant, book: str, format: Format, out: BinaryIO) -> None:
    async with (
        session.opened(told) as db,
        contextlib.aclosing(phonebooks.write(db, tenant, book, format)) as pieces,
    ):
        async for piece in pieces:
            out.write(piece)


@contextlib.contextmanager
def _replaced(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which takes the path's place at the end of the block, whole or not at all."""
    path = path.resolve()
    with contextlib.suppress(FileNotFoundError):
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            # A device or a pipe: it is written to, and nothing takes its place.
            with path.open("wb") as out:
                yield out
            return
    made = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with made.open("xb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        with contextlib.suppress(FileNotFoundError):
            made.chmod(stat.S_IMODE(path.stat().st_mode))
        made.replace(path)
    finally:
        made.unlink(missing_ok=True)
