"""Means, intervals and differences."""

import numpy as np
import pytest
from scipy.stats import bootstrap, false_discovery_control, norm

from benchmarks.statistics import difference, estimate, holm


def test_the_interval_is_that_of_scipy() -> None:
    values = np.random.default_rng(1).normal(3, 2, 40)
    found = estimate(values)
    theirs = bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=0)
    assert found.mean == pytest.approx(values.mean()) and found.count == 40
    assert found.low == pytest.approx(theirs.confidence_interval.low, abs=0.05)
    assert found.high == pytest.approx(theirs.confidence_interval.high, abs=0.05)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    found = [estimate(rng.normal(0, 1, 50)) for _ in range(300)]
    held = np.mean([e.low <= 0 <= e.high for e in found])
    assert 0.90 <= held <= 0.98
    width = np.mean([e.high - e.low for e in found])
    assert width == pytest.approx(2 * norm.ppf(0.975) / np.sqrt(50), rel=0.05)


def test_what_is_not_there_does_not_count() -> None:
    found = estimate(np.array([1.0, np.nan, 3.0, np.inf]))
    assert (found.mean, found.count) == (2.0, 2) and found.low <= 2 <= found.high
    alone = estimate(np.array([1.0, np.nan]))
    assert (alone.mean, alone.count) == (1.0, 1) and np.isnan(alone.low)
    assert estimate(np.array([np.nan])).count == 0


def test_a_difference_is_paired() -> None:
    rng = np.random.default_rng(3)
    hard = rng.normal(0, 10, 60)  # cases differ far more than methods
    better = difference(hard + 1 + rng.normal(0, 0.1, 60), hard)
    assert better.estimate.low > 0.9 and better.estimate.high < 1.1 and better.p < 1e-6
    same = difference(hard, hard)
    assert (same.estimate.mean, same.p) == (0.0, 1.0)
    chance = difference(hard + rng.normal(0, 1, 60), hard)
    assert chance.estimate.low < 0 < chance.estimate.high and chance.p > 0.01


def test_holm_by_hand() -> None:
    found = holm(np.array([0.04, 0.01, 0.03, 0.6]))
    assert found.tolist() == pytest.approx([0.09, 0.04, 0.09, 0.6])
    assert (found >= false_discovery_control([0.04, 0.01, 0.03, 0.6])).all()
    assert holm(np.array([])).tolist() == []
