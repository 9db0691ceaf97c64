"""Combinations of settings, and the row that each gets."""

from typing import Any

import pytest

from benchmarks.menagerie.classifier import AttributeClassifier
from benchmarks.suites import sweep
from benchmarks.suites.sweep import Options, combinations, main
from benchmarks.suites.world import SuiteOptions, make_editor


def test_every_combination_is_tried_once() -> None:
    found = combinations(Options(guidance="2,3", high="0.5", step_size="0.1,0.2"))
    assert found == [
        f"guidance={g} method.step_size={s} timesteps.high=0.5" for g in "23" for s in (0.1, 0.2)
    ]
    assert combinations(Options()) == [""]


def test_settings_reach_the_editor() -> None:
    words = combinations(Options(guidance="2", steps="7", step_size="0.01", low="0.1", high="0.6"))
    editor = make_editor("dds", SuiteOptions(settings=words[0]))
    times = editor.distiller.timesteps
    assert (editor.steps, editor.step_size, editor.distiller.guidance) == (7, 0.01, 2.0)
    assert (times.low, times.high) == (0.1, 0.6)


def test_a_row_is_the_mean_over_the_kinds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The stand-in returns the source, faster for the second setting."""
    monkeypatch.setattr(sweep, "load_classifier", lambda folder: AttributeClassifier())
    monkeypatch.setattr(sweep, "make_editor", lambda method, opts: opts.settings)

    def edit_all(editor: str, todo: Any, sources: Any, opts: Any) -> Any:
        return sources, 4.0 if editor == "guidance=2" else 1.0, 10.0 * len(todo)

    monkeypatch.setattr(sweep, "edit_all", edit_all)
    main(["scenes=2", "kinds=coat,hat", "guidance=2,5", "size=16"])
    rows = [line.split("|") for line in capsys.readouterr().out.splitlines() if "%" in line]
    assert [row[1].strip() for row in rows] == ["guidance=2", "guidance=5"]
    assert [float(row[6]) for row in rows] == [4.0, 1.0]
    assert rows[0][2:6] == rows[1][2:6]
    assert float(rows[0][4]) == 100 and float(rows[0][7]) == 20


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(SystemExit, match="no kind 'shoe'"):
        main(["kinds=hat,shoe"])
