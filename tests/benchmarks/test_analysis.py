"""Means, intervals and paired differences of rows."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks import analysis as analysis_module
from benchmarks.analysis import analysis, costs, differences, summary
from benchmarks.frames import frame
from benchmarks.tables import table, write_tables
from tests.benchmarks.example_rows import SHIFT, row, some_rows


def test_a_mean_is_that_of_the_edits_whatever_the_clusters() -> None:
    """Six edits of one picture and one each of two others."""
    rows = [{**row("dds", i, float(i)), "cluster": f"cat-{max(0, i - 5)}"} for i in range(8)]
    (line,) = summary(frame(rows))
    found = line["metrics"]["exact_psnr"]
    assert found["mean"] == 3.5 and found["count"] == 3
    assert found["low"] >= 2.5 and found["high"] <= 7
    for i, each in enumerate(list(rows)):
        squared = {"exact_psnr": each["metrics"]["exact_psnr"] ** 2}
        ids = {"edit": {"method": "ids", "seed": 0}, "key": f"ids-{i}", "metrics": squared}
        rows.append({**each, **ids})
    change = {line["metric"]: line for line in differences(frame(rows))}["exact_psnr"]
    assert change["mean"] == pytest.approx(sum(i - i**2 for i in range(8)) / 8)


def test_neither_seeds_nor_edits_of_one_picture_are_independent() -> None:
    lines = summary(frame(some_rows()))
    assert [line["label"] for line in lines] == ["source", "exact answer", "dds", "ids"]
    ids = lines[-1]
    found = ids["metrics"]["exact_psnr"]
    assert (ids["cases"], ids["seeds"], found["cases"], found["count"]) == (20, 2, 20, 10)
    assert ids["evaluations"] == {"forward": 8.0, "backward": 2.0}
    assert costs(frame(some_rows()))["cat_to_others", "", "ids"] == (1.5, 119)
    assert ids["metrics"]["target_species"]["mean"] == 1.0


def test_differences_are_those_of_the_same_cases() -> None:
    (species, exact) = differences(frame(some_rows()))
    assert (exact["first"], exact["second"], exact["metric"]) == ("dds", "ids", "exact_psnr")
    assert exact["mean"] == pytest.approx(-1, abs=0.1) and exact["significant"]
    assert exact["low"] < exact["mean"] < exact["high"] < -0.9
    assert not species["significant"] and species["p_holm"] == 1.0


def test_what_failed_or_has_no_value_does_not_count() -> None:
    rows = [row("dds", i, None if i == 1 else 10.0) for i in range(4)]
    rows[0] |= {"status": "failed", "metrics": {}, "reason": "out of memory"}
    (line,) = summary(frame(rows))
    assert line["cases"] == 3 and line["metrics"]["exact_psnr"]["cases"] == 2
    header, ((*_, cell, _),) = table([line])
    assert header[-2] == "PSNR to exact, dB ↑" and cell == "10.0 (2 of 3)"


def test_differences_are_of_the_cases_and_seeds_that_both_have() -> None:
    hard = [5.0, 15.0] * 10
    rows = [row("dds", i, value) for i, value in enumerate(hard)]
    rows += [row("ids", i, value if value < 10 else None) for i, value in enumerate(hard)]
    rows += [row("ids", i, value + 50, seed=1) for i, value in enumerate(hard)]
    found = {line["metric"]: line for line in differences(frame(rows))}["exact_psnr"]
    assert (found["mean"], found["count"], found["significant"]) == (0.0, 10, False)


def test_kinds_have_a_line_for_all_of_them() -> None:
    rows = [
        {**row(m, i, float(i + s)), "group": f"kind-{i % 2}"} for m, s in SHIFT for i in range(8)
    ]
    lines = summary(frame(rows))
    assert [(line["group"], line["label"], line["cases"]) for line in lines] == [
        ("kind-0", "dds", 4),
        ("kind-0", "ids", 4),
        ("kind-1", "dds", 4),
        ("kind-1", "ids", 4),
        ("all", "dds", 8),
        ("all", "ids", 8),
    ]
    assert lines[-1]["metrics"]["exact_psnr"]["mean"] == 5.5
    assert [line["group"] for line in differences(frame(rows))[::2]] == ["kind-0", "kind-1", "all"]


def test_what_was_computed_is_used_again_while_it_is_current(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = frame(some_rows())
    write_tables(tmp_path, data)
    expected = analysis(data)

    def again(*args: Any) -> None:
        raise AssertionError("computed again")

    with monkeypatch.context() as patch:
        patch.setattr(analysis_module, "estimates", again)
        assert analysis(data, tmp_path) == expected
        with pytest.raises(AssertionError):
            analysis(data.iloc[1:], tmp_path)
    (tmp_path / "summary.json").write_text("")
    assert analysis(data, tmp_path) == expected, "cut off, and computed anew"
