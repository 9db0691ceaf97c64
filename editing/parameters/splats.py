"""Editing 3D Gaussians through their views, as SDS, DDS, PDS and IDS do."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from editing.parameters.gaussians import Gaussians, fit, read_ply, render, write_ply
from editing.parameters.scenes import FromViews
from editing.parameters.views import Cameras, Rendering, Views
from samplers.checks import number, whole


@dataclass(frozen=True)
class Splats:
    """Gaussians as a :class:`editing.parameters.scenes.Scene`."""

    gaussians: Gaussians

    def tensors(self) -> list[Tensor]:
        """Means, log-scales, quaternions, logits of opacity and harmonics."""
        return self.gaussians.tensors()

    def render(self, cameras: Cameras) -> Rendering:
        return render(self.gaussians, cameras)

    def save(self) -> bytes:
        return write_ply(self.gaussians)

    def to(self, device: torch.device) -> "Splats":
        return Splats(self.gaussians.to(device))


@dataclass(frozen=True)
class GaussianSplats(FromViews):
    """3D Gaussians, reconstructed from views or read from a PLY file; all their tensors are moved.

    Attributes:
        count: of Gaussians in a reconstruction, at most.
        steps: of the reconstruction.
        mean_rate: factor of the step size of the centres; 0 keeps them.
        scale_rate: factor of the step size of the logarithms of their widths.
        rotation_rate: factor of the step size of their quaternions.
        opacity_rate: factor of the step size of the logits of opacity.
        color_rate: factor of the step size of the harmonics, their colours.

    Raises:
        ValueError: for a number out of range.
    """

    count: int = 3000
    steps: int = 1000
    mean_rate: float | int = 0.1
    scale_rate: float | int = 0.5
    rotation_rate: float | int = 0.2
    opacity_rate: float | int = 2.0
    color_rate: float | int = 1.0
    suffix: ClassVar[str] = ".ply"

    def __post_init__(self) -> None:
        super().__post_init__()
        whole("count", self.count, least=1)
        whole("steps", self.steps, least=1)
        for name in ("mean", "scale", "rotation", "opacity", "color"):
            number(f"{name}_rate", getattr(self, f"{name}_rate"), least=0)

    def reconstruct(
        self,
        views: Views,
        device: torch.device,
        seed: int,
        progress: Callable[[int, int], None] | None,
    ) -> Splats:
        made = fit(
            views, count=self.count, steps=self.steps, seed=seed, device=device, progress=progress
        )
        return Splats(made)

    def load(self, path: Path) -> Splats:
        return Splats(read_ply(path))

    def rates(self) -> Sequence[float | int]:
        return [
            self.mean_rate,
            self.scale_rate,
            self.rotation_rate,
            self.opacity_rate,
            self.color_rate,
        ]
