"""Editing pictures by moving their pixels, which are encoded at every step."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from editing.parameters.base import Canvas
from editing.parameters.pull import Pull, encode, pull_of
from samplers.prior import Prior


class PixelCanvas(Canvas):
    """Pixels (B, 3, H, W) that start at those of the sources; a :class:`Canvas`."""

    def __init__(
        self, prior: Prior, images: Float[Tensor, "B 3 H W"], pull: Pull = "decoder"
    ) -> None:
        self.prior, self.pull = prior, pull
        images = images.to(prior.device, torch.float32)
        with torch.no_grad():
            self.source = prior.encode(images)
        self.tensors = [images.clone().requires_grad_()]
        self.rates, self.per_image = (1.0,), True

    def latents(
        self, generators: Sequence[torch.Generator]
    ) -> tuple[Float[Tensor, "B C h w"], Float[Tensor, "B C h w"]]:
        return encode(self.prior, self.tensors[0], self.pull), self.source

    def images(self) -> Float[Tensor, "B 3 H W"]:
        return self.tensors[0].detach().clamp(0, 1).cpu()


@dataclass(frozen=True)
class Pixels:
    """Sources are pictures (B, 3, H, W) in [0, 1]; what is moved are the pixels themselves.

    Attributes:
        pull: which way the gradient comes back to them, `decoder` or `encoder`; see
            :func:`editing.parameters.pull.encode`.

    Raises:
        ValueError: for another way.
    """

    pull: Pull = "decoder"

    def __post_init__(self) -> None:
        pull_of(self.pull)

    def start(self, prior: Prior, sources: Float[Tensor, "B 3 H W"]) -> PixelCanvas:
        return PixelCanvas(prior, sources, self.pull)
