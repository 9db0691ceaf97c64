"""How well a picture shows what a text says, by CLIP or any model that embeds both."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from benchmarks.metrics.base import MeanOverImages
from editing.plateau import ImagesAndTexts


def clip_score(images: Float[Tensor, "B d"], texts: Float[Tensor, "B d"]) -> Float[Tensor, " B"]:
    """100 times the cosine of embeddings, at least 0 (Hessel et al. 2021, without their 2.5)."""
    return 100 * F.cosine_similarity(images, texts).clamp(min=0)


def directional_score(
    source: Float[Tensor, "B d"],
    edited: Float[Tensor, "B d"],
    source_text: Float[Tensor, "B d"],
    target_text: Float[Tensor, "B d"],
) -> Float[Tensor, " B"]:
    """Cosine of what changed in the picture and in the text (Gal et al. 2022, Eq. 3), in [-1, 1].

    NaN where either did not change at all: then there is no direction.
    """
    moved, wanted = edited - source, target_text - source_text
    there = (moved.norm(dim=1) > 1e-6) & (wanted.norm(dim=1) > 1e-6)
    return torch.where(there, F.cosine_similarity(moved, wanted), torch.nan)


class ClipScore(MeanOverImages):
    """Mean of :func:`clip_score`.

    Args:
        model: what embeds pictures in [0, 1] and texts.
    """

    def __init__(self, model: ImagesAndTexts) -> None:
        super().__init__()
        self.model = model

    @torch.no_grad()
    def values(self, images: Float[Tensor, "B 3 H W"], texts: Sequence[str]) -> Tensor:
        return clip_score(self.model.embed_images(images), self.model.embed_texts(list(texts)))


class DirectionalScore(ClipScore):
    """Mean of :func:`directional_score`."""

    @torch.no_grad()
    def values(  # type: ignore[override]
        self,
        source: Float[Tensor, "B 3 H W"],
        edited: Float[Tensor, "B 3 H W"],
        source_texts: Sequence[str],
        target_texts: Sequence[str],
    ) -> Tensor:
        embed = self.model
        before, after = (embed.embed_texts(list(texts)) for texts in (source_texts, target_texts))
        return directional_score(
            embed.embed_images(source), embed.embed_images(edited), before, after
        )
