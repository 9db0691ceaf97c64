"""Finding what a word names in a picture, by whichever model there is."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from editing.caption import Described
from editing.mask import segment


@runtime_checkable
class Segmenter(Protocol):
    """Finds what words name."""

    def __call__(
        self, images: Float[Tensor, "B 3 H W"], words: Sequence[str]
    ) -> Bool[Tensor, "B 1 H W"]:
        """Masks of one thing in each picture (values in [0, 1]); empty where it is not seen."""
        ...


class ClipSeg:
    """CLIPSeg: the prior's own, if its folder has `segmenter/`.

    Args:
        prior: the Menagerie's, for its segmenter.
    """

    def __init__(self, prior: Described) -> None:
        self.prior = prior

    def __call__(
        self, images: Float[Tensor, "B 3 H W"], words: Sequence[str]
    ) -> Bool[Tensor, "B 1 H W"]:
        masks = torch.zeros(len(images), 1, *images.shape[-2:], dtype=torch.bool)
        for word in dict.fromkeys(words):
            rows = torch.tensor([each == word for each in words])
            masks[rows] = segment(images[rows], word, self.prior) > 0.5
        return masks
