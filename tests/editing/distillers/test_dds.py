"""DDS against closed forms."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from editing.distillers import DDS
from samplers.noise import FixedPointNoise
from samplers.random import make_generators, randn

V = 0.3  # variance of the Gaussian prior


def latents(batch: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 3, 4, 6, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("noise", [None, FixedPointNoise()])
def test_no_gradient_at_the_exact_edit(gaussian_prior: Any, noise: Any) -> None:
    """Whatever the noise: at z' = z + mu' - mu the two predictions agree."""
    z, means = latents(3), gaussian_prior.means[:, 0]
    dds = DDS(gaussian_prior, noise=noise, guidance=1.0)
    prompts = gaussian_prior.pair(source="a cat", target="a pig")
    edit = z + means[1] - means[0]
    gradient = dds.distill(edit, z, prompts, make_generators(0, range(3))).gradient
    torch.testing.assert_close(gradient, torch.zeros_like(z), atol=1e-5, rtol=0)
    assert dds.distill(z, z, prompts, make_generators(0, range(3))).gradient.norm() > 0.1


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**20), st.floats(-3, 3))
def test_gradient_of_gaussians(gaussian_prior: Any, seed: int, factor: float) -> None:
    """The noise cancels: s a (z' - z - mu' + mu) / (a^2 v + s^2)."""
    z, other, means = latents(1, seed), factor * latents(1, seed + 1), gaussian_prior.means[:, 0]
    prompts = gaussian_prior.pair(source="a cat", target="a pig")
    drawn = DDS(gaussian_prior, guidance=1.0).distill(other, z, prompts, make_generators(seed, [0]))
    alpha, sigma = gaussian_prior.alpha_sigma(drawn.t)
    expected = sigma * alpha * (other - z - means[1] + means[0]) / (alpha**2 * V + sigma**2)
    torch.testing.assert_close(drawn.gradient, expected, atol=1e-5, rtol=0)


def test_guided_gradient_of_mixtures(mixture_prior: Any) -> None:
    """Against two separate predictions with the noise drawn by hand."""
    target, source = latents(2, 1), latents(2, 2)
    prompts = mixture_prior.pair(source=["a cat", "a pig"], target=["a pig", "a cat"])
    dds = DDS(mixture_prior, guidance=4.0)
    drawn = dds.distill(target, source, prompts, make_generators(3, range(2)))
    repeat = make_generators(3, range(2))
    t = dds.timesteps(1000, repeat, 0.0)
    noise = randn(source.shape, repeat, dtype=source.dtype)
    alpha, sigma = mixture_prior.alpha_sigma(t)
    expected = mixture_prior.predict_noise(
        alpha * target + sigma * noise, t, prompts.target, 4.0
    ) - mixture_prior.predict_noise(alpha * source + sigma * noise, t, prompts.source, 4.0)
    assert torch.equal(drawn.t, t)
    torch.testing.assert_close(drawn.gradient, expected, atol=1e-5, rtol=0)


def test_an_unchanged_prompt_changes_nothing(mixture_prior: Any) -> None:
    z = latents(2)
    prompts = mixture_prior.pair(source="a cat", target="a cat")
    assert DDS(mixture_prior).distill(z, z, prompts).gradient.abs().max() < 1e-12
