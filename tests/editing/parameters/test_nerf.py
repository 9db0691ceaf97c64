import math
from pathlib import Path
from typing import Any

import pytest
import torch

from editing.errors import UserError
from editing.parameters.nerf import Field, Fit, NeRF, fit, render
from editing.parameters.nerf.field import sample
from editing.parameters.nerf.gains import COLOR_FLOOR, DENSITY_FLOOR, SLOPE, find_gains
from editing.parameters.nerf.radiance import Radiance
from editing.parameters.nerf.render import FAR, NEAR, compositing_weights, spread
from editing.parameters.scenes import by_nearness, normals, path_between, shaded
from editing.parameters.views import Cameras, Views


def cameras(count: int = 4, size: int = 16, distance: float = 3.0, arc: float = 360.0) -> Cameras:
    """Around the origin, looking at it, with a field of view of 50 degrees."""
    poses = []
    for i in range(count):
        a = math.radians(arc) * i / count
        pose = torch.eye(4)
        pose[:3, 0] = torch.tensor([math.cos(a), 0.0, -math.sin(a)])
        pose[:3, 2] = torch.tensor([math.sin(a), 0.0, math.cos(a)])
        pose[:3, 3] = distance * pose[:3, 2]
        poses.append(pose)
    focal = torch.full((count, 2), 0.5 * size / math.tan(math.radians(25)))
    return Cameras(torch.stack(poses), focal, torch.full((count, 2), size / 2), size, size)


def ball(radius: float = 0.6, resolution: int = 65) -> Field:
    """An opaque ball around the origin in empty space."""
    field = Field(torch.zeros(3), 1.0, resolution)
    line = torch.linspace(-2, 2, resolution)
    z, y, x = torch.meshgrid(line, line, line, indexing="ij")
    far = (x * x + y * y + z * z).sqrt() > radius
    with torch.no_grad():
        field.density_grid[0, 0] = torch.where(far, -40.0, 400.0)
    return field


def test_space_is_contracted_outside_the_sphere_only() -> None:
    field = Field(torch.tensor([1.0, 0.0, 0.0]), 2.0, 8)
    points = torch.tensor([[1.0, 0.0, 0.0], [3.0, 0.0, 0.0], [1.0, 8.0, 0.0], [1.0, 0.0, 1e9]])
    expected = [[0.0, 0.0, 0.0], [0.5, 0.0, 0.0], [0.0, (2 - 1 / 4) / 2, 0.0], [0.0, 0.0, 1.0]]
    torch.testing.assert_close(field.contract(points), torch.tensor(expected))


def test_the_grids_axes_are_those_of_space() -> None:
    """x runs along the last axis of a grid, as in torch's grid_sample."""
    grid = torch.zeros(1, 1, 3, 3, 3)
    grid[0, 0, 1, 1, 2] = 1.0
    where = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.0, 0.0], [0.0, 1.0, 0.0]])
    torch.testing.assert_close(sample(grid, where)[:, 0], torch.tensor([1.0, 0.5, 0.0]))


def test_weights_are_those_of_a_fog() -> None:
    """Of constant density: what is left after a distance falls exponentially."""
    edges = torch.linspace(1, 3, 6)[None]
    weights = compositing_weights(torch.full((1, 5), 0.7), edges)
    left = torch.exp(-0.7 * (edges - 1))
    torch.testing.assert_close(weights[:, :4], (left[:, :-1] - left[:, 1:])[:, :4])
    torch.testing.assert_close(weights.sum(1), torch.ones(1), atol=1e-5, rtol=0)


def test_distances_along_a_ray_grow_from_near_to_infinity() -> None:
    at = spread(torch.linspace(0, 1, 401))
    assert float(at[0]) == pytest.approx(NEAR) and float(at[-1]) == pytest.approx(FAR, rel=1e-3)
    assert bool((at.diff() > 0).all())
    torch.testing.assert_close(at[300], torch.tensor(2.0))


def test_a_ball_is_seen_where_it_is() -> None:
    made, field = cameras(4, 33), ball()
    with torch.no_grad():
        seen = render(field, made)
    origins, directions = made.rays()
    along = -(origins * directions).sum(-1)
    off = (origins.square().sum(-1) - along**2).clamp_min(0).sqrt()
    hit = off < 0.5
    exact = along - (0.6**2 - off**2).clamp_min(0).sqrt()
    assert float((seen.depth[:, 0] - exact)[hit].abs().max()) < 0.1
    past = seen.depth[:, 0][off > 0.75]
    assert float(past.min()) > 5  # nothing there: only what is endlessly far
    assert seen.image.shape == (4, 3, 33, 33)
    assert float(seen.image.min()) >= 0 and float(seen.image.max()) <= 1


def test_a_view_does_not_depend_on_the_others_or_on_chunks() -> None:
    made, field = cameras(3, 12), ball(resolution=17)
    together = render(field, made)
    for i in range(3):
        alone = render(field, made[[i]], chunk=50)
        torch.testing.assert_close(alone.image[0], together.image[i])
        torch.testing.assert_close(alone.depth[0], together.depth[i])


def test_chunks_change_no_gradient() -> None:
    made, field = cameras(1, 12), ball(resolution=9)
    gradients = []
    for chunk in (10_000, 31):
        field.zero_grad()
        (render(field, made, chunk).image * torch.linspace(0, 1, 12)).sum().backward()
        gradients.append([parameter.grad.clone() for parameter in field.parameters()])  # type: ignore[union-attr]
    for whole, parts in zip(*gradients, strict=True):
        assert float(whole.norm()) > 0
        torch.testing.assert_close(parts, whole, atol=1e-5, rtol=1e-4)


def test_gradients_are_those_of_finite_differences() -> None:
    """Of the colour, in the smooth fog that a field begins as."""
    torch.manual_seed(0)
    field = Field(torch.zeros(3), 1.0, 5, directions=True).double()
    made = cameras(1, 4)
    made = Cameras(made.poses.double(), made.focal.double(), made.center.double(), 4, 4)
    weight = torch.rand(1, 3, 4, 4, dtype=torch.float64)

    def value() -> torch.Tensor:
        return (render(field, made).image * weight).sum()

    value().backward()
    for parameter in (field.feature_grid, field.weights[0], field.biases[2]):
        assert parameter.grad is not None
        row = int(parameter.grad.abs().argmax())
        flat, step = parameter.data.view(-1), 1e-5
        flat[row] += step
        above = float(value())
        flat[row] -= 2 * step
        below = float(value())
        flat[row] += step
        expected = (above - below) / (2 * step)
        assert float(parameter.grad.view(-1)[row]) == pytest.approx(expected, rel=1e-4)


def colored_views(count: int = 8, size: int = 20) -> Views:
    """A ball, red on its right and green on its left, before a blue sky."""
    made = cameras(count, size, arc=80.0)
    origins, directions = made.rays()
    along = -(origins * directions).sum(-1)
    off = (origins.square().sum(-1) - along**2).clamp_min(0)
    depth = along - (0.6**2 - off).clamp_min(0).sqrt()
    right = (origins + depth[..., None] * directions)[..., 0] > 0
    red, green, blue = torch.eye(3)
    color = torch.where(right[..., None], red, green) * 0.8
    image = torch.where((off < 0.36)[..., None], color, blue * 0.9)
    return Views(image.permute(0, 3, 1, 2), made, tuple("abcdefgh"[:count]), 1, 5)


SMALL = Fit(steps=150, rays=256, resolution=24)


def test_a_scene_is_reconstructed_from_its_views() -> None:
    views = colored_views()
    field = fit(views[[0, 1, 2, 4, 5, 6, 7]], SMALL)
    seen = render(field, views.cameras)
    error = (seen.image - views.images).square().flatten(1).mean(1)
    psnr = -10 * error.log10()
    assert float(psnr[3]) > 20, psnr  # the view that was held out
    assert float(psnr.mean()) > 21, psnr


def test_the_same_seed_gives_the_same_field() -> None:
    views, short = colored_views(3, 8), Fit(steps=6, rays=32, resolution=8)
    torch.manual_seed(1)
    first = fit(views, short, seed=3)
    torch.manual_seed(2)
    again, other = fit(views, short, seed=3), fit(views, short, seed=4)
    assert torch.equal(first.density_grid, again.density_grid)
    assert torch.equal(first.weights[1], again.weights[1])
    assert not torch.equal(first.density_grid, other.density_grid)


def test_progress_is_told() -> None:
    told = []
    fit(colored_views(2, 8), Fit(steps=3, rays=8, resolution=8), progress=lambda *x: told.append(x))
    assert told == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("directions", [False, True])
def test_a_saved_field_is_the_same(directions: bool, tmp_path: Path) -> None:
    field = Field(torch.rand(3), 2.0, 6, directions=directions)
    (tmp_path / "field.safetensors").write_bytes(field.save())
    again = Field.load(tmp_path / "field.safetensors")
    assert torch.equal(render(again, cameras(1)).image, render(field, cameras(1)).image)


@pytest.mark.parametrize("contents", [None, b"", b"no field", b"\x02\0\0\0\0\0\0\0{}"])
def test_what_is_no_field_is_refused(contents: bytes | None, tmp_path: Path) -> None:
    if contents is not None:
        (tmp_path / "field.safetensors").write_bytes(contents)
    with pytest.raises(UserError, match="holds no radiance field"):
        Field.load(tmp_path / "field.safetensors")


def test_a_field_with_a_number_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    field = Field(torch.zeros(3), 1.0, 4)
    with torch.no_grad():
        field.density_grid[0, 0, 1, 2, 3] = math.nan
    (tmp_path / "bad.safetensors").write_bytes(field.save())
    with pytest.raises(UserError, match="density_grid holds a number that is not finite"):
        Field.load(tmp_path / "bad.safetensors")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("steps", 0),
        ("resolution", 1),
        ("features", 2),
        ("radius", 0),
        ("grid_rate", math.nan),
        ("network_rate", -1),
        ("smoothness", -0.1),
        ("density_smoothness", math.inf),
    ],
)
def test_settings_of_a_reconstruction_are_checked(option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"fit.{option}={value} cannot be used"):
        Fit(**{option: value})


def test_a_finer_field_looks_the_same() -> None:
    field = Field(torch.zeros(3), 1.0, 9)
    finer = field.refined(17)  # its points are among those of the finer grid
    assert finer.resolution == 17
    with torch.no_grad():
        difference = (render(finer, cameras(1)).image - render(field, cameras(1)).image).abs().max()
    assert float(difference) < 1e-4


def test_normals_of_a_ball_point_outwards() -> None:
    made = cameras(2, 64)
    origins, directions = made.rays()
    along = -(origins * directions).sum(-1)
    off = origins.square().sum(-1) - along**2
    depth = along - (0.6**2 - off).clamp_min(0).sqrt()
    points = origins + depth[..., None] * directions
    found = normals(depth[:, None], made).permute(0, 2, 3, 1)
    inside = off < 0.3
    assert float((found * points / 0.6).sum(-1)[inside].min()) > 0.97


def test_near_is_bright_in_a_picture_of_depth() -> None:
    grey = shaded(torch.tensor([1.0, 2.0, 1000.0]).view(1, 1, 1, 3))
    assert grey.shape == (1, 3, 1, 3)
    assert float(grey[0, 0, 0, 0]) > float(grey[0, 0, 0, 1]) > float(grey[0, 0, 0, 2]) == 0


def test_a_path_goes_from_the_first_camera_to_the_last() -> None:
    made = cameras(3)
    path = path_between(made, 5, torch.zeros(3))
    assert len(path) == 5
    for row, at in ((0, 0), (1, 2), (2, 4)):
        torch.testing.assert_close(path[at].poses[0], made.poses[row], atol=1e-5, rtol=0)
    turn = path[1].poses[0, :3, :3]
    torch.testing.assert_close(turn @ turn.T, torch.eye(3), atol=1e-5, rtol=0)


def test_a_path_goes_around_what_is_looked_at() -> None:
    around = cameras(6)[[0, 3, 1, 4, 2, 5]]  # as a list of pictures may have them
    order = by_nearness(around.origins)
    assert sorted(order) == list(range(6)) and order[0] == 0
    steps = around.origins[order].diff(dim=0).norm(dim=1)
    torch.testing.assert_close(steps, torch.full((5,), 3.0))  # the side of a hexagon
    for camera in path_between(around[order], 16, torch.zeros(3)):
        assert float(camera.origins.norm()) == pytest.approx(3.0, abs=1e-4)
        torch.testing.assert_close(camera.poses[0, :3, 2], camera.origins[0] / 3, atol=1e-3, rtol=0)


@pytest.mark.parametrize("rows", [[0, 1], [0, 0], [0]])
def test_a_path_between_opposite_or_equal_cameras_stays_outside(rows: list[int]) -> None:
    for camera in path_between(cameras(2)[rows], 7, torch.zeros(3)):
        assert float(camera.origins.norm()) == pytest.approx(3.0, abs=1e-4)


def test_an_edit_is_added_at_several_resolutions() -> None:
    """At first nothing, then what interpolation of the levels says; the source keeps its grids."""
    field = Field(torch.zeros(3), 1.0, 9)
    made = Radiance.begin(field, (3, 20))
    assert [tensor.shape[-1] for tensor in made.tensors()[:4]] == [3, 9, 3, 9], "no finer than it"
    camera = cameras(1)
    with torch.no_grad():
        assert torch.equal(made.render(camera).image, render(field, camera).image)
        made.densities[0][0, 0, 1, 1, 1] = 2.0
        made.colors[1][0, 2, 4, 4, 4] = 1.0
        found = made.edited()
        added = found.density_grid - field.density_grid
        color = found.feature_grid - field.feature_grid
    assert added[0, 0, 4, 4, 4] == 2 and added[0, 0, 2, 4, 4] == 1 and added[0, 0, 0, 4, 4] == 0
    assert color[0, 2, 4, 4, 4] == pytest.approx(1) and color.sum() == pytest.approx(1)
    assert torch.equal(made.field.density_grid, field.density_grid)


def test_a_gradient_reaches_every_level_and_what_is_saved_is_what_is_seen(tmp_path: Path) -> None:
    made = Radiance.begin(Field(torch.zeros(3), 1.0, 9, features=4), (3, 5))
    leaves = [tensor.requires_grad_() for tensor in made.tensors()]
    made.render(cameras(1)).image.square().sum().backward()
    assert all(leaf.grad is not None and leaf.grad.abs().sum() > 0 for leaf in leaves[:4])
    assert made.field.density_grid.grad is None
    with torch.no_grad():
        for leaf in leaves:
            leaf.add_(0.3 * torch.randn(leaf.shape, generator=torch.Generator().manual_seed(1)))
        seen = made.render(cameras(1)).image
    (tmp_path / "field.safetensors").write_bytes(made.save())
    again = render(Field.load(tmp_path / "field.safetensors"), cameras(1)).image
    torch.testing.assert_close(again, seen)


def test_a_step_moves_pixels_by_what_they_ask_for() -> None:
    """However many of them there are, and however many of the grids' points."""
    steps, asked = [], torch.tensor([0.01, 0.0, 0.0]).view(3, 1, 1)
    for size, levels in ((16, (5, 9)), (32, (5, 9)), (16, (9,)), (16, (3, 5, 9, 17))):
        around = cameras(4, size)
        made = Radiance.begin(ball(resolution=17), levels)
        torch.nn.init.zeros_(made.field.weights[-1])  # colours are the features alone
        made.gains = find_gains(made, around)
        leaves = [tensor.requires_grad_() for tensor in made.colors]
        before = made.render(around).image
        (before * asked).sum().div(4).backward()
        with torch.no_grad():
            for leaf in leaves:
                leaf.add_(leaf.grad)
            moved = (made.render(around).image - before)[:, :, size // 2, size // 2].mean(0)
        assert float(moved[1:].abs().max()) < 0.1 * float(moved[0])
        steps.append(float(moved[0]) / 0.01)
    assert all(0.3 < step < 1.3 for step in steps), steps


def test_channels_that_go_apart_count_too() -> None:
    """More density before a green half makes a red pixel greener: the channels' sum stays."""
    field = ball(resolution=17)
    torch.nn.init.zeros_(field.weights[-1])
    with torch.no_grad():
        field.density_grid.clamp_(-40, 6.0)  # one sees through it
        red = torch.tensor([3.0, -3.0, 0.0]).view(1, 3, 1, 1, 1)
        field.feature_grid[:, :3] = red
        field.feature_grid[:, :3, 9:] = -red
    gain, _ = find_gains(Radiance.begin(field, (9,)), cameras(2))
    assert float(gain[0, 0, 6, 4, 4]) < 0.5 / (DENSITY_FLOOR * 16 * 16)


def test_gains_are_positive_where_a_feature_darkens_what_it_colours() -> None:
    field = ball(resolution=17)
    with torch.no_grad():
        for weight in (*field.weights[:2], *field.biases[:2]):
            weight.fill_(0.1)
        field.weights[2].fill_(-0.5)
        field.biases[2].fill_(0.5 * 32 * 0.42)  # so that colours are in the middle
    made = Radiance.begin(field, (5, 9))
    made.gains = find_gains(made, cameras(4))
    assert all(float(gain.min()) > 0 for gain in made.gains)
    with torch.no_grad():
        assert made.render(cameras(4)).image.isfinite().all()


def test_what_no_view_shows_is_not_moved_far() -> None:
    made = Radiance.begin(ball(resolution=17), (5, 9))
    gains = find_gains(made, cameras(4))
    assert [gain.shape[-1] for gain in gains] == [5, 9, 5, 9]
    pixels = 16 * 16
    for unseen, floor in zip(gains, [DENSITY_FLOOR] * 2 + [COLOR_FLOOR * SLOPE] * 2, strict=True):
        assert float(unseen[0, 0, 0, 0, 0]) == pytest.approx(1 / (floor * pixels) / 2, rel=1e-3)
        assert 0 < float(unseen.min()) < 0.95 * float(unseen.max())
        assert float(unseen.max()) <= float(unseen[0, 0, 0, 0, 0]) * 1.001


@pytest.mark.parametrize("levels", [[], [1], [2.5]])
def test_levels_are_numbers_of_points(levels: list[Any]) -> None:
    with pytest.raises(ValueError, match="levels"):
        NeRF(levels=levels)
