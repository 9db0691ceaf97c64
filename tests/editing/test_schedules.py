"""Factors of the step size."""

import pytest

from editing.schedules import Constant, Cosine, Hump, Linear, Schedule

ALL: list[Schedule] = [Constant(), Linear(), Linear(0.5), Cosine(0.1), Hump(), Hump(0.5, 3, 0.05)]


@pytest.mark.parametrize("schedule", ALL, ids=repr)
def test_a_factor_is_between_0_and_1_and_1_at_the_most(schedule: Schedule) -> None:
    factors = [schedule(i / 1000) for i in range(1001)]
    assert min(factors) >= 0
    assert max(factors) == pytest.approx(1, abs=1e-5)


def test_ends() -> None:
    assert (Linear(0.2)(0), Linear(0.2)(1)) == (1, pytest.approx(0.2))
    assert (Cosine(0.2)(0), Cosine(0.2)(1)) == (1, pytest.approx(0.2))
    assert Cosine()(0.5) == pytest.approx(0.5)
    assert (Hump()(0), Hump()(1 / 3), Hump()(1)) == (0, pytest.approx(1), 0)
    assert Hump(floor=0.3)(1) == 0.3
