"""Gaussians as a camera sees them: ellipses in the picture (EWA splatting, Zwicker et al. 2001).

Notation of Kerbl et al. 2023, Sec. 4: W the rotation from the world to the camera, J the Jacobian
of the perspective projection, Sigma' = J W Sigma W^T J^T (Eq. 5).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from editing.parameters.gaussians.scene import Gaussians
from editing.parameters.views import Cameras

DILATION = 0.3  # squared pixels, added to Sigma' so that nothing is thinner than a pixel
ALPHA_MIN = 1 / 255  # what is fainter is left out
MARGIN = 0.3  # of half the picture: J is that at the picture's edge for what lies farther out


@dataclass(frozen=True)
class Ellipses:
    """M Gaussians in one picture, the nearest first.

    Attributes:
        rows: which of the Gaussians they are.
        depths: distances from the camera's plane, in units of the scene.
        centers: x and y, in pixels from the upper left corner.
        conics: entries xx, xy and yy of the inverse of Sigma', per squared pixel.
        opacities: in (0, 1).
        reaches: half the width and height of the box, in pixels, outside of which an ellipse is
            fainter than ``ALPHA_MIN``.
    """

    rows: Int64[Tensor, " M"]
    depths: Float[Tensor, " M"]
    centers: Float[Tensor, "M 2"]
    conics: Float[Tensor, "M 3"]
    opacities: Float[Tensor, " M"]
    reaches: Float[Tensor, "M 2"]


def world_to_camera(cameras: Cameras) -> Float[Tensor, "V 4 4"]:
    """Poses inverted, in the convention of OpenCV: x right, y down, looking along z."""
    flip = cameras.poses.new_tensor([1.0, -1.0, -1.0])
    rotations = (cameras.poses[:, :3, :3] * flip).mT  # poses are rigid: the transpose inverts
    matrices = torch.zeros_like(cameras.poses)
    matrices[:, :3, :3] = rotations
    matrices[:, :3, 3:] = -rotations @ cameras.origins[:, :, None]
    matrices[:, 3, 3] = 1
    return matrices


def project(gaussians: Gaussians, camera: Cameras, near: float | int) -> Ellipses:
    """The Gaussians that one camera, a batch of one, can see beyond the plane at ``near``."""
    means = gaussians.means
    matrix = world_to_camera(camera)[0].to(means)
    with torch.no_grad():
        z = means @ matrix[2, :3] + matrix[2, 3]
        rows = ((z > near) & (gaussians.opacities() >= ALPHA_MIN)).nonzero()[:, 0]
        rows = rows[z[rows].argsort(stable=True)]
    seen = gaussians[rows]
    x, y, z = (seen.means @ matrix[:3, :3].T + matrix[:3, 3]).unbind(-1)
    focal, center = camera.focal[0].to(means), camera.center[0].to(means)
    size = means.new_tensor([camera.width, camera.height])
    slopes = torch.stack([x / z, y / z], -1)
    centers = focal * slopes + center

    # Far outside the picture J grows without bound; the reference implementation holds it.
    margin = MARGIN * size / (2 * focal)
    slopes = slopes.clamp(-center / focal - margin, (size - center) / focal + margin)
    axes = matrix[:3, :3] @ seen.axes()  # W R S
    across = axes[:, :2] - slopes[..., None] * axes[:, 2:]
    factors = across * (focal / z[:, None])[..., None]  # J W R S: Sigma' = factors factors^T
    u, v = factors.unbind(1)
    xx, xy, yy = u.square().sum(1) + DILATION, (u * v).sum(1), v.square().sum(1) + DILATION
    # Cauchy-Binet, all terms positive: xx yy - xy^2 would cancel for a needle.
    minors = torch.linalg.cross(u, v).square().sum(1)
    determinant = minors + DILATION * (xx + yy) - DILATION**2
    conics = torch.stack([yy, -xy, xx], -1) / determinant[:, None]

    opacities = seen.opacities()
    with torch.no_grad():
        # opacity exp(-r^2 / 2) = ALPHA_MIN at r standard deviations: 3.3 of an opaque one
        radii = (2 * (opacities / ALPHA_MIN).clamp(min=1).log()).sqrt()
        reaches = radii[:, None] * torch.stack([xx, yy], -1).sqrt()
    return Ellipses(rows, z, centers, conics, opacities, reaches)
