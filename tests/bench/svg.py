"""A plot with logarithmic axes as SVG, for the tables of cost_curves.py."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape

Points = Sequence[tuple[float, float]]

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP, _RIGHT = 720, 400, 70, 60, 40, 190
_COLOURS = ("#1b6ca8", "#c8553d", "#3a7d44", "#8e5ea2", "#b8860b", "#444444")
_UNITS = ((1e6, "M"), (1e3, "k"))


def plot(title: str, across: str, up: str, lines: Mapping[str, Points]) -> str:
    """Each line through its points; values that are not above nought are left out."""
    kept = {name: [point for point in points if min(point) > 0] for name, points in lines.items()}
    xs = _Axis([x for points in kept.values() for x, _ in points], _LEFT, _WIDTH - _RIGHT)
    ys = _Axis([y for points in kept.values() for _, y in points], _HEIGHT - _BOTTOM, _TOP)
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
            'font-size="12">',
            f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
            _text(_LEFT, 22, title, "start", 'font-size="15"'),
            _text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 14, across),
            _text(16, _TOP - 6, up, "start", 'font-style="italic"'),
            *_grid(xs, ys),
            *_lines(kept, xs, ys),
            "</svg>\n",
        )
    )


class _Axis:
    """Whole powers of ten around the values, spread from one place to another."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        logs = [math.log10(value) for value in values] or [0.0]
        self._low, self._high = math.floor(min(logs)), max(math.ceil(max(logs)), math.floor(min(logs)) + 1)
        self._start, self._end = start, end

    def at(self, value: float) -> float:
        share = (math.log10(value) - self._low) / (self._high - self._low)
        return round(self._start + share * (self._end - self._start), 1)

    def ticks(self) -> list[float]:
        return [10.0**power for power in range(self._low, self._high + 1)]


def _grid(xs: _Axis, ys: _Axis) -> Iterator[str]:
    for tick in xs.ticks():
        x = xs.at(tick)
        yield f'<path d="M{x} {_TOP}V{_HEIGHT - _BOTTOM}" stroke="#dddddd"/>'
        yield _text(x, _HEIGHT - _BOTTOM + 18, _short(tick))
    for tick in ys.ticks():
        y = ys.at(tick)
        yield f'<path d="M{_LEFT} {y}H{_WIDTH - _RIGHT}" stroke="#dddddd"/>'
        yield _text(_LEFT - 8, y + 4, _short(tick), "end")


def _lines(lines: Mapping[str, Points], xs: _Axis, ys: _Axis) -> Iterator[str]:
    for place, (name, points) in enumerate(lines.items()):
        colour = _COLOURS[place % len(_COLOURS)]
        drawn = [(xs.at(x), ys.at(y)) for x, y in points]
        yield f'<polyline points="{" ".join(f"{x},{y}" for x, y in drawn)}" fill="none" stroke="{colour}"/>'
        yield from (f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>' for x, y in drawn)
        y = _TOP + 16 + 20 * place
        yield f'<circle cx="{_WIDTH - _RIGHT + 18}" cy="{y - 4}" r="4" fill="{colour}"/>'
        yield _text(_WIDTH - _RIGHT + 28, y, name, "start")


def _text(x: float, y: float, text: str, anchor: str = "middle", more: str = "") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" {more}>{escape(text)}</text>'


def _short(value: float) -> str:
    for size, unit in _UNITS:
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"
