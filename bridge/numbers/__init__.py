"""Telephone numbers: what a field holds, how a caller's number may be read, how a number is spelled. No I/O.

A key is what a number is stored, matched and pushed by: E.164 with its plus where libphonenumber calls it valid,
else the dialable characters (`0-9*#`) of an extension or service number. This package alone knows libphonenumber.
"""

from __future__ import annotations

import functools
import re
from typing import Literal, NamedTuple

from bridge.numbers import plans, ways, written

RULES: str = f"1/{plans.VERSION}"
"""The version of these rules and of the numbering plans; a contact is normalised anew when it changes."""

Style = Literal["digits", "e164", "zeros", "national"]

_INTERNATIONAL = re.compile(r"\+[1-9](?:[ .-]?[0-9]){6,14}")
_DIGITS = re.compile(rf"[1-9][0-9]{{0,{written.LONGEST - 1}}}")
_LONGEST_FIELD = 250
_MEMO = 8192
_STUB = re.compile(r"(?:\+|00(?=[1-9]))\d{0,6}")


def read(text: str, region: str, internal_digits: int = 5) -> tuple[str, ...]:
    """Keys of all numbers in one field as written, in order, none twice; () where there is none."""
    if _INTERNATIONAL.fullmatch(text):
        # Most numbers in a CRM: answered here, each in a quarter of the time that the general way takes.
        e164 = plans.international(text[1:].replace(" ", "").replace("-", "").replace(".", ""))
        if e164:
            return (e164,)
    return _read(text, region, internal_digits) if len(text) <= _LONGEST_FIELD else ()


def readings(asked: str, region: str, internal_digits: int = 5) -> tuple[str, ...]:
    """Keys that a number as dialled may mean, best first; () for what is no number."""
    return tuple(dict(_ways(asked, region, internal_digits)))


def explain(asked: str, region: str, internal_digits: int = 5) -> list[tuple[str, str]]:
    """The readings, each with a sentence on why it is one."""
    why: dict[str, str] = {}
    for key, reason in _ways(asked, region, internal_digits):
        why.setdefault(key, reason.replace("{place}", region.upper()))
    return list(why.items())


def spell(key: str, style: Style, region: str) -> str:
    """A key as a PBX wants it: 352…, +352…, 00352…, or as dialled in the region; what is not E.164 stays as it is."""
    if style == "e164" or not key.startswith("+"):
        return key
    if style == "digits":
        return key[1:]
    return (_national(key, region) if style == "national" else "") or "00" + key[1:]


class Dialling(NamedTuple):
    """How numbers are spelled for who dials them; by default as they are kept."""

    style: Style = "e164"
    region: str = ""
    internal_digits: int = 5

    def spell(self, key: str) -> str:
        """The key as it is to be dialled."""
        return spell(key, self.style, self.region)

    def internal(self, key: str) -> bool:
        """Whether it is an extension: up to so many digits, no 0 or + in front."""
        return is_internal(key, self.internal_digits)


AS_KEPT = Dialling()


def is_internal(text: str, internal_digits: int) -> bool:
    """Whether a text is an extension's number: up to so many digits, no 0 or + in front.

    Narrower than what is read as dialled (`ways.internal`), which service codes and emergency numbers are as well.
    """
    return len(text) <= internal_digits and bool(_DIGITS.fullmatch(text))


@functools.lru_cache(_MEMO)
def _read(text: str, region: str, internal_digits: int) -> tuple[str, ...]:
    candidates = written.plain(text)
    found = [candidates] if candidates else written.numbers(text, _nanp(region))
    keys = [_key(number, region, internal_digits) for number in found]
    if len(keys) == 1 and not keys[0].startswith("+"):
        keys = _apart(text, region, internal_digits) or keys
    return tuple(dict.fromkeys(key for key in keys if key))


def _key(candidates: written.Candidates, region: str, internal_digits: int) -> str:
    for dialled in candidates:
        if ways.internal(dialled, internal_digits):
            return dialled
        e164 = ways.written(dialled, region)
        if e164:
            return e164
    # A country code and no more, as forms are prefilled with, can be dialled no more than a word.
    return "" if _STUB.fullmatch(dialled) else dialled.removeprefix("+")


def _apart(text: str, region: str, internal_digits: int) -> list[str]:
    """A field that is no valid number in one piece, as several: only where each of them is one."""
    keys = [_key(number, region, internal_digits) for number in written.loose(text)]
    return keys if all(key.startswith("+") for key in keys) else []


def _ways(asked: str, region: str, internal_digits: int) -> list[ways.Way]:
    if _DIGITS.fullmatch(asked):
        return ways.asked(asked, region, internal_digits)  # as the CONNECTOR sends nearly all of them
    if len(asked) > _LONGEST_FIELD:
        return []
    plain = written.plain(asked)
    found = [plain] if plain else written.numbers(asked, _nanp(region))
    return [
        way for candidates in found for dialled in candidates for way in ways.asked(dialled, region, internal_digits)
    ]


def _national(key: str, region: str) -> str:
    """As dialled in the region; "" for numbers of other countries, or where it would be read as another number."""
    rules = plans.plan(region)
    if rules is None or plans.split(key[1:])[0] != rules.code:
        return ""
    significant = key[1 + len(rules.code) :]
    for digits in (plans.written_nationally(key), rules.trunk + significant):
        if read(digits, region) == (key,):
            return digits
    return ""


def _nanp(region: str) -> bool:
    rules = plans.plan(region)
    return rules is not None and rules.code == plans.NANP
