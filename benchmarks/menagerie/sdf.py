"""Signed distances to unions of round cones and boxes, sphere tracing, and soft shadows; batched, pure torch."""

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.menagerie.anatomy import ABSENT, Cones
from benchmarks.menagerie.props import Boxes

BLEND = 0.012  # body lengths over which neighbouring parts melt into one another
HIT = 0.004  # body lengths: a ray this near is on the surface; a quarter of a pixel at 128 pixels
FAR = 1e3


@dataclass(frozen=True)
class Solid:
    """Something to trace: round cones and perhaps boxes, with the sphere that bounds them.

    Attributes:
        center: (B, 3), radius: (B,) of the bounding sphere; radius 0 where there is nothing.
    """

    cones: Cones
    boxes: Boxes | None
    center: Tensor
    radius: Tensor

    @staticmethod
    def of(cones: Cones, boxes: Boxes | None = None) -> "Solid":
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
        far = torch.where(valid, (points - center[:, None]).norm(dim=-1, keepdim=True) + reach, torch.zeros_like(reach))
        return Solid(cones, boxes, center, far.amax((1, 2)) + 0.01 * (far.amax((1, 2)) > 0))


def _to_cones(cones: Cones, p: Tensor) -> tuple[Tensor, Tensor]:
    """(B, N, P) signed distances from points to every round cone, and where along its axis the nearest point is."""
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


def distance(solid: Solid, p: Tensor) -> Tensor:
    """(B, N) signed distance of points (B, N, 3): a smooth union, so at most BLEND log(parts) too small.

    The sum of exponentials needs no shift by its maximum: it underflows only beyond 80 BLEND, where 1 is near enough.
    """
    d, _ = _to_cones(solid.cones, p)
    d = d.mul_(-1 / BLEND).clamp_(max=80).exp_().sum(-1).clamp_(min=1e-35).log_().mul_(-BLEND)
    return d if solid.boxes is None else torch.minimum(d, _to_boxes(solid.boxes, p).amin(-1))


def surface(solid: Solid, p: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """At points (B, N, 3) on the surface: normal (B, N, 3), colour (B, N, 3), coat (B, N), worn (B, N) weights."""
    cones = solid.cones
    d, h = _to_cones(cones, p)
    weight = torch.softmax(d * (-1 / BLEND), -1)
    crisp = torch.softmax(d * (-4 / BLEND), -1)
    nearest = cones.a[:, None] + h[..., None] * (cones.b - cones.a)[:, None]
    normal = (weight[..., None] * torch.nn.functional.normalize(p[:, :, None] - nearest, dim=-1)).sum(2)
    color = crisp @ cones.color
    coat = (crisp * cones.coat[:, None]).sum(-1)
    worn = crisp @ cones.worn.float()
    if solid.boxes is not None:
        boxes = solid.boxes
        db = _to_boxes(boxes, p)
        which = db.argmin(-1)
        onbox = db.amin(-1) < d.amin(-1)
        rows = torch.arange(len(p), device=p.device)[:, None]
        axes = boxes.axes[rows, which]  # (B, N, 3, 3)
        local = torch.einsum("bnc,bnrc->bnr", p - boxes.center[rows, which], axes)
        excess = local.abs() - boxes.half[rows, which]
        face = torch.nn.functional.one_hot(excess.argmax(-1), 3) * local.sign()
        flat = torch.einsum("bnr,bnrc->bnc", face.to(p.dtype), axes)
        normal = torch.where(onbox[..., None], flat, normal)
        paint = boxes.color[rows, which]
        door = (which == 0) & (local[..., 2].abs() > excess[..., 2].abs() * 0 + 0.3)
        door = door & (local[..., 0].abs() < 0.10) & (local[..., 1] < 0.12)
        paint = torch.where(door[..., None], paint * 0.45, paint)
        color = torch.where(onbox[..., None], paint, color)
    return torch.nn.functional.normalize(normal, dim=-1), color, coat, worn


def take(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Packs the true places of a (B, N) mask: (B, M) indices and which of them are real; M is the largest count."""
    position = mask.cumsum(1) - 1
    count = mask.sum(1)
    most = int(count.max())
    index = torch.zeros(len(mask), most, dtype=torch.long, device=mask.device)
    rows, columns = mask.nonzero(as_tuple=True)
    index[rows, position[rows, columns]] = columns
    return index, torch.arange(most, device=mask.device) < count[:, None]


def pick(values: Tensor, index: Tensor) -> Tensor:
    """Gathers (B, N, ...) at (B, M)."""
    return values[torch.arange(len(values), device=values.device)[:, None], index]


def span(solid: Solid, origin: Tensor, direction: Tensor, margin: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """Where rays cross the bounding sphere: mask, entry and exit (each (B, N)); entry is at least 0."""
    offset = origin - solid.center[:, None]
    b = (offset * direction).sum(-1)
    radius = (solid.radius + margin)[:, None]
    discriminant = b * b - (offset * offset).sum(-1) + radius * radius
    root = discriminant.clamp(min=0).sqrt()
    near, far = (-b - root).clamp(min=0), -b + root
    return (discriminant > 0) & (far > 0) & (solid.radius[:, None] > 0), near, far


def trace(solid: Solid, origin: Tensor, direction: Tensor, start: Tensor | None = None, slope: float = 0.0,
          steps: int = 32) -> Tensor:  # fmt: skip
    """Sphere tracing: (B, N) distance along each ray to the surface, FAR where it misses.

    Args:
        start: where to begin, (B, N); rays that begin at FAR miss. slope: stop already within `slope * distance` of
            the surface, which is to trace a cone: the rays within it can begin there.
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
    # Rays still grazing the surface after the last step are taken as hits.
    grazing = valid & (d < slope * t + 4 * HIT)
    result[rows.expand_as(index)[grazing], index[grazing]] = t[grazing]
    return result


def shadow(solid: Solid, p: Tensor, light: Tensor, wanted: Tensor, steps: int = 10, softness: float = 9.0) -> Tensor:
    """(B, N) how much of the light reaches points, 0..1: the narrowest angle a ray to the light leaves (soft)."""
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
