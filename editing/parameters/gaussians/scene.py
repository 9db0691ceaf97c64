"""A scene made of 3D Gaussians."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from editing.parameters.gaussians.clamp import clamped
from editing.parameters.gaussians.harmonics import DEGREES, basis


@dataclass(frozen=True)
class Gaussians:
    """N anisotropic Gaussians with opacity and view-dependent colour (Kerbl et al. 2023, Sec. 4).

    Covariance R S S^T R^T (Eq. 6), with R the rotation of the quaternion and S the scales.

    Attributes:
        means: centres, in the units of the scene.
        log_scales: natural logarithms of the standard deviations along the Gaussian's own axes.
        quaternions: its rotation, w first; of any length but zero.
        opacity_logits: opacity before the sigmoid.
        harmonics: coefficients of K = 1, 4, 9 or 16 spherical harmonics (degree 0 to 3) for red,
            green and blue; a colour is 0.5 + their sum, at least 0.

    Raises:
        ValueError: for another number of harmonics.
    """

    means: Float[Tensor, "N 3"]
    log_scales: Float[Tensor, "N 3"]
    quaternions: Float[Tensor, "N 4"]
    opacity_logits: Float[Tensor, " N"]
    harmonics: Float[Tensor, "N K 3"]

    def __post_init__(self) -> None:
        if self.harmonics.shape[1] not in DEGREES:
            known = ", ".join(map(str, DEGREES))
            raise ValueError(f"harmonics must be one of {known}, got {self.harmonics.shape[1]}")

    def __len__(self) -> int:
        return len(self.means)

    def __getitem__(
        self, rows: slice | list[int] | Int64[Tensor, " M"] | Bool[Tensor, " N"]
    ) -> "Gaussians":
        """Some of the Gaussians."""
        return Gaussians(*(x[rows] for x in self.tensors()))

    def tensors(self) -> list[Tensor]:
        """The five tensors, in the order of the attributes."""
        return [
            self.means,
            self.log_scales,
            self.quaternions,
            self.opacity_logits,
            self.harmonics,
        ]

    def leaves(self) -> "Gaussians":
        """A copy whose tensors an optimiser can move."""
        return Gaussians(*(x.detach().clone().requires_grad_() for x in self.tensors()))

    def to(self, device: torch.device) -> "Gaussians":
        """The Gaussians on a device."""
        return Gaussians(*(x.to(device) for x in self.tensors()))

    def opacities(self) -> Float[Tensor, " N"]:
        """In (0, 1)."""
        return self.opacity_logits.sigmoid()

    def axes(self) -> Float[Tensor, "N 3 3"]:
        """R S: the columns are the axes, as long as the standard deviations."""
        w, x, y, z = F.normalize(self.quaternions, dim=-1).unbind(-1)
        rotation = torch.stack(
            [
                *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
                *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
                *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
            ],
            -1,
        )
        return rotation.unflatten(-1, (3, 3)) * self.log_scales.exp()[:, None]

    def colors(self, origin: Float[Tensor, "3"]) -> Float[Tensor, "N 3"]:
        """Colours as seen from a point, 0 or more; about [0, 1]."""
        directions = F.normalize(self.means - origin, dim=-1)
        values = basis(directions, self.harmonics.shape[1])
        return clamped(0.5 + torch.einsum("nk,nkc->nc", values, self.harmonics), low=0.0)
