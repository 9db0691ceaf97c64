import itertools
import math

import pytest
import torch

from benchmarks.menagerie.measures import MEASURES, PALETTE, coat_color, coat_pattern
from benchmarks.menagerie.scene import COATS, OWN_COAT, SPECIES, Scene


def test_every_species_has_every_measure() -> None:
    assert {len(row) for row in MEASURES.values()} == {len(SPECIES)}


@pytest.mark.parametrize("species", SPECIES)
def test_coats_are_told_apart(species: str) -> None:
    scenes = [Scene(species=species, coat=coat) for coat in COATS if coat != "natural"]
    for one, other in itertools.combinations(scenes, 2):
        apart = math.dist(coat_color(one), coat_color(other))
        assert apart > 0.2 or coat_pattern(one) != coat_pattern(other)


def test_a_species_own_coat_has_the_color_of_its_name() -> None:
    for species, coat in OWN_COAT.items():
        own, named = (coat_color(Scene(species=species, coat=c)) for c in ("natural", coat))
        assert math.dist(own, named) < 0.15
        for other in set(COATS) - {"natural", coat, "spotted", "striped"}:
            assert math.dist(own, named) < math.dist(own, coat_color(Scene(coat=other)))


def test_a_pattern_replaces_the_species_own() -> None:
    assert [coat_pattern(Scene(species=s)) for s in ("cat", "tiger", "cow", "pig")] == [
        "tabby",
        "striped",
        "patched",
        "",
    ]
    assert coat_pattern(Scene(species="cow", coat="brown")) == "patched"
    for coat in ("spotted", "striped"):
        assert {coat_pattern(Scene(species=s, coat=coat)) for s in SPECIES} == {coat}


def test_natural_coats_differ_between_species() -> None:
    colors = torch.tensor([coat_color(Scene(species=species)) for species in SPECIES])
    assert (torch.cdist(colors, colors) + torch.eye(len(SPECIES))).min() > 0.1


def test_tint_makes_a_coat_lighter_or_darker() -> None:
    dark, plain, light = (sum(coat_color(Scene(tint=tint))) for tint in (-1.0, 0.0, 1.0))
    assert dark == pytest.approx(0.92 * plain) and light == pytest.approx(1.08 * plain)
    assert max(coat_color(Scene(species="pig", tint=1.0))) <= 1


def test_the_palette_is_what_it_says() -> None:
    for name, channel in (("red", 0), ("green", 1), ("blue", 2)):
        assert max(range(3), key=PALETTE[name].__getitem__) == channel
