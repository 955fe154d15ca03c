from __future__ import annotations

import unicodedata
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge import contact, normalise
from bridge.contact import Address, Contact, Number, RawNumber, Record


def of(**fields: Any) -> Contact:
    return normalise.normalise(Record(id="1", **fields), "crm", "LU")


def numbers(*raw: RawNumber, region: str = "LU", internal_digits: int = 5) -> tuple[Number, ...]:
    return normalise.normalise(Record(id="1", numbers=raw), "crm", region, internal_digits).numbers


def test_whole_record_becomes_its_contact() -> None:
    record = Record(
        id="003",
        first_name=" Anne-\u00a0Marie ",
        last_name="Mu\u0308ller",
        display_name="Anne\tMarie\nMu\u0308ller",
        company="Müller  & Söhne",
        emails=(" Anne@Example.com ", "", "anne@example.com"),
        addresses=(Address("1, rue\r\nX", "1234", "Luxembourg", "", "LU"), Address()),
        numbers=(RawNumber("621 123 456", "mobile"), RawNumber("200", "softphone")),
        tags=("vip", " ", "vip"),
        country="lu",
        contact_url=" https://crm.example/003 ",
        company_url="javascript:alert(1)",
        custom=(("Language", "fr\x00"), ("Empty", ""), ("", "nameless")),
        version="etag",
    )
    assert normalise.normalise(record, "crm", "LU") == Contact(
        source="crm",
        id="003",
        first_name="Anne- Marie",
        last_name="Müller",
        display_name="Anne Marie Müller",
        company="Müller & Söhne",
        emails=("Anne@Example.com",),
        addresses=(Address("1, rue X", "1234", "Luxembourg", "", "LU"),),
        numbers=(Number("+352621123456", "mobile", "621 123 456"), Number("200", "softphone", "200")),
        tags=("vip",),
        country="LU",
        contact_url="https://crm.example/003",
        company_url="",
        custom=(("Language", "fr"),),
    )


@pytest.mark.parametrize(
    ("url", "want"),
    [
        ("http://crm.example", "http://crm.example"),
        ("HTTPS://crm.example/a?b#c", "HTTPS://crm.example/a?b#c"),
        ("ftp://crm.example", ""),
        ("crm.example", ""),
        ("https://", ""),
        ("https:///path", ""),
        ("https://crm.example/a b", ""),
        ("https://crm.example/\x00", ""),
        ("data:text/html,https://crm.example", ""),
    ],
)
def test_only_web_addresses_are_kept(url: str, want: str) -> None:
    assert of(contact_url=url).contact_url == want


@pytest.mark.parametrize(("country", "want"), [("de", "DE"), (" LU ", "LU"), ("Germany", ""), ("ß", ""), ("1A", "")])
def test_country_is_an_iso_code_or_nothing(country: str, want: str) -> None:
    assert of(country=country).country == want


def test_two_numbers_in_one_field_are_two_of_its_kind() -> None:
    assert numbers(RawNumber("621 123 456 / 691 123 456", "mobile")) == (
        Number("+352621123456", "mobile", "621 123 456 / 691 123 456"),
        Number("+352691123456", "mobile", "621 123 456 / 691 123 456"),
    )
    assert [n.key for n in numbers(RawNumber("621123456\n691123456"))] == ["+352621123456", "+352691123456"]


def test_what_is_no_number_stays_as_written_and_is_counted() -> None:
    held = of(numbers=(RawNumber(" unknown ", "work"), RawNumber("unknown"), RawNumber("  "), RawNumber("200")))
    assert held.numbers == (Number("", "work", "unknown"), Number("200", "other", "200"))
    assert normalise.unreadable(held) == 1


def test_number_written_twice_is_one_of_the_first_kind() -> None:
    assert numbers(RawNumber("621 123 456", "mobile"), RawNumber("26 12 34"), RawNumber("+352621123456", "work")) == (
        Number("+352621123456", "mobile", "621 123 456"),
        Number("+352261234", "other", "26 12 34"),
    )


def test_own_number_goes_before_the_same_of_the_company() -> None:
    of_company, own = RawNumber("26 12 34", "work", company=True), RawNumber("+352 261234", "home")
    assert numbers(of_company, own) == (Number("+352261234", "home", "+352 261234"),)
    assert numbers(own, of_company) == (Number("+352261234", "home", "+352 261234"),)
    assert numbers(of_company) == (Number("+352261234", "work", "26 12 34", company=True),)


def test_region_and_length_of_extensions_are_the_sources_own() -> None:
    assert [n.key for n in numbers(RawNumber("030 123456"), region="DE")] == ["+4930123456"]
    assert [n.key for n in numbers(RawNumber("261234"), internal_digits=6)] == ["261234"]


def test_rules_name_what_makes_a_contact() -> None:
    all_rules = {normalise.rules(region, digits) for region in ("LU", "DE") for digits in (4, 5)}
    assert len(all_rules) == 4
    assert max(map(len, all_rules)) <= 64
    assert normalise.rules("lu", 5) == normalise.rules("LU", 5)


TEXT = st.text(st.characters(), max_size=20)
RECORDS = st.builds(
    Record,
    id=st.just("1"),
    first_name=TEXT,
    last_name=TEXT,
    display_name=TEXT,
    company=TEXT,
    emails=st.lists(TEXT, max_size=3).map(tuple),
    addresses=st.lists(st.builds(Address, TEXT, TEXT, TEXT, TEXT, TEXT), max_size=2).map(tuple),
    numbers=st.lists(
        st.builds(RawNumber, TEXT | st.text("0123456789+ /"), st.sampled_from(contact.KINDS), st.booleans()),
        max_size=4,
    ).map(tuple),
    tags=st.lists(TEXT, max_size=3).map(tuple),
    country=TEXT,
    contact_url=TEXT,
    custom=st.lists(st.tuples(TEXT, TEXT), max_size=2).map(tuple),
)


@settings(deadline=None)
@given(RECORDS)
def test_any_record_becomes_a_contact_that_can_be_stored(record: Record) -> None:
    held = normalise.normalise(record, "crm", "LU")
    dumped = contact.dump(held)
    assert contact.load(dumped) == held
    assert b"\\u0000" not in dumped
    keys = [n.key for n in held.numbers if n.key]
    assert len(keys) == len(set(keys))
    for text in (held.first_name, held.company, *held.emails, *held.tags):
        assert text == unicodedata.normalize("NFC", text)
        assert text == " ".join(text.split())


@settings(deadline=None)
@given(RECORDS)
def test_normalising_again_changes_nothing(record: Record) -> None:
    held = normalise.normalise(record, "crm", "LU")
    again = Record(
        id=held.id,
        first_name=held.first_name,
        last_name=held.last_name,
        display_name=held.display_name,
        company=held.company,
        emails=held.emails,
        addresses=held.addresses,
        tags=held.tags,
        country=held.country,
        contact_url=held.contact_url,
        custom=held.custom,
    )
    want = Contact(**{name: getattr(held, name) for name in Contact.__slots__ if name != "numbers"})
    assert normalise.normalise(again, "crm", "LU") == want
