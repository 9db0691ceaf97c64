"""ISM against a trajectory made step by step."""

import itertools
from typing import Any

import pytest
import torch

from editing.distillers import ISM
from samplers.noise import posterior_mean
from samplers.random import make_generators, randn


def latents(batch: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 3, 4, 6, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("seed", range(4))
def test_the_interval_of_an_inverted_trajectory(mixture_prior: Any, seed: int) -> None:
    z = latents(1, 1)
    prompts = mixture_prior.pair(source="a cat", target="a pig")
    ism = ISM(mixture_prior, guidance=4.0)
    drawn = ism.distill(z, latents(1, 2), prompts, make_generators(seed, [0]))
    again = make_generators(seed, [0])
    t = int(ism.timesteps(1000, again, 0.0))
    e = randn(z.shape, again, dtype=z.dtype)
    s = max(t - 80, 0)
    times = [max(s - 500, 0)]
    while times[-1] < s:
        times.append(min(times[-1] + 100, s))

    def levels(time: int) -> tuple[torch.Tensor, torch.Tensor]:
        return mixture_prior.alpha_sigma(torch.tensor([time]))

    def free(x: torch.Tensor, time: int) -> torch.Tensor:
        return mixture_prior.predict_noise(x, torch.tensor([time]), mixture_prior.embed([""]))

    def step(x: torch.Tensor, time: int, to: int) -> torch.Tensor:
        noise = free(x, time)
        clean = posterior_mean(mixture_prior, x, torch.tensor([time]), noise)
        return levels(to)[0] * clean + levels(to)[1] * noise

    alpha, sigma = levels(times[0])
    x = alpha * z + sigma * e
    for time, to in itertools.pairwise(times):
        x = step(x, time, to)
    wanted = mixture_prior.predict_noise(step(x, s, t), torch.tensor([t]), prompts.target, 4.0)
    torch.testing.assert_close(drawn.gradient, wanted - free(x, s), atol=1e-5, rtol=0)


def test_an_image_does_not_depend_on_its_batch(mixture_prior: Any) -> None:
    """Although the images of a batch are at different times."""
    z, prompts = latents(3, 1), mixture_prior.pair(source="a cat", target="a pig")
    ism = ISM(mixture_prior)
    together = ism.distill(z, z, prompts, make_generators(0, range(3))).gradient
    for i in range(3):
        alone = ism.distill(z[i : i + 1], z[i : i + 1], prompts, make_generators(0, [i]))
        torch.testing.assert_close(together[i : i + 1], alone.gradient)


def test_a_wrong_interval_is_refused(mixture_prior: Any) -> None:
    with pytest.raises(ValueError, match="interval=0 cannot be used"):
        ISM(mixture_prior, interval=0)
