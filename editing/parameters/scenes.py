"""What NeRF and Gaussians share: a scene that is edited through views from known cameras."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from editing.errors import UserError
from editing.images import enlarged, to_image
from editing.parameters.base import Canvas
from editing.parameters.pull import Pull, encode, pull_of
from editing.parameters.readers import find_layout, look_at, read_views
from editing.parameters.views import Cameras, Rendering, Views
from editing.paths import expanded
from editing.video import check_extension, film
from samplers.checks import whole
from samplers.prior import Prior

SHOWN = 6  # views in the pictures of a result, at most
PATH = 24  # frames of the camera's path


@runtime_checkable
class Scene(Protocol):
    """A 3D representation: what can be moved in it, how it looks, and how it is kept."""

    def tensors(self) -> list[Tensor]:
        """The tensors that an edit moves, as leaves that a view depends on."""
        ...

    def render(self, cameras: Cameras) -> Rendering:
        """Views of the scene, differentiable with respect to its tensors."""
        ...

    def save(self) -> bytes:
        """The scene as a file."""
        ...


@dataclass(frozen=True)
class Posed:
    """The source of an edit: a scene, and the views that it was made from.

    Attributes:
        scene: as it was reconstructed.
        original: the same as a file.
        suffix: of that file.
        views: the original views.
        notes: what `result.json` says of it.
    """

    scene: Any
    original: bytes
    suffix: str
    views: Views
    notes: dict[str, Any]

    @property
    def rows(self) -> list[int]:
        """The views that are shown: at most :data:`SHOWN`, evenly spaced."""
        count = min(SHOWN, len(self.views))
        return [round(i * (len(self.views) - 1) / max(count - 1, 1)) for i in range(count)]

    @property
    def shown(self) -> Float[Tensor, "N 3 H W"]:
        """The original views that correspond to the edited ones of a canvas."""
        return self.views.images[self.rows]

    @property
    def files(self) -> dict[str, bytes]:
        """What is kept of it before the edit begins."""
        return {f"source{self.suffix}": self.original}


@dataclass(frozen=True)
class FromViews(ABC):
    """Settings of a 3D scene that is reconstructed from views and then edited.

    Attributes:
        views: how many views a step looks at.
        reconstruction: file of the scene, as an earlier run left it; None to reconstruct it.
        film: `gif` or `mp4`, how the camera's path is written.
        pull: which way the gradient comes back to a view, `decoder` or `encoder`; see
            :func:`editing.parameters.pull.encode`.
    """

    views: int = 1
    reconstruction: str | None = None
    film: str = "gif"
    pull: Pull = "encoder"
    suffix: ClassVar[str]  # of the scene's files

    def __post_init__(self) -> None:
        whole("views", self.views, least=1)
        check_extension(f".{self.film}")
        pull_of(self.pull)

    def check(self, path: Path) -> None:
        """Refuse at once a folder without poses, or with a picture missing."""
        find_layout(path)
        if self.reconstruction is not None and not expanded(self.reconstruction).is_file():
            raise UserError(f"parameters.reconstruction={self.reconstruction} does not exist.")

    def kept(self, folder: Path) -> "FromViews":
        """The same, with the reconstruction that an interrupted run left in a folder."""
        path = folder / f"source{self.suffix}"
        return replace(self, reconstruction=str(path)) if path.is_file() else self

    def read(self, path: Path, size: int, multiple: int) -> Views:
        """The views of a scene folder, `size` pixels wide or high, whichever is less."""
        return read_views(path, size, multiple)

    def prepare(
        self,
        views: Views,
        device: torch.device,
        seed: int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> Posed:
        """The scene that the views show: read from `reconstruction`, or made of them."""
        if self.reconstruction is None:
            scene = self.reconstruct(views, device, seed, progress)
        else:
            scene = self.load(expanded(self.reconstruction)).to(device)
        with torch.no_grad():
            errors = [
                (scene.render(views.cameras[[i]]).image[0].cpu() - image).square().mean()
                for i, image in enumerate(views.images)
            ]
        psnr = float(-10 * torch.stack(errors).log10().mean())
        notes = {"views": list(views.names), "reconstruction_psnr": round(psnr, 2)}
        return Posed(scene, scene.save(), self.suffix, views, notes)

    def start(self, prior: Prior, sources: Posed) -> "SceneCanvas":
        """A canvas that shows a copy of the scene."""
        return SceneCanvas(prior, sources, self.rates(), f".{self.film}", self.pull)

    @abstractmethod
    def reconstruct(
        self,
        views: Views,
        device: torch.device,
        seed: int,
        progress: Callable[[int, int], None] | None,
    ) -> Any:
        """A :class:`Scene` that looks like the views."""

    @abstractmethod
    def load(self, path: Path) -> Any:
        """A :class:`Scene` from a file."""

    @abstractmethod
    def rates(self) -> Sequence[float | int]:
        """Factors of the step size, one for every tensor of the scene."""


class SceneCanvas(Canvas):
    """A scene whose views the distiller compares with the original ones; a :class:`Canvas`.

    Args:
        prior: the model.
        source: the scene, which this moves, and its views.
        rates: factors of the step size, one for every tensor of the scene.
        extension: how the camera's path is written, `.gif` or `.mp4`.
        pull: see :func:`editing.parameters.pull.encode`.
    """

    def __init__(
        self,
        prior: Prior,
        source: Posed,
        rates: Sequence[float | int],
        extension: str = ".gif",
        pull: Pull = "encoder",
    ) -> None:
        self.prior, self.source, self.extension, self.pull = prior, source, extension, pull
        self.scene: Scene = deepcopy(source.scene)
        self.tensors = [tensor.requires_grad_() for tensor in self.scene.tensors()]
        self.rates, self.per_image = tuple(map(float, rates)), False
        self.cameras = source.views.cameras
        with torch.no_grad():
            frames = [prior.encode(image[None].to(prior.device)) for image in source.views.images]
            self.encoded = torch.cat(frames)

    def latents(
        self, generators: Sequence[torch.Generator]
    ) -> tuple[Float[Tensor, "B C h w"], Float[Tensor, "B C h w"]]:
        """Latents of one drawn view per generator."""
        rows = [_draw(len(self.cameras), generator) for generator in generators]
        rendered = self.scene.render(self.cameras[rows]).image
        seen = encode(self.prior, rendered.to(self.prior.device), self.pull)
        return seen, self.encoded[rows]

    @torch.no_grad()
    def images(self) -> Float[Tensor, "N 3 H W"]:
        shown = [self.scene.render(self.cameras[[row]]).image for row in self.source.rows]
        return torch.cat(shown).float().clamp(0, 1).cpu()

    @torch.no_grad()
    def files(self) -> dict[str, bytes]:
        """The scene, depth and normals of its views, and a path through both."""
        rendered = [self.scene.render(self.cameras[[row]]) for row in self.source.rows]
        depth = torch.cat([each.depth for each in rendered]).cpu()
        cameras = self.cameras[self.source.rows].to(torch.device("cpu"))
        pairs = [
            torch.cat(
                [scene.render(camera).image[0] for scene in (self.source.scene, self.scene)], -1
            )
            for camera in self.path()
        ]
        return {
            f"edited{self.source.suffix}": self.scene.save(),
            "depth.png": _sheet(shaded(depth)),
            "normals.png": _sheet(normals(depth, cameras) / 2 + 0.5),
            f"path{self.extension}": film(pairs, self.extension),
        }

    def path(self) -> list[Cameras]:
        """The cameras of a way past the shown views and back."""
        chosen = self.cameras[self.source.rows]
        center = look_at(self.cameras, (self.source.views.near, self.source.views.far))[0]
        return path_between(chosen[by_nearness(chosen.origins)], PATH, center)


def _draw(count: int, generator: torch.Generator) -> int:
    return int(torch.randint(count, (1,), generator=generator, device=generator.device))


def by_nearness(origins: Float[Tensor, "V 3"]) -> list[int]:
    """An order from the first on, in which each is followed by the nearest that is left."""
    distances, order = torch.cdist(origins, origins), [0]
    while len(order) < len(origins):
        left = [row for row in range(len(origins)) if row not in order]
        order.append(min(left, key=lambda row: float(distances[order[-1], row])))
    return order


def path_between(cameras: Cameras, frames: int, center: Float[Tensor, "3"]) -> list[Cameras]:
    """A smooth way through the poses of cameras, one camera per frame.

    Between neighbours it goes around the centre: directions from there and distances are mixed, not
    positions, of which some would be inside of what is looked at. Opposite neighbours have no
    shortest way between them, and there the path jumps. Axes are mixed and made orthonormal.
    """
    at = torch.linspace(0, len(cameras) - 1, frames)
    low = at.floor().long().clamp_max(max(len(cameras) - 2, 0))
    high = (low + 1).clamp_max(len(cameras) - 1)
    share = (at - low)[:, None].to(cameras.poses)
    away = cameras.origins - center.to(cameras.poses)
    distance = away.norm(dim=1, keepdim=True).clamp_min(1e-8)
    direction = _around(away[low] / distance[low], away[high] / distance[high], share)
    far = torch.lerp(distance[low], distance[high], share)
    poses = cameras.poses[low].clone()
    poses[:, :3, 3] = center.to(poses) + far * direction
    # each axis on its own way, then the nearest rotation
    axes = [_around(cameras.poses[low, :3, i], cameras.poses[high, :3, i], share) for i in range(3)]
    u, _, v = torch.linalg.svd(torch.stack(axes, -1))
    poses[:, :3, :3] = u @ v
    still = cameras[[0] * frames]
    moved = Cameras(poses, still.focal, still.center, still.width, still.height)
    return [moved[[i]] for i in range(frames)]


def _around(
    first: Float[Tensor, "N 3"], second: Float[Tensor, "N 3"], share: Float[Tensor, "N 1"]
) -> Float[Tensor, "N 3"]:
    """Unit vectors between unit vectors, on the great circle (slerp, Shoemake 1985)."""
    angle = (first * second).sum(1, keepdim=True).clamp(-1, 1).acos()
    mixed = ((1 - share) * angle).sin() * first + (share * angle).sin() * second
    nearest = torch.where(share < 0.5, first, second)
    # equal ones mix to nothing, and so do opposite ones, between which any circle would do
    return F.normalize(torch.where(mixed.norm(dim=1, keepdim=True) > 1e-4, mixed, nearest), dim=1)


def shaded(depth: Float[Tensor, "V 1 H W"]) -> Float[Tensor, "V 3 H W"]:
    """Depths as greys: near is bright; even in inverse depth, over the range of all views."""
    inverse = 1 / depth.clamp_min(1e-6)
    low, high = (
        inverse.amin(),
        torch.quantile(inverse.flatten()[:: max(1, inverse.numel() // 10**6)], 0.999),
    )
    return ((inverse - low) / (high - low).clamp_min(1e-12)).clamp(0, 1).expand(-1, 3, -1, -1)


def normals(depth: Float[Tensor, "V 1 H W"], cameras: Cameras) -> Float[Tensor, "V 3 H W"]:
    """Unit normals of the surfaces that depths show, in world axes, towards the camera."""
    origins, directions = cameras.rays()
    points = (origins + directions * depth[:, 0, :, :, None]).permute(0, 3, 1, 2)
    padded = F.pad(points, (1, 1, 1, 1), mode="replicate")
    right = padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]
    down = padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]
    return F.normalize(torch.linalg.cross(down, right, dim=1), dim=1)


def _sheet(images: Float[Tensor, "V 3 H W"]) -> bytes:
    buffer = BytesIO()
    grid = torch.cat(list(images), -1)
    enlarged(to_image(grid)).save(buffer, "PNG")
    return buffer.getvalue()
