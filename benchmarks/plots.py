"""Plots as SVG text, for pages that need no network."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from benchmarks.metrics import Column

WIDTH, HEIGHT, MARGIN = 420, 320, 52
INKS = ("#3366cc", "#dc3912", "#109618", "#990099", "#ff9900", "#0099c6", "#66aa00", "#b82e2e")

Point = tuple[str, Mapping[str, Any], Mapping[str, Any]]  # a name and two estimates


def ticks(low: float | int, high: float | int, count: int = 5) -> list[float]:
    """About `count` round numbers that span the interval from within."""
    span = (high - low) or 1.0
    step = 10.0 ** math.floor(math.log10(span / count))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (factor * step) <= count)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def scatter(points: Sequence[Point], x: Column, y: Column, title: str = "") -> str:
    """Points with their intervals in both directions, each with its name beside it."""
    sides = [_ends([point[1] for point in points]), _ends([point[2] for point in points])]

    def at(value: float | int, axis: int) -> float:
        low, high = sides[axis]
        share = (value - low) / (high - low)
        if axis == 0:
            return MARGIN + share * (WIDTH - 2 * MARGIN)
        return HEIGHT - MARGIN - share * (HEIGHT - 2 * MARGIN)

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" class="plot" role="img">']
    for axis, column in enumerate((x, y)):
        for tick in ticks(*sides[axis]):
            place, text = at(tick, axis), _number(tick, column)
            if axis == 0:
                line = f'x1="{place:.1f}" x2="{place:.1f}" y1="{MARGIN}" y2="{HEIGHT - MARGIN}"'
                label = f'x="{place:.1f}" y="{HEIGHT - MARGIN + 16}" text-anchor="middle"'
            else:
                line = f'x1="{MARGIN}" x2="{WIDTH - MARGIN}" y1="{place:.1f}" y2="{place:.1f}"'
                label = f'x="{MARGIN - 6}" y="{place + 4:.1f}" text-anchor="end"'
            parts += [f'<line {line} class="grid"/>', f"<text {label}>{text}</text>"]
    middle = (HEIGHT / 2, WIDTH / 2)
    parts += [
        f'<text x="{middle[1]}" y="{HEIGHT - 12}" text-anchor="middle">{escape(x.title)}</text>',
        f'<text transform="translate(14 {middle[0]}) rotate(-90)" text-anchor="middle">'
        f"{escape(y.title)}</text>",
        f'<text x="{middle[1]}" y="24" text-anchor="middle" class="title">{escape(title)}</text>',
    ]
    for i, (name, across, up) in enumerate(points):
        ink, px, py = INKS[i % len(INKS)], at(across["mean"], 0), at(up["mean"], 1)
        left, right = (at(end, 0) for end in _interval(across))
        low, high = (at(end, 1) for end in _interval(up))
        parts += [
            f'<g stroke="{ink}" fill="{ink}">',
            f'<line x1="{left:.1f}" x2="{right:.1f}" y1="{py:.1f}" y2="{py:.1f}"/>',
            f'<line x1="{px:.1f}" x2="{px:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>',
            f'<circle cx="{px:.1f}" cy="{py:.1f}" r="4"/>',
            f'<text x="{px + 7:.1f}" y="{py - 6:.1f}" stroke="none">{escape(name)}</text></g>',
        ]
    return "\n".join([*parts, "</svg>"])


def _interval(estimate: Mapping[str, Any]) -> tuple[float | int, float | int]:
    low, high = estimate["low"], estimate["high"]
    return (estimate["mean"],) * 2 if low is None or math.isnan(low) else (low, high)


def _ends(estimates: Sequence[Mapping[str, Any]]) -> tuple[float | int, float | int]:
    """Ends of an axis: the intervals and a little air."""
    ends = [end for estimate in estimates for end in _interval(estimate)]
    low, high = min(ends), max(ends)
    air = 0.08 * (high - low) or 0.5 * max(abs(high), 1e-3)
    return low - air, high + air


def _number(value: float | int, column: Column) -> str:
    return f"{100 * value:.0f} %" if column.share else f"{value:.4g}"
