"""Volume rendering of a field: where rays are sampled, and what they see.

Max 1995, as in NeRF (Mildenhall et al. 2020), Eq. 3. The compositing is nerfacc's.
"""

import importlib
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from editing.errors import UserError
from editing.parameters.nerf.field import Field
from editing.parameters.views import Cameras, Rendering

COARSE, FINE = 96, 40  # samples of a ray: to find where something is, and to look there
NEAR = 0.05  # of the distance of the scene
FAR = 1000.0  # times it: as good as infinity
CHUNK = 8192  # rays at once, which bounds the memory of a view of any size


def render(field: Field, cameras: Cameras, chunk: int = CHUNK) -> Rendering:
    """Views of a field, differentiable with respect to its parameters.

    Where a gradient is needed, the rays of a chunk are followed again on the way back instead of
    being kept, so memory does not grow with the size of a view.
    """
    origins, directions = (x.reshape(-1, 3) for x in cameras.to(field.center.device).rays())
    parts = []
    for start in range(0, len(origins), chunk):
        rays = origins[start : start + chunk], directions[start : start + chunk]
        if torch.is_grad_enabled() and len(origins) > chunk:
            parts.append(checkpoint(follow, field, *rays, use_reentrant=False))
        else:
            parts.append(follow(field, *rays))
    color, depth, alpha = (torch.cat(values) for values in zip(*parts, strict=True))
    shape = (len(cameras), cameras.height, cameras.width)
    return Rendering(
        color.view(*shape, 3).permute(0, 3, 1, 2).contiguous(),
        depth.view(shape)[:, None],
        alpha.view(shape)[:, None],
    )


def follow(
    field: Field,
    origins: Float[Tensor, "R 3"],
    directions: Float[Tensor, "R 3"],
    generator: torch.Generator | None = None,
) -> tuple[Float[Tensor, "R 3"], Float[Tensor, " R"], Float[Tensor, " R"]]:
    """Colour, depth and alpha of rays; ``generator`` jitters the samples, for training."""
    edges = find_intervals(field, origins, directions, generator)
    middle = edges[:, 1:].add(edges[:, :-1]) / 2
    points = origins[:, None] + middle[..., None] * directions[:, None]
    weights = compositing_weights(field.density(points) / field.radius, edges)
    colors = field.color(points, directions[:, None].expand_as(points))
    color = _nerfacc().accumulate_along_rays(weights, colors)  # NeRF, Eq. 3
    passed = weights.detach().cumsum(1)
    alpha = passed[:, -1]
    half = (passed <= alpha[:, None] / 2).sum(1, keepdim=True).clamp_max(middle.shape[1] - 1)
    return color, middle.gather(1, half)[:, 0], weights.sum(1)


@torch.no_grad()
def find_intervals(
    field: Field,
    origins: Float[Tensor, "R 3"],
    directions: Float[Tensor, "R 3"],
    generator: torch.Generator | None,
) -> Float[Tensor, "R edges"]:
    """Edges of the intervals in which rays are sampled: dense where a first look finds something.

    NeRF's hierarchical sampling (Sec. 5.2), its first look at the same density.
    """
    scale = (origins - field.center).norm(dim=1, keepdim=True).clamp_min(float(field.radius))
    line = torch.linspace(0, 1, COARSE + 1, device=origins.device)
    edges = spread(line) * scale
    middle = (edges[:, 1:] + edges[:, :-1]) / 2
    density = field.density(origins[:, None] + middle[..., None] * directions[:, None])
    weights = compositing_weights(density / field.radius, edges)
    # a little everywhere, so that nothing new stays unseen, and a blur for what a sample missed
    around = torch.nn.functional.max_pool1d(weights[:, None], 3, 1, 1)[:, 0]
    around = around / around.sum(1, keepdim=True).clamp_min(1e-8) + 0.02 / COARSE
    cumulative = torch.cat([torch.zeros_like(scale), around.cumsum(1)], 1)
    cumulative = cumulative / cumulative[:, -1:]
    at = torch.linspace(0, 1, FINE + 1, device=origins.device).expand(len(origins), -1).clone()
    if generator is not None:
        jitter = torch.rand(at[:, 1:-1].shape, generator=generator, device=origins.device)
        at[:, 1:-1] += (jitter - 0.5) / FINE
    right = torch.searchsorted(cumulative, at, right=True).clamp(1, COARSE)
    low, high = cumulative.gather(1, right - 1), cumulative.gather(1, right)
    share = ((at - low) / (high - low).clamp_min(1e-8)).clamp(0, 1)
    # between two edges in the line's own measure, of which distance is the inverse far away
    return spread((right - 1 + share) / COARSE) * scale


def spread(line: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """[0, 1] to distances, the scene's as unit: even up to 2, then even in their inverse."""
    near = NEAR + line / 0.75 * (2 - NEAR)
    rest = ((line - 0.75) / 0.25).clamp_min(0)
    far = 1 / (0.5 * (1 - rest) + rest / FAR)
    return torch.where(line < 0.75, near, far)


def compositing_weights(
    density: Float[Tensor, "R S"], edges: Float[Tensor, "R S_plus_1"]
) -> Float[Tensor, "R S"]:
    """How much each interval adds to a ray (NeRF, Eq. 3); the last goes on for ever."""
    endless = torch.cat([edges[:, 1:-1], edges[:, -1:] * 1e3], 1)
    weights, _, _ = _nerfacc().render_weight_from_density(edges[:, :-1], endless, density)
    return weights


def _nerfacc() -> Any:
    try:
        return importlib.import_module("nerfacc")
    except ImportError as error:
        raise UserError("A NeRF needs nerfacc: pip install nerfacc.") from error
