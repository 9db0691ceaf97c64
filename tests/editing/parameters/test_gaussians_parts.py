"""The parts of the renderer of Gaussians and of their reconstruction, one by one."""

import math
import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from scipy.special import sph_harm_y

from editing.errors import UserError
from editing.parameters.gaussians import Gaussians, fit, fitting, render, tiles
from editing.parameters.gaussians.clamp import clamped
from editing.parameters.gaussians.grow import Movement, divide, survivors
from editing.parameters.gaussians.harmonics import basis
from editing.parameters.gaussians.project import DILATION, Ellipses, project, world_to_camera
from editing.parameters.gaussians.raster import draw_with_gsplat, draw_with_torch
from editing.parameters.gaussians.start import match
from editing.parameters.gaussians.tiles import composite_tiles
from editing.parameters.views import Cameras, Views
from tests.editing.parameters.test_gaussians import several, single


def askew(size: tuple[int, int] = (29, 21), count: int = 3) -> Cameras:
    """Cameras of different focal lengths whose axes do not meet the middle, all around, float64."""
    poses = []
    for i in range(count):
        back = torch.tensor([math.sin(2 * i), 0.3 * i - 0.2, math.cos(2 * i)]).double()
        back = back / back.norm()
        right = torch.linalg.cross(torch.tensor([0.1, 1.0, 0.0]).double(), back)
        right = right / right.norm()
        up = torch.linalg.cross(back, right)
        pose = torch.eye(4).double()
        pose[:3] = torch.stack([right, up, back, 3 * back], -1)
        poses.append(pose)
    focal = torch.tensor([[26.0, 33.0]]).double().repeat(count, 1)
    center = torch.tensor([[11.0, 14.5]]).double().repeat(count, 1)
    return Cameras(torch.stack(poses), focal, center, *size)


def pixel_by_pixel(
    ellipses: Ellipses, features: torch.Tensor, width: int, height: int
) -> torch.Tensor:
    """What `composite_tiles` gives, with all ellipses at every pixel; alpha is the last channel."""
    y, x = torch.meshgrid(*(torch.arange(n).double() + 0.5 for n in (height, width)), indexing="ij")
    picture = torch.zeros(features.shape[1] + 1, height, width).double()
    left = torch.ones(height, width).double()
    for i in range(len(features)):
        dx, dy = x - ellipses.centers[i, 0], y - ellipses.centers[i, 1]
        xx, xy, yy = ellipses.conics[i]
        power = -(xx * dx**2 + 2 * xy * dx * dy + yy * dy**2) / 2
        alpha = (ellipses.opacities[i] * power.exp()).clamp(max=0.99)
        alpha = alpha * (alpha >= 1 / 255)
        value = torch.cat([features[i], torch.ones(1).double()])
        picture = picture + value[:, None, None] * alpha * left
        left = left * (1 - alpha)
    return picture


@pytest.mark.parametrize("chunk", [1, 2000, 2**18])
@pytest.mark.parametrize("keep", [0, 2**25])
def test_tiles_chunks_and_checkpoints_change_no_pixel(
    chunk: int, keep: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiles, "CHUNK_CPU", chunk)
    monkeypatch.setattr(tiles, "KEEP", keep)
    camera, some = askew()[[1]], several(60, seed=3).leaves()
    ellipses = project(some, camera, 0.2)
    features = torch.randn(len(ellipses.rows), 2, generator=torch.Generator().manual_seed(0))
    seen, alpha = composite_tiles(ellipses, features.double(), 29, 21)
    expected = pixel_by_pixel(ellipses, features.double(), 29, 21)
    torch.testing.assert_close(torch.cat([seen, alpha]), expected, atol=1e-12, rtol=1e-9)
    wanted = torch.autograd.grad(expected.square().sum(), some.means, retain_graph=True)
    got = torch.autograd.grad(torch.cat([seen, alpha]).square().sum(), some.means)
    torch.testing.assert_close(got, wanted, atol=1e-10, rtol=1e-7)


def test_a_needle_in_float32_is_still_right() -> None:
    """A hundred times longer than wide, across the picture: xx yy - xy^2 would cancel."""
    turned = torch.tensor([[math.cos(0.4), 0.0, 0.0, math.sin(0.4)]])
    needle = Gaussians(
        torch.tensor([[0.1, 0.2, 0.0]]),
        torch.tensor([[3.0, 0.003, 0.003]]).log(),
        turned,
        torch.tensor([2.0]),
        torch.zeros(1, 1, 3),
    )
    double = Gaussians(*(tensor.double() for tensor in needle.tensors()))
    camera = askew((64, 64))[[0]]
    error = (render(needle, camera).alpha - render(double, camera).alpha).abs().max()
    assert float(error) < 1e-3


def test_the_projection_is_linearised_where_the_gaussian_is() -> None:
    """Sigma' = A Sigma A^T + 0.3, with A the numeric Jacobian of world to pixels."""
    camera, some = askew()[[2]], several(20)
    ellipses = project(some, camera, 0.2)
    matrix, (fx, fy), (cx, cy) = world_to_camera(camera)[0], camera.focal[0], camera.center[0]

    def place(point: torch.Tensor) -> torch.Tensor:
        x, y, z = matrix[:3, :3] @ point + matrix[:3, 3]
        return torch.stack([fx * x / z + cx, fy * y / z + cy])

    checked = 0
    for i, row in enumerate(ellipses.rows.tolist()):
        mean = some.means[row]
        torch.testing.assert_close(ellipses.centers[i], place(mean))
        if not ((ellipses.centers[i] > 0) & (ellipses.centers[i] < 21)).all():
            continue  # outside, J is held at the edge
        steps = 1e-5 * torch.eye(3).double()
        a = torch.stack([(place(mean + h) - place(mean - h)) / 2e-5 for h in steps], -1)
        axes = some.axes()[row]
        covariance = a @ axes @ axes.T @ a.T + DILATION * torch.eye(2).double()
        xx, xy, yy = ellipses.conics[i]
        inverse = torch.stack([torch.stack([xx, xy]), torch.stack([xy, yy])])
        torch.testing.assert_close(inverse, torch.linalg.inv(covariance), atol=1e-8, rtol=1e-6)
        checked += 1
    assert checked > 8


def test_axes_are_turned_as_quaternions_say() -> None:
    """A quarter turn about z takes x to y; a quaternion's length does not count."""
    half = math.sqrt(0.5)
    turned = Gaussians(
        torch.zeros(1, 3),
        torch.tensor([[1.0, 2.0, 3.0]]).log(),
        5 * torch.tensor([[half, 0.0, 0.0, half]]),
        torch.zeros(1),
        torch.zeros(1, 1, 3),
    )
    expected = torch.tensor([[[0.0, -2, 0], [1, 0, 0], [0, 0, 3]]])
    torch.testing.assert_close(turned.axes(), expected, atol=1e-6, rtol=0)


def test_harmonics_are_scipys() -> None:
    directions = torch.nn.functional.normalize(torch.randn(40, 3).double(), dim=1)
    x, y, z = directions.numpy().T
    values = basis(directions, 16)
    for degree in range(4):
        for order in range(-degree, degree + 1):
            value = sph_harm_y(degree, abs(order), torch.tensor(z).acos().numpy(), 0 * x)
            angle = torch.atan2(torch.tensor(y), torch.tensor(x)) * abs(order)
            real = torch.tensor(value.real) * (angle.sin() if order < 0 else angle.cos())
            expected = real * (math.sqrt(2) if order else 1)
            column = values[:, degree * (degree + 1) + order]
            torch.testing.assert_close(column, expected, atol=1e-12, rtol=0)


def test_the_order_of_gaussians_does_not_matter() -> None:
    some, cameras = several(), askew()
    order = torch.randperm(len(some), generator=torch.Generator().manual_seed(5))
    before, after = render(some, cameras), render(some[order], cameras)
    torch.testing.assert_close(before.image, after.image, atol=1e-12, rtol=0)
    torch.testing.assert_close(before.depth, after.depth, atol=1e-12, rtol=0)


def test_depth_is_along_the_ray_and_normalised_by_alpha() -> None:
    """A wide, faint one: wherever it is seen, the ray meets the plane through its centre."""
    camera = askew()[[0]]
    faint = single(0.3, 2.0)
    faint = Gaussians(*(tensor.double() for tensor in faint.tensors()))
    seen = render(faint, camera)
    origins, directions = camera.rays()
    forward = -camera.poses[0, :3, 2]
    plane = ((faint.means[0] - camera.origins[0]) @ forward) / (directions[0] @ forward)
    there = seen.alpha[0, 0] > 0
    assert there.float().mean() > 0.9 and seen.alpha.max() < 0.31
    torch.testing.assert_close(seen.depth[0, 0][there], plane[there])
    point = origins[0, 10, 14] + directions[0, 10, 14] * seen.depth[0, 0, 10, 14]
    assert float((point - camera.origins[0]) @ forward) == pytest.approx(3, rel=1e-3)


def test_the_near_plane_cuts() -> None:
    camera = askew()[[0]]  # 3 away from the origin
    some = Gaussians(*(tensor.double() for tensor in single(0.8, 0.2).tensors()))
    assert float(render(some, camera, near=2.9).alpha.max()) > 0.5
    assert float(render(some, camera, near=3.1).alpha.max()) == 0


def test_what_left_the_range_can_come_back() -> None:
    x = torch.tensor([-0.5, -0.5, 0.5, 1.5, 1.5], requires_grad=True)
    y = clamped(x, 0.0, 1.0)
    assert y.tolist() == [0, 0, 0.5, 1, 1]
    y.backward(torch.tensor([1.0, -1, 1, 1, -1]))  # descent moves x the other way
    assert x.grad is not None and x.grad.tolist() == [0, -1, 1, 1, 0]


def test_gsplat_gets_a_scene_that_looks_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in that draws what it is given, in gsplat's conventions, draws our picture."""

    def rasterization(**given: Any) -> tuple[torch.Tensor, torch.Tensor, dict[str, Any]]:
        pictures = []
        for matrix, k, colors in zip(given["viewmats"], given["Ks"], given["colors"], strict=True):
            matrix, k = matrix.double(), k.double()
            local = given["means"].double() @ matrix[:3, :3].T + matrix[:3, 3]
            order = local[:, 2].argsort()
            order = order[local[order, 2] > given["near_plane"]]
            x, y, z = local[order].T
            w, a, b, c = (
                (given["quats"] / given["quats"].norm(dim=1, keepdim=True)).double()[order].T
            )
            q = torch.stack([w, a, b, c], -1)
            cross = torch.zeros(len(q), 3, 3).double()
            cross[:, [2, 0, 1], [1, 2, 0]], cross[:, [1, 2, 0], [2, 0, 1]] = q[:, 1:], -q[:, 1:]
            turn = torch.eye(3).double() + 2 * w[:, None, None] * cross + 2 * cross @ cross
            axes = matrix[:3, :3] @ turn @ torch.diag_embed(given["scales"].double()[order])
            j = torch.zeros(len(q), 2, 3).double()
            j[:, 0, 0], j[:, 1, 1] = k[0, 0] / z, k[1, 1] / z
            j[:, 0, 2], j[:, 1, 2] = -k[0, 0] * x / z**2, -k[1, 1] * y / z**2
            flat = j @ axes @ axes.mT @ j.mT + given["eps2d"] * torch.eye(2).double()
            inverse = torch.linalg.inv(flat)
            conics = torch.stack([inverse[:, 0, 0], inverse[:, 0, 1], inverse[:, 1, 1]], -1)
            centers = torch.stack([k[0, 0] * x / z + k[0, 2], k[1, 1] * y / z + k[1, 2]], -1)
            opacities = given["opacities"].double()[order]
            ellipses = Ellipses(order, z, centers, conics, opacities, 0 * centers)
            size = given["width"], given["height"]
            pictures.append(pixel_by_pixel(ellipses, colors.double()[order], *size))
        made = torch.stack(pictures).movedim(1, -1)
        return made[..., :-1], made[..., -1:], {}

    module = ModuleType("gsplat")
    module.rasterization = rasterization  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gsplat", module)
    cameras, some = askew(), several(12)
    some = Gaussians(0.5 * some.means, *some.tensors()[1:])  # not beyond the edge: J is held there
    features = torch.rand(3, 12, 4, generator=torch.Generator().manual_seed(2)).double()
    for ours, theirs in zip(
        draw_with_torch(some, features, cameras, 0.2),
        draw_with_gsplat(some, features, cameras, 0.2),
        strict=True,
    ):
        torch.testing.assert_close(theirs, ours, atol=1e-4, rtol=1e-4)


# --- reconstruction -------------------------------------------------------------------------------


def painted(count: int = 8, size: int = 32) -> Views:
    """Views of a board with a random pattern at z = 0, from a sixth of a circle."""
    pattern = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    poses = []
    for angle in torch.linspace(-0.5, 0.5, count).tolist():
        pose = torch.eye(4)
        pose[0, 0], pose[0, 2], pose[2, 0] = math.cos(angle), math.sin(angle), -math.sin(angle)
        pose[2, 2] = math.cos(angle)
        pose[:3, 3] = 3 * pose[:3, 2]
        poses.append(pose)
    focal, center = torch.full((count, 2), 1.6 * size), torch.full((count, 2), size / 2)
    cameras = Cameras(torch.stack(poses), focal, center, size, size)
    origins, directions = cameras.rays()
    depth = -origins[..., 2] / directions[..., 2]
    where = (origins + depth[..., None] * directions)[..., :2] / 1.5
    images = torch.nn.functional.grid_sample(
        pattern.expand(count, -1, -1, -1), where, align_corners=False, padding_mode="border"
    )
    return Views(images, cameras, tuple(map(str, range(count))), 1.5, 6.0)


def test_points_are_put_where_the_views_agree() -> None:
    views = painted()
    points, colors = match(views, 300, torch.Generator().manual_seed(0))
    assert len(points) == 300 and 0 <= colors.min() and colors.max() <= 1
    assert float((points[:, 2].abs() < 0.25).float().mean()) > 0.7
    with pytest.raises(UserError, match="No two views see the same"):
        match(views[[0]], 10, torch.Generator().manual_seed(0))


def test_a_board_is_reconstructed_for_views_that_were_held_out() -> None:
    views = painted(9)
    made = fit(views[[0, 1, 2, 3, 5, 6, 7, 8]], count=400, steps=150, seed=1)
    assert 200 < len(made) <= 400 and made.harmonics.shape[1] == 1
    seen = render(made, views[[4]].cameras)
    assert float(-10 * (seen.image - views.images[[4]]).square().mean().log10()) > 22
    first, second = (fit(views, count=400, steps=1, seed=seed).means[:9] for seed in (2, 3))
    assert not torch.equal(first, second)


def test_one_view_is_too_few() -> None:
    with pytest.raises(UserError, match="at least two"):
        fit(painted()[[0]], count=10, steps=1)


def test_the_faint_and_the_near_are_dropped() -> None:
    some, cameras = several(4), askew(count=1)
    some.opacity_logits[:] = torch.tensor([3.0, -6.0, 3.0, 3.0])
    some.means[:] = torch.tensor([[0.0, 0, 0], [0, 0, 0], [0, 0, 2.5], [0, 0, 1.0]])
    some.means[2] = cameras.origins[0] * 0.9
    assert survivors(some, cameras, 0.5).tolist() == [0, 3]


def test_dividing_keeps_opacity_and_what_did_not_move() -> None:
    some = several(6)
    some.log_scales[:3] = -9  # small: doubled, not split
    movement = torch.tensor([0.0, 5, 1, 9, 2, 0])
    made, rest = divide(some, movement, 2, 1.0, torch.Generator().manual_seed(0))
    assert len(made) == 8 and rest.tolist() == [0, 2, 4, 5]
    for before, after in zip(some[rest].tensors(), made[:4].tensors(), strict=True):
        assert torch.equal(before, after)
    large, small = made[[4, 6]], made[[5, 7]]
    torch.testing.assert_close(large.log_scales, some.log_scales[[3, 3]] - math.log(1.6))
    both = 1 - (1 - small.opacities()).prod()
    torch.testing.assert_close(both, some.opacities()[1])
    torch.testing.assert_close(small.means, some.means[[1, 1]], atol=1e-3, rtol=0)


def test_movement_is_that_in_pictures() -> None:
    """The same shift in pixels asks for more in space the farther away it is."""
    some = several(2).leaves()
    camera = askew(count=1)
    some.means.grad = torch.tensor([[0.0, 2, 0], [0, 0, 0]]).double()
    movement = Movement.none(some)
    movement.add(some, camera)
    movement.add(some, camera)
    distance = (some.means[0] - camera.origins[0]).norm()
    torch.testing.assert_close(movement.mean(), torch.stack([2 * distance, 0 * distance]).detach())


def test_adam_goes_on_with_the_moments_of_those_that_are_left() -> None:
    some = several(5).leaves()
    before = fitting._adam(some, 2.0)
    sum((tensor.sum() for tensor in some.tensors()), torch.zeros(())).backward()
    before.step()
    rows = torch.tensor([3, 0])
    new = several(4, seed=1).leaves()
    after = fitting._adam(new, 2.0, before, rows)
    for old, tensor in zip(some.tensors(), new.tensors(), strict=True):
        for name in ("exp_avg", "exp_avg_sq"):
            assert torch.equal(after.state[tensor][name][:2], before.state[old][name][rows])
            assert after.state[tensor][name][2:].abs().max() == 0
        assert before.state[old]["exp_avg"].abs().min() > 0
    assert after.param_groups[0]["first"] == 2 * fitting.RATES[0]


def test_the_restraint_is_of_mean_opacity_and_of_the_angle_of_mean_width() -> None:
    some, camera = several(3), askew(count=1)
    some.means[:], some.log_scales[:] = 0, math.log(0.6)  # 3 away: 0.2 wide
    some.opacity_logits[:] = 0
    value = float(fitting.restraint(some, camera))
    assert value == pytest.approx(fitting.OPACITY * 0.5 + fitting.WIDTH * 0.2)
