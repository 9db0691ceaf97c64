"""Random numbers from one generator per image, so that a result never depends on its batch.

The generators live on the CPU and draw float32, so the same seed gives the same noise on every
device and in every precision (up to rounding).
"""

import hashlib
from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor


def make_generators(seed: int, indices: Iterable[int]) -> list[torch.Generator]:
    """One CPU generator per image, seeded from (``seed``, image index) and nothing else.

    Args:
        seed: seed of the run, any integer.
        indices: index of each image in the whole run, not in its batch.
    """
    generators = []
    for index in indices:
        digest = hashlib.sha256(f"{int(seed)}:{int(index)}".encode()).digest()
        # 63 bits: manual_seed takes a signed 64-bit integer
        generators.append(torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1))
    return generators


def randn(
    shape: Sequence[int],
    generators: Sequence[torch.Generator],
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "B ..."]:
    """Standard normal noise of ``shape`` (B, ...), row i drawn from ``generators[i]``.

    Raises:
        ValueError: if there is not exactly one generator per row.
    """
    if len(generators) != shape[0]:
        raise ValueError(f"{shape[0]} images need as many generators, got {len(generators)}")
    rows = [torch.randn(tuple(shape[1:]), generator=g, device=g.device) for g in generators]
    return torch.stack([row.to(device=device, dtype=dtype) for row in rows])


def randint(low: int, high: int, generators: Sequence[torch.Generator]) -> Int64[Tensor, " B"]:
    """One integer per generator, uniform on ``low .. high - 1``, on the CPU."""
    draws = [torch.randint(low, high, (), generator=g, device=g.device).cpu() for g in generators]
    return torch.stack(draws)
