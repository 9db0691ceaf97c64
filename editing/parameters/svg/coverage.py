"""How much of every pixel lies within an outline: exact areas, with exact gradients.

The area is the integral of the winding number over the pixel, the sum of what every edge adds to
the pixels that it crosses and to all that are right of them; the fill rule is then applied to the
average winding number. The gradient is the boundary's: an edge that moves by v over a length ds
along its normal n changes the area by n.v ds. It needs no division and is finite for every outline.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

NUDGE = 1e-3  # pixels to either side of an edge, to see which pixels it lies between


@dataclass(frozen=True)
class Windows:
    """Which pixels an outline is looked for in, and by which rule it is filled.

    Attributes:
        left: first column of the picture.
        top: first row of the picture.
        width: columns.
        height: rows.
        start: where its pixels begin in the list of those of all windows, row by row.
        evenodd: whether that is the rule, not nonzero.
    """

    left: Int64[Tensor, " N"]
    top: Int64[Tensor, " N"]
    width: Int64[Tensor, " N"]
    height: Int64[Tensor, " N"]
    evenodd: Bool[Tensor, " N"]

    @property
    def sizes(self) -> Int64[Tensor, " N"]:
        """Numbers of pixels."""
        return self.width * self.height


def coverage(
    edges: Float[Tensor, "E 2 2"], owner: Int64[Tensor, " E"], windows: Windows
) -> Float[Tensor, " X"]:
    """The share of every pixel, in [0, 1], that lies within the outlines.

    ``edges`` go from a point to a point, x and y in pixels, and close every outline; ``owner`` says
    which window is theirs. The result lists the pixels of the first window row by row, then those
    of the second, and so on.
    """
    made: Tensor = _Coverage.apply(edges, owner, windows)
    return made


class _Coverage(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, edges: Tensor, owner: Tensor, windows: Windows) -> Tensor:
        edge, column, row, t0, t1 = _crossings(edges, owner, windows)
        winding = _integrate(edges, owner, windows, edge, column, row, t0, t1)
        ctx.windows = windows
        ctx.save_for_backward(edges, owner, winding, edge, t0, t1)
        return _by_rule(winding, windows)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        edges, owner, winding, edge, t0, t1 = ctx.saved_tensors
        windows, (gradient,) = ctx.windows, gradients
        begin, along = edges[:, 0][edge], (edges[:, 1] - edges[:, 0])[edge]
        middle = (t0 + t1) / 2
        # towards the side with the higher winding number: the right of an edge that goes down
        normal = torch.stack([along[:, 1], -along[:, 0]], 1)
        step = NUDGE * normal / normal.norm(dim=1, keepdim=True).clamp_min(1e-12)
        at = begin + middle[:, None] * along
        own = owner[edge]
        high, low = (_pixel(at + sign * step, own, windows) for sign in (1, -1))
        pad_gradient, pad_winding = (torch.cat([x, x.new_zeros(1)]) for x in (gradient, winding))
        rule = torch.cat([windows.evenodd[own][None]] * 2)
        inside = _fill(pad_winding[torch.stack([high, low])], rule)
        # Within a pixel the coverage changes as the rule does with the area. Between two of them it
        # changes from what is covered on one side to what is on the other, in both.
        within = _slope(pad_winding[high], windows.evenodd[own])
        change = torch.where(high == low, within, inside[0] - inside[1])
        rate = (pad_gradient[high] + pad_gradient[low]) / 2 * change * (t1 - t0)
        push = -rate[:, None] * normal
        found = torch.zeros_like(edges)
        found[:, 0].index_add_(0, edge, push * (1 - middle)[:, None])
        found[:, 1].index_add_(0, edge, push * middle[:, None])
        return found, None, None


def _crossings(
    edges: Tensor, owner: Tensor, windows: Windows
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Where edges cross pixels: edge, column and row in its window, and from where to where on it.

    All that is left of a window counts as column -1, all right of it as one column more; so does
    what is just below it.
    """
    left, top, width, height = (
        x[owner] for x in (windows.left, windows.top, windows.width, windows.height)
    )
    (x0, y0), (x1, y1) = ((edges[:, i, 0] - left, edges[:, i, 1] - top) for i in (0, 1))
    first = _floor(torch.minimum(y0, y1), 0, height + 1)
    last = _floor(torch.maximum(y0, y1), -1, height)
    edge, row = _expanded(first, last)
    low, high = _between(row, y0[edge], y1[edge])
    dx = (x1 - x0)[edge]
    xa, xb = x0[edge] + low * dx, x0[edge] + high * dx
    first = _floor(torch.minimum(xa, xb), -1, width[edge])
    last = _floor(torch.maximum(xa, xb), -1, width[edge])
    part, column = _expanded(first, last)
    edge = edge[part]
    begin, end = _between(column, x0[edge], x1[edge], width[edge])
    t0, t1 = torch.maximum(low[part], begin), torch.minimum(high[part], end)
    keep = t1 > t0
    return edge[keep], column[keep], row[part][keep], t0[keep], t1[keep]


def _floor(values: Tensor, least: int, most: Tensor) -> Tensor:
    return values.floor().clamp(min=least).minimum(most.to(values.dtype)).to(torch.int64)


def _expanded(first: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
    """Index and value for all values from ``first`` to ``last``, both included, of every index."""
    counts = (last - first + 1).clamp_min(0)
    index = torch.repeat_interleave(counts)
    start = counts.cumsum(0) - counts
    return index, first[index] + torch.arange(len(index), device=index.device) - start[index]


def _between(
    cell: Tensor, begin: Tensor, end: Tensor, most: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Where, from 0 to 1, a coordinate that goes from ``begin`` to ``end`` is within a cell.

    Cell c is from c to c + 1; with ``most`` cell -1 has no lower bound and cell ``most`` no upper.
    """
    span = end - begin
    still = span == 0
    safe = torch.where(still, 1, span)
    one, two = (cell - begin) / safe, (cell + 1 - begin) / safe
    if most is not None:
        endless = torch.where(span > 0, torch.inf, -torch.inf)
        one = torch.where(cell < 0, -endless, one)
        two = torch.where(cell >= most, endless, two)
    low, high = torch.minimum(one, two), torch.maximum(one, two)
    low, high = torch.where(still, 0, low), torch.where(still, 1, high)
    return low.clamp(0, 1), high.clamp(0, 1)


def _integrate(
    edges: Tensor,
    owner: Tensor,
    windows: Windows,
    edge: Tensor,
    column: Tensor,
    row: Tensor,
    t0: Tensor,
    t1: Tensor,
) -> Tensor:
    """The winding number of every pixel of every window, on average."""
    along = edges[:, 1] - edges[:, 0]
    own = owner[edge]
    down = along[edge, 1] * (t1 - t0)
    x = edges[edge, 0, 0] - windows.left[own] + (t0 + t1) / 2 * along[edge, 0]
    passed = (x - column).clamp(0, 1)  # share of the pixel that is left of the edge
    # one column before the window, two after, and one row below, which are cut off in the end
    strides = windows.width + 3
    sizes = strides * (windows.height + 1)
    starts = sizes.cumsum(0) - sizes
    at = starts[own] + row * strides[own] + column + 1
    total = edges.new_zeros(int(sizes.sum()))
    total.index_add_(0, at, down * (1 - passed))
    total.index_add_(0, at + 1, down * passed)
    shapes = zip(windows.height.tolist(), windows.width.tolist(), strict=True)
    parts = total.split(sizes.tolist())
    return torch.cat(
        [
            part.view(h + 1, w + 3)[:h].cumsum(1)[:, 1 : w + 1].reshape(-1)
            for part, (h, w) in zip(parts, shapes, strict=True)
        ]
        or [total]
    )


def _pixel(at: Tensor, own: Tensor, windows: Windows) -> Tensor:
    """Index of the pixel in which points lie; outside of their windows one too many."""
    sizes = windows.sizes
    starts = sizes.cumsum(0) - sizes
    column = at[:, 0].floor() - windows.left[own]
    row = at[:, 1].floor() - windows.top[own]
    width = windows.width[own]
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < windows.height[own])
    index = starts[own] + row.to(torch.int64) * width + column.to(torch.int64)
    return torch.where(inside, index, sizes.sum())


def _by_rule(winding: Tensor, windows: Windows) -> Tensor:
    return _fill(winding, windows.evenodd.repeat_interleave(windows.sizes))


def _fill(winding: Tensor, evenodd: Tensor) -> Tensor:
    """Coverage of pixels of an average winding number, by their rule."""
    odd = (winding - 2 * (winding / 2).round()).abs()
    return torch.where(evenodd, odd, winding.abs().clamp(max=1))


def _slope(winding: Tensor, evenodd: Tensor) -> Tensor:
    """The derivative of :func:`_fill`."""
    nonzero = torch.where(winding >= 0, 1.0, -1.0) * (winding.abs() < 1)
    odd = winding - 2 * (winding / 2).round()
    return torch.where(evenodd, torch.where(odd >= 0, 1.0, -1.0), nonzero).to(winding.dtype)
