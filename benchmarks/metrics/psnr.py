"""PSNR over a region."""

from jaxtyping import Bool, Float
from torch import Tensor


def masked_psnr(
    x: Float[Tensor, "B C H W"], y: Float[Tensor, "B C H W"], mask: Bool[Tensor, "B 1 H W"]
) -> Float[Tensor, " B"]:
    """PSNR in dB of pictures in [0, 1] over the pixels of the mask alone; at most 100.

    NaN where the mask is empty.
    """
    squared = ((x - y).square().mean(1, keepdim=True) * mask).sum((1, 2, 3)) / mask.sum((1, 2, 3))
    return -10 * squared.clamp(min=1e-10).log10()
