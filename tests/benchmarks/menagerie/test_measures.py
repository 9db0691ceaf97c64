import pytest
import torch

from benchmarks.menagerie.measures import MEASURES, PALETTE, coat_color
from benchmarks.menagerie.scene import COATS, SPECIES, Scene


def test_every_species_has_every_measure() -> None:
    assert {len(row) for row in MEASURES.values()} == {len(SPECIES)}


@pytest.mark.parametrize("species", SPECIES)
def test_coats_are_told_apart(species: str) -> None:
    named = [coat for coat in COATS if coat != "natural"]
    colors = torch.tensor([coat_color(Scene(species=species, coat=coat)) for coat in named])
    apart = torch.cdist(colors, colors) + torch.eye(len(named))
    assert apart.min() > 0.2


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
