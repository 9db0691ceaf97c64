"""A radiance field that is edited: as it was, and what is added to it."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from editing.parameters.nerf.field import Field, resized
from editing.parameters.nerf.render import render
from editing.parameters.views import Cameras, Rendering


@dataclass
class Radiance:
    """A :class:`editing.parameters.scenes.Scene`: a field as it was, and what an edit adds to it.

    What is added is the sum of grids of several resolutions, from coarse to fine. A step moves all
    of them, so that what neighbouring views and points agree on becomes a change of large parts,
    and not the speckle that the gradients of single views would leave in the finest grid.

    Attributes:
        field: as it was reconstructed.
        densities: one grid (1, 1, d, d, d) a level. Times the roots of their gains they are added
            to the density, before softplus.
        colors: the same for the features that are colour, before a sigmoid; (1, 3, d, d, d).
        gains: how much larger gradient descent's steps are for what is added, of the grids of
            density, then of those of colour, (1, 1, d, d, d) each; None for 1.
    """

    field: Field
    densities: list[Tensor]
    colors: list[Tensor]
    gains: list[Tensor] | None = None

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
        added = [*self.densities, *self.colors]
        if self.gains is not None:
            added = [grid * gain.sqrt() for grid, gain in zip(added, self.gains, strict=True)]
        count = len(self.densities)
        color, rest = features[:, :3] + total(added[count:], side), features[:, 3:]
        density = density + total(added[:count], side)
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
        densities, colors, gains = (
            [tensor.to(device) for tensor in each]
            for each in (self.densities, self.colors, self.gains or ())
        )
        return Radiance(self.field.to(device), densities, colors, gains or None)


def total(grids: Sequence[Tensor], side: int) -> Float[Tensor, "1 C D D D"]:
    """The sum of grids, each brought to ``side`` points along every axis."""
    return sum((resized(grid, side) for grid in grids[1:]), resized(grids[0], side))
