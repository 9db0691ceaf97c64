"""CycleDiffusion's DPM-encoder (Wu and De la Torre 2023): the noises that a sampler would draw."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from samplers.checks import number
from samplers.ddim import posterior_deviation, sample_ancestral, stochastic_step
from samplers.noise import posterior_mean
from samplers.prior import Condition, Prior, PromptPair
from samplers.random import randn
from samplers.trajectory import (
    Inversion,
    Store,
    TrajectoryMethod,
    Visit,
    Watcher,
    everywhere,
    guided_noise,
    partial_times,
    unwatched,
)


class CycleDiffusion(TrajectoryMethod):
    """Noisy latents of the source along the schedule, and the noises between them that stochastic
    sampling with the source's prompt would have needed; sampling with the target's takes the same.

    Defaults of steps, eta and guidance are those of the first example of diffusers' pipeline of
    that name, which runs 0.8 of the schedule; its second runs 0.85, at a guidance of 3. The noise
    of the last step is kept, so that the source comes back exactly.

    Args:
        prior: see :class:`TrajectoryMethod`.
        steps: of the whole schedule.
        guidance: of the target.
        source_guidance: of the source.
        strength: fraction of the schedule that is run.
        eta: how stochastic the sampling is, above 0; DDIM, Eq. 16.
    """

    inverts_with: tuple[str, ...] = ("steps", "source_guidance", "strength", "eta")

    def __init__(
        self,
        prior: Prior,
        *,
        steps: int = 100,
        guidance: float | int = 2.0,
        source_guidance: float | int = 1.0,
        strength: float | int = 0.85,
        eta: float | int = 0.1,
    ) -> None:
        super().__init__(prior, steps=steps, guidance=guidance)
        self.source_guidance = number("source_guidance", source_guidance, least=-math.inf)
        self.strength, self.eta = number("strength", strength, 0, 1), number("eta", eta, 1e-3, 1)
        self.run = partial_times(self.times, self.strength)

    def path(
        self, z: Float[Tensor, "B C h w"], generators: Sequence[torch.Generator]
    ) -> list[Float[Tensor, "B C h w"]]:
        """Noisy latents of the source at the times of the run, from the highest down.

        Each is drawn given z and the one before, as in the process that sampling reverses.
        """
        times = self.run[::-1]

        def draw() -> Tensor:
            return randn(z.shape, generators, z.device, z.dtype)

        alpha, sigma = self.prior.alpha_sigma(everywhere(times[0], z))
        found = [alpha * z + sigma * draw()]
        for t, to in pairwise(times[:-1]):
            noise = (found[-1] - alpha * z) / sigma
            alpha, sigma = self.prior.alpha_sigma(everywhere(to, z))
            deviation = self.eta * posterior_deviation(self.prior, t, to, z)
            along = (sigma**2 - deviation**2).clamp_min(0).sqrt()
            found.append(alpha * z + along * noise + deviation * draw())
        return [*found, z]

    @torch.no_grad()
    def invert(
        self,
        z: Float[Tensor, "B C h w"],
        source: Condition,
        generators: Sequence[torch.Generator],
        watch: Watcher = unwatched,
        store: Store | None = None,
    ) -> Inversion:
        source, path, times = source.expand(len(z)), self.path(z, generators), self.run[::-1]
        noises = []
        for step, (z_t, z_to) in enumerate(pairwise(path)):
            t, to = times[step], times[step + 1]
            noise = guided_noise(self.prior, z_t, t, source, self.source_guidance)
            centre, deviation = stochastic_step(self.prior, z_t, t, to, noise, self.eta)
            noises.append((z_to - centre) / deviation)
            mean = posterior_mean(self.prior, z_t, everywhere(t, z), noise)
            watch(Visit(step + 1, len(times) - 1, to, z_to, mean, sampling=False))
        return Inversion({"noise": path[0], "noises": torch.stack(noises, 1)})

    @torch.no_grad()
    def sample(
        self,
        inversion: Inversion,
        prompts: PromptPair,
        generators: Sequence[torch.Generator],
        watch: Watcher = unwatched,
    ) -> Float[Tensor, "B C h w"]:
        target = prompts.expand(len(inversion)).target
        noises = inversion.along("noises", len(self.run) - 1)

        def predict(z_t: Tensor, t: int) -> Tensor:
            return guided_noise(self.prior, z_t, t, target, self.guidance)

        def draw(step: int) -> Tensor:
            return noises[:, step]

        start = inversion["noise"]
        return sample_ancestral(self.prior, start, self.run, predict, draw, self.eta, watch)
