import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from benchmarks.menagerie.sdf import FAR, HIT, Solid, distance, pick, shadow, surface, take, trace
from benchmarks.menagerie.shapes import ABSENT, Boxes, Cones

Point = tuple[float, float, float]


def cone(a: Point, b: Point, ra: float, rb: float) -> Cones:
    return Cones(
        a=torch.tensor([[a]]),
        b=torch.tensor([[b]]),
        ra=torch.tensor([[ra]]),
        rb=torch.tensor([[rb]]),
        color=torch.tensor([[[0.1, 0.2, 0.3]]]),
        coat=torch.ones(1, 1),
        worn=torch.tensor([False]),
    )


def sphere(center: Point, radius: float) -> Solid:
    return Solid.of(cone(center, center, radius, radius))


def box(center: Point, half: Point, yaw: float) -> Solid:
    c, s = math.cos(yaw), math.sin(yaw)
    axes = [[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]]
    boxes = Boxes(
        center=torch.tensor([[center]]),
        half=torch.tensor([[half]]),
        axes=torch.tensor([[axes]]),
        color=torch.tensor([[[0.4, 0.5, 0.6]]]),
    )
    return Solid.of(cone((0, -9.0, 0), (0, -8.9, 0), ABSENT, ABSENT), boxes)


def cloud(count: int, reach: float, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.rand(1, count, 3, generator=generator) - 1) * reach


def test_distance_to_a_sphere() -> None:
    p = cloud(500, 0.6)
    expected = (p - torch.tensor([0.1, 0.2, -0.1])).norm(dim=-1) - 0.3
    found = distance(sphere((0.1, 0.2, -0.1), 0.3), p)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)


@pytest.mark.parametrize(("ra", "rb"), [(0.2, 0.2), (0.25, 0.1)])
def test_distance_to_a_round_cone(ra: float, rb: float) -> None:
    a, b = np.array([-0.2, 0.0, 0.1]), np.array([0.3, 0.2, 0.0])
    p = cloud(500, 0.5)
    q = p[0].double().numpy()
    along = np.clip((q - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
    radius = ra + along * (rb - ra)
    expected = np.linalg.norm(q - a - along[:, None] * (b - a), axis=1) - radius
    found = distance(Solid.of(cone(tuple(a.tolist()), tuple(b.tolist()), ra, rb)), p)
    np.testing.assert_allclose(found[0].numpy(), expected, atol=2e-5)


def test_distance_to_a_box() -> None:
    center, half, yaw = np.array([0.1, 0.3, -0.2]), np.array([0.3, 0.2, 0.1]), 0.4
    p = cloud(500, 0.7)
    c, s = math.cos(yaw), math.sin(yaw)
    turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    local = np.abs((p[0].double().numpy() - center) @ turn.T) - half
    outside = np.linalg.norm(np.maximum(local, 0), axis=1)
    expected = outside + np.minimum(local.max(1), 0)
    solid = box(tuple(center.tolist()), tuple(half.tolist()), yaw)
    found = distance(solid, p)[0].numpy()
    near = expected < 0.9  # beyond, the absent cone's distance of about 1 counts
    np.testing.assert_allclose(found[near], expected[near], atol=2e-5)
    assert near.mean() > 0.9


def test_a_union_is_at_most_a_little_too_near() -> None:
    parts = [cone((x, 0.0, 0.0), (x, 0.1, 0.0), 0.2, 0.1) for x in (-0.2, 0.0, 0.3)]
    joined = Cones(
        *(
            torch.cat([getattr(part, name) for part in parts], -1 if name == "worn" else 1)
            for name in ("a", "b", "ra", "rb", "color", "coat", "worn")
        )
    )
    p = cloud(500, 0.6)
    each = torch.stack([distance(Solid.of(part), p) for part in parts]).amin(0)
    gap = each - distance(Solid.of(joined), p)
    assert gap.min() > -2e-5
    assert gap.max() <= 0.012 * math.log(3) + 2e-5


def test_the_bounding_sphere_holds_the_solid() -> None:
    solid = Solid.of(cone((-0.3, 0.1, 0.0), (0.4, 0.5, 0.2), 0.2, 0.05))
    p = cloud(9000, 0.8)
    inside = distance(solid, p)[0] <= 0
    assert inside.sum() > 50
    assert ((p[0][inside] - solid.center).norm(dim=-1) <= solid.radius).all()


def test_tracing_a_sphere_meets_the_analytic_intersection() -> None:
    center, radius = torch.tensor([0.2, 0.4, -0.1]), 0.5
    origin = torch.tensor([0.5, 0.8, 3.5]).expand(1, 400, 3)
    aim = center + 0.5 * radius * torch.nn.functional.normalize(cloud(400, 1.0), dim=-1)
    direction = torch.nn.functional.normalize(aim - origin, dim=-1)
    to_center = origin - center
    along = (to_center * direction).sum(-1)
    root = (along**2 - (to_center**2).sum(-1) + radius**2).sqrt()
    early = (-along - root) - trace(sphere((0.2, 0.4, -0.1), radius), origin, direction)
    assert early.min() > -1e-3 * HIT - 1e-5
    assert early.max() < 1.3 * HIT  # within HIT of the surface, seen at an angle


def test_rays_that_miss_return_far() -> None:
    solid = sphere((0.0, 0.5, 0.0), 0.3)
    origin = torch.tensor([0.0, 0.5, 3.0]).expand(1, 4, 3)
    toward = torch.tensor([[[0.0, 0.0, 1.0], [0.0, 0.2, -1.0], [0.15, 0, -1.0], [0.0, 0.0, -1.0]]])
    found = trace(solid, origin, torch.nn.functional.normalize(toward, dim=-1))
    assert found[0, :3].tolist() == [FAR] * 3
    assert found[0, 3].item() == pytest.approx(2.7, abs=HIT)
    start = torch.tensor([[0.0, 0.0, 0.0, FAR]])
    begun = trace(solid, origin, torch.nn.functional.normalize(toward, dim=-1), start)
    assert begun[0].tolist() == [FAR] * 4


def test_a_shadow_is_dark_behind_and_light_away() -> None:
    solid = sphere((0.0, 1.0, 0.0), 0.3)
    p = torch.tensor([[[0.0, 0.0, 0.0], [0.1, 0.0, 0.1], [2.0, 0.0, 0.0], [0.0, 1.5, 0.0]]])
    light, wanted = torch.tensor([[0.0, 1.0, 0.0]]), torch.ones(1, 4, dtype=torch.bool)
    lit = shadow(solid, p, light, wanted)[0]
    assert lit[:2].tolist() == pytest.approx([0, 0], abs=1e-6)
    assert lit[2:].tolist() == [1, 1]
    assert shadow(solid, p, light, ~wanted)[0].tolist() == [1, 1, 1, 1]
    # Its edge is soft.
    x = torch.linspace(0, 0.6, 60)
    line = torch.stack([x, torch.zeros_like(x), torch.zeros_like(x)], -1)[None]
    edge = shadow(solid, line, light, torch.ones(1, 60, dtype=torch.bool))[0]
    assert ((edge > 0.05) & (edge < 0.95)).sum() >= 2
    assert edge[x < 0.3].max() < 0.1
    assert edge[x > 0.45].min() == 1


def test_surface_of_a_sphere_and_of_a_box() -> None:
    outward = torch.nn.functional.normalize(cloud(100, 1.0), dim=-1)
    center = torch.tensor([0.1, 0.2, -0.1])
    normal, color, coat, worn = surface(sphere((0.1, 0.2, -0.1), 0.3), center + 0.3 * outward)
    torch.testing.assert_close(normal, outward, atol=1e-4, rtol=0)
    assert color[0, 0].tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert coat.min() == 1
    assert worn.max() == 0
    top = torch.tensor([[[0.0, 0.3, 0.0], [0.2, 0.1, 0.0]]])
    normal, color, _, _ = surface(box((0.0, 0.1, 0.0), (0.2, 0.2, 0.2), 0.0), top)
    assert normal[0].tolist() == [[0, 1, 0], [1, 0, 0]]
    assert color[0, 0].tolist() == pytest.approx([0.4, 0.5, 0.6])


@settings(deadline=None, max_examples=50)
@given(hnp.arrays(bool, st.tuples(st.integers(1, 4), st.integers(1, 9))))
def test_take_and_pick_return_the_true_places(array: np.ndarray) -> None:
    mask = torch.from_numpy(array)
    values = torch.arange(mask.numel()).reshape(mask.shape)
    index, valid = take(mask)
    assert index.shape[1] == mask.sum(1).max()
    picked = pick(values, index)
    for row in range(len(mask)):
        assert torch.equal(picked[row][valid[row]], values[row][mask[row]])
