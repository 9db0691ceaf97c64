"""What the suites share."""

import pytest
import torch

from benchmarks.menagerie.render import render
from benchmarks.menagerie.scene import Scene
from benchmarks.suites.cat_to_others import CatToOthers
from benchmarks.suites.world import around, drawn, seeds
from editing.errors import UserError


def test_scenes_are_drawn_in_their_order() -> None:
    cat, pig = Scene(), Scene(species="pig")
    made = drawn([cat, pig, cat], 16)
    assert torch.equal(made.image[1:2], render([pig], 16).image)
    assert torch.equal(made.image[0], made.image[2])
    assert made.animal.shape == (3, 1, 16, 16)


def test_a_region_has_a_margin_of_one_pixel() -> None:
    mask = torch.zeros(1, 1, 9, 9, dtype=torch.bool)
    mask[..., 4, 4] = True
    assert around(mask).sum() == 9


@pytest.mark.parametrize(
    ("split", "count", "said"),
    [
        ("train", 1, "there are test, validation"),
        ("test", 0, "give a whole number from 1 to 50000"),
        ("test", "abc", "=abc cannot be used"),
    ],
)
def test_wrong_seeds_are_refused_in_one_sentence(split: str, count: object, said: str) -> None:
    with pytest.raises(UserError, match=said):
        seeds(split, count)


def test_the_identity_of_a_case_is_all_of_its_scenes() -> None:
    small, large = (CatToOthers(cases=1, size=size).make_cases()[0] for size in (32, 64))
    assert small.identity != large.identity
    assert small.identity["source"] == {**small.identity["answer"], "species": "cat"}
