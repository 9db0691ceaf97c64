"""3D scenes of the Menagerie: their strips, their measures, and a whole run on a random model."""

from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.harness import Harness
from benchmarks.menagerie.render import render
from benchmarks.suites.base import SceneSuite
from benchmarks.suites.menagerie_scenes import (
    FARTHEST,
    SEEN,
    MenagerieScenes,
    cameras,
    new_poses,
    parted,
    prepared,
    strip,
)
from editing import DDS, DistillationEditor
from editing.errors import UserError
from editing.parameters import NeRF
from editing.parameters.nerf import Fit


def test_every_scene_is_edited_in_every_way() -> None:
    suite = MenagerieScenes(3)
    assert isinstance(suite, SceneSuite)
    cases = suite.make_cases()
    assert [case.group for case in cases] == ["species"] * 3 + ["coat"] * 3
    for case in cases:
        assert case.about.source.species == "cat" and case.prompts[0] == "a cat"
        value = getattr(case.about.answer, case.group)
        assert value in case.prompts[1] and value != getattr(case.about.source, case.group)
        assert case.size == (128, 256)
    assert cases[0].cluster == cases[3].cluster != cases[1].cluster
    assert len({str(case.identity) for case in cases}) == 6
    other = MenagerieScenes(3, arc=90).make_cases()
    assert other[0].identity != cases[0].identity


def test_a_strip_holds_views_and_distances() -> None:
    images, depth = torch.rand(SEEN, 3, 8, 8), torch.rand(SEEN, 1, 8, 8) * FARTHEST
    depth[0, 0, 0, 0] = 2 * FARTHEST
    made = strip(images, depth)
    assert made.shape == (3, 16, 8 * SEEN)
    again, distances = parted(made)
    assert torch.equal(again, images)
    torch.testing.assert_close(distances * FARTHEST, depth.clamp_max(FARTHEST))


def test_its_cameras_are_those_of_the_renderer() -> None:
    """A point that a ray of the renderer hits is where the camera's ray is at that depth."""
    scene = MenagerieScenes(1).make_cases()[0].about.source
    poses = new_poses(scene, 60.0)
    drawn = render([scene] * SEEN, 16, poses)
    made = cameras(poses, 16)
    assert len({tuple(pose.flatten().tolist()) for pose in poses}) == SEEN
    origins, directions = made.rays()
    points = origins + directions * drawn.depth.permute(0, 2, 3, 1)
    near = drawn.depth[:, 0] < 3  # the animal and the ground before it
    assert near.any()
    height = points[..., 1][near]
    assert float(height.min()) > -0.1 and float(height.max()) < 1.5


def test_the_exact_answer_is_exact_and_the_source_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    suite = MenagerieScenes(1, ["species"])
    cases = suite.make_cases()
    pictures = suite.load(cases)
    assert pictures.answer is not None
    (exact,) = suite.measure(cases, pictures, pictures.answer)
    (source,) = suite.measure(cases, pictures, pictures.source)
    assert exact["views_psnr"] == 100 and exact["depth_error"] == 0
    assert exact["source_distance"] > 0.1 and exact["success"] > source["success"] == 0
    assert source["views_psnr"] < 30 and source["depth_error"] > 0.02
    assert source["source_distance"] == 0 and exact["clip_score"] > source["clip_score"]
    assert source["kept_psnr"] == 100 and source["exact_psnr"] < source["views_psnr"]
    assert exact["exact_psnr"] == 100 and exact["kept_psnr"] > 40
    wrong = pictures.answer.clone()
    wrong[:, :, 64:] += 0.5 / FARTHEST  # everything half a body length further away
    (shifted,) = suite.measure(cases, pictures, wrong)
    assert shifted["depth_error"] == pytest.approx(0.5, abs=0.05)
    assert shifted["views_psnr"] == 100


def test_scenes_are_edited_one_by_one(tiny_prior: Any, tmp_path: Path) -> None:
    parameters = NeRF(fit=Fit(steps=2, rays=16, resolution=8))
    editor = DistillationEditor(DDS(tiny_prior), parameters, 2, 0.01, torch.optim.Adam)
    suite = MenagerieScenes(2, ["coat"], size=32, views=3)
    prepared.cache_clear()
    tally = Harness(suite, tmp_path, 8).run(editor, {"method": "dds"}, tiny_prior, 0)
    assert (tally.made, tally.failed) == (6, {})  # source, exact answer and edit of two
    assert prepared.cache_info().misses == 2
    again = Harness(suite, tmp_path, 8).run(editor, {"method": "dds"}, tiny_prior, 0)
    assert (again.made, again.kept) == (0, 6)
    (row, _) = Harness(suite, tmp_path, 8).rows({"method": "dds", "seed": 0})
    assert row["evaluations"] == {"forward": 8.0, "backward": 0.0}
    assert set(row["metrics"]) == set(suite.metrics)


def test_a_scene_that_is_no_longer_finite_fails_alone(tiny_prior: Any, tmp_path: Path) -> None:
    class Spoilt(DDS):
        calls = 0

        def gradient(self, *arguments: Any) -> Any:
            self.calls += 1
            found = super().gradient(*arguments)
            return found * torch.nan if self.calls in (3, 6) else found

    parameters = NeRF(fit=Fit(steps=2, rays=16, resolution=8))
    editor = DistillationEditor(Spoilt(tiny_prior), parameters, 2, 0.01)
    suite = MenagerieScenes(3, ["coat"], size=32, views=3)
    tally = Harness(suite, tmp_path, 8).run(editor, {"method": "dds"}, tiny_prior, 0)
    assert len(tally.failed) == 1 and editor.distiller.calls == 5 + 1
    (reason,) = tally.failed.values()
    assert "not finite at step 1 of 2" in reason


def test_pictures_are_no_scenes(tiny_prior: Any, tmp_path: Path) -> None:
    editor = DistillationEditor(DDS(tiny_prior), steps=1)
    harness = Harness(MenagerieScenes(1), tmp_path, 8)
    with pytest.raises(UserError, match="edits 3D scenes: add parameters=nerf"):
        harness.run(editor, {"method": "dds"}, tiny_prior, 0)


@pytest.mark.parametrize("options", [{"kinds": ["hat"]}, {"split": "train"}, {"views": 1}])
def test_options_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        MenagerieScenes(**options)
