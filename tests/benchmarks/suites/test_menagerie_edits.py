"""Edits of every kind, and what is counted of them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from benchmarks.menagerie.classifier import AttributeClassifier
from benchmarks.menagerie.scene import Scene
from benchmarks.suites import menagerie_edits
from benchmarks.suites.menagerie_edits import KINDS, cases, changed, main, region
from benchmarks.suites.world import Case
from editing import DistillationEditor

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
    for case in cases(kind, 8):
        moved = changed(case)
        assert {name for name, differs in moved.items() if differs} == MOVED[kind]
        assert ("worn_color" in moved) == (case.answer.worn != "none")
        assert case.prompts[0] != case.prompts[1]
        for scene, prompt in zip((case.source, case.answer), case.prompts, strict=True):
            assert scene.species in prompt
            assert ("hat" in prompt) == (scene.worn == "hat")
    answers = {case.prompts[1] for case in cases(kind, 8)}
    assert len(answers) > 3


def test_splits_share_no_scene() -> None:
    test = {case.source for case in cases("coat", 5)}
    assert test.isdisjoint(case.source for case in cases("coat", 5, "validation"))


def test_the_region_is_where_pictures_differ_and_a_margin() -> None:
    source, answer = torch.zeros(2, 3, 9, 9), torch.zeros(2, 3, 9, 9)
    answer[0, 1, 4, 4] = 0.5
    answer[1] += 1 / 255
    found = region(source, answer)
    assert found[0, 0].sum() == 9 and found[0, 0, 3:6, 3:6].all()
    assert not found[1].any()


def test_the_table_counts_what_was_made(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A method that does nothing scores as the source, one that knows the answer as the answer."""
    editors = {method: object.__new__(DistillationEditor) for method in ("dds", "ids")}

    def edit_all(editor: Any, todo: list[Case], sources: Any, opts: Any) -> Any:
        answers = menagerie_edits.drawn([case.answer for case in todo], 32).image
        return sources if editor is editors["dds"] else answers, 1.5, 8.0

    monkeypatch.setattr(menagerie_edits, "edit_all", edit_all)
    monkeypatch.setattr(menagerie_edits, "make_editor", lambda method, opts: editors[method])
    monkeypatch.setattr(menagerie_edits, "load_classifier", lambda folder: AttributeClassifier())
    words = ["scenes=3", "kinds=coat,place", "methods=dds,ids", "size=32", f"grid={tmp_path}"]
    main(words)
    rows = [line.split("|") for line in capsys.readouterr().out.splitlines() if "%" in line]
    assert [row[2].strip() for row in rows] == ["source", "exact answer", "dds", "ids"] * 2
    for source, answer, nothing, perfect in (rows[:4], rows[4:]):
        assert nothing[3:7] == source[3:7] and perfect[3:7] == answer[3:7]
        assert float(answer[6]) == 100 > float(source[6])
    assert rows[0][5].strip() == "100.0"
    assert rows[4][5].strip() == "-", "another place has another light"
    assert Image.open(tmp_path / "coat.png").size == (2 * (3 * 33 + 1), 2 * (4 * 33 + 1))


@pytest.mark.parametrize(
    ("word", "said"),
    [("kinds=hat,shoe", "no kind 'shoe'"), ("methods=idd", "did you mean 'ids'")],
)
def test_a_wrong_choice_is_refused_in_one_sentence(word: str, said: str) -> None:
    with pytest.raises(SystemExit, match=said):
        main([word])


def test_a_hat_that_was_there_keeps_its_colour() -> None:
    worn = Scene(worn="hat", worn_color="blue")
    assert changed(Case(worn, worn.replace(coat="gray"), ("", "")))["worn_color"] is False
