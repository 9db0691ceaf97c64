"""3D Gaussian splatting (Kerbl et al. 2023): scenes, their files, pictures and making."""

from editing.parameters.gaussians.fitting import fit
from editing.parameters.gaussians.ply import read_ply, write_ply
from editing.parameters.gaussians.raster import render
from editing.parameters.gaussians.scene import Gaussians

__all__ = ["Gaussians", "fit", "read_ply", "render", "write_ply"]
