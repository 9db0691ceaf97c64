"""Scene folders of every layout, written here from one set of cameras and read back."""

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from editing.errors import UserError
from editing.parameters.readers import alike, look_at, read_views, undistorted
from editing.parameters.views import Cameras

WIDTH, HEIGHT, FOCAL = 40, 24, 50.0
NAMES = ["im_0.png", "im_1.png", "im_2.png", "im_3.png"]


def circle(count: int = 4, distance: float = 4.0) -> torch.Tensor:
    """Poses around the origin, looking at it."""
    poses = []
    for i in range(count):
        a, e = 2 * math.pi * i / count, 0.3
        back = torch.tensor([math.sin(a) * math.cos(e), math.sin(e), math.cos(a) * math.cos(e)])
        right = torch.tensor([math.cos(a), 0.0, -math.sin(a)])
        pose = torch.eye(4)
        pose[:3, :3] = torch.stack([right, torch.linalg.cross(back, right), back], 1)
        pose[:3, 3] = distance * back
        poses.append(pose)
    return torch.stack(poses)


def write_pictures(folder: Path, width: int = WIDTH, height: int = HEIGHT) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(0)
    for name in NAMES:
        pixels = values.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)


def write_nerfstudio(folder: Path, **changes: Any) -> dict[str, Any]:
    write_pictures(folder / "images")
    frames = [
        {"file_path": f"images/{name}", "transform_matrix": pose.tolist()}
        for name, pose in zip(NAMES, circle(), strict=True)
    ]
    lens = {
        "fl_x": FOCAL,
        "fl_y": FOCAL,
        "cx": WIDTH / 2,
        "cy": HEIGHT / 2,
        "w": WIDTH,
        "h": HEIGHT,
    }
    data = lens | {"frames": frames} | changes
    (folder / "transforms.json").write_text(json.dumps(data))
    return data


def write_blender(folder: Path) -> None:
    write_pictures(folder / "train")
    frames = [
        {"file_path": f"./train/{name.removesuffix('.png')}", "transform_matrix": pose.tolist()}
        for name, pose in zip(NAMES, circle(), strict=True)
    ]
    data = {"camera_angle_x": 2 * math.atan(WIDTH / 2 / FOCAL), "frames": frames}
    (folder / "transforms_train.json").write_text(json.dumps(data))


def write_llff(folder: Path) -> None:
    """LLFF's axes are down, right and backwards."""
    write_pictures(folder / "images")
    rows = []
    for pose in circle().double():
        right, up, back, position = pose[:3].T
        lens = torch.tensor([HEIGHT, WIDTH, FOCAL], dtype=torch.float64)
        matrix = torch.stack([-up, right, back, position, lens], 1)
        rows.append(torch.cat([matrix.flatten(), torch.tensor([2.0, 9.0])]).numpy())
    np.save(folder / "poses_bounds.npy", np.stack(rows))


def write_colmap(folder: Path, text: bool = False, model: str = "PINHOLE") -> None:
    pycolmap = pytest.importorskip("pycolmap")
    write_pictures(folder / "images")
    made = pycolmap.Reconstruction()
    camera = pycolmap.Camera.create_from_model_name(1, model, FOCAL, WIDTH, HEIGHT)
    made.add_camera_with_trivial_rig(camera)
    for i, (name, pose) in enumerate(zip(NAMES, circle(), strict=True), 1):
        flipped = pose.double() @ torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]).double())
        matrix = torch.linalg.inv(flipped)[:3].numpy()
        image = pycolmap.Image(name=name, camera_id=1, image_id=i)
        made.add_image_with_trivial_frame(image, pycolmap.Rigid3d(matrix))
    made.add_point3D(np.array([0.1, 0.2, 0.3]), pycolmap.Track(), np.array([255, 0, 51], np.uint8))
    sparse = folder / "sparse" / "0"
    sparse.mkdir(parents=True)
    (made.write_text if text else made.write_binary)(str(sparse))


WRITERS = {
    "nerfstudio": write_nerfstudio,
    "blender": write_blender,
    "llff": write_llff,
    "colmap": write_colmap,
    "colmap text": lambda folder: write_colmap(folder, text=True),
}


@pytest.mark.parametrize("layout", WRITERS)
def test_every_layout_gives_the_same_cameras(layout: str, tmp_path: Path) -> None:
    WRITERS[layout](tmp_path)
    views = read_views(tmp_path, 24)
    assert views.names == tuple(NAMES) and views.images.shape == (4, 3, 24, 40)
    torch.testing.assert_close(views.cameras.poses, circle(), atol=1e-5, rtol=0)
    torch.testing.assert_close(views.cameras.focal, torch.full((4, 2), FOCAL))
    torch.testing.assert_close(views.cameras.center, torch.tensor([[20.0, 12.0]] * 4))
    picture = np.asarray(Image.open(next(tmp_path.rglob("im_2.png"))))
    torch.testing.assert_close(views.images[2], torch.tensor(picture).permute(2, 0, 1) / 255)


def test_bounds_are_those_of_the_layout_or_around_what_is_looked_at(tmp_path: Path) -> None:
    write_llff(tmp_path / "llff")
    assert read_views(tmp_path / "llff", 24).near == 2
    write_blender(tmp_path / "blender")
    views = read_views(tmp_path / "blender", 24)
    assert views.near == pytest.approx(4 / 3) and views.far == pytest.approx(20 / 3)


def test_points_of_colmap_come_along(tmp_path: Path) -> None:
    write_colmap(tmp_path)
    points = read_views(tmp_path, 24).points
    assert points is not None
    torch.testing.assert_close(points[0], torch.tensor([[0.1, 0.2, 0.3]]))
    torch.testing.assert_close(points[1], torch.tensor([[1.0, 0.0, 0.2]]))


def test_views_are_resized_and_cropped_not_squashed(tmp_path: Path) -> None:
    write_nerfstudio(tmp_path)
    views = read_views(tmp_path, 16, 8)
    assert views.images.shape == (4, 3, 16, 24)
    focal = views.cameras.focal
    assert float((focal[:, 0] / focal[:, 1] - 1).abs().max()) < 0.02
    torch.testing.assert_close(views.cameras.center[0], torch.tensor([12.0, 8.0]), atol=0.6, rtol=0)


def test_pictures_smaller_than_their_lens_says(tmp_path: Path) -> None:
    """As nerfstudio's images_2 beside a list made for images."""
    write_nerfstudio(tmp_path)
    write_pictures(tmp_path / "images", WIDTH // 2, HEIGHT // 2)
    views = read_views(tmp_path, HEIGHT // 2)
    torch.testing.assert_close(views.cameras.focal, torch.full((4, 2), FOCAL / 2))
    torch.testing.assert_close(views.cameras.center, torch.tensor([[10.0, 6.0]] * 4))


def test_distortion_is_undone() -> None:
    """A grid of dots, seen through a lens, is where a lens without distortion would show it."""
    camera = Cameras(
        torch.eye(4)[None], torch.full((1, 2), 60.0), torch.tensor([[48.0, 40.0]]), 96, 80
    )
    k1, k2, p1, p2 = lens = (-0.2, 0.05, 0.004, -0.003)
    x, y = 0.35, -0.28
    r2 = x * x + y * y
    bend = 1 + k1 * r2 + k2 * r2 * r2
    bent_x = x * bend + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
    bent_y = y * bend + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
    rows, columns = torch.meshgrid(torch.arange(80) + 0.5, torch.arange(96) + 0.5, indexing="ij")

    def dot(u: float, v: float) -> torch.Tensor:
        squared = (columns - (60 * u + 48)) ** 2 + (rows - (60 * v + 40)) ** 2
        return torch.exp(-squared / 8).expand(1, 3, -1, -1)

    straight = undistorted(dot(bent_x, bent_y), camera, lens)
    weight = straight[0, 0] / straight[0, 0].sum()
    found = torch.stack([(weight * columns).sum(), (weight * rows).sum()])
    torch.testing.assert_close(found, torch.tensor([60 * x + 48, 60 * y + 40]), atol=0.15, rtol=0)


def test_what_cameras_look_at() -> None:
    poses = circle()
    poses[:, :3, 3] += torch.tensor([1.0, 2.0, 3.0])
    lens = torch.ones(4, 2)
    center, depth = look_at(Cameras(poses, lens, lens, 4, 4))
    torch.testing.assert_close(center, torch.tensor([1.0, 2.0, 3.0]), atol=1e-5, rtol=0)
    assert depth == pytest.approx(4)


def test_parallel_cameras_look_at_the_middle_of_their_bounds() -> None:
    poses = torch.eye(4).repeat(3, 1, 1)
    poses[:, 0, 3] = torch.tensor([-1.0, 0.0, 1.0])
    lens = torch.ones(3, 2)
    center, depth = look_at(Cameras(poses, lens, lens, 4, 4), (2, 6))
    assert depth == pytest.approx(3)
    torch.testing.assert_close(center, torch.tensor([0.0, 0.0, -3.0]))
    _, unbounded = look_at(Cameras(poses, lens, lens, 4, 4))
    assert unbounded == pytest.approx(4)


def test_axes_that_meet_outside_of_the_bounds_are_not_believed() -> None:
    poses, lens = circle(distance=4.0), torch.ones(4, 2)
    _, depth = look_at(Cameras(poses, lens, lens, 4, 4), (1, 8))
    assert depth == pytest.approx(4)
    _, depth = look_at(Cameras(poses, lens, lens, 4, 4), (10, 40))
    assert depth == pytest.approx(16)


@pytest.mark.parametrize(
    ("given", "found"),
    [((1015, 676), (4060, 2707)), ((378, 283), (3024, 2268)), ((101, 67), (808, 540))],
)
def test_pictures_and_lenses_may_be_of_other_sizes_but_one_shape(
    given: tuple[int, int], found: tuple[int, int]
) -> None:
    assert alike(given, found) and alike(found, given)
    assert not alike(given, found[::-1]) and not alike(given, (found[0], found[1] + 40))


@pytest.mark.parametrize("model", ["SIMPLE_RADIAL", "PINHOLE", None])
def test_lenses_that_are_understood(model: str | None, tmp_path: Path) -> None:
    write_nerfstudio(tmp_path, camera_model=model, is_fisheye=False, k3=0)
    assert len(read_views(tmp_path, 24)) == 4


def turned(path: Path) -> None:
    """The same picture, which a viewer shows turned by 90 degrees."""
    with Image.open(path) as picture:
        exif = picture.getexif()
        exif[0x0112] = 6
        picture.save(path, exif=exif)


def change_llff(folder: Path, column: int, value: float) -> None:
    rows = np.load(folder / "poses_bounds.npy")
    rows[1, column] = value
    np.save(folder / "poses_bounds.npy", rows)


def spoilt(matrix: list[list[float]], value: float) -> list[list[float]]:
    return [[value, *matrix[0][1:]], *matrix[1:]]


REFUSALS = {
    "no such folder": (lambda f: None, "nowhere", "does not exist: give the folder of a scene"),
    "no poses": (
        lambda f: write_pictures(f),
        "",
        "holds no camera poses: a scene needs transforms",
    ),
    "not JSON": (
        lambda f: (f / "transforms.json").write_text("{"),
        "",
        "transforms.json.* cannot be",
    ),
    "no frames": (lambda f: (f / "transforms.json").write_text("{}"), "", "is no list of frames"),
    "one view": (
        lambda f: write_nerfstudio(f, frames=write_nerfstudio(f)["frames"][:1]),
        "",
        "holds 1 views: give at least two",
    ),
    "no lens": (
        lambda f: (f / "transforms.json").write_text(
            json.dumps({"frames": write_nerfstudio(f)["frames"]})
        ),
        "",
        "camera_angle_x",
    ),
    "a picture missing": (
        lambda f: (write_nerfstudio(f), (f / "images" / NAMES[1]).unlink()),
        "",
        "im_1.png' is missing: the list of poses names it",
    ),
    "NaN in a pose": (
        lambda f: write_nerfstudio(
            f,
            frames=[
                frame | {"transform_matrix": spoilt(frame["transform_matrix"], math.nan)}
                for frame in write_nerfstudio(f)["frames"]
            ],
        ),
        "",
        "The pose of im_0.png holds a number that is not finite",
    ),
    "no rotation": (
        lambda f: write_nerfstudio(
            f,
            frames=[
                frame | {"transform_matrix": spoilt(frame["transform_matrix"], 3.0)}
                for frame in write_nerfstudio(f)["frames"]
            ],
        ),
        "",
        "The pose of im_0.png is no rotation and translation",
    ),
    "negative focal length": (
        lambda f: write_nerfstudio(f, fl_x=-3.0),
        "",
        "The focal length of im_0.png is -3.0: it must be positive",
    ),
    "a fisheye": (
        lambda f: write_nerfstudio(f, camera_model="OPENCV_FISHEYE"),
        "",
        "has the lens OPENCV_FISHEYE, .*: undistort",
    ),
    "a panorama": (
        lambda f: write_nerfstudio(f, camera_model="EQUIRECTANGULAR"),
        "",
        "has the lens EQUIRECTANGULAR, .*: undistort",
    ),
    "k3": (lambda f: write_nerfstudio(f, k3=0.1), "", "has a lens with k3, .*: undistort"),
    "a fisheye of instant-ngp": (
        lambda f: write_nerfstudio(f, is_fisheye=True),
        "",
        "has a fisheye lens, .*: undistort",
    ),
    "a size beyond all numbers": (
        lambda f: write_nerfstudio(f, w=math.inf),
        "",
        "has w=inf: it must be a finite number",
    ),
    "NaN in a principal point": (
        lambda f: write_nerfstudio(f, cx=math.nan),
        "",
        "has cx=nan: it must be a finite number",
    ),
    "NaN in a distortion": (
        lambda f: write_nerfstudio(f, k1=math.nan),
        "",
        "has k1=nan: it must be a finite number",
    ),
    "no angle": (
        lambda f: write_nerfstudio(f, fl_x=0, camera_angle_x=0),
        "",
        "has camera_angle_x=0: it is in radians, above 0 and below pi",
    ),
    "a picture that is turned": (
        lambda f: (write_nerfstudio(f), turned(f / "images" / NAMES[2])),
        "",
        "im_2.png is 24x40 pixels upright, but its lens is given for 40x24",
    ),
    "a COLMAP fisheye": (
        lambda f: write_colmap(f, model="SIMPLE_RADIAL_FISHEYE"),
        "",
        "has a lens of the kind SIMPLE_RADIAL_FISHEYE: undistort",
    ),
    "LLFF with a NaN in a lens": (
        lambda f: (write_llff(f), change_llff(f, 4, math.nan)),
        "",
        "has a height, width or focal length that is no positive number",
    ),
    "LLFF with far before near": (
        lambda f: (write_llff(f), change_llff(f, 16, 1.0)),
        "",
        "has depths that are no positive numbers, the nearest before the farthest",
    ),
    "LLFF of another shape": (
        lambda f: np.save(f / "poses_bounds.npy", np.zeros((4, 15))),
        "",
        r"has the shape \(4, 15\): it must be \(views, 17\)",
    ),
    "LLFF with a picture too many": (
        lambda f: (write_llff(f), Image.new("RGB", (40, 24)).save(f / "images" / "x.png")),
        "",
        "has 4 poses, and images/ has 5 pictures",
    ),
    "pickled LLFF": (
        lambda f: np.save(f / "poses_bounds.npy", np.array([{}]), allow_pickle=True),
        "",
        "poses_bounds.npy.* cannot be read",
    ),
    "views of several shapes": (
        lambda f: (
            write_blender(f),
            Image.new("RGB", (24, 40)).save(f / "train" / NAMES[3]),
        ),
        "",
        "are of several shapes, resized to 24x40, 40x24 pixels",
    ),
    "broken COLMAP": (
        lambda f: ((f / "sparse/0").mkdir(parents=True), (f / "sparse/0/cameras.bin").touch()),
        "",
        "sparse/0.* cannot be read",
    ),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_bad_scenes_get_one_sentence(what: str, tmp_path: Path) -> None:
    write, name, expected = REFUSALS[what]
    write(tmp_path)
    with pytest.raises(UserError) as caught:
        read_views(tmp_path / name, 24)
    message = str(caught.value)
    assert re.search(expected, message), message
    assert message.endswith(".") and "\n" not in message
