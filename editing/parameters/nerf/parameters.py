"""Editing a radiance field through its views, as SDS, DDS, PDS and IDS do."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from editing.parameters.nerf.field import Field
from editing.parameters.nerf.fit import Fit, fit
from editing.parameters.nerf.render import render
from editing.parameters.scenes import FromViews
from editing.parameters.views import Cameras, Rendering, Views


@dataclass
class Radiance:
    """A field as a :class:`editing.parameters.scenes.Scene`."""

    field: Field

    def tensors(self) -> list[Tensor]:
        """Density, features, and the weights and biases of the network."""
        made = self.field
        return [made.density_grid, made.feature_grid, *made.weights, *made.biases]

    def render(self, cameras: Cameras) -> Rendering:
        return render(self.field, cameras)

    def save(self) -> bytes:
        return self.field.save()

    def to(self, device: torch.device) -> "Radiance":
        return Radiance(self.field.to(device))


@dataclass(frozen=True)
class NeRF(FromViews):
    """A radiance field, reconstructed from views; what is moved are its grids and its network.

    Attributes:
        fit: how it is reconstructed.
        density_rate: factor of the step size of the density; 0 keeps the shape.
        color_rate: factor of the step size of the features of colour.
        network_rate: factor of the step size of the network, which all of the scene shares.
    """

    fit: Fit = field(default_factory=Fit)
    density_rate: float | int = 1.0
    color_rate: float | int = 3.0
    network_rate: float | int = 0.0
    suffix: ClassVar[str] = ".safetensors"

    def reconstruct(
        self,
        views: Views,
        device: torch.device,
        seed: int,
        progress: Callable[[int, int], None] | None,
    ) -> Radiance:
        return Radiance(fit(views, self.fit, seed, device, progress))

    def load(self, path: Path) -> Radiance:
        return Radiance(Field.load(path))

    def rates(self) -> Sequence[float | int]:
        network = [self.network_rate] * 6  # three layers, their weights and biases
        return [self.density_rate, self.color_rate, *network]
