"""3D Gaussians against closed forms, a slow renderer of pixel after pixel, and differences."""

import math
import sys
from types import ModuleType
from typing import Any

import pytest
import torch

from editing import DDS, DistillationEditor
from editing.parameters import GaussianSplats
from editing.parameters.gaussians import Gaussians, fit, render
from editing.parameters.gaussians.harmonics import basis
from editing.parameters.gaussians.raster import draw_with_gsplat
from editing.parameters.splats import Splats
from editing.parameters.views import Cameras
from samplers.random import make_generators
from tests.editing.parameters.test_nerf import cameras, colored_views

CPU = torch.device("cpu")
DILATION = 0.3


def single(opacity: float = 0.8, sigma: float = 0.2, depth: float = 0.0) -> Gaussians:
    """A round, red one on the axis of the first camera, which stands at z = 3."""
    color = (torch.tensor([[[0.9, 0.1, 0.2]]]) - 0.5) * math.sqrt(4 * math.pi)
    return Gaussians(
        torch.tensor([[0.0, 0.0, depth]]),
        torch.full((1, 3), math.log(sigma)),
        torch.tensor([[1.0, 0.0, 0.0, 0.0]]),
        torch.tensor([math.log(opacity / (1 - opacity))]),
        color,
    )


def several(count: int = 25, terms: int = 4, seed: int = 0) -> Gaussians:
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=draw, dtype=torch.float64)

    return Gaussians(
        0.5 * normal(count, 3),
        0.4 * normal(count, 3) - 1.8,
        normal(count, 4),
        normal(count) + 0.5,
        0.5 * normal(count, terms, 3),
    )


def double(made: Cameras) -> Cameras:
    """The cameras in float64, their axes as orthonormal as that allows."""
    poses = made.poses.double()
    u, _, v = torch.linalg.svd(poses[:, :3, :3])
    poses[:, :3, :3] = u @ v
    return Cameras(poses, made.focal.double(), made.center.double(), made.width, made.height)


def joined(*parts: Gaussians) -> Gaussians:
    columns = zip(*(part.tensors() for part in parts), strict=True)
    return Gaussians(*(torch.cat(column) for column in columns))


def test_one_in_front_of_the_camera_is_a_bell() -> None:
    """Its deviation is f sigma / z, widened by the 0.3 squared pixels."""
    made = cameras(1, 33)
    seen = render(single(), made, (0, 0, 0))
    focal = float(made.focal[0, 0])
    variance = (focal * 0.2 / 3) ** 2 + DILATION
    for off in (0, 2, 4):
        alpha = 0.8 * math.exp(-(off**2) / (2 * variance))
        assert float(seen.alpha[0, 0, 16, 16 + off]) == pytest.approx(alpha, rel=1e-4)
        assert float(seen.image[0, 0, 16 + off, 16]) == pytest.approx(0.9 * alpha, rel=1e-4)
    assert float(seen.depth[0, 0, 16, 16]) == pytest.approx(3, rel=1e-5)
    corner = made.rays()[1][0, 16, 20, 2]
    assert float(seen.depth[0, 0, 16, 20]) == pytest.approx(3 / -float(corner), rel=1e-4)


def test_the_nearer_hides_the_farther_in_whatever_order_they_come() -> None:
    near, far = single(0.6, 0.2, 1.0), single(0.9, 0.3, -1.0)
    far.harmonics.neg_()
    both = render(joined(near, far), cameras(1, 17), (0, 0, 0))
    swapped = render(joined(far, near), cameras(1, 17), (0, 0, 0))
    torch.testing.assert_close(both.image, swapped.image)
    red = 0.6 * 0.9 + 0.4 * 0.9 * 0.1
    assert float(both.image[0, 0, 8, 8]) == pytest.approx(red, abs=1e-4)


def test_what_is_behind_the_camera_is_not_seen() -> None:
    seen = render(single(depth=4.0), cameras(1, 9), (0.2, 0.4, 0.6))
    assert float(seen.alpha.max()) == 0
    torch.testing.assert_close(seen.image[0, :, 4, 4], torch.tensor([0.2, 0.4, 0.6]))


def test_a_view_does_not_depend_on_the_others() -> None:
    made, some = double(cameras(3, 20)), several()
    together = render(some, made)
    for i in range(3):
        alone = render(some, made[[i]])
        assert torch.equal(alone.image[0], together.image[i])


def slow(some: Gaussians, camera: Cameras, background: float) -> torch.Tensor:
    """Kerbl et al. 2023 word by word: all Gaussians for every pixel, no tiles."""
    pose = torch.linalg.inv(camera.poses[0] @ torch.diag(torch.tensor([1.0, -1, -1, 1]).double()))
    local = some.means @ pose[:3, :3].T + pose[:3, 3]
    order = local[:, 2].argsort()
    picture = torch.zeros(3, camera.height, camera.width, dtype=torch.float64)
    left = torch.ones(camera.height, camera.width, dtype=torch.float64)
    sides = (torch.arange(n, dtype=torch.float64) + 0.5 for n in (camera.height, camera.width))
    y, x = torch.meshgrid(*sides, indexing="ij")
    fx, fy = camera.focal[0]
    for i in order.tolist():
        w, a, b, c = some.quaternions[i] / some.quaternions[i].norm()
        k = torch.tensor([[0, -c, b], [c, 0, -a], [-b, a, 0]], dtype=torch.float64)
        turn = torch.eye(3).double() + 2 * w * k + 2 * k @ k
        scale = torch.diag(some.log_scales[i].exp())
        sigma = turn @ scale @ scale @ turn.T
        px, py, pz = local[i]
        if pz <= 0.2:
            continue
        jacobian = torch.tensor(
            [[fx / pz, 0, -fx * px / pz**2], [0, fy / pz, -fy * py / pz**2]], dtype=torch.float64
        )
        flat = jacobian @ pose[:3, :3] @ sigma @ pose[:3, :3].T @ jacobian.T
        inverse = torch.linalg.inv(flat + DILATION * torch.eye(2).double())
        dx, dy = x - (fx * px / pz + camera.center[0, 0]), y - (fy * py / pz + camera.center[0, 1])
        power = inverse[0, 0] * dx**2 + 2 * inverse[0, 1] * dx * dy + inverse[1, 1] * dy**2
        alpha = (some.opacity_logits[i].sigmoid() * torch.exp(-power / 2)).clamp(max=0.99)
        alpha = torch.where(alpha < 1 / 255, 0.0, alpha)
        away = some.means[i] - camera.origins[0]
        shade = basis(away / away.norm(), some.harmonics.shape[1]) @ some.harmonics[i] + 0.5
        picture += shade.clamp(min=0)[:, None, None] * alpha * left
        left = left * (1 - alpha)
    return (picture + background * left).clamp(0, 1)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_pictures_are_those_of_a_slow_renderer(seed: int) -> None:
    made, some = double(cameras(2, 26)), several(seed=seed)
    seen = render(some, made, (0.25, 0.25, 0.25))
    for i in range(2):
        expected = slow(some, made[[i]], 0.25)
        torch.testing.assert_close(seen.image[i], expected, atol=1e-9, rtol=1e-9)


def test_gradients_are_those_of_finite_differences() -> None:
    some, made = several(6).leaves(), double(cameras(1, 18))
    weight = torch.rand(1, 3, 18, 18, generator=torch.Generator().manual_seed(1)).double()

    def value() -> torch.Tensor:
        return (render(some, made).image * weight).sum()

    value().backward()
    for tensor in some.tensors():
        assert tensor.grad is not None
        flat, step = tensor.data.view(-1), 1e-6
        for row in tensor.grad.abs().flatten().topk(3).indices.tolist():
            kept = float(flat[row])
            flat[row] = kept + step
            above = float(value())
            flat[row] = kept - step
            below = float(value())
            flat[row] = kept
            expected = (above - below) / (2 * step)
            assert float(tensor.grad.view(-1)[row]) == pytest.approx(expected, rel=2e-3, abs=1e-3)


def test_harmonics_are_orthonormal() -> None:
    """Integrated over the sphere; with the signs of the files of Gaussians."""
    heights, weights = (
        torch.tensor(x) for x in __import__("numpy").polynomial.legendre.leggauss(12)
    )
    angles = torch.arange(24, dtype=torch.float64) * 2 * math.pi / 24
    z, a = torch.meshgrid(heights, angles, indexing="ij")
    flat = (1 - z**2).sqrt()
    values = basis(torch.stack([flat * a.cos(), flat * a.sin(), z], -1), 16)
    area = (weights[:, None] * (2 * math.pi / 24)).expand_as(z)
    products = torch.einsum("ij,ijk,ijl->kl", area, values, values)
    torch.testing.assert_close(products, torch.eye(16).double(), atol=1e-12, rtol=0)
    axes = basis(torch.eye(3), 4)[:, 1:]
    assert (axes.sign() == torch.tensor([[0.0, 0, -1], [-1, 0, 0], [0, 1, 0]])).all()


def test_a_scene_is_reconstructed_from_its_views() -> None:
    views = colored_views(8, 24)
    told: list[tuple[int, int]] = []
    made = fit(views, count=300, steps=120, progress=lambda *x: told.append(x))
    again = fit(views, count=300, steps=120)
    assert all(torch.equal(a, b) for a, b in zip(made.tensors(), again.tensors(), strict=True))
    assert told[-1] == (120, 120) and 0 < len(made) <= 300
    with torch.no_grad():
        seen = render(made, views.cameras)
    error = (seen.image - views.images).square().mean()
    assert float(-10 * error.log10()) > 18


def test_an_edit_moves_what_it_may(tiny_prior: Any) -> None:
    splats = GaussianSplats(count=40, steps=3, mean_rate=0, views=2)
    posed = splats.prepare(colored_views(4, 32), CPU)
    editor = DistillationEditor(DDS(tiny_prior), splats, 2, 0.01, torch.optim.Adam)
    prompts = tiny_prior.pair(source="a cat", target="a pig")
    edit = editor(posed, prompts, make_generators(0, [0, 1]))
    assert edit.canvas is not None and isinstance(posed.scene, Splats)
    before, after = posed.scene.tensors(), edit.canvas.tensors
    assert torch.equal(before[0], after[0])
    assert not torch.equal(before[4], after[4])
    assert set(posed.files) == {"source.ply"} and "edited.ply" in edit.canvas.files()


def test_gsplat_is_asked_as_it_wants_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenCV's axes, intrinsics in pixels, deviations and opacities as they are."""
    asked: dict[str, Any] = {}

    def rasterization(**options: Any) -> tuple[torch.Tensor, torch.Tensor, dict[str, Any]]:
        asked.update(options)
        return torch.zeros(2, 12, 10, 4), torch.zeros(2, 12, 10, 1), {}

    module = ModuleType("gsplat")
    module.rasterization = rasterization  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gsplat", module)
    made, some = cameras(2, 10).resized(10, 12), several(5)
    picture, alpha = draw_with_gsplat(some, torch.zeros(2, 5, 4), made, 0.1)
    assert picture.shape == (2, 4, 12, 10) and alpha.shape == (2, 1, 12, 10)
    assert asked["viewmats"].shape == (2, 4, 4) and asked["Ks"].shape == (2, 3, 3)
    origin = torch.tensor([0.0, 0.0, 0.0, 1.0])
    torch.testing.assert_close(asked["viewmats"][0] @ origin, torch.tensor([0.0, 0, 3, 1]))
    torch.testing.assert_close(asked["Ks"][0, :2, 2], made.center[0])
    torch.testing.assert_close(asked["scales"], some.log_scales.exp().float())
    assert (asked["width"], asked["height"]) == (10, 12)
