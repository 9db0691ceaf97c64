"""Differences of pictures: squared error, PSNR and SSIM, whole or over a region."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from benchmarks.metrics.base import MeanOverImages

Pictures = Float[Tensor, "B C H W"]
Region = Bool[Tensor, "B 1 H W"]
CAP = 1e-10  # least squared error: PSNR ends at 100 dB


def mse(x: Pictures, y: Pictures, mask: Region | None = None) -> Float[Tensor, " B"]:
    """Mean squared error of pictures in [0, 1], over the pixels of the mask alone if there is one.

    NaN where the mask is empty.
    """
    squared = (x - y).square().mean(1, keepdim=True)
    if mask is None:
        return squared.flatten(1).mean(1)
    return (squared * mask).sum((1, 2, 3)) / mask.sum((1, 2, 3))


def psnr(x: Pictures, y: Pictures, mask: Region | None = None) -> Float[Tensor, " B"]:
    """Peak signal-to-noise ratio in dB, at most 100; arguments as for :func:`mse`."""
    return -10 * mse(x, y, mask).clamp(min=CAP).log10()


def ssim(x: Pictures, y: Pictures, mask: Region | None = None) -> Float[Tensor, " B"]:
    """Structural similarity (Wang et al. 2004), Gaussian window of 11; arguments as for `mse`.

    With a mask, the mean of the local similarity over its pixels: the pictures are not masked.
    """
    _, local = structural_similarity_index_measure(
        x, y, data_range=1.0, reduction="none", return_full_image=True
    )
    if mask is None:
        return local.flatten(1).mean(1)
    local = local.mean(1, keepdim=True)
    return torch.where(mask, local, 0.0).sum((1, 2, 3)) / mask.sum((1, 2, 3))


class MSE(MeanOverImages):
    """Mean of :func:`mse`."""

    def values(self, x: Pictures, y: Pictures, mask: Region | None = None) -> Tensor:
        return mse(x, y, mask)


class PSNR(MeanOverImages):
    """Mean of :func:`psnr`."""

    def values(self, x: Pictures, y: Pictures, mask: Region | None = None) -> Tensor:
        return psnr(x, y, mask)


class SSIM(MeanOverImages):
    """Mean of :func:`ssim`."""

    def values(self, x: Pictures, y: Pictures, mask: Region | None = None) -> Tensor:
        return ssim(x, y, mask)
