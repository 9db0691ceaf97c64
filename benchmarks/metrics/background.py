"""Background PSNR without a mask from outside (IDS paper, supplement D)."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from benchmarks.metrics.base import MeanOverImages
from benchmarks.metrics.psnr import psnr

THRESHOLDS = ("mean", "median")
WINDOW = 30 / 512  # of the local deviation, in heights of the picture


def local_deviation(residual: Float[Tensor, "B C H W"], window: int) -> Float[Tensor, "B 1 H W"]:
    """Standard deviation of a residual in the square window around every pixel, over its channels.

    Windows end at the border of the picture.
    """
    # The mean of squares and the squared mean of a shift in brightness are almost equal.
    residual = residual - residual.mean((1, 2, 3), keepdim=True)
    before = window // 2
    pads = (before, window - 1 - before) * 2

    def mean(x: Tensor) -> Tensor:
        ones = F.pad(torch.ones_like(x[:1, :1]), pads)
        return F.avg_pool2d(F.pad(x, pads), window, 1) / F.avg_pool2d(ones, window, 1)

    first = mean(residual.mean(1, keepdim=True))
    second = mean(residual.square().mean(1, keepdim=True))
    return (second - first.square()).clamp(min=0).sqrt()


def background(
    source: Float[Tensor, "B C H W"],
    edited: Float[Tensor, "B C H W"],
    threshold: str = "mean",
) -> Bool[Tensor, "B 1 H W"]:
    """Where an edit changed little: the deviation of the residual is at most its mean or median.

    The window is 30 pixels at 512, and in proportion to the shorter side at other sizes.

    Raises:
        ValueError: for another threshold.
    """
    if threshold not in THRESHOLDS:
        raise ValueError(f"threshold must be mean or median, got {threshold!r}")
    deviation = local_deviation(edited - source, max(2, round(WINDOW * min(source.shape[-2:]))))
    flat = deviation.flatten(1)
    limit = flat.mean(1) if threshold == "mean" else flat.median(1).values
    return deviation <= limit[:, None, None, None]


def background_psnr(
    source: Float[Tensor, "B C H W"],
    edited: Float[Tensor, "B C H W"],
    threshold: str = "mean",
) -> Float[Tensor, " B"]:
    """PSNR in dB over the pixels of the :func:`background` alone; pictures in [0, 1]."""
    return psnr(source, edited, background(source, edited, threshold))


def background_psnr_paper(
    source: Float[Tensor, "B C H W"],
    edited: Float[Tensor, "B C H W"],
    threshold: str = "mean",
) -> Float[Tensor, " B"]:
    """PSNR in dB as the paper defines it: over the whole frame, what is no background set to 0.

    More than :func:`background_psnr` by the share of the background, 10 log10 of it: the pixels
    that are set to 0 count as kept.
    """
    kept = background(source, edited, threshold)
    return psnr(source * kept, edited * kept)


class BackgroundPSNR(MeanOverImages):
    """Mean of :func:`background_psnr`, or of :func:`background_psnr_paper`."""

    def __init__(self, threshold: str = "mean", paper: bool = False) -> None:
        super().__init__()
        self.threshold: str = threshold
        self.measure = background_psnr_paper if paper else background_psnr

    def values(self, source: Tensor, edited: Tensor) -> Tensor:
        return self.measure(source, edited, self.threshold)
