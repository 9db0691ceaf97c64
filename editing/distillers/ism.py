"""Interval score matching (Liang et al. 2024, "LucidDreamer")."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from editing.distillers.base import ScoreDistiller
from samplers.checks import number, whole
from samplers.ddim import ddim_step
from samplers.prior import Prior, PromptPair


class ISM(ScoreDistiller):
    """Gradient E(z'_t, y') - E_0(z'_s, empty) at two times s < t of one inverted trajectory.

    z'_s is reached by DDIM inversion without a prompt, in ``strides`` strides; what lies before
    them is bridged by adding noise. The source serves the noise strategy only. Costs at most
    ``strides`` + 3 network evaluations per image, fewer where t is small.

    Args:
        prior: see :class:`ScoreDistiller`, as ``noise``, ``timesteps`` and ``guidance`` are.
        stride: delta_s, the length of a stride, as a fraction of the schedule.
        interval: delta_t = t - s, likewise.
        strides: the most strides that are taken, 0 or more.
    """

    def __init__(
        self,
        prior: Prior,
        *,
        stride: float | int = 0.1,
        interval: float | int = 0.08,
        strides: int = 5,
        **options: Any,
    ) -> None:
        super().__init__(prior, **options)
        self.stride = max(1, round(number("stride", stride, 1e-6, 1) * prior.num_timesteps))
        self.interval = max(1, round(number("interval", interval, 1e-6, 1) * prior.num_timesteps))
        self.strides = whole("strides", strides, least=0)

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
        s = (t - self.interval).clamp(min=0)
        u = (s - self.strides * self.stride).clamp(min=0)
        alpha, sigma = prior.alpha_sigma(u)
        z = alpha * target + sigma * noise
        for _ in range(int((s - u).max() + self.stride - 1) // self.stride):  # LucidDreamer, Eq. 13
            later = torch.minimum(u + self.stride, s)
            z, u = ddim_step(prior, z, u, later, prior.predict_noise(z, u, null)), later
        before = prior.predict_noise(z, s, null)
        z_t = ddim_step(prior, z, s, t, before)
        return prior.predict_noise(z_t, t, prompts.target, self.guidance) - before  # Eq. 17
