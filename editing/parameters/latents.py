"""Editing pictures by moving their latents, as SDS, DDS, CDS and IDS do."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from editing.parameters.base import Canvas
from samplers.prior import Prior


class LatentCanvas(Canvas):
    """Latents (B, C, h, w) that start at those of the sources; a :class:`Canvas`."""

    def __init__(self, prior: Prior, source: Float[Tensor, "B C h w"]) -> None:
        self.prior, self.source = prior, source
        self.tensors = [source.clone().requires_grad_()]
        self.rates, self.per_image = (1.0,), True

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

    @torch.no_grad()
    def start(self, prior: Prior, sources: Float[Tensor, "B 3 H W"]) -> LatentCanvas:
        return LatentCanvas(prior, prior.encode(sources.to(prior.device)))
