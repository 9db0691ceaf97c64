"""Deterministic value noise: the same lattice values on every device, from an integer hash."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor


def _hash(x: Tensor, y: Tensor, z: Tensor, seed: Tensor) -> Tensor:
    """Integers to [0, 1): a multiply-xorshift hash on 32 bits held in int64."""
    h = (x * 374761393 + y * 668265263 + z * 1274126177 + seed * 2246822519) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 1103515245) & 0xFFFFFFFF
    h = ((h ^ (h >> 16)) * 2654435761) & 0xFFFFFFFF
    return ((h ^ (h >> 15)) & 0xFFFF).float() / 65536


def value_noise(
    p: Float[Tensor, "*points axes"], seed: Int64[Tensor, "*#points"]
) -> Float[Tensor, "*points"]:
    """Smooth noise in [-1, 1] with unit lattice.

    Args:
        p: points of 2 or 3 coordinates.
        seed: one for each point, or broadcastable to them.
    """
    cell = torch.floor(p)
    f = p - cell
    f = f * f * (3 - 2 * f)
    i = cell.long()
    zero = torch.zeros_like(i[..., 0])

    def plane(dz: int) -> Tensor:
        z = i[..., 2] + dz if p.shape[-1] == 3 else zero
        x, y = i[..., 0], i[..., 1]
        low = torch.lerp(_hash(x, y, z, seed), _hash(x + 1, y, z, seed), f[..., 0])
        high = torch.lerp(_hash(x, y + 1, z, seed), _hash(x + 1, y + 1, z, seed), f[..., 0])
        return torch.lerp(low, high, f[..., 1])

    value = torch.lerp(plane(0), plane(1), f[..., 2]) if p.shape[-1] == 3 else plane(0)
    return 2 * value - 1
