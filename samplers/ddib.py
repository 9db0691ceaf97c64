"""Dual diffusion implicit bridges (Su et al. 2023): DDIM inversion and sampling, a prompt each."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from samplers.checks import number, whole
from samplers.ddim import invert_ddim, sample_ddim
from samplers.prior import Condition, Prior, PromptPair
from samplers.trajectory import (
    Inversion,
    Store,
    TrajectoryMethod,
    Watcher,
    guided_noise,
    unwatched,
)


class DDIB(TrajectoryMethod):
    """The noise from which DDIM would draw the source, drawn from with the target's prompt.

    Args:
        prior: see :class:`TrajectoryMethod`, as ``steps`` and ``guidance`` are.
        source_guidance: of the inversion. 1 stays closest to the data; the guidance of the sampling
            makes the bridge reversible where it is weak.
        iterations: of every step of the inversion; see :func:`invert_ddim`.
    """

    inverts_with: tuple[str, ...] = ("steps", "source_guidance", "iterations")

    def __init__(
        self,
        prior: Prior,
        *,
        source_guidance: float | int = 1.0,
        iterations: int = 1,
        **options: Any,
    ) -> None:
        super().__init__(prior, **options)
        self.source_guidance = number("source_guidance", source_guidance, least=-math.inf)
        self.iterations = whole("iterations", iterations, least=1)

    @torch.no_grad()
    def invert(
        self,
        z: Float[Tensor, "B C h w"],
        source: Condition,
        generators: Sequence[torch.Generator],
        watch: Watcher = unwatched,
        store: Store | None = None,
    ) -> Inversion:
        source = source.expand(len(z))

        def predict(z_t: Tensor, t: int) -> Tensor:
            return guided_noise(self.prior, z_t, t, source, self.source_guidance)

        found = invert_ddim(self.prior, z, self.times, predict, self.iterations, watch)
        return Inversion({"noise": found[:, -1]})

    @torch.no_grad()
    def sample(
        self,
        inversion: Inversion,
        prompts: PromptPair,
        generators: Sequence[torch.Generator],
        watch: Watcher = unwatched,
    ) -> Float[Tensor, "B C h w"]:
        target = prompts.expand(len(inversion)).target

        def predict(z_t: Tensor, t: int) -> Tensor:
            return guided_noise(self.prior, z_t, t, target, self.guidance)

        return sample_ddim(self.prior, inversion["noise"], self.times, predict, watch)
