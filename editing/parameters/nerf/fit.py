"""Reconstruction: a field that looks like the views of a scene."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from editing.parameters.nerf.field import Field
from editing.parameters.nerf.render import follow
from editing.parameters.readers import look_at
from editing.parameters.views import Views


@dataclass(frozen=True)
class Fit:
    """How a field is reconstructed.

    Attributes:
        steps: of optimisation.
        rays: in a step.
        resolution: of the grids in the end; training begins at half of it.
        features: channels of colour.
        directions: whether colour depends on where it is seen from.
        radius: of the undistorted part, in distances of the cameras from what they look at.
        grid_rate: step size of Adam on the grids.
        network_rate: step size of Adam on the network.
        smoothness: weight of the density's total variation.
    """

    steps: int = 1500
    rays: int = 1024
    resolution: int = 96
    features: int = 8
    directions: bool = False
    radius: float | int = 0.5
    grid_rate: float | int = 0.1
    network_rate: float | int = 3e-3
    smoothness: float | int = 1e-3


def fit(
    views: Views,
    how: Fit | None = None,
    seed: int = 0,
    device: torch.device | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Field:
    """A field reconstructed from views; the same seed gives the same field on the same machine.

    Args:
        views: at least two.
        how: settings.
        seed: of the first weights, the rays and their samples.
        device: where it is computed.
        progress: called with the steps done and all of them.
    """
    how = how or Fit()
    device = device or torch.device("cpu")
    center, distance = look_at(views.cameras, (views.near, views.far))
    generator = torch.Generator().manual_seed(seed)
    jitter = torch.Generator(device).manual_seed(seed)
    coarse = max(2, how.resolution // 2)
    field = Field(
        center, how.radius * distance, coarse, how.features, 32, how.directions, generator
    ).to(device)
    origins, directions = (x.reshape(-1, 3).to(device) for x in views.cameras.rays())
    colors = views.images.permute(0, 2, 3, 1).reshape(-1, 3).to(device)
    optimizer = _adam(field, how)
    for step in range(how.steps):
        if step == how.steps // 3 and field.resolution < how.resolution:
            field = field.refined(how.resolution)
            optimizer = _adam(field, how)
        decay = 0.1 ** (step / how.steps)
        for group in optimizer.param_groups:
            group["lr"] = group["first"] * decay
        rows = torch.randint(len(colors), (how.rays,), generator=generator).to(device)
        seen, _, _ = follow(field, origins[rows], directions[rows], jitter)
        loss = F.mse_loss(seen, colors[rows])
        loss = loss + how.smoothness * total_variation(field.density_grid)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if progress is not None:
            progress(step + 1, how.steps)
    return field.requires_grad_(False)


def _adam(field: Field, how: Fit) -> torch.optim.Adam:
    grids = [field.density_grid, field.feature_grid]
    network = [*field.weights, *field.biases]
    groups = [
        {"params": grids, "first": how.grid_rate},
        {"params": network, "first": how.network_rate},
    ]
    return torch.optim.Adam(groups, lr=how.grid_rate, eps=1e-15)


def total_variation(grid: Tensor) -> Tensor:
    """Mean squared difference of neighbours in a grid (1, C, D, D, D), per axis."""
    return sum((grid.diff(dim=axis).square().mean() for axis in (2, 3, 4)), grid.new_zeros(()))
