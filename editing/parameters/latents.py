"""Editing pictures by moving their latents, as SDS, DDS, CDS and IDS do."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from samplers.prior import Prior


class LatentCanvas:
    """Latents (B, C, h, w) that start at those of the sources; a :class:`Canvas`."""

    @torch.no_grad()
    def __init__(self, prior: Prior, images: Float[Tensor, "B 3 H W"]) -> None:
        self.prior = prior
        self.source = prior.encode(images.to(prior.device))
        self.tensors = [self.source.clone().requires_grad_()]

    def latents(
        self, generators: Sequence[torch.Generator]
    ) -> tuple[Float[Tensor, "B C h w"], Float[Tensor, "B C h w"]]:
        return self.tensors[0], self.source

    @torch.no_grad()
    def images(self) -> Float[Tensor, "B 3 H W"]:
        return self.prior.decode(self.tensors[0]).float().cpu()


@dataclass(frozen=True)
class Latents:
    """Sources are pictures (B, 3, H, W) in [0, 1]; what is moved are their latents."""

    def start(self, prior: Prior, sources: Float[Tensor, "B 3 H W"]) -> LatentCanvas:
        return LatentCanvas(prior, sources)
