"""Finding what a word names in a picture, by whichever model there is."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from editing.mask import segment_by


@runtime_checkable
class Segmenter(Protocol):
    """Finds what words name."""

    def __call__(
        self, images: Float[Tensor, "B 3 H W"], words: Sequence[str]
    ) -> Bool[Tensor, "B 1 H W"]:
        """Masks of one thing in each picture (values in [0, 1]); empty where it is not seen."""
        ...


class ClipSeg:
    """CLIPSeg, the Menagerie's own or another.

    Args:
        model: folder of a model that brings its own as `segmenter/`, or the name of a CLIPSeg.
    """

    def __init__(self, model: Path | str) -> None:
        self.model = model

    def __call__(
        self, images: Float[Tensor, "B 3 H W"], words: Sequence[str]
    ) -> Bool[Tensor, "B 1 H W"]:
        masks = torch.zeros(len(images), 1, *images.shape[-2:], dtype=torch.bool)
        for word in dict.fromkeys(words):
            rows = torch.tensor([each == word for each in words])
            masks[rows] = segment_by(self.model, images[rows], word) > 0.5
        return masks
