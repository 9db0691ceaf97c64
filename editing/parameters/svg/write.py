"""Drawings as SVG files with the structure of those that they were read from.

The tree, groups, ids, order, transforms, attributes and comments stay. Only what has changed is
written anew: path data in the element's own coordinates, colours, opacities and widths. A circle or
another basic shape whose points have moved becomes a path of the same id and class. Where something
that a ``<use>`` shows has changed, every ``<use>`` becomes a group with a copy of what it shows
(its ids are left out), since one definition can no longer serve all.
"""

import copy
import xml.etree.ElementTree as ET

import numpy as np
import torch

from editing.parameters.svg.document import Document, stroke_scale
from editing.parameters.svg.markup import replace_child, serialise
from editing.parameters.svg.outline import GEOMETRY, Contour, path_data
from editing.parameters.svg.shapes import Drawing, Shape
from editing.parameters.svg.style import INHERITED, OWN, fraction, inline, set_inline
from editing.parameters.svg.walk import Drawn, Walk, offset, used, walk


def write_svg(drawing: Drawing) -> bytes:
    """A drawing as an SVG file, UTF-8, with the structure of the file that it was read from.

    Colours have 8 bits; colours, alphas and opacities beyond [0, 1] and widths below 0 are clipped.

    Raises:
        ValueError: if the drawing was not read from a file, or has numbers that are not finite.
    """
    document = drawing.document
    if not isinstance(document, Document):
        raise ValueError("only a drawing that was read from a file can be written")
    made = drawing.to("cpu").detached().clamp_()
    for name, tensor in made.tensors().items():
        if not tensor.isfinite().all():
            raise ValueError(f"{name} of the drawing are not finite")
    return serialise(_Writer(made, document).write())


class _Writer:
    def __init__(self, drawing: Drawing, document: Document) -> None:
        self.drawing, self.start = drawing, document.start
        self.sheet, self.kept = document.sheet, document.kept
        self.root = copy.deepcopy(document.root)

    def write(self) -> ET.Element:
        """The tree with everything that has changed."""
        found = self.walk()
        shapes = self.drawing.structure.shapes
        faded = [row for row in range(len(found.fades)) if self.differs("opacities", row)]
        changed = {
            id(found.shapes[at].element)
            for at, shape in zip(self.kept, shapes, strict=True)
            if self.moved(shape) or self.painted_otherwise(shape)
        }
        changed |= {id(found.fades[row].element) for row in faded}
        shared = {id(drawn.element) for drawn in found.shapes if drawn.used}
        shared |= {id(fade.element) for fade in found.fades if fade.used}
        while changed & shared and found.uses:
            for use in found.uses:
                self.expand(found, use)
            found = self.walk()  # in the same order; a copy may hold another <use>
        for row in faded:
            value = self.drawing.opacities[row].item()
            self.put(found.fades[row].element, "opacity", f"{value:.6g}")
        for at, shape in zip(self.kept, shapes, strict=True):
            self.write_shape(found.shapes[at], shape)
        return self.root

    def walk(self) -> Walk:
        return walk(self.root, self.sheet, self.drawing.structure.view_box[2:])

    def differs(self, name: str, rows: int | list[int]) -> bool:
        """Whether some rows of a tensor are not what they were."""
        return not torch.equal(getattr(self.drawing, name)[rows], getattr(self.start, name)[rows])

    def moved(self, shape: Shape) -> bool:
        return self.differs("points", [row for part in shape.subpaths for row in part.points])

    def painted_otherwise(self, shape: Shape) -> bool:
        fill = shape.fill is not None and any(
            self.differs(name, shape.fill) for name in ("fills", "fill_alphas")
        )
        return fill or any(
            shape.stroke is not None and self.differs(name, shape.stroke.row)
            for name in ("strokes", "stroke_alphas", "widths")
        )

    def write_shape(self, drawn: Drawn, shape: Shape) -> None:
        """Brings an element up to date."""
        element = drawn.element
        if self.moved(shape):
            back = np.linalg.inv(drawn.matrix)
            points = self.drawing.points.double().cpu().numpy()
            points = points @ back[:2, :2].T + back[:2, 2]
            if element.tag == "line":  # which has no area, and a path would have one
                self.put(element, "fill", "none")
            if element.tag != "path":
                self.rename(element, "path")
            for name in GEOMETRY & element.attrib.keys():
                del element.attrib[name]
            parts = [Contour(s.kinds, points[list(s.points)], s.closed) for s in shape.subpaths]
            element.set("d", path_data(parts))
        if shape.fill is not None:
            self.write_paint(drawn, "fill", "fills", "fill_alphas", shape.fill)
        if shape.stroke is not None:
            self.write_paint(drawn, "stroke", "strokes", "stroke_alphas", shape.stroke.row)
            if self.differs("widths", shape.stroke.row):
                width = self.drawing.widths[shape.stroke.row].item() / stroke_scale(drawn)
                self.put(element, "stroke-width", f"{width:.6g}")

    def write_paint(self, drawn: Drawn, name: str, colours: str, alphas: str, row: int) -> None:
        """Brings a colour and its alpha up to date."""
        if not self.differs(colours, row) and not self.differs(alphas, row):
            return
        levels = (getattr(self.drawing, colours)[row] * 255).round().int().tolist()
        self.put(drawn.element, name, "#{:02x}{:02x}{:02x}".format(*levels))
        alpha = getattr(self.drawing, alphas)[row].item()
        # the alpha that the colour itself may have had is gone
        if abs(fraction(drawn.style[f"{name}-opacity"], name) - alpha) > 1e-6:
            self.put(drawn.element, f"{name}-opacity", f"{alpha:.6g}")

    def put(self, element: ET.Element, name: str, value: str) -> None:
        """Says a property where it wins: as an attribute, unless CSS says it already."""
        style = inline(element)
        if name in style or name in self.sheet.matching(element):
            set_inline(element, style | {name: value})
        else:
            element.set(name, value)

    def expand(self, found: Walk, use: ET.Element) -> None:
        """Puts a group with a copy in the place of a ``<use>``."""
        group = ET.Element(use.tag, dict(use.attrib))
        shown = copy.deepcopy(used(found, use, ()))
        shown.tail = None
        for element in shown.iter():
            if isinstance(element.tag, str):  # its rules may know it by its id
                set_inline(element, self.sheet.matching(element) | inline(element))
                element.attrib.pop("id", None)
        self.rename(group, "g")
        x, y = offset(use, found.size)
        for name in [n for n in group.attrib if n.rpartition(":")[2] == "href"]:
            del group.attrib[name]
        for name in ("x", "y", "width", "height"):
            group.attrib.pop(name, None)
        if x or y:
            before = group.get("transform", "")
            group.set("transform", f"{before} translate({x:.9g} {y:.9g})".strip())
        group[:] = [shown]
        replace_child(self.root, use, group)

    def rename(self, element: ET.Element, tag: str) -> None:
        """Changes what an element is, and not how it looks: rules may be about either name."""
        declared, matched = self.sheet.declared(element), self.sheet.matching(element)
        element.tag = tag
        neutral = dict.fromkeys(INHERITED, "inherit") | OWN
        now = {k: neutral[k] for k in self.sheet.matching(element) if k in neutral}
        pinned = now | {k: v for k, v in declared.items() if k in now or k in matched}
        set_inline(element, pinned | inline(element))
