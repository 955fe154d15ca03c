"""The source that is a file."""

import asyncio
import json
import os
from pathlib import Path

import pytest

from bridge import errors, keys, sources
from bridge.contact import RawNumber, Record
from bridge.sources import Page, file

BOOK = "+352 1:Jane\n+352 2:John\njunk\n"


@pytest.fixture(autouse=True, params=["here", "apart"])
def way(request, monkeypatch):
    """Both ways to read: in this process, and in one of its own as large files are."""
    monkeypatch.setattr(file, "_LARGE", -1 if request.param == "apart" else 1 << 40)


async def known(_: sources.Versions) -> set[str]:
    raise AssertionError("a file has no versions to ask for")


def source(path: Path, format: str = "auto") -> sources.Source:
    return file.open("office", keys.File(path=path, format=format))


async def pages(path: Path, since: sources.Cursor | None = None, format: str = "auto") -> list[Page]:
    return [page async for page in source(path, format).read(since, known)]


@pytest.fixture
def book(tmp_path: Path) -> Path:
    path = tmp_path / "book.txt"
    path.write_text(BOOK)
    return path


async def test_a_full_run_gives_everything(book):
    first, last = await pages(book)
    assert [(record.display_name, record.numbers) for record in first.records] == [
        ("Jane", (RawNumber("+352 1"),)),
        ("John", (RawNumber("+352 2"),)),
    ]
    assert first.unreadable == [sources.Unreadable("line 3", "it is not number:name")]
    assert (first.cursor, first.complete) == (None, False)
    assert last == Page(cursor=last.cursor, complete=True)
    assert json.loads(json.dumps(last.cursor)) == last.cursor


async def test_fields_that_nobody_has_are_told(tmp_path):
    path = tmp_path / "book.csv"
    path.write_text("Name,Tel,Language\nAnn,+352 1,fr\nBob,+352 2,\n")
    made = file.open("office", keys.File(path=path, fields={"Lang": "language", "Age": "Age"}))
    first, last = [page async for page in made.read(None, known)]
    assert [record.custom for record in first.records] == [(("Lang", "fr"),), ()]
    assert list(last.notes) == ["no contact has Age: left out"]


async def test_an_unchanged_file_is_not_read(book):
    cursor = (await pages(book))[-1].cursor
    assert await pages(book, json.loads(json.dumps(cursor))) == [Page(cursor=cursor)]


async def test_a_changed_file_is_read_whole(book):
    cursor = (await pages(book))[-1].cursor
    book.write_text("+352 3:Jane\n")
    first, last = await pages(book, cursor)
    assert [record.numbers for record in first.records] == [(RawNumber("+352 3"),)]
    assert last.complete


async def test_a_file_that_was_replaced_by_one_as_old_and_as_long_is_read(book):
    cursor = (await pages(book))[-1].cursor
    before = book.stat()
    other = book.with_name("other")
    other.write_text(BOOK.replace("Jane", "Jean"))
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(book)
    assert (await pages(book, cursor))[0].records[0].display_name == "Jean"


async def test_another_format_for_the_same_file_is_a_change(book):
    cursor = (await pages(book))[-1].cursor
    assert (await pages(book, cursor, "text"))[-1].complete


async def test_pages_are_of_a_thousand_and_the_loop_has_its_turns(tmp_path):
    path = tmp_path / "many.vcf"
    path.write_text("".join(f"BEGIN:VCARD\nUID:{n}\nFN:N{n}\nEND:VCARD\n" for n in range(2500)))
    turns = 0

    async def tick() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    ticking = asyncio.create_task(tick())
    sizes = []
    async for page in source(path).read(None, known):
        sizes.append((len(page.records), turns))
    ticking.cancel()
    assert [size for size, _ in sizes] == [1000, 1000, 500, 0]
    assert len({turn for _, turn in sizes}) == 4


async def test_a_file_that_changes_while_it_is_read_is_unavailable(tmp_path):
    path = tmp_path / "many.vcf"
    path.write_text("".join(f"BEGIN:VCARD\nUID:{n}\nFN:N{n}\nEND:VCARD\n" for n in range(1500)))
    stream = source(path).read(None, known)
    first = await anext(stream)
    path.touch()
    second = await anext(stream)
    assert [(len(page.records), page.cursor) for page in (first, second)] == [(1000, None), (500, None)]
    with pytest.raises(errors.Unavailable, match="changed while"):
        await anext(stream)


async def test_a_file_that_is_cut_never_gives_a_cursor(tmp_path):
    path = tmp_path / "book.vcf"
    path.write_text("BEGIN:VCARD\nFN:Jane\nEND:VCARD\nBEGIN:VCARD\nFN:Jo")
    with pytest.raises(errors.Unavailable, match="inside a card"):
        await pages(path)


async def test_an_empty_file_is_complete_and_empty(tmp_path):
    path = tmp_path / "book.vcf"
    path.touch()
    (last,) = await pages(path)
    assert (last.records, last.complete) == ((), True)
    assert await source(path).check() == "0 contacts in book.vcf (empty)"


@pytest.mark.parametrize(
    ("name", "reason"), [("absent.vcf", "no such file"), (".", "is a directory"), ("book.txt/x", "not a directory")]
)
async def test_what_is_no_file_says_so(book, name, reason):
    path = book.parent / name
    for what in (pages(path), source(path).check()):
        with pytest.raises(errors.Unavailable, match=reason) as caught:
            await what
        assert str(path) in str(caught.value)


async def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(errors.Unavailable, match="no file"):
        await pages(tmp_path / "pipe")


async def test_check_says_what_is_there(book, tmp_path):
    assert await source(book).check() == "2 contacts in book.txt (text), 1 could not be read"
    many = tmp_path / "many"
    many.write_text("".join(f"BEGIN:VCARD\nUID:{n}\nFN:N{n}\nEND:VCARD\n" for n in range(1234)))
    assert await source(many).check() == "1,234 contacts in many (vcard)"
    assert await source(many, "vcard").check() == "1,234 contacts in many (vcard)"


async def test_the_type_is_found_by_its_name(book):
    loaded = sources.load("file", "office", keys.File(path=book))
    assert [page.complete async for page in loaded.read(None, known)] == [False, True]
    await loaded.close()


async def test_records_are_records(book):
    assert all(isinstance(record, Record) for page in await pages(book) for record in page.records)
