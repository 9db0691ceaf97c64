"""Noise-free score distillation (Katzir et al. 2024, "Noise-free Score Distillation")."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from editing.distillers.base import ScoreDistiller
from samplers.checks import number
from samplers.prior import Condition, Prior, PromptPair

NEGATIVE = (  # the paper's
    "unrealistic, blurry, low quality, out of focus, ugly, low contrast, dull, dark, "
    "low-resolution, gloomy"
)


class NFSD(ScoreDistiller):
    """Gradient D + g (E_0(z'_t, y') - E_0(z'_t, empty)), with no noise in it.

    D points to the manifold of pictures: the unconditional score at small t, and above it what is
    left of it beyond the score of ``negative``, a prompt of what pictures should not be. The source
    serves the noise strategy only. Costs 3 network evaluations per image, in one call.

    Args:
        prior: see :class:`ScoreDistiller`, as ``noise``, ``timesteps`` and ``guidance`` (g) are.
        negative: prompt of bad pictures.
        threshold: fraction of the schedule below which D is the unconditional score.
    """

    def __init__(
        self,
        prior: Prior,
        *,
        negative: str = NEGATIVE,
        threshold: float | int = 0.2,
        **options: Any,
    ) -> None:
        super().__init__(prior, **options)
        if not isinstance(negative, str):
            raise ValueError(f"negative must be a prompt, got {negative!r}")
        self.negative, self.threshold = negative, number("threshold", threshold, 0, 1)

    @cached_property
    def bad(self) -> Condition:
        """``negative``, embedded."""
        return self.prior.embed([self.negative])

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
        batch = len(target)
        noise = self.draw_noise(source, prompts, t, generators)
        alpha, sigma = self.prior.alpha_sigma(t)
        z_t = alpha * target + sigma * noise
        condition = Condition.cat([self.prior.null(batch), self.bad.expand(batch), prompts.target])
        predicted = self.prior.predict_noise(z_t.repeat(3, 1, 1, 1), t.repeat(3), condition)
        null, bad, wanted = predicted.chunk(3)
        small = (t < self.threshold * self.prior.num_timesteps)[:, None, None, None]
        domain = torch.where(small, null, null - bad)  # NFSD, Eq. 11
        return domain + self.guidance * (wanted - null)
