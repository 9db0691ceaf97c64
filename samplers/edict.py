"""EDICT (Wallace et al. 2023): two coupled trajectories that can be inverted exactly."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from samplers.checks import number
from samplers.noise import posterior_mean
from samplers.prior import Condition, Prior, PromptPair
from samplers.trajectory import (
    Inversion,
    Store,
    TrajectoryMethod,
    Visit,
    Watcher,
    descent,
    everywhere,
    guided_noise,
    partial_times,
    unwatched,
)


class EDICT(TrajectoryMethod):
    """Each of two latents is moved by the noise predicted at the other, then both are mixed.

    Runs in double precision, in which nothing is lost on the way there and back. Which of the two
    goes first alternates, so that neither runs away. Costs twice DDIM's network evaluations.

    Args:
        prior: see :class:`TrajectoryMethod`.
        steps: of the whole schedule.
        guidance: of source and target alike.
        mix: p, of each latent with the other, above 0.
        strength: fraction of the schedule that is run.

    Raises:
        ValueError: for a prior on a device without double precision.
    """

    inverts_with: tuple[str, ...] = ("steps", "guidance", "mix", "strength")

    def __init__(
        self,
        prior: Prior,
        *,
        steps: int = 50,
        guidance: float | int = 3.0,
        mix: float | int = 0.93,
        strength: float | int = 0.8,
    ) -> None:
        super().__init__(prior, steps=steps, guidance=guidance)
        if prior.device.type == "mps":
            raise ValueError("it needs double precision, which this device lacks: device=cpu")
        self.mix, self.strength = number("mix", mix, 0.01, 1), number("strength", strength, 0, 1)
        self.run = partial_times(self.times, self.strength)

    @torch.no_grad()
    def invert(
        self,
        z: Float[Tensor, "B C h w"],
        source: Condition,
        generators: Sequence[torch.Generator],
        watch: Watcher = unwatched,
        store: Store | None = None,
    ) -> Inversion:
        source, p = source.expand(len(z)), self.mix
        x = y = z.double()
        for step, (to, t) in enumerate(pairwise(self.run), 1):
            a, b = self.coefficients(t, to, x)
            first = (len(self.run) - 1 - step) % 2  # of the sampling's step that this undoes
            x, y = (y, x) if first else (x, y)
            y = (y - (1 - p) * x) / p  # Eq. 15
            x = (x - (1 - p) * y) / p
            y = (y - b * guided_noise(self.prior, x, t, source, self.guidance)) / a
            noise = guided_noise(self.prior, y, t, source, self.guidance)
            x = (x - b * noise) / a
            x, y = (y, x) if first else (x, y)
            mean = posterior_mean(self.prior, x, everywhere(t, x), noise)
            watch(Visit(step, len(self.run) - 1, t, x, mean, sampling=False))
        return Inversion({"noise": x, "noise_2": y})

    @torch.no_grad()
    def sample(
        self,
        inversion: Inversion,
        prompts: PromptPair,
        generators: Sequence[torch.Generator],
        watch: Watcher = unwatched,
    ) -> Float[Tensor, "B C h w"]:
        x, y, p = inversion["noise"].double(), inversion["noise_2"].double(), self.mix
        target = prompts.expand(len(x)).target
        for step, (t, to) in enumerate(descent(self.run)):
            a, b = self.coefficients(t, to, x)
            x, y = (y, x) if step % 2 else (x, y)
            noise = guided_noise(self.prior, y, t, target, self.guidance)
            mean = posterior_mean(self.prior, x, everywhere(t, x), noise)
            x = a * x + b * noise  # Eq. 14
            y = a * y + b * guided_noise(self.prior, x, t, target, self.guidance)
            x = p * x + (1 - p) * y
            y = p * y + (1 - p) * x
            x, y = (y, x) if step % 2 else (x, y)
            seen = watch(Visit(step + 1, len(self.run) - 1, to, x, mean))
            x, y = seen, y + (seen - x)  # what is changed from outside is changed in both
        return x

    def coefficients(self, t: int, to: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Of latents and noise in a step of DDIM from ``t`` to ``to``."""
        alpha, sigma = (x.double() for x in self.prior.alpha_sigma(everywhere(t, like)))
        alpha_to, sigma_to = (x.double() for x in self.prior.alpha_sigma(everywhere(to, like)))
        return alpha_to / alpha, sigma_to - alpha_to * sigma / alpha
