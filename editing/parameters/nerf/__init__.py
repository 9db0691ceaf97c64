"""Neural radiance fields: a compact field, its renderer and its reconstruction from views."""

from editing.parameters.nerf.field import Field
from editing.parameters.nerf.fit import Fit, fit
from editing.parameters.nerf.parameters import NeRF
from editing.parameters.nerf.render import render

__all__ = ["Field", "Fit", "NeRF", "fit", "render"]
