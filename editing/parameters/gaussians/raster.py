"""Pictures of Gaussians."""

import importlib
import importlib.util
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from editing.parameters.gaussians.clamp import clamped
from editing.parameters.gaussians.project import DILATION, project, world_to_camera
from editing.parameters.gaussians.scene import Gaussians
from editing.parameters.gaussians.tiles import composite_tiles
from editing.parameters.views import Cameras, Rendering

NEAR = 0.01  # units of the scene; 0.2 in the reference implementation, too far for small scenes


def render(
    gaussians: Gaussians,
    cameras: Cameras,
    background: Sequence[float | int] | Float[Tensor, "3"] = (1, 1, 1),
    *,
    near: float | int = NEAR,
) -> Rendering:
    """Draws Gaussians as Kerbl et al. 2023 do, differentiable with respect to all their tensors.

    On a GPU `gsplat` draws them where it is installed (its opacities end at 0.999 instead of 0.99),
    anywhere else plain torch does, one view after the other.

    Args:
        gaussians: on the device to draw on.
        cameras: on any device.
        background: its colour, in [0, 1].
        near: distance from a camera's plane up to which nothing is drawn, in units of the scene.
    """
    cameras = cameras.to(gaussians.means.device)
    fast = gaussians.means.is_cuda and importlib.util.find_spec("gsplat") is not None
    with torch.autocast(gaussians.means.device.type, enabled=False):
        features = torch.stack([_features(gaussians, cameras[[i]]) for i in range(len(cameras))])
        draw = draw_with_gsplat if fast else draw_with_torch
        seen, alpha = draw(gaussians, features, cameras, near)
    shade = torch.as_tensor(background).to(seen)[:, None, None]
    image = clamped(seen[:, :3] + (1 - alpha) * shade, 0.0, 1.0)
    # A splat is as flat as the picture: its depth is that of its centre, all over it.
    lengths = (cameras.rays()[1] * -cameras.poses[:, None, None, :3, 2]).sum(-1).reciprocal()
    depth = seen[:, 3:] / alpha.clamp(min=1e-6) * lengths[:, None].to(seen)
    return Rendering(image, depth, alpha)


def _features(gaussians: Gaussians, camera: Cameras) -> Float[Tensor, "N 4"]:
    """Colours as seen from a camera, and distances from its plane."""
    matrix = world_to_camera(camera)[0].to(gaussians.means)
    depths = gaussians.means @ matrix[2, :3] + matrix[2, 3]
    colors = gaussians.colors(camera.origins[0].to(depths))
    return torch.cat([colors, depths[:, None]], -1)


def draw_with_torch(
    gaussians: Gaussians, features: Float[Tensor, "V N F"], cameras: Cameras, near: float | int
) -> tuple[Float[Tensor, "V F H W"], Float[Tensor, "V 1 H W"]]:
    """Features composited from front to back, and alpha. A view does not depend on the others."""
    made = []
    for i in range(len(cameras)):
        ellipses = project(gaussians, cameras[[i]], near)
        seen = features[i][ellipses.rows]
        made.append(composite_tiles(ellipses, seen, cameras.width, cameras.height))
    pictures, alphas = zip(*made, strict=True)
    return torch.stack(pictures), torch.stack(alphas)


def draw_with_gsplat(
    gaussians: Gaussians, features: Float[Tensor, "V N F"], cameras: Cameras, near: float | int
) -> tuple[Float[Tensor, "V F H W"], Float[Tensor, "V 1 H W"]]:
    """The same by `gsplat.rasterization` (Ye et al. 2024), on a GPU."""
    intrinsics = torch.zeros_like(cameras.poses[:, :3, :3])
    intrinsics[:, [0, 1], [0, 1]], intrinsics[:, :2, 2] = cameras.focal, cameras.center
    intrinsics[:, 2, 2] = 1
    pictures, alphas, _ = importlib.import_module("gsplat").rasterization(
        means=gaussians.means.float(),
        quats=gaussians.quaternions.float(),
        scales=gaussians.log_scales.exp().float(),
        opacities=gaussians.opacities().float(),
        colors=features.float(),
        viewmats=world_to_camera(cameras).float(),
        Ks=intrinsics.float(),
        width=cameras.width,
        height=cameras.height,
        near_plane=float(near),
        eps2d=DILATION,
    )
    return pictures.movedim(-1, 1), alphas.movedim(-1, 1)
