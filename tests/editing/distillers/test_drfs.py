"""DRFS and what it becomes at its two ends."""

from typing import Any

import torch

from editing.distillers import DDS, DRFS
from samplers.noise import posterior_mean
from samplers.random import make_generators, randn
from samplers.timesteps import UniformTimesteps

TIMES = UniformTimesteps()


def latents(batch: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 3, 4, 6, dtype=torch.float64, generator=generator)


def test_without_a_shift_it_is_weighted_dds(mixture_prior: Any) -> None:
    target, source = latents(3, 1), latents(3, 2)
    prompts = mixture_prior.pair(source="a cat", target="a pig")
    drfs = DRFS(mixture_prior, guidance=4, source_guidance=None, shift=0, timesteps=TIMES)
    dds = DDS(mixture_prior, guidance=4, timesteps=TIMES)
    drawn, plain = (
        m.distill(target, source, prompts, make_generators(0, range(3))) for m in (drfs, dds)
    )
    alpha, sigma = mixture_prior.alpha_sigma(drawn.t)
    expected = (alpha + sigma) / alpha * plain.gradient
    torch.testing.assert_close(drawn.gradient, expected, atol=1e-5, rtol=0)


def test_with_the_whole_shift_it_is_flowedit(mixture_prior: Any) -> None:
    """FlowEdit on the path z_t / (a + s), which is that of a rectified flow at time s / (a + s)."""
    target, source = latents(2, 1), latents(2, 2)
    prompts = mixture_prior.pair(source="a cat", target="a pig").expand(2)
    drfs = DRFS(mixture_prior, growing=False, timesteps=TIMES)
    drawn = drfs.distill(target, source, prompts, make_generators(7, range(2)))
    again = make_generators(7, range(2))
    t = TIMES(1000, again, 0.0)
    e = randn(source.shape, again, dtype=source.dtype)
    alpha, sigma = mixture_prior.alpha_sigma(t)
    time = sigma / (alpha + sigma)
    flow = (1 - time) * source + time * e
    flow_target = target + flow - source

    def velocity(x: torch.Tensor, condition: Any, guidance: float) -> torch.Tensor:
        z_t = (alpha + sigma) * x
        noise = mixture_prior.predict_noise(z_t, t, condition, guidance)
        return noise - posterior_mean(mixture_prior, z_t, t, noise)

    expected = velocity(flow_target, prompts.target, 16.5) - velocity(flow, prompts.source, 6.0)
    torch.testing.assert_close(drawn.gradient, expected, atol=1e-5, rtol=0)


def test_the_shift_grows_as_t_falls(mixture_prior: Any) -> None:
    """At the beginning of a run it is nearly DDS, at its end nearly FlowEdit."""
    target, source = latents(1, 1), latents(1, 2)
    prompts = mixture_prior.pair(source="a cat", target="a pig")

    def gradient(t: int, **options: Any) -> torch.Tensor:
        times = UniformTimesteps(t / 1000, (t + 1) / 1000)
        drfs = DRFS(mixture_prior, timesteps=times, **options)
        return drfs.distill(target, source, prompts, make_generators(0, [0])).gradient

    for t, shift in ((990, 0.01), (20, 0.98), (500, 0.5)):
        expected = gradient(t, shift=shift, growing=False)
        torch.testing.assert_close(gradient(t), expected, atol=1e-9, rtol=1e-9)


def test_time_falls_during_the_run(mixture_prior: Any) -> None:
    z, prompts = latents(2), mixture_prior.pair(source="a cat", target="a pig")
    drfs = DRFS(mixture_prior)
    times = [drfs.distill(z, z, prompts, progress=p).t.tolist() for p in (0.0, 0.5, 0.98)]
    assert times == [[999, 999], [500, 500], [20, 20]]


def test_an_unchanged_prompt_changes_nothing(mixture_prior: Any) -> None:
    z, prompts = latents(2), mixture_prior.pair(source="a cat", target="a cat")
    drfs = DRFS(mixture_prior, source_guidance=None)
    assert drfs.distill(z, z, prompts).gradient.abs().max() < 1e-9
