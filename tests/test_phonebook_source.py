"""The source that is a phone book at a URL, against the stand-in."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from mirrored import Mirror
from phonebook_server import PhoneBookServer, as_json, as_text, as_xml, entry

from bridge import errors, keys, sources
from bridge.contact import RawNumber
from bridge.sources import Page, Source, Unreadable, phonebook

ANN = entry("1", "Ann Lee", "+352 1")
BOB = entry("2", "Bob Ray", "+352 2", "+352 3")
PASSWORD = 'p%61"w\\d&ä +{}'


@asynccontextmanager
async def opened(url: str, **more: object) -> AsyncIterator[Source]:
    """A source of these keys, closed again."""
    source = phonebook.open("book", keys.PhoneBook.model_validate({"url": url, "timeout": "5s", **more}))
    try:
        yield source
    finally:
        await source.close()


async def nothing_known(_: sources.Versions) -> set[str]:
    return set()


async def pages(source: Source, since: sources.Cursor | None = None, known: Any = nothing_known) -> list[Page]:
    return [page async for page in source.read(since, known)]


def stored(cursor: sources.Cursor | None) -> sources.Cursor:
    """The cursor as the database gives it back."""
    assert cursor is not None
    held: sources.Cursor = json.loads(json.dumps(cursor))
    return held


@pytest.mark.parametrize("spell", [as_json, as_xml])
async def test_a_full_run_gives_everything(spell: Any) -> None:
    server = PhoneBookServer(spell([ANN, BOB]))
    async with server.serve() as url, opened(url) as source:
        first, last = await pages(source)
    assert [(one.id, one.first_name, one.last_name, one.numbers, one.version) for one in first.records] == [
        ("1", "Ann", "Lee", (RawNumber("+352 1", "work"),), ANN["Checksum"]),
        ("2", "Bob", "Ray", (RawNumber("+352 2", "work"), RawNumber("+352 3", "work")), BOB["Checksum"]),
    ]
    assert (last.records, last.complete) == ((), True)


async def test_fields_are_keys_of_its_contacts() -> None:
    server = PhoneBookServer(as_json([ANN | {"Language": "fr"}, BOB]))
    async with server.serve() as url, opened(url, fields={"Lang": "Language", "Age": "Age"}) as source:
        first, last = await pages(source)
    assert [record.custom for record in first.records] == [(("Lang", "fr"),), ()]
    assert list(last.notes) == ["no contact has Age: left out"]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"+352 1:Ann Lee:customer\njunk\n", "text/plain"),
        (b'"Header.Name","#.Work"\n"Ann Lee","+352 1"\n"no columns"\n', "text/csv"),
        (
            b"BEGIN:VCARD\r\nFN:Ann Lee\r\nTEL:+352 1\r\nEND:VCARD\r\nBEGIN:VCARD\r\nUID:x\r\nEND:VCARD\r\n",
            "text/vcard",
        ),
        (
            b'\xef\xbb\xbf[{"Id":1,"FirstName":"Ann","LastName":"Lee","Other":["+352 1"]},{"FirstName":"x"}]',
            "text/html",
        ),
    ],
)
async def test_every_format_is_told_by_what_is_in_it_and_a_bad_entry_loses_itself(body: bytes, kind: str) -> None:
    server = PhoneBookServer(body, kind)
    async with server.serve() as url, opened(url) as source:
        first, last = await pages(source)
    [ann] = first.records
    assert (ann.display_name or f"{ann.first_name} {ann.last_name}", ann.numbers[0].text) == ("Ann Lee", "+352 1")
    assert (len(first.unreadable), last.complete) == (1, True)


async def test_a_login_is_shown_by_basic() -> None:
    server = PhoneBookServer(as_json([ANN]))
    server.basic = f"phönes:{PASSWORD}"
    async with server.serve() as url:
        async with opened(url, username="phönes", password=PASSWORD) as source:
            assert (await pages(source))[-1].complete
        async with opened(url, username="phönes", password="wrong") as source:
            with pytest.raises(errors.Denied, match=r"127.0.0.1 refuses the credentials \(401\)"):
                await pages(source)


@pytest.mark.parametrize(
    ("template", "kind", "login"),
    [
        (
            '{"username" : "%user%","password" : "%pwd%"}',
            "application/json",
            {"username": "%pwd%", "password": PASSWORD},
        ),
        (
            "username=%user%&password=%pwd%",
            "application/x-www-form-urlencoded",
            [("username", "%pwd%"), ("password", PASSWORD)],
        ),
        ("<login>%user%|%pwd%</login>", "text/plain", f"<login>%pwd%|{PASSWORD}</login>"),
    ],
)
async def test_a_login_is_filled_into_the_body_of_a_post(template: str, kind: str, login: Any) -> None:
    server = PhoneBookServer(as_json([ANN]))
    server.login = (kind, login)
    async with server.serve() as url:
        async with opened(url, post=template, username="%pwd%", password=PASSWORD) as source:
            assert (await pages(source))[-1].complete
            assert await source.check() == "1 contact (json) as %pwd%, changes by Checksum"
        async with opened(url, post=template, username="%pwd%", password="wrong") as source:
            with pytest.raises(errors.Denied):
                await source.check()


async def test_a_body_with_a_login_is_not_sent_after_a_redirect() -> None:
    server = PhoneBookServer(as_json([ANN]))
    server.login = ("application/json", {"key": "k"})
    server.fault = "redirect"
    async with server.serve() as url, opened(url, post='{"key": "k"}') as source:
        with pytest.raises(errors.Unavailable, match="redirect"):
            await pages(source)
    assert server.methods == ["POST"]


@pytest.mark.parametrize("marks", [{"etag": '"7"'}, {"modified": "Sun, 01 Nov 2026 10:00:00 GMT"}])
async def test_a_book_that_the_server_says_is_unchanged_is_not_sent(marks: dict[str, str]) -> None:
    server = PhoneBookServer(as_json([ANN]))
    vars(server).update(marks)
    async with server.serve() as url, opened(url) as source:
        cursor = (await pages(source))[-1].cursor
        assert await pages(source, stored(cursor)) == [Page(cursor=cursor)]
        server.body = as_json([BOB])
        vars(server).update(dict.fromkeys(marks, "Sun, 01 Nov 2026 10:00:07 GMT"))
        assert [one.id for one in (await pages(source, stored(cursor)))[0].records] == ["2"]


async def test_a_full_run_asks_for_everything_whatever_was_held() -> None:
    server = PhoneBookServer(as_json([ANN]))
    server.etag = '"always the same"'
    async with server.serve() as url, opened(url) as source:
        await pages(source)
        server.body = as_json([BOB])
        assert [one.id for one in (await pages(source))[0].records] == ["2"]


async def test_a_time_of_this_very_second_tells_nothing() -> None:
    server = PhoneBookServer(as_json([ANN]))
    server.date = server.modified = "Sun, 01 Nov 2026 10:00:00 GMT"
    async with server.serve() as url, opened(url) as source:
        cursor = (await pages(source))[-1].cursor
        server.body = as_json([BOB])
        assert [one.id for one in (await pages(source, stored(cursor)))[0].records] == ["2"]


@pytest.mark.parametrize("post", ["", '{"key": 1}'])
async def test_the_same_bytes_again_are_unchanged(post: str) -> None:
    server = PhoneBookServer(as_json([ANN]))
    server.login = ("application/json", {"key": 1}) if post else None
    server.etag = '"a POST has no use for it"' if post else ""
    async with server.serve() as url, opened(url, post=post) as source:
        cursor = (await pages(source))[-1].cursor
        assert await pages(source, stored(cursor)) == [Page(cursor=cursor)]


async def test_other_keys_read_in_full() -> None:
    server = PhoneBookServer(as_json([ANN]))
    server.etag = '"7"'
    async with server.serve() as url:
        async with opened(url) as source:
            cursor = stored((await pages(source))[-1].cursor)
        async with opened(f"{url}?all=1") as source:
            assert (await pages(source, cursor))[-1].complete


async def test_a_contact_with_the_checksum_that_is_held_is_passed_over_until_the_full_run_is_due() -> None:
    changed = {**BOB, "FirstName": "Bib"}
    server = PhoneBookServer(as_json([ANN, BOB]))
    async with server.serve() as url, opened(url) as source:
        mirror = await Mirror().run(source)
        server.body = as_json([changed, entry("3", "Cy Poe", "12"), ANN])
        await mirror.run(source)
        assert (mirror.read, mirror.complete) == (1, True)
        assert [mirror.records[id].first_name for id in ("1", "2", "3")] == ["Ann", "Bob", "Cy"]
        server.body = as_json([changed, entry("3", "Cy Poe", "12")])
        await mirror.run(source, full=True)
        assert (mirror.read, sorted(mirror.records), mirror.records["2"].first_name) == (2, ["2", "3"], "Bib")


async def test_checksums_are_doubted_once_in_the_time_of_a_full_run_though_no_full_run_comes() -> None:
    server = PhoneBookServer(as_json([ANN, BOB]))
    async with server.serve() as url, opened(url, full="1s") as source:
        mirror = await Mirror().run(source)
        assert mirror.cursor is not None
        mirror.cursor = {**mirror.cursor, "doubted": mirror.cursor["doubted"] - 2}
        server.body = as_json([{**ANN, "FirstName": "Anne"}, BOB])
        await mirror.run(source)
        assert (mirror.read, mirror.records["1"].first_name) == (2, "Anne")


async def test_the_later_of_two_with_one_id_counts_in_every_run() -> None:
    twice = [ANN, BOB, entry("1", "Ann Low", "+352 9")]
    server = PhoneBookServer(as_json(twice))
    async with server.serve() as url, opened(url) as source:
        mirror = await Mirror().run(source)
        for n in range(3):
            server.body = as_json([*twice, entry("3", f"Cy {n}")])
            await mirror.run(source)
            assert mirror.records["1"].last_name == "Low"


LOST = ["empty", "html", "truncated", "cut", "status_500", "status_429", "status_204", "status_206", "status_404"]


@pytest.mark.parametrize("spell", [as_json, as_xml])
@pytest.mark.parametrize("fault", LOST)
async def test_an_answer_that_may_be_a_fault_fails_the_run(fault: str, spell: Any) -> None:
    server = PhoneBookServer(spell([ANN, BOB]))
    async with server.serve() as url, opened(url) as source:
        cursor = (await pages(source))[-1].cursor
        server.fault = fault
        for since in (None, stored(cursor)):
            with pytest.raises(errors.Unavailable, match=r"127\.0\.0\.1"):
                await pages(source, since)
        with pytest.raises(errors.Unavailable):
            await source.check()


@pytest.mark.parametrize(
    "body",
    [
        b"null",
        b"{}",
        b'{"error": {"id": "42", "text": "no database"}}',
        b'{"id": "42", "message": "log in first"}',
        b'[{"Error": "log in first"}]',
        b"503: Service unavailable\n",
        b"Error, no database\nline 3,5\n",
        b"<Contacts><Contact><Error>no</Error></Contact></Contacts>",
        b"<error>no</error>",
        b"Fatal error: out of memory",
    ],
)
async def test_an_error_in_the_place_of_the_book_fails_the_run(body: bytes) -> None:
    server = PhoneBookServer(as_json([ANN, BOB]))
    async with server.serve() as url, opened(url) as source:
        cursor = (await pages(source))[-1].cursor
        server.body = body
        for since in (None, stored(cursor)):
            with pytest.raises(errors.Unavailable):
                await pages(source, since)


async def test_another_format_than_before_is_named_with_the_way_out() -> None:
    server = PhoneBookServer(as_json([ANN]))
    async with server.serve() as url:
        async with opened(url) as source:
            cursor = stored((await pages(source))[-1].cursor)
        server.body = as_text([ANN])
        async with opened(url) as source:
            with pytest.raises(errors.Unavailable, match=r'with text, where it was json.* right is format = "text"'):
                await pages(source, cursor)
        async with opened(url, format="text") as source:
            assert (await pages(source, cursor))[-1].complete


@pytest.mark.parametrize("body", [b"[]", b'{"contacts": []}', b"<Contacts/>"])
async def test_a_book_that_says_that_it_is_empty_is_empty(body: bytes) -> None:
    server = PhoneBookServer(body)
    async with server.serve() as url, opened(url) as source:
        [last] = await pages(source)
        assert (last.records, last.complete) == ((), True)


async def test_nothing_is_an_empty_book_where_the_format_has_no_other_word_for_it() -> None:
    server = PhoneBookServer(as_text([ANN]), "text/plain")
    async with server.serve() as url, opened(url) as source:
        cursor = (await pages(source))[-1].cursor
        server.body = b""
        for _ in range(2):
            [last] = await pages(source, stored(cursor))
            assert (last.records, last.complete) == ((), True)
            cursor, server.body = last.cursor, b"\n"
    async with server.serve() as url, opened(url) as source:
        with pytest.raises(errors.Unavailable, match="with nothing, which is no phone book"):
            await pages(source)


@pytest.mark.parametrize("fault", ["gzip", "gzip_file", "unframed"])
async def test_packed_and_unframed_answers_are_read(fault: str) -> None:
    server = PhoneBookServer(as_text([entry(str(n), f"Person {n}", f"+352 {n}") for n in range(30_000)]), "text/plain")
    server.fault = fault
    async with server.serve() as url, opened(url) as source:
        assert sum(len(page.records) for page in await pages(source)) == 30_000
        assert await source.check() == "30,000 contacts (text), changes by comparing"


@pytest.mark.parametrize("fault", ["gzip_cut", "unframed_cut", "cut"])
async def test_lines_that_are_cut_are_noticed(fault: str) -> None:
    server = PhoneBookServer(as_text([ANN, BOB]), "text/plain")
    server.fault = fault
    async with server.serve() as url, opened(url) as source:
        with pytest.raises(errors.Unavailable):
            await pages(source)


async def test_check_says_what_is_there() -> None:
    server = PhoneBookServer(as_json([ANN, BOB, {"FirstName": "No Id"}]))
    server.etag = '"7"'
    server.basic = "phones:pass-1234"
    async with server.serve() as url, opened(url, username="phones", password="pass-1234") as source:
        said = "2 contacts (json) as phones, changes by ETag and Checksum; 1 could not be read"
        assert await source.check() == said


async def test_pages_are_of_a_thousand() -> None:
    server = PhoneBookServer(as_json([entry(str(n), f"Person {n}", f"+352 {n}") for n in range(2500)]))
    async with server.serve() as url, opened(url) as source:
        assert [len(page.records) for page in await pages(source)] == [1000, 1000, 500, 0]


async def test_no_secret_is_in_what_is_said_or_kept() -> None:
    server = PhoneBookServer(b'[{"Id": "secret-answer"}]')
    server.login = ("application/json", {"p": "secret-pass"})
    server.etag = "secret-etag-is-the-servers"
    keys_ = {"post": '{"p": "%pwd%"}', "username": "phones", "password": "secret-pass"}
    async with server.serve() as url, opened(f"{url}?token=secret-token", **keys_) as source:
        for fault in ["", "html", "status_500", "status_401", "redirect", "truncated", "cut"]:
            server.fault = fault
            with pytest.raises(errors.BridgeError) as caught:
                await pages(source)
            assert "secret" not in f"{caught.value!r}"
            assert caught.value.__cause__ is None or "secret" not in repr(caught.value.__cause__)
        server.fault, server.body = "", as_json([ANN])
        assert "secret" not in repr((await pages(source))[-1].cursor)
        assert "secret" not in repr(vars(source)["_question"])


async def test_an_entry_that_cannot_be_read_is_named() -> None:
    server = PhoneBookServer(b'[{"Id":"1","Email":"a@example.com"},{"Id":"2"},{"Id":"3","LastName":oops}]')
    async with server.serve() as url, opened(url) as source:
        first, _ = await pages(source)
    assert [one.id for one in first.records] == ["1"]
    assert list(first.unreadable) == [
        Unreadable("2", "it holds no name, company, e-mail or number"),
        Unreadable("3", "this is not valid JSON"),
    ]
