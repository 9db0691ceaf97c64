"""A walk over the tree of an SVG in the order in which it is painted."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from svgelements import Matrix

from editing.parameters.svg.markup import SVG, SvgError, reference, shortened
from editing.parameters.svg.style import INHERITED, NUMBER, Sheet, fraction, length

SHAPES = frozenset("path rect circle ellipse line polyline polygon".split())
GROUPS = frozenset("svg g a".split())
# Elements that would be seen, or move what is seen, and cannot be drawn.
REFUSED = {
    "text": "turn it into paths",
    "image": "remove it",
    "svg": "use a group in its place",
    "symbol": "use a group in <defs> in its place",
    "switch": "keep one of its alternatives",
    "animate": "remove it",
    "animateColor": "remove it",
    "animateMotion": "remove it",
    "animateTransform": "remove it",
    "set": "remove it",
}
MAX_VISITS = 50_000  # of elements, as often as a <use> shows them
MAX_USES = 5  # within each other

_NAMES = "matrix|translate|scale|rotate|skewX|skewY"
TRANSFORMS = re.compile(rf"(?:[\s,]*(?:{_NAMES})\s*\((?:[\s,]*{NUMBER})*+[\s,]*\))*+")
COUNTS = {"matrix": {6}, "translate": {1, 2}, "scale": {1, 2}, "rotate": {1, 3}}


@dataclass(frozen=True)
class Drawn:
    """One shape as it is painted.

    Attributes:
        element: what it comes from.
        matrix: (3, 3), from the element's own coordinates to those of the root.
        style: the computed values of its properties.
        fades: rows of ``Walk.fades`` that apply to it, the outermost first.
        used: whether it is there through a ``<use>``, so that others may share its element.
    """

    element: ET.Element
    matrix: np.ndarray
    style: Mapping[str, str]
    fades: tuple[int, ...]
    used: bool


@dataclass(frozen=True)
class Fade:
    """An element with an ``opacity`` that is not 1: a group or a shape."""

    element: ET.Element
    opacity: float
    used: bool


@dataclass
class Walk:
    """What a walk finds.

    Attributes:
        shapes: in the order in which they are painted.
        fades: in the order in which they begin.
        uses: the ``<use>`` elements that are not themselves there through another.
    """

    sheet: Sheet
    size: tuple[float, float]  # of the user space, for percentages
    shapes: list[Drawn] = field(default_factory=list)
    fades: list[Fade] = field(default_factory=list)
    uses: list[ET.Element] = field(default_factory=list)
    visits: int = 0
    ids: dict[str, ET.Element] = field(default_factory=dict)


def walk(root: ET.Element, sheet: Sheet, size: tuple[float, float]) -> Walk:
    """Every shape that is painted, with its transform and its style.

    What is not displayed, is hidden, or has a transform that flattens it to nothing is left out.
    ``size`` is the width and height of the user space.

    Raises:
        SvgError: for what cannot be drawn.
    """
    found = Walk(sheet, size)
    for element in root.iter():
        if isinstance(element.tag, str) and "id" in element.attrib:
            found.ids.setdefault(element.attrib["id"], element)
    _visit(found, root, np.eye(3), INHERITED, (), ())
    return found


def _visit(
    found: Walk,
    element: ET.Element,
    matrix: np.ndarray,
    parent: Mapping[str, str],
    fades: tuple[int, ...],
    through: tuple[ET.Element, ...],
) -> None:
    tag = element.tag
    if not isinstance(tag, str) or element.get("xmlns", SVG) != SVG:
        return  # a comment, or data of another program
    root = parent is INHERITED
    if tag in REFUSED and not root:
        hidden = found.sheet.declared(element).get("display") == "none"
        if hidden or (tag == "symbol" and not through):
            return
        raise SvgError(f"contains <{tag}>, which cannot be drawn: {REFUSED[tag]}")
    if tag not in SHAPES and tag not in GROUPS and tag != "use":
        return
    found.visits += 1
    if found.visits > MAX_VISITS:
        raise SvgError(f"paints more than {MAX_VISITS} elements: simplify it")
    if len(through) > MAX_USES:
        raise SvgError(f"has <use> within <use> more than {MAX_USES} times: simplify it")
    style = found.sheet.computed(element, parent)
    if style["display"] == "none":
        return
    matrix = matrix @ transform(element, root)
    opacity = fraction(style["opacity"], "opacity")
    if opacity != 1:
        fades = (*fades, len(found.fades))
        found.fades.append(Fade(element, opacity, bool(through)))
    if tag == "use":
        if not through:
            found.uses.append(element)
        target = used(found, element, through)
        shift = np.eye(3)
        shift[:2, 2] = offset(element, found.size)
        _visit(found, target, matrix @ shift, style, fades, (*through, element))
        return
    for child in element:
        if tag in GROUPS or child.tag in REFUSED:
            _visit(found, child, matrix, style, fades, through)
    # What is flattened to nothing is not painted, and could not be written back either.
    flat = abs(np.linalg.det(matrix[:2, :2])) < 1e-12
    if tag in SHAPES and style["visibility"] == "visible" and not flat:
        found.shapes.append(Drawn(element, matrix, style, fades, bool(through)))


def used(found: Walk, element: ET.Element, through: tuple[ET.Element, ...]) -> ET.Element:
    """What a ``<use>`` shows, itself shown through others.

    Raises:
        SvgError: if there is no such element, or it shows itself.
    """
    name = reference(element)
    target = found.ids.get(name or "")
    if target is None:
        raise SvgError(f"has a <use> of {'#' + (name or '')!r}, which it does not contain")
    if any(element is other for other in through):
        raise SvgError(f"has a <use> of {'#' + (name or '')!r} that shows itself: remove it")
    return target


def offset(element: ET.Element, size: tuple[float, float]) -> tuple[float, float]:
    """The attributes x and y of a ``<use>``, in user units."""
    x, y = (
        length(element.get(name, "0"), name, whole) for name, whole in zip("xy", size, strict=True)
    )
    return x, y


def transform(element: ET.Element, root: bool = False) -> np.ndarray:
    """The ``transform`` of an element as a matrix (3, 3).

    Raises:
        SvgError: if it cannot be read or is not finite, and on the root element.
    """
    text = element.get("transform", "").strip()
    if not text:
        return np.eye(3)
    good = TRANSFORMS.fullmatch(text)
    for name, arguments in re.findall(r"(\w+)\s*\(([^)]*)\)", text) if good else ():
        good = good if len(re.findall(NUMBER, arguments)) in COUNTS.get(name, {1}) else None
    m = Matrix(text) if good else None
    if m is None or not np.isfinite([m.a, m.b, m.c, m.d, m.e, m.f]).all():
        raise SvgError(
            f"has transform={shortened(text)!r}, which cannot be read: write a matrix(...)"
        )
    if root:
        raise SvgError("has a transform on its root: put it on a group within")
    return np.array([[m.a, m.c, m.e], [m.b, m.d, m.f], [0.0, 0.0, 1.0]])
