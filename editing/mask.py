"""Where a picture may change: a picture of the area, or a word for it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from editing.caption import Described
from editing.errors import UserError
from editing.images import SUFFIXES, fit, read_picture, to_image
from editing.paths import expanded, is_file

CLIPSEG = "CIDAS/clipseg-rd64-refined"


@dataclass(frozen=True)
class Mask:
    """How the area is found, and what is made of it.

    Attributes:
        area: a picture, white where the edit may change something; or what to look for.
        grow: pixels of the edit by which the area is widened, or with a minus narrowed.
        feather: standard deviation of its soft edge, pixels of the edit.
        paste: whether the source's own pixels are put back outside.
        model: CLIPSeg model that looks, for priors without a segmenter of their own.

    Raises:
        UserError: for a negative feather.
    """

    area: str
    grow: int = 0
    feather: float | int = 0.0
    paste: bool = False
    model: str = CLIPSEG

    def __post_init__(self) -> None:
        if not self.feather >= 0:
            raise UserError(f"mask.feather={self.feather} cannot be used: give 0 or more pixels.")

    def check(self, sizes: Mapping[Path, tuple[int, int]]) -> None:
        """Looks at the mask before anything is edited.

        Raises:
            UserError: if it is a picture and has not the size, width and height, of all ``sizes``.
        """
        if not is_picture(self.area):
            return
        mask = read_picture(expanded(self.area))
        for path, (width, height) in sizes.items():
            if mask.size != (width, height):
                raise UserError(
                    f"mask={self.area} has {mask.width} x {mask.height} pixels and {path.name} "
                    f"{width} x {height}: a mask must be as large as its picture."
                )

    def __call__(
        self, paths: Sequence[Path], images: Float[Tensor, "B 3 H W"], prior: Described
    ) -> Float[Tensor, "B 1 H W"]:
        """The areas of pictures (values in [0, 1]) read from ``paths``: 1 where they may change.

        Raises:
            UserError: if nothing is found.
        """
        if is_picture(self.area):
            masks = drawn(self.area, images.shape[-2:]).expand(len(paths), -1, -1, -1)
        else:
            masks = segment(images, self.area, prior, self.model)
        masks = grown(masks, self.grow)
        for mask, path in zip(masks, paths, strict=True):
            if not mask.any():
                what = "is black" if is_picture(self.area) else f"is not to be seen in {path.name}"
                what += f" after mask.grow={self.grow}" if self.grow < 0 else ""
                raise UserError(f"mask={self.area!r} {what}: nothing could change.")
        return softened(masks, self.feather)


def is_picture(area: str) -> bool:
    """Whether a mask is meant as a file and not as a word."""
    return is_file(area) or Path(area).suffix.lower() in SUFFIXES


def drawn(area: str, size: Sequence[int]) -> Float[Tensor, "1 H W"]:
    """A mask that is a picture, brought to the size of the edit as its source is."""
    mask = read_picture(expanded(area))
    gray = fit(mask.convert("L").convert("RGB"), min(size), math.gcd(*size)).convert("L")
    values = torch.frombuffer(bytearray(gray.tobytes()), dtype=torch.uint8).float() / 255
    return values.view(1, *size)


def grown(masks: Float[Tensor, "B 1 H W"], pixels: int) -> Float[Tensor, "B 1 H W"]:
    """Masks widened by ``pixels`` in every direction, narrowed if that is negative."""
    width = 2 * abs(pixels) + 1
    if pixels < 0:
        return 1 - F.max_pool2d(1 - masks, width, 1, width // 2)
    return F.max_pool2d(masks, width, 1, width // 2)


def softened(masks: Float[Tensor, "B 1 H W"], feather: float | int) -> Float[Tensor, "B 1 H W"]:
    """Masks whose edges are blurred by a Gaussian of deviation ``feather`` pixels."""
    if feather == 0:
        return masks
    reach = min(math.ceil(3 * feather), min(masks.shape[-2:]) - 1)
    return gaussian_blur(masks, [2 * reach + 1] * 2, [float(feather)] * 2)


def pasted(
    edited: Float[Tensor, "B 3 H W"],
    source: Float[Tensor, "B 3 H W"],
    masks: Float[Tensor, "B 1 H W"],
) -> Float[Tensor, "B 3 H W"]:
    """The edit inside the masks, the source outside, to the bit where a mask is 0."""
    return torch.where(masks > 0, torch.lerp(source, edited, masks.expand_as(edited)), source)


def segment(
    images: Float[Tensor, "B 3 H W"], text: str, prior: Described, model: str = CLIPSEG
) -> Float[Tensor, "B 1 H W"]:
    """Where CLIPSeg sees ``text`` in pictures (values in [0, 1]): 1, else 0.

    A prior whose folder has ``segmenter/`` brings its own.
    """
    own = prior.folder / "segmenter" if prior.folder else None
    return segment_by(own if own and own.is_dir() else model, images, text)


@torch.no_grad()
def segment_by(
    model: Path | str, images: Float[Tensor, "B 3 H W"], text: str
) -> Float[Tensor, "B 1 H W"]:
    """As :func:`segment`, by the CLIPSeg of a folder or name."""
    network, tokenizer, side, mean, std = _load(str(model))
    pixels = F.interpolate(
        images.float().cpu(), (side, side), mode="bicubic", antialias=True, align_corners=False
    ).clamp(0, 1)
    tokens = tokenizer([text], padding="max_length", truncation=True, return_tensors="pt")
    ids = tokens.input_ids.expand(len(images), -1)
    logits = network(input_ids=ids, pixel_values=(pixels - mean) / std).logits
    logits = logits.reshape(len(images), 1, *logits.shape[-2:])
    full = F.interpolate(logits, images.shape[-2:], mode="bilinear", align_corners=False)
    return (full > 0).float()


@lru_cache(maxsize=1)  # one run looks at many batches
def _load(name: str) -> tuple[Any, Any, int, Tensor, Tensor]:
    """CLIPSeg, its tokenizer, and the side, mean and deviation of the pictures it takes."""
    from transformers import AutoImageProcessor, CLIPSegForImageSegmentation, CLIPTokenizer
    from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

    folder = Path(name)
    ours = folder.is_dir() and not (folder / "preprocessor_config.json").exists()
    try:
        network = CLIPSegForImageSegmentation.from_pretrained(name, use_safetensors=True).eval()
        tokenizer = CLIPTokenizer.from_pretrained(folder.parent / "tokenizer" if ours else name)
        processor = None if ours else AutoImageProcessor.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise UserError(
            f"The segmenter {name!r} is neither a folder nor could it be downloaded: "
            "give a picture as the mask, or a model with mask.model=."
        ) from error
    side = processor.size["height"] if processor else network.config.vision_config.image_size
    mean = torch.tensor(processor.image_mean if processor else OPENAI_CLIP_MEAN)
    std = torch.tensor(processor.image_std if processor else OPENAI_CLIP_STD)
    return network, tokenizer, side, mean.view(3, 1, 1), std.view(3, 1, 1)


def preview(source: Float[Tensor, "3 H W"], mask: Float[Tensor, "1 H W"]) -> Image.Image:
    """The picture, what may not change darkened."""
    return to_image(source * (0.25 + 0.75 * mask))
