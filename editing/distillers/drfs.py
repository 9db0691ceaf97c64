"""Delta rectified flow sampling (Beaudouin et al. 2026, "Delta Rectified Flow Sampling")."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from editing.distillers.base import ScoreDistiller
from samplers.checks import flag, number
from samplers.noise import posterior_mean
from samplers.prior import Condition, Prior, PromptPair
from samplers.timesteps import DescendingTimesteps, TimestepSampler


class DRFS(ScoreDistiller):
    """Difference of velocities, the target's noisy latent shifted away from the source.

    z'_t = a z' + s e + eta_t s (z' - z), and the gradient is V(z'_t, y') - V(z_t, y) + (1 - eta_t)
    (z' - z), where V = E - z_{0|t} is the velocity of a rectified flow, whatever the prior
    predicts. eta_t = 0 is DDS weighted with (a + s) / a, and eta_t = 1 is FlowEdit. t falls with
    the ``progress`` of a call, which a loop of one's own must hand over: without it, t stays at its
    highest. Costs 4 network evaluations per image, in one call.

    Args:
        prior: see :class:`ScoreDistiller`, as ``noise`` is.
        timesteps: how t is drawn; descending by default, one after the other.
        guidance: of the target's velocity.
        source_guidance: of the source's; the target's if left out.
        shift: eta, from 0 to 1.
        growing: whether eta_t grows as t falls, as eta (1 - t / T); else it is eta.
    """

    def __init__(
        self,
        prior: Prior,
        *,
        timesteps: TimestepSampler | None = None,
        guidance: float | int = 16.5,
        source_guidance: float | int | None = 6.0,
        shift: float | int = 1.0,
        growing: bool = True,
        **options: Any,
    ) -> None:
        timesteps = DescendingTimesteps() if timesteps is None else timesteps
        super().__init__(prior, timesteps=timesteps, guidance=guidance, **options)
        if source_guidance is not None:
            number("source_guidance", source_guidance, least=-math.inf)
        self.of_source = source_guidance
        self.shift, self.growing = number("shift", shift, 0, 1), flag("growing", growing)

    @property
    def source_guidance(self) -> float:
        return self.guidance if self.of_source is None else float(self.of_source)

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
        time = t.to(target) / prior.num_timesteps
        shift = self.shift * (1 - time if self.growing else torch.ones_like(time))
        shift = shift[:, None, None, None]  # c_t of DVRF, over t
        z_t = alpha * source + sigma * noise
        z_t_target = alpha * target + sigma * noise + shift * sigma * (target - source)
        predicted = prior.predict_noise(
            torch.cat([z_t_target, z_t_target, z_t, z_t]),
            t.repeat(4),
            Condition.cat([null, prompts.target, null, prompts.source]),
        )
        null_target, wanted, null_source, before = predicted.chunk(4)
        of_target = null_target + self.guidance * (wanted - null_target)
        of_source = null_source + self.source_guidance * (before - null_source)

        def velocity(z: Tensor, noise: Tensor) -> Tensor:
            return noise - posterior_mean(prior, z, t, noise)

        delta = velocity(z_t_target, of_target) - velocity(z_t, of_source)
        return delta + (1 - shift) * (target - source)
