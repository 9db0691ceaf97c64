"""Settings that are what they should be: each returned as it is, or refused in one sentence."""

import math
from numbers import Integral, Real
from typing import Any


def whole(name: str, value: Any, least: int, most: int | None = None) -> int:
    """``value`` as an integer between ``least`` and ``most``.

    Raises:
        ValueError: naming it otherwise.
    """
    fits = isinstance(value, Integral) and not isinstance(value, bool)
    if fits and value >= least and (most is None or value <= most):
        return int(value)
    limit = f"of {least} or more" if most is None else f"from {least} to {most}"
    raise ValueError(f"{name}={value} cannot be used: give a whole number {limit}.")


def number(name: str, value: Any, least: float | int, most: float | int = math.inf) -> float:
    """``value`` as a finite number between ``least`` and ``most``.

    Raises:
        ValueError: naming it otherwise.
    """
    fits = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    if fits and least <= value <= most:
        return float(value)
    limits = {
        (False, True): f" of {least:g} or more",
        (False, False): f" from {least:g} to {most:g}",
        (True, False): f" of {most:g} or less",
        (True, True): "",
    }
    limit = limits[math.isinf(least), math.isinf(most)]
    raise ValueError(f"{name}={value} cannot be used: give a number{limit}.")


def flag(name: str, value: Any) -> bool:
    """``value`` as a truth value.

    Raises:
        ValueError: naming it otherwise.
    """
    if isinstance(value, bool):
        return value
    raise ValueError(f"{name}={value} cannot be used: give true or false.")
