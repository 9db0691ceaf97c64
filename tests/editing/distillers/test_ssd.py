"""SSD term by term."""

from typing import Any

import torch

from editing.distillers import DDS, SSD
from samplers.random import make_generators, randn
from samplers.timesteps import UniformTimesteps


def latents(batch: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 3, 4, 6, dtype=torch.float64, generator=generator)


def test_against_separate_predictions(mixture_prior: Any) -> None:
    target, source = latents(3, 1), latents(3, 2)
    prompts = mixture_prior.pair(source="a cat", target="a pig")
    ssd = SSD(mixture_prior)
    drawn = ssd.distill(target, source, prompts, make_generators(5, range(3)))
    again = make_generators(5, range(3))
    t = ssd.timesteps(1000, again, 0.0)
    alpha, sigma = mixture_prior.alpha_sigma(t)
    e = randn(source.shape, again, dtype=source.dtype)
    z_t, of_source = alpha * target + sigma * e, alpha * source + sigma * e

    def at(z: torch.Tensor, text: str) -> torch.Tensor:
        return mixture_prior.predict_noise(z, t, mixture_prior.embed([text] * 3))

    expected = (
        1.0 * (at(z_t, "a cat") - at(of_source, ""))
        + 3.75 * (at(z_t, "a pig") - at(z_t, "a cat"))
        + 5.5 * (at(z_t, "a pig") - at(z_t, ""))
        + 0.075 * torch.exp(t / 1000)[:, None, None, None] * (z_t - of_source)
    )
    torch.testing.assert_close(drawn.gradient, expected, atol=1e-5, rtol=0)


def test_without_the_rest_the_prompts_differ_as_in_dds(mixture_prior: Any) -> None:
    """On the source itself, E_0(z_t, y') - E_0(z_t, y) is DDS without guidance."""
    z, prompts = latents(2), mixture_prior.pair(source="a cat", target="a pig")
    times = UniformTimesteps()
    ssd = SSD(mixture_prior, trajectory=0, enhancement=0, pull=0, guidance=2, timesteps=times)
    dds = DDS(mixture_prior, guidance=1, timesteps=times)
    found = [m.distill(z, z, prompts, make_generators(0, range(2))).gradient for m in (ssd, dds)]
    torch.testing.assert_close(found[0], found[1])


def test_without_prompts_nothing_changes(mixture_prior: Any) -> None:
    z, prompts = latents(2), mixture_prior.pair(source="", target="")
    assert SSD(mixture_prior).distill(z, z, prompts).gradient.abs().max() < 1e-12
