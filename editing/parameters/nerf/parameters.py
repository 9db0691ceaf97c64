"""Editing a radiance field through its views, as SDS, DDS, PDS and IDS do."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from editing.parameters.nerf.field import Field, resized
from editing.parameters.nerf.fit import Fit, fit
from editing.parameters.nerf.render import render
from editing.parameters.scenes import FromViews
from editing.parameters.views import Cameras, Rendering, Views
from samplers.checks import whole


@dataclass
class Radiance:
    """A :class:`editing.parameters.scenes.Scene`: a field as it was, and what an edit adds to it.

    What is added is the sum of grids of several resolutions, from coarse to fine. A step moves all
    of them, so that what neighbouring views and points agree on becomes a change of large parts,
    and not the speckle that the gradients of single views would leave in the finest grid.

    Attributes:
        field: as it was reconstructed.
        densities: what is added to its density, before softplus; one grid (1, 1, d, d, d) a level.
        colors: what is added to the features that are colour, before a sigmoid; (1, 3, d, d, d).
    """

    field: Field
    densities: list[Tensor]
    colors: list[Tensor]

    @staticmethod
    def begin(field: Field, levels: Sequence[int]) -> "Radiance":
        """A field to which nothing is added yet, at ``levels`` of so many points along an axis."""
        device = field.center.device
        sides = [min(level, field.resolution) for level in levels]
        densities, colors = (
            [torch.zeros(1, channels, side, side, side, device=device) for side in sides]
            for channels in (1, 3)
        )
        return Radiance(field, densities, colors)

    def tensors(self) -> list[Tensor]:
        """What is added to density and colour, and the weights and biases of the network."""
        return [*self.densities, *self.colors, *self.field.weights, *self.field.biases]

    def edited(self) -> Field:
        """The field with all that is added to it."""
        density, features = self.field.density_grid.detach(), self.field.feature_grid.detach()
        side = self.field.resolution
        color, rest = features[:, :3] + total(self.colors, side), features[:, 3:]
        density = density + total(self.densities, side)
        return self.field.with_grids(density, torch.cat([color, rest], 1))

    def render(self, cameras: Cameras) -> Rendering:
        return render(self.edited(), cameras)

    @torch.no_grad()
    def save(self) -> bytes:
        made, whole = self.edited(), deepcopy(self.field)
        whole.density_grid.copy_(made.density_grid)
        whole.feature_grid.copy_(made.feature_grid)
        return whole.save()

    def to(self, device: torch.device) -> "Radiance":
        moved = [[tensor.to(device) for tensor in each] for each in (self.densities, self.colors)]
        return Radiance(self.field.to(device), *moved)


def total(grids: Sequence[Tensor], side: int) -> Float[Tensor, "1 C D D D"]:
    """The sum of grids, each brought to ``side`` points along every axis."""
    return sum((resized(grid, side) for grid in grids[1:]), resized(grids[0], side))


@dataclass(frozen=True)
class NeRF(FromViews):
    """A radiance field, reconstructed from views; what is moved is added to its grids.

    Attributes:
        fit: how it is reconstructed.
        levels: points along an axis of each of the grids that an edit adds to density and colour,
            see :class:`Radiance`; no finer than the field.
        density_rate: factor of the step size of the density; 0 keeps the shape.
        color_rate: factor of the step size of the features of colour.
        network_rate: factor of the step size of the network, which all of the scene shares.
    """

    fit: Fit = field(default_factory=Fit)
    levels: Sequence[Any] = (12, 24, 48, 96)
    density_rate: float | int = 1.0
    color_rate: float | int = 3.0
    network_rate: float | int = 0.0
    suffix: ClassVar[str] = ".safetensors"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.levels:
            raise ValueError("levels must hold one number at least")
        levels = tuple(whole("levels", level, least=2) for level in self.levels)
        object.__setattr__(self, "levels", levels)  # a list of a config cannot be hashed

    def reconstruct(
        self,
        views: Views,
        device: torch.device,
        seed: int,
        progress: Callable[[int, int], None] | None,
    ) -> Radiance:
        return Radiance.begin(fit(views, self.fit, seed, device, progress), self.levels)

    def load(self, path: Path) -> Radiance:
        return Radiance.begin(Field.load(path), self.levels)

    def rates(self) -> Sequence[float | int]:
        network = [self.network_rate] * 6  # three layers, their weights and biases
        count = len(self.levels)
        return [*[self.density_rate] * count, *[self.color_rate] * count, *network]
