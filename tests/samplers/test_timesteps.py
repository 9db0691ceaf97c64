import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from samplers.random import make_generators
from samplers.timesteps import AnnealedTimesteps, UniformTimesteps


def draws(sampler: UniformTimesteps | AnnealedTimesteps, progress: float = 0.0) -> torch.Tensor:
    generators = make_generators(0, range(20))
    return torch.cat([sampler(1000, generators, progress) for _ in range(1000)])


def test_the_default_is_that_of_the_reference_implementations() -> None:
    t = draws(UniformTimesteps())
    assert t.dtype == torch.int64
    assert (t.min(), t.max()) == (50, 948)  # 20,000 draws from 899 values miss none at the ends
    assert abs(t.double().mean() - 499) < 10  # standard error 1.8


def test_annealing_lowers_the_upper_end_only() -> None:
    sampler = AnnealedTimesteps(low=0.1, high=0.9, final=0.3)
    ends = [draws(sampler, progress) for progress in (0.0, 0.5, 1.0)]
    assert [(int(t.min()), int(t.max())) for t in ends] == [(100, 899), (100, 599), (100, 299)]


def test_t_does_not_depend_on_the_batch() -> None:
    together = UniformTimesteps()(1000, make_generators(5, range(3)))
    alone = [UniformTimesteps()(1000, make_generators(5, [index])) for index in range(3)]
    assert torch.equal(together, torch.cat(alone))
    assert len(set(together.tolist())) == 3


@settings(max_examples=50, deadline=None)
@given(
    st.floats(0, 0.99),
    st.floats(0.001, 1),
    st.floats(0, 1),
    st.integers(1, 2000),
    st.integers(0, 9),
)
def test_t_is_always_a_timestep(
    low: float, width: float, progress: float, length: int, seed: int
) -> None:
    high = min(1.0, low + width)
    generators = make_generators(seed, range(3))
    for sampler in (
        UniformTimesteps(low, high),
        AnnealedTimesteps(low, high, final=(low + high) / 2),
    ):
        t = sampler(length, generators, progress)
        assert 0 <= t.min() <= t.max() < length


@pytest.mark.parametrize(("low", "high"), [(-0.1, 0.5), (0.5, 0.5), (0.9, 0.1), (0.1, 1.1)])
def test_ranges_that_make_no_sense(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="0 <= low < high <= 1"):
        UniformTimesteps(low, high)
    with pytest.raises(ValueError, match="low < final <= high"):
        AnnealedTimesteps(0.1, 0.5, 0.6)
