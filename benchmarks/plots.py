"""Plots as SVG text, for pages that need no network."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from benchmarks.metrics import Column

WIDTH, HEIGHT, MARGIN = 420, 320, 52
LINE, ENTRY, LETTER = 16, 130, 6.2  # of a legend: height, least width of an entry, of a letter
LONGEST = 60  # letters of an entry
INKS = ("#3366cc", "#dc3912", "#109618", "#990099", "#ff9900", "#0099c6", "#66aa00", "#b82e2e")

Ends = tuple[float | int, float | int]  # of an axis
Estimated = Mapping[str, Any]  # mean, low and high
Point = tuple[str, Estimated, Estimated]  # a name, and where it lies


def ticks(low: float | int, high: float | int, count: int = 5) -> list[float]:
    """About `count` round numbers that span the interval from within."""
    span = (high - low) or 1.0
    step = 10.0 ** math.floor(math.log10(span / count))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (factor * step) <= count)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def scatter(points: Sequence[Point], x: Column, y: Column, title: str = "") -> str:
    """Points with their intervals in both directions, and a legend below."""
    across = _ends([right for _, right, _ in points], x)
    up = _ends([above for *_, above in points], y)
    names = [name for name, *_ in points]
    parts = _paper(across, up, x, y, names, title)
    for i, (name, right, above) in enumerate(points):
        px, py = _at(right["mean"], across, 0), _at(above["mean"], up, 1)
        left, far = (_at(end, across, 0) for end in _interval(right))
        low, high = (_at(end, up, 1) for end in _interval(above))
        parts += [
            _group(i),
            f"<title>{escape(name)}</title>",
            f'<line x1="{left:.1f}" x2="{far:.1f}" y1="{py:.1f}" y2="{py:.1f}"/>',
            f'<line x1="{px:.1f}" x2="{px:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>',
            f"{_dot(i, px, py)}</g>",
        ]
    return "\n".join([*parts, "</svg>"])


def standalone(plot: str) -> str:
    """A plot as a file of its own, which a page would otherwise bring the styles for."""
    head, rest = plot.split(">", 1)
    return (
        f'{head} xmlns="http://www.w3.org/2000/svg"><style>text {{ font: 11px sans-serif; '
        f"fill: #333; }} .grid {{ stroke: #e8e8e8; }} .title {{ font-weight: 600; }}</style>"
        f'<rect width="100%" height="100%" fill="white"/>{rest}'
    )


def curves(lines: Mapping[str, Sequence[tuple[float, Estimated]]], x: Column, y: Column) -> str:
    """A line per name through estimates at places along x, with their intervals upwards."""
    places = [place for line in lines.values() for place, _ in line]
    across = _roomy(min(places), max(places), x)
    up = _ends([value for line in lines.values() for _, value in line], y)
    parts = _paper(across, up, x, y, list(lines))
    for i, (name, line) in enumerate(lines.items()):
        dots = [(_at(place, across, 0), _at(value["mean"], up, 1)) for place, value in line]
        parts += [_group(i), f"<title>{escape(name)}</title>"]
        for (px, py), (_, value) in zip(dots, line, strict=True):
            low, high = (_at(end, up, 1) for end in _interval(value))
            parts += [
                f'<line x1="{px:.1f}" x2="{px:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>',
                _dot(i, px, py),
            ]
        way = " ".join(f"{px:.1f},{py:.1f}" for px, py in dots)
        parts.append(f'<polyline points="{way}" fill="none"/></g>')
    return "\n".join([*parts, "</svg>"])


def _legend(names: Sequence[str]) -> tuple[list[str], int]:
    """Entries below the axes, side by side as far as they fit, and the height of all of them."""
    shown = [_short(name) for name in names]
    widest = max((20 + LETTER * len(name) for name in shown), default=ENTRY)
    columns = max(1, int((WIDTH - 20) // max(widest, ENTRY)))
    parts = []
    for i, name in enumerate(shown):
        left = 20 + (i % columns) * (WIDTH - 20) / columns
        down = HEIGHT + LINE * (i // columns + 0.5)
        text = f'<text x="{left + 10:.1f}" y="{down + 4:.1f}" stroke="none">{escape(name)}</text>'
        parts.append(f"{_group(i)}{_dot(i, left, down)}{text}</g>")
    return parts, LINE * -(-len(shown) // columns) + LINE // 2


def _short(name: str) -> str:
    """A name without its middle, if it is too long: names that begin alike may end otherwise."""
    half = LONGEST // 2
    return name if len(name) <= LONGEST else f"{name[:half].rstrip()}…{name[-half + 1 :].lstrip()}"


def _dot(number: int, x: float, y: float) -> str:
    """The mark of a name: there are as many as inks times shapes."""
    shape = number // len(INKS) % 3
    if shape == 0:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
    if shape == 1:
        return f'<rect x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8"/>'
    return f'<path d="M{x:.1f} {y - 5:.1f}l5 9h-10z"/>'


def _paper(
    across: Ends, up: Ends, x: Column, y: Column, names: Sequence[str], title: str = ""
) -> list[str]:
    """The beginning of a plot: a grid with its numbers, titles, and the legend."""
    legend, height = _legend(names)
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT + height}" class="plot" role="img">', *legend]
    for tick in ticks(*across):
        place = _at(tick, across, 0)
        parts += [
            f'<line x1="{place:.1f}" x2="{place:.1f}" y1="{MARGIN}" y2="{HEIGHT - MARGIN}" '
            'class="grid"/>',
            f'<text x="{place:.1f}" y="{HEIGHT - MARGIN + 16}" text-anchor="middle">'
            f"{_number(tick, x)}</text>",
        ]
    for tick in ticks(*up):
        place = _at(tick, up, 1)
        parts += [
            f'<line x1="{MARGIN}" x2="{WIDTH - MARGIN}" y1="{place:.1f}" y2="{place:.1f}" '
            'class="grid"/>',
            f'<text x="{MARGIN - 6}" y="{place + 4:.1f}" text-anchor="end">{_number(tick, y)}'
            "</text>",
        ]
    return [
        *parts,
        f'<text x="{WIDTH / 2}" y="{HEIGHT - 12}" text-anchor="middle">{escape(x.title)}</text>',
        f'<text transform="translate(14 {HEIGHT / 2}) rotate(-90)" text-anchor="middle">'
        f"{escape(y.title)}</text>",
        f'<text x="{WIDTH / 2}" y="24" text-anchor="middle" class="title">{escape(title)}</text>',
    ]


def _group(number: int) -> str:
    ink = INKS[number % len(INKS)]
    return f'<g stroke="{ink}" fill="{ink}">'


def _at(value: float | int, ends: Ends, axis: int) -> float:
    """Where a value lies on the page, along axis 0 (rightwards) or 1 (upwards)."""
    low, high = ends
    share = (value - low) / (high - low)
    if axis == 0:
        return MARGIN + share * (WIDTH - 2 * MARGIN)
    return HEIGHT - MARGIN - share * (HEIGHT - 2 * MARGIN)


def _interval(estimate: Estimated) -> Ends:
    low, high = estimate["low"], estimate["high"]
    return (estimate["mean"],) * 2 if low is None or math.isnan(low) else (low, high)


def _ends(estimates: Sequence[Estimated], column: Column) -> Ends:
    """Ends of an axis: the intervals and a little air."""
    ends = [end for estimate in estimates for end in _interval(estimate)]
    return _roomy(min(ends), max(ends), column)


def _roomy(low: float | int, high: float | int, column: Column) -> Ends:
    """A little air at both ends; but a share is never below 0 nor above 1."""
    air = 0.08 * (high - low) or 0.5 * max(abs(high), 1e-3)
    low, high = low - air, high + air
    return (max(low, 0.0), min(high, 1.0)) if column.share else (low, high)


def _number(value: float | int, column: Column) -> str:
    return f"{100 * value:.0f} %" if column.share else f"{value:.4g}"
