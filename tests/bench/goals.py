"""What a benchmark found, beside what is wanted: in lines that figures.py makes the README's table of."""

from __future__ import annotations

LINE = "figure: "


def at_least(what: str, seen: float, wanted: float, unit: str = "") -> bool:
    """Print a figure that may not be smaller; whether it is not."""
    return _figure(what, f"{_short(seen)} {unit}", f"at least {_short(wanted)} {unit}", met=seen >= wanted)


def at_most(what: str, seen: float, wanted: float, unit: str = "") -> bool:
    """Print a figure that may not be larger; whether it is not."""
    return _figure(what, f"{_short(seen)} {unit}", f"at most {_short(wanted)} {unit}", met=seen <= wanted)


def shown(what: str, seen: str) -> None:
    """Print what nobody set a goal for."""
    _figure(what, seen, "", met=True)


def _figure(what: str, seen: str, wanted: str, *, met: bool) -> bool:
    cells = (what, seen.strip(), wanted.strip() + ("" if met else ": missed"))
    print(LINE + " | ".join(cell.replace("|", "/") for cell in cells), flush=True)
    return met


def _short(number: float) -> str:
    """Three digits that say something, and no more."""
    if number == int(number) or abs(number) >= 100:
        return f"{number:,.0f}"
    return f"{number:.1f}" if abs(number) >= 10 else f"{number:.2f}"
