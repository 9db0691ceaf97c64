"""From the attributes of a shape's element to lines and cubic curves, and back to path data."""

import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from svgelements import (
    Arc,
    Circle,
    Close,
    CubicBezier,
    Ellipse,
    Line,
    Move,
    Path,
    QuadraticBezier,
    Rect,
)

from editing.parameters.svg.markup import SvgError, shortened
from editing.parameters.svg.style import NUMBER, length

# Attributes that say where a shape is, and go when it becomes a path.
GEOMETRY = frozenset("d points x y width height rx ry cx cy r x1 y1 x2 y2 pathLength".split())
COMMANDS = re.compile(rf"\s*(?:[Mm](?:[MmZzLlHhVvCcSsQqTtAa,\s]|{NUMBER})*+)?")
POINTS = re.compile(rf"\s*(?:{NUMBER}[,\s]*)*+")


@dataclass(frozen=True)
class Contour:
    """A subpath in coordinates.

    Attributes:
        kinds: of its segments, in order: L for a line, C for a cubic curve.
        points: (n, 2), its start and then one point for every line and three for every curve;
            where it is closed, the end of the last segment is the start and not repeated.
        closed: whether it is.
    """

    kinds: str
    points: np.ndarray
    closed: bool


def contours(element: ET.Element, size: tuple[float, float]) -> list[Contour]:
    """The subpaths of a shape's element in its own coordinates; none where it has no extent.

    ``size`` is the width and height of the user space, of which percentages are taken.

    Raises:
        SvgError: for path data, points or lengths that cannot be read or are not finite.
    """
    found = list(_traced(_segments(element, size)))
    if not all(np.isfinite(contour.points).all() for contour in found):
        raise SvgError(f"has coordinates of <{element.tag}> that are not finite")
    return found


def _traced(segments: Sequence[Any]) -> Iterable[Contour]:
    kinds = ""  # of the contour that is being traced
    points: list[tuple[float, float]] = []
    for segment in [*segments, Move(None, (0, 0))]:
        if isinstance(segment, Close):
            yield _closed(kinds, points)
            kinds, points = "", [points[0]]
        elif isinstance(segment, Move):
            if kinds:
                yield Contour(kinds, np.array(points), False)
            kinds, points = "", [_xy(segment.end)]
        else:
            for kind, controls in _pieces(segment):
                kinds += kind
                points += controls


def _closed(kinds: str, points: list[tuple[float, float]]) -> Contour:
    span = np.ptp(np.array(points), axis=0).max() if len(points) > 1 else 0.0
    if kinds and math.dist(points[0], points[-1]) <= 1e-9 * span:
        points = points[:-1]
    else:
        kinds += "L"
    return Contour(kinds, np.array(points), True)


def _pieces(segment: object) -> Iterable[tuple[str, list[tuple[float, float]]]]:
    """A segment as lines and cubic curves, each with its controls but for the start."""
    if isinstance(segment, Line):
        yield "L", [_xy(segment.end)]
    elif isinstance(segment, QuadraticBezier):
        start, control, end = (
            np.array(_xy(p)) for p in (segment.start, segment.control, segment.end)
        )
        first, second = start + 2 / 3 * (control - start), end + 2 / 3 * (control - end)
        yield "C", [(first[0], first[1]), (second[0], second[1]), _xy(segment.end)]
    elif isinstance(segment, CubicBezier):
        yield "C", [_xy(p) for p in (segment.control1, segment.control2, segment.end)]
    elif isinstance(segment, Arc):
        yield from _arc(segment)


def _arc(segment: Arc) -> Iterable[tuple[str, list[tuple[float, float]]]]:
    """An elliptical arc as cubics of a quarter turn or less, within 0.0003 of its radius.

    (svgelements' own cubics are ten times further away.)
    """
    if _xy(segment.start) == _xy(segment.end):
        return  # the standard leaves it out
    if not segment.rx or not segment.ry:
        yield "L", [_xy(segment.end)]
        return
    if not math.isfinite(segment.sweep):
        raise SvgError("has an arc too large to be used: scale it down")
    center = np.array(_xy(segment.center))
    axes = np.array([_xy(segment.prx), _xy(segment.pry)]) - center
    count = max(1, math.ceil(abs(segment.sweep) / (math.pi / 2) - 1e-9))
    start, step = segment.get_start_t(), segment.sweep / count
    handle = 4 / 3 * math.tan(step / 4)
    for t in start + step * np.arange(count):
        (c0, s0), (c1, s1) = ((math.cos(a), math.sin(a)) for a in (t, t + step))
        unit = [
            (c0 - handle * s0, s0 + handle * c0),
            (c1 + handle * s1, s1 - handle * c1),
            (c1, s1),
        ]
        yield "C", [_xy(center + np.array(point) @ axes) for point in unit]


def _xy(point: Any) -> tuple[float, float]:
    return float(point[0]), float(point[1])


def _segments(element: ET.Element, size: tuple[float, float]) -> Sequence[object]:
    if element.tag == "path":
        return _path(element)
    if element.tag in ("polyline", "polygon"):
        return _polygon(element)
    width, height = size
    wholes = dict.fromkeys(("x", "width", "rx", "cx", "x1", "x2"), width)
    wholes |= dict.fromkeys(("y", "height", "ry", "cy", "y1", "y2"), height)
    wholes["r"] = math.hypot(width, height) / math.sqrt(2)
    values = {
        name: length(element.get(name, ""), name, whole)
        for name, whole in wholes.items()
        if element.get(name, "auto") != "auto"
    }
    x, y = values.get("x", 0.0), values.get("y", 0.0)
    center = {"cx": values.get("cx", 0.0), "cy": values.get("cy", 0.0)}
    if element.tag == "line":
        ends = [(values.get(f"x{i}", 0.0), values.get(f"y{i}", 0.0)) for i in (1, 2)]
        return [Move(None, ends[0]), Line(ends[0], ends[1])]
    radii = {name: values[name] for name in ("rx", "ry") if values.get(name, -1) >= 0}
    if element.tag == "rect":
        width, height = values.get("width", 0.0), values.get("height", 0.0)
        if min(width, height) <= 0:
            return []
        return Rect({"x": x, "y": y, "width": width, "height": height, **radii}).segments()
    if element.tag == "circle":
        return Circle({**center, "r": values["r"]}).segments() if values.get("r", 0) > 0 else []
    radii = {name: next(iter(radii.values()), 0.0) for name in ("rx", "ry")} | radii
    return Ellipse({**center, **radii}).segments() if min(radii.values()) > 0 else []


def _polygon(element: ET.Element) -> Sequence[object]:
    text = element.get("points", "")
    numbers = [float(number) for number in re.findall(NUMBER, text)]
    if not POINTS.fullmatch(text) or len(numbers) % 2:
        raise SvgError(f"has points={shortened(text)!r}, which are not pairs of numbers")
    corners = list(zip(numbers[::2], numbers[1::2], strict=True))
    if not corners:
        return []
    lines = [Line(a, b) for a, b in pairwise(corners)]
    end = [Close(corners[-1], corners[0])] if element.tag == "polygon" else []
    return [Move(None, corners[0]), *lines, *end]


def _path(element: ET.Element) -> Sequence[object]:
    text = element.get("d", "")
    if text.strip() in ("", "none"):
        return []
    unreadable = f"has d={shortened(text)!r}, which is not path data that can be read"
    if not COMMANDS.fullmatch(text):
        raise SvgError(unreadable)
    try:
        segments = list(Path(text))
    except (ValueError, TypeError, IndexError, ArithmeticError) as error:
        raise SvgError(unreadable) from error
    last: Any = None
    for segment in segments:
        # svgelements also reflects the control of a curve of the other degree; the standard
        # does not.
        if isinstance(segment, CubicBezier | QuadraticBezier) and segment.smooth:
            same = isinstance(last, type(segment))
            before = (
                (last.control2 if isinstance(last, CubicBezier) else last.control) if same else None
            )
            start = segment.start
            control = start if before is None else 2 * start - before
            if isinstance(segment, CubicBezier):
                segment.control1 = control
            else:
                segment.control = control
        last = segment
    return segments


def path_data(parts: Iterable[Contour]) -> str:
    """Path data of contours, with seven digits, absolute."""
    words: list[str] = []
    for part in parts:
        small = 1e-9 * np.abs(part.points).max()  # what rounding left of a zero
        rows = np.where(np.abs(part.points) < small, 0.0, part.points)
        points = [f"{x:.7g} {y:.7g}" for x, y in rows]
        words.append("M" + points[0])
        row = 1
        for index, kind in enumerate(part.kinds):
            last = part.closed and index == len(part.kinds) - 1
            count = 3 if kind == "C" else 1
            controls = points[row : row + count] + ([points[0]] if last else [])
            row += count
            if kind == "C":
                words.append("C" + " ".join(controls))
            elif not last:  # Z draws the last line itself
                words.append("L" + controls[0])
        words.append("Z" if part.closed else "")
    return " ".join(filter(None, words))
