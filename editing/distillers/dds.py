"""Delta denoising score (Hertz et al. 2023, "Delta Denoising Score")."""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from editing.distillers.base import ScoreDistiller
from samplers.noise import FixedPointNoise
from samplers.prior import Condition, Prior, PromptPair

SourceScore = Literal["network", "fixed_point"]


class DDS(ScoreDistiller):
    """Gradient E(z'_t, y') - E(z_t, y), with the same noise and t for target and source.

    What the prior always does to an image, whatever the prompt, cancels. Costs 4 network
    evaluations per image, in one call.

    Args:
        prior: see :class:`ScoreDistiller`, as ``noise``, ``timesteps`` and ``guidance`` are.
        source_score: E(z_t, y) from the ``network``; or the noise itself, which it equals at the
            ``fixed_point`` that fixed-point noise looks for. That saves 2 evaluations.

    Raises:
        ValueError: for another score, or ``fixed_point`` with another noise.
    """

    def __init__(
        self, prior: Prior, *, source_score: SourceScore = "network", **options: Any
    ) -> None:
        super().__init__(prior, **options)
        if source_score not in get_args(SourceScore):
            raise ValueError(f"source_score must be network or fixed_point, got {source_score!r}")
        corrected = isinstance(self.noise, FixedPointNoise) and self.noise.iterations > 0
        if source_score == "fixed_point" and not corrected:
            raise ValueError(
                "source_score=fixed_point takes the noise for the source's score, which only "
                "noise=fpr with noise.iterations of 1 or more makes it"
            )
        self.source_score = source_score

    def gradient(
        self,
        target: Float[Tensor, "B C h w"],
        source: Float[Tensor, "B C h w"],
        prompts: PromptPair,
        t: Int64[Tensor, " B"],
        generators: Sequence[torch.Generator],
    ) -> Float[Tensor, "B C h w"]:
        noise = self.draw_noise(source, prompts, t, generators)
        alpha, sigma = self.prior.alpha_sigma(t)
        z_t_target = alpha * target + sigma * noise
        if self.source_score == "fixed_point":
            return self.prior.predict_noise(z_t_target, t, prompts.target, self.guidance) - noise
        z_t = torch.cat([z_t_target, alpha * source + sigma * noise])
        condition = Condition.cat([prompts.target, prompts.source])
        predicted = self.prior.predict_noise(z_t, t.repeat(2), condition, self.guidance)
        of_target, of_source = predicted.chunk(2)
        return of_target - of_source  # IDS paper, Eq. 4
