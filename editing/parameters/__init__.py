"""What the gradient of a distiller moves."""

from editing.parameters.base import Canvas, Parameters, SceneParameters, Source
from editing.parameters.latents import Latents
from editing.parameters.nerf import NeRF
from editing.parameters.pixels import Pixels

__all__ = ["Canvas", "Latents", "NeRF", "Parameters", "Pixels", "SceneParameters", "Source"]
