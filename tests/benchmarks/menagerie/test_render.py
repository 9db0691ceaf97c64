import dataclasses
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from benchmarks.menagerie import anatomy
from benchmarks.menagerie.render import FIELD_OF_VIEW, Rendering, camera_to_world, render
from benchmarks.menagerie.scene import Scene, sample_scene
from benchmarks.menagerie.sdf import FAR, Solid

# Mean colours of the scenes of seeds 0, 1 and 2.
COLORS = [[0.412, 0.284, 0.2237], [0.5176, 0.493, 0.488], [0.4544, 0.4981, 0.5329]]


def test_a_scene_looks_the_same_alone_and_in_a_batch(
    scenes: list[Scene], renderings: list[Rendering]
) -> None:
    together = render(scenes[:6], 32)
    for field in dataclasses.fields(Rendering):
        alone = torch.cat([getattr(r, field.name) for r in renderings[:6]])
        torch.testing.assert_close(getattr(together, field.name), alone, atol=1 / 255, rtol=0)


def test_it_is_repeatable_bit_for_bit(scenes: list[Scene], renderings: list[Rendering]) -> None:
    again = render([scenes[4]], 32)
    for field in dataclasses.fields(Rendering):
        assert torch.equal(getattr(again, field.name), getattr(renderings[4], field.name))


def test_mean_colors_are_pinned(renderings: list[Rendering]) -> None:
    found = torch.cat([r.image for r in renderings[:3]]).mean((2, 3))
    torch.testing.assert_close(found, torch.tensor(COLORS), atol=2 / 255, rtol=0)


def test_values_are_in_range(scenes: list[Scene], renderings: list[Rendering]) -> None:
    for scene, made in zip(scenes, renderings, strict=True):
        for image in (made.image, made.animal, made.worn, made.prop):
            assert image.min() >= 0
            assert image.max() <= 1
        assert made.depth.min() > 0
        assert made.animal.sum() > 20
        assert (made.animal + made.prop).max() <= 1
        assert ((made.worn - made.animal) <= 1e-6).all()
        if scene.worn == "none":
            assert made.worn.max() == 0
        else:
            assert made.worn.sum() > 1
        if scene.prop == "none":
            assert made.prop.max() == 0


def test_the_animal_fills_half_of_the_width(
    scenes: list[Scene], renderings: list[Rendering]
) -> None:
    columns = [(r.animal[0, 0] > 0).any(0).nonzero() for r in renderings]
    widths = [int(c.max() - c.min() + 1) / 32 for c in columns]
    assert 0.4 < sum(widths) / len(widths) < 0.7
    assert max(widths) < 1
    # Upright animals are the narrow ones.
    narrow = [scenes[i].species for i, width in enumerate(widths) if width < 0.35]
    assert set(narrow) <= {"penguin", "squirrel"} and min(widths) > 0.25


@pytest.mark.parametrize("size", [16, 24])
def test_the_size_is_respected(scenes: list[Scene], size: int) -> None:
    made = render(scenes[:1], size)
    assert made.image.shape == (1, 3, size, size)
    for other in (made.animal, made.worn, made.prop, made.depth):
        assert other.shape == (1, 1, size, size)


def pixel_rays(scene: Scene, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Camera position (3,) and unit directions (size, size, 3) through pixel centres, float64."""
    pose = camera_to_world(scene).double().numpy()
    half = math.tan(math.radians(FIELD_OF_VIEW) / 2)
    at = ((np.arange(size) + 0.5) / size * 2 - 1) * half
    x, y = np.meshgrid(at, -at)
    local = np.stack([x, y, -np.ones_like(x)], -1)
    return pose[:3, 3], local / np.linalg.norm(local, axis=-1, keepdims=True) @ pose[:3, :3].T


def test_depth_of_the_ground_is_the_distance_to_the_plane(
    scenes: list[Scene], renderings: list[Rendering]
) -> None:
    checked = 0
    for scene, made in zip(scenes[:12], renderings, strict=False):
        eye, direction = pixel_rays(scene, 64)  # four rays for each pixel
        plane = (-eye[1] / direction[..., 1]).reshape(32, 2, 32, 2).min((1, 3))
        free = ((made.animal + made.prop)[0, 0] == 0).numpy()
        free[:-6] = False  # the lowest rows show the ground, or what stands on it
        np.testing.assert_allclose(made.depth[0, 0].numpy()[free], plane[free], rtol=1e-4)
        checked += int(free[:, 12:20].sum())  # below what the camera looks at
    assert checked > 50


def test_the_camera_looks_at_its_target() -> None:
    scene = Scene(distance=3, pan=0.1, elevation=12)
    for azimuth in (0, 70):
        pose = camera_to_world(scene, azimuth)
        target = pose[:3, 3] - 3 * pose[:3, 2]
        assert target.tolist() == pytest.approx([0.1, 0.46, 0.0], abs=1e-5)
        assert pose[1, 2].item() == pytest.approx(math.sin(math.radians(12)), abs=1e-6)


@pytest.mark.parametrize("seed", [2, 5, 8, 13])
def test_another_species_changes_the_animal_its_shadow_and_its_contact_only(seed: int) -> None:
    size = 32
    scene = sample_scene(seed, species="cat", style="photo")
    pair = [scene, scene.replace(species="cow")]
    made = render(pair, size)
    outside = (made.animal.amax(0)[0] == 0).numpy()
    changed = ((made.image[0] - made.image[1]).abs().amax(0) > 1e-6).numpy()
    eye, direction = pixel_rays(scene, size)
    depth = made.depth[0, 0].double().numpy()
    p = eye + depth[..., None] * direction
    azimuth, height = math.radians(scene.light_azimuth), math.radians(scene.light_elevation)
    light = np.array(
        [
            math.sin(azimuth) * math.cos(height),
            math.sin(height),
            math.cos(azimuth) * math.cos(height),
        ]
    )
    reached = np.zeros_like(outside)
    solid = Solid.of(anatomy.build(pair, torch.device("cpu")))
    for center, radius in zip(solid.center.double().numpy(), solid.radius.tolist(), strict=True):
        to = center - p
        along = np.maximum((to * light).sum(-1, keepdims=True), 0)
        reached |= np.linalg.norm(to - along * light, axis=-1) < radius + 0.3  # and a pixel's size
    sky = depth >= FAR
    assert (changed & ~outside).sum() > 30
    assert not (changed & outside & (sky | ~reached)).any()
    assert (~changed).mean() > 0.3
    # Beside the animals nothing else moved.
    assert torch.equal(
        made.depth[0, 0][torch.from_numpy(outside)], made.depth[1, 0][torch.from_numpy(outside)]
    )


def test_a_drawing_is_flat_with_dark_lines() -> None:
    photo = sample_scene(2, style="photo", place="meadow", coat="natural")
    made = render([photo, photo.replace(style="drawing")], 32)
    assert torch.equal(made.animal[0], made.animal[1])
    edge = (F.max_pool2d(made.animal, 3, 1, 1) - -F.max_pool2d(-made.animal, 3, 1, 1)) > 0.9
    light = made.image.mean(1, keepdim=True)
    assert light[1][edge[1]].mean() < light[1][~edge[1]].mean() - 0.2


def test_a_ray_that_misses_hits_nothing_at_the_horizon() -> None:
    """Just below the horizon the ground is farther away than a ray that missed is said to reach."""
    scene = Scene(species="penguin", elevation=14.80412762878656, distance=3.6788546686753403)
    made = render([scene], 32)
    columns = (made.animal[0, 0] > 0).any(0).nonzero()
    assert columns.min() > 3 and columns.max() < 28
    assert (made.prop == 0).all()
