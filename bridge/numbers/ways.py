"""Which number digits are, when they do not say it: the order in which they may be read, and why.

For what a source holds there is one answer; for what a caller's switch sends there are several, best first.
"""

from __future__ import annotations

from bridge.numbers import plans

Way = tuple[str, str]
"""A key, and one sentence on why the digits may mean it, where {place} stands for the region."""

_EMERGENCY = 3
"""No country has a whole number of so few digits: 110, 112 and the like are dialled as they are."""
_LONG = 10
"""From so many digits on, a number without trunk zero in a country that has one is an international one."""


def internal(dialled: str, digits: int) -> bool:
    """Whether these are an extension, a service code or an emergency number, to be kept as dialled."""
    if "*" in dialled or "#" in dialled:
        return True
    return dialled[0] not in "+0" and len(dialled) <= max(digits, _EMERGENCY)


def written(dialled: str, region: str) -> str:
    """The E.164 number that digits in a source of this region mean, or "" where they are none."""
    if dialled[0] == "+":
        return plans.international(dialled[1:]) or _mended(dialled[1:])
    if dialled.startswith("00"):
        rest = dialled[2:].lstrip("0")
        return plans.international(rest) or plans.national(dialled, region) or _mended(rest)
    if dialled[0] == "0":
        return plans.national(dialled, region) or _without_zero(dialled, region)
    if _national_first(dialled, region):
        found = plans.national(dialled, region) or plans.international(dialled)
    else:
        found = plans.international(dialled) or plans.national(dialled, region)
    return found or _mended(dialled) or _with_zero(dialled, region)


def asked(dialled: str, region: str, digits: int) -> list[Way]:
    """Every sensible reading of a caller's number, best first; a key may come twice."""
    if internal(dialled, digits):
        return [(dialled, _SERVICE if "*" in dialled or "#" in dialled else _EXTENSION)]
    valid = _valid(dialled, region)
    bare = dialled.removeprefix("+")
    found = [way for way in valid if way[0]]
    found.append((bare, _AS_CAME))
    return found if valid[0][0] else found + _siblings(bare, region, digits)


_SERVICE = "a service code is taken as dialled"
_EXTENSION = "so few digits are an extension"
_AS_CAME = "the digits as they came, for a number that is kept as written"


def _valid(dialled: str, region: str) -> tuple[Way, ...]:
    """The E.164 numbers that the digits may be, "" for what is none; the first is what the form says they are."""
    if dialled[0] == "+":
        return (
            (plans.international(dialled[1:]), "it begins with a plus: an international number"),
            (_mended(dialled[1:]), "with a plus, after mending a digit that the country dropped or added"),
        )
    if dialled.startswith("00"):
        rest = dialled[2:].lstrip("0")
        return (
            (plans.international(rest), "00 is a plus: an international number"),
            (plans.national(dialled, region), "as dialled in {place}"),
            (_mended(rest), "00 is a plus, after mending a digit that the country dropped or added"),
        )
    if dialled[0] == "0":
        return (
            (plans.national(dialled, region), "it begins with a zero: a number as dialled in {place}"),
            (_without_zero(dialled, region), "{place} dials no zero in front: read without it"),
        )
    code, rest = plans.split(dialled)
    return (
        (plans.behind(code, rest), "an international number without its plus, as the CONNECTOR sends it"),
        (plans.national(dialled, region), "a number as dialled in {place}"),
        (_mend(code, rest), "international without its plus, after mending a digit that the country dropped or added"),
        (_with_zero(dialled, region), "a number of {place} that lost its zero"),
    )


def _siblings(bare: str, region: str, digits: int) -> list[Way]:
    """Other spellings of what is no valid number, whole every time: it may be kept as one of them."""
    rules = plans.plan(region)
    found: list[Way] = []
    if bare.startswith("00") and len(bare) > 2:
        found.append((bare[2:], "the same digits without 00"))
    elif bare[0] != "0":
        found.append(("00" + bare, "the same digits behind 00"))
    elif rules is not None:
        found.append((rules.code + bare[1:], "the same digits behind the code of {place}"))
    if rules is not None and bare.startswith(rules.code) and len(bare) - len(rules.code) > max(digits, _EMERGENCY):
        rest = bare[len(rules.code) :]
        found.append((rest, "the same digits without the code of {place}"))
        found.append((rules.trunk + rest, "the same digits as dialled in {place}"))
    return found


def _national_first(dialled: str, region: str) -> bool:
    """Without a plus: where numbers begin with a trunk zero a long one without it is international; elsewhere the
    usual length decides, since one in ten national numbers of North America is valid behind a plus too."""
    rules = plans.plan(region)
    if rules is None:
        return False
    if rules.trunk == "0":
        return len(dialled) < _LONG
    trunk = len(rules.trunk) if dialled.startswith(rules.trunk) else 0
    return len(dialled) <= rules.typical + trunk


def _mended(digits: str) -> str:
    """Valid once a known slip is undone: a zero behind the country code, Italy's lost zero, Mexico's old mobile 1."""
    return _mend(*plans.split(digits))


def _mend(code: str, rest: str) -> str:
    if rest[:1] == "0":
        return plans.international(code + rest.lstrip("0"))
    if code == "39":
        return plans.international(code + "0" + rest)
    if code == "52" and rest[:1] == "1":
        return plans.international(code + rest[1:])
    return ""


def _without_zero(dialled: str, region: str) -> str:
    """ "0621 123456" and "0352 621 123456" in Luxembourg, which dials no zero: read without it."""
    rules = plans.plan(region)
    if rules is None:
        return ""
    bare = dialled[1:]
    own = plans.international(bare) if bare.startswith(rules.code) else ""
    return own or (plans.national(bare, region) if rules.trunk != "0" and bare else "")


def _with_zero(dialled: str, region: str) -> str:
    """A spreadsheet takes the zero away that belongs to an Italian number."""
    rules = plans.plan(region)
    return plans.national("0" + dialled, region) if rules is not None and rules.code == "39" else ""
