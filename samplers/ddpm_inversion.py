"""Edit-friendly DDPM inversion (Huberman-Spiegelglas et al. 2024)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from samplers.cyclediffusion import CycleDiffusion
from samplers.prior import Prior
from samplers.random import randn
from samplers.trajectory import everywhere


class DDPMInversion(CycleDiffusion):
    """CycleDiffusion with a path whose noisy latents are independent of each other.

    The noises between them are then larger than a sampler's and point against each other, and hold
    the source's structure better. The strength leaves out 36 of 100 steps, as the paper does.

    Args:
        prior: see :class:`CycleDiffusion`, as all other arguments are.
        steps: of the whole schedule.
        guidance: of the target.
        source_guidance: of the source.
        strength: fraction of the schedule that is run.
        eta: how stochastic the sampling is; 1 is DDPM.
    """

    def __init__(
        self,
        prior: Prior,
        *,
        steps: int = 100,
        guidance: float | int = 15.0,
        source_guidance: float | int = 3.5,
        strength: float | int = 0.64,
        eta: float | int = 1.0,
    ) -> None:
        super().__init__(
            prior,
            steps=steps,
            guidance=guidance,
            source_guidance=source_guidance,
            strength=strength,
            eta=eta,
        )

    def path(
        self, z: Float[Tensor, "B C h w"], generators: Sequence[torch.Generator]
    ) -> list[Float[Tensor, "B C h w"]]:
        found = []
        for t in self.run[:0:-1]:
            alpha, sigma = self.prior.alpha_sigma(everywhere(t, z))
            noise = randn(z.shape, generators, z.device, z.dtype)
            found.append(alpha * z + sigma * noise)  # Eq. 6
        return [*found, z]
