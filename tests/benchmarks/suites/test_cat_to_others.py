"""The table of cats and the seven others."""

import torch

from benchmarks.menagerie.render import render
from benchmarks.menagerie.scene import SPECIES
from benchmarks.suites.cat_to_others import OTHERS, cases, region


def test_every_cat_meets_every_other_species_in_its_own_scene() -> None:
    made = cases(3)
    assert [case.answer.species for case in made] == list(SPECIES[1:]) * 3
    for case in made:
        assert case.source.species == "cat"
        assert case.answer == case.source.replace(species=case.answer.species)
        assert (case.source.coat, case.source.worn, case.source.style) == (
            "natural",
            "none",
            "photo",
        )


def test_splits_share_no_scene() -> None:
    test = {case.source for case in cases(4)}
    assert test.isdisjoint(case.source for case in cases(4, "validation"))


def test_region_covers_both_animals_and_a_margin() -> None:
    case = cases(1)[OTHERS.index("penguin")]
    source, answer = render([case.source], 32), render([case.answer], 32)
    inside = region(source, answer)
    both = torch.maximum(source.animal, answer.animal) > 0
    assert inside[both].all()
    assert both.sum() < inside.sum() < 2.5 * both.sum()
