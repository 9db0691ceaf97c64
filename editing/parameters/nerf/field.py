"""A radiance field on voxel grids: trilinear density, and colour from features and a small network.

As in DVGO (Sun et al. 2022), which needs no custom kernels and trains in minutes on a CPU. All of
space is inside the grids: beyond the unit sphere of the scene it is contracted as in mip-NeRF 360
(Barron et al. 2022, Eq. 10), so a sky and a ground that reaches the horizon are part of the field.
"""

from collections.abc import Sequence
from copy import copy
from pathlib import Path

import safetensors.torch
import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors import SafetensorError
from torch import Tensor, nn

from editing.errors import UserError
from editing.images import reason

START_DENSITY = 0.1  # per radius, everywhere, before anything is learned


class Field(nn.Module):
    """Density and colour at every point of space.

    Args:
        center: what the scene is around, in its own units.
        radius: of the sphere inside which the grids are undistorted, in the scene's own units.
        resolution: points of the grids along each axis.
        features: channels from which colour is computed, 3 or more. The first three are colour
            themselves, before a sigmoid, so that an edit can be local; a network adds to them.
        hidden: width of that network.
        directions: whether colour depends on where it is seen from.
        generator: draws the first features and weights; always the same if left out.
    """

    center: Tensor
    radius: Tensor

    def __init__(
        self,
        center: Float[Tensor, "3"],
        radius: float | int,
        resolution: int = 96,
        features: int = 8,
        hidden: int = 32,
        directions: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        generator = generator or torch.Generator()
        self.directions = directions
        self.register_buffer("center", center.float())
        self.register_buffer("radius", torch.tensor(float(radius)))
        shape = (resolution,) * 3
        self.density_grid = nn.Parameter(torch.zeros(1, 1, *shape))
        # not zero, where the network behind it would have no gradient
        self.feature_grid = nn.Parameter(
            0.1 * torch.randn(1, features, *shape, generator=generator)
        )
        inputs = features + 9 * directions
        sizes = ((hidden, inputs), (hidden, hidden), (3, hidden))
        self.weights = nn.ParameterList(
            torch.randn(out, size, generator=generator) * (2 / size) ** 0.5 for out, size in sizes
        )
        self.biases = nn.ParameterList(torch.zeros(out) for out, _ in sizes)

    @property
    def resolution(self) -> int:
        """Points of the grids along each axis."""
        return self.density_grid.shape[-1]

    def contract(self, points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
        """Points of the scene in the coordinates of the grids, [-1, 1] (mip-NeRF 360, Eq. 10)."""
        x = (points - self.center) / self.radius
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_min(1)
        return (2 - 1 / norm) * (x / norm) / 2

    def density(self, points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch"]:
        """How opaque space is, per radius of the scene; never negative."""
        raw = sample(self.density_grid, self.contract(points))[..., 0]
        shift = torch.tensor(START_DENSITY).expm1().log()
        return F.softplus(raw + shift)

    def color(
        self, points: Float[Tensor, "*batch 3"], toward: Float[Tensor, "*batch 3"]
    ) -> Float[Tensor, "*batch 3"]:
        """Colour in [0, 1] of points that are looked at in unit directions ``toward``."""
        features = sample(self.feature_grid, self.contract(points))
        hidden = torch.cat([features, harmonics(toward)], -1) if self.directions else features
        *inner, last = zip(self.weights, self.biases, strict=True)
        for weight, bias in inner:
            hidden = F.relu(F.linear(hidden, weight, bias))
        return torch.sigmoid(features[..., :3] + F.linear(hidden, *last))

    def with_grids(
        self,
        density: Float[Tensor, "1 1 D D D"],
        features: Float[Tensor, "1 features D D D"],
    ) -> "Field":
        """The same field with other grids, which keep their graphs; the rest is shared."""
        made, grids = copy(self), {"density_grid": density, "feature_grid": features}
        made._parameters = {k: v for k, v in self._parameters.items() if k not in grids}
        for name, grid in grids.items():
            setattr(made, name, grid)
        return made

    @torch.no_grad()
    def refined(self, resolution: int) -> "Field":
        """The same field on finer (or coarser) grids."""
        features, hidden = self.feature_grid.shape[1], self.weights[0].shape[0]
        finer = Field(
            self.center, float(self.radius), resolution, features, hidden, self.directions
        ).to(self.center.device)
        for name, value in self.state_dict().items():
            if name.endswith("_grid"):
                value = resized(value, resolution)
            finer.state_dict()[name].copy_(value)
        return finer

    def save(self) -> bytes:
        """The field as a safetensors file."""
        state = {
            name: value.detach().cpu().contiguous() for name, value in self.state_dict().items()
        }
        return safetensors.torch.save(state, {"directions": str(self.directions)})

    @staticmethod
    def load(path: Path) -> "Field":
        """A field from a file of :meth:`save`.

        Raises:
            UserError: if it is none.
        """
        try:
            state = safetensors.torch.load_file(path)
            features, hidden = state["feature_grid"].shape[1], state["weights.0"].shape[0]
            directions = state["weights.0"].shape[1] > features
            made = Field(
                state["center"],
                float(state["radius"]),
                state["density_grid"].shape[-1],
                features,
                hidden,
                directions,
            )
            made.load_state_dict(state)
            if features < 3:
                raise ValueError(f"its features are {features}, and must be 3 or more")
            if bad := [name for name, value in state.items() if not value.isfinite().all()]:
                raise ValueError(f"{bad[0]} holds a number that is not finite")
        except (OSError, SafetensorError, LookupError, RuntimeError, ValueError) as error:
            raise UserError(f"{str(path)!r} holds no radiance field: {reason(error)}.") from error
        return made


def sample(
    grid: Float[Tensor, "1 C D D D"], where: Float[Tensor, "*batch 3"]
) -> Float[Tensor, "*batch C"]:
    """Trilinear values of a grid at coordinates (x, y, z) in [-1, 1], its corners at the ends."""
    flat = where.reshape(1, 1, 1, -1, 3)
    values = F.grid_sample(grid, flat, padding_mode="border", align_corners=True)
    return values[0, :, 0, 0].T.reshape(*where.shape[:-1], grid.shape[1])


def resized(grid: Float[Tensor, "1 C d d d"], side: int) -> Float[Tensor, "1 C D D D"]:
    """A grid with ``side`` points along every axis, trilinear, corners on corners.

    Axis by axis with matrices: several times faster on a CPU than torch's own interpolation.
    """
    if grid.shape[-1] == side:
        return grid
    points = torch.eye(grid.shape[-1], dtype=grid.dtype, device=grid.device)[:, None]
    mix = F.interpolate(points, side, mode="linear", align_corners=True)[:, 0]  # (d, D)
    for equation in ("bczyx,xX->bczyX", "bczyx,yY->bczYx", "bczyx,zZ->bcZyx"):
        grid = torch.einsum(equation, grid, mix)
    return grid


def harmonics(directions: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 9"]:
    """Real spherical harmonics of degree 0 to 2, without their constant factors."""
    x, y, z = directions.unbind(-1)
    terms: Sequence[Tensor] = (
        torch.ones_like(x),
        *(x, y, z),
        *(x * y, y * z, x * z),
        *(3 * z * z - 1, x * x - y * y),
    )
    return torch.stack(list(terms), -1)
