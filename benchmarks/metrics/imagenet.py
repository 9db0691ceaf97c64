"""Pictures as the networks take them that were trained on ImageNet."""

from jaxtyping import Float
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import center_crop, normalize, resize

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
SHORT, SIDE = 256, 224  # pixels: the shorter side of a picture, and its middle that is looked at


def prepared(images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 224 224"]:
    """The middles of pictures in [0, 1], normalised, as the models' own processors make them."""
    x = resize(images, [SHORT], InterpolationMode.BICUBIC, antialias=True).clamp(0, 1)
    return normalize(center_crop(x, [SIDE, SIDE]), MEAN, STD)
