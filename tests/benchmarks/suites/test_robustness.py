"""One setting moved at a time: what is edited, what is shown, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.rows import read_asked, read_rows
from benchmarks.suites.axes import varied
from benchmarks.suites.base import Study, Suite
from benchmarks.suites.robustness import Robustness
from editing.build import make_editor
from editing.edit import DistillationEditor
from editing.errors import UserError
from tests.benchmarks.suites.conftest import settings_of

AXES = {"steps": [1, 2], "noise.iterations": [0, 1], "seed": [0, 1]}


def test_settings_are_replaced_and_the_old_ones_stay() -> None:
    settings = settings_of("method=ids")
    before = json.dumps(settings.distiller)
    moved = varied(settings, {"noise.iterations": 5, "guidance": 4.0, "steps": 7})
    assert moved is not None and moved.distiller["noise"]["iterations"] == 5
    assert (moved.guidance, moved.distiller["guidance"], moved.steps) == (4.0, 4.0, 7)
    assert json.dumps(settings.distiller) == before
    assert varied(settings_of("method=dds"), {"noise.iterations": 5}) is None
    assert varied(settings, {"nothing.like.it": 5}) is None


def test_the_steps_of_a_sampler_are_its_own(tiny_prior: Any) -> None:
    settings = settings_of("method=sdedit")
    moved = varied(settings, {"steps": 7, "seed": 3})
    assert moved is not None and (moved.steps, moved.seed) == (7, 3)
    editor: Any = make_editor(moved, tiny_prior)
    assert editor.method.steps == 7
    assert varied(settings, {"step_size": 0.1}) is None


def test_methods_are_moved_and_shown_together(
    tiny_prior: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = Robustness(AXES, {"noise.iterations": {"steps": 1}}, cases=1, size=32)
    assert isinstance(study, Study) and not isinstance(study, Suite)
    for method in ("dds", "ids"):
        study.study(settings_of(f"method={method}", "steps=1"), tiny_prior, tmp_path, "as typed")
    printed = capsys.readouterr().out
    assert "dds, by steps\n\n| steps " in printed and "ids, by noise.iterations" in printed
    header = next(line for line in printed.splitlines() if line.startswith("| steps "))
    row = next(line for line in printed.splitlines() if line.startswith("| 2  "))
    assert [cell.strip() for cell in header.split("|")[-3:-1]] == [
        "seconds per edit",
        "peak memory, MiB",
    ]
    seconds, memory = (float(cell) for cell in row.split("|")[-3:-1])
    assert 0 < seconds < 100 and memory > 10
    assert "dds, by noise.iterations" not in printed, "dds draws its noise at random"
    edits = [row["edit"] for row in read_rows(tmp_path / "edits") if "steps" in row["edit"]]
    dds = [edit for edit in edits if edit["method"] == "dds"]
    assert {(edit["steps"], edit["seed"]) for edit in dds} == {(1, 0), (2, 0), (1, 1)}
    assert len(dds) == 21, "an edit of two axes is made once"
    (path,) = tmp_path.glob("robustness-ids-*.json")
    record = json.loads(path.read_text())
    lines = record["axes"]
    assert record["command"] == "as typed"
    assert {asked.command for asked in read_asked(tmp_path / "edits") or ()} == {"as typed"}
    assert {axis: [line["label"] for line in found] for axis, found in lines.items()} == {
        "steps": ["1", "2"],
        "noise.iterations": ["0", "1"],
        "seed": ["0", "1"],
    }
    cost = [line["evaluations"] for line in lines["noise.iterations"]]
    assert cost == [{"forward": 4.0, "backward": 0.0}, {"forward": 6.0, "backward": 2.0}]
    page = (tmp_path / "robustness.html").read_text()
    assert page.count("<svg") == 9 and page.count("<polyline") == 15
    text = (tmp_path / "robustness.md").read_text()
    assert text.count("| method ") == 15 and "background_psnr, by noise.iterations" in text
    study.study(settings_of("method=ids", "steps=1"), tiny_prior, tmp_path)
    assert "0 rows made" in capsys.readouterr().out
    study.study(settings_of("method=ids", "steps=1", "guidance=2.0"), tiny_prior, tmp_path)
    assert len(list(tmp_path.glob("robustness-ids-*.json"))) == 2
    assert ">ids-" in (tmp_path / "robustness.html").read_text(), "two of ids, told apart"


def test_words_are_an_axis_too_and_what_failed_is_left_out(
    tiny_prior: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = DistillationEditor.__call__

    def fails_at_2(self: DistillationEditor, *args: Any) -> Any:
        if self.steps == 2:
            raise RuntimeError("no second step")
        return whole(self, *args)

    monkeypatch.setattr(DistillationEditor, "__call__", fails_at_2)
    axes = {"noise.gradient": ["exact", "picard"], "steps": [2]}
    study = Robustness(axes, cases=1, size=32)
    study.study(settings_of("method=ids", "steps=1"), tiny_prior, tmp_path)
    page = (tmp_path / "robustness.html").read_text()
    assert "noise.gradient: exact, picard" in page and page.count("<svg") == 3
    failed = [row for row in read_rows(tmp_path / "edits") if row["status"] == "failed"]
    assert len(failed) == 7


def test_what_cannot_be_moved_is_said(tiny_prior: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"suite\.axes\.steps=100 is no list of values"):
        Robustness({"steps": 100})
    with pytest.raises(UserError, match="no axis 'stesp': did you mean 'steps'"):
        Robustness({"steps": [1]}, {"stesp": {"seed": 1}})
    study = Robustness({"seed": [0], "noise.iterations": [1, 0]}, cases=1, size=32)
    words = ("method=ids", "steps=1", "method.source_score=fixed_point")
    with pytest.raises(UserError, match="source_score=fixed_point takes the noise"):
        study.study(settings_of(*words), tiny_prior, tmp_path)
    assert not list(tmp_path.glob("edits/rows/*/*")), "refused before the first edit"
    with pytest.raises(UserError, match="has 30 x 30 pixels"):
        Robustness({"seed": [0]}, cases=1, size=30).study(settings_of(), tiny_prior, tmp_path)
    assert varied(settings_of(), {"guidance.x": 1}) is None
    study = Robustness({"noise.iterations": [1]}, cases=1, size=32)
    with pytest.raises(UserError, match="method=dds has none of the axes of suite=robustness"):
        study.study(settings_of("method=dds", "steps=1"), tiny_prior, tmp_path)
