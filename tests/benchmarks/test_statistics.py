"""Means, intervals and differences."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import bootstrap, false_discovery_control, norm, permutation_test

from benchmarks import statistics
from benchmarks.statistics import decidable, estimates, holm, least_p, sign_flip


def column(*values: float) -> np.ndarray:
    return np.array(values, dtype=float)[:, None]


def test_the_interval_is_that_of_scipy() -> None:
    values = np.random.default_rng(1).normal(3, 2, 40)
    (found,) = estimates(values[:, None])
    theirs = bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=0)
    assert found.mean == pytest.approx(values.mean()) and found.count == 40
    assert found.low == pytest.approx(theirs.confidence_interval.low, abs=0.05)
    assert found.high == pytest.approx(theirs.confidence_interval.high, abs=0.05)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    found = estimates(rng.normal(0, 1, (50, 300)))
    held = np.mean([e.low <= 0 <= e.high for e in found])
    assert 0.90 <= held <= 0.98
    width = np.mean([e.high - e.low for e in found])
    assert width == pytest.approx(2 * norm.ppf(0.975) / np.sqrt(50), rel=0.05)


def test_what_is_not_there_does_not_count() -> None:
    nan = np.nan
    many = np.array([[1.0, 1.0, nan, 1.0], [nan, nan, nan, 2.0], [3.0, nan, nan, 3.0]])
    found, alone, nothing, whole = estimates(many)
    assert (found.mean, found.count) == (2.0, 2) and found.low <= 2 <= found.high
    assert (alone.mean, alone.count) == (1.0, 1) and np.isnan(alone.low)
    assert nothing.count == 0 and np.isnan(nothing.mean)
    assert [found, whole] == [*estimates(column(1, 3)), *estimates(column(1, 2, 3))]
    p = sign_flip(many)
    assert p.tolist() == [*sign_flip(column(1, 3)), 1, 1, *sign_flip(column(1, 2, 3))]


def test_clusters_weigh_as_much_as_what_is_in_them() -> None:
    """Six cases in the first cluster."""
    (found,) = estimates(column(2, 5, 8), column(6, 1, 1))
    assert found.mean == pytest.approx((6 * 2 + 5 + 8) / 8)
    assert found.low == 2 and found.high > 5


def test_the_test_is_that_of_scipy_where_all_flips_are_gone_through() -> None:
    values = np.random.default_rng(3).normal(0.6, 1, (9, 2))
    theirs = permutation_test(
        (values, np.zeros_like(values)),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        n_resamples=np.inf,
    )
    assert sign_flip(values).tolist() == pytest.approx(theirs.pvalue.tolist())


def test_the_test_is_of_the_weighted_mean() -> None:
    """One large cluster against many small ones: the unweighted mean would say the opposite."""
    values, sizes = column(-4, 1, 1, 1, 1), column(10, 1, 1, 1, 1)
    sums = (values * sizes)[:, 0]
    flips = [abs(np.dot(signs, sums)) for signs in product((1, -1), repeat=5)]
    expected = np.mean([far >= abs(sums.sum()) for far in flips])
    assert sign_flip(values, sizes).tolist() == [expected]
    assert estimates(values, sizes)[0].mean < 0


def test_drawn_flips_agree_with_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(4).normal(0.4, 1, (12, 3))
    exact = sign_flip(values)
    monkeypatch.setattr(statistics, "EXACT", 11)
    assert sign_flip(values).tolist() == pytest.approx(exact.tolist(), abs=0.006)


def test_the_test_errs_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    assert np.mean(sign_flip(rng.normal(0, 1, (10, 400))) < 0.05) == pytest.approx(0.05, abs=0.03)


def test_a_difference_is_paired() -> None:
    rng = np.random.default_rng(3)
    hard = rng.normal(0, 10, 60)  # cases differ far more than methods
    better = hard + 1 + rng.normal(0, 0.1, 60)
    chance = hard + rng.normal(0, 1, 60)
    change = np.stack([better - hard, hard - hard, chance - hard], 1)
    first, same, other = estimates(change)
    p = sign_flip(change)
    assert first.low > 0.9 and first.high < 1.1 and p[0] < 1e-4
    assert (same.mean, p[1]) == (0.0, 1.0)
    assert other.low < 0 < other.high and p[2] > 0.01


def test_holm_by_hand() -> None:
    found = holm(np.array([0.04, 0.01, 0.03, 0.6]))
    assert found.tolist() == pytest.approx([0.09, 0.04, 0.09, 0.6])
    assert (found >= false_discovery_control([0.04, 0.01, 0.03, 0.6])).all()
    assert holm(np.array([])).tolist() == []


def test_few_clusters_can_never_be_significant() -> None:
    """Five clusters: the least p is 1/16, whatever the difference."""
    assert sign_flip(column(5, 6, 7, 8, 9)).tolist() == [1 / 16]
    assert least_p(np.array([5, 6, 40])).tolist() == [1 / 16, 1 / 32, 1 / 50_001]
    assert decidable(np.array([5]), 0.05).tolist() == [False]
    assert decidable(np.array([6]), 0.05).tolist() == [True]
    assert decidable(np.array([6, 6]), 0.05).tolist() == [False, False]
    assert decidable(np.array([40, 6]), 0.05).tolist() == [True, True]
