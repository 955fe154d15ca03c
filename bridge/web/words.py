"""Times, counts and other people's texts, as the page writes them. Pure."""

from __future__ import annotations

import datetime
import unicodedata

from bridge.web import MANY

_UNITS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))
_LONGEST = 300
_TURNS = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Kinds of characters that show nothing, and may turn what stands around them."""


def span(seconds: float) -> str:
    """A length of time in its largest unit, such as "3 min"; the largest two where the first is small."""
    left = max(0.0, seconds)
    if left < 1:
        return f"{left * 1000:.0f} ms" if left else "0 s"
    for n, (size, unit) in enumerate(_UNITS):
        if left >= size:
            count = int(left // size)
            rest = int(left % size // _UNITS[n + 1][0]) if count < 3 and n + 1 < len(_UNITS) else 0
            return f"{count} {unit} {rest} {_UNITS[n + 1][1]}" if rest else f"{count} {unit}"
    return "0 s"


def ago(when: datetime.datetime, now: datetime.datetime) -> str:
    """How long ago, or how soon."""
    seconds = (now - when).total_seconds()
    if abs(seconds) < 1:
        return "now"
    return f"{span(seconds)} ago" if seconds > 0 else f"in {span(-seconds)}"


def stamp(when: datetime.datetime) -> str:
    """A moment for people, in UTC."""
    return when.astimezone(datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def seconds(value: float) -> str:
    """How long something took, to the digits that matter."""
    if value < 0.0995:
        return f"{value * 1000:.0f} ms" if value >= 0.001 else "under 1 ms"
    return f"{value:.1f} s" if value < 100 else span(value)


def count(number: int) -> str:
    """A number that people can read."""
    return f"{number:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def bounded(number: int) -> str:
    """A count that stopped at `MANY`."""
    return f"{count(MANY - 1)}+" if number >= MANY else count(number)


def plural(number: int, one: str, many: str = "") -> str:
    """A count with its noun: "1 loss", "2 losses"; `many` "": with an s."""
    return f"{bounded(number)} {one if number == 1 else many or one + 's'}"


def text(said: object, most: int = _LONGEST) -> str:
    """What others wrote, of bounded length, and without what would turn or hide the text around it."""
    raw = str(said)
    shown = raw[:most]
    if not shown.isprintable():
        shown = "".join(" " if unicodedata.category(c) in _TURNS else c for c in shown)
    return shown if len(raw) <= most else shown.rstrip() + "…"


def link(url: object) -> str:
    """A URL that may stand in a link; "" where it is none of the web's."""
    raw = str(url)
    fit = len(raw) <= 2000 and raw.lower().startswith(("http://", "https://"))
    return raw if fit and raw.isprintable() else ""
