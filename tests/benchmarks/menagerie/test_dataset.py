import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from benchmarks.menagerie.dataset import WORLD, draw, load_shards, main, shards, to_uint8
from benchmarks.menagerie.render import FIELD_OF_VIEW, render
from benchmarks.menagerie.scene import Scene, sample_scene
from benchmarks.menagerie.sdf import FAR


def test_pictures_are_rounded_to_bytes() -> None:
    found = to_uint8(torch.tensor([0.0, 0.4 / 255, 0.6 / 255, 1.0, 1.2]))
    assert found.tolist() == [0, 0, 1, 255, 255]


def test_draw_batches_without_a_trace(scenes: list[Scene]) -> None:
    drawn = draw(scenes[:3], 16, batch=2)
    assert {k: tuple(v.shape) for k, v in drawn.items()} == {
        "image": (3, 3, 16, 16),
        "animal": (3, 1, 16, 16),
        "worn": (3, 1, 16, 16),
        "prop": (3, 1, 16, 16),
    }
    last = render([scenes[2]], 16)
    difference = drawn["image"][2].int() - to_uint8(last.image)[0].int()
    assert difference.abs().max() <= 1


@pytest.mark.usefixtures("small_shards")
def test_shards_are_written_once_and_load_in_order(tmp_path: Path) -> None:
    paths = shards(tmp_path / "new" / "renders", 3, 16, workers=2)
    assert [p.name for p in paths] == [
        f"world{WORLD}-16px-000000{first}.safetensors" for first in (0, 2)
    ]
    assert [p.name for p in sorted(paths[0].parent.iterdir())] == [p.name for p in paths]
    stamps = [p.stat().st_mtime_ns for p in paths]
    paths[1].unlink()
    assert shards(paths[0].parent, 4, 16) == paths
    assert paths[0].stat().st_mtime_ns == stamps[0]
    data = load_shards(paths[0].parent, 16)
    assert data["seed"].tolist() == [0, 1, 2, 3]
    assert torch.equal(data["image"][2:], load_file(paths[1])["image"])
    expected = draw([sample_scene(3)], 16)["animal"][0].int()
    assert (data["animal"][3].int() - expected).abs().max() <= 1
    assert len(load_shards(paths[0].parent, 16, limit=1)["image"]) == 2
    with pytest.raises(FileNotFoundError, match="No 32-pixel shards"):
        load_shards(paths[0].parent, 32)


@pytest.mark.usefixtures("small_shards")
def test_a_killed_writer_leaves_no_half_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(descriptor: int) -> None:
        os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", killed)
        with pytest.raises(KeyboardInterrupt):
            shards(tmp_path, 2, 16)
    assert list(tmp_path.iterdir()) == []
    (path,) = shards(tmp_path, 2, 16)
    assert len(load_file(path)["image"]) == 2


@pytest.fixture(scope="module")
def view_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four views at 32 pixels of a cow."""
    folder = tmp_path_factory.mktemp("views") / "cow"
    options = ["--seed", "850003", "--species", "cow", "--count", "4", "--size", "32"]
    main(["views", "--out", str(folder), *options])
    return folder


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("L")) / 255


def test_views_have_the_blender_format(view_folder: Path) -> None:
    transforms = json.loads((view_folder / "transforms.json").read_text())
    assert transforms["camera_angle_x"] == pytest.approx(math.radians(FIELD_OF_VIEW))
    assert len(transforms["frames"]) == 4
    for frame in transforms["frames"]:
        assert {"file_path", "transform_matrix"} <= set(frame)
        with Image.open(view_folder / f"{frame['file_path']}.png") as picture:
            assert picture.size == (32, 32)
        pose = np.array(frame["transform_matrix"])
        np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-6)
        assert np.linalg.det(pose[:3, :3]) == pytest.approx(1)
        assert pose[3].tolist() == [0, 0, 0, 1]
    places = np.array([frame["transform_matrix"] for frame in transforms["frames"]])[:, :3, 3]
    assert np.linalg.norm(places[0] - places[2]) > 4  # all around


def test_poses_masks_and_depths_of_views_agree(view_folder: Path) -> None:
    transforms = json.loads((view_folder / "transforms.json").read_text())
    focal = 16 / math.tan(transforms["camera_angle_x"] / 2)
    for frame in transforms["frames"]:
        pose = np.array(frame["transform_matrix"])
        x, y, z = pose[:3, :3].T @ (np.array([0.0, 0.45, 0.0]) - pose[:3, 3])
        column, row = 16 + focal * x / -z, 16 - focal * y / -z
        mask = read(view_folder / f"{frame['file_path']}_mask.png")
        rows, columns = np.nonzero(mask > 0.5)
        assert abs(column - columns.mean()) < 5
        assert abs(row - rows.mean()) < 5
        stem = view_folder / frame["file_path"]
        depth = load_file(stem.with_name(f"{stem.name}_depth.safetensors"))["depth"].numpy()
        assert depth.shape == (32, 32)
        assert (depth[mask > 0] < FAR).all()
        assert np.abs(depth[mask == 1] - -z).max() < 1
        assert depth[mask == 0].max() > -z + 1


def test_unknown_arguments_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["views", "--out", "x"])
    assert stopped.value.code == 2
    assert "--seed" in capsys.readouterr().err
