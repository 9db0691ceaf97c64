"""The metrics of PIE-Bench (Ju et al. 2024, Direct Inversion) as its released code computes them.

They differ from the metrics of the same names here, and tables of different code agree only if the
differences are kept:

- a region is cut out by setting everything else to 0, and the metric then sees the whole frame, so
  the black part counts as perfectly kept;
- LPIPS has the SqueezeNet backbone;
- the structure distance normalises pictures whose values go to 255, as if they went to 1;
- of a mask, the outermost pixels count as edited;
- where a mask is full or empty, a metric of what is left has no value, and means leave it out;
- equal pictures have 100 dB here and infinity there, and pictures are resized for the structure
  distance with antialiasing here, there as the version of torchvision does it;
- brackets in prompts, which mark the edited words, are taken off.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torchmetrics.functional.image import structural_similarity_index_measure

from benchmarks.metrics.base import MeanOverImages
from benchmarks.metrics.clip import ClipScore, clip_score
from benchmarks.metrics.lpips import LPIPS
from benchmarks.metrics.psnr import mse, psnr
from benchmarks.metrics.structure import StructureDistance
from editing.plateau import ImagesAndTexts


def pie_mask(runs: Sequence[int], size: int = 512) -> Bool[Tensor, "size size"]:
    """The edited region from its run-length code: start, length, start, length, ... row by row.

    The outermost pixels are added.

    What lies beyond the picture is left out.

    Raises:
        ValueError: the code has an odd number of entries, or a negative one.
    """
    if len(runs) % 2:
        raise ValueError(f"A run-length code has pairs of numbers, got {len(runs)} of them.")
    flat = torch.zeros(size * size, dtype=torch.bool)
    for start, length in zip(runs[::2], runs[1::2], strict=True):
        if start < 0 or length < 0:
            raise ValueError(f"The run {start}, {length} has a negative number.")
        flat[start : start + length] = True
    mask = flat.view(size, size)
    mask[[0, -1]] = True
    mask[:, [0, -1]] = True
    return mask


def pie_prompt(text: str) -> str:
    """A prompt without the brackets around the words that are edited."""
    return text.replace("[", "").replace("]", "")


def _cut(x: Tensor, y: Tensor, kept: Tensor | None) -> tuple[Tensor, Tensor]:
    return (x, y) if kept is None else (x * kept, y * kept)


def _or_nothing(values: Tensor, kept: Tensor | None) -> Tensor:
    """NaN where nothing is kept."""
    if kept is None:
        return values
    return torch.where(kept.flatten(1).any(1), values, torch.nan)


def pie_psnr(
    x: Float[Tensor, "B 3 H W"],
    y: Float[Tensor, "B 3 H W"],
    kept: Bool[Tensor, "B 1 H W"] | None = None,
) -> Float[Tensor, " B"]:
    """PSNR in dB over the whole frame, what is not kept set to 0."""
    return _or_nothing(psnr(*_cut(x, y, kept)), kept)


def pie_mse(
    x: Float[Tensor, "B 3 H W"],
    y: Float[Tensor, "B 3 H W"],
    kept: Bool[Tensor, "B 1 H W"] | None = None,
) -> Float[Tensor, " B"]:
    """Mean squared error over the whole frame, what is not kept set to 0."""
    return _or_nothing(mse(*_cut(x, y, kept)), kept)


def pie_ssim(
    x: Float[Tensor, "B 3 H W"],
    y: Float[Tensor, "B 3 H W"],
    kept: Bool[Tensor, "B 1 H W"] | None = None,
) -> Float[Tensor, " B"]:
    """SSIM over the whole frame, what is not kept set to 0."""
    a, b = _cut(x, y, kept)
    found = structural_similarity_index_measure(a, b, data_range=1.0, reduction="none")
    assert isinstance(found, Tensor)
    return _or_nothing(found, kept)


@torch.no_grad()
def pie_clip_score(
    model: ImagesAndTexts,
    images: Float[Tensor, "B 3 H W"],
    texts: Sequence[str],
    edited: Bool[Tensor, "B 1 H W"],
) -> Float[Tensor, " B"]:
    """CLIP score of the edited region, everything else set to 0; NaN where nothing is edited."""
    cut = model.embed_images(images * edited)
    return _or_nothing(clip_score(cut, model.embed_texts(list(texts))), edited)


class PiePSNR(MeanOverImages):
    """Mean of :func:`pie_psnr`."""

    def values(self, x: Tensor, y: Tensor, kept: Tensor | None = None) -> Tensor:
        return pie_psnr(x, y, kept)


class PieMSE(MeanOverImages):
    """Mean of :func:`pie_mse`."""

    def values(self, x: Tensor, y: Tensor, kept: Tensor | None = None) -> Tensor:
        return pie_mse(x, y, kept)


class PieSSIM(MeanOverImages):
    """Mean of :func:`pie_ssim`."""

    def values(self, x: Tensor, y: Tensor, kept: Tensor | None = None) -> Tensor:
        return pie_ssim(x, y, kept)


class PieClipScore(ClipScore):
    """Mean of :func:`pie_clip_score`."""

    def values(  # type: ignore[override]
        self, images: Tensor, texts: Sequence[str], edited: Tensor
    ) -> Tensor:
        return pie_clip_score(self.model, images, texts, edited)


class PieLPIPS(LPIPS):
    """Mean LPIPS (SqueezeNet) over the whole frame, what is not kept set to 0."""

    def __init__(self, network: nn.Module | None = None) -> None:
        super().__init__("squeeze", network)

    def values(self, x: Tensor, y: Tensor, kept: Tensor | None = None) -> Tensor:
        return _or_nothing(super().values(*_cut(x, y, kept)), kept)


class PieStructureDistance(StructureDistance):
    """Mean structure distance of pictures whose values go to 255."""

    def __init__(self, model: nn.Module | str = "facebook/dino-vitb8") -> None:
        super().__init__(model, scale=255)
