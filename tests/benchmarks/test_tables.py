"""From rows to tables."""

import json
import random
import time
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from benchmarks import tables
from benchmarks.report import report
from benchmarks.rows import (
    Asked,
    digest,
    picture_path,
    read_asked,
    read_rows,
    row_path,
    write_asked,
)
from benchmarks.suites.cat_to_others import OTHERS, CatToOthers
from benchmarks.tables import (
    TOO_FEW,
    analysis,
    check_metrics,
    costs,
    differences,
    frame,
    labels,
    markdown,
    print_tables,
    summary,
    table,
    write_tables,
)
from editing.errors import UserError
from editing.results import to_json


def row(method: str, case: int, value: float | None, seed: int = 0, **settings: Any) -> dict:
    edit = {"method": method, "seed": seed, **settings}
    if method in ("source", "exact answer"):
        edit = {"method": method}
    return {
        "key": f"{method}-{case}-{seed}-{settings}",
        "picture": f"{method}-{case}-{seed}-{settings}",
        "suite": "cat_to_others",
        "group": "",
        "case": f"case-{case}",
        "cluster": f"cat-{case // 2}",
        "variant": f"variant-{case}",
        "prompts": ["a cat", "a pig"],
        "edit": edit,
        "status": "done",
        "metrics": {"target_species": 1.0, "exact_psnr": value},
        "evaluations": {"forward": 8.0, "backward": 2.0},
        "seconds": 1.5,
        "memory": 100.0 + case,
        "batch_size": 4,
        "time": 0.0,
    }


SHIFT = (("dds", 0), ("ids", 2))


def some_rows() -> list[dict]:
    rng = random.Random(0)
    hard = [rng.gauss(12, 4) for _ in range(20)]
    made = [row("source", i, 9.0) for i in range(20)]
    made += [row("exact answer", i, 100.0) for i in range(20)]
    for seed in (0, 1):
        made += [row("dds", i, value + rng.gauss(0, 0.1), seed) for i, value in enumerate(hard)]
        made += [row("ids", i, value + 1 + rng.gauss(0, 0.1), seed) for i, value in enumerate(hard)]
    rng.shuffle(made)
    return made


def test_methods_are_called_by_what_they_differ_in() -> None:
    edits = [
        {"method": "ids", "distiller": {"guidance": 3.0, "noise": {"iterations": 3}}, "seed": 0},
        {"method": "ids", "distiller": {"guidance": 3.0, "noise": {"iterations": 1}}, "seed": 1},
        {"method": "dds", "distiller": {"guidance": 7.5}, "seed": 0},
        {"method": "dds", "distiller": {"guidance": 7.5}, "seed": 1},
        {"method": "source"},
    ]
    other = {"_target_": "a.Other", "iterations": 3}
    plain = {"method": "cds", "distiller": {"noise": {"_target_": "a.Random"}}}
    assert labels([plain, {"method": "cds", "distiller": {"noise": other}}]) == [
        "cds noise=Random",
        "cds noise=Other",
    ]
    assert labels(edits) == [
        "ids noise.iterations=3",
        "ids noise.iterations=1",
        "dds",
        "dds",
        "source",
    ]


def test_a_noise_that_is_not_the_default_has_a_short_name() -> None:
    random_, fpr = ({"_target_": f"samplers.noise.{n}"} for n in ("RandomNoise", "FixedPointNoise"))
    fpr |= {"iterations": 3}

    def edit(method: str, noise: dict, **more: Any) -> dict:
        return {"method": method, "distiller": {"noise": noise, **more}}

    edits = [edit("cds", random_), edit("cds", fpr), edit("ids", fpr), edit("pds", fpr)]
    assert labels(edits) == ["cds", "cds+fpr", "ids", "pds+fpr"]
    assert labels([edit("ids", random_), edit("ids", fpr)]) == ["ids noise=RandomNoise", "ids"]
    more = [edit("cds", random_, w=1), edit("cds", fpr, w=2), edit("cds", {**fpr, "iterations": 1})]
    assert labels(more) == [
        "cds w=1",
        "cds+fpr w=2 noise.iterations=3",
        "cds+fpr noise.iterations=1",
    ]


def test_edits_that_differ_are_never_called_the_same() -> None:
    """Even if one of them has nothing but a setting more."""
    plain = {"method": "ids", "optimizer": {"_target_": "torch.SGD"}}
    more = {"method": "ids", "optimizer": {"_target_": "torch.SGD", "momentum": 0.9}}
    assert labels([plain, more]) == ["ids", "ids optimizer.momentum=0.9"]


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


def test_rows_of_an_older_version_are_read_too() -> None:
    old = row("ids", 0, 1.0)
    del old["picture"]
    assert list(frame([old]).picture) == [old["key"]]


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


def test_of_an_edit_that_was_measured_anew_the_latest_counts() -> None:
    old = [row("ids", i, 1.0) for i in range(3)]
    new = [{**row("ids", i, 2.0), "key": f"anew-{i}", "time": 9.0} for i in range(2)]
    assert sorted(frame([*new, *old]).exact_psnr) == [1.0, 2.0, 2.0]
    assert len(frame([row("ids", 0, 1.0, seed) for seed in (0, 1)])) == 2


def test_of_a_folder_only_what_is_asked_for_counts() -> None:
    rows = [row("ids", i, float(i)) for i in range(4)]
    rows += [{**row("ids", i, 10.0 + i), "variant": f"large-{i}", "key": f"l{i}"} for i in range(4)]
    small = Asked("cat_to_others", {"size": "32", "cases": "2"}, ["variant-0", "variant-1"])
    large = Asked("cat_to_others", {"size": "64", "cases": "2"}, ["large-0", "large-3"])
    assert sorted(frame(rows, [small]).exact_psnr) == [0, 1]
    both = frame(rows, [small, large])
    assert both.groupby("suite").exact_psnr.sum().to_dict() == {
        "cat_to_others size=32": 1,
        "cat_to_others size=64": 23,
    }
    assert len(frame(rows, [])) == 0


def test_what_was_asked_for_last_is_kept_with_the_rows(tmp_path: Path) -> None:
    for time_, cases in ((1.0, ["a"]), (3.0, ["b"]), (2.0, ["c"])):
        write_asked(tmp_path, Asked("pie", {}, cases, "run", time_))
    write_asked(tmp_path, Asked("cats", {}, ["d"], "run", 0.5))
    assert read_asked(tmp_path / "nothing") is None
    assert {asked.suite: asked.cases for asked in read_asked(tmp_path) or ()} == {
        "cats": ["d"],
        "pie": ["b"],
    }
    assert [asked.cases for asked in read_asked(tmp_path, 1.5) or ()] == [["c"], ["b"]]
    write_asked(tmp_path, Asked("pie", {}, ["c"], "run", 4.0))
    assert [asked.cases for asked in read_asked(tmp_path, 3.5) or ()] == [["c"]]


def test_all_that_one_command_asked_for_is_shown(tmp_path: Path) -> None:
    """A sweep over an option of the suite; what an earlier command asked for is not shown."""
    for time_, cases, launch in ((1.0, ["a"], "x"), (2.0, ["b"], "y"), (3.0, ["c"], "y")):
        write_asked(tmp_path, Asked("pie", {"size": str(time_)}, cases, "run", time_, launch))
    assert [asked.cases for asked in read_asked(tmp_path) or ()] == [["b"], ["c"]]


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


def test_small_numbers_keep_their_digits(tmp_path: Path) -> None:
    write_tables(
        tmp_path, frame([row(m, i, 1e-5 * (1 + i) + s) for m, s in SHIFT for i in range(10)])
    )
    record = json.loads((tmp_path / "summary.json").read_text())
    assert record["summary"][0]["metrics"]["exact_psnr"]["mean"] == 5.5e-5
    assert record["summary"][0]["metrics"]["exact_psnr"]["low"] > 0


def test_significance_stands_where_it_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In both kinds ids is better: by chance in one, where there are but four pictures."""
    rng = random.Random(0)
    rows = [
        {**row(m, i, shift + rng.gauss(0, 0.1)), "cluster": f"cat-{i}", "group": kind}
        for m, shift in SHIFT
        for i in range(24)
        for kind in (["few"] if i < 4 else ["many"])
    ]
    write_tables(tmp_path, frame(rows))
    cells = {
        tuple(cell.strip() for cell in line.split("|")[1:3]): line.split("|")[5].strip()
        for line in (tmp_path / "table.md").read_text().splitlines()[4:10]
    }
    assert [place for place, cell in cells.items() if "*" in cell] == [
        ("many", "dds"),
        ("all", "dds"),
    ]
    text = (tmp_path / "differences.md").read_text()
    (few,) = (line for line in text.splitlines() if "few " in line and "PSNR" in line)
    assert few.split("|")[-2].strip() == "too few" and " yes " in text and "-2.0 [-2." in text
    assert r"dds - ids" in (tmp_path / "differences.tex").read_text()
    pivot = (tmp_path / "pivot.md").read_text()
    assert pivot.count("**") == 2 * 6, "equal ones are all in bold"
    assert "| method | few target species" in pivot
    print_tables(tmp_path)
    said = capsys.readouterr().out
    assert "| all  | dds - ids | PSNR to exact, dB" in said and "| many | dds - ids" not in said


def test_a_suite_with_too_few_pictures_says_so(tmp_path: Path) -> None:
    write_tables(tmp_path, frame([row(m, i, float(s)) for m, s in SHIFT for i in range(4)]))
    assert TOO_FEW in (tmp_path / "table.md").read_text()


def test_a_pivot_has_methods_as_rows_and_kinds_with_metrics_as_columns(tmp_path: Path) -> None:
    rows = [
        {**row(m, i, float(i + s)), "group": f"kind_{i % 2}"} for m, s in SHIFT for i in range(24)
    ]
    rows += [{**each, "edit": {"method": "source"}, "key": f"s{i}"} for i, each in enumerate(rows)]
    write_tables(tmp_path, frame(rows), ["exact_psnr"])
    tex = (tmp_path / "pivot.tex").read_text().splitlines()
    assert tex[3] == (
        r" & \multicolumn{1}{c}{kind\_0} & \multicolumn{1}{c}{kind\_1} & \multicolumn{1}{c}{all} \\"
    )
    assert tex[4] == r"\cmidrule(lr){2-2} \cmidrule(lr){3-3} \cmidrule(lr){4-4}"
    assert tex[7] == r"dds & 11.0* & 12.0* & 11.5* \\"
    assert tex[8] == r"ids & \textbf{13.0} & \textbf{14.0} & \textbf{13.5} \\"
    assert "source" not in tex[7]
    with pytest.raises(UserError, match="no metric 'ioo': did you mean 'iou'"):
        check_metrics(["ioo"])


def test_what_was_computed_is_used_again_while_it_is_current(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = frame(some_rows())
    write_tables(tmp_path, data)
    expected = analysis(data)

    def again(*args: Any) -> None:
        raise AssertionError("computed again")

    with monkeypatch.context() as patch:
        patch.setattr(tables, "estimates", again)
        assert analysis(data, tmp_path) == expected
        with pytest.raises(AssertionError):
            analysis(data.iloc[1:], tmp_path)
    (tmp_path / "summary.json").write_text("")
    assert analysis(data, tmp_path) == expected, "cut off, and computed anew"


def test_files_are_the_same_whatever_the_order_of_the_rows(tmp_path: Path) -> None:
    rows = some_rows()
    write_tables(tmp_path / "a", frame(rows))
    slower = [{**r, "seconds": 9.0, "time": 5.0} for r in reversed(rows)]
    write_tables(tmp_path / "b", frame(slower))
    for name in ("table.md", "table.tex", "summary.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert "9.00" in (tmp_path / "b" / "cost.md").read_text()


def test_what_the_files_hold(tmp_path: Path) -> None:
    write_tables(tmp_path, frame(some_rows()))
    csv, parquet = pd.read_csv(tmp_path / "rows.csv"), pd.read_parquet(tmp_path / "rows.parquet")
    assert len(csv) == len(parquet) == 120 and list(csv) == list(parquet)
    *text, space, note = (tmp_path / "table.md").read_text().splitlines()
    assert space == "" and note.startswith("(*): worse than the best of its kind")
    assert text[2].startswith("| method ") and "100.0 % [100.0, 100.0]" in text[-1]
    assert text[-1].split("|")[-2].strip() == "8 + 2"
    assert len({len(line) for line in text[2:]}) == 1, "columns line up"
    tex = (tmp_path / "table.tex").read_text()
    assert r"100.0 \% [100.0, 100.0]" in tex and tex.count(r"\\") == 5
    record = json.loads((tmp_path / "summary.json").read_text())
    assert [line["label"] for line in record["summary"]][-1] == "ids"


def test_a_table_of_one_line() -> None:
    assert markdown(["a", "long"], [["much longer", "b"]]).splitlines() == [
        "| a           | long |",
        "| ---         | ---  |",
        "| much longer | b    |",
    ]


def test_ten_thousand_rows_take_seconds(tmp_path: Path) -> None:
    """To read, aggregate and report, in the shape of the default suite with ten methods."""
    methods = ["sds", "dds", "cds", "pds", "ids", "nfsd", "ism", "ssd", "drfs", "other"]
    rng, metrics = random.Random(0), CatToOthers.metrics
    small = BytesIO()
    Image.effect_noise((64, 64), 64).convert("RGB").save(small, "PNG")
    for name in methods:
        for i in range(48):
            for other in OTHERS:
                for seed in range(3):
                    made = row(name, i, 0.0, seed)
                    made |= {"case": f"{i}-{other}", "cluster": f"cat-{i}", "group": other}
                    made["metrics"] = {metric: rng.gauss(0.01 * i, 0.02) for metric in metrics}
                    made["metrics"]["target_species"] = float(rng.random() < 0.8)
                    made["key"] = made["picture"] = digest({"row": f"{name}-{i}-{other}-{seed}"})
                    files = {row_path(tmp_path, made["key"]): to_json(made)}
                    files[picture_path(tmp_path, made["key"])] = small.getvalue()
                    for path, contents in files.items():
                        path.parent.mkdir(parents=True, exist_ok=True)
                        path.write_bytes(contents)
    start = time.process_time()
    rows = list(read_rows(tmp_path))
    write_tables(tmp_path, frame(rows))
    page = report([tmp_path])
    taken = time.process_time() - start
    record = json.loads((tmp_path / "summary.json").read_text())
    assert len(rows) == 10_080 and len(record["differences"]) == 45 * 8 * len(metrics)
    assert page.count('class="case"') == 48 * 7
    assert taken < 20, f"{taken:.1f} s"
    print(f"{taken:.1f} s")
