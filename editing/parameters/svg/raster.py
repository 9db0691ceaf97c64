"""From a drawing to a picture, so that the picture's gradient reaches the drawing."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from editing.parameters.svg.blend import Paint, blend, over
from editing.parameters.svg.coverage import Windows, coverage
from editing.parameters.svg.shapes import CAPS, FLATNESS, JOINS, Drawing, flatten
from editing.parameters.svg.strokes import Pens, stroke_edges

# Pixels of all shapes that are kept for the backward pass at once, about 100 bytes each; beyond
# that they are computed again.
BUDGET = 2_000_000


def render(drawing: Drawing, size: tuple[int, int]) -> Float[Tensor, "3 H W"]:
    """The drawing on white, as browsers paint it, in [0, 1].

    The view box is fitted into ``size``, width and height in pixels, as the file says: by default
    in the middle and as large as it fits. Every pixel is the average of what is in it, for every
    shape alone, and shapes are laid over each other in sRGB. There are gradients to all tensors of
    the drawing, and they are finite; of an edge only the pixels that it crosses know.

    The range is that of the colours, alphas and opacities: bring them into [0, 1] first
    (:meth:`Drawing.clamp_`).

    Raises:
        ValueError: for a size that is not positive, or tensors that are not finite.
    """
    width, height = size
    if min(size) < 1:
        raise ValueError(f"size must be positive, got {width} x {height}")
    for name, tensor in drawing.tensors().items():
        if not tensor.isfinite().all():
            raise ValueError(f"{name} of the drawing are not finite")
    with torch.autocast(drawing.points.device.type, enabled=False):  # coordinates need 24 bits
        painter = _Painter(drawing, width, height)
        seen = [index for index, cost in enumerate(painter.costs) if cost]
        nodes = _nested(painter, seen, 0)
        # every tensor has a gradient, also where nothing of it is to be seen
        nothing = sum(0 * tensor.sum() for tensor in drawing.tensors().values())
        white = drawing.points.new_ones(4, height, width) + nothing
        return painter.draw(white, nodes, sum(map(painter.cost, nodes)) > BUDGET)[:3]


@dataclass(frozen=True)
class _Layer:
    """Shapes and layers that are painted as one and then let through by one opacity."""

    row: int
    nodes: tuple["_Node", ...]
    cost: int
    paints: int


_Node = int | _Layer


class _Painter:
    def __init__(self, drawing: Drawing, width: int, height: int) -> None:
        self.drawing, self.width, self.height = drawing, width, height
        points, shapes = drawing.points, drawing.structure.shapes
        self.table = drawing.structure.table.to(points.device)
        sx, sy, tx, ty = drawing.structure.placement((width, height))
        self.points = points * points.new_tensor([sx, sy]) + points.new_tensor([tx, ty])
        self.pens = self._pens(sx, sy)
        self.filled, self.stroked, self.evenodd = (
            torch.tensor(flags, device=points.device)
            for flags in (
                [shape.fill is not None for shape in shapes],
                [shape.stroke is not None for shape in shapes],
                [shape.evenodd for shape in shapes],
            )
        )
        self.paints = [
            list(zip(F.pad(colours, (0, 1), value=1).unbind(), alphas.unbind(), strict=True))
            for colours, alphas in (
                (drawing.fills, drawing.fill_alphas),
                (drawing.strokes, drawing.stroke_alphas),
            )
        ]  # fills and strokes
        self.costs = self._costs()

    def _pens(self, sx: float, sy: float) -> Pens:
        """All pens; those of shapes without a stroke have no width."""
        widths = self.drawing.widths
        strokes = [shape.stroke for shape in self.drawing.structure.shapes]
        device = widths.device
        rows = torch.tensor([s.row if s else len(widths) for s in strokes], device=device)
        pen = widths.new_tensor([(1, 0, 0, 1) if s is None else s.pen for s in strokes])
        scale = abs(sx * sy) ** 0.5
        turned = widths.new_tensor([[sx, 0], [0, sy]]) / scale @ pen.view(-1, 2, 2)
        cap = [CAPS.index(s.cap) if s else 0 for s in strokes]
        join = [JOINS.index(s.join) if s else 0 for s in strokes]
        limit = [s.miter_limit if s else 1.0 for s in strokes]
        return Pens(
            F.pad(widths, (0, 1))[rows] * scale / 2,
            turned,
            torch.tensor(cap, device=device),
            torch.tensor(join, device=device),
            widths.new_tensor(limit),
        )

    def _costs(self) -> list[int]:
        """About how many pixels each shape is looked at in; 0 for what is out of the picture."""
        with torch.no_grad():
            pens, count = self.pens, len(self.filled)
            corners = self.points[self.table.controls].flatten(0, 1)
            owner = self.table.shape.repeat_interleave(4)[:, None].expand(-1, 2)
            least, most = (
                corners.new_full((count, 2), start).scatter_reduce(0, owner, corners, how)
                for start, how in ((torch.inf, "amin"), (-torch.inf, "amax"))
            )
            miter = torch.where(pens.join == JOINS.index("miter"), pens.miter_limit, 1.5)
            reach = pens.radius.abs() * miter.clamp_min(1.5)
            reach = reach * torch.linalg.matrix_norm(pens.matrix, 2)
            least, most = least - reach[:, None] - 1, most + reach[:, None] + 1
            limit = corners.new_tensor([self.width, self.height])
            size = (most.minimum(limit) - least.clamp_min(0)).clamp_min(0)
            pixels = size.prod(1).ceil() * (self.filled.long() + self.stroked.long())
        return [int(x) for x in pixels.tolist()]

    def cost(self, node: _Node) -> int:
        """About how many pixels are looked at for a node."""
        return node.cost if isinstance(node, _Layer) else self.costs[node]

    def draw(self, canvas: Tensor, nodes: Sequence[_Node], large: bool) -> Tensor:
        """A canvas, four premultiplied channels, with nodes painted over it.

        Where all is ``large``, only what is between groups of nodes is kept for the backward pass.
        """
        for group in self._groups(nodes):
            node = group[0]
            if isinstance(node, _Layer) and node.cost > BUDGET and node.paints > 1:
                layer = self.draw(torch.zeros_like(canvas), node.nodes, large)
                canvas = over(canvas, layer * self.drawing.opacities[node.row])
            elif large and torch.is_grad_enabled():
                canvas = checkpoint(
                    self.paint, canvas, group, use_reentrant=False, preserve_rng_state=False
                )
            else:
                canvas = self.paint(canvas, group)
        return canvas

    def _groups(self, nodes: Sequence[_Node]) -> Iterator[list[_Node]]:
        """Neighbours that together stay within the budget, but for what alone does not."""
        group: list[_Node] = []
        spent = 0
        for node in nodes:
            if group and spent + self.cost(node) > BUDGET:
                yield group
                group, spent = [], 0
            group.append(node)
            spent += self.cost(node)
        if group:
            yield group

    def paint(self, canvas: Tensor, nodes: Sequence[_Node]) -> Tensor:
        """A canvas with nodes painted over it, all outlines in one pass."""
        shapes = list(_shapes_of(nodes))
        canvas = canvas.clone()  # painted over in place
        return self._compose(canvas, nodes, dict(zip(shapes, self._covers(shapes), strict=True)))

    def _compose(
        self, canvas: Tensor, nodes: Sequence[_Node], paints: dict[int, list[Paint]]
    ) -> Tensor:
        for node in nodes:
            if isinstance(node, int):
                for paint in paints[node]:
                    canvas = blend(canvas, paint, paint.alpha)
                continue
            opacity, inner = self.drawing.opacities[node.row], node.nodes
            while node.paints == 1 and isinstance(inner[0], _Layer):
                opacity, inner = opacity * self.drawing.opacities[inner[0].row], inner[0].nodes
            if node.paints == 1:  # as if it had that alpha
                (paint,) = paints[cast(int, inner[0])]
                canvas = blend(canvas, paint, paint.alpha * opacity)
            else:
                layer = self._compose(torch.zeros_like(canvas), inner, paints)
                canvas = over(canvas, layer * opacity)
        return canvas

    def _covers(self, shapes: list[int]) -> list[list[Paint]]:
        """What each shape paints, first its fill and then its stroke."""
        device = self.points.device
        chosen = torch.tensor(shapes, device=device)
        place = torch.full_like(self.filled, -1, dtype=torch.int64)
        place[chosen] = torch.arange(len(shapes), device=device)
        table = self.table[place[self.table.shape] >= 0]
        # a stroke shows the directions of its lines, the more the wider it is
        flatness = FLATNESS / (1 + self.pens.radius.detach().abs() / 10)
        lines = flatten(self.points, table, flatness[table.shape])
        filled = self.filled[lines.shape].nonzero()[:, 0]
        fills = torch.stack([lines.points[filled], lines.points[lines.next[filled]]], 1)
        strokes, owner = stroke_edges(lines.only(self.stroked[lines.shape]), self.pens)
        edges = torch.cat([fills, strokes])
        owner = torch.cat([2 * place[lines.shape[filled]], 2 * place[owner] + 1])
        rules = torch.stack([self.evenodd[chosen], torch.zeros_like(self.evenodd[chosen])], 1)
        windows = self._windows(edges, owner, rules.flatten())
        covers = coverage(edges, owner, windows).split(windows.sizes.tolist())
        found: list[list[Paint]] = []
        boxes = torch.stack([windows.left, windows.top, windows.width, windows.height], 1).tolist()
        for index, row in enumerate(shapes):
            shape = self.drawing.structure.shapes[row]
            found.append([])
            stroke = shape.stroke.row if shape.stroke else None
            for kind, at in enumerate((shape.fill, stroke)):
                if at is not None:
                    left, top, width, height = boxes[2 * index + kind]
                    cover = covers[2 * index + kind].view(height, width)
                    found[-1].append(Paint(*self.paints[kind][at], cover, left, top))
        return found

    def _windows(self, edges: Tensor, owner: Tensor, evenodd: Tensor) -> Windows:
        """Where in the picture something is, with a pixel around it for edges between pixels."""
        corners, owner = edges.detach().flatten(0, 1), owner.repeat_interleave(2)[:, None]
        least, most = (
            corners.new_full((len(evenodd), 2), start).scatter_reduce(
                0, owner.expand(-1, 2), corners, how
            )
            for start, how in ((torch.inf, "amin"), (-torch.inf, "amax"))
        )
        limit = corners.new_tensor([self.width, self.height])
        begin = (least.floor() - 1).clamp_min(0).minimum(limit).long()
        extent = ((most.floor() + 2).minimum(limit).clamp_min(0).long() - begin).clamp_min(0)
        return Windows(begin[:, 0], begin[:, 1], extent[:, 0], extent[:, 1], evenodd)


def _nested(painter: _Painter, shapes: Sequence[int], depth: int) -> tuple[_Node, ...]:
    """Shapes in their layers, in the order in which they are painted."""
    all_shapes = painter.drawing.structure.shapes
    made: list[_Node] = []
    run: list[int] = []
    for index, shape in enumerate(shapes):
        fades = all_shapes[shape].fades
        if len(fades) <= depth:
            made.append(shape)
            continue
        run.append(shape)
        after = all_shapes[shapes[index + 1]].fades if index + 1 < len(shapes) else ()
        if len(after) <= depth or after[depth] != fades[depth]:
            inner = _nested(painter, run, depth + 1)
            members = [all_shapes[i] for i in run]
            paints = sum((s.fill is not None) + (s.stroke is not None) for s in members)
            cost = sum(map(painter.cost, inner))
            if paints > 1:  # it is painted on a canvas of its own
                cost += painter.width * painter.height
            made.append(_Layer(fades[depth], inner, cost, paints))
            run = []
    return tuple(made)


def _shapes_of(nodes: Sequence[_Node]) -> Iterator[int]:
    for node in nodes:
        if isinstance(node, int):
            yield node
        else:
            yield from _shapes_of(node.nodes)
