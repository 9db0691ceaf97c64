"""SDEdit (Meng et al. 2022): noise on the source, and sampling with the target's prompt."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from samplers.checks import number
from samplers.ddim import sample_ancestral
from samplers.prior import Condition, Prior, PromptPair
from samplers.random import randn
from samplers.trajectory import (
    Inversion,
    Store,
    TrajectoryMethod,
    Watcher,
    everywhere,
    guided_noise,
    partial_times,
    unwatched,
)


class SDEdit(TrajectoryMethod):
    """Sampling that begins with the noisy source in the middle of the schedule.

    Args:
        prior: see :class:`TrajectoryMethod`, as ``steps`` and ``guidance`` are.
        strength: fraction of the schedule that is run; the paper's t_0.
        eta: 1 for the paper's stochastic sampling, 0 for a deterministic one.
    """

    inverts_with: tuple[str, ...] = ("steps", "strength")
    reads_source = False

    def __init__(
        self, prior: Prior, *, strength: float | int = 0.6, eta: float | int = 1.0, **options: Any
    ) -> None:
        super().__init__(prior, **options)
        self.strength, self.eta = number("strength", strength, 0, 1), number("eta", eta, 0, 1)
        self.run = partial_times(self.times, self.strength)

    @torch.no_grad()
    def invert(
        self,
        z: Float[Tensor, "B C h w"],
        source: Condition,
        generators: Sequence[torch.Generator],
        watch: Watcher = unwatched,
        store: Store | None = None,
    ) -> Inversion:
        alpha, sigma = self.prior.alpha_sigma(everywhere(self.run[-1], z))
        return Inversion(
            {"noise": alpha * z + sigma * randn(z.shape, generators, z.device, z.dtype)}
        )

    @torch.no_grad()
    def sample(
        self,
        inversion: Inversion,
        prompts: PromptPair,
        generators: Sequence[torch.Generator],
        watch: Watcher = unwatched,
    ) -> Float[Tensor, "B C h w"]:
        target, start = prompts.expand(len(inversion)).target, inversion["noise"]

        def predict(z_t: Tensor, t: int) -> Tensor:
            return guided_noise(self.prior, z_t, t, target, self.guidance)

        def draw(step: int) -> Tensor:
            if step == len(self.run) - 2:  # noise of the last step would stay in the picture
                return torch.zeros_like(start)
            return randn(start.shape, generators, start.device, start.dtype)

        return sample_ancestral(self.prior, start, self.run, predict, draw, self.eta, watch)
