"""Edits of every kind, and what is counted of them."""

import pytest
import torch

from benchmarks.menagerie.classifier import ATTRIBUTES, AttributeClassifier, labels
from benchmarks.menagerie.scene import Scene
from benchmarks.suites.base import Suite
from benchmarks.suites.menagerie_edits import KINDS, MenagerieEdits, changed
from benchmarks.suites.world import Scenes, region
from editing.errors import UserError

MOVED = {
    "species": {"species"},
    "coat": {"coat"},
    "hat": {"worn", "worn_color"},
    "color": {"worn_color"},
    "bare": {"worn"},
    "place": {"place"},
    "style": {"style"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_edit_changes_what_it_says(kind: str) -> None:
    cases = MenagerieEdits(8, [kind]).make_cases()
    for case in cases:
        assert case.group == kind
        moved = changed(case.about)
        assert {name for name, differs in moved.items() if differs} == MOVED[kind]
        assert ("worn_color" in moved) == (case.about.answer.worn != "none")
        assert case.prompts[0] != case.prompts[1]
        scenes = (case.about.source, case.about.answer)
        for scene, prompt in zip(scenes, case.prompts, strict=True):
            assert scene.species in prompt
            assert ("hat" in prompt) == (scene.worn == "hat")
    assert len({case.prompts[1] for case in cases}) > 3


def test_splits_share_no_scene() -> None:
    test = {case.about.source for case in MenagerieEdits(5, ["coat"]).make_cases()}
    others = MenagerieEdits(5, ["coat"], "validation").make_cases()
    assert test.isdisjoint(case.about.source for case in others)


def test_the_region_is_where_pictures_differ_and_a_margin() -> None:
    source, answer = torch.zeros(2, 3, 9, 9), torch.zeros(2, 3, 9, 9)
    answer[0, 1, 4, 4] = 0.5
    answer[1] += 1 / 255
    found = region(source, answer)
    assert found[0, 0].sum() == 9 and found[0, 0, 3:6, 3:6].all()
    assert not found[1].any()


def test_an_edit_is_judged_by_what_should_change_and_what_should_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    suite = MenagerieEdits(2, ["hat"], size=32)
    assert isinstance(suite, Suite)
    cases = suite.make_cases()
    pictures = suite.load(cases)
    assert pictures.answer is not None
    seen = labels([case.about.answer for case in cases])

    def predict(judge: AttributeClassifier, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return seen

    monkeypatch.setattr(AttributeClassifier, "predict", predict)
    for row in suite.measure(cases, pictures, pictures.answer):
        assert (row["success"], row["kept"], row["exact_psnr"]) == (1.0, 1.0, 100.0)
    seen["worn_color"][0] += 1  # a hat, but of another colour
    seen["place"][1] += 1  # elsewhere
    first, second = suite.measure(cases, pictures, pictures.source)
    assert (first["success"], first["kept"], first["kept_psnr"]) == (0.0, 1.0, 100.0)
    assert (second["success"], second["kept"]) == (1.0, 4 / 5)
    assert len(ATTRIBUTES) == 7  # of which two change


def test_where_everything_changes_nothing_is_kept() -> None:
    suite = MenagerieEdits(1, ["place"], size=32)
    (case,) = suite.make_cases()
    pictures = suite.load([case])
    (row,) = suite.measure([case], pictures, pictures.source)
    assert row["kept_psnr"] != row["kept_psnr"], "another place has another light"


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(UserError, match="no kind 'shoe'"):
        MenagerieEdits(kinds=["hat", "shoe"])


def test_a_hat_that_was_there_keeps_its_colour() -> None:
    worn = Scene(worn="hat", worn_color="blue")
    assert changed(Scenes(worn, worn.replace(coat="gray")))["worn_color"] is False
