"""A drawing as tensors to move and a structure that stays, and its outlines as short lines."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int64
from svgelements import Matrix, Viewbox
from torch import Tensor

FLATNESS = 0.01  # pixels that the lines of a flattened curve may be away from it
MAX_PIECES = 256  # of one curve

Cap = Literal["butt", "round", "square"]
Join = Literal["miter", "round", "bevel"]
CAPS: tuple[Cap, ...] = ("butt", "round", "square")
JOINS: tuple[Join, ...] = ("miter", "round", "bevel")


@dataclass(frozen=True)
class Subpath:
    """Segments that follow each other.

    Attributes:
        kinds: of the segments, in order: L for a line, C for a cubic curve.
        points: rows of ``Drawing.points``: its start and then one for every line and three for
            every curve; where it is closed, the last segment ends at the start, not repeated here.
        closed: whether it is.
    """

    kinds: str
    points: tuple[int, ...]
    closed: bool


@dataclass(frozen=True)
class Stroke:
    """How the line along a shape is drawn.

    Attributes:
        row: of ``Drawing.widths``, ``strokes`` and ``stroke_alphas``.
        pen: 2 x 2 matrix of determinant 1 or -1, row by row: the ellipse that a round pen becomes
            under the shape's transforms; the identity where they keep angles.
        miter_limit: length of a mitred corner over the width, from which on it is bevelled.
    """

    row: int
    pen: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 1.0)
    cap: Cap = "butt"
    join: Join = "miter"
    miter_limit: float = 4.0


@dataclass(frozen=True)
class Shape:
    """One shape, which is filled first and then stroked.

    Attributes:
        fill: row of ``Drawing.fills`` and ``fill_alphas``; None if it is not filled.
        stroke: None if it is not stroked.
        evenodd: whether that is the fill rule, not nonzero.
        fades: rows of ``Drawing.opacities`` of the groups that it is in, the outermost first, and
            of its own. What has the same row is painted as one, and then let through.
    """

    subpaths: tuple[Subpath, ...]
    fill: int | None
    stroke: Stroke | None
    evenodd: bool
    fades: tuple[int, ...]


@dataclass(frozen=True)
class Table:
    """The subpaths of all shapes as tensors, for flattening; a row is a segment.

    The open ends of subpaths have rows too, as lines of no length.

    Attributes:
        controls: points of every row as a cubic curve; a line repeats its two.
        curved: whether it is one.
        shape: that it belongs to.
        last: whether it is the last row of its subpath.
        closed: whether its subpath is.
    """

    controls: Int64[Tensor, "S 4"]
    curved: Bool[Tensor, " S"]
    shape: Int64[Tensor, " S"]
    last: Bool[Tensor, " S"]
    closed: Bool[Tensor, " S"]

    def to(self, device: torch.device) -> "Table":
        """The same on a device."""
        return Table(*(x.to(device) for x in vars(self).values()))

    def __getitem__(self, rows: Bool[Tensor, " S"]) -> "Table":
        """Some rows of it."""
        return Table(*(x[rows] for x in vars(self).values()))


@dataclass(frozen=True)
class Structure:
    """What stays the same while a drawing is optimised.

    Attributes:
        shapes: in the order in which they are painted.
        view_box: min-x, min-y, width and height of what is shown, in user units.
        aspect: ``preserveAspectRatio``: how that is fitted into a picture of other proportions.
        width: of the picture that the file asks for, CSS pixels.
        height: of the picture that the file asks for, CSS pixels.
    """

    shapes: tuple[Shape, ...]
    view_box: tuple[float, float, float, float]
    aspect: str
    width: float
    height: float

    @cached_property
    def table(self) -> Table:
        """All subpaths as tensors, on the CPU."""
        controls: list[tuple[int, int, int, int]] = []
        curved, owner, last, closed = [], [], [], []
        for index, shape in enumerate(self.shapes):
            for subpath in shape.subpaths:
                rows = list(_rows(subpath))
                controls += [row for _, row in rows]
                curved += [kind == "C" for kind, _ in rows]
                last += [False] * (len(rows) - 1) + [True]
                closed += [subpath.closed] * len(rows)
                owner += [index] * len(rows)
        return Table(
            torch.tensor(controls).view(-1, 4),
            torch.tensor(curved, dtype=torch.bool),
            torch.tensor(owner, dtype=torch.int64),
            torch.tensor(last, dtype=torch.bool),
            torch.tensor(closed, dtype=torch.bool),
        )

    def placement(self, size: tuple[int, int]) -> tuple[float, float, float, float]:
        """Scales of x and y and then shifts, from user units to pixels of a picture.

        ``size`` is its width and height.
        """
        text = Viewbox.viewbox_transform(0, 0, *size, *self.view_box, self.aspect)
        matrix = Matrix(text)
        return float(matrix.a), float(matrix.d), float(matrix.e), float(matrix.f)


def _rows(subpath: Subpath) -> list[tuple[str, tuple[int, int, int, int]]]:
    points = (*subpath.points, subpath.points[0]) if subpath.closed else subpath.points
    rows, at = [], 0
    for kind in subpath.kinds:
        step = 3 if kind == "C" else 1
        a, b, c, d = (
            points[at : at + 4] if kind == "C" else (points[at],) * 2 + (points[at + 1],) * 2
        )
        rows.append((kind, (a, b, c, d)))
        at += step
    if not subpath.closed:
        rows.append(("L", (points[at],) * 4))
    return rows


@dataclass(frozen=True)
class Drawing:
    """A vector drawing on white.

    Colours are sRGB. An alpha belongs to a fill or a stroke alone, an opacity to all that a shape
    or a group paints.

    Attributes:
        points: control points of all shapes in user units, those of the view box.
        fills: colours in [0, 1].
        fill_alphas: in [0, 1].
        strokes: colours in [0, 1].
        stroke_alphas: in [0, 1].
        widths: of the strokes, user units, at least 0.
        opacities: of shapes and groups whose opacity was not 1, in [0, 1].
        structure: what belongs to what, and all that is no number to optimise.
        document: what :func:`write_svg` needs of the file that it was read from.
    """

    points: Float[Tensor, "P 2"]
    fills: Float[Tensor, "F 3"]
    fill_alphas: Float[Tensor, " F"]
    strokes: Float[Tensor, "M 3"]
    stroke_alphas: Float[Tensor, " M"]
    widths: Float[Tensor, " M"]
    opacities: Float[Tensor, " G"]
    structure: Structure
    document: Any = None

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}

    def detached(self) -> "Drawing":
        """A copy whose tensors share nothing with these."""
        copies: dict[str, Any] = {k: v.detach().clone() for k, v in self.tensors().items()}
        return replace(self, **copies)

    def to(self, device: torch.device | str) -> "Drawing":
        """The same with its tensors on a device."""
        moved: dict[str, Any] = {k: v.to(device) for k, v in self.tensors().items()}
        return replace(self, **moved)

    @torch.no_grad()
    def clamp_(self, least_width: float | int = 0.0) -> "Drawing":
        """Brings what is out of range back, in place, and returns the drawing.

        Colours, alphas and opacities come into [0, 1], widths to at least some user units. To be
        called after every step of an optimiser: if the range were cut off on the way to the
        picture, what is beyond would have no gradient and stay there.
        """
        for name in ("fills", "fill_alphas", "strokes", "stroke_alphas", "opacities"):
            getattr(self, name).clamp_(0, 1)
        self.widths.clamp_(min=least_width)
        return self


@dataclass(frozen=True)
class Lines:
    """Outlines as chains of points in pixels.

    Attributes:
        points: in order; each chain is a subpath.
        shape: that they belong to.
        corner: where a segment begins or ends, not within a curve.
        next: index of the point that follows; of the last of a chain, the first.
        end: whether it is the last of its chain.
        closed: whether its chain is.
    """

    points: Float[Tensor, "V 2"]
    shape: Int64[Tensor, " V"]
    corner: Bool[Tensor, " V"]
    next: Int64[Tensor, " V"]
    end: Bool[Tensor, " V"]
    closed: Bool[Tensor, " V"]

    def only(self, rows: Bool[Tensor, " V"]) -> "Lines":
        """Some chains, all points of each."""
        kept = rows.nonzero()[:, 0]
        number = torch.full_like(self.next, -1)
        number[kept] = torch.arange(len(kept), device=kept.device)
        fields: dict[str, Any] = {name: value[kept] for name, value in vars(self).items()}
        return Lines(**fields | {"next": number[self.next[kept]]})


def flatten(points: Float[Tensor, "P 2"], table: Table, flatness: Float[Tensor, " S"]) -> Lines:
    """Curves as lines, as many as their size in pixels asks for.

    ``points`` are in pixels; ``flatness`` is how far the lines may be away, pixels, for every row.
    Gradients go to the control points; the numbers of lines have none.
    """
    controls = points[table.controls]
    pieces = torch.ones_like(table.shape)
    bend = controls.detach().diff(n=2, dim=1).norm(dim=-1).amax(1)
    # a cubic of second differences B in n pieces is no further from them than 3/4 B / n^2 (Wang)
    needed = (0.75 * bend / flatness).sqrt().ceil().clamp(1, MAX_PIECES)
    pieces = torch.where(table.curved, needed.to(torch.int64), pieces)
    row = torch.repeat_interleave(pieces)
    start = pieces.cumsum(0) - pieces
    piece = torch.arange(len(row), device=row.device) - start[row]
    t = (piece / pieces[row])[:, None]
    s = 1 - t
    weights = torch.cat([s**3, 3 * s * s * t, 3 * s * t * t, t**3], 1).to(points.dtype)
    made = (controls[row] * weights[..., None]).sum(1)
    end = table.last[row] & (piece == pieces[row] - 1)
    ends = end.nonzero()[:, 0]
    following = torch.arange(1, len(row) + 1, device=row.device)
    following[ends] = torch.cat([ends.new_zeros(1), ends[:-1] + 1])[: len(ends)]
    return Lines(made, table.shape[row], piece == 0, following, end, table.closed[row])
