"""Deterministic value noise: the same lattice values on every device, from an integer hash."""

import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor


def _signed(bits: int) -> int:
    """The int32 of the same 32 bits."""
    return bits - (1 << 32) if bits >> 31 else bits


_X, _Y, _Z, _SEED = 374761393, 668265263, 1274126177, _signed(2246822519)


def _hash(h: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """int32 to [0, 1): multiply and xorshift; products wrap around, shifts draw in zeros."""
    h = (h ^ ((h >> 13) & 0x7FFFF)) * 1103515245
    h = (h ^ ((h >> 16) & 0xFFFF)) * _signed(2654435761)
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
    i = cell.int()
    lattice = i[..., 0] * _X + i[..., 1] * _Y + seed.int() * _SEED
    if p.shape[-1] == 3:
        lattice = lattice + i[..., 2] * _Z

    def plane(h: Tensor) -> Tensor:
        low = torch.lerp(_hash(h), _hash(h + _X), f[..., 0])
        high = torch.lerp(_hash(h + _Y), _hash(h + _X + _Y), f[..., 0])
        return torch.lerp(low, high, f[..., 1])

    value = plane(lattice)
    if p.shape[-1] == 3:
        value = torch.lerp(value, plane(lattice + _Z), f[..., 2])
    return 2 * value - 1
