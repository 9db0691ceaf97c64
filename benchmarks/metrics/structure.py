"""Whether the parts of a picture still relate as they did: DINO self-similarity."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.transforms.functional import normalize, resize

from benchmarks.metrics.base import MeanOverImages
from benchmarks.metrics.imagenet import MEAN, STD, load_vision


def self_similarity(keys: Float[Tensor, "B n d"]) -> Float[Tensor, "B n n"]:
    """Cosines between all places of a picture (Tumanyan et al. 2022, section 3.1)."""
    unit = F.normalize(keys, dim=-1)
    return unit @ unit.mT


def structure_distance(x: Float[Tensor, "B n d"], y: Float[Tensor, "B n d"]) -> Float[Tensor, " B"]:
    """Mean squared difference of the self-similarities of two pictures' keys."""
    return (self_similarity(x) - self_similarity(y)).square().mean((1, 2))


def load_dino(name: str = "facebook/dino-vitb8") -> nn.Module:
    """A vision transformer by name or folder.

    Raises:
        UserError: it cannot be loaded.
    """
    from transformers import ViTModel

    return load_vision(ViTModel, name, "The structure distance", add_pooling_layer=False)


def last_keys(model: nn.Module, pixels: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B n d"]:
    """Keys of the last self-attention of a vision transformer, heads side by side."""
    found: list[Tensor] = []
    keys = [module for name, module in model.named_modules() if name.endswith(("k_proj", ".key"))]
    handle = keys[-1].register_forward_hook(lambda _, args, out: found.append(out))
    try:
        model(pixel_values=pixels, interpolate_pos_encoding=True)
    finally:
        handle.remove()
    return found[-1]


class StructureDistance(MeanOverImages):
    """Mean of :func:`structure_distance` of pictures in [0, 1], their shorter side 224 pixels.

    Args:
        model: a vision transformer of transformers, or the name of one.
        scale: of the pictures before they are normalised; the released code of PIE-Bench gives the
            network 0 to 255 instead of 0 to 1, see `benchmarks.metrics.pie`.
    """

    def __init__(
        self, model: nn.Module | str = "facebook/dino-vitb8", scale: float | int = 1.0
    ) -> None:
        super().__init__()
        self.model = load_dino(model) if isinstance(model, str) else model
        self.scale = scale

    @torch.no_grad()
    def values(self, x: Float[Tensor, "B 3 H W"], y: Float[Tensor, "B 3 H W"]) -> Tensor:
        return structure_distance(self._keys(x), self._keys(y))

    def _keys(self, x: Tensor) -> Tensor:
        pixels = resize(x * self.scale, [224], max_size=480, antialias=True)
        return last_keys(self.model, normalize(pixels, MEAN, STD))
