"""Means with intervals, and differences between methods on the same cases; many at once.

Values come cluster by cluster: what is not independent, such as edits of one picture, is summed
before anything is drawn or flipped. A column is one quantity: a metric, or a pair's difference.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float, Int

RESAMPLES = 2000
LEVEL = 0.95
EXACT = 12  # clusters: up to so many, all ways to flip their signs are gone through
FLIPS = 50_000  # that are drawn where there are more clusters
CHUNK = 5000  # of them are held in memory at once

PerCluster = Float[np.ndarray, "N K"]
PerColumn = Float[np.ndarray, " K"]


@dataclass(frozen=True)
class Estimate:
    """A mean over cases.

    Attributes:
        mean: over the cases that have a value.
        low: lower end of its 95 % interval, NaN for fewer than two clusters.
        high: upper end.
        count: clusters of cases that have a value.
    """

    mean: float
    low: float
    high: float
    count: int


def known(values: PerCluster, sizes: PerCluster | None) -> tuple[PerCluster, PerCluster]:
    """Sums over the clusters and their sizes, both 0 where the mean of a cluster is NaN."""
    there = np.isfinite(values)
    sizes = np.where(there, 1.0 if sizes is None else sizes, 0.0)
    return np.where(there, values, 0.0) * sizes, sizes


@lru_cache(maxsize=32)
def _resamples(count: int) -> Float[np.ndarray, "resamples count"]:
    """How often each of `count` clusters is drawn, over `count`; always the same resamples."""
    share = [1 / count] * count
    return np.random.default_rng(0).multinomial(count, share, RESAMPLES) / count


def estimates(values: PerCluster, sizes: PerCluster | None = None) -> list[Estimate]:
    """Means and percentile bootstrap intervals (Efron 1979) of all columns, NaN left out.

    Args:
        values: means of the clusters.
        sizes: how many cases are behind each, 1 if left out. Clusters are drawn as a whole, and the
            mean is that of the cases in them.
    """
    sums, sizes = known(values, sizes)
    counts = (sizes > 0).sum(0)
    mean, low, high = np.full((3, len(counts)), np.nan)
    there = counts > 0
    mean[there] = sums.sum(0)[there] / sizes.sum(0)[there]
    for columns, a, b in _by_count(sums, sizes):
        if len(a) > 1:
            drawn = _resamples(len(a))
            ends = np.percentile((drawn @ a) / (drawn @ b), [50 * (1 - LEVEL), 50 * (1 + LEVEL)], 0)
            low[columns], high[columns] = ends
    found = zip(mean.tolist(), low.tolist(), high.tolist(), counts.tolist(), strict=True)
    return [Estimate(*each) for each in found]


def sign_flip(values: PerCluster, sizes: PerCluster | None = None) -> PerColumn:
    """Two-sided p values of the weighted means of :func:`estimates` being 0, column by column.

    If two methods do as well, the difference of a cluster may as well have had the other sign: p is
    the share of all ways to choose the signs that bring the mean as far from 0 as it is. All ways
    are gone through for up to `EXACT` clusters, `FLIPS` drawn ones and the one that is there
    otherwise.
    """
    sums, sizes = known(values, sizes)
    p = np.ones(sums.shape[1])
    for columns, a, _ in _by_count(sums, sizes):
        least = np.abs(a.sum(0)) * (1 - 1e-9)  # equal sums differ in their last bits
        as_far, total = np.zeros(len(columns)), 0
        for signs in _signs(len(a)):
            as_far += (np.abs(signs @ a) >= least).sum(0)
            total += len(signs)
        p[columns] = as_far / total
    return p


def least_p(counts: Int[np.ndarray, " K"]) -> PerColumn:
    """The smallest p value that :func:`sign_flip` can give with so many clusters."""
    return np.where(counts <= EXACT, 2.0 ** (1 - counts), 1 / (1 + FLIPS))


def _signs(count: int) -> Iterator[Float[np.ndarray, "flips count"]]:
    """Ways to flip the signs of `count` clusters; always the same.

    Where all are gone through, the first keeps its sign: flipping everything changes no distance.
    """
    if count <= EXACT:
        numbers = np.arange(2 ** (count - 1))
        yield 1.0 - 2.0 * (numbers[:, None] >> np.arange(count) & 1)
        return
    yield np.ones((1, count))
    rng = np.random.default_rng(0)
    for _ in range(0, FLIPS, CHUNK):
        yield 1.0 - 2.0 * rng.integers(0, 2, (CHUNK, count), dtype=np.int8)


def _by_count(
    sums: PerCluster, sizes: PerCluster
) -> Iterator[tuple[Int[np.ndarray, " k"], PerCluster, PerCluster]]:
    """Columns with equally many clusters: their places, sums and sizes, without the others."""
    there = sizes > 0
    counts = there.sum(0)
    order = np.argsort(~there, axis=0, kind="stable")
    for count in np.unique(counts[counts > 0]).tolist():
        (columns,) = np.nonzero(counts == count)
        rows = order[:count, columns]
        yield columns, sums[rows, columns], sizes[rows, columns]


def holm(p: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    """p values that hold for all the tests together (Holm 1979)."""
    order = np.argsort(p)
    scaled = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(scaled, 1.0)
    return adjusted


def decidable(counts: Int[np.ndarray, " N"], level: float) -> Bool[np.ndarray, " N"]:
    """Whether tests with so many clusters could be significant together, whatever the values."""
    return holm(least_p(counts)) < level
