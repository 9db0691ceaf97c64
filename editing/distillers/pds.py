"""Posterior distillation sampling (Koo et al. 2024, "Posterior Distillation Sampling")."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from editing.distillers.dds import DDS
from samplers.checks import whole
from samplers.prior import Prior, PromptPair
from samplers.timesteps import TimestepSampler, UniformTimesteps


class PDS(DDS):
    """Difference of the stochastic latents (z_p - mu(z_t)) / sigma of target and source.

    Both share the noise at t and the noise at the earlier p = t - T / ``levels``. The latter
    cancels, and what is left is psi (z' - z) + chi (E(z'_t, y') - E(z_t, y)): DDS with weights, and
    a pull back to the source. As in the reference implementation, mu and sigma have the variance of
    a single step of the schedule although p lies several steps before t; the pull back comes from
    that alone. At ``levels`` = T it is zero. A t for which there is no p is raised to the lowest
    that has one. Costs 4 network evaluations per image, in one call.

    Args:
        prior: see :class:`ScoreDistiller`, as ``noise`` and ``guidance`` are.
        timesteps: how t is drawn; uniform between 0.02 T and 0.98 T by default.
        levels: number of levels the schedule is divided into, 2 .. T.
    """

    def __init__(
        self,
        prior: Prior,
        *,
        timesteps: TimestepSampler | None = None,
        levels: int = 500,
        **options: Any,
    ) -> None:
        timesteps = UniformTimesteps(0.02, 0.98) if timesteps is None else timesteps
        super().__init__(prior, timesteps=timesteps, **options)
        self.stride = prior.num_timesteps // whole("levels", levels, 2, prior.num_timesteps)

    def draw_timesteps(
        self, generators: Sequence[torch.Generator], progress: float = 0.0
    ) -> Int64[Tensor, " B"]:
        return super().draw_timesteps(generators, progress).clamp(min=self.stride)

    def gradient(
        self,
        target: Float[Tensor, "B C h w"],
        source: Float[Tensor, "B C h w"],
        prompts: PromptPair,
        t: Int64[Tensor, " B"],
        generators: Sequence[torch.Generator],
    ) -> Float[Tensor, "B C h w"]:
        delta = super().gradient(target, source, prompts, t, generators)
        alpha, sigma = self.prior.alpha_sigma(t)
        before, sigma_before = self.prior.alpha_sigma(t - 1)
        alpha_p, sigma_p = self.prior.alpha_sigma(t - self.stride)
        ratio = alpha / before  # of one step, as beta is: sqrt(1 - beta_t) of a DDPM
        beta = sigma**2 - ratio**2 * sigma_before**2
        of_mean, of_latent = alpha_p * beta / sigma**2, ratio * sigma_p**2 / sigma**2  # PDS, Eq. 4
        deviation = (beta.sqrt() * sigma_p / sigma).clamp_min(1e-12)
        psi = (alpha_p - of_mean - of_latent * alpha) / deviation
        chi = of_mean * sigma / (alpha * deviation)
        return psi * (target - source) + chi * delta
