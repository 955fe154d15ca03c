"""CardDAV against the stand-in and its faults by name; real servers are in test_carddav_servers.py."""

from __future__ import annotations

import pytest
from mirrored import Mirror, card, filled, opened

from bridge import errors
from bridge.demo.dav import Book, DavServer
from bridge.demo.dav_faults import Fault
from bridge.sources.carddav import answers, cards, hrefs, runs


async def settled(server: DavServer, url: str, *faults: Fault) -> Mirror:
    """A mirror after a full run, with the faults in force from then on and `seen` empty."""
    async with opened(url) as source:
        mirror = await Mirror().run(source)
    server.faults |= set(faults)
    server.seen.clear()
    return mirror


async def again(mirror: Mirror, url: str, **more: object) -> Mirror:
    """The next run, by a source opened anew."""
    async with opened(url, **more) as source:
        return await mirror.run(source)


async def test_a_first_run_reads_every_card_of_every_book() -> None:
    server = DavServer(filled(60), filled(3, "/dav/alice/other/", "Other"))
    async with server.serve() as url, opened(url) as source:
        mirror = await Mirror().run(source)
        assert (mirror.complete, len(mirror.records)) == (True, 63)
        assert "/dav/alice/other/2.vcf" in mirror.records


async def test_fields_are_properties_of_the_cards() -> None:
    book = filled(2)
    book.put("0.vcf", card("Ann", "+352 1", "X-LANG:fr"))
    server = DavServer(book)
    async with server.serve() as url, opened(url, fields={"Language": "x-lang"}) as source:
        mirror = await Mirror().run(source)
        book.put("1.vcf", card("Bob", "+352 2", "item1.X-Lang:de"))
        await mirror.run(source)
    assert [record.custom for _, record in sorted(mirror.records.items())] == [
        (("Language", "fr"),),
        (("Language", "de"),),
    ]


async def test_a_list_that_brings_its_cards_along_is_all_that_is_asked_for() -> None:
    server = DavServer(filled(60))
    server.faults.add("sync_with_data")
    async with server.serve() as url:
        mirror = await settled(server, url)
        assert (mirror.complete, len(mirror.records)) == (True, 60)
        async with opened(url) as source:
            fresh = await Mirror().run(source)
        assert fresh.records == mirror.records
        assert [line for line in server.seen if line.startswith("REPORT")] == ["REPORT /dav/alice/book/"]


@pytest.mark.parametrize("fault", ["sync_data_500", "sync_data_spoilt"])
async def test_a_list_that_is_too_much_with_its_cards_is_asked_for_without(fault: Fault) -> None:
    plain, server = DavServer(filled(60)), DavServer(filled(60))
    server.faults.add(fault)
    async with plain.serve() as url, opened(url) as source:
        wanted = await Mirror().run(source)
    async with server.serve() as url, opened(url) as source:
        mirror = await Mirror().run(source)
    assert (mirror.complete, mirror.records) == (True, wanted.records)


async def test_check_names_the_books_and_counts_their_cards() -> None:
    server = DavServer(filled(60), filled(3, "/dav/alice/other/", "Other"))
    async with server.serve() as url, opened(url) as source:
        assert await source.check() == (
            "2 address books: Book (60 cards, changes by sync-collection), Other (3 cards, changes by sync-collection)"
        )


async def test_a_delta_run_reads_what_changed_and_no_more() -> None:
    book = filled(100)
    server = DavServer(book)
    async with server.serve() as url:
        mirror = await settled(server, url)
        book.put("0.vcf", card("Changed"))
        book.put("new.vcf", card("New"))
        book.delete("1.vcf")
        book.put("flash.vcf", card("Flash"))
        book.delete("flash.vcf")
        await again(mirror, url)
        assert (mirror.complete, mirror.read, len(mirror.records)) == (False, 2, 100)
        assert [name for name in mirror.names if name[:4] != "Book"] == ["Changed", "New"]
        assert server.seen == ["REPORT /dav/alice/book/"] * 2


@pytest.mark.parametrize("faults", [(), ("no_sync_collection",), ("google_depth1",), ("empty_token_400",)])
async def test_no_change_costs_one_request_a_book(faults: tuple[Fault, ...]) -> None:
    server = DavServer(filled(20), filled(2, "/dav/alice/other/", "Other"))
    server.faults |= set(faults)
    async with server.serve() as url:
        mirror = await settled(server, url)
        await again(mirror, url)
        assert (mirror.complete, mirror.read, len(mirror.records), len(server.seen)) == (False, 0, 22, 2)


@pytest.mark.parametrize("faults", [(), ("no_sync_collection",), ("google_depth1",), ("no_sync_collection", "no_ctag")])
async def test_changes_are_found_whatever_the_server_offers(faults: tuple[Fault, ...]) -> None:
    book = filled(20)
    server = DavServer(book)
    server.faults |= set(faults)
    async with server.serve() as url:
        mirror = await settled(server, url)
        book.put("0.vcf", card("Changed"))
        book.delete("1.vcf")
        await again(mirror, url)
        assert (mirror.read, len(mirror.records), "Changed" in mirror.names) == (1, 19, True)


LOST: tuple[Fault, ...] = (
    "cut_midway",
    "empty",
    "html_200",
    "status_401",
    "status_429",
    "status_500",
    "status_503",
    "truncated_xml",
    "wrong_root",
)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("fault", LOST)
async def test_a_failing_server_fails_the_run_and_takes_nothing_away(fault: Fault, full: bool) -> None:
    book = filled(30)
    server = DavServer(book)
    async with server.serve() as url:
        mirror = await settled(server, url, fault)
        before = dict(mirror.records), mirror.cursor
        book.put("0.vcf", card("Changed"))
        async with opened(url) as source:
            with pytest.raises(errors.Denied if fault == "status_401" else errors.Unavailable):
                await mirror.run(source, full=full)
        assert (mirror.records, mirror.cursor) == before


async def test_a_server_without_time_fails_the_run() -> None:
    server = DavServer(filled(2))
    server.faults.add("slow")
    async with server.serve() as url, opened(url, timeout=0.1) as source:
        with pytest.raises(errors.Unavailable, match="does not answer in time"):
            await Mirror().run(source)


async def test_how_long_to_wait_is_passed_on() -> None:
    server = DavServer(filled(2))
    server.faults.add("status_503")
    async with server.serve() as url, opened(url) as source:
        with pytest.raises(errors.Unavailable) as caught:
            await Mirror().run(source)
        assert caught.value.after == 30.0


async def test_a_plain_list_without_the_book_itself_is_not_trusted() -> None:
    server = DavServer(filled(3))
    server.faults |= {"no_sync_collection", "unechoed"}
    async with server.serve() as url, opened(f"{url}/dav/alice/book/") as source:
        with pytest.raises(errors.Unavailable, match="without the book itself"):
            await Mirror().run(source)


@pytest.mark.parametrize("fault", ["invalid_token_403", "invalid_token_412"])
async def test_a_refused_token_leads_to_one_full_listing(fault: Fault) -> None:
    book = filled(30)
    server = DavServer(book)
    async with server.serve() as url:
        mirror = await settled(server, url, fault)
        book.delete("3.vcf")
        await again(mirror, url)
        assert (mirror.complete, mirror.read, len(mirror.records)) == (True, 0, 29)
        assert server.seen.count("REPORT /dav/alice/book/") == 2


async def test_a_server_that_takes_no_token_at_all_is_compared_by_ctag_from_then_on() -> None:
    book = filled(5)
    server = DavServer(book)
    async with server.serve() as url:
        mirror = await settled(server, url, "invalid_token_403", "empty_token_400")
        await again(mirror, url)
        server.seen.clear()
        await again(mirror, url)
        assert (mirror.complete, server.seen) == (False, ["PROPFIND /dav/alice/book/"])


@pytest.mark.parametrize("fault", ["made_anew", "empty_delta_new_token"])
async def test_a_book_made_anew_at_the_same_address_is_read_in_full(fault: Fault) -> None:
    book = filled(30)
    server = DavServer(book)
    async with server.serve() as url:
        mirror = await settled(server, url, fault)
        book.make_anew()
        book.put("0.vcf", card("Another"))
        await again(mirror, url)
        assert (mirror.complete, mirror.names) == (True, ["Another"])


async def test_a_whole_list_in_place_of_a_delta_is_followed_by_a_full_listing() -> None:
    book = filled(30)
    server = DavServer(book)
    async with server.serve() as url:
        mirror = await settled(server, url, "full_list_as_delta")
        book.delete("3.vcf")
        await again(mirror, url)
        assert (mirror.complete, mirror.read, len(mirror.records)) == (True, 0, 29)


async def test_lists_that_come_in_pages_are_read_to_their_end() -> None:
    book = filled(35)
    server = DavServer(book)
    server.faults.add("page_507")
    async with server.serve() as url:
        mirror = await settled(server, url)
        assert len(mirror.records) == 35
        for number in range(25):
            book.put(f"{number}.vcf", card(f"Changed {number}"))
        book.delete("30.vcf")
        await again(mirror, url)
        assert (mirror.complete, mirror.read, len(mirror.records)) == (False, 25, 34)


async def test_lists_longer_than_a_chunk_are_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "CHUNK", 10)
    book = filled(35)
    server = DavServer(book)
    async with server.serve() as url:
        mirror = await settled(server, url)
        book.put("0.vcf", card("Changed"))
        async with opened(url) as source:
            await mirror.run(source, full=True)
        assert (mirror.read, len(mirror.records)) == (1, 35)


async def test_a_report_that_is_too_large_is_halved() -> None:
    server = DavServer(filled(60))
    server.faults.add("multiget_413_over_n")
    async with server.serve() as url, opened(url) as source:
        assert len((await Mirror().run(source)).records) == 60
        assert not [line for line in server.seen if line.startswith("GET")]


async def test_a_server_without_multiget_is_read_card_by_card() -> None:
    server = DavServer(filled(60))
    server.faults.add("multiget_501")
    async with server.serve() as url, opened(url) as source:
        assert len((await Mirror().run(source)).records) == 60
        assert server.seen.count("REPORT /dav/alice/book/") <= 1 + cards.AT_ONCE


async def test_a_card_that_fails_keeps_its_contact_and_is_read_at_the_next_run() -> None:
    book = filled(60)
    book.put("bad.vcf", card("Good once"))
    server = DavServer(book)
    async with server.serve() as url:
        mirror = await settled(server, url, "bad_card")
        book.put("bad.vcf", card("Better"))
        book.put("1.vcf", card("Changed"))
        await again(mirror, url)
        assert (mirror.read, "Good once" in mirror.names, "Changed" in mirror.names) == (1, True, True)
        assert [bad.reason for bad in mirror.unreadable.values()] == ["127.0.0.1 answers 500"]
        server.faults.clear()
        await again(mirror, url)
        assert (mirror.complete, mirror.read, "Better" in mirror.names) == (False, 1, True)
        server.seen.clear()
        await again(mirror, url)
        assert len(server.seen) == 1


@pytest.mark.parametrize("more", [(), ("multiget_omits_missing",)])
async def test_a_card_that_vanishes_between_list_and_report_is_gone(more: tuple[Fault, ...]) -> None:
    book = filled(5)
    server = DavServer(book)
    server.faults |= set(more)

    class Vanishing(Mirror):
        async def known(self, listed: object) -> set[str]:
            if "3.vcf" in book.cards:
                book.delete("3.vcf")
            return set()

    async with server.serve() as url, opened(url) as source:
        mirror = await Vanishing().run(source)
        assert mirror.names == ["Book 0", "Book 1", "Book 2", "Book 4"]


async def test_a_card_that_cannot_be_understood_is_named_once_and_read_again_when_it_changes() -> None:
    book = filled(3)
    server = DavServer(book)
    book.put("odd.vcf", "this is no card")
    async with server.serve() as url:
        mirror = await settled(server, url)
        assert (list(mirror.unreadable), len(mirror.records)) == (["/dav/alice/book/odd.vcf"], 3)
        async with opened(url) as source:
            await mirror.run(source, full=True)
        assert (mirror.read, mirror.complete, dict(mirror.unreadable)) == (0, True, {})
        book.put("odd.vcf", card("Even"))
        await again(mirror, url)
        assert "Even" in mirror.names


async def test_a_group_is_no_contact_and_a_contact_that_becomes_one_goes() -> None:
    book = filled(3)
    book.put("group.vcf", card("Team", "1", "X-ADDRESSBOOKSERVER-KIND:group"))
    server = DavServer(book)
    async with server.serve() as url:
        mirror = await settled(server, url)
        assert (mirror.names, dict(mirror.unreadable)) == (["Book 0", "Book 1", "Book 2"], {})
        book.put("0.vcf", card("Book 0", "1", "X-ADDRESSBOOKSERVER-KIND:group"))
        await again(mirror, url)
        assert mirror.names == ["Book 1", "Book 2"]


ODD_NAMES = ("ä ö ü.vcf", "a+b&c.vcf", "x(1)'~.vcf", "no-extension", "100%.vcf", "a:b.vcf", "mail@home.vcf", "a/b.vcf")


@pytest.mark.parametrize("fault", ["", "absolute_href", "lowercase_escapes", "weak_etags"])
async def test_odd_names_and_spellings_are_one_card_each(fault: Fault) -> None:
    book = Book("/dav/alice@home/my böok/", "Odd")
    for name in ODD_NAMES:
        book.put(name, card(name))
    server = DavServer(book)
    server.faults |= {fault} - {""}
    async with server.serve() as url, opened(f"{url}/dav/alice%40home/my%20b%C3%B6ok/") as source:
        mirror = await Mirror().run(source)
        want = {f"/dav/alice@home/my böok/{name.replace('/', '%2F')}" for name in ODD_NAMES}
        assert set(mirror.records) == want
        await mirror.run(source, full=True)
        assert (mirror.read, len(mirror.records)) == (0, len(ODD_NAMES))
        book.put("a:b.vcf", card("Colon"))
        book.delete("ä ö ü.vcf")
        await mirror.run(source)
        assert (mirror.complete, mirror.read, len(mirror.records)) == (False, 1, len(ODD_NAMES) - 1)


async def test_control_characters_and_markup_in_cards_do_no_harm() -> None:
    book = filled(2)
    book.put("control.vcf", card("Con\x01trol <&>]]>"))
    async with DavServer(book).serve() as url, opened(url) as source:
        assert "Control <&>]]>" in (await Mirror().run(source)).names


async def test_discovery_starts_anywhere() -> None:
    server = DavServer(filled(2))
    async with server.serve() as url:
        for start in ("/", "/dav/", "/dav/alice/", "/dav/alice/book", "/principals/alice/", "/no/such/place"):
            async with opened(f"{url}{start}") as source:
                assert len((await Mirror().run(source)).records) == 2


async def test_discovery_goes_on_where_the_root_is_a_web_page_and_the_signpost_names_a_dead_port() -> None:
    server = DavServer(filled(2))
    server.faults.add("redirect_wellknown")
    async with server.serve() as url, opened(url) as source:
        assert len((await Mirror().run(source)).records) == 2


async def test_a_home_of_a_server_without_principals_is_listed_as_it_is() -> None:
    server = DavServer(filled(2))
    server.faults.add("no_principal")
    async with server.serve() as url, opened(f"{url}/dav/alice/") as source:
        assert len((await Mirror().run(source)).records) == 2


async def test_a_second_home_on_another_port_of_the_host_is_read_with_the_same_login() -> None:
    first = DavServer(filled(2), password="secret")
    second = DavServer(filled(3, "/dav/shared/team/", "Team"), password="secret")
    async with first.serve() as url, second.serve() as other:
        first.homes.append(f"{other}/dav/shared/")
        async with opened(url, username="alice", password="secret") as source:
            assert len((await Mirror().run(source)).records) == 5


async def test_books_within_books_are_read_to_a_bounded_depth() -> None:
    books = [filled(1, "/dav/alice/" + "in/" * depth, f"Level {depth}") for depth in range(1, 9)]
    async with DavServer(*books).serve() as url, opened(url) as source:
        assert (await Mirror().run(source)).names == [f"Level {depth} 0" for depth in range(1, 7)]


async def test_a_book_within_a_book_can_be_chosen_by_name() -> None:
    server = DavServer(filled(1), filled(1, "/dav/alice/book/inner/", "Inner"))
    async with server.serve() as url, opened(url, books=["Inner"]) as source:
        assert (await Mirror().run(source)).names == ["Inner 0"]


async def test_books_that_the_server_makes_by_itself_are_left_out() -> None:
    server = DavServer(filled(1), filled(1, "/dav/alice/z-server-generated--system/", "System"))
    async with server.serve() as url, opened(url) as source:
        assert (await Mirror().run(source)).names == ["Book 0"]


async def test_a_chosen_book_that_is_missing_is_an_error_that_says_what_there_is() -> None:
    server = DavServer(filled(1))
    async with server.serve() as url, opened(url, books=["Staff"]) as source:
        with pytest.raises(errors.Unavailable, match="no address book named Staff; there are: Book"):
            await Mirror().run(source)


async def test_no_book_at_all_is_an_error_that_says_where_was_asked() -> None:
    async with DavServer().serve() as url, opened(f"{url}/no/dav") as source:
        with pytest.raises(errors.Unavailable, match=r"no address book found; asked /no/dav \(404\), /dav/, .*: give"):
            await Mirror().run(source)


async def test_a_book_that_is_gone_is_an_error_and_not_an_empty_book() -> None:
    book = filled(3)
    server = DavServer(book)
    async with server.serve() as url:
        mirror = await settled(server, url)
        server.books.clear()
        async with opened(url) as source:
            with pytest.raises(errors.Unavailable, match="'Book' is not there"):
                await mirror.run(source)
        assert len(mirror.records) == 3


async def test_a_book_that_goes_while_it_is_read_takes_nothing_away() -> None:
    server = DavServer(filled(3))

    class Vanishing(Mirror):
        async def known(self, listed: object) -> set[str]:
            server.books.clear()
            return set()

    async with server.serve() as url:
        mirror = Vanishing((await settled(server, url)).records)
        async with opened(url) as source:
            with pytest.raises(errors.Unavailable, match="went while it was read"):
                await mirror.run(source)
        assert len(mirror.records) == 3


async def test_cards_that_are_all_gone_a_moment_after_they_were_listed_fail_the_run() -> None:
    book = filled(3)
    server = DavServer(book)

    class Vanishing(Mirror):
        async def known(self, listed: object) -> set[str]:
            book.cards.clear()
            return set()

    async with server.serve() as url, opened(url) as source:
        with pytest.raises(errors.Unavailable, match="and then has none of them"):
            await Vanishing().run(source)


async def test_a_book_that_was_emptied_reads_as_empty() -> None:
    book = filled(3)
    server = DavServer(book)
    async with server.serve() as url:
        mirror = await settled(server, url)
        for name in list(book.cards):
            book.delete(name)
        async with opened(url) as source:
            await mirror.run(source, full=True)
        assert (mirror.complete, mirror.records) == (True, {})


async def test_a_cursor_made_with_other_keys_is_of_no_use() -> None:
    server = DavServer(filled(2), filled(2, "/dav/alice/other/", "Other"))
    async with server.serve() as url:
        mirror = await settled(server, url)
        await again(mirror, url, books=["Other"])
        assert (mirror.complete, mirror.names) == (True, ["Other 0", "Other 1"])


@pytest.mark.parametrize("fault", ["digest", "digest_sha256"])
@pytest.mark.parametrize("auth", ["basic", "digest"])
async def test_digest_is_spoken_where_the_server_wants_it(fault: Fault, auth: str) -> None:
    server = DavServer(filled(60), password="sec:ret ü")
    server.faults.add(fault)
    async with server.serve() as url, opened(url, auth=auth, username="alice", password="sec:ret ü") as source:
        assert len((await Mirror().run(source)).records) == 60


async def test_a_bearer_token_is_spoken() -> None:
    server = DavServer(filled(2), token="token-1")
    server.faults.add("bearer")
    async with server.serve() as url, opened(url, auth="bearer", token="token-1") as source:
        assert len((await Mirror().run(source)).records) == 2


@pytest.mark.parametrize(("auth", "faults"), [("basic", set()), ("digest", {"digest"})])
async def test_a_wrong_password_is_denied_after_one_attempt(auth: str, faults: set[Fault]) -> None:
    server = DavServer(filled(2), password="secret")
    server.faults |= faults
    async with server.serve() as url, opened(url, auth=auth, username="alice", password="wrong") as source:
        with pytest.raises(errors.Denied, match="refuses the credentials"):
            await Mirror().run(source)
        assert len(server.seen) == (2 if faults else 1)


async def test_many_failing_cards_in_a_row_fail_the_run() -> None:
    server = DavServer(filled(60))
    server.faults.add("multiget_501")

    class Breaking(Mirror):
        async def known(self, listed: object) -> set[str]:
            server.faults.add("status_500")
            return set()

    async with server.serve() as url, opened(url) as source:
        with pytest.raises(errors.Unavailable, match="cards one after the other"):
            await Breaking().run(source)


def test_paths_that_are_the_same_have_the_same_key() -> None:
    assert hrefs.key("/a%40b/%C3%A4%20%7e%2Fx.vcf") == hrefs.key("/a@b/ä ~%2fx.vcf") == "/a@b/ä ~%2Fx.vcf"


@pytest.mark.parametrize("text", ['"abc"', 'W/"abc"', "abc", '"abc-gzip"', ' W/"abc-gzip" '])
def test_etags_are_compared_without_what_proxies_add(text: str) -> None:
    assert hrefs.etag(text) == "abc"


@pytest.mark.parametrize(
    ("href", "want"),
    [
        ("https://inner:8443/b/c%2f.vcf", "/b/c%2f.vcf"),
        ("/b/c.vcf", "/b/c.vcf"),
        ("c.vcf", "/home/c.vcf"),
        ("a:b.vcf", "/home/a:b.vcf"),
        ("./c.vcf", "/home/c.vcf"),
        ("https://inner", "/"),
    ],
)
def test_an_href_is_read_as_a_path(href: str, want: str) -> None:
    assert hrefs.path(href, "https://dav.example.com/home/") == want


def test_a_document_type_is_refused() -> None:
    bomb = b'<?xml version="1.0"?><!DOCTYPE m [<!ENTITY a "b">]><multistatus xmlns="DAV:">&a;</multistatus>'
    with pytest.raises(errors.Unavailable, match="document type"):
        answers.Multistatus("dav.example.com").feed(bomb)
