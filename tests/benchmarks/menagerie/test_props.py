import dataclasses

import pytest
import torch

from benchmarks.menagerie.props import build
from benchmarks.menagerie.scene import PLACES, PROPS, Scene, sample_scene
from benchmarks.menagerie.sdf import Solid, distance
from benchmarks.menagerie.shapes import ABSENT, Boxes, Cones

CPU = torch.device("cpu")
PARTS = {
    "none": (0, 0),
    "tree": (4, 0),
    "ball": (1, 0),
    "house": (0, 2),
    "rock": (2, 0),
    "mushroom": (4, 0),
    "box": (0, 1),
}


@pytest.mark.parametrize("prop", PROPS)
@pytest.mark.parametrize("place", PLACES)
def test_a_prop_stands_on_the_ground_where_it_should(prop: str, place: str) -> None:
    scene = sample_scene(4, prop=prop, place=place)
    cones, boxes = build([scene], CPU)
    there = cones.ra[0] > ABSENT / 2
    assert (int(there.sum()), int((boxes.half[0, :, 0] > 0).sum())) == PARTS[prop]
    solid = Solid.of(cones, boxes)
    if prop == "none":
        assert solid.radius.item() == 0
        return
    assert abs(solid.center[0, 0].item() - scene.prop_side) < 0.2
    assert solid.center[0, 2].item() == pytest.approx(-scene.prop_depth, abs=0.4)
    line = torch.linspace(-0.3, 0.3, 61)
    column = torch.stack([solid.center[0, 0] + 0 * line, line, solid.center[0, 2] + 0 * line], -1)
    inside = distance(solid, column[None])[0] < 0.02
    assert inside.any()
    assert line[inside].min() < 0.06


def test_the_color_is_the_one_named() -> None:
    for prop in ("ball", "house", "mushroom", "box"):
        red, blue = (build([Scene(prop=prop, prop_color=c)], CPU) for c in ("red", "blue"))
        changed = (red[0].color - blue[0].color).abs().sum() + (
            red[1].color - blue[1].color
        ).abs().sum()
        assert changed > 0.5


def test_a_prop_does_not_depend_on_its_batch() -> None:
    scenes = [sample_scene(seed) for seed in range(12)]
    together = build(scenes, CPU)
    for i, scene in enumerate(scenes):
        alone = build([scene], CPU)
        for kind, many, one in zip((Cones, Boxes), together, alone, strict=True):
            for field in dataclasses.fields(kind):
                if field.name != "worn":
                    assert torch.equal(getattr(many, field.name)[i], getattr(one, field.name)[0])
