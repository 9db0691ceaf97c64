"""Signed distances to unions of round cones and boxes, sphere tracing, and soft shadows.

All of it batched and in pure torch. In the shapes, B counts scenes and N points or rays of each.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor

from benchmarks.menagerie.shapes import ABSENT, Boxes, Cones

BLEND = 0.012  # body lengths over which neighbouring parts melt into one another
_BLEND2 = BLEND * math.log(2)
HIT = 0.004  # body lengths: a ray this near is on the surface; a quarter of a pixel at 128 pixels
FAR = 1e3


@dataclass(frozen=True)
class Solid:
    """Something to trace: round cones and perhaps boxes, with the sphere that bounds them.

    Attributes:
        cones: the round cones.
        boxes: the boxes, if any.
        center: of the bounding sphere.
        radius: of the bounding sphere; 0 where there is nothing.
    """

    cones: Cones
    boxes: Boxes | None
    center: Float[Tensor, "B 3"]
    radius: Float[Tensor, " B"]

    @staticmethod
    def of(cones: Cones, boxes: Boxes | None = None) -> "Solid":
        """Finds the bounding sphere: around the middle of the box that holds all parts."""
        there = cones.ra > ABSENT / 2
        points = torch.cat([cones.a, cones.b], 1)
        reach = torch.cat([cones.ra, cones.rb], 1)[..., None]
        valid = torch.cat([there, there], 1)[..., None]
        if boxes is not None:
            size = boxes.half.norm(dim=-1, keepdim=True)
            points, reach = torch.cat([points, boxes.center], 1), torch.cat([reach, size], 1)
            valid = torch.cat([valid, boxes.half[..., :1] > 0], 1)
        low = torch.where(valid, points - reach, torch.full_like(points, FAR)).amin(1)
        high = torch.where(valid, points + reach, torch.full_like(points, -FAR)).amax(1)
        center = 0.5 * (low + high)
        far = torch.where(
            valid,
            (points - center[:, None]).norm(dim=-1, keepdim=True) + reach,
            torch.zeros_like(reach),
        )
        return Solid(cones, boxes, center, far.amax((1, 2)) + 0.01 * (far.amax((1, 2)) > 0))


def _to_cones(cones: Cones, p: Tensor) -> tuple[Tensor, Tensor]:
    """Signed distances (B, N, P) from points (B, N, 3) to the P round cones.

    Also returns where along its axis, 0..1, each has its nearest point.
    """
    axis = cones.b - cones.a
    length2 = (axis * axis).sum(-1).clamp(min=1e-8)  # a part may be a sphere
    q = torch.baddbmm(-(cones.a * axis).sum(-1)[:, None], p, axis.mT)  # (p - a) . (b - a)
    h = (q / length2[:, None]).clamp_(0, 1)
    squared = torch.baddbmm((cones.a * cones.a).sum(-1)[:, None], p, cones.a.mT, alpha=-2)
    squared += (p * p).sum(-1, keepdim=True)
    squared += q.mul_(-2).addcmul_(h, length2[:, None]).mul_(h)
    d = squared.clamp_(min=1e-9).sqrt_().sub_(cones.ra[:, None])
    return d.addcmul_(h, (cones.ra - cones.rb)[:, None]), h


def _to_boxes(boxes: Boxes, p: Tensor) -> Tensor:
    """(B, N, Q) signed distances to the boxes."""
    local = torch.einsum("bnqc,bqrc->bnqr", p[:, :, None] - boxes.center[:, None], boxes.axes)
    d = local.abs() - boxes.half[:, None]
    return d.clamp(min=0).norm(dim=-1) + d.amax(-1).clamp(max=0)


def distance(solid: Solid, p: Float[Tensor, "B N 3"]) -> Float[Tensor, "B N"]:
    """Signed distance of points: a smooth union, so at most BLEND log(parts) too small.

    The sum of exponentials needs no shift by its maximum. It underflows only beyond 80 BLEND, where
    the distance returned, about 1, is near enough. Powers of 2 take a CPU half the time of those of
    e.
    """
    d, _ = _to_cones(solid.cones, p)
    d = (
        d.mul_(-1 / _BLEND2)
        .clamp_(max=115)
        .exp2_()
        .sum(-1)
        .clamp_(min=1e-35)
        .log2_()
        .mul_(-_BLEND2)
    )
    return d if solid.boxes is None else torch.minimum(d, _to_boxes(solid.boxes, p).amin(-1))


def surface(
    solid: Solid, p: Float[Tensor, "B N 3"]
) -> tuple[
    Float[Tensor, "B N 3"], Float[Tensor, "B N 3"], Float[Tensor, "B N"], Float[Tensor, "B N"]
]:
    """Normal, colour, and the weights of coat and worn things at points on the surface."""
    cones = solid.cones
    d, h = _to_cones(cones, p)
    weight = torch.softmax(d * (-1 / BLEND), -1)
    crisp = torch.softmax(d * (-4 / BLEND), -1)
    nearest = cones.a[:, None] + h[..., None] * (cones.b - cones.a)[:, None]
    normal = (weight[..., None] * F.normalize(p[:, :, None] - nearest, dim=-1)).sum(2)
    color = crisp @ cones.color
    coat = (crisp * cones.coat[:, None]).sum(-1)
    worn = crisp @ cones.worn.float()
    if solid.boxes is not None:
        flat, paint, d_boxes = _box_surface(solid.boxes, p)
        on_box = (d_boxes < d.amin(-1))[..., None]
        normal = torch.where(on_box, flat, normal)
        color = torch.where(on_box, paint, color)
    return F.normalize(normal, dim=-1), color, coat, worn


def _box_surface(boxes: Boxes, p: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Normal (B, N, 3) and colour (B, N, 3) of the nearest box, and its distance (B, N)."""
    d, which = _to_boxes(boxes, p).min(-1)
    axes = pick(boxes.axes, which)
    local = torch.einsum("bnc,bnrc->bnr", p - pick(boxes.center, which), axes)
    excess = local.abs() - pick(boxes.half, which)
    face = F.one_hot(excess.argmax(-1), 3) * local.sign()
    normal = torch.einsum("bnr,bnrc->bnc", face.to(p.dtype), axes)
    # The first box is the house's walls: it has a door.
    door = (which == 0) & (local[..., 2].abs() > 0.3)
    door = door & (local[..., 0].abs() < 0.10) & (local[..., 1] < 0.12)
    color = pick(boxes.color, which)
    return normal, torch.where(door[..., None], color * 0.45, color), d


def take(mask: Bool[Tensor, "B N"]) -> tuple[Int64[Tensor, "B M"], Bool[Tensor, "B M"]]:
    """Packs the true places of a mask: their indices, and which of these are real.

    M is the largest count of a row; rows with fewer are filled up with index 0.
    """
    position = mask.cumsum(1) - 1
    count = mask.sum(1)
    most = int(count.max())
    index = torch.zeros(len(mask), most, dtype=torch.long, device=mask.device)
    rows, columns = mask.nonzero(as_tuple=True)
    index[rows, position[rows, columns]] = columns
    return index, torch.arange(most, device=mask.device) < count[:, None]


def pick(
    values: Shaped[Tensor, "B N *rest"], index: Int64[Tensor, "B M"]
) -> Shaped[Tensor, "B M *rest"]:
    """The values at the indices, row by row."""
    return values[torch.arange(len(values), device=values.device)[:, None], index]


def span(
    solid: Solid,
    origin: Float[Tensor, "B N 3"],
    direction: Float[Tensor, "B N 3"],
    margin: float = 0.0,
) -> tuple[Bool[Tensor, "B N"], Float[Tensor, "B N"], Float[Tensor, "B N"]]:
    """Whether rays cross the bounding sphere, where they enter (at least 0), where they leave."""
    offset = origin - solid.center[:, None]
    b = (offset * direction).sum(-1)
    radius = (solid.radius + margin)[:, None]
    discriminant = b * b - (offset * offset).sum(-1) + radius * radius
    root = discriminant.clamp(min=0).sqrt()
    near, far = (-b - root).clamp(min=0), -b + root
    return (discriminant > 0) & (far > 0) & (solid.radius[:, None] > 0), near, far


def trace(
    solid: Solid,
    origin: Float[Tensor, "B N 3"],
    direction: Float[Tensor, "B N 3"],
    start: Float[Tensor, "B N"] | None = None,
    slope: float = 0.0,
    steps: int = 32,
) -> Float[Tensor, "B N"]:
    """Sphere tracing: distance along each ray to the surface, FAR where it misses.

    Args:
        solid: what to hit.
        origin: where rays begin.
        direction: unit vectors.
        start: distance at which to begin; rays that begin at FAR miss.
        slope: stop already within `slope * distance` of the surface. This traces a cone, and the
            rays within it can begin there.
        steps: at most; rays that still graze the surface after the last are taken as hits.
    """
    mask, near, far = span(solid, origin, direction, margin=slope)
    if start is not None:
        mask, near = mask & (start < far), torch.maximum(near, start)
    result = torch.full_like(near, FAR)
    index, valid = take(mask)
    if index.shape[1] == 0:
        return result
    o, v, t, end = (pick(x, index) for x in (origin, direction, near, far))
    rows = torch.arange(len(mask), device=mask.device)[:, None]
    d = torch.full_like(t, FAR)
    for step in range(steps):
        d = distance(solid, o + t[..., None] * v)
        hit = valid & (d < slope * t + HIT)
        r, c = hit.nonzero(as_tuple=True)
        result[r, index[r, c]] = t[r, c]
        t = t + 0.95 * d.clamp(min=HIT)
        valid = valid & ~hit & (t < end)
        if step % 2 == 1:
            kept, valid = take(valid)
            if kept.shape[1] == 0:
                return result
            o, v, t, d, end, index = (pick(x, kept) for x in (o, v, t, d, end, index))
    grazing = valid & (d < slope * t + 4 * HIT)
    result[rows.expand_as(index)[grazing], index[grazing]] = t[grazing]
    return result


def shadow(
    solid: Solid,
    p: Float[Tensor, "B N 3"],
    light: Float[Tensor, "B 3"],
    wanted: Bool[Tensor, "B N"],
    steps: int = 10,
    softness: float = 9.0,
) -> Float[Tensor, "B N"]:
    """How much of the light reaches points, 0..1: the narrowest angle a ray to the light leaves.

    Args:
        solid: what throws the shadow.
        p: the points.
        light: unit vectors towards the light.
        wanted: which points matter; the others are left lit.
        steps: along the ray.
        softness: the larger, the sharper the shadow's edge.
    """
    direction = light[:, None].expand_as(p)
    mask, near, far = span(solid, p, direction, margin=0.05)
    lit = torch.ones_like(near)
    index, valid = take(mask & wanted)
    if index.shape[1] == 0:
        return lit
    o, v, t, end = (pick(x, index) for x in (p, direction, near, far))
    t = t.clamp(min=0.03)
    least = torch.ones_like(t)
    for step in range(steps):
        d = distance(solid, o + t[..., None] * v)
        least = torch.where(valid, torch.minimum(least, softness * d / t), least)
        t = t + d.clamp(min=0.04)
        if step % 2 == 1 or step == steps - 1:
            r, c = valid.nonzero(as_tuple=True)
            lit[r, index[r, c]] = least[r, c]
            kept, valid = take(valid & (t < end) & (least > 0))
            if kept.shape[1] == 0:
                break
            o, v, t, end, least, index = (pick(x, kept) for x in (o, v, t, end, least, index))
    lit = lit.clamp(0, 1)
    return lit * lit * (3 - 2 * lit)
