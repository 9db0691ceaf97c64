"""Negative-prompt inversion (Miyake et al. 2023): the source's prompt in place of the empty one."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from samplers.ddib import DDIB
from samplers.ddim import sample_ddim
from samplers.prior import PromptPair
from samplers.trajectory import Inversion, Watcher, guided_noise, unwatched


class NegativePromptInversion(DDIB):
    """DDIM inversion at guidance 1, then guidance that leads away from the source's prompt.

    For the source's own prompt guidance then has no effect, so that the reconstruction is that of
    guidance 1: null-text inversion without its optimisation.
    """

    @torch.no_grad()
    def sample(
        self,
        inversion: Inversion,
        prompts: PromptPair,
        generators: Sequence[torch.Generator],
        watch: Watcher = unwatched,
    ) -> Float[Tensor, "B C h w"]:
        prompts = prompts.expand(len(inversion))

        def predict(z_t: Tensor, t: int) -> Tensor:
            return guided_noise(
                self.prior, z_t, t, prompts.target, self.guidance, null=prompts.source
            )

        return sample_ddim(self.prior, inversion["noise"], self.times, predict, watch)
