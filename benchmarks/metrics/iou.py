"""Overlap of what a word names before and after an edit (IDS paper, supplement D)."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from benchmarks.metrics.base import MeanOverImages


def iou(a: Bool[Tensor, "B 1 H W"], b: Bool[Tensor, "B 1 H W"]) -> Float[Tensor, " B"]:
    """Intersection over union of two masks.

    NaN where either is empty: what was not found has no overlap, neither 0 nor 1.
    """
    both, either = (a & b).sum((1, 2, 3)), (a | b).sum((1, 2, 3))
    found = a.any(-1).any(-1).any(-1) & b.any(-1).any(-1).any(-1)
    return torch.where(found, both / either, torch.nan)


class IoU(MeanOverImages):
    """Mean of :func:`iou` over the pictures in which both were found.

    Attributes:
        missing: pictures in which either was not.
    """

    missing: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("missing", torch.tensor(0), dist_reduce_fx="sum")

    def values(self, a: Bool[Tensor, "B 1 H W"], b: Bool[Tensor, "B 1 H W"]) -> Tensor:
        found = iou(a, b)
        self.missing += found.isnan().sum()
        return found
