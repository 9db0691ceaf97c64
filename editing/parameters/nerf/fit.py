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
from samplers.checks import flag, number, whole

# From which share of the steps on the grids have how many points along an axis; all in the end.
# What coarse grids find first is what many views agree on; fine ones alone would explain every view
# by a mist in front of its camera.
STAGES = ((0.0, 8), (0.1, 16), (0.25, 32), (0.5, None))


@dataclass(frozen=True)
class Fit:
    """How a field is reconstructed.

    Attributes:
        steps: of optimisation.
        rays: in a step.
        resolution: of the grids in the end; they begin coarser, see `STAGES`.
        features: channels of colour.
        directions: whether colour depends on where it is seen from.
        radius: of the undistorted part, in distances of the cameras from what they look at.
        grid_rate: step size of Adam on the grids.
        network_rate: step size of Adam on the network.
        smoothness: weight of the total variation of the features of colour.
        density_smoothness: weight of that of the density.

    Raises:
        ValueError: for an option of another kind or out of range.
    """

    steps: int = 1500
    rays: int = 1024
    resolution: int = 96
    features: int = 8
    directions: bool = False
    radius: float | int = 0.5
    grid_rate: float | int = 0.1
    network_rate: float | int = 3e-3
    smoothness: float | int = 0.03
    density_smoothness: float | int = 0.0

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("rays", 1), ("resolution", 2), ("features", 3)):
            whole(f"fit.{name}", getattr(self, name), least=least)
        flag("fit.directions", self.directions)
        number("fit.radius", self.radius, least=0.01)
        for name in ("grid_rate", "network_rate", "smoothness", "density_smoothness"):
            number(f"fit.{name}", getattr(self, name), least=0)


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
    sides = {
        round(begin * how.steps): min(side or how.resolution, how.resolution)
        for begin, side in STAGES
    }
    field = Field(
        center, how.radius * distance, sides[0], how.features, 32, how.directions, generator
    ).to(device)
    origins, directions = (x.reshape(-1, 3).to(device) for x in views.cameras.rays())
    colors = views.images.permute(0, 2, 3, 1).reshape(-1, 3).to(device)
    optimizer = _adam(field, how)
    for step in range(how.steps):
        if sides.get(step, field.resolution) != field.resolution:
            field = field.refined(sides[step])
            optimizer = _adam(field, how)
        decay = 0.1 ** (step / how.steps)
        for group in optimizer.param_groups:
            group["lr"] = group["first"] * decay
        rows = torch.randint(len(colors), (how.rays,), generator=generator).to(device)
        seen, _, _ = follow(field, origins[rows], directions[rows], jitter)
        loss = F.mse_loss(seen, colors[rows])
        loss = loss + how.smoothness * total_variation(field.feature_grid)
        if how.density_smoothness:
            loss = loss + how.density_smoothness * total_variation(field.density_grid)
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
