"""Means with intervals, and differences between methods on the same cases."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float
from scipy.stats import wilcoxon

RESAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over cases.

    Attributes:
        mean: over the cases that have a value.
        low: lower end of its 95 % interval, NaN for fewer than two cases.
        high: upper end.
        count: cases that have a value.
    """

    mean: float
    low: float
    high: float
    count: int


@lru_cache(maxsize=8)
def _resamples(count: int) -> Float[np.ndarray, "resamples count"]:
    """How often each of `count` cases is drawn in each resample, over `count`; always the same."""
    share = [1 / count] * count
    return np.random.default_rng(0).multinomial(count, share, RESAMPLES) / count


def estimate(
    values: Float[np.ndarray, " N"], weights: Float[np.ndarray, " N"] | None = None
) -> Estimate:
    """Mean and percentile bootstrap interval (Efron 1979) of one value per case, NaN left out.

    Where cases are clusters of unequal size, ``weights`` are their sizes: clusters are drawn as a
    whole, and the mean is that of what is in them.
    """
    there = np.isfinite(values)
    known = values[there]
    sizes = np.ones(len(known)) if weights is None else weights[there]
    if len(known) == 0:
        return Estimate(np.nan, np.nan, np.nan, 0)
    mean, low, high = float(np.average(known, weights=sizes)), np.nan, np.nan
    if len(known) > 1:
        drawn = _resamples(len(known))
        means = (drawn @ (known * sizes)) / (drawn @ sizes)
        low, high = np.percentile(means, [50 * (1 - LEVEL), 50 * (1 + LEVEL)]).tolist()
    return Estimate(mean, low, high, len(known))


@dataclass(frozen=True)
class Difference:
    """How two methods differ on the cases that both have.

    Attributes:
        estimate: of first minus second.
        p: two-sided, of Wilcoxon's signed-rank test; 1 where they do not differ at all.
    """

    estimate: Estimate
    p: float


def difference(
    first: Float[np.ndarray, " N"],
    second: Float[np.ndarray, " N"],
    weights: Float[np.ndarray, " N"] | None = None,
) -> Difference:
    """Paired difference of two rows of values of the same cases; see :func:`estimate`."""
    change = first - second
    known = change[np.isfinite(change)]
    differs = np.any(known != 0)
    return Difference(estimate(change, weights), float(wilcoxon(known).pvalue) if differs else 1.0)


def holm(p: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    """p values that hold for all the tests together (Holm 1979)."""
    order = np.argsort(p)
    scaled = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(scaled, 1.0)
    return adjusted
