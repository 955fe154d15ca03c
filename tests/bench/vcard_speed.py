"""Microseconds a vCard, beside the floor: splitting the same bytes into lines, and making the values that come out.

python tests/bench/vcard_speed.py [cards]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable

import goals

from bridge import formats
from bridge.contact import RawNumber, Record

CHUNK = 1 << 18
ROUNDS = 7


def card(n: int) -> str:
    """Ten lines, two or three numbers."""
    third = f"TEL;TYPE=HOME:+352 27 {n:06d}\r\n" if n % 2 else f"NOTE:customer {n}\r\n"
    return (
        f"BEGIN:VCARD\r\nVERSION:3.0\r\nUID:urn:uuid:4fbe8971-0bc3-424c-9c26-{n:012d}\r\n"
        f"FN:Jane Doe {n}\r\nN:Doe {n};Jane;;;\r\nORG:Example S.A.\r\n"
        f"TEL;TYPE=WORK,VOICE:+352 20 {n:06d}\r\nTEL;TYPE=CELL:+352 621 {n:06d}\r\n{third}"
        f"EMAIL;TYPE=INTERNET:jane{n}@example.com\r\nEND:VCARD\r\n"
    )


def seconds(work: Callable[[], object]) -> float:
    """The best of some rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return best


def use_up(items: Iterable[object]) -> int:
    return sum(1 for _ in items)


def values(count: int) -> None:
    for n in range(count):
        numbers = [RawNumber("+352 20 1", "work"), RawNumber("+352 621 1", "mobile")]
        if n % 2:
            numbers.append(RawNumber("+352 27 1", "home"))
        Record(id="1", first_name="Jane", last_name="Doe", display_name="Jane Doe", numbers=tuple(numbers))


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    data = "".join(map(card, range(count))).encode()
    chunks = [data[at : at + CHUNK] for at in range(0, len(data), CHUNK)]
    if use_up(formats.read(chunks)) != count:
        sys.exit("not every card was read")
    rows = {
        "reading": seconds(lambda: use_up(formats.read(chunks))),
        "floor: splitting into lines": seconds(lambda: use_up(data.decode().split("\r\n"))),
        "floor: the record and its numbers": seconds(lambda: values(count)),
    }
    for name, took in rows.items():
        print(f"{name:36}{took / count * 1e6:7.1f} µs a card")
    took, floor = rows["reading"], sum(rows.values()) - rows["reading"]
    what = "reading a vCard of ten lines, beside splitting it into lines and making the record"
    goals.shown(what, f"{took / floor:.1f} times as long")


if __name__ == "__main__":
    main()
