"""Mixvoip's text and CSV: the page's own examples word for word, and what careless hands make of them."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge import errors, formats
from bridge.contact import Address, RawNumber, Record
from bridge.formats import Unreadable

DATA = Path(__file__).parent / "data" / "formats"


def read(data: bytes | str, format: str = "auto", name: str = "") -> list[Record | Unreadable]:
    return list(formats.read([data.encode() if isinstance(data, str) else data], format, name))


def short(data: bytes | str, format: str = "auto") -> list[tuple[object, ...] | Unreadable]:
    return [
        item if isinstance(item, Unreadable) else (item.display_name, *((n.text, n.kind) for n in item.numbers))
        for item in read(data, format)
    ]


def test_the_page_s_line():
    (got,) = read((DATA / "mixvoip.txt").read_bytes())
    assert got == Record(got.id, display_name="Echo test", numbers=(RawNumber("+35220333320"),))


def test_the_page_s_structured_example_word_for_word():
    got = read((DATA / "mixvoip-structured.csv").read_bytes())
    place = (Address(country="Luxembourg"),)
    assert got == [
        Record(
            got[0].id,
            display_name="Pascal Knebler",
            emails=("pknebler@mixvoip.com",),
            addresses=place,
            numbers=(RawNumber("12", "softphone"), RawNumber("691333179", "mobile")),
            tags=("IT Manager", "8042"),
        ),
        Record(
            got[1].id,
            display_name="Didelot Loic",
            emails=("ldidelot@mixvoip.com",),
            addresses=place,
            numbers=(RawNumber("11", "softphone"), RawNumber("691539846", "mobile")),
            tags=("PBX Manager", "8042"),
        ),
        Record(got[2].id, display_name="Billing Department", numbers=(RawNumber("15", "softphone"),)),
    ]


def test_what_is_numeric_is_a_number_whatever_an_unstructured_file_calls_its_column():
    rows = "Name,Company,Country,Mobile,Email\nAnna,691539847,352,12,4711\nBob,White Cross,LU,13,bob@example.com\n"
    anna, bob = read(rows)
    assert (anna.company, [number.text for number in anna.numbers]) == ("", ["691539847", "352", "12", "4711"])
    assert (bob.company, bob.country, bob.emails) == ("White Cross", "LU", ("bob@example.com",))
    assert [(number.text, number.kind) for number in bob.numbers] == [("13", "mobile")]


FIELDS = {"Language": "x-lang", "Nickname": "NickName", "Work": "tel", "Nothing": "x-nothing"}


@pytest.mark.parametrize(
    ("format", "book", "want"),
    [
        (
            "vcard",
            "BEGIN:VCARD\nVERSION:3.0\nUID:1\nFN:Ann\nTEL;TYPE=work:12\nitem1.X-LANG;X-A=b:Fran\\,c\nNICKNAME:Nan\n"
            "X-LANG:de\nX-OTHER:no\nEND:VCARD\n",
            [("Language", "Fran,c"), ("Language", "de"), ("Nickname", "Nan"), ("Work", "12")],
        ),
        (
            "vcard",
            "BEGIN:VCARD\nVERSION:2.1\nUID:1\nFN:Ann\nX-LANG;ENCODING=QUOTED-PRINTABLE:Fran=C3=A7ais\nEND:VCARD\n",
            [("Language", "Français")],
        ),
        ("csv", "Name,#.Tel,X-Lang,Nickname\nAnn,12,fr,\n", [("Language", "fr")]),
        ("csv", "Name,Tel,X-Lang,Nickname\nAnn,12,fr,Nan\n", [("Language", "fr"), ("Nickname", "Nan"), ("Work", "12")]),
        (
            "json",
            '[{"Id":"1","FirstName":"Ann","X-Lang":["fr","de"],"nickname":"Nan","Tel":""}]',
            [("Language", "fr"), ("Language", "de"), ("Nickname", "Nan")],
        ),
        (
            "xml",
            "<Contacts><Contact><Id>1</Id><FirstName>Ann</FirstName><X-Lang>fr</X-Lang></Contact></Contacts>",
            [("Language", "fr")],
        ),
        ("text", "12:Ann:fr\n", []),
    ],
)
def test_fields_that_an_admin_names_are_custom_ones(format, book, want):
    (got,) = formats.read([book.encode()], format, fields=FIELDS)
    assert list(got.custom) == want
    (plain,) = formats.read([book.encode()], format)
    assert plain.custom == ()
    assert (plain.id, plain.numbers, plain.tags) == (got.id, got.numbers, got.tags)


def test_the_page_s_unstructured_example_word_for_word():
    assert short((DATA / "mixvoip-unstructured.csv").read_bytes()) == [
        ("Pascal Knebler", ("12", "softphone"), ("691539847", "mobile")),
        ("Didelot Loic", ("11", "softphone"), ("691539846", "mobile")),
        ("Billing Department", ("15", "softphone")),
    ]


@pytest.mark.parametrize("name", ["mixvoip-structured.csv", "mixvoip-unstructured.csv"])
def test_the_page_s_examples_with_their_rows_on_lines_and_with_straight_quotes(name):
    flat = (DATA / name).read_text()
    lines = (
        flat.replace(" “Pascal", "\n“Pascal").replace(" “Didelot", "\r\n“Didelot").replace(" “Billing", "\n“Billing")
    )
    want = short(flat)
    assert short(lines) == want
    assert short(flat.replace("“", '"').replace("”", '"')) == want
    assert short(lines.replace("“", '"').replace("”", '"')) == want


@pytest.mark.parametrize(
    "encoded",
    [b"\xef\xbb\xbf" + "Jörg".encode(), "Jörg".encode("cp1252"), "Jörg".encode()],
    ids=["bom", "cp1252", "utf8"],
)
def test_encodings(encoded):
    bom, name = encoded[:3] if encoded.startswith(b"\xef\xbb\xbf") else b"", encoded.removeprefix(b"\xef\xbb\xbf")
    assert short(bom + b'"Header.Name","#.Work"\n"' + name + b'",1\n') == [("Jörg", ("1", "work"))]
    assert short(bom + b"1:" + name + b"\n") == [("Jörg", ("1", "other"))]


def test_utf_16_as_spreadsheets_write_it():
    assert short("Header.Name\t#.Work\r\nJörg\t1\r\n".encode("utf-16")) == [("Jörg", ("1", "work"))]
    with pytest.raises(errors.Unavailable, match="UTF-16"):
        read("Header.Name\t#.Work\r\nJörg\t1".encode("utf-16")[:-1])


@pytest.mark.parametrize(
    "data",
    [
        "Header.Name,#.Work\nJane,1\n",
        "Header.Name;#.Work\r\nJane;1\r\n",
        "sep=;\nHeader.Name;#.Work\nJane;1\n",
        ' "Header.Name" , "#.Work"\n "Jane" , "1" \n',
        "Header.Name,#.Work,,\nJane,1,,\n,,,\n\n",
        "Header.Name,#.Work\nJane,'1".replace("'", ""),
        "\n\nHeader.Name,#.Work\n\nJane,1",
        "“Header.Name”,“#.Work”\n“Jane”,1",
        '"Header.Name","#.Work"\n“Jane”,1',
    ],
)
def test_one_row_in_many_hands(data):
    assert short(data) == [("Jane", ("1", "work"))]


def test_headers_name_the_kinds():
    names = ("#.Work", "#.Mobile", "#.Home", "#.Fax", "#.Extension", "#.Other", "# .x", "#.Home Fax", "#.Work Mobile")
    data = "Header.Name," + ",".join(names) + "\nX,1,2,3,4,5,6,7,8,9\n"
    got = read(data)[0]
    assert [number.kind for number in got.numbers] == [
        "work", "mobile", "home", "fax", "softphone", "other", "fax", "mobile",
    ]  # fmt: skip
    assert got.tags == ("7",)


def test_fields_have_their_columns_and_the_rest_are_tags():
    got = read("Header.Name;#.Work;Company;E-Mail;Country;Note\nJane;+352 1;Example;j@example.com;lu;VIP\n")[0]
    want = Record(
        got.id,
        display_name="Jane",
        company="Example",
        emails=("j@example.com",),
        addresses=(Address(country="lu"),),
        numbers=(RawNumber("+352 1", "work"),),
        tags=("VIP",),
        country="LU",
    )
    assert got == want


def test_numbers_of_the_unstructured_form_are_whatever_is_numeric():
    data = "Name,Mobile,Note,Zip\nJane,+352 (0) 621/123-456,call at 5,8042\n12,34,n/a,\n"
    assert short(data) == [
        ("Jane", ("+352 (0) 621/123-456", "mobile"), ("8042", "other")),
        ("12", ("34", "mobile")),
    ]


def test_quotes_doubled_broken_over_lines_and_lost():
    data = '"Header.Name","#.Work"\n"Jane ""JD"" Doe",1\n"Two\nlines",2\n"lost,3\n"Next",4\nPlain,5\n"last,6\n'
    reason = "it has a quote that is never closed"
    assert short(data) == [
        ('Jane "JD" Doe', ("1", "work")),
        ("Two lines", ("2", "work")),
        Unreadable("line 5", reason),
        ("Next", ("4", "work")),
        ("Plain", ("5", "work")),
        Unreadable("line 8", reason),
    ]


def test_bad_rows_are_named_by_their_line():
    data = "Header.Name,#.Work,Company\nJane,1\njunk\n,2\n,3,Example\nJohn,4,,,,\n"
    assert [item if isinstance(item, Unreadable) else (item.display_name or item.company) for item in read(data)] == [
        "Jane",
        Unreadable("line 3", "it has one column, where the header has 3"),
        Unreadable("line 4", "it has no name in its first column"),
        "Example",
        "John",
    ]


def test_bad_lines_of_text_are_named_by_their_line():
    data = "+352 1:Jane:VIP:x\r\n\r\njunk\nabc:Jane\n2:\n:Jane\n3: Jane :VIP\n**701:Park\n"
    assert short(data, "text") == [
        Unreadable("line 3", "it is not number:name"),
        Unreadable("line 4", "what stands before the colon is no number"),
        Unreadable("line 5", "there is no name behind the number"),
        Unreadable("line 6", "what stands before the colon is no number"),
        ("Jane", ("+352 1", "other"), ("3", "other")),
        ("Park", ("**701", "other")),
    ]
    assert read(data, "text")[4].tags == ("VIP", "x")


@pytest.mark.parametrize(
    ("data", "format", "reason"),
    [
        ("junk\nmore junk\n", "text", "no line of it"),
        ("Header.Name,#.Work\njunk\n", "csv", "no line of this CSV"),
        ('"Header.Name,#.Work\njunk\n', "csv", "header"),
        ("hello\n", "auto", "no phone book"),
        ("PK\x03\x04\x00\x00\x00", "csv", "binary"),
        ("<html>", "text", "HTML"),
        ("a,b", "yaml", "yaml"),
    ],
)
def test_what_is_no_phone_book_says_so(data, format, reason):
    with pytest.raises(errors.BridgeError, match=reason):
        read(data, format)


@pytest.mark.parametrize("data", ["", "\n \r\n", "\ufeff"])
@pytest.mark.parametrize("format", ["auto", *formats.FORMATS])
def test_nothing_is_nothing(data, format):
    assert read(data, format) == []


@pytest.mark.parametrize(
    ("head", "name", "want"),
    [
        (b"BEGIN:VCARD", "", "vcard"),
        (b"Warning: x, y\nbegin:vcard\n", "", "vcard"),
        (b" [", "", "json"),
        (b'{"a"', "x.csv", "json"),
        (b"<Contacts", "", "xml"),
        (b"Name,Mobile", "x.txt", "csv"),
        (b"Header.Name\n", "x.csv", "csv"),
        (b"+352 1:Doe, Jane\n", "x.csv", "text"),
        (b"12:Doe\n", "", "text"),
        (b"junk\n+352 1:Jane\n2:John\n", "", "text"),
        ("Name;Größe".encode("utf-16"), "", "csv"),
    ],
)
def test_the_format_shows_in_the_content(head, name, want):
    assert formats.detect(head, name) == want


def test_lines_of_one_name_are_one_contact_wherever_they_stand():
    data = "".join(f"{n}:Name {n % 700}\n" for n in range(2100))
    padding = "x" * 5000  # beyond some megabytes the lines are grouped in parts
    want = {f"Name {n}": tuple(RawNumber(str(n + 700 * k)) for k in range(3)) for n in range(700)}
    got = read(data)
    assert [item.display_name for item in got] == list(want)
    again = read(data.replace("\n", f":{padding}\n"))
    assert {item.display_name: item.numbers for item in again} == want
    assert {item.id for item in again} == {item.id for item in got}


def test_ids_come_from_names_with_an_ordinal_for_a_repeated_one():
    def ids(first: str) -> list[str]:
        return [item.id for item in read(f"Header.Name,#.Work\nJane,{first}\nJohn,2\nJane,3\n")]

    assert ids("1") == ids("9")
    assert len(set(ids("1"))) == 3


BITS = [
    b'"',
    b",",
    b";",
    b"\n",
    b"\r",
    b" ",
    b"Jane",
    b"12",
    b":",
    b"#.",
    b"\xe2\x80\x9c",
    b"\xe2\x80\x9d",
    b"\xff",
    b"'=",
]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(BITS), max_size=40).map(b"".join), st.integers(1, 9), st.sampled_from(["csv", "text"]))
def test_nothing_raises_anything_but_unavailable_however_it_is_cut(data, size, format):
    data = (b"Header.Name,#.Work\n" if format == "csv" else b"1:X\n") + data

    def outcome(chunks: list[bytes]) -> list[Record | Unreadable]:
        found: list[Record | Unreadable] = []
        with contextlib.suppress(errors.Unavailable):
            found = list(formats.read(chunks, format))
        return found

    assert outcome([data[at : at + size] for at in range(0, len(data), size)]) == outcome([data])


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["auto", *formats.FORMATS]))
def test_arbitrary_bytes_raise_nothing_but_unavailable(data, format):
    with contextlib.suppress(errors.Unavailable):
        list(formats.read([data], format))
