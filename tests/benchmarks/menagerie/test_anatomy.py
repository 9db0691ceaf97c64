import dataclasses

import pytest
import torch

from benchmarks.menagerie.anatomy import build
from benchmarks.menagerie.scene import SPECIES, Scene, sample_scene
from benchmarks.menagerie.sdf import Solid, distance
from benchmarks.menagerie.shapes import ABSENT, Cones

CPU = torch.device("cpu")


def test_an_animal_does_not_depend_on_its_batch() -> None:
    scenes = [sample_scene(seed) for seed in range(12)]
    together = build(scenes, CPU)
    for i, scene in enumerate(scenes):
        alone = build([scene], CPU)
        for name in ("a", "b", "ra", "rb", "color", "coat"):
            torch.testing.assert_close(getattr(together, name)[i : i + 1], getattr(alone, name))


def test_species_differ_and_coats_only_color() -> None:
    made = build([Scene(species=name) for name in SPECIES], CPU)
    for i in range(len(SPECIES)):
        for j in range(i):
            assert (made.a[i] - made.a[j]).abs().max() > 0.01, (SPECIES[i], SPECIES[j])
    plain, blue = build([Scene()], CPU), build([Scene(coat="blue")], CPU)
    for field in dataclasses.fields(Cones):
        same = torch.equal(getattr(plain, field.name), getattr(blue, field.name))
        assert same == (field.name != "color")


@pytest.mark.parametrize("species", SPECIES)
def test_an_animal_stands_on_the_ground(species: str) -> None:
    made = build([sample_scene(seed, species=species, worn="none") for seed in range(8)], CPU)
    there = made.ra > ABSENT / 2
    low = torch.minimum(made.a[..., 1] - made.ra, made.b[..., 1] - made.rb)
    lowest = torch.where(there, low, torch.ones_like(low)).amin(1)
    assert lowest.max() < 0.06
    assert lowest.min() > -0.08
    assert Solid.of(made).radius.max() < 1.2


@pytest.mark.parametrize(("worn", "count"), [("none", 0), ("hat", 2), ("scarf", 2)])
def test_what_is_worn_is_there_and_the_rest_stays(worn: str, count: int) -> None:
    bare, made = build([Scene()], CPU), build([Scene(worn=worn)], CPU)
    there = made.ra[0] > ABSENT / 2
    assert (there & made.worn).sum() == count
    assert torch.equal(bare.a, made.a)
    assert torch.equal(bare.ra[:, ~made.worn], made.ra[:, ~made.worn])


def test_only_the_cow_has_horns_and_only_the_lion_a_mane() -> None:
    made = build([Scene(species=name) for name in SPECIES], CPU)
    parts = (made.ra > ABSENT / 2).sum(1)
    more = {name: int(parts[i] - parts[0]) for i, name in enumerate(SPECIES)}
    assert more == dict.fromkeys(SPECIES, 0) | {"cow": 2, "lion": 2, "penguin": -2}


def test_the_heading_turns_the_whole_animal() -> None:
    right, left = build([Scene(heading=0)], CPU), build([Scene(heading=180)], CPU)
    p = torch.tensor([[[0.3, 0.5, 0.1], [-0.2, 0.4, 0.0], [0.5, 0.7, 0.05]]])
    mirrored = p * torch.tensor([-1.0, 1.0, 1.0])
    # The camera is on the other side of it now, so it is the mirror image that is the same.
    torch.testing.assert_close(
        distance(Solid.of(right), p), distance(Solid.of(left), mirrored), atol=1e-5, rtol=0
    )
