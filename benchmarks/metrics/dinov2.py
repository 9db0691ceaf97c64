"""Whether a picture changed as another one did, by DINOv2 (Oquab et al. 2024)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from benchmarks.metrics.base import MeanOverImages
from benchmarks.metrics.clip import directional_score
from benchmarks.metrics.imagenet import load_vision, prepared


def load_dinov2(name: str = "facebook/dinov2-base") -> nn.Module:
    """DINOv2 by name or folder.

    Raises:
        UserError: it cannot be loaded.
    """
    from transformers import Dinov2Model

    return load_vision(Dinov2Model, name, "The direction of change")


class Dinov2Direction(MeanOverImages):
    """Mean cosine of what changed in an edit and what changes in a reference edit, in [-1, 1].

    Args:
        model: DINOv2 of transformers, or the name of one; its class token describes a picture.
    """

    def __init__(self, model: nn.Module | str = "facebook/dinov2-base") -> None:
        super().__init__()
        self.model = load_dinov2(model) if isinstance(model, str) else model

    @torch.no_grad()
    def values(
        self,
        source: Float[Tensor, "B 3 H W"],
        edited: Float[Tensor, "B 3 H W"],
        reference: Float[Tensor, "B 3 H W"],
    ) -> Tensor:
        """NaN where either did not change at all."""
        before, after, wanted = (self.embed(x) for x in (source, edited, reference))
        return directional_score(before, after, before, wanted)

    def embed(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B d"]:
        """The class tokens of pictures in [0, 1]."""
        return self.model(pixel_values=prepared(images)).last_hidden_state[:, 0]
