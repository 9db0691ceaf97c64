import dataclasses

import pytest
import torch

from benchmarks.menagerie.anatomy import build
from benchmarks.menagerie.measures import AMBER, BLACK, MEASURES
from benchmarks.menagerie.render import render
from benchmarks.menagerie.scene import SPECIES, WORN, Scene, sample_scene
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


WORN_PARTS = {"none": 0, "hat": 2, "scarf": 2, "sweater": 4, "boots": 4}


@pytest.mark.parametrize("worn", WORN)
def test_what_is_worn_is_there_and_the_rest_stays(worn: str) -> None:
    bare, made = build([Scene()], CPU), build([Scene(worn=worn)], CPU)
    there = made.ra[0] > ABSENT / 2
    assert (there & made.worn).sum() == WORN_PARTS[worn]
    for name in ("a", "b", "ra", "rb", "color", "coat"):
        kept = ~made.worn
        assert torch.equal(getattr(bare, name)[:, kept], getattr(made, name)[:, kept])


@pytest.mark.parametrize("worn", WORN[1:])
@pytest.mark.parametrize("species", SPECIES)
def test_what_is_worn_can_be_seen(species: str, worn: str) -> None:
    """It stands out of the animal, which would hide it otherwise."""
    scenes = [sample_scene(seed, species=species, worn=worn) for seed in (3, 4)]
    assert all(r.worn.sum() > 2 for r in (render([scene], 32) for scene in scenes))


def test_boots_are_worn_on_feet_alone() -> None:
    for species, count in (("squirrel", 2), ("penguin", 2), ("dog", 4)):
        made = build([Scene(species=species, worn="boots")], CPU)
        shown = (made.ra[0] > ABSENT / 2) & made.worn
        assert shown.sum() == count
        assert made.b[0, shown, 1].max() < 0.15


def test_eyes_are_seen_on_dark_coats() -> None:
    for coat, color in (("black", AMBER), ("white", BLACK)):
        made = build([Scene(species="dog", coat=coat)], CPU)
        eyes = made.ra[0] == torch.tensor(MEASURES["eye"][SPECIES.index("dog")])
        assert eyes.sum() == 2
        assert made.color[0, eyes].tolist() == [pytest.approx(color)] * 2


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
