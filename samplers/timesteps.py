"""How the timestep of one optimisation step is drawn, one per image."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Int64
from torch import Tensor

from samplers.checks import number
from samplers.random import randint


@runtime_checkable
class TimestepSampler(Protocol):
    """Draws the timesteps of one optimisation step."""

    def __call__(
        self, num_timesteps: int, generators: Sequence[torch.Generator], progress: float
    ) -> Int64[Tensor, " B"]:
        """Timesteps in 0 .. ``num_timesteps`` - 1 on the CPU, row i from ``generators[i]``.

        Args:
            num_timesteps: length of the prior's schedule.
            generators: one per image.
            progress: fraction of the optimisation that is done, in [0, 1].
        """
        ...


@dataclass(frozen=True)
class UniformTimesteps:
    """t uniform on the integers of [low T, high T).

    The defaults are the reference implementations' of DDS, CDS and IDS: t ~ U{50 .. 948} of 1000.

    Raises:
        ValueError: unless 0 <= low < high <= 1.
    """

    low: float | int = 0.05
    high: float | int = 0.949

    def __post_init__(self) -> None:
        check_numbers(low=self.low, high=self.high)
        if not 0 <= self.low < self.high <= 1:
            raise ValueError(f"timesteps need 0 <= low < high <= 1, got {self.low} and {self.high}")

    def __call__(
        self, num_timesteps: int, generators: Sequence[torch.Generator], progress: float = 0.0
    ) -> Int64[Tensor, " B"]:
        return draw(self.low, self.high, num_timesteps, generators)


@dataclass(frozen=True)
class AnnealedTimesteps:
    """t uniform on [low T, h T), where h falls linearly from ``high`` to ``final``.

    Coarse structure is decided first (large t), detail last (small t).

    Raises:
        ValueError: unless 0 <= low < final <= high <= 1.
    """

    low: float | int = 0.05
    high: float | int = 0.949
    final: float | int = 0.5

    def __post_init__(self) -> None:
        check_numbers(low=self.low, high=self.high, final=self.final)
        if not 0 <= self.low < self.final <= self.high <= 1:
            raise ValueError(
                "annealed timesteps need 0 <= low < final <= high <= 1, "
                f"got {self.low}, {self.final} and {self.high}"
            )

    def __call__(
        self, num_timesteps: int, generators: Sequence[torch.Generator], progress: float = 0.0
    ) -> Int64[Tensor, " B"]:
        high = self.high + progress * (self.final - self.high)
        return draw(self.low, high, num_timesteps, generators)


@dataclass(frozen=True)
class DescendingTimesteps:
    """t falls from ``high`` T to ``low`` T in the course of the run, the same for all images.

    Raises:
        ValueError: unless 0 <= low < high <= 1.
    """

    low: float | int = 0.0
    high: float | int = 1.0

    def __post_init__(self) -> None:
        check_numbers(low=self.low, high=self.high)
        if not 0 <= self.low < self.high <= 1:
            raise ValueError(f"timesteps need 0 <= low < high <= 1, got {self.low} and {self.high}")

    def __call__(
        self, num_timesteps: int, generators: Sequence[torch.Generator], progress: float = 0.0
    ) -> Int64[Tensor, " B"]:
        t = round((self.high + progress * (self.low - self.high)) * num_timesteps)
        return torch.full((len(generators),), min(t, num_timesteps - 1))


def check_numbers(**given: float | int) -> None:
    """Refuses what is no number.

    Raises:
        ValueError: naming the first.
    """
    for name, value in given.items():
        number(f"timesteps.{name}", value, least=-math.inf)


def draw(
    low: float | int, high: float | int, num_timesteps: int, generators: Sequence[torch.Generator]
) -> Int64[Tensor, " B"]:
    """Uniform on the integers of [low T, high T), never empty."""
    first = min(round(low * num_timesteps), num_timesteps - 1)
    return randint(first, max(round(high * num_timesteps), first + 1), generators)
