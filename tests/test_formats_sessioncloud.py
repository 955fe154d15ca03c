"""SessionCloud's phone book: the page's own examples, whole and damaged."""

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge import errors, formats
from bridge.contact import Address, RawNumber, Record
from bridge.formats import Unreadable

DATA = Path(__file__).parent / "data" / "formats"
JOHN = Record(
    id="602a52f538975909a8e36a48",
    first_name="John",
    last_name="Doe",
    emails=("JDoe@gmail.com",),
    addresses=(Address(street="Privet Drive", city="Norfolk"),),
    numbers=(
        RawNumber("23423423", "softphone"),
        RawNumber("345345345", "softphone"),
        RawNumber("000000000", "work"),
        RawNumber("111111111111", "work"),
        RawNumber("22222222", "home"),
        RawNumber("333333333", "home"),
        RawNumber("444444444", "mobile"),
        RawNumber("555555555", "mobile"),
        RawNumber("6666666", "fax"),
        RawNumber("77777777", "fax"),
        RawNumber("8888888888", "other"),
        RawNumber("999999999", "other"),
    ),
)


def read(data: bytes | str, format: str = "auto", size: int = 1 << 20) -> list[Record | Unreadable]:
    raw = data.encode() if isinstance(data, str) else data
    return list(formats.read((raw[at : at + size] for at in range(0, len(raw), size)), format))


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_the_page_s_json(size):
    first, second = read((DATA / "sessioncloud.json").read_bytes(), size=size)
    assert first == JOHN
    assert (second.id, second.first_name, len(second.numbers)) == ("602bf55338975909a8e36a49", "Jane", 12)


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_the_page_s_xml(size):
    assert read((DATA / "sessioncloud.xml").read_bytes(), size=size) == [JOHN]


@pytest.mark.parametrize("name", ["sessioncloud.json", "sessioncloud.xml"])
def test_an_input_that_is_cut_anywhere_is_unavailable(name):
    data = (DATA / name).read_bytes().rstrip()
    for end in range(1, len(data)):
        with pytest.raises(errors.Unavailable):
            read(data[:end], name.rpartition(".")[2])


@pytest.mark.parametrize(
    "data", ["[]", " [ ] \n", '{"contacts": []}', "<Contacts/>", "<?xml version='1.0'?>\n<Contacts>\n</Contacts>"]
)
def test_an_empty_book_is_empty(data):
    assert read(data) == []


@pytest.mark.parametrize(
    "data",
    [
        '{"Contacts": [{"Id": "1"}, {"Id": "2"}]}',
        '{"status": {"ok": [true]}, "contacts":\n[{"Id": "1"} {"Id": "2"}], "count": 2}',
        '\ufeff[{"Id": "1"},{"Id": 2},]',
        '[{"id": "1", "Email": null, "Fax": [], "x": {"y": ["[{"]}}, {"ID": " 2\\n"}]',
        "<x:Contacts xmlns:x='u'><x:Contact><x:Id>1</x:Id></x:Contact><Contact><ID> 2 </ID></Contact></x:Contacts>",
        '\n<?xml version="1.0" encoding="utf-16"?><Contacts><Contact><Id>1</Id></Contact><Contact>'
        "<Id>2</Id></Contact></Contacts>",
    ],
)
@pytest.mark.parametrize("size", [1, 1 << 20])
def test_books_in_other_clothes(data, size):
    assert [item.id for item in read(data, size=size)] == ["1", "2"]


def test_one_object_alone_is_one_contact():
    assert [item.id for item in read('{"Id": "1", "Email": ["a@example.com"]}')] == ["1"]


def test_one_bad_object_loses_only_itself():
    data = (
        '[{"Id":"1"}, {"Id":"7", "FirstName":}, {"FirstName":"Nobody"}, null, 5, ["x"], {"Id":"2","LastName":"a\tb"}]'
    )
    assert [item if isinstance(item, Unreadable) else (item.id, item.last_name) for item in read(data)] == [
        ("1", ""),
        Unreadable("7", "this is not valid JSON"),
        Unreadable("entry 3", "it has no Id"),
        Unreadable("entry 4", "this is not an object"),
        Unreadable("entry 5", "this is not an object"),
        ("2", "a b"),
    ]


def test_one_bad_element_loses_only_itself():
    data = "<Contacts><Contact><FirstName>X</FirstName></Contact><Contact><Id>2</Id></Contact></Contacts>"
    assert read(data) == [Unreadable("entry 1", "it has no Id"), Record("2")]


def test_values_of_every_careless_kind():
    data = {
        "Id": 5,
        "FirstName": " Jane\n",
        "LastName": None,
        "Company": "Example",
        "Email": "jane@example.com",
        "WorkNumber": [35220333320, "", None, True, {"a": "b"}, " 12 "],
        "MobileNumber": {"string": ["1", "2"]},
        "CountryCode": "lu",
        "Address": ["Street 1", "L-1611 Luxembourg", "LU"],
    }
    want = Record(
        id="5",
        first_name="Jane",
        company="Example",
        emails=("jane@example.com",),
        addresses=(Address("Street 1", "L-1611", "Luxembourg", "", "LU"),),
        numbers=tuple(
            RawNumber(*pair) for pair in [("35220333320", "work"), ("12", "work"), ("1", "mobile"), ("2", "mobile")]
        ),
        country="LU",
    )
    assert read(json.dumps([data])) == [want]


def test_address_fields_win_over_address_lines():
    data = '[{"Id":"1","Address":["old"],"Street":"S","Zip":"Z","City":"C","State":"T","Country":"Luxembourg"}]'
    assert read(data)[0].addresses == (Address("S", "Z", "C", "T", "Luxembourg"),)


@pytest.mark.parametrize(
    ("data", "format", "reason"),
    [
        ("<!DOCTYPE html><html>login</html>", "json", "HTML page"),
        ('<?xml version="1.0"?>\n<!-- x --><html xmlns="x">', "xml", "HTML page"),
        ("  <HTML>", "auto", "HTML page"),
        ('<!DOCTYPE Contacts [<!ENTITY a "b">]><Contacts/>', "auto", "DOCTYPE"),
        ("<error>no</error>", "auto", "not <Contacts>"),
        ("<Contacts><Contact></Contacts>", "auto", "well-formed"),
        ("<Contacts/><Contacts/>", "auto", "well-formed"),
        ("<Contacts>&x;</Contacts>", "auto", "well-formed"),
        ("<?xml version='1.0' encoding='x-none'?><Contacts/>", "auto", "XML"),
        ("<Contacts>" + "<a>" * 100, "auto", "deep"),
        ("nothing", "json", "neither"),
        ("1 []", "json", "neither"),
        ('"text"', "json", "neither"),
        ("x[]", "json", "neither"),
        ('{"error": "denied"}', "auto", "without a list"),
        ("[}", "auto", "damaged"),
        ("[] []", "auto", "behind the end"),
        ("[]x", "auto", "behind the end"),
    ],
)
def test_what_is_no_phone_book_says_so(data, format, reason):
    with pytest.raises(errors.Unavailable, match=reason):
        read(data, format)


def test_text_in_another_encoding():
    assert read('[{"Id":"1","LastName":"Müller"}]'.encode("cp1252"))[0].last_name == "Müller"
    book = "<Contacts><Contact><Id>1</Id><LastName>Müller</LastName></Contact></Contacts>"
    xml = "<?xml version='1.0' encoding='iso-8859-1'?>" + book
    assert read(xml.encode("latin-1"))[0].last_name == "Müller"
    with pytest.raises(errors.Unavailable, match="well-formed"):
        read(book.encode("latin-1"))


def test_a_lost_quote_does_not_eat_memory_without_bound():
    with pytest.raises(errors.Unavailable, match="16 MB"):
        list(formats.read(iter([b'[{"Id":"1'] + [b"x" * (1 << 20)] * 64), "json"))


def test_a_deeply_nested_object_loses_only_itself():
    data = '[{"Id":"1"},{"Id":"7","x":' + "[" * 100_000 + "]" * 100_000 + '},{"Id":"2"}]'
    assert [item.id for item in read(data)] == ["1", "7", "2"]


PIECES = [
    b"[",
    b"]",
    b"{",
    b"}",
    b'"',
    b"\\",
    b",",
    b":",
    b'"Id"',
    b'"1"',
    b'{"Id":"1"}',
    b'"contacts":[',
    b"\xff",
    b" ",
]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES) | st.binary(max_size=5), max_size=30).map(b"".join), st.integers(1, 9))
def test_no_json_raises_anything_but_unavailable_however_it_is_cut(data, size):
    data = b"[" + data
    assert outcome(data, "json", size) == outcome(data, "json", 1 << 20)


TAGS = [
    b"<Contact>",
    b"</Contact>",
    b"<Id>",
    b"</Id>",
    b"1",
    b"<Fax><string>",
    b"</string></Fax>",
    b"&amp;",
    b"\xc3",
    b"<!--",
    b"-->",
]


@settings(deadline=None)
@given(st.lists(st.sampled_from(TAGS) | st.binary(max_size=5), max_size=20).map(b"".join), st.integers(1, 9))
def test_no_xml_raises_anything_but_unavailable_however_it_is_cut(data, size):
    data = b"<Contacts>" + data + b"</Contacts>"
    assert outcome(data, "xml", size) == outcome(data, "xml", 1 << 20)


def outcome(data: bytes, format: str, size: int) -> list[Record | Unreadable]:
    found: list[Record | Unreadable] = []
    with contextlib.suppress(errors.Unavailable):
        found = read(data, format, size)
    return found
