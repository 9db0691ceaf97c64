"""Networks of transformers that look at pictures as ImageNet has them, and such pictures."""

from typing import Any

from jaxtyping import Float
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import center_crop, normalize, resize

from editing.errors import UserError

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
SHORT, SIDE = 256, 224  # pixels: the shorter side of a picture, and its middle that is looked at


def load_vision(kind: Any, name: str, what: str, **options: Any) -> nn.Module:
    """A network of a class of transformers, by name or folder; ``what`` needs it.

    Raises:
        UserError: it cannot be loaded.
    """
    try:
        model = kind.from_pretrained(name, use_safetensors=True, **options)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{what} needs the model {name}, which cannot be loaded: give a folder with its "
            "config.json and model.safetensors."
        ) from error
    return model.eval().requires_grad_(False)


def prepared(images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 224 224"]:
    """The middles of pictures in [0, 1], normalised, as the models' own processors make them."""
    x = resize(images, [SHORT], InterpolationMode.BICUBIC, antialias=True).clamp(0, 1)
    return normalize(center_crop(x, [SIDE, SIDE]), MEAN, STD)
