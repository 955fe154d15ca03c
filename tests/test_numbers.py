from __future__ import annotations

import random
from collections.abc import Iterator

import phonenumbers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge import numbers
from bridge.numbers import plans

REGIONS = ("LU", "DE", "AT", "CH", "FR", "BE", "GB", "IT", "ES", "PT", "DK", "PL", "GR", "US", "CA", "MX", "AR", "RU")

RIGHT_IN_THE_LIBRARY = [
    ("+49 (0)30 1234567", "DE", "+49301234567"),
    ("+49(30)1234567", "DE", "+49301234567"),
    ("++49 30 1234567", "DE", "+49301234567"),
    ("0049 30 1234567", "DE", "+49301234567"),
    ("\uff0b\uff14\uff19 \uff13\uff10 \uff11\uff12\uff13\uff14\uff15\uff16\uff17", "DE", "+49301234567"),
    ("+49\u00a030\u20111234567", "DE", "+49301234567"),
    ("\u202a+49 30 1234567\u202c", "DE", "+49301234567"),
    ("+\u0664\u0669 \u0663\u0660 \u0661\u0662\u0663\u0664\u0665\u0666\u0667", "DE", "+49301234567"),
    ("030/1234567", "DE", "+49301234567"),
    ("(030) 1234567", "DE", "+49301234567"),
    ("+33 (0)1 42 68 53 00", "LU", "+33142685300"),
    ("+44 (0)20 7946 0958", "LU", "+442079460958"),
    ("06 1234 5678", "IT", "+390612345678"),
    ("+39 06 1234 5678", "LU", "+390612345678"),
    ("+39 (0)6 1234 5678", "LU", "+390612345678"),
    ("+39 (0)342 123456", "LU", "+390342123456"),
    ("Tel.: 621 123 456", "LU", "+352621123456"),
    ("+352 621 123 456;ext=89", "LU", "+352621123456"),
    ("+352 621 123 456 x89", "LU", "+352621123456"),
    ("+352 621 123 456 ext. 89", "LU", "+352621123456"),
    ("+352 621 123 456,,89", "LU", "+352621123456"),
    ("tel:+352-621-123-456", "LU", "+352621123456"),
]

TRAPS = [
    ("+49 30 1234567 (privat)", "DE", ("+49301234567",)),
    ("+49 30 1234567 privat", "DE", ("+49301234567",)),
    ("0800 1234567 (free)", "DE", ("+498001234567",)),
    ("+352 26 12 34 (Bureau)", "LU", ("+352261234",)),
    ("(Büro) 030 1234567", "DE", ("+49301234567",)),
    ("+49 (Berlin) 30 1234567", "DE", ("+49301234567",)),
    ("0049 30 1234567", "", ("+49301234567",)),
    ("0049 30 1234567", "US", ("+49301234567",)),
    ("0049 30 1234567", "RU", ("+49301234567",)),
    ("011 44 20 7946 0958", "US", ("+442079460958",)),
    ("41215522000", "DE", ("+41215522000",)),
    ("41215522000", "LU", ("+41215522000",)),
    ("0(0)30 1234567", "DE", ("+49301234567",)),
    ("(0)30 1234567", "DE", ("+49301234567",)),
    ("0049 (0)30 1234567", "LU", ("+49301234567",)),
    ("49 (0)30 1234567", "DE", ("+49301234567",)),
    ("+352 (0) 621 123 456", "LU", ("+352621123456",)),
    ("+352 (0) 621 123 456 (privé)", "LU", ("+352621123456",)),
    ("0621123456", "LU", ("+352621123456",)),
    ("0352 621123456", "LU", ("+352621123456",)),
    ("+39 6 12345678", "IT", ("+390612345678",)),
    ("6 12345678", "IT", ("+390612345678",)),
    ("+52 1 55 1234 5678", "LU", ("+525512345678",)),
    ("Durchwahl 89", "DE", ("89",)),
    ("DW 89", "DE", ("89",)),
    ("poste 12", "FR", ("12",)),
    ("030 1234567 DW 89", "DE", ("+49301234567",)),
    ("01 42 68 53 00 poste 12", "FR", ("+33142685300",)),
    ("+49 30 1234567p123", "DE", ("+49301234567",)),
    ("+49 30 1234567 w12", "DE", ("+49301234567",)),
    ("+49 30 1234567,,89,,12#", "DE", ("+49301234567",)),
    ("p123", "DE", ()),
    ("w12", "DE", ()),
    (",,89", "DE", ()),
    ("+49 30 1234567-89", "DE", ("+4930123456789",)),
    ("**701", "DE", ("**701",)),
    ("*21#", "DE", ("*21#",)),
    ("1234", "DE", ("1234",)),
    ("4711", "DE", ("4711",)),
    ("12345", "DE", ("12345",)),
    ("4711", "LU", ("4711",)),
    ("4012", "LU", ("4012",)),
    ("5011", "LU", ("5011",)),
    ("26331", "LU", ("26331",)),
    ("30123", "DE", ("30123",)),
    ("030123", "DE", ("+4930123",)),
    ("+352 4711", "LU", ("+3524711",)),
    ("112", "DE", ("112",)),
    ("110", "LU", ("110",)),
    ("0", "DE", ("0",)),
    ("116 117", "DE", ("116117",)),
    ("anonymous", "DE", ()),
    ("unknown", "DE", ()),
    ("user@host", "DE", ()),
    ("john2@host", "DE", ()),
    ("2nd floor", "DE", ()),
    ("", "DE", ()),
    ("()", "DE", ()),
    ("+", "DE", ()),
]

SEVERAL = [
    ("030 1234567 / 0171 1234567", "DE", ("+49301234567", "+491711234567")),
    ("0301234567/01711234567", "DE", ("+49301234567", "+491711234567")),
    ("621123456; 691123456", "LU", ("+352621123456", "+352691123456")),
    ("621123456, 691123456", "LU", ("+352621123456", "+352691123456")),
    ("621123456,691123456", "LU", ("+352621123456", "+352691123456")),
    ("621123456 or 691123456", "LU", ("+352621123456", "+352691123456")),
    ("621123456 oder 691123456", "LU", ("+352621123456", "+352691123456")),
    ("621 123 456 - 691 123 456", "LU", ("+352621123456", "+352691123456")),
    ("621123456\n691123456", "LU", ("+352621123456", "+352691123456")),
    ("621123456 691123456", "LU", ("+352621123456", "+352691123456")),
    ("+352621123456 +352691123456", "LU", ("+352621123456", "+352691123456")),
    ("Büro: 030 1234567, Mobil: 0171 1234567", "DE", ("+49301234567", "+491711234567")),
    ("030 1234567,,89 / 0171 1234567", "DE", ("+49301234567", "+491711234567")),
    ("030 1234567 (Büro) 0171 1234567 (mobil)", "DE", ("+49301234567", "+491711234567")),
    ("621123456 / 621 12 34 56", "LU", ("+352621123456",)),
    ("06221 / 12345", "DE", ("+49622112345",)),
    ("035205 / 123456", "DE", ("+4935205123456",)),
    ("621123456, 12", "LU", ("+352621123456",)),
    ("621123456 (24/7)", "LU", ("+352621123456",)),
    ("24h: 621123456", "LU", ("+352621123456",)),
]

WITHOUT_PLUS = [
    # Where numbers begin with a trunk zero, ten digits without one are an international number.
    ("352621123456", "DE", ("+352621123456",)),
    ("15112345678", "DE", ("+4915112345678",)),
    ("301234567", "DE", ("+49301234567",)),
    ("33142685300", "FR", ("+33142685300",)),
    # Elsewhere the usual length decides.
    ("261234", "LU", ("+352261234",)),
    ("26123456", "LU", ("+35226123456",)),
    ("621123456", "LU", ("+352621123456",)),
    ("352621123456", "LU", ("+352621123456",)),
    ("49301234567", "LU", ("+49301234567",)),
    ("34612345678", "ES", ("+34612345678",)),
    ("612345678", "ES", ("+34612345678",)),
    ("4520123456", "DK", ("+4520123456",)),
    ("20123456", "DK", ("+4520123456",)),
    ("390612345678", "IT", ("+390612345678",)),
    ("2125551212", "US", ("+12125551212",)),
    ("12125551212", "US", ("+12125551212",)),
    ("442079460958", "US", ("+442079460958",)),
    ("84951234567", "RU", ("+74951234567",)),
    ("74951234567", "RU", ("+74951234567",)),
]

URIS = [
    ("tel:+352-621-123-456;ext=12", "+352621123456"),
    ("TEL:%2B352621123456", "+352621123456"),
    ("tel:863-1234;phone-context=+1-914", "+19148631234"),
    ("tel:7042;phone-context=example.com", "7042"),
    ("<tel:+352621123456>", "+352621123456"),
    ("sip:+352621123456@pbx.example;user=phone", "+352621123456"),
    ("sips:621123456@10.0.0.1:5061", "+352621123456"),
    ('"Anna" <sip:621123456@pbx.example>', "+352621123456"),
    ("sip:200@pbx.example", "200"),
    ("callto:+352 621 123 456", "+352621123456"),
]


@pytest.mark.parametrize(("text", "region", "want"), RIGHT_IN_THE_LIBRARY)
def test_what_the_library_gets_right_stays_right(text: str, region: str, want: str) -> None:
    assert numbers.read(text, region) == (want,)


@pytest.mark.parametrize(("text", "region", "want"), TRAPS)
def test_what_the_library_gets_wrong_is_read_right(text: str, region: str, want: tuple[str, ...]) -> None:
    assert numbers.read(text, region) == want


@pytest.mark.parametrize(("text", "region", "want"), SEVERAL)
def test_two_numbers_in_one_field_are_two(text: str, region: str, want: tuple[str, ...]) -> None:
    assert numbers.read(text, region) == want


@pytest.mark.parametrize(("text", "region", "want"), WITHOUT_PLUS)
def test_number_without_plus_is_read_as_its_country_writes(text: str, region: str, want: tuple[str, ...]) -> None:
    assert numbers.read(text, region) == want


@pytest.mark.parametrize(("text", "want"), URIS)
def test_uri_is_its_number(text: str, want: str) -> None:
    assert numbers.read(text, "LU") == (want,)


@pytest.mark.parametrize("text", ["sip:john@pbx.example", "sip:john2@pbx.example", "sip:anonymous@anonymous.invalid"])
def test_uri_of_a_name_is_no_number(text: str) -> None:
    assert numbers.read(text, "LU") == ()


@pytest.mark.parametrize(
    ("text", "region", "want"),
    [
        ("1-800-FLOWERS", "US", ("+18003569377",)),
        ("1-800-flowers", "LU", ("+18003569377",)),
        ("+1 800 GOFEDEX", "LU", ("+18004633339",)),
        ("(800) MATTRESS", "US", ("+18006288737",)),
        ("212 555 1212 home", "US", ("+12125551212",)),
        ("0800 FLOWERS", "DE", ("0800",)),
    ],
)
def test_letters_are_dialled_in_north_america_alone(text: str, region: str, want: tuple[str, ...]) -> None:
    assert numbers.read(text, region) == want


def test_extensions_are_as_long_as_configured() -> None:
    assert numbers.read("261234", "LU", internal_digits=6) == ("261234",)
    assert numbers.read("26123", "LU", internal_digits=4) == ("+35226123",)
    assert numbers.read("112", "LU", internal_digits=0) == ("112",)


def test_what_is_no_valid_number_is_kept_as_dialled() -> None:
    assert numbers.read("+999 12345", "LU") == ("99912345",)
    assert numbers.read("+352 (0) 11 11 11", "LU") == ("352111111",)
    assert numbers.read("00999 12345", "LU") == ("0099912345",)


@pytest.mark.parametrize("text", ["+352", "+", "00352", "+49 (0)", "+352 ..."])
def test_country_code_alone_is_no_number(text: str) -> None:
    assert numbers.read(text, "LU") == ()


def test_what_is_too_long_is_no_number() -> None:
    assert numbers.read("1" * 40, "LU") == ()
    assert numbers.read("621123456 " + "x" * 300, "LU") == ()
    assert numbers.readings("1" * 300, "LU") == ()


@pytest.mark.parametrize(
    "asked", ["41215522000", "+41 21 552 20 00", "0041215522000", "0041 21 552 20 00", "021 552 20 00", "0215522000"]
)
def test_every_way_to_ask_leads_to_the_number_first(asked: str) -> None:
    assert numbers.readings(asked, "CH")[0] == "+41215522000"


@pytest.mark.parametrize(
    ("asked", "region", "want"),
    [
        ("41215522000", "DE", ("+41215522000", "+4941215522000", "41215522000")),
        ("41215522000", "LU", ("+41215522000", "+35241215522000", "41215522000")),
        ("621123456", "LU", ("+352621123456", "621123456", "00621123456")),
        (" 41215522000", "LU", ("+41215522000", "+35241215522000", "41215522000")),
        ("4711", "LU", ("4711",)),
        ("26331", "LU", ("26331",)),
        ("+3524711", "LU", ("+3524711", "3524711")),
        ("*21#", "LU", ("*21#",)),
        ("0041215522000", "LU", ("+41215522000", "0041215522000")),
        ("39612345678", "LU", ("+35239612345678", "+390612345678", "39612345678", "0039612345678")),
        ("sip:200@pbx.example", "LU", ("200",)),
        ("anonymous", "LU", ()),
        ("", "LU", ()),
        ("restricted number", "LU", ()),
        ("sip:anonymous@anonymous.invalid", "LU", ()),
    ],
)
def test_readings_are_every_sensible_one_best_first(asked: str, region: str, want: tuple[str, ...]) -> None:
    assert numbers.readings(asked, region) == want


@pytest.mark.parametrize(
    ("stored", "asked"),
    [
        ("116 117", "116117"),
        ("116 117", "352116117"),
        ("+999 12345", "0099912345"),
        ("00999 12345", "99912345"),
        ("0900", "0900"),
        ("+352 116 117", "0116117"),
    ],
)
def test_number_kept_as_dialled_is_found_however_it_is_asked(stored: str, asked: str) -> None:
    (key,) = numbers.read(stored, "LU")
    assert key in numbers.readings(asked, "LU")


def test_part_of_a_number_is_no_reading_of_it() -> None:
    assert "123456" not in numbers.readings("352621123456", "LU")
    assert "4711" not in numbers.readings("3524711", "LU")


@pytest.mark.parametrize(
    ("key", "region", "want"),
    [
        ("+352621123456", "LU", ("352621123456", "+352621123456", "00352621123456", "621123456")),
        ("+49301234567", "DE", ("49301234567", "+49301234567", "0049301234567", "0301234567")),
        ("+49301234567", "LU", ("49301234567", "+49301234567", "0049301234567", "0049301234567")),
        ("+390612345678", "IT", ("390612345678", "+390612345678", "00390612345678", "0612345678")),
        ("+12125551212", "US", ("12125551212", "+12125551212", "0012125551212", "2125551212")),
        ("+3524711", "LU", ("3524711", "+3524711", "003524711", "003524711")),
        ("200", "LU", ("200", "200", "200", "200")),
        ("*21#", "LU", ("*21#", "*21#", "*21#", "*21#")),
    ],
)
def test_spelling(key: str, region: str, want: tuple[str, ...]) -> None:
    styles: tuple[numbers.Style, ...] = ("digits", "e164", "zeros", "national")
    assert tuple(numbers.spell(key, style, region) for style in styles) == want


def test_explanation_names_each_reading_once_with_its_reason() -> None:
    assert numbers.explain("41215522000", "DE") == [
        ("+41215522000", "an international number without its plus, as the CONNECTOR sends it"),
        ("+4941215522000", "a number as dialled in DE"),
        ("41215522000", "the digits as they came, for a number that is kept as written"),
    ]
    assert numbers.explain("200", "DE") == [("200", "so few digits are an extension")]


def test_plans_say_what_the_library_says() -> None:
    wrong = []
    for region, code, digits in written_digits(random.Random(7), 6):
        international = "+" + code + digits
        if plans.international(code + digits) != plans.library(international):
            wrong.append(international)
        for national in (digits, "0" + digits, code + digits):
            if plans.national(national, region) != plans.library(national, region):
                wrong.append(f"{national} in {region}")
    assert wrong == []


def written_digits(rng: random.Random, each: int) -> Iterator[tuple[str, str, str]]:
    """Region, calling code and national digits: an example of every type everywhere, and slips of it."""
    for region in sorted(phonenumbers.SUPPORTED_REGIONS):
        for kind in range(11):
            example = phonenumbers.example_number_for_type(region, kind)
            if example is None:
                continue
            right = phonenumbers.national_significant_number(example)
            for _ in range(each):
                yield region, str(example.country_code), slip(rng, right)
    for code in phonenumbers.COUNTRY_CODES_FOR_NON_GEO_REGIONS:
        example = phonenumbers.example_number_for_non_geo_entity(code)
        assert example is not None
        yield "LU", str(code), phonenumbers.national_significant_number(example)


def slip(rng: random.Random, digits: str) -> str:
    place = rng.randrange(len(digits))
    other = str(rng.randrange(10))
    choices = (digits, digits[:-1], digits + other, other + digits, digits[:place] + other + digits[place + 1 :])
    return rng.choice(choices) or digits


VALID = [
    (region, phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164))
    for region in REGIONS
    for kind in range(11)
    if (example := phonenumbers.example_number_for_type(region, kind)) is not None
    and phonenumbers.is_valid_number(example)
]
DIALLED = st.text("0123456789+ -()/.,;*#x", max_size=30)


@settings(deadline=None)
@given(st.one_of(st.text(max_size=60), DIALLED), st.sampled_from(REGIONS), st.integers(0, 8))
def test_any_text_gives_keys_that_are_valid_or_dialable(text: str, region: str, internal_digits: int) -> None:
    keys = (*numbers.read(text, region, internal_digits), *numbers.readings(text, region, internal_digits))
    for key in keys:
        if key.startswith("+"):
            assert phonenumbers.is_valid_number(phonenumbers.parse(key))
        else:
            assert key
            assert set(key) <= set("0123456789*#")
    assert [key for key, _ in numbers.explain(text, region, internal_digits)] == list(
        numbers.readings(text, region, internal_digits)
    )


@settings(deadline=None)
@given(DIALLED, st.sampled_from(REGIONS))
def test_what_was_read_reads_as_itself(text: str, region: str) -> None:
    for key in numbers.read(text, region):
        if key.startswith("+"):
            assert numbers.read(key, region) == (key,)
        else:
            assert key in numbers.readings(key, region)


@settings(deadline=None)
@given(st.sampled_from(VALID), st.sampled_from(REGIONS))
def test_every_spelling_is_found_as_the_number_first(valid: tuple[str, str], region: str) -> None:
    _, key = valid
    assert numbers.readings(numbers.spell(key, "digits", region), region)[0] == key
    assert numbers.readings(numbers.spell(key, "e164", region), region)[0] == key
    assert numbers.readings(numbers.spell(key, "zeros", region), region)[0] == key
    assert numbers.read(numbers.spell(key, "national", region), region) == (key,)


@settings(deadline=None)
@given(
    st.one_of(st.text("0123456789", min_size=1, max_size=34), st.sampled_from([key[1:] for _, key in VALID])),
    st.sampled_from(REGIONS),
    st.integers(0, 8),
)
def test_bare_digits_are_read_as_the_same_digits_with_separators(digits: str, region: str, internal: int) -> None:
    assert numbers.readings(digits, region, internal) == numbers.readings(digits + " ", region, internal)


@settings(deadline=None)
@given(DIALLED, st.sampled_from(REGIONS))
def test_what_is_stored_is_found_as_it_was_written(text: str, region: str) -> None:
    stored = numbers.read(text, region)
    assert len(stored) != 1 or stored[0] in numbers.readings(text, region)
