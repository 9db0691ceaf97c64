"""Pictures of one scene from known cameras: what a NeRF and Gaussians are made from."""

from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor


@dataclass(frozen=True)
class Cameras:
    """V pinhole cameras without distortion.

    Attributes:
        poses: camera to world, in the OpenGL convention: x right, y up, looking along -z.
        focal: focal lengths fx and fy, in pixels.
        center: principal points cx and cy, in pixels from the upper left corner of the picture; the
            centre of its first pixel is at (0.5, 0.5).
        width: of the pictures, in pixels.
        height: of the pictures, in pixels.
    """

    poses: Float[Tensor, "V 4 4"]
    focal: Float[Tensor, "V 2"]
    center: Float[Tensor, "V 2"]
    width: int
    height: int

    def __len__(self) -> int:
        return len(self.poses)

    def __getitem__(self, rows: slice | list[int] | Int64[Tensor, " N"]) -> "Cameras":
        """Some of the cameras, as a list, a slice or a tensor of indices names them."""
        poses, focal, center = self.poses[rows], self.focal[rows], self.center[rows]
        return replace(self, poses=poses, focal=focal, center=center)

    def to(self, device: torch.device) -> "Cameras":
        """The cameras on a device."""
        poses, focal, center = (x.to(device) for x in (self.poses, self.focal, self.center))
        return replace(self, poses=poses, focal=focal, center=center)

    def resized(self, width: int, height: int) -> "Cameras":
        """The same cameras with pictures of another size."""
        scale = self.focal.new_tensor([width / self.width, height / self.height])
        return Cameras(self.poses, self.focal * scale, self.center * scale, width, height)

    @property
    def origins(self) -> Float[Tensor, "V 3"]:
        """Where they stand."""
        return self.poses[:, :3, 3]

    def rays(self) -> tuple[Float[Tensor, "V H W 3"], Float[Tensor, "V H W 3"]]:
        """Origins and unit directions of the rays through the centres of the pixels."""
        x = torch.arange(self.width, device=self.poses.device) + 0.5
        y = torch.arange(self.height, device=self.poses.device) + 0.5
        grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)  # (H, W, 2)
        plane = (grid - self.center[:, None, None]) / self.focal[:, None, None]
        right, down = plane.unbind(-1)
        local = torch.stack([right, -down, -torch.ones_like(right)], -1)
        directions = F.normalize(local.flatten(1, 2) @ self.poses[:, :3, :3].mT, dim=-1)
        directions = directions.view(len(self), self.height, self.width, 3)
        return self.origins[:, None, None].expand_as(directions), directions


@dataclass(frozen=True)
class Views:
    """V pictures of a scene and the cameras that took them.

    Attributes:
        images: in [0, 1].
        cameras: one for every picture.
        names: of the pictures, for messages.
        near: distance along a ray before which there is nothing, in the scene's own units.
        far: distance along a ray behind which there is nothing.
        points: coloured points of the scene where a reconstruction knows some: positions and
            colours in [0, 1], (P, 3) each; None elsewhere.
    """

    images: Float[Tensor, "V 3 H W"]
    cameras: Cameras
    names: tuple[str, ...]
    near: float | int
    far: float | int
    points: tuple[Float[Tensor, "P 3"], Float[Tensor, "P 3"]] | None = field(default=None)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: list[int]) -> "Views":
        """Some of the views."""
        names = tuple(self.names[row] for row in rows)
        return replace(self, images=self.images[rows], cameras=self.cameras[rows], names=names)

    def resized(self, width: int, height: int) -> "Views":
        """The same views with pictures of another size."""
        size: Any = (height, width)
        images = F.interpolate(self.images, size, mode="bilinear", antialias=True)
        cameras = self.cameras.resized(width, height)
        return replace(self, images=images.clamp(0, 1), cameras=cameras)

    def cropped(self, width: int, height: int) -> "Views":
        """The middle of the pictures."""
        left, top = (self.cameras.width - width) // 2, (self.cameras.height - height) // 2
        images = self.images[:, :, top : top + height, left : left + width]
        center = self.cameras.center - self.cameras.center.new_tensor([left, top])
        cameras = Cameras(self.cameras.poses, self.cameras.focal, center, width, height)
        return replace(self, images=images, cameras=cameras)


@dataclass(frozen=True)
class Rendering:
    """V views of a scene as it is now.

    Attributes:
        image: in [0, 1].
        depth: distance along the ray of what is seen, in the scene's own units.
        alpha: how much of what is seen is scene and not background, in [0, 1].
    """

    image: Float[Tensor, "V 3 H W"]
    depth: Float[Tensor, "V 1 H W"]
    alpha: Float[Tensor, "V 1 H W"]
