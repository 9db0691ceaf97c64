"""IDS: DDS with corrected noise, and the paper's defaults."""

from typing import Any

import torch

from editing.distillers import DDS, IDS
from samplers.noise import FixedPointNoise
from samplers.prior import count_evaluations
from samplers.random import make_generators


def latents(batch: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 3, 4, 6, dtype=torch.float64, generator=generator)


def test_the_defaults_are_the_papers(mixture_prior: Any) -> None:
    ids = IDS(mixture_prior)
    assert ids.noise == FixedPointNoise(iterations=3, step_size=1.0, distance="l2", variable="z_t")
    assert ids.guidance == 7.5
    generators = make_generators(0, range(2000))
    t = torch.cat([ids.timesteps(1000, generators, 0.0) for _ in range(10)])
    assert (int(t.min()), int(t.max())) == (50, 948)


def test_it_is_dds_with_fixed_point_noise(mixture_prior: Any) -> None:
    target, source = latents(2, 1), latents(2, 2)
    prompts = mixture_prior.pair(source="a cat", target="a pig")

    def gradient(distiller: DDS) -> torch.Tensor:
        return distiller.distill(target, source, prompts, make_generators(0, range(2))).gradient

    corrected = gradient(IDS(mixture_prior))
    assert torch.equal(corrected, gradient(DDS(mixture_prior, noise=FixedPointNoise())))
    assert not torch.allclose(corrected, gradient(DDS(mixture_prior)))
    uncorrected = IDS(mixture_prior, noise=FixedPointNoise(iterations=0))
    torch.testing.assert_close(gradient(uncorrected), gradient(DDS(mixture_prior)))


def test_at_the_fixed_point_the_gradient_is_free_of_noise(gaussian_prior: Any) -> None:
    """With the exact e* for both, target and source differ by their means only, for any seed."""
    z = latents(1)
    prompts = gaussian_prior.pair(source="a cat", target="a pig")
    means = gaussian_prior.means[:, 0]
    for seed in range(3):
        drawn = IDS(gaussian_prior, guidance=1.0).distill(z, z, prompts, make_generators(seed, [0]))
        alpha, sigma = gaussian_prior.alpha_sigma(drawn.t)
        expected = sigma * alpha * (means[0] - means[1]) / (alpha**2 * 0.3 + sigma**2)
        torch.testing.assert_close(drawn.gradient, expected, atol=1e-5, rtol=0)


def test_the_source_score_is_the_noise_at_the_fixed_point(gaussian_prior: Any) -> None:
    """It saves two evaluations, and changes nothing once the iteration has converged."""
    target, source = latents(2, 1), latents(2, 2)
    prompts = gaussian_prior.pair(source="a cat", target="a pig")
    noise = FixedPointNoise(iterations=2, gradient="picard", anderson=1)
    found, costs = [], []
    for kind in ("network", "fixed_point"):
        ids = IDS(gaussian_prior, noise=noise, guidance=1.0, source_score=kind)
        with count_evaluations(gaussian_prior) as evaluations:
            found.append(
                ids.distill(target, source, prompts, make_generators(0, range(2))).gradient
            )
        costs.append(evaluations.forward)
    torch.testing.assert_close(found[0], found[1], atol=1e-4, rtol=1e-4)
    assert costs[0] - costs[1] == 2
