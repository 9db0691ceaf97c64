"""Vector drawings: SVG files as tensors, rendered with gradients, and written again."""

from editing.parameters.svg.document import read_svg
from editing.parameters.svg.raster import render
from editing.parameters.svg.shapes import Drawing
from editing.parameters.svg.write import write_svg

__all__ = ["Drawing", "read_svg", "render", "write_svg"]
