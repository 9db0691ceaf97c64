"""What the gradient of a distiller moves."""

from editing.parameters.base import Canvas, Parameters
from editing.parameters.latents import Latents
from editing.parameters.pixels import Pixels

__all__ = ["Canvas", "Latents", "Parameters", "Pixels"]
