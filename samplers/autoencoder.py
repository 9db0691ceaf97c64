"""What the model's autoencoder alone makes of a picture: a bound for every method that uses it."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from samplers.prior import Condition, Prior, PromptPair
from samplers.trajectory import Inversion, Store, TrajectoryMethod, Visit, Watcher, unwatched


class Autoencoder(TrajectoryMethod):
    """Leaves latents as they are, so that a picture is encoded and decoded, and asks no network.

    No method that keeps to the source can come nearer to it.

    Args:
        prior: see :class:`TrajectoryMethod`.
        steps: without effect, as ``guidance`` is.
    """

    inverts_with: tuple[str, ...] = ()

    def __init__(self, prior: Prior, *, steps: int = 1, guidance: float | int = 1.0) -> None:
        super().__init__(prior, steps=steps, guidance=guidance)

    def invert(
        self,
        z: Float[Tensor, "B C h w"],
        source: Condition,
        generators: Sequence[torch.Generator],
        watch: Watcher = unwatched,
        store: Store | None = None,
    ) -> Inversion:
        return Inversion({"latents": z})

    def sample(
        self,
        inversion: Inversion,
        prompts: PromptPair,
        generators: Sequence[torch.Generator],
        watch: Watcher = unwatched,
    ) -> Float[Tensor, "B C h w"]:
        z = inversion["latents"]
        return watch(Visit(1, 1, 0, z, z))  # a mask has nothing to keep
