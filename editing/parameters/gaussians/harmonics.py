"""Real spherical harmonics up to degree 3, in the order and with the signs of 3D Gaussian files.

Row l (l + 1) + m holds the harmonic of degree l and order m. The signs are those of the reference
implementation of Kerbl et al. 2023: with the Condon-Shortley phase, so that degree 1 is -y, z, -x.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

DEGREES = {1: 0, 4: 1, 9: 2, 16: 3}  # by the number of harmonics

_C0 = math.sqrt(1 / (4 * math.pi))
_C1 = math.sqrt(3 / (4 * math.pi))
_C2 = math.sqrt(15 / (4 * math.pi))
_C20 = math.sqrt(5 / (16 * math.pi))
_C33 = math.sqrt(35 / (32 * math.pi))
_C32 = math.sqrt(105 / (4 * math.pi))
_C31 = math.sqrt(21 / (32 * math.pi))
_C30 = math.sqrt(7 / (16 * math.pi))


def basis(directions: Float[Tensor, "*batch 3"], count: int) -> Float[Tensor, "*batch {count}"]:
    """The first ``count`` (1, 4, 9 or 16) harmonics at unit vectors."""
    x, y, z = directions.unbind(-1)
    values = [torch.full_like(x, _C0)]
    if count > 1:
        values += [-_C1 * y, _C1 * z, -_C1 * x]
    if count > 4:
        values += [
            _C2 * x * y,
            -_C2 * y * z,
            _C20 * (3 * z * z - 1),
            -_C2 * x * z,
            0.5 * _C2 * (x * x - y * y),
        ]
    if count > 9:
        values += [
            -_C33 * y * (3 * x * x - y * y),
            _C32 * x * y * z,
            -_C31 * y * (5 * z * z - 1),
            _C30 * z * (5 * z * z - 3),
            -_C31 * x * (5 * z * z - 1),
            0.5 * _C32 * z * (x * x - y * y),
            -_C33 * x * (x * x - 3 * y * y),
        ]
    return torch.stack(values, -1)


def constant(colors: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """The coefficient of degree 0 that gives a colour in [0, 1] from every side."""
    return (colors - 0.5) / _C0
