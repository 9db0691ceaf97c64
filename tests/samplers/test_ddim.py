"""A step of DDIM against what it must do for known noise."""

from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from samplers.ddim import ddim_step

TIMES = st.integers(0, 999)


def noised(prior: Any, z: torch.Tensor, e: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    alpha, sigma = prior.alpha_sigma(t)
    return alpha * z + sigma * e


@settings(deadline=None, max_examples=30)
@given(start=st.tuples(TIMES, TIMES), end=st.tuples(TIMES, TIMES))
def test_with_the_true_noise_every_level_is_hit(
    gaussian_prior: Any, start: tuple[int, int], end: tuple[int, int]
) -> None:
    """In both directions, each image between times of its own."""
    z, e = torch.randn(2, 2, 4, 2, 3, dtype=torch.float64)
    t, to = torch.tensor(start), torch.tensor(end)
    found = ddim_step(gaussian_prior, noised(gaussian_prior, z, e, t), t, to, e)
    torch.testing.assert_close(found, noised(gaussian_prior, z, e, to))


def test_a_step_and_back_is_where_it_began(gaussian_prior: Any) -> None:
    z_t, e = torch.randn(2, 1, 4, 2, 3, dtype=torch.float64)
    t, to = torch.tensor([700]), torch.tensor([680])
    there = ddim_step(gaussian_prior, z_t, t, to, e)
    assert not torch.equal(there, z_t)
    torch.testing.assert_close(ddim_step(gaussian_prior, there, to, t, e), z_t)
