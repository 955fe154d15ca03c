"""Runs as a picture over time: slots of equal length, and a lane for each thing that is counted. Pure."""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bridge.web import words

SLOTS = 72
WIDE, HIGH = 10, 100
"""A slot in units of the picture."""
_LEAST = 10
"""What is little is still seen."""


@dataclass(frozen=True, slots=True)
class Period:
    """How far back a picture goes."""

    key: str
    title: str
    seconds: float

    @property
    def step(self) -> float:
        """Seconds of one slot."""
        return self.seconds / SLOTS


PERIODS = (
    Period("hour", "1 hour", 3600.0),
    Period("day", "24 hours", 86400.0),
    Period("week", "7 days", 7 * 86400.0),
    Period("month", "30 days", 30 * 86400.0),
)
USUAL = PERIODS[1]


@dataclass(frozen=True, slots=True)
class Lane:
    """One thing that is counted: its bars as the path of an SVG, and what they come to."""

    name: str
    bars: str
    told: str


@dataclass(frozen=True, slots=True)
class Moment:
    """One slot that has runs: where it is, and what happened then."""

    x: int
    told: str


@dataclass(frozen=True, slots=True)
class Picture:
    """All runs of one source within a period. `failed`: a path, too; `told` says all of it in a sentence."""

    lanes: tuple[Lane, ...]
    failed: str
    moments: tuple[Moment, ...]
    runs: int
    failures: int
    told: str


def period(key: str) -> Period:
    """The period of that key, or the usual one."""
    return next((one for one in PERIODS if one.key == key), USUAL)


def begin(chosen: Period, now: datetime.datetime) -> datetime.datetime:
    """Where the picture begins; it moves by whole slots, so that bars do not change from one look to the next."""
    step = chosen.step
    end = math.ceil(now.timestamp() / step) * step
    return datetime.datetime.fromtimestamp(end - chosen.seconds, datetime.UTC)


def draw(rows: Sequence[Mapping[str, Any]], start: datetime.datetime, chosen: Period) -> Picture:
    """The picture of the slots that have runs."""
    inside = [row for row in rows if 0 <= row["slot"] < SLOTS]
    counts = tuple(_counted(name, inside) for name in ("added", "changed", "removed"))
    slowest = max((row["seconds"] for row in inside), default=0.0)
    took = _path((row["slot"], row["seconds"] / slowest if slowest else 0.0) for row in inside)
    runs, failed = sum(row["runs"] for row in inside), sum(row["failed"] for row in inside)
    sums = ", ".join(f"{lane.told} {lane.name}" for lane in counts)
    told = f"{words.plural(runs, 'run')} in {chosen.title}: {sums}, at most {words.seconds(slowest)}, {failed} failed"
    return Picture(
        lanes=(*counts, Lane("seconds", took, f"to {words.seconds(slowest)}")),
        failed="".join(f"M{row['slot'] * WIDE} 0h{WIDE}v{HIGH}h-{WIDE}z" for row in inside if row["failed"]),
        moments=tuple(Moment(row["slot"] * WIDE, _moment(row, start, chosen)) for row in inside),
        runs=runs,
        failures=failed,
        told=told if runs else f"no runs in {chosen.title}",
    )


def _counted(name: str, rows: Sequence[Mapping[str, Any]]) -> Lane:
    """By magnitude: the first run adds a hundred thousand, and the next ones change three."""
    most = math.log1p(max((row[name] for row in rows), default=0))
    bars = _path((row["slot"], math.log1p(row[name]) / most) for row in rows if row[name])
    return Lane(name, bars, words.count(sum(row[name] for row in rows)))


def _path(bars: Iterable[tuple[int, float]]) -> str:
    """Bars from slots and shares of the height."""
    heights = ((slot * WIDE + 1, max(_LEAST, round(share * HIGH))) for slot, share in bars)
    return "".join(f"M{x} {HIGH}v-{height}h{WIDE - 2}v{height}z" for x, height in heights)


def _moment(row: Mapping[str, Any], start: datetime.datetime, chosen: Period) -> str:
    at = start + datetime.timedelta(seconds=row["slot"] * chosen.step)
    sums = ", ".join(f"{words.count(row[name])} {name}" for name in ("added", "changed", "removed"))
    failed = f", {row['failed']} failed" if row["failed"] else ""
    runs = words.plural(row["runs"], "run")
    return f"{at:%d %b %H:%M} UTC: {runs}, {sums}, at most {words.seconds(row['seconds'])}{failed}"
