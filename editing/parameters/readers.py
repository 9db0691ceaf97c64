"""Scene folders: Blender's and nerfstudio's `transforms.json`, LLFF, COLMAP.

Each layout has a function of its own that names the pictures, their poses and their lenses;
:func:`read_views` does the rest.
"""

import importlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from editing.errors import UserError
from editing.images import fitted_size, read_picture, reason, to_tensor
from editing.parameters.views import Cameras, Views

LAYOUTS = "transforms.json (Blender, nerfstudio), poses_bounds.npy (LLFF) or sparse/0 (COLMAP)"
NERFSTUDIO_LENS = ("k1", "k2", "p1", "p2")
# Lenses of which OpenCV's model with these four numbers is the whole truth, by the names they have.
COLMAP_MODELS = ("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV")
NERFSTUDIO_MODELS = (*COLMAP_MODELS, "PERSPECTIVE")


@dataclass(frozen=True)
class Frame:
    """One picture of a scene, as its layout describes it.

    Attributes:
        path: of the picture.
        pose: camera to world, OpenGL.
        lens: fx, fy, cx, cy in pixels of a picture of ``size``; the point None for the middle, the
            focal lengths for ``angle``.
        size: width and height that the lens is given for; None for those of the file.
        angle: horizontal field of view, in radians.
        distortion: k1, k2, p1, p2 of OpenCV's model.
    """

    path: Path
    pose: Float[Tensor, "4 4"]
    lens: tuple[float | None, float | None, float | None, float | None]
    size: tuple[int, int] | None = None
    angle: float = math.nan
    distortion: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Layout:
    """What a folder says of a scene, besides its pictures."""

    frames: list[Frame]
    bounds: tuple[float, float] | None = None
    points: tuple[Float[Tensor, "P 3"], Float[Tensor, "P 3"]] | None = None


def read_views(folder: Path, size: int, multiple: int = 1) -> Views:
    """The views of a scene folder.

    Args:
        folder: with `transforms.json` (or `transforms_train.json`), `poses_bounds.npy` or
            `sparse/0`.
        size: shorter side of the pictures, in pixels, to which they are resized.
        multiple: what both sides are multiples of; the longer is cropped evenly.

    Raises:
        UserError: if there are no poses, a picture is missing or of another size than the rest,
            a pose is not finite or no rotation, or there are fewer than two views.
    """
    layout = find_layout(folder)
    if len(layout.frames) < 2:
        raise UserError(f"src={str(folder)!r} holds {len(layout.frames)} views: give at least two.")
    parts = [_load(frame, size, multiple) for frame in layout.frames]
    shapes = {(part.width, part.height) for _, part in parts}
    if len(shapes) > 1:
        sizes = ", ".join(sorted(f"{width}x{height}" for width, height in shapes))
        raise UserError(
            f"The views of src={str(folder)!r} are of several shapes, resized to {sizes} pixels: "
            "crop them to one."
        )
    poses, focal, center = (
        torch.cat([getattr(camera, name) for _, camera in parts])
        for name in ("poses", "focal", "center")
    )
    cameras = Cameras(poses, focal, center, *shapes.pop())
    near, far = layout.bounds or _bounds(cameras)
    names = tuple(frame.path.name for frame in layout.frames)
    return Views(torch.cat([image for image, _ in parts]), cameras, names, near, far, layout.points)


def find_layout(folder: Path) -> Layout:
    """What the folder says of its pictures, in whichever layout it is.

    Raises:
        UserError: if it is none, or says what cannot be.
    """
    if not folder.is_dir():
        what = "is no folder" if folder.exists() else "does not exist"
        raise UserError(f"src={str(folder)!r} {what}: give the folder of a scene, with {LAYOUTS}.")
    for name in ("transforms.json", "transforms_train.json"):
        if (folder / name).is_file():
            return read_transforms(folder / name)
    if (folder / "poses_bounds.npy").is_file():
        return read_llff(folder)
    for sparse in (folder / "sparse" / "0", folder / "colmap" / "sparse" / "0", folder / "sparse"):
        if any((sparse / f"cameras{suffix}").is_file() for suffix in (".bin", ".txt")):
            return read_colmap(folder, sparse)
    raise UserError(f"src={str(folder)!r} holds no camera poses: a scene needs {LAYOUTS}.")


def read_transforms(path: Path) -> Layout:
    """Blender's and nerfstudio's layout: poses in OpenGL, the lens as an angle or in pixels."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        frames = [_transforms_frame(path, data, frame) for frame in data["frames"]]
    except (OSError, ValueError) as error:
        raise UserError(f"{str(path)!r} cannot be read: {reason(error)}.") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{str(path)!r} is no list of frames with file_path and transform_matrix, and a lens "
            f"in fl_x or camera_angle_x: {reason(error)} is missing or of another kind."
        ) from error
    return Layout(frames)


def _transforms_frame(path: Path, data: dict[str, Any], frame: dict[str, Any]) -> Frame:
    both = data | frame  # a frame may have a lens of its own
    picture = _suffixed(path.parent / str(frame["file_path"]))
    model = str(both.get("camera_model") or "OPENCV")
    wrong = [f"a lens with {key}" for key in ("k3", "k4") if both.get(key)]
    wrong += ["a fisheye lens"] if both.get("is_fisheye") else []
    wrong += [] if model in NERFSTUDIO_MODELS else [f"the lens {model}"]
    if wrong:
        raise UserError(
            f"{str(path)!r} has {wrong[-1]}, which is not understood: undistort its pictures "
            "first, with colmap image_undistorter for instance."
        )
    size = None
    if {"w", "h"} <= both.keys():
        size = round(_finite(both, "w", path)), round(_finite(both, "h", path))
    fx, fy, cx, cy = (
        _finite(both, key, path) if key in both else None for key in ("fl_x", "fl_y", "cx", "cy")
    )
    angle = math.nan
    if not fx:
        angle = _finite(both, "camera_angle_x", path)
        if not 0 < angle < math.pi:
            raise UserError(
                f"{str(path)!r} has camera_angle_x={angle:g}: it is in radians, above 0 and below "
                "pi."
            )
    pose = _pose(np.asarray(frame["transform_matrix"], dtype=np.float64), picture.name)
    distortion = tuple(_finite({key: 0.0} | both, key, path) for key in NERFSTUDIO_LENS)
    return Frame(picture, pose, (fx, fy or fx, cx, cy), size, angle, distortion)


def _finite(values: dict[str, Any], key: str, path: Path) -> float:
    value = float(values[key])
    if not math.isfinite(value):
        raise UserError(f"{str(path)!r} has {key}={value}: it must be a finite number.")
    return value


def _suffixed(path: Path) -> Path:
    """Blender leaves the suffix of its pictures out."""
    if path.is_file():
        return path
    for suffix in (".png", ".jpg", ".jpeg"):
        if (found := path.with_name(path.name + suffix)).is_file():
            return found
    raise UserError(f"The view {str(path)!r} is missing: the list of poses names it.")


def read_llff(folder: Path) -> Layout:
    """LLFF's layout: rows of 3x5 poses (down, right, backwards) with the lens, and two depths."""
    path = folder / "poses_bounds.npy"
    try:
        rows = np.load(path, allow_pickle=False).astype(np.float64)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{str(path)!r} cannot be read: {reason(error)}.") from error
    if rows.ndim != 2 or rows.shape[1] != 17:
        raise UserError(f"{str(path)!r} has the shape {rows.shape}: it must be (views, 17).")
    pictures = next(
        (found for name in ("images", "images_4", "images_8") if (found := _sorted(folder / name))),
        [],
    )
    if len(pictures) != len(rows):
        raise UserError(
            f"{str(path)!r} has {len(rows)} poses, and images/ has {len(pictures)} pictures: "
            "they must be as many."
        )
    near, far = rows[:, 15], rows[:, 16]
    if not (np.isfinite(rows[:, 15:]).all() and (0 < near).all() and (near < far).all()):
        raise UserError(
            f"{str(path)!r} has depths that are no positive numbers, the nearest before the "
            "farthest."
        )
    lenses = rows[:, :15].reshape(-1, 3, 5)[:, :, 4]
    if not (np.isfinite(lenses).all() and (0 < lenses).all()):
        raise UserError(
            f"{str(path)!r} has a height, width or focal length that is no positive number."
        )
    frames = []
    for picture, row in zip(pictures, rows, strict=True):
        matrix = row[:15].reshape(3, 5)
        down, right, back, position, (height, width, focal) = matrix.T
        pose = _pose(np.stack([right, -down, back, position], 1), picture.name)
        size = (round(float(width)), round(float(height)))
        frames.append(Frame(picture, pose, (float(focal), float(focal), None, None), size))
    return Layout(frames, (float(rows[:, 15].min()), float(rows[:, 16].max())))


def _sorted(folder: Path) -> list[Path]:
    suffixes = (".png", ".jpg", ".jpeg")
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in suffixes)


def read_colmap(folder: Path, sparse: Path) -> Layout:
    """COLMAP's layout, binary or text: poses from world to camera (right, down, forwards)."""
    try:
        pycolmap = importlib.import_module("pycolmap")
    except ImportError as error:
        raise UserError(
            f"src={str(folder)!r} is COLMAP's: pip install pycolmap to read it."
        ) from error
    try:
        model = pycolmap.Reconstruction(str(sparse))
    except (OSError, ValueError, RuntimeError, IndexError) as error:
        raise UserError(f"{str(sparse)!r} cannot be read: {reason(error)}.") from error
    frames = []
    for image in sorted(model.images.values(), key=lambda image: image.name):
        camera = image.camera
        if camera.model_name not in COLMAP_MODELS:
            raise UserError(
                f"{str(sparse)!r} has a lens of the kind {camera.model_name}: undistort its "
                "pictures with colmap image_undistorter."
            )
        names = camera.params_info.replace(" ", "").split(",")
        named = dict(zip(names, map(float, camera.params), strict=True))
        named.setdefault("k1", named.get("k", 0.0))
        distortion = tuple(named.get(key, 0.0) for key in NERFSTUDIO_LENS)
        path = _suffixed(folder / "images" / image.name)
        world_to_camera = np.eye(4)
        world_to_camera[:3] = image.cam_from_world().matrix()
        pose = np.linalg.inv(world_to_camera) @ np.diag([1.0, -1.0, -1.0, 1.0])
        fx, fy = float(camera.focal_length_x), float(camera.focal_length_y)
        lens = (fx, fy, float(camera.principal_point_x), float(camera.principal_point_y))
        size = (int(camera.width), int(camera.height))
        frames.append(Frame(path, _pose(pose, path.name), lens, size, distortion=distortion))
    points = list(model.points3D.values())
    if not points:
        return Layout(frames)
    positions = torch.tensor(np.stack([point.xyz for point in points]), dtype=torch.float32)
    colors = torch.tensor(np.stack([point.color for point in points]), dtype=torch.float32) / 255
    return Layout(frames, points=(positions, colors))


def _pose(matrix: np.ndarray, name: str) -> Float[Tensor, "4 4"]:
    """A checked camera-to-world matrix, from its first three rows."""
    if matrix.shape not in ((3, 4), (4, 4)):
        raise UserError(f"The pose of {name} is of shape {matrix.shape}: it must be 4x4.")
    if not np.isfinite(matrix).all():
        raise UserError(f"The pose of {name} holds a number that is not finite: mend or remove it.")
    turn = matrix[:3, :3]
    if np.abs(turn @ turn.T - np.eye(3)).max() > 1e-2 or np.linalg.det(turn) < 0:
        raise UserError(f"The pose of {name} is no rotation and translation: mend or remove it.")
    pose = torch.eye(4)
    pose[:3] = torch.from_numpy(matrix[:3])
    return pose


def _load(frame: Frame, size: int, multiple: int) -> tuple[Float[Tensor, "1 3 H W"], Cameras]:
    """A frame's picture without distortion, resized and cropped, and its camera."""
    image = to_tensor(read_picture(frame.path))[None]
    height, width = image.shape[-2:]
    given = frame.size or (width, height)
    if min(given) <= 0:
        raise UserError(f"The lens of {frame.path.name} is given for {given[0]}x{given[1]} pixels.")
    if not alike(given, (width, height)):
        raise UserError(
            f"{frame.path.name} is {width}x{height} pixels upright, but its lens is given for "
            f"{given[0]}x{given[1]}: the pictures must not be cropped or turned, by EXIF neither."
        )
    from_angle = 0.5 * given[0] / math.tan(0.5 * frame.angle)
    fx, fy, cx, cy = frame.lens
    fx, fy = fx or from_angle, fy or from_angle
    if not (math.isfinite(fx) and math.isfinite(fy) and min(fx, fy) > 0):
        raise UserError(f"The focal length of {frame.path.name} is {fx}: it must be positive.")
    center = [given[0] / 2 if cx is None else cx, given[1] / 2 if cy is None else cy]
    camera = Cameras(frame.pose[None], torch.tensor([[fx, fy]]), torch.tensor([center]), *given)
    camera = camera.resized(width, height)
    if any(frame.distortion):
        image = undistorted(image, camera, frame.distortion)
    width, height = fitted_size(camera.width, camera.height, size, multiple)
    scale = max(width / camera.width, height / camera.height)
    larger = max(width, round(camera.width * scale)), max(height, round(camera.height * scale))
    view = Views(image, camera, (frame.path.name,), 0, 1).resized(*larger).cropped(width, height)
    return view.images, view.cameras


def alike(given: tuple[int, int], found: tuple[int, int]) -> bool:
    """Whether two sizes are of one shape, but for pixels lost in making one of the other."""
    small, large = sorted((given, found))
    scale = max(large) / max(small)
    return all(abs(b / scale - a) <= 2 for a, b in zip(small, large, strict=True))


def undistorted(
    image: Float[Tensor, "1 3 H W"], camera: Cameras, distortion: tuple[float, ...]
) -> Float[Tensor, "1 3 H W"]:
    """What a camera without distortion would have seen; edges are repeated beyond the picture.

    Args:
        image: as it was taken.
        camera: its lens.
        distortion: k1, k2, p1, p2 of OpenCV's model.
    """
    k1, k2, p1, p2 = distortion
    axes = torch.arange(camera.width) + 0.5, torch.arange(camera.height) + 0.5
    grid = torch.stack(torch.meshgrid(*axes, indexing="xy"), -1)
    x, y = ((grid - camera.center[0]) / camera.focal[0]).unbind(-1)
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * k2)
    bent = torch.stack(
        [
            x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
            y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
        ],
        -1,
    )
    size = torch.tensor([camera.width, camera.height])
    where = (bent * camera.focal[0] + camera.center[0]) / size * 2 - 1
    return F.grid_sample(image, where[None], padding_mode="border", align_corners=False)


def look_at(
    cameras: Cameras, bounds: tuple[float | int, float | int] | None = None
) -> tuple[Float[Tensor, "3"], float]:
    """The point that the cameras look at, and how far it is from them on average.

    The point nearest to all optical axes in the sense of least squares. Where these are nearly
    parallel, the cameras look away from each other, or the point is outside ``bounds``, the nearest
    and farthest distance of anything, it is before their mean at the harmonic mean of ``bounds``.
    """
    origins, forward = cameras.origins.double(), -cameras.poses[:, :3, 2].double()
    across = torch.eye(3, dtype=torch.float64) - forward[:, :, None] * forward[:, None]
    curvature = torch.linalg.eigvalsh(across.mean(0))[0]
    if curvature > 1e-3:
        right = (across @ origins[..., None]).sum(0)
        center = torch.linalg.solve(across.sum(0), right)[:, 0]
        depth = ((center - origins) * forward).sum(-1).mean()
        low, high = bounds or (0, math.inf)
        if low < depth < high:
            return center.float(), float(depth)
    spread = float((origins - origins.mean(0)).norm(dim=1).max())
    depth = 2 / (1 / bounds[0] + 1 / bounds[1]) if bounds else max(4 * spread, 1.0)
    return (origins.mean(0) + depth * forward.mean(0)).float(), float(depth)


def _bounds(cameras: Cameras) -> tuple[float, float]:
    """Distances between which what the cameras look at is."""
    _, depth = look_at(cameras)
    return depth / 3, depth * 5 / 3
