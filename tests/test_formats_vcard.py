"""vCards as address books write them, good and bad."""

import contextlib
import datetime
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge import errors, formats
from bridge.contact import Address, RawNumber, Record
from bridge.formats import Unreadable, vcard


def card(*lines: str, version: str = "3.0") -> bytes:
    return "\r\n".join(("BEGIN:VCARD", f"VERSION:{version}", *lines, "END:VCARD", "")).encode()


def one(*lines: str, version: str = "3.0") -> Record:
    (found,) = formats.read([card(*lines, version=version)])
    assert isinstance(found, Record)
    return found


def read(data: bytes) -> list[Record | Unreadable]:
    return list(formats.read([data]))


def names(data: bytes) -> list[str]:
    return [item.display_name if isinstance(item, Record) else item.reason for item in read(data)]


def numbers(*lines: str, version: str = "3.0") -> list[tuple[str, str]]:
    return [(number.text, number.kind) for number in one("FN:X", *lines, version=version).numbers]


def test_a_whole_card_becomes_a_whole_record():
    got = one(
        "UID:urn:uuid:4fbe8971-0bc3-424c-9c26-36c3e1eff6b1",
        "FN:Dr. Jane Doe",
        "N:Doe;Jane;;Dr.;",
        "ORG:Example S.A.;Sales;Europe",
        "TEL;TYPE=WORK,VOICE:+352 20 33 33 20",
        "TEL;TYPE=CELL:+352 621 123 456",
        "EMAIL;TYPE=INTERNET:jane@example.com",
        "ADR;TYPE=WORK:;Floor 3;1, rue de la Gare;Luxembourg;;L-1611;LU",
        "CATEGORIES:Customers,VIP\\, really",
        "NOTE:nobody asked",
        "REV:2024-01-02T03:04:05Z",
    )
    want = Record(
        id="4fbe8971-0bc3-424c-9c26-36c3e1eff6b1",
        first_name="Jane",
        last_name="Doe",
        display_name="Dr. Jane Doe",
        company="Example S.A.",
        emails=("jane@example.com",),
        addresses=(Address("Floor 3, 1, rue de la Gare", "L-1611", "Luxembourg", "", "LU"),),
        numbers=(RawNumber("+352 20 33 33 20", "work"), RawNumber("+352 621 123 456", "mobile")),
        tags=("Customers", "VIP, really"),
        country="LU",
        modified=datetime.datetime(2024, 1, 2, 3, 4, 5, tzinfo=datetime.UTC),
    )
    assert got == want


@pytest.mark.parametrize(
    ("line", "want"),
    [
        ("TEL;WORK;VOICE:1234567", ("1234567", "work")),
        ("TEL;CELL;PREF:1234567", ("1234567", "mobile")),
        ("tel;type=Work,Cell:1234567", ("1234567", "mobile")),
        ('TEL;TYPE="home,voice":1234567', ("1234567", "home")),
        ("TEL;TYPE=HOME;TYPE=FAX:1234567", ("1234567", "fax")),
        ("TEL;TYPE=WORK,PAGER:1234567", ("1234567", "other")),
        ("TEL;TYPE=MAIN:1234567", ("1234567", "work")),
        ("TEL;TYPE=iPhone:1234567", ("1234567", "mobile")),
        ("TEL:1234567", ("1234567", "other")),
        ('TEL;X-A="a:b;c":1234567', ("1234567", "other")),
        ("TEL;VALUE=uri;TYPE=work:tel:+1-555-123;ext=5", ("+1-555-123 ext. 5", "work")),
        ("TEL:tel:+352%20621%20123", ("+352 621 123", "other")),
        ("TEL:tel:20333320;phone-context=+352", ("+35220333320", "other")),
        ("TEL:tel:4711;phone-context=example.com", ("4711", "other")),
        ("TEL:sip:4711@pbx.example", ("4711", "softphone")),
        ("TEL:sips:jane:secret@pbx.example;transport=tls", ("jane@pbx.example", "softphone")),
        ("IMPP;X-SERVICE-TYPE=SIP:sip:4711@pbx.example", ("4711", "softphone")),
        ("X-SIP:4711", ("4711", "softphone")),
        ("TEL;TYPE=CELL:  +352 621 (privat)  ", ("+352 621 (privat)", "mobile")),
    ],
)
def test_a_number_in_each_spelling(line, want):
    assert numbers(line) == [want]


def test_instant_messages_that_are_no_sip_numbers_are_no_numbers():
    assert numbers("TEL:1234567", "IMPP:xmpp:jane@example.com", "IMPP:sip:jane@example.com") == [("1234567", "other")]


def test_labels_of_groups_give_the_kind_that_the_type_does_not():
    got = numbers(
        "item1.TEL:1",
        "item1.X-ABLabel:_$!<Mobile>!$_",
        "ITEM2.TEL;TYPE=pref:2",
        "item2.X-ABLabel:Work",
        "item3.TEL:3",
        "item3.X-ABLABEL:_$!<HomeFAX>!$_",
        "item4.TEL;TYPE=HOME:4",
        "item4.X-ABLabel:Work",
        "item5.TEL:5",
        "item5.X-ABLabel:Ferienhaus",
    )
    assert got == [("2", "work"), ("1", "mobile"), ("3", "fax"), ("4", "home"), ("5", "other")]


def test_preferred_numbers_come_first_and_none_comes_twice():
    got = numbers(
        "TEL;TYPE=home:+352 1",
        "TEL;PREF=2:+352 2",
        "TEL;PREF=1;TYPE=cell:+352 3",
        "TEL;TYPE=work:(+352) 2",
        version="4.0",
    )
    assert got == [("+352 3", "mobile"), ("+352 2", "work"), ("+352 1", "home")]


@pytest.mark.parametrize(
    ("lines", "want"),
    [
        (("FN:", "N:Doe;Jane;Mary;Dr.;MD"), "Dr. Jane Mary Doe MD"),
        (("N:Doe;Jane,Mary",), "Jane Mary Doe"),
        (("N:Doe",), "Doe"),
        (("NICKNAME:Jay",), "Jay"),
        (("FN:jane@example.com", "N:Doe;Jane", "EMAIL:jane@example.com"), "Jane Doe"),
        (("EMAIL:jane@example.com",), "jane@example.com"),
        (("TEL:+352 1",), "+352 1"),
        (("ORG:Example",), ""),
        (("FN:Jane", "ORG:Example", "X-ABShowAs:COMPANY"), "Example"),
        (("FN:Doe\\, Jane\\nJr.\\; x\\: \\\\o/",), "Doe, Jane Jr.; x: \\o/"),
        (("FN:Jane", " ", " Doe"), "JaneDoe"),
        (("FN:Jane\tDoe",), "Jane Doe"),
    ],
)
def test_the_name_to_show(lines, want):
    assert one(*lines).display_name == want


def test_only_a_company():
    got = one("UID:1", "ORG:;Sales")
    assert got == Record(id="1", company="Sales")


def test_a_card_of_version_2_1():
    data = (
        b"BEGIN:VCARD\r\nVERSION:2.1\r\n"
        b"N;CHARSET=ISO-8859-1;ENCODING=QUOTED-PRINTABLE:M=FCller;J=F6rg\r\n"
        b"FN;ENCODING=QUOTED-PRINTABLE;CHARSET=UTF-8:J=C3=B6rg=20=\r\nM=C3=BCller\r\n"
        b"ORG;QUOTED-PRINTABLE:100=25 =\r\n GmbH;\r\n"
        b"NOTE;ENCODING=QUOTED-PRINTABLE:call=0D=0A=\r\nTEL:nobody=\r\nFN:else\r\n"
        b"TEL;WORK;VOICE:+352 1\r\n"
        b"PHOTO;JPEG;ENCODING=BASE64:\r\n/9j/4AAQSkZJRgABAQEASABIAAD\r\nTELAAAA==\r\n\r\n"
        b"CATEGORIES:one\\,two\r\n"
        b"END:VCARD\r\n"
    )
    (got,) = read(data)
    want = Record(
        id=got.id,
        first_name="Jörg",
        last_name="Müller",
        display_name="Jörg Müller",
        company="100%  GmbH",
        numbers=(RawNumber("+352 1", "work"),),
        tags=("one\\,two",),
    )
    assert got == want


def test_charsets_stated_unstated_and_unknown():
    data = (
        b"BEGIN:VCARD\nVERSION:2.1\nFN;CHARSET=windows-1251:\xcf\xb8\xf2\xf0\nN:M\xfcller\n"
        b"ORG;CHARSET=x-none:\xc3\xbc\nNICKNAME;CHARSET=hex:abc\nEND:VCARD\n"
    )
    (got,) = read(data)
    assert (got.display_name, got.last_name, got.company) == ("Пётр", "Müller", "ü")


def test_a_fold_within_a_character():
    text = "FN:" + "ü" * 60
    raw = text.encode()
    data = b"BEGIN:VCARD\r\nVERSION:3.0\r\n" + raw[:74] + b"\r\n " + raw[74:] + b"\r\nUID:1\r\nEND:VCARD\r\n"
    assert names(data) == ["ü" * 60]


@pytest.mark.parametrize("end", [b"\r\n", b"\n", b"\r"])
def test_every_kind_of_line_end(end):
    data = card("UID:1", "FN:Jane") + card("UID:2", "FN:John")
    assert names(data.replace(b"\r\n", end)) == ["Jane", "John"]


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbf" + card("FN:Jane"),
        card("FN:Jane").lower().replace(b"jane", b"Jane"),
        card("FN:Jane").removesuffix(b"\r\n"),
        b"\r\n\r\n" + card("FN:Jane") + b"\r\n\r\n",
        card("FN:Jane", "no colon here", ":", ";;;:", "X/ODD;A=:v", "=FF=", "TEL", "REV:--0203", "BDAY:junk"),
        card("FN:Jane", "PHOTO;ENCODING=b:!!!! no base64 \x00 at all", "not indented either"),
        card("AGENT:", "BEGIN:VCARD", "FN:Somebody Else", "TEL:1", "END:VCARD", "FN:Jane"),
        card("AGENT:BEGIN:VCARD\\nFN:Somebody Else\\nEND:VCARD\\n", "FN:Jane"),
        card("AGENT:BEGIN:VCARD", "FN:Somebody Else", "END:VCARD", "FN:Jane"),
        card("FN:Jane", "KIND:org"),
        card("FN:Jane").decode().encode("utf-16"),
        b"BEGIN:VLIST\nUID:1\nFN:List\nCARD;EMAIL=x:y\nEND:VLIST\n" + card("FN:Jane"),
    ],
)
def test_what_is_odd_loses_only_itself(data):
    assert names(data) == ["Jane"]


@pytest.mark.parametrize("line", ["KIND:group", "kind:GROUP ", "X-ADDRESSBOOKSERVER-KIND:group"])
def test_groups_are_no_contacts(line):
    assert names(card("FN:Friends", line) + card("FN:Jane")) == ["Jane"]


def test_one_bad_card_loses_only_itself_and_is_named():
    data = card("FN:Jane") + card("UID:urn:uuid:7", "junk") + card("more junk") + card("FN:John")
    reason = "it holds no name, company, e-mail or number"
    assert [item if isinstance(item, Unreadable) else item.display_name for item in read(data)] == [
        "Jane",
        Unreadable("7", reason),
        Unreadable("card 3", reason),
        "John",
    ]


def test_a_card_without_end_among_others_is_read():
    data = card("FN:Jane").replace(b"END:VCARD\r\n", b"") + card("FN:John")
    assert names(data) == ["Jane", "John"]


def test_text_between_cards_is_named_once():
    data = card("FN:Jane") + b"<b>Warning</b>: on line 3\nanother\n" + card("FN:John")
    assert names(data) == ["Jane", "there is text outside of the cards", "John"]


def test_a_file_that_ends_inside_a_card_is_unavailable():
    data = card("FN:Jane") + card("FN:John")
    for cut in range(len(card("FN:Jane")) + 1, len(data) - 2):
        with pytest.raises(errors.Unavailable, match="missing"):
            list(formats.read([data[:cut]], "vcard"))


def test_a_file_that_ends_in_something_else_is_unavailable():
    with pytest.raises(errors.Unavailable, match="other text"):
        read(card("FN:Jane") + b"<br/><b>Fatal error</b>: out of memory\n")


def test_a_file_without_a_card_is_unavailable():
    with pytest.raises(errors.Unavailable, match="no vCard"):
        list(formats.read([b"nothing of the kind\n"], "vcard"))


def test_ids_stay_when_numbers_change_and_uids_are_missing_or_repeated():
    def ids(number: str) -> list[str]:
        tel = f"TEL:{number}"
        cards = card("FN:Jane", tel), card("FN:Jane", tel), card("UID:7", "FN:John", tel), card("UID:7", "FN:Jim", tel)
        return [item.id for item in read(b"".join(cards))]

    assert ids("1") == ids("2")
    assert len(set(ids("1"))) == 4
    assert ids("1")[2] == "7"


def test_a_large_photo_is_skipped_in_its_own_place_and_memory():
    def chunks() -> Iterator[bytes]:
        yield b"BEGIN:VCARD\r\nVERSION:3.0\r\nFN:Jane\r\nPHOTO;ENCODING=b;TYPE=JPEG:"
        for _ in range(5 << 4):
            yield b"\r\n ".join([b"QUJD" * 18] * 862)
        yield b"\r\nTEL:+352 1\r\nEND:VCARD\r\n" + card("FN:John")

    assert sum(map(len, chunks())) > 5_000_000
    tracemalloc.start()
    got = [(item.display_name, item.numbers) for item in formats.read(chunks())]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert got == [("Jane", (RawNumber("+352 1"),)), ("John", ())]
    assert peak < 5_000_000


def test_one_resource():
    data = card("UID:other", "FN:Jane", "TEL:1").replace(b"END:VCARD\r\n", b"")
    want = Record("/book/a.vcf", display_name="Jane", numbers=(RawNumber("1"),), version='"1"')
    assert vcard.read_one(data, "/book/a.vcf", '"1"') == want


@pytest.mark.parametrize(
    ("data", "want"),
    [
        (card("FN:Friends", "KIND:group") + card("FN:Jane") + card("FN:John"), "Jane"),
        (b"\xef\xbb\xbf\n" + card("FN:Jane"), "Jane"),
        (card("FN:J\x01ane\x0b"), "J ane"),
        (card("FN:Jane").strip(), "Jane"),
    ],
)
def test_one_resource_of_several_cards(data, want):
    assert vcard.read_one(data, "1").display_name == want


@pytest.mark.parametrize("data", [card("FN:G", "KIND:group"), b"BEGIN:VLIST\nFN:L\nEND:VLIST\n"])
def test_a_resource_that_is_a_group_is_none(data):
    assert vcard.read_one(data, "1") is None


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no vCard"),
        (b"<html>log in</html>", "no vCard"),
        (b"FN:Jane\n", "no vCard"),
        (card("junk"), "holds no name"),
    ],
)
def test_a_resource_that_is_no_card_says_so(data, reason):
    with pytest.raises(ValueError, match=reason):
        vcard.read_one(data, "1")


NASTY = [
    card("UID:1", "FN:Jane", "TEL;TYPE=CELL:+352 1", "NOTE:a\r\n b\r\n\tc"),
    card("FN;ENCODING=QUOTED-PRINTABLE:J=C3=B6rg=\r\nM", "TEL;HOME:2"),
    "BEGIN:VCARD\rFN:Müller\rEND:VCARD\r".encode("cp1252"),
    card("FN:Friends", "KIND:group"),
    card("junk"),
    card("AGENT:", "BEGIN:VCARD", "FN:Else", "END:VCARD", "FN:Jane", "ORG:Ex\\;ample"),
    b"BEGIN:VLIST\nUID:1\nEND:VLIST\n",
    b"junk between\n",
    card("FN:" + "ü" * 50).replace("ü".encode(), b"\xc3\r\n \xbc"),
    b"begin:vcard\nfn:Lower\nend:vcard\n",
]


@settings(deadline=None)
@given(st.lists(st.sampled_from(NASTY), min_size=1, max_size=6), st.lists(st.integers(1, 40), min_size=1, max_size=20))
def test_any_cut_into_chunks_gives_the_same(cards, sizes):
    data = b"".join(cards)
    chunks, at = [], 0
    while at < len(data):
        chunks.append(data[at : at + sizes[len(chunks) % len(sizes)]])
        at += len(chunks[-1])

    def outcome(parts: list[bytes]) -> tuple[list[Record | Unreadable], str]:
        found: list[Record | Unreadable] = []
        try:
            found.extend(formats.read(parts, "vcard"))
        except errors.Unavailable as wrong:
            return [], str(wrong)
        return found, ""

    assert outcome(chunks) == outcome([data])


PIECES = r"""
BEGIN:VCARD END:VCARD VERSION:2.1 FN:x N:;; TEL;A TEL:tel:;ext= AGENT: = ADR;A="x:y BEGIN:VLIST END:VLIST TEL:sip:@ N:\\
ORG;QUOTED-PRINTABLE:=C3= REV:9999-12-31T23:59:59-14:00 IMPP:sip: CATEGORIES:\\,,\\ FN;CHARSET=utf-7:+AA- TEL;PREF=²:1
""".encode().split()
LINES = st.lists(st.sampled_from([*PIECES, b"", b" fold"]) | st.binary(max_size=30), max_size=25)


@settings(max_examples=300, deadline=None)
@given(LINES)
def test_no_bytes_whatever_raise_anything_but_what_is_promised(lines):
    data = b"BEGIN:VCARD\n" + b"\n".join(lines)
    with contextlib.suppress(errors.Unavailable):
        list(formats.read([data], "vcard"))
    with contextlib.suppress(ValueError):
        vcard.read_one(data, "1")
