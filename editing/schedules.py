"""How the step size changes in the course of a run: factors of it, by the fraction that is done."""

import math
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Schedule(Protocol):
    """A factor of the step size."""

    def __call__(self, progress: float | int) -> float:
        """The factor when the fraction ``progress``, in [0, 1], of the steps is done."""
        ...


@dataclass(frozen=True)
class Constant:
    """Always 1, as in the papers of DDS, CDS, PDS and IDS."""

    def __call__(self, progress: float | int) -> float:
        return 1.0


@dataclass(frozen=True)
class Linear:
    """From 1 to ``final`` in a straight line."""

    final: float | int = 0.0

    def __post_init__(self) -> None:
        _check(final=self.final)

    def __call__(self, progress: float | int) -> float:
        return 1 + (self.final - 1) * progress


@dataclass(frozen=True)
class Cosine:
    """From 1 to ``final`` along half a wave."""

    final: float | int = 0.0

    def __post_init__(self) -> None:
        _check(final=self.final)

    def __call__(self, progress: float | int) -> float:
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * progress)) / 2


@dataclass(frozen=True)
class Hump:
    """Up to 1 and down again as a beta distribution, never below ``floor``.

    Attributes:
        rise: exponent of what is done.
        fall: exponent of what is left.
        floor: the least factor.
    """

    rise: float | int = 1.0
    fall: float | int = 2.0
    floor: float | int = 0.0

    def __post_init__(self) -> None:
        _check(rise=self.rise, fall=self.fall, floor=self.floor)
        if self.rise == 0 or self.fall == 0:
            raise ValueError("rise and fall must be positive")

    def __call__(self, progress: float | int) -> float:
        peak = self.rise / (self.rise + self.fall)
        most = peak**self.rise * (1 - peak) ** self.fall
        return max(self.floor, progress**self.rise * (1 - progress) ** self.fall / most)


def _check(**values: Any) -> None:
    for name, value in values.items():
        if not isinstance(value, float | int) or not 0 <= value < math.inf:
            raise ValueError(f"{name} must be a number of 0 or more, got {value!r}")
