"""Stable score distillation (Zhu et al. 2025, "Stable Score Distillation")."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from editing.distillers.base import ScoreDistiller
from samplers.checks import number
from samplers.prior import Condition, Prior, PromptPair
from samplers.timesteps import TimestepSampler, UniformTimesteps


class SSD(ScoreDistiller):
    """Three differences of unguided scores, and a pull of the noisy target to the noisy source.

    Across trajectories (the target under the source's prompt against the source under none), across
    prompts, and towards the target's prompt. Factors as in the authors' published code. Costs 4
    network evaluations per image, in one call.

    Args:
        prior: see :class:`ScoreDistiller`, as ``noise`` is.
        timesteps: how t is drawn; uniform between 0.02 T and 0.98 T by default.
        guidance: c, of the difference across prompts.
        trajectory: c_x, of the difference across trajectories.
        enhancement: c_e, of the pull towards the target's prompt.
        pull: of the noisy target to the noisy source, at t = 0; it grows by exp(t / T).
    """

    def __init__(
        self,
        prior: Prior,
        *,
        timesteps: TimestepSampler | None = None,
        trajectory: float | int = 2.0,
        enhancement: float | int = 5.5,
        pull: float | int = 0.075,
        **options: Any,
    ) -> None:
        timesteps = UniformTimesteps(0.02, 0.98) if timesteps is None else timesteps
        super().__init__(prior, timesteps=timesteps, **options)
        self.trajectory = number("trajectory", trajectory, least=-math.inf)
        self.enhancement = number("enhancement", enhancement, least=-math.inf)
        self.pull = number("pull", pull, least=-math.inf)

    @property
    def source_guidance(self) -> float:
        """1: the scores are unguided."""
        return 1.0

    def gradient(
        self,
        target: Float[Tensor, "B C h w"],
        source: Float[Tensor, "B C h w"],
        prompts: PromptPair,
        t: Int64[Tensor, " B"],
        generators: Sequence[torch.Generator],
    ) -> Float[Tensor, "B C h w"]:
        prior, null = self.prior, self.prior.null(len(target))
        noise = self.draw_noise(source, prompts, t, generators)
        alpha, sigma = prior.alpha_sigma(t)
        z_t, z_t_source = alpha * target + sigma * noise, alpha * source + sigma * noise
        predicted = prior.predict_noise(
            torch.cat([z_t_source, z_t, z_t, z_t]),
            t.repeat(4),
            Condition.cat([null, prompts.source, null, prompts.target]),
        )
        source_null, before, free, wanted = predicted.chunk(4)
        time = (t.to(z_t) / prior.num_timesteps)[:, None, None, None]
        return (
            0.5 * self.trajectory * (before - source_null)
            + 0.5 * self.guidance * (wanted - before)
            + self.enhancement * (wanted - free)
            + self.pull * time.exp() * (z_t - z_t_source)
        )
