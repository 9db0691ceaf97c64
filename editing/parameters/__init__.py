"""What the gradient of a distiller moves."""

from editing.parameters.base import Canvas, Parameters, SceneParameters, Source
from editing.parameters.drawing import SVG
from editing.parameters.latents import Latents
from editing.parameters.nerf import NeRF
from editing.parameters.pixels import Pixels
from editing.parameters.splats import GaussianSplats

__all__ = [
    "SVG",
    "Canvas",
    "GaussianSplats",
    "Latents",
    "NeRF",
    "Parameters",
    "Pixels",
    "SceneParameters",
    "Source",
]
