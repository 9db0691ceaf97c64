"""SVG files: read as drawings, and written with the structure that they had.

Geometry is read by svgelements, style sheets by :mod:`editing.parameters.svg.style`. What is drawn:
paths and basic shapes, groups, ``<use>``, transforms, the view box, plain colours, strokes, fill
rules and opacities. What is not, and would be missed in the picture, is refused: text, pictures,
gradients and patterns, clip paths, masks, filters, markers, dashes, blend modes, symbols, nested
SVGs and animations. What browsers do not paint either (metadata, definitions that are not used) is
kept as it is.
"""

import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch

from editing.errors import UserError
from editing.images import reason
from editing.parameters.svg.markup import SvgError, parse, shortened
from editing.parameters.svg.outline import contours
from editing.parameters.svg.shapes import Cap, Drawing, Join, Shape, Stroke, Structure, Subpath
from editing.parameters.svg.style import NUMBER, Sheet, colour, fraction, length, read_sheet
from editing.parameters.svg.walk import Drawn, walk

MAX_POINTS = 1_000_000
ASPECT = re.compile(r"(?:none|x(?:Min|Mid|Max)Y(?:Min|Mid|Max))(?: (?:meet|slice))?")
CAP_NAMES: dict[str, Cap] = {"butt": "butt", "round": "round", "square": "square"}
JOIN_NAMES: dict[str, Join] = {"miter": "miter", "round": "round", "bevel": "bevel"}


@dataclass(frozen=True)
class Document:
    """What is kept of a file in order to write it again.

    Attributes:
        root: its tree, never changed.
        sheet: its style rules.
        kept: which of the shapes that a walk over it finds are those of the drawing.
        start: the drawing as it was read, without a document.
    """

    root: ET.Element
    sheet: Sheet
    kept: tuple[int, ...]
    start: Drawing


def read_svg(path: Path) -> Drawing:
    """The drawing in an SVG file.

    Nothing is executed and nothing is fetched. The file may give sizes in any absolute unit, and
    its own style sheets of simple rules (tags, classes, ids).

    Raises:
        UserError: in one sentence, if there is no such file, it is no SVG, it holds a script, an
            entity or a reference to anything elsewhere, it has nothing to draw, or something in it
            cannot be drawn and would be missed.
    """
    if path.is_dir():
        raise UserError(f"{str(path)!r} is a folder, and an SVG is needed here.")
    if not path.is_file():
        raise UserError(f"There is no SVG at {str(path)!r}.")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"Cannot read {str(path)!r}: {reason(error)}.") from error
    if not data:
        raise UserError(f"{str(path)!r} is an empty file (0 bytes).")
    try:
        return _drawing(data)
    except SvgError as error:
        raise UserError(f"{str(path)!r} {error}.") from error


def _drawing(data: bytes) -> Drawing:
    root = parse(data)
    sheet = read_sheet(root)
    box, width, height = _frame(root)
    aspect = " ".join(root.get("preserveAspectRatio", "xMidYMid").split())
    if not ASPECT.fullmatch(aspect):
        raise SvgError(f"has preserveAspectRatio={aspect!r}, which is not understood: remove it")
    found = walk(root, sheet, box[2:])
    gathered = _Gathered()
    made = [gathered.add(drawn, box[2:]) for drawn in found.shapes]
    kept = tuple(index for index, shape in enumerate(made) if shape)
    shapes = tuple(shape for shape in made if shape)
    if not shapes:
        raise SvgError("has no shape to draw: nothing in it has a fill or a stroke and an extent")
    structure = Structure(shapes, box, aspect, width, height)
    drawing = gathered.drawing(structure, [fade.opacity for fade in found.fades])
    for name, tensor in drawing.tensors().items():
        if not tensor.isfinite().all():
            raise SvgError(f"has {name.replace('_', ' ')} too large to be used: scale it down")
    return replace(drawing, document=Document(root, sheet, kept, drawing.detached()))


def _frame(root: ET.Element) -> tuple[tuple[float, float, float, float], float, float]:
    """View box, width and height; where one is missing, by the other."""
    text = root.get("viewBox")
    sizes = [
        None if root.get(name, "auto") in ("auto", "") or "%" in root.get(name, "")
        else length(root.get(name, ""), name, 0.0)
        for name in ("width", "height")
    ]  # fmt: skip
    for name, size in zip(("width", "height"), sizes, strict=True):
        if size is not None and size <= 0:
            raise SvgError(f"has {name}={root.get(name)!r}: give more than 0")
    width, height = sizes
    if text is None:
        if width is None or height is None:
            raise SvgError("says neither viewBox nor width and height: add a viewBox")
        return (0.0, 0.0, width, height), width, height
    numbers = re.split(r"[\s,]+", text.strip())
    if len(numbers) != 4 or not all(re.fullmatch(NUMBER, number) for number in numbers):
        raise SvgError(f"has viewBox={shortened(text)!r}, which are not four numbers")
    x, y, w, h = (float(number) for number in numbers)
    if not all(map(math.isfinite, (x, y, w, h))) or min(w, h) <= 0:
        raise SvgError(
            f"has viewBox={shortened(text)!r}, which shows nothing: make it larger than 0"
        )
    if width is None:
        width = w if height is None else height * w / h
    return (x, y, w, h), width, width * h / w if height is None else height


class _Gathered:
    """The numbers of all shapes, while they are read."""

    def __init__(self) -> None:
        self.points: list[np.ndarray] = []
        self.count = 0
        self.fills: list[tuple[float, ...]] = []
        self.strokes: list[tuple[float, ...]] = []
        self.widths: list[float] = []

    def add(self, drawn: Drawn, size: tuple[float, float]) -> Shape | None:
        """The shape of an element; None where it has no extent or no colour."""
        style = drawn.style
        fill = colour(style, "fill") if drawn.element.tag != "line" else None
        stroke = colour(style, "stroke")
        diagonal = math.hypot(*size) / math.sqrt(2)
        width = length(style["stroke-width"], "stroke-width", diagonal)
        if width < 0:
            raise SvgError(f"has stroke-width={style['stroke-width']!r}: give 0 or more")
        rule = style["fill-rule"]
        if rule not in ("nonzero", "evenodd"):
            raise SvgError(f"has fill-rule={rule!r}, which is neither nonzero nor evenodd")
        parts = contours(drawn.element, size)
        if not parts or (fill is None and (stroke is None or not width)):
            return None
        subpaths = []
        for part in parts:
            rows = tuple(range(self.count, self.count + len(part.points)))
            self.count += len(rows)
            if self.count > MAX_POINTS:
                raise SvgError(f"has more than {MAX_POINTS} points: simplify it")
            self.points.append(part.points @ drawn.matrix[:2, :2].T + drawn.matrix[:2, 2])
            subpaths.append(Subpath(part.kinds, rows, part.closed))
        return Shape(
            tuple(subpaths),
            None if fill is None else self._fill(fill, style),
            None if stroke is None or not width else self._stroke(stroke, width, drawn),
            rule == "evenodd",
            drawn.fades,
        )

    def _fill(self, rgba: tuple[float, ...], style: Mapping[str, str]) -> int:
        alpha = rgba[3] * fraction(style["fill-opacity"], "fill-opacity")
        self.fills.append((*rgba[:3], alpha))
        return len(self.fills) - 1

    def _stroke(self, rgba: tuple[float, ...], width: float, drawn: Drawn) -> Stroke:
        style = drawn.style
        cap, join = CAP_NAMES.get(style["stroke-linecap"]), JOIN_NAMES.get(style["stroke-linejoin"])
        for name, value in (("linecap", cap), ("linejoin", join)):
            if value is None:
                raise SvgError(
                    f"has stroke-{name}={style['stroke-' + name]!r}, which is not understood: "
                    f"give {', '.join(CAP_NAMES if name == 'linecap' else JOIN_NAMES)}"
                )
        limit = length(style["stroke-miterlimit"], "stroke-miterlimit", 0.0)
        if limit < 1:
            raise SvgError(f"has stroke-miterlimit={style['stroke-miterlimit']!r}: give 1 or more")
        scale = stroke_scale(drawn)
        a, c, b, d = (drawn.matrix[:2, :2] / scale).flatten().tolist()
        alpha = rgba[3] * fraction(style["stroke-opacity"], "stroke-opacity")
        self.strokes.append((*rgba[:3], alpha))
        self.widths.append(width * scale)
        return Stroke(len(self.widths) - 1, (a, c, b, d), cast(Cap, cap), cast(Join, join), limit)

    def drawing(self, structure: Structure, opacities: list[float]) -> Drawing:
        """All of them as tensors."""
        with np.errstate(over="ignore"):  # refused in the end
            points = np.concatenate(self.points).astype(np.float32)
        fills, strokes = (
            torch.tensor(rows, dtype=torch.float32).view(-1, 4)
            for rows in (self.fills, self.strokes)
        )
        widths, fades = (torch.tensor(x, dtype=torch.float32) for x in (self.widths, opacities))
        return Drawing(
            torch.from_numpy(points),
            fills[:, :3].clone(),
            fills[:, 3].clone(),
            strokes[:, :3].clone(),
            strokes[:, 3].clone(),
            widths,
            fades,
            structure,
        )


def stroke_scale(drawn: Drawn) -> float:
    """How much wider a stroke is in user units of the root than the element says."""
    return float(abs(np.linalg.det(drawn.matrix[:2, :2])) ** 0.5)
