"""A file read in a process of its own: what becomes of it where that process, or who reads from it, goes away."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from bridge import errors, formats
from bridge.formats import apart

CARD = "BEGIN:VCARD\nVERSION:3.0\nFN:Ann {n}\nTEL:+352621{n:06}\nEND:VCARD\n"


def children() -> set[int]:
    """The processes that this one has begun and not yet waited for."""
    return {int(one) for one in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}


@pytest.fixture
def file(tmp_path: Path) -> Iterator[io.FileIO]:
    """More cards than lie ready in pipes."""
    path = tmp_path / "book.vcf"
    path.write_text("".join(CARD.format(n=n) for n in range(30_000)))
    with io.FileIO(path) as opened:
        yield opened


def pieces(path: Path) -> Iterator[bytes]:
    yield path.read_bytes()


async def every(parts: AsyncIterator[apart.Part]) -> apart.Part:
    """All parts as one."""
    whole = apart.Part([], [])
    async for part in parts:
        whole.records.extend(part.records)
        whole.unreadable.extend(part.unreadable)
    return whole


BOOKS = {
    "json": '[{"Id": "1", "FirstName": "Zoë", "LastName": "Doe", "WorkNumber": ["+442079460001"]}, {"Id": 7}, 4]',
    "xml": "<contacts><contact><Id>1</Id><FirstName>Zoë</FirstName><WorkNumber>+4420</WorkNumber></contact></contacts>",
    "text": "+352 1:Zoë\nnonsense\n",
    "csv": "First;Last;Mobile\nZoë;Doe;+352621000001\n",
    "vcard": CARD.format(n=1) + "BEGIN:VCARD\nVERSION:3.0\nREV:2024-01-01T10:00:00Z\nFN:Zoë\nEND:VCARD\n",
}


@pytest.mark.parametrize("format", BOOKS)
async def test_it_reads_what_this_process_reads(tmp_path: Path, format: str) -> None:
    path = tmp_path / "-book"
    path.write_text(BOOKS[format], encoding="utf-8")
    try:
        expected = apart.part(list(formats.read(pieces(path), format, path.name)))
    except errors.Unavailable as fault:
        pytest.fail(str(fault))
    with io.FileIO(path) as opened:
        assert await every(apart.read(opened, format, path.name, 1)) == expected
    assert expected.records


async def test_one_that_is_killed_has_not_read_a_short_file(file: io.FileIO) -> None:
    before = children()
    parts = apart.read(file, "vcard", "book.vcf", 100)
    read = len((await anext(parts)).records)
    (child,) = children() - before
    os.kill(child, signal.SIGKILL)
    with pytest.raises(RuntimeError, match=r"^the process that reads book\.vcf ended with -9$"):
        read += len((await every(parts)).records)
    assert 0 < read < 30_000
    assert children() == before


async def test_it_ends_with_who_reads_from_it(file: io.FileIO) -> None:
    before = children()
    async with contextlib.aclosing(apart.read(file, "vcard", "book.vcf", 100)) as parts:
        assert len((await anext(parts)).records) == 100
    assert children() == before


async def test_it_ends_by_itself_where_nobody_reads_any_more(file: io.FileIO) -> None:
    out, into = os.pipe()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bridge.formats.apart", "vcard", "book.vcf", "100", "{}"),
        stdin=file,
        stdout=into,
        stderr=asyncio.subprocess.PIPE,
    )
    os.close(into)
    assert await asyncio.to_thread(os.read, out, 1)
    os.close(out)
    async with asyncio.timeout(20):
        _, said = await process.communicate()
    assert (process.returncode, said) == (0, b"")


async def test_a_fault_of_its_own_says_where_and_nothing_of_anybody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "from bridge.formats.vcard import card\ndef record(*_): raise KeyError('Ann')\ncard.record = record\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(apart.__file__).parents[2]}")
    path = tmp_path / "book.vcf"
    path.write_text(CARD.format(n=1))
    with io.FileIO(path) as opened, pytest.raises(RuntimeError) as told:
        await every(apart.read(opened, "vcard", "book.vcf", 100))
    assert str(told.value) == "the process that reads book.vcf failed: KeyError at sitecustomize.py:2"
