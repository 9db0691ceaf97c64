"""Score distillation sampling (Poole et al. 2022, "DreamFusion: Text-to-3D using 2D Diffusion")."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from editing.distillers.base import ScoreDistiller
from samplers.prior import Prior, PromptPair


class SDS(ScoreDistiller):
    """Gradient w(t) (E(z'_t, y') - e): towards what the target prompt is likely to look like.

    The source serves the noise strategy only: random noise ignores it, ``FixedPointNoise`` gives
    SDS with FPR (IDS paper, Supplementary E).

    Args:
        prior: see :class:`ScoreDistiller`, as ``noise``, ``timesteps`` and ``guidance`` are.
        weight: w(t), 1 as in the reference implementation of DDS or sigma_t^2 as in DreamFusion.
    """

    def __init__(
        self, prior: Prior, *, weight: Literal["one", "sigma_squared"] = "one", **options: Any
    ) -> None:
        super().__init__(prior, **options)
        if weight not in ("one", "sigma_squared"):
            raise ValueError(f"weight must be one or sigma_squared, got {weight!r}")
        self.weight = weight

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
        z_t = alpha * target + sigma * noise
        predicted = self.prior.predict_noise(z_t, t, prompts.target, self.guidance)
        weight = sigma**2 if self.weight == "sigma_squared" else 1.0
        return weight * (predicted - noise)  # IDS paper, Eq. 3
