"""Stopping an edit that no longer gets nearer to what was asked for."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from editing.editor import Step


@runtime_checkable
class ImagesAndTexts(Protocol):
    """A model that embeds both in one space, as CLIP."""

    def embed_images(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B d"]:
        """Unit embeddings of pictures in [0, 1]."""
        ...

    def embed_texts(self, texts: list[str]) -> Float[Tensor, "n d"]:
        """Unit embeddings."""
        ...


class Plateau:
    """Stops each image when its CLIP direction has not grown for a while; a callback.

    The direction is the cosine between what changed in the picture and what changed in the prompt
    (Gal et al. 2022, StyleGAN-NADA, Eq. 3). An image that is stopped stays as it is; the run goes
    on until all of its batch have stopped.

    Args:
        clip: what embeds pictures and prompts.
        images: the sources, (B, 3, H, W) in [0, 1].
        sources: what they show, B prompts.
        targets: what they shall show, B prompts.
        every: steps between two looks.
        patience: looks without a gain before an image stops.
        gain: by how much the direction must grow to count as a gain.
    """

    def __init__(
        self,
        clip: ImagesAndTexts,
        images: Float[Tensor, "B 3 H W"],
        sources: Sequence[str],
        targets: Sequence[str],
        every: int = 10,
        patience: int = 3,
        gain: float | int = 0.01,
    ) -> None:
        self.clip, self.every, self.patience, self.gain = clip, every, patience, gain
        with torch.no_grad():
            self.start = clip.embed_images(images)
            self.wanted = clip.embed_texts(list(targets)) - clip.embed_texts(list(sources))
        self.best = torch.full((len(images),), -torch.inf)
        self.waited = torch.zeros(len(images), dtype=torch.long)

    @torch.no_grad()
    def on_step(self, state: Step) -> None:
        """Marks in ``state.stopped`` the images that are to stop."""
        if state.step % self.every:
            return
        moved = self.clip.embed_images(state.decode()) - self.start
        direction = F.cosine_similarity(moved, self.wanted).cpu()
        grows = direction > self.best + self.gain
        self.best = torch.where(grows, direction, self.best)
        self.waited = torch.where(grows, 0, self.waited + 1)
        state.stopped.logical_or_(self.waited >= self.patience)
