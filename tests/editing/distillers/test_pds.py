"""PDS against the formulas it is derived from."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from editing.distillers import DDS, PDS
from samplers.noise import posterior_mean
from samplers.random import make_generators, randn


def latents(batch: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 3, 4, 6, dtype=torch.float64, generator=generator)


def textbook(
    prior: Any, z: torch.Tensor, condition: Any, t: torch.Tensor, p: torch.Tensor, noises: Any
) -> torch.Tensor:
    """The stochastic latent (z_p - mu) / sigma, from the betas of a DDPM."""
    bar, before = prior.alphas_cumprod[t].item(), prior.alphas_cumprod[t - 1].item()
    bar_p = prior.alphas_cumprod[p].item()
    beta = 1 - bar / before
    z_t = bar**0.5 * z + (1 - bar) ** 0.5 * noises[0]
    z_p = bar_p**0.5 * z + (1 - bar_p) ** 0.5 * noises[1]
    mean = posterior_mean(prior, z_t, t, prior.predict_noise(z_t, t, condition, 3.0))
    mu = bar_p**0.5 * beta / (1 - bar) * mean + (1 - beta) ** 0.5 * (1 - bar_p) / (1 - bar) * z_t
    return (z_p - mu) / ((1 - bar_p) / (1 - bar) * beta) ** 0.5


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**20))
def test_it_is_the_difference_of_stochastic_latents(mixture_prior: Any, seed: int) -> None:
    """The noise at the earlier time, drawn here, cancels."""
    target, source = latents(1, seed), latents(1, seed + 1)
    prompts = mixture_prior.pair(source="a cat", target="a pig")
    pds = PDS(mixture_prior, guidance=3.0)
    drawn = pds.distill(target, source, prompts, make_generators(seed, [0]))
    again = make_generators(seed, [0])
    t = pds.timesteps(1000, again, 0.0)
    noises = [randn(source.shape, again, dtype=source.dtype) for _ in range(2)]
    expected = [
        textbook(mixture_prior, z, condition, t, t - 2, noises)
        for z, condition in ((target, prompts.target), (source, prompts.source))
    ]
    torch.testing.assert_close(drawn.gradient, expected[0] - expected[1], atol=1e-5, rtol=1e-8)


def test_with_single_steps_it_is_weighted_dds(mixture_prior: Any) -> None:
    target, source = latents(2, 1), latents(2, 2)
    prompts = mixture_prior.pair(source="a cat", target="a pig")
    options = {"guidance": 3.0, "timesteps": PDS(mixture_prior).timesteps}
    found = [
        method.distill(target, source, prompts, make_generators(0, range(2))).gradient
        for method in (PDS(mixture_prior, levels=1000, **options), DDS(mixture_prior, **options))
    ]
    ratio = (found[0] / found[1]).flatten(1)
    torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio))


def test_the_source_pulls_back(gaussian_prior: Any) -> None:
    """At the exact edit DDS is at rest; PDS goes on towards the source."""
    z, means = latents(1), gaussian_prior.means[:, 0]
    prompts = gaussian_prior.pair(source="a cat", target="a pig")
    away = means[1] - means[0]
    drawn = PDS(gaussian_prior, guidance=1.0).distill(z + away, z, prompts)
    assert torch.nn.functional.cosine_similarity(drawn.gradient.flatten(), away.flatten(), 0) > 0.99


def test_an_unchanged_prompt_changes_nothing(mixture_prior: Any) -> None:
    z = latents(2)
    prompts = mixture_prior.pair(source="a cat", target="a cat")
    assert PDS(mixture_prior).distill(z, z, prompts).gradient.abs().max() < 1e-9


@pytest.mark.parametrize("levels", [1, 1001])
def test_a_wrong_number_of_levels_is_refused(mixture_prior: Any, levels: int) -> None:
    with pytest.raises(ValueError, match=f"levels={levels} .* from 2 to 1000"):
        PDS(mixture_prior, levels=levels)
