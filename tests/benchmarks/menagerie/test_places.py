import pytest
import torch
from torch import Tensor

from benchmarks.menagerie.places import ROOM, SHORE, Places
from benchmarks.menagerie.scene import PLACES, Scene

CPU = torch.device("cpu")


def points(*rows: tuple[float, float, float]) -> Tensor:
    return torch.tensor([rows], dtype=torch.float32)


def at(place: str, **fields: float) -> Places:
    return Places([Scene(place=place, **fields)], CPU)


def test_rays_end_on_the_ground_on_a_wall_or_in_the_sky() -> None:
    origin = points((0, 1.5, 0), (0, 1.5, 0), (0, 0.5, 0))
    direction = points((0, -1, 0), (0.6, 0.8, 0), (1, 0, 0))
    t, ground = at("meadow").hit(origin, direction)
    assert t[0, 0] == 1.5 and (t[0, 1:] >= 1e3).all()
    assert ground[0].tolist() == [True, False, False]
    t, ground = at("room").hit(origin, direction)
    assert t[0].tolist() == pytest.approx([1.5, ROOM / 0.6, ROOM])
    assert ground[0].tolist() == [True, False, False]


def test_every_place_has_its_own_ground_and_background() -> None:
    p, up = points((0.3, 0.0, 0.5)), points((0.1, 0.5, -0.8))
    far = torch.tensor([[3.0]])
    grounds = torch.cat([at(place).ground(p, far)[0] for place in PLACES])
    skies = torch.cat([at(place).backdrop(p + 1, up)[0] for place in PLACES])
    for colors in (grounds, skies):
        apart = torch.cdist(colors, colors) + torch.eye(len(PLACES))
        assert apart.min() > 0.05
        assert ((colors >= 0) & (colors <= 1.1)).all()
    light = dict(zip(PLACES, grounds.mean(1).tolist(), strict=True))
    assert light["night"] == min(light.values()) and light["snow"] == max(light.values())


def test_the_sea_lies_behind_the_shore() -> None:
    depths = (0.0, SHORE - 0.3, SHORE + 0.4, SHORE + 2.0)
    colors = at("beach").ground(points(*((0, 0, -d) for d in depths)), torch.full((1, 4), 3.0))[0]
    assert (colors[:, 2] > colors[:, 0]).tolist() == [False, False, True, True]


def test_the_moon_changes_sides_with_the_tint() -> None:
    around = torch.linspace(-0.6, 0.6, 101)
    direction = torch.stack([around.sin(), 0 * around + 0.2, -around.cos()], -1)[None]
    for tint in (-0.5, 0.5):
        sky = at("night", tint=tint).backdrop(direction + 1, direction)[0]
        brightest = around[sky.mean(-1).argmax()].item()
        assert brightest * tint > 0


def test_a_place_does_not_depend_on_its_batch() -> None:
    scenes = [Scene(place=place, texture=i) for i, place in enumerate(PLACES)]
    p = torch.rand(1, 50, 3, generator=torch.Generator().manual_seed(0)) * 4 - 2
    d = torch.nn.functional.normalize(p, dim=-1)
    many, count = Places(scenes, CPU), len(scenes)
    wide, far = p.expand(count, -1, -1), torch.ones(1, 50)
    grounds = many.ground(wide, far.expand(count, -1))
    skies = many.backdrop(wide, d.expand(count, -1, -1))
    for i, scene in enumerate(scenes):
        one = Places([scene], CPU)
        assert torch.equal(grounds[i], one.ground(p, far)[0])
        assert torch.equal(skies[i], one.backdrop(p, d)[0])
