"""Phone books as they are written: to the letter, and read back."""

import itertools
import json
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from bridge import contact, errors, formats
from bridge.contact import Address, Contact, Number
from bridge.numbers import Dialling

JANE = Contact(
    "crm",
    "003",
    first_name="Jane",
    last_name="Doe",
    display_name="Jane Doe",
    company="Example: S.A.",
    emails=("jane@example.com",),
    addresses=(Address("1, rue de la Gare", "L-1611", "Luxembourg", "", "Luxembourg"),),
    numbers=(
        Number("+35220333320", "work", "20 33 33 20"),
        Number("+352621123456", "mobile", "621 123 456"),
        Number("+35220333321", "work", "20 33 33 21"),
        Number("4711", "work", "4711"),
        Number("", "home", "ask her"),
    ),
    tags=("VIP, really",),
    country="LU",
    contact_url="https://crm.example/003",
)
FIRM = Contact("crm", "001", company="Example", numbers=(Number("+35220333320", "work", "20333320"),))
NOBODY = Contact("crm", "9", numbers=(Number("+3521", "fax", "1"),))


def written(format: str, *contacts: Contact) -> str:
    return b"".join(formats.write(contacts, format)).decode()


def test_json_has_every_key_and_arrays_are_always_arrays():
    (got,) = json.loads(written("json", JANE))
    want = {
        "Id": got["Id"],
        "Checksum": contact.checksum(contact.dump(JANE)).hex(),
        "FirstName": "Jane",
        "LastName": "Doe",
        "Email": ["jane@example.com"],
        "Address": ["1, rue de la Gare", "L-1611 Luxembourg", "Luxembourg"],
        "Street": "1, rue de la Gare",
        "Zip": "L-1611",
        "City": "Luxembourg",
        "State": "",
        "Country": "Luxembourg",
        "CountryCode": "LU",
        "Softphone": ["4711"],
        "WorkNumber": ["+35220333320", "+35220333321"],
        "HomeNumber": [],
        "MobileNumber": ["+352621123456"],
        "Fax": [],
        "Other": [],
    }
    assert got == want
    assert re.fullmatch("[0-9a-f]{24}", got["Id"])


def test_extensions_stand_under_softphone_and_what_else_is_no_e164_under_its_kind():
    keys = {"4711": "work", "471": "fax", "12345678": "mobile", "0800123": "work", "*21#": "other", "9": "home"}
    phones = Contact("crm", "1", company="A", numbers=tuple(Number(key, kind, key) for key, kind in keys.items()))

    def shown(internal_digits: int) -> dict[str, list[str]]:
        (got,) = json.loads(b"".join(formats.write([phones], "json", Dialling(internal_digits=internal_digits))))
        names = ("Softphone", "WorkNumber", "HomeNumber", "MobileNumber", "Fax", "Other")
        return {name: got[name] for name in names} | {"Checksum": got["Checksum"]}

    few = shown(3)
    assert few | {"Checksum": ""} == {
        "Softphone": ["9"],
        "WorkNumber": ["4711", "0800123"],
        "HomeNumber": [],
        "MobileNumber": ["12345678"],
        "Fax": ["471"],
        "Other": ["*21#"],
        "Checksum": "",
    }
    more = shown(5)
    assert (more["Softphone"], more["WorkNumber"]) == (["4711", "9"], ["0800123"])
    assert shown(8)["Softphone"] == ["4711", "12345678", "9"]
    assert more["Checksum"] != few["Checksum"], "an app looks at nothing else"


def test_an_id_is_the_contact_s_and_nobody_else_s():
    contacts = (JANE, Contact("crm", "0030"), Contact("crm0", "03"), Contact("crm", "003", company="changed"))
    ids = [entry["Id"] for entry in json.loads(written("json", *contacts))]
    assert len(set(ids)) == 3
    assert ids[0] == ids[3]


def test_who_has_no_name_is_shown_by_the_company():
    got = json.loads(written("json", FIRM, Contact("crm", "2", display_name="Jay")))
    assert [(entry["FirstName"], entry["LastName"]) for entry in got] == [("", "Example"), ("", "Jay")]


def test_xml_is_the_page_s_without_padding():
    odd = Contact("crm", "1", first_name="<A&B>\x00\ufffe", numbers=(Number("+3521", "mobile", "1"),))
    text = written("xml", odd)
    assert text.startswith('<?xml version="1.0" encoding="utf-8"?>\n<Contacts>\n<Contact><Id>')
    (entry,) = ElementTree.fromstring(text)
    assert (entry.findtext("FirstName"), entry.findtext("MobileNumber/string")) == ("<A&B>  ", "+3521")
    assert [field.tag for field in entry] == list(json.loads(written("json", JANE))[0])


def test_text_is_one_line_a_number_and_no_number_twice():
    assert written(
        "text", JANE, FIRM, NOBODY, Contact("crm", "5", display_name=" A:\r\nB\t", numbers=JANE.numbers[3:])
    ) == (
        "+35220333320:Jane Doe:Example S.A.:VIP, really\n"
        "+352621123456:Jane Doe:Example S.A.:VIP, really\n"
        "+35220333321:Jane Doe:Example S.A.:VIP, really\n"
        "4711:Jane Doe:Example S.A.:VIP, really\n"
    )
    assert written("text", FIRM) == "+35220333320:Example\n"
    assert written("text", Contact("c", "5", display_name=" A:\r\nB\t", numbers=JANE.numbers[3:])) == "4711:A B\n"


def test_text_gives_a_number_to_whose_own_it_is():
    firm = replace(JANE.numbers[0], company=True)
    employee = Contact("crm", "1", display_name="Abe", company="Example", numbers=(firm,), tags=("a", "b:c", "a", "d"))
    assert written("text", employee) == f"{firm.key}:Abe:Example:a:b c\n"
    assert written("text", employee, JANE).count(firm.key) == 1
    assert f"{firm.key}:Jane Doe:" in written("text", employee, JANE)
    assert f"{firm.key}:Abe:" in written("text", employee, replace(employee, display_name="Ben"))


def test_csv_is_the_structured_form():
    assert written("csv", JANE, FIRM, NOBODY) == (
        '"Header.Name","#.Work","#.Mobile","#.Home","#.Extension","#.Fax","#.Other","Company","Email"\n'
        '"Jane Doe",+35220333320,+352621123456,,,,,"Example: S.A.","jane@example.com"\n'
        '"Jane Doe",+35220333321,,,,,,"Example: S.A.","jane@example.com"\n'
        '"Jane Doe",4711,,,,,,"Example: S.A.","jane@example.com"\n'
        '"Example",+35220333320,,,,,,"Example",\n'
    )


@pytest.mark.parametrize("name", ["=1+1", "+49", "-x", "@SUM(A1)", '"; =x', "'quoted"])
def test_csv_text_is_never_a_formula_and_reads_back(name):
    text = written("csv", Contact("crm", "1", display_name=name, numbers=(Number("+3521", "work", "1"),)))
    row = text.splitlines()[1]
    assert not row.removeprefix('"').startswith(("=", "+", "-", "@"))
    assert ",+3521," in row
    assert next(formats.read([text.encode()])).display_name == name


def test_vcard_is_version_3_folded_and_escaped():
    text = written("vcard", JANE)
    uid = json.loads(written("json", JANE))[0]["Id"]
    assert text == "\r\n".join(
        (
            "BEGIN:VCARD",
            "VERSION:3.0",
            f"UID:{uid}",
            "FN:Jane Doe",
            "N:Doe;Jane;;;",
            "ORG:Example: S.A.",
            "TEL;TYPE=WORK,VOICE:+35220333320",
            "TEL;TYPE=CELL,VOICE:+352621123456",
            "TEL;TYPE=WORK,VOICE:+35220333321",
            "TEL;TYPE=WORK,VOICE:4711",
            "EMAIL;TYPE=INTERNET:jane@example.com",
            "ADR:;;1\\, rue de la Gare;Luxembourg;;L-1611;Luxembourg",
            "CATEGORIES:VIP\\, really",
            "URL:https://crm.example/003",
            "END:VCARD",
            "",
        )
    )


def test_vcard_folds_between_characters():
    raw = b"".join(formats.write([Contact("crm", "1", display_name="xü€😀" * 40)], "vcard"))
    lines = raw.split(b"\r\n")
    assert max(map(len, lines)) == 75
    assert all(line.decode() for line in lines[:-1])
    assert next(formats.read([raw])).display_name == "xü€😀" * 40


def test_numbers_are_spelled_as_asked():
    shown = b"".join(formats.write([JANE], "text", Dialling("zeros"))).decode()
    assert [line.partition(":")[0] for line in shown.splitlines()] == [
        "0035220333320",
        "00352621123456",
        "0035220333321",
        "4711",
    ]


@pytest.mark.parametrize(
    ("format", "want"),
    [
        ("json", "[]\n"),
        ("xml", '<?xml version="1.0" encoding="utf-8"?>\n<Contacts>\n</Contacts>\n'),
        ("text", ""),
        ("csv", '"Header.Name","#.Work","#.Mobile","#.Home","#.Extension","#.Fax","#.Other","Company","Email"\n'),
        ("vcard", ""),
    ],
)
def test_an_empty_book_is_well_formed(format, want):
    assert written(format) == want
    assert list(formats.read([want.encode()], format)) == []


@pytest.mark.parametrize("format", formats.FORMATS)
def test_a_book_streams(format):
    endless = (
        Contact("crm", str(n), display_name=f"N{n}", numbers=(Number(f"+{n}", "work", ""),)) for n in itertools.count(1)
    )
    pieces = list(itertools.islice(formats.write(endless, format), 3))
    assert all(1 << 16 <= len(piece) < 1 << 17 for piece in pieces)


def test_an_unknown_format_is_named():
    with pytest.raises(errors.Unsupported, match=r"'yaml'.*json, xml, text, csv, vcard"):
        next(formats.write([], "yaml"))


TEXTS = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zs", "Zl", "Zp", "Cn", "Co", "Cf")), max_size=12
)
NAMES = st.builds(lambda a, b: f"{a} {b}".strip(), TEXTS, TEXTS).filter(lambda name: name.strip())
NUMBERS = st.builds(
    lambda digits, plus, kind: Number(("+" if plus else "") + digits, kind, digits),
    st.text("0123456789", min_size=1, max_size=12),
    st.booleans(),
    st.sampled_from(contact.KINDS),
)


@settings(max_examples=150, deadline=None)
@pytest.mark.parametrize("format", formats.FORMATS)
@given(data=st.lists(st.tuples(NAMES, st.lists(NUMBERS, max_size=4)), max_size=4, unique_by=lambda pair: pair[0]))
def test_what_is_written_reads_back_with_its_names_and_numbers(format, data):
    given = [
        Contact("crm", str(at), last_name=name, display_name=name, numbers=tuple(numbers))
        for at, (name, numbers) in enumerate(data)
    ]
    found: dict[str, list[str]] = {}
    for item in formats.read(formats.write(given, format), format):
        assert isinstance(item, contact.Record)
        found.setdefault(item.display_name or item.last_name, []).extend(number.text for number in item.numbers)
    assert {name: sorted(set(texts)) for name, texts in found.items()} == model(given, format)


def model(given: list[Contact], format: str) -> dict[str, list[str]]:
    """What a format keeps: text has no colons, lines only where there are numbers, and a number once."""
    names: dict[str, set[str]] = {}
    taken: set[str] = set()
    for one in given:
        keys = {number.key for number in one.numbers}
        name = one.name
        if format == "text":
            name = " ".join(name.replace(":", " ").split())
            keys -= taken
            taken |= keys
        if name and (keys or format != "text"):
            names.setdefault(name, set()).update(keys)
    return {name: sorted(keys) for name, keys in names.items()}
