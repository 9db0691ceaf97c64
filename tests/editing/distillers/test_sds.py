"""SDS against the closed form for a Gaussian prior."""

from typing import Any

import pytest
import torch

from editing.distillers import SDS
from samplers.noise import FixedPointNoise
from samplers.random import make_generators, randn
from samplers.timesteps import UniformTimesteps

V = 0.3  # variance of the Gaussian prior
NARROW = UniformTimesteps(0.5, 0.501)  # t = 500 and nothing else


def latents(batch: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 3, 4, 6, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("weight", ["one", "sigma_squared"])
def test_gradient_of_a_gaussian(gaussian_prior: Any, weight: Any) -> None:
    z, generators = latents(2), make_generators(0, range(2))
    sds = SDS(gaussian_prior, weight=weight, guidance=1.0, timesteps=NARROW)
    drawn = sds.distill(z, 0 * z, gaussian_prior.pair(target=["a cat", "a pig"]), generators)
    assert drawn.t.tolist() == [500, 500]
    repeat = make_generators(0, range(2))
    NARROW(1000, repeat)
    noise = randn(z.shape, repeat, dtype=z.dtype)
    alpha, sigma = gaussian_prior.alpha_sigma(drawn.t)
    spread = alpha**2 * V + sigma**2
    means = gaussian_prior.means[:2, 0]
    expected = sigma * alpha * (z - means) / spread + (sigma**2 / spread - 1) * noise
    if weight == "sigma_squared":
        expected = sigma**2 * expected
    torch.testing.assert_close(drawn.gradient, expected, atol=1e-5, rtol=0)


def test_expected_gradient_points_from_the_mean(gaussian_prior: Any) -> None:
    """The mean over the noise is s a (z - mu) / (a^2 v + s^2); 6 standard errors are allowed."""
    count = 4000
    z = latents(1)
    sds = SDS(gaussian_prior, guidance=1.0, timesteps=NARROW)
    drawn = sds.distill(
        z.expand(count, -1, -1, -1),
        z.expand(count, -1, -1, -1),
        gaussian_prior.pair(target="a pig"),
        make_generators(0, range(count)),
    )
    alpha, sigma = gaussian_prior.alpha_sigma(torch.tensor([500]))
    spread = alpha**2 * V + sigma**2
    expected = sigma * alpha * (z - gaussian_prior.means[1, 0]) / spread
    error = float((1 - sigma**2 / spread) / count**0.5)
    assert (drawn.gradient.mean(0) - expected).abs().max() < 6 * error
    assert expected.abs().max() > 30 * error


def test_the_corrected_noise_comes_from_the_source(gaussian_prior: Any) -> None:
    """SDS with FPR: another source, another noise; with random noise the source is ignored."""
    z, prompts = latents(1), gaussian_prior.pair(source="a cat", target="a pig")

    def gradient(noise: Any, source: torch.Tensor) -> torch.Tensor:
        sds = SDS(gaussian_prior, noise=noise)
        return sds.distill(z, source, prompts, make_generators(0, [0])).gradient

    assert torch.equal(gradient(None, z), gradient(None, latents(1, 5)))
    corrected = gradient(FixedPointNoise(), z), gradient(FixedPointNoise(), latents(1, 5))
    assert not torch.allclose(*corrected)


def test_unknown_weight(gaussian_prior: Any) -> None:
    with pytest.raises((ValueError, TypeError)):  # see test_refusals for the ValueError alone
        SDS(gaussian_prior, weight="snr")  # type: ignore[arg-type]
