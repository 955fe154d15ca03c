"""Lines in the notes of cards: the text itself, then real Radicale and Xandikos, then a server that misbehaves."""

from __future__ import annotations

import datetime
import quopri
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web
from carddav_servers import PASSWORD, SERVERS, USER, Running
from mirrored import Mirror, card, opened

from bridge import errors
from bridge.actions import Action, Call, Kind, Made
from bridge.demo.dav import Book, DavServer
from bridge.formats import vcard
from bridge.sources.carddav import CardDav, notes

KEY = "0123456789abcdef" * 2
OTHER = "fedcba9876543210" * 2
CALL = Call(
    direction="inbound",
    number="+352 621 111 111",
    name="Jörg Müller; jun.",
    started=datetime.datetime(2026, 11, 3, 9, 5, tzinfo=datetime.UTC),
    answered=datetime.datetime(2026, 11, 3, 9, 5, 4, tzinfo=datetime.UTC),
    ended=datetime.datetime(2026, 11, 3, 9, 8, 24, tzinfo=datetime.UTC),
)
HEAD = "2026-11-03 09:05 UTC, inbound, +352 621 111 111, Jörg Müller; jun.: "
ESCAPED = HEAD.replace(",", "\\,").replace(";", "\\;")


def action(contact: str = "", kind: Kind = "log-call", key: str = KEY, text: str = "") -> Action:
    return Action(kind=kind, key=key, subject="Please call back", text=text, call=CALL, contact=contact)


def unfolded(data: bytes) -> str:
    return re.sub(r"\r?\n[ \t]", "", data.decode())


# The text


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("log-call", "Call, 3:20 min"),
        ("ticket", "Ticket, Please call back, first line second"),
        ("task", "Task, Please call back, first line second"),
        ("note", "Note, Please call back, first line second"),
    ],
)
def test_every_kind_is_one_line_with_time_direction_number_name_and_mark(kind: Kind, said: str) -> None:
    now = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    assert notes.line(action(kind=kind, text="first line\r\n\tsecond\n"), now) == f"{HEAD}{said} [bridge:{KEY}]"


def test_a_call_without_anything_has_the_time_of_now() -> None:
    now = datetime.datetime(2026, 1, 1, 12, 0, tzinfo=datetime.timezone(datetime.timedelta(hours=1)))
    bare = Action(kind="log-call", key=KEY, subject="")
    assert notes.line(bare, now) == f"2026-01-01 11:00 UTC, inbound: Call [bridge:{KEY}]"


BODY = "BEGIN:VCARD{0}VERSION:3.0{0}FN:Ann{0}{1}TEL:1{0}END:VCARD{0}"
PLAIN = "one, two; three"
AGENT = "AGENT:{0}BEGIN:VCARD{0}NOTE:inner{0}END:VCARD{0}"
LINE = "one\\, two\\; three"


@pytest.mark.parametrize("eol", ["\r\n", "\n"])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("NOTE:old", "NOTE:old{0} \\n" + LINE),
        ("NOTE:", "NOTE:{0} " + LINE),
        ('note;X-P="a:b;c":old', 'note;X-P="a:b;c":old{0} \\n' + LINE),
        ("item1.NOTE;CHARSET=utf-8:old{0}item1.X:x", "item1.NOTE;CHARSET=utf-8:old{0} \\n" + LINE + "{0}item1.X:x"),
        ("NOTE:fol{0} ded{0}\t text{0} {0} end", "NOTE:fol{0} ded{0}\t text{0} {0} end{0} \\n" + LINE),
        ("NOTE;LANG{0} UAGE=de:old", "NOTE;LANG{0} UAGE=de:old{0} \\n" + LINE),
        ("NOTE:first{0}NOTE:second", "NOTE:first{0} \\n" + LINE + "{0}NOTE:second"),
        ("NOTE:half\\", "NOTE:half\\{0} \\\\n" + LINE),
        (f"{AGENT}NOTE:outer", f"{AGENT}NOTE:outer{{0}} \\n{LINE}"),
    ],
)
def test_a_line_is_put_behind_the_note_that_is_there(before: str, after: str, eol: str) -> None:
    whole, wanted = (BODY.format(eol, each.format(eol) + eol).encode() for each in (before, after))
    assert notes.append(whole, PLAIN) == wanted


@pytest.mark.parametrize("before", ["", "NOTE;ENCODING=b:b2xk{0}", "NOTE;VALUE=uri:http://example.com/{0}"])
def test_a_note_is_made_before_the_end_where_none_can_be_added_to(before: str) -> None:
    whole = BODY.format("\r\n", before.format("\r\n"))
    assert notes.append(whole.encode(), PLAIN).decode() == whole.replace("END", f"NOTE:{LINE}\r\nEND")


def test_a_group_before_the_card_and_another_card_behind_it_are_let_be() -> None:
    group = "BEGIN:VCARD\nKIND:group\nNOTE:g\nEND:VCARD\n"
    mine, other = BODY.format("\n", "NOTE:a\n"), BODY.format("\n", "NOTE:b\n")
    got = notes.append(f"\ufeff{group}{mine}{other}".encode(), PLAIN).decode()
    assert got == "\ufeff" + group + mine.replace("NOTE:a", "NOTE:a\n \\n" + LINE) + other


def test_long_lines_are_folded_within_no_character() -> None:
    got = notes.append(BODY.format("\r\n", "").encode(), "ä€😀" * 40)
    assert max(len(one) for one in got.split(b"\r\n")) <= 75
    assert "NOTE:" + "ä€😀" * 40 in unfolded(got)
    [one.decode() for one in got.split(b"\r\n")]


OLD = "BEGIN:VCARD\r\nVERSION:2.1\r\nN:Ann\r\n{}END:VCARD\r\n"


@pytest.mark.parametrize(
    ("before", "text", "after"),
    [
        (b"NOTE:old\r\n", PLAIN, b"NOTE:old | one, two; three\r\n"),
        (b"NOTE;CHARSET=ISO-8859-1:\xfcber\r\n", "ä€", b"NOTE;CHARSET=ISO-8859-1:\xfcber | \xe4?\r\n"),
        (b"NOTE:\xfcber\r\n", "ä", b"NOTE:\xfcber | \xe4\r\n"),
        (
            b"NOTE;ENCODING=QUOTED-PRINTABLE;CHARSET=UTF-8:=C3=BC=\r\nber=\r\n so\r\n",
            "ä = b",
            b"NOTE;ENCODING=QUOTED-PRINTABLE;CHARSET=UTF-8:=C3=BC=\r\nber=\r\n so=\r\n=0D=0A=C3=A4 =3D b\r\n",
        ),
        (b"NOTE;QUOTED-PRINTABLE:old=\r\n", "b", b"NOTE;QUOTED-PRINTABLE:old=\r\n=0D=0Ab\r\n"),
        (b"", "plain", b"NOTE:plain\r\n"),
        (b"", "ä", b"NOTE;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:=\r\n=C3=A4\r\n"),
    ],
)
def test_a_card_of_2_1_keeps_its_charset_and_encoding(before: bytes, text: str, after: bytes) -> None:
    head, tail = OLD.encode().split(b"{}")
    assert notes.append(head + before + tail, text) == head + after + tail


def test_a_quoted_note_is_read_again_as_what_was_put_in() -> None:
    line = notes.line(action(kind="note", text="= ä " * 60), datetime.datetime.now(datetime.UTC))
    got = notes.append(OLD.format("NOTE;ENCODING=QUOTED-PRINTABLE:x\r\n").encode(), line)
    assert max(len(one) for one in got.split(b"\r\n")) <= 76
    value = got.partition(b"PRINTABLE:")[2].partition(b"END:")[0]
    assert quopri.decodestring(value).decode() == f"x\r\n{line}\r\n"
    assert notes.holds(got, KEY)


@pytest.mark.parametrize(
    "data", [b"", b"nothing", b"BEGIN:VCARD\nFN:x\n", b"END:VCARD\n", b"BEGIN:VCARD\nKIND:group\nEND:VCARD"]
)
def test_what_is_no_whole_card_is_not_edited(data: bytes) -> None:
    with pytest.raises(ValueError, match="no whole vCard"):
        notes.append(data, PLAIN)


def test_a_folded_mark_is_found() -> None:
    got = BODY.format("\n", "").encode()
    for number in range(30):
        assert not notes.holds(got, f"{number:032x}")
        got = notes.append(got, "." * number + f"[bridge:{number:032x}]")
        assert notes.holds(got, f"{number:032x}")


# Real servers


@pytest.fixture(params=sorted(SERVERS))
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Running]:
    """A server with an empty book."""
    with SERVERS[request.param](tmp_path) as running:
        yield running


async def test_four_actions_are_four_lines_of_the_note_and_none_twice(server: Running) -> None:
    names = ("1.vcf", "ä ö+ü.vcf", "100%.vcf")
    server.fill({name: card(f"Person {name}", "+352 1", "NOTE:A friend\\, of old", "X-ODD;P=q:kept") for name in names})
    kinds: tuple[Kind, ...] = ("log-call", "ticket", "task", "note")
    async with opened(server.url, username=USER, password=PASSWORD) as source:
        assert isinstance(source, CardDav)
        mirror = await Mirror().run(source)
        for name in names:
            contact = f"{server.book}{name}"
            assert contact in mirror.records
            for number, kind in enumerate((*kinds, *kinds)):
                made = await source.act(action(contact, kind, f"{number % 4:032x}"))
                assert made == Made(id=contact)
            text = unfolded((server.folder / name).read_bytes())
            note = text.partition("NOTE:")[2].partition("\n")[0].strip().split("\\n")
            assert note[0] == "A friend\\, of old"
            assert [line[:20] for line in note[1:]] == ["2026-11-03 09:05 UTC"] * 4
            assert all(f"[bridge:{number:032x}]" in note[number + 1] for number in range(4))
            assert "X-ODD;P=q:kept" in text
        before = mirror.records
        assert (await mirror.run(source)).read == 3
        assert {one.id: one.numbers for one in mirror.records.values()} == {i: r.numbers for i, r in before.items()}


async def test_a_card_that_is_gone_is_refused(server: Running) -> None:
    server.fill({"1.vcf": card("One")})
    async with opened(server.url, username=USER, password=PASSWORD) as source:
        assert isinstance(source, CardDav)
        for contact in ("gone.vcf", "gönne.vcf", "../x.vcf"):
            with pytest.raises(errors.Refused) as caught:
                await source.act(action(f"{server.book}{contact}"))
            assert (caught.value.code, caught.value.absent) == ("404", True)


async def test_every_other_byte_is_kept(tmp_path: Path) -> None:
    with SERVERS["xandikos"](tmp_path) as server:
        odd = card("Ann", "+352 1", 'item1.NOTE;X-A="b:c":old', "item1.X-ABLabel:x", "PHOTO;ENCODING=b:" + "QUJD" * 50)
        odd = odd.replace("\r\n", "\n")
        server.fill({"1.vcf": odd})
        async with opened(server.url) as source:
            assert isinstance(source, CardDav)
            await source.act(action(f"{server.book}1.vcf"))
        got = (server.folder / "1.vcf").read_bytes().decode()
        added = re.sub(r"\n ", "", got).replace(f"\\n{ESCAPED}Call\\, 3:20 min [bridge:{KEY}]", "")
        assert added == odd


# A server that misbehaves


CREATED = (
    '<d:multistatus xmlns:d="DAV:"><d:response><d:href>/dav/alice/book/1.vcf</d:href>'
    "<d:status>HTTP/1.1 201 Created</d:status></d:response></d:multistatus>"
)


class Writable(DavServer):
    """Takes PUT with If-Match; `puts` are what comes of the next ones: a status, or a name in `answer`."""

    def __init__(self, *books: Book) -> None:
        super().__init__(*books)
        self.puts: list[int | str] = []
        self.meanwhile = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.method != "PUT":
            return await super().answer(request)
        self.seen.append(f"PUT {request.raw_path}")
        body, name = await request.read(), request.path.rpartition("/")[2]
        book = self.books[0]
        if self.meanwhile:
            self.meanwhile -= 1
            book.put(name, book.cards[name].replace(b"TEL", f"X-{self.meanwhile}:1\r\nTEL".encode()))
        told = self.puts.pop(0) if self.puts else 204
        if told not in (204, 207, "lost", "late"):
            assert isinstance(told, int)
            return web.Response(status=told)
        if request.headers.get("If-Match") != f'"{book.etag(name)}"':
            return web.Response(status=412)
        book.put(name, body)
        if told == "lost" and request.transport is not None:
            request.transport.close()
        if told == "late":
            return web.Response(status=504)
        return web.Response(status=207, text=CREATED) if told == 207 else web.Response(status=204)


@pytest.fixture
def book() -> Book:
    made = Book("/dav/alice/book/")
    made.put("1.vcf", card("Ann", "+352 1", "NOTE:old"))
    return made


CONTACT = "/dav/alice/book/1.vcf"


async def noted(server: Writable, *, key: str = KEY) -> Made:
    async with server.serve() as url, opened(url) as source:
        assert isinstance(source, CardDav)
        return await source.act(action(CONTACT, key=key))


@pytest.mark.parametrize("status", [204, 207])
async def test_others_changes_made_meanwhile_are_kept(book: Book, status: int) -> None:
    server = Writable(book)
    server.meanwhile, server.puts = 3, [204, 204, 204, status]
    assert await noted(server) == Made(id=CONTACT)
    text = unfolded(book.cards["1.vcf"])
    assert (text.count(KEY), text.count("X-"), len([one for one in server.seen if one[:3] == "PUT"])) == (1, 3, 4)
    assert vcard.read_one(book.cards["1.vcf"], "1") is not None


async def test_a_card_that_is_changed_again_and_again_is_left_for_later(book: Book) -> None:
    server = Writable(book)
    server.meanwhile = 4
    with pytest.raises(errors.Unavailable, match="changed by others 4 times") as caught:
        await noted(server)
    assert not isinstance(caught.value, errors.Unsettled)


@pytest.mark.parametrize("fault", ["lost", "late"])
async def test_a_lost_answer_is_unsettled_and_the_next_try_finds_the_line(book: Book, fault: str) -> None:
    server = Writable(book)
    server.puts = [fault]
    with pytest.raises(errors.Unsettled):
        await noted(server)
    assert await noted(server) == Made(id=CONTACT)
    assert book.cards["1.vcf"].replace(b"\r\n ", b"").count(KEY.encode()) == 1
    assert await noted(server, key=OTHER) == Made(id=CONTACT)


@pytest.mark.parametrize("status", [400, 403, 405, 409, 412, 413, 415, 423, 507])
async def test_a_server_that_takes_no_change_refuses(book: Book, status: int) -> None:
    server = Writable(book)
    server.puts = [status] * 4
    with pytest.raises(errors.Refused) as caught:
        await noted(server)
    assert (caught.value.code, caught.value.absent) == (str(status), False)


@pytest.mark.parametrize(
    ("status", "error"), [(401, errors.Denied), (429, errors.Unavailable), (503, errors.Unavailable)]
)
async def test_a_server_that_cannot_now_is_asked_later(book: Book, status: int, error: type[Exception]) -> None:
    server = Writable(book)
    server.puts = [status]
    with pytest.raises(error):
        await noted(server)


async def test_a_card_without_an_etag_is_not_written_over(book: Book) -> None:
    class Unmarked(Writable):
        async def answer(self, request: web.Request) -> web.StreamResponse:
            response = await super().answer(request)
            response.headers.pop("ETag", None)
            return response

    before = dict(book.cards)
    with pytest.raises(errors.Refused, match="names no ETag"):
        await noted(Unmarked(book))
    assert book.cards == before


async def test_a_weak_etag_is_sent_as_a_strong_one(book: Book) -> None:
    server = Writable(book)
    server.faults.add("weak_etags")
    assert await noted(server) == Made(id=CONTACT)


async def test_a_page_in_the_place_of_the_card_is_unavailable(book: Book) -> None:
    book.put("1.vcf", "<html>log in</html>")
    with pytest.raises(errors.Unavailable, match="no vCard"):
        await noted(Writable(book))


async def test_nothing_outside_of_the_books_is_written_to(book: Book) -> None:
    server = Writable(book)
    async with server.serve() as url, opened(url) as source:
        assert isinstance(source, CardDav)
        for contact in ("/dav/bob/book/1.vcf", "/dav/alice/book/../book/1.vcf", ""):
            with pytest.raises(errors.Refused) as caught:
                await source.act(action(contact))
            assert caught.value.absent
    assert not [one for one in server.seen if one.startswith(("PUT", "GET /dav/bob", "GET /dav/alice"))]
