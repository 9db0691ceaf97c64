"""NFSD against separate predictions."""

from typing import Any

import torch

from editing.distillers import NFSD
from samplers.random import make_generators, randn


def latents(batch: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 3, 4, 6, dtype=torch.float64, generator=generator)


def test_the_two_domains(mixture_prior: Any) -> None:
    """Unconditional below the threshold, against the negative prompt above it."""
    target = latents(6, 1)
    prompts = mixture_prior.pair(source="a cat", target="a pig").expand(6)
    nfsd = NFSD(mixture_prior, guidance=5.0, negative="a cat", threshold=0.5)
    drawn = nfsd.distill(target, latents(6, 2), prompts, make_generators(3, range(6)))
    again = make_generators(3, range(6))
    t = nfsd.timesteps(1000, again, 0.0)
    assert 0 < (t < 500).sum() < 6
    alpha, sigma = mixture_prior.alpha_sigma(t)
    z_t = alpha * target + sigma * randn(target.shape, again, dtype=target.dtype)
    null, bad, wanted = (
        mixture_prior.predict_noise(z_t, t, mixture_prior.embed([text] * 6))
        for text in ("", "a cat", "a pig")
    )
    domain = torch.where((t < 500)[:, None, None, None], null, null - bad)
    torch.testing.assert_close(drawn.gradient, domain + 5 * (wanted - null), atol=1e-5, rtol=0)


def test_a_target_without_a_prompt_feels_the_domain_only(mixture_prior: Any) -> None:
    """Above the threshold, with nothing bad said either, there is nothing left."""
    prompts = mixture_prior.pair(source="a cat", target="")
    nfsd = NFSD(mixture_prior, negative="", threshold=0.0)
    assert nfsd.distill(latents(2), latents(2), prompts).gradient.abs().max() < 1e-12
