"""Editing a radiance field through its views, as SDS, DDS, PDS and IDS do."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import torch

from editing.parameters.nerf.field import Field
from editing.parameters.nerf.fit import Fit, fit
from editing.parameters.nerf.gains import find_gains
from editing.parameters.nerf.radiance import Radiance
from editing.parameters.pull import Pull
from editing.parameters.scenes import FromViews, Posed, SceneCanvas
from editing.parameters.views import Views
from samplers.checks import number, whole
from samplers.prior import Prior


@dataclass(frozen=True)
class NeRF(FromViews):
    """A radiance field, reconstructed from views; what is moved is added to its grids.

    Gradient descent is what the step sizes of the grids are balanced for, see
    :mod:`editing.parameters.nerf.gains`.

    Attributes:
        fit: how it is reconstructed.
        levels: points along an axis of each of the grids that an edit adds to density and colour,
            see :class:`Radiance`; no finer than the field.
        density_rate: factor of the step size of the density; 0 keeps the shape.
        color_rate: factor of the step size of the features of colour.
        network_rate: factor of the step size of the network, which all of the scene shares.
        pull: which way the gradient comes back to a view, see :mod:`editing.parameters.pull`.
    """

    fit: Fit = field(default_factory=Fit)
    levels: Sequence[Any] = (12, 24, 48, 96)
    density_rate: float | int = 1.0
    color_rate: float | int = 7.0
    network_rate: float | int = 0.0
    pull: Pull = "decoder"
    suffix: ClassVar[str] = ".safetensors"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.levels:
            raise ValueError("levels must hold one number at least")
        levels = tuple(whole("levels", level, least=2) for level in self.levels)
        object.__setattr__(self, "levels", levels)  # a list of a config cannot be hashed
        for name in ("density", "color", "network"):
            number(f"{name}_rate", getattr(self, f"{name}_rate"), least=0)

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

    def start(self, prior: Prior, sources: Posed) -> SceneCanvas:
        scene = replace(sources.scene, gains=find_gains(sources.scene, sources.views.cameras))
        return super().start(prior, replace(sources, scene=scene))

    def rates(self) -> Sequence[float | int]:
        network = [self.network_rate] * 6  # three layers, their weights and biases
        count = len(self.levels)
        return [*[self.density_rate] * count, *[self.color_rate] * count, *network]
