import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from samplers.random import make_generators, randint, randn


def test_an_image_draws_the_same_alone_and_in_a_batch() -> None:
    together = randn((3, 4, 5, 6), make_generators(7, range(3)))
    for index in range(3):
        alone = randn((1, 4, 5, 6), make_generators(7, [index]))
        assert torch.equal(together[index], alone[0])


def test_images_and_seeds_draw_differently() -> None:
    one, other = randn((2, 1000), make_generators(0, range(2)))
    again = randn((1, 1000), make_generators(1, [0]))[0]
    # (seed, index) must not be mixed up: (0, 1) and (1, 0) are different streams
    assert not torch.equal(one, other)
    assert not torch.equal(one, again)
    assert not torch.equal(other, again)


def test_noise_is_standard_normal_and_the_same_in_every_precision() -> None:
    noise = randn((1, 40_000), make_generators(0, [0]))
    assert abs(noise.mean()) < 0.02
    assert abs(noise.std() - 1) < 0.02
    double = randn((1, 40_000), make_generators(0, [0]), dtype=torch.float64)
    assert double.dtype == torch.float64
    assert torch.equal(noise.double(), double)


def test_the_global_random_state_is_left_alone() -> None:
    state = torch.get_rng_state()
    generators = make_generators(0, range(2))
    randn((2, 3), generators)
    randint(0, 9, generators)
    assert torch.equal(state, torch.get_rng_state())


def test_one_generator_per_row() -> None:
    with pytest.raises(ValueError, match="3 images need as many generators, got 2"):
        randn((3, 4), make_generators(0, range(2)))


@settings(max_examples=30, deadline=None)
@given(st.integers(-5, 2**40), st.integers(0, 10**6), st.integers(-20, 20), st.integers(1, 50))
def test_integers_stay_in_range(seed: int, index: int, low: int, count: int) -> None:
    draws = randint(low, low + count, make_generators(seed, [index, index + 1]))
    assert draws.shape == (2,)
    assert draws.dtype == torch.int64
    assert low <= draws.min() <= draws.max() < low + count
