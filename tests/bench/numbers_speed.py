"""Microseconds a number: ours, never asked before, beside libphonenumber's parse, is_valid and format.

python tests/bench/numbers_speed.py [HOW_MANY]
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Iterable

import goals
import phonenumbers

from bridge import numbers


def main() -> None:
    many = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    ratios = []
    for name, region, texts in samples(many):
        ours = cost(lambda text, region=region: numbers.read(text, region), texts)
        library = cost(lambda text, region=region: by_library(text, region), texts)
        print(f"{name:32} ours {ours:6.2f} µs   library {library:6.2f} µs   ratio {library / ours:5.1f}")
        ratios.append(library / ours)
    goals.shown(
        f"reading a number, beside the phonenumbers library, by {len(ratios)} ways of writing one",
        f"{min(ratios):.1f} to {max(ratios):.1f} times as fast",
    )


def samples(many: int) -> Iterable[tuple[str, str, list[str]]]:
    """Distinct numbers as address books write them."""
    rng = random.Random(1)
    subscriber = [f"{n:06}" for n in rng.sample(range(200_000, 1_000_000), many)]
    yield "international, LU", "LU", [f"+352 621 {s[:3]} {s[3:]}" for s in subscriber]
    yield "international, DE in LU", "LU", [f"+49 30 {s}" for s in subscriber]
    yield "international, bare", "DE", [f"+49171{s}0" for s in subscriber]
    yield "international, 00", "LU", [f"00352 621 {s}" for s in subscriber]
    yield "international, US in DE", "DE", [f"+1 212-{s[:3]}-{s[3:]}1" for s in subscriber]
    yield "international, bracket zero", "DE", [f"+49 (0)30 {s}" for s in subscriber]
    yield "national, DE", "DE", [f"030 {s}" for s in subscriber]
    yield "national, DE with slash", "DE", [f"030/{s}" for s in subscriber]
    yield "national, LU", "LU", [f"621 {s[:3]} {s[3:]}" for s in subscriber]
    yield "national, US", "US", [f"(212) {s[:3]}-{s[3:]}1" for s in subscriber]
    yield "with words", "DE", [f"Tel.: 030 {s} (privat)" for s in subscriber]
    yield "E.164 without plus", "LU", [f"49171{s}0" for s in subscriber]
    yield "extensions", "LU", [s[:5] for s in subscriber]


def cost(read: Callable[[str], object], texts: list[str]) -> float:
    read(texts[0])
    start = time.process_time()
    for text in texts:
        read(text)
    return (time.process_time() - start) / len(texts) * 1e6


def by_library(text: str, region: str) -> str:
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return ""
    if not phonenumbers.is_valid_number(number):
        return ""
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


if __name__ == "__main__":
    main()
