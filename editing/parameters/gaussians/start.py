"""Gaussians that a reconstruction begins with."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from editing.errors import UserError
from editing.parameters.gaussians.harmonics import constant
from editing.parameters.gaussians.project import world_to_camera
from editing.parameters.gaussians.scene import Gaussians
from editing.parameters.views import Views

OPACITY = 0.1  # as in the reference implementation
SKY = 0.25  # share of the Gaussians that start behind `far`
FARTHEST = 10.0  # times ``far``: how far away Gaussians start at most
FEW = 0.1  # colour difference that a place costs which only one view sees; less for more views
TRIALS = 32  # distances tried along the ray of a pixel
BUDGET = 2**21  # places times views that are looked at at once

Points = tuple[Float[Tensor, "P 3"], Float[Tensor, "P 3"]]  # positions, and colours in [0, 1]


def begin(views: Views, count: int, generator: torch.Generator) -> Gaussians:
    """Round, faint Gaussians of one colour each, at most ``count``, where the views show something.

    Three quarters are at the scene's known points, or else where :func:`match` puts random pixels.
    The rest are for what is too far away to match, the sky above all: behind ``far``, on the rays
    of random pixels and in their colours. There is no sky of another kind, so that the Gaussians
    are the whole scene and look the same before any background.

    Raises:
        UserError: if no two views see the same.
    """
    sky = round(SKY * count)
    near = match(views, count - sky, generator) if views.points is None else views.points
    kept = torch.randperm(len(near[0]), generator=generator)[: count - sky]
    parts = [(near[0][kept].cpu(), near[1][kept].cpu()), _behind(views, sky, generator)]
    spacings = torch.cat([_spacing(points) for points, _ in parts])
    points, colors = (torch.cat(columns) for columns in zip(*parts, strict=True))
    n = len(points)
    return Gaussians(
        means=points,
        log_scales=spacings.log()[:, None].repeat(1, 3),
        quaternions=torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(n, 1),
        opacity_logits=torch.full((n,), math.log(OPACITY / (1 - OPACITY))),
        harmonics=constant(colors)[:, None],
    )


def match(views: Views, count: int, generator: torch.Generator) -> Points:
    """Points on the rays of random pixels, at most ``count``, each where the views agree best.

    Of several distances from ``near`` on, even in inverse distance with a random part,
    the one where the colours that the views see differ least from that of the pixel. Only the
    better half of the views counts: the rest may have something in front.

    Raises:
        UserError: if no two views see the same.
    """
    origins, directions, colors = _pixels(views, 2 * count, generator)
    shares = (torch.arange(TRIALS) + torch.rand(len(colors), TRIALS, generator=generator)) / TRIALS
    nearest, farthest = torch.tensor(1 / views.near), torch.tensor(1 / (FARTHEST * views.far))
    distances = 1 / torch.lerp(nearest, farthest, shares)
    places = origins[:, None] + distances[..., None] * directions[:, None]
    found, known = [], []
    rows = max(1, BUDGET // (TRIALS * len(views)))
    for some, shown in zip(places.split(rows), colors.split(rows), strict=True):
        seen, visible = look(views, some.flatten(0, 1))
        errors = (seen - shown.repeat_interleave(TRIALS, 0)).abs().mean(-1)
        errors = errors.masked_fill(~visible, math.inf).sort(0).values
        half = (visible.sum(0) + 1) // 2
        counted = torch.arange(len(views))[:, None] < half
        cost = torch.where(counted, errors, 0.0).sum(0) / half
        cost = cost + FEW / (visible.sum(0) + 1)  # many that agree say more than few
        crowded = ((some.flatten(0, 1)[:, None] - views.cameras.origins).norm(dim=-1)).amin(1)
        invalid = (visible.sum(0) < 2) | (crowded < views.near * (1 - 1e-6))
        least = cost.masked_fill(invalid, math.inf).view(-1, TRIALS).min(1)
        found.append(some[torch.arange(len(some)), least.indices])
        known.append(least.values.isfinite())
    agreed = torch.cat(known).nonzero()[:count, 0]
    if not len(agreed):
        raise UserError(
            f"No two views see the same between {views.near:g} and {FARTHEST * views.far:g} units "
            "from them: check the poses."
        )
    return torch.cat(found)[agreed], colors[agreed]


def look(
    views: Views, points: Float[Tensor, "P 3"]
) -> tuple[Float[Tensor, "V P 3"], Bool[Tensor, "V P"]]:
    """Colours in the pictures at the points, and which of them lie in a picture and not too far."""
    matrices, cameras = world_to_camera(views.cameras), views.cameras
    local = points @ matrices[:, :3, :3].mT + matrices[:, None, :3, 3]
    places = local[..., :2] / local[..., 2:].clamp(min=1e-6) * cameras.focal[:, None]
    places = places + cameras.center[:, None]
    size = places.new_tensor([cameras.width, cameras.height])
    visible = (local[..., 2] > 0) & ((places > 0) & (places < size)).all(-1)
    visible &= local.norm(dim=-1) <= FARTHEST * views.far * (1 + 1e-6)
    grid = (places / size * 2 - 1)[:, None]
    colors = F.grid_sample(views.images, grid, padding_mode="border", align_corners=False)
    return colors[:, :, 0].mT, visible


def _pixels(
    views: Views, count: int, generator: torch.Generator
) -> tuple[Float[Tensor, "P 3"], Float[Tensor, "P 3"], Float[Tensor, "P 3"]]:
    """Origins and directions of the rays of random pixels, and their colours."""
    colors = views.images.permute(0, 2, 3, 1).reshape(-1, 3)
    rows = torch.randint(len(colors), (count,), generator=generator)
    origins, directions = (x.reshape(-1, 3)[rows] for x in views.cameras.rays())
    return origins, directions, colors[rows]


def _behind(views: Views, count: int, generator: torch.Generator) -> Points:
    """Points behind ``far`` on the rays of random pixels, even in inverse distance."""
    origins, directions, colors = _pixels(views, count, generator)
    shares = torch.rand(count, 1, generator=generator)
    distances = views.far / torch.lerp(shares, torch.ones(()), 1 / FARTHEST)
    return origins + distances * directions, colors


def _spacing(points: Float[Tensor, "P 3"]) -> Float[Tensor, " P"]:
    """Root mean square distance to the three nearest others, as the reference takes it."""
    neighbours = min(4, len(points))
    found = [
        torch.cdist(some, points).topk(neighbours, largest=False).values[:, 1:].square().mean(1)
        for some in points.split(max(1, BUDGET // max(1, len(points))))
    ]
    spacing = torch.cat([*found, points.new_zeros(0)]).sqrt().nan_to_num(1.0)
    return spacing.clamp(min=1e-6)
