"""Strokes as outlines: what a pen of some width covers along chains of lines.

Every line becomes a strip, every corner a wedge on its outer side, every open end a cap. All turn
the same way round, so that the winding number of what any of them covers is not zero.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from editing.parameters.svg.shapes import CAPS, FLATNESS, JOINS, Lines

SHORTEST = 1e-3  # pixels: shorter lines have no direction of their own


@dataclass(frozen=True)
class Pens:
    """How the lines of each shape are drawn; a row is a shape.

    Attributes:
        radius: half the width, pixels.
        matrix: of determinant 1 or -1, from a plane in which the pen is round to pixels.
        cap: index into ``CAPS``.
        join: index into ``JOINS``.
        miter_limit: from which on a mitred corner is bevelled, length over width.
    """

    radius: Float[Tensor, " N"]
    matrix: Float[Tensor, "N 2 2"]
    cap: Int64[Tensor, " N"]
    join: Int64[Tensor, " N"]
    miter_limit: Float[Tensor, " N"]


@dataclass(frozen=True)
class Strips:
    """Lines that are long enough to have a direction, in the plane in which the pen is round.

    Attributes:
        along: unit vectors.
        side: vectors of half the width to one side, pixels.
        length: of the lines.
    """

    along: Float[Tensor, "L 2"]
    side: Float[Tensor, "L 2"]
    length: Float[Tensor, " L"]


def stroke_edges(lines: Lines, pens: Pens) -> tuple[Float[Tensor, "E 2 2"], Int64[Tensor, " E"]]:
    """Edges of closed outlines, from point to point in pixels, and the shape of each.

    What the outlines cover by the nonzero rule is what the stroke covers; its winding number is
    not negative.
    """
    lines, dots = _without_repeats(lines)
    points, following = lines.points, lines.next
    has_line = ~lines.end | lines.closed
    start = has_line.nonzero()[:, 0]
    shape = lines.shape[start]
    matrix = pens.matrix[shape]
    flat = _apply(torch.linalg.inv(pens.matrix)[shape], (points[following] - points)[start])
    length = flat.norm(dim=1)
    along = flat / length.clamp_min(SHORTEST / 2)[:, None]
    side = _apply(matrix, pens.radius[shape, None] * _turned(along))
    strips = Strips(along, side, length.detach())
    a, b = points[start], points[following[start]]
    pieces = [torch.stack([a + side, b + side], 1), torch.stack([b - side, a - side], 1)]
    owners = [shape, shape]
    number = torch.full_like(following, -1)  # of the strip that starts at a point
    number[start] = torch.arange(len(start), device=start.device)
    before = torch.full_like(following, -1)  # of the strip that ends at a point
    before[following[start]] = number[start]

    joined = ((number >= 0) & (before >= 0)).nonzero()[:, 0]
    for made in (
        _corners(lines, pens, strips, joined, before[joined], number[joined]),
        _caps(lines, pens, strips, ((number < 0) & (before >= 0)).nonzero()[:, 0], before, 1),
        _caps(lines, pens, strips, ((number >= 0) & (before < 0)).nonzero()[:, 0], number, -1),
        _dots(dots, pens),
    ):
        pieces.append(made[0])
        owners.append(made[1])
    edges, owner = torch.cat(pieces), torch.cat(owners)
    mirrored = torch.linalg.det(pens.matrix)[owner] < 0
    return torch.where(mirrored[:, None, None], edges.flip(1), edges), owner


def _without_repeats(lines: Lines) -> tuple[Lines, Lines]:
    """Chains without lines of no length, and the last points of chains that have no other."""
    length = (lines.points[lines.next] - lines.points).detach().norm(dim=1)
    goes_on = (length > SHORTEST) & (~lines.end | lines.closed)
    chain = lines.end.cumsum(0) - lines.end.to(torch.int64)
    count = torch.zeros_like(chain).index_add_(0, chain, goes_on.to(torch.int64))[chain]
    keep = (goes_on | (lines.end & ~lines.closed)) & (count > 0)
    kept = keep.nonzero()[:, 0]
    chain = chain[kept]
    end = torch.ones_like(chain, dtype=torch.bool)
    end[:-1] = chain[1:] != chain[:-1]
    following = torch.arange(1, len(kept) + 1, device=kept.device)
    ends = end.nonzero()[:, 0]
    following[ends] = torch.cat([ends.new_zeros(1), ends[:-1] + 1])[: len(ends)]

    def some(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return lines.points[rows], lines.shape[rows], lines.corner[rows]

    dots = (lines.end & (count == 0)).nonzero()[:, 0]
    lone = torch.ones_like(dots, dtype=torch.bool)
    return (
        Lines(*some(kept), following, end, lines.closed[kept]),
        Lines(*some(dots), torch.arange(len(dots), device=dots.device), lone, lone),
    )


def _turned(vectors: Tensor) -> Tensor:
    """A quarter turn from x to y."""
    return torch.stack([-vectors[..., 1], vectors[..., 0]], -1)


def _apply(matrix: Tensor, vectors: Tensor) -> Tensor:
    return (matrix @ vectors[..., None])[..., 0]


def _arc_steps(radius: Tensor, angle: Tensor) -> Tensor:
    """How many lines an arc needs."""
    step = 2 * torch.acos((1 - FLATNESS / radius.detach().clamp_min(FLATNESS)).clamp(min=0))
    return (angle / step).ceil().clamp(1, 256).to(torch.int64)


def _chain(first: Tensor, last: Tensor, middle: Tensor, j: Tensor, count: Tensor) -> Tensor:
    """The j-th corner of chains: the first, the last, or what is between."""
    between = torch.where((j == count)[:, None], last, middle)
    return torch.where((j == 0)[:, None], first, between)


def _corners(
    lines: Lines, pens: Pens, strips: Strips, at: Tensor, one: Tensor, two: Tensor
) -> tuple[Tensor, Tensor]:
    """What fills the outer sides of corners, where strip ``one`` ends and ``two`` begins."""
    shape, point = lines.shape[at], lines.points[at]
    d1, d2, o1, o2 = strips.along[one], strips.along[two], strips.side[one], strips.side[two]
    dot = (d1 * d2).sum(1)
    turn = torch.atan2(d1[:, 0] * d2[:, 1] - d1[:, 1] * d2[:, 0], dot)
    outer = torch.where(turn > 0, -1, 1)  # the side that gapes
    # Within a curve there is no corner, only the error of its lines, which an arc takes away.
    join = torch.where(lines.corner[at], pens.join[shape], JOINS.index("round"))
    sharp = (1 + dot.detach()) / 2 * pens.miter_limit[shape] ** 2 >= 1
    miter = (join == JOINS.index("miter")) & sharp & (turn.abs() > 1e-3)
    rounded = join == JOINS.index("round")
    radius = pens.radius[shape]
    count = torch.where(rounded, _arc_steps(radius, turn.detach().abs()), torch.where(miter, 2, 1))

    # where the inner sides of the strips meet, unless one of them is too short to get there
    shorter = strips.length[one].minimum(strips.length[two])
    half = turn.detach().abs() / 2
    meets = (half < 1.5) & (half.tan() * radius.detach() <= shorter / 2)

    row = torch.repeat_interleave(count)
    j = torch.arange(len(row), device=row.device) - (count.cumsum(0) - count)[row]
    denominator = torch.where(miter | meets, 1 + dot, 1.0)[:, None]
    tip = radius[:, None] * _turned(d1 + d2) / denominator

    def offset(j: Tensor) -> Tensor:
        angle = (turn / count)[row] * j
        normal = _turned(d1)[row]
        arc = angle.cos()[:, None] * normal + angle.sin()[:, None] * _turned(normal)
        middle = torch.where(miter[row, None], tip[row], radius[row, None] * arc)
        middle = _apply(pens.matrix[shape[row]], middle)
        return _chain(o1[row], o2[row], middle, j, count[row])

    outward = outer[row, None]
    edges = torch.stack([offset(j), offset(j + 1)], 1) * outward[..., None] + point[row, None]
    edges = torch.where(outward[..., None] > 0, edges, edges.flip(1))
    # The inner side, from the end of one strip to the beginning of the other. By way of the point
    # itself nothing that only one strip covers is lost; on a curve there is no such thing.
    inward = -outer[:, None]
    way = torch.where(lines.corner[at, None], 0.0, (o1 + o2) / 2)
    way = torch.where(meets[:, None], _apply(pens.matrix[shape], tip), way)
    first, last = point + inward * o1, point + inward * o2
    between = point + inward * way
    inner = torch.cat([torch.stack([first, between], 1), torch.stack([between, last], 1)])
    forward = (inward > 0).repeat(2, 1)[..., None]
    inner = torch.where(forward, inner, inner.flip(1))
    return torch.cat([edges, inner]), torch.cat([shape[row], shape, shape])


def _caps(
    lines: Lines, pens: Pens, strips: Strips, at: Tensor, strip: Tensor, sign: int
) -> tuple[Tensor, Tensor]:
    """Caps at points where chains end (sign 1) or begin (-1), with the strips there."""
    rows = strip[at]
    along, side = sign * strips.along[rows], sign * strips.side[rows]
    return _cap_edges(lines.points[at], lines.shape[at], along, side, pens)


def _dots(dots: Lines, pens: Pens) -> tuple[Tensor, Tensor]:
    """Chains of no length: two caps back to back, but for butt ones."""
    some = (pens.cap[dots.shape] != CAPS.index("butt")).nonzero()[:, 0]
    shape, point = dots.shape[some], dots.points[some]
    along = torch.tensor([1.0, 0.0]).to(point).expand_as(point)
    side = _apply(pens.matrix[shape], pens.radius[shape, None] * _turned(along))
    halves = [_cap_edges(point, shape, s * along, s * side, pens) for s in (1, -1)]
    return torch.cat([edges for edges, _ in halves]), torch.cat([owner for _, owner in halves])


def _cap_edges(
    point: Float[Tensor, "K 2"],
    shape: Int64[Tensor, " K"],
    along: Float[Tensor, "K 2"],
    side: Float[Tensor, "K 2"],
    pens: Pens,
) -> tuple[Float[Tensor, "E 2 2"], Int64[Tensor, " E"]]:
    cap, radius = pens.cap[shape], pens.radius[shape]
    square = cap == CAPS.index("square")
    half_turn = _arc_steps(radius, torch.full_like(radius, math.pi))
    count = torch.where(cap == CAPS.index("round"), half_turn, torch.where(square, 3, 1))
    row = torch.repeat_interleave(count)
    j = torch.arange(len(row), device=row.device) - (count.cumsum(0) - count)[row]
    matrix = pens.matrix[shape]
    beyond = _apply(matrix, radius[:, None] * along)

    def offset(j: Tensor) -> Tensor:
        angle = math.pi * j / count[row]
        direction = along[row]
        arc = angle.cos()[:, None] * _turned(direction) + angle.sin()[:, None] * direction
        arc = _apply(matrix[row], radius[row, None] * arc)
        corner = torch.where((j == 1)[:, None], side[row], -side[row]) + beyond[row]
        middle = torch.where(square[row, None], corner, arc)
        return _chain(side[row], -side[row], middle, j, count[row])

    edges = torch.stack([offset(j), offset(j + 1)], 1) + point[row, None]
    return edges, shape[row]
