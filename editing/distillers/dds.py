"""Delta denoising score (Hertz et al. 2023, "Delta Denoising Score")."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from editing.distillers.base import ScoreDistiller
from samplers.prior import Condition, PromptPair


class DDS(ScoreDistiller):
    """Gradient E(z'_t, y') - E(z_t, y), with the same noise and t for target and source.

    What the prior always does to an image, whatever the prompt, cancels. Arguments: see
    :class:`ScoreDistiller`. Costs 4 network evaluations per image, in one call.
    """

    def gradient(
        self,
        target: Float[Tensor, "B C h w"],
        source: Float[Tensor, "B C h w"],
        prompts: PromptPair,
        t: Int64[Tensor, " B"],
        generators: Sequence[torch.Generator],
    ) -> Float[Tensor, "B C h w"]:
        noise = self.noise(
            self.prior, source, t, prompts.source, guidance=self.guidance, generators=generators
        )
        alpha, sigma = self.prior.alpha_sigma(t)
        z_t = torch.cat([alpha * target + sigma * noise, alpha * source + sigma * noise])
        condition = Condition.cat([prompts.target, prompts.source])
        predicted = self.prior.predict_noise(z_t, t.repeat(2), condition, self.guidance)
        of_target, of_source = predicted.chunk(2)
        return of_target - of_source  # IDS paper, Eq. 4
