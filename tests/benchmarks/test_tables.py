"""From rows to tables."""

import json
import random
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from benchmarks.tables import differences, frame, labels, markdown, summary, table, write_tables


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
        "variant": "one",
        "prompts": ["a cat", "a pig"],
        "edit": edit,
        "status": "done",
        "metrics": {"target_species": 1.0, "exact_psnr": value},
        "evaluations": {"forward": 8.0, "backward": 2.0},
        "seconds": 1.5,
        "batch_size": 4,
        "time": 0.0,
    }


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
    assert labels(edits) == [
        "ids noise.iterations=3",
        "ids noise.iterations=1",
        "dds",
        "dds",
        "source",
    ]


def test_neither_seeds_nor_edits_of_one_picture_are_independent() -> None:
    lines = summary(frame(some_rows()))
    assert [line["label"] for line in lines] == ["source", "exact answer", "dds", "ids"]
    ids = lines[-1]
    found = ids["metrics"]["exact_psnr"]
    assert (ids["cases"], ids["seeds"], found["cases"], found["count"]) == (20, 2, 20, 10)
    assert ids["evaluations"] == {"forward": 8.0, "backward": 2.0} and ids["seconds"] == 1.5
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
    assert header[-2] == "PSNR to exact, dB" and cell == "10.0 (2 of 3)"


def test_of_an_edit_that_was_measured_anew_the_latest_counts() -> None:
    old = [row("ids", i, 1.0) for i in range(3)]
    new = [{**row("ids", i, 2.0), "key": f"anew-{i}", "time": 9.0} for i in range(2)]
    assert sorted(frame([*new, *old]).exact_psnr) == [1.0, 2.0, 2.0]
    other = [{**each, "variant": "another"} for each in new]
    assert sorted(frame([*other, *old]).exact_psnr) == [2.0, 2.0], "no mixture of variants"
    assert len(frame([row("ids", 0, 1.0, seed) for seed in (0, 1)])) == 2


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
    text = (tmp_path / "table.md").read_text().splitlines()
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
    methods = ["sds", "dds", "cds", "pds", "ids", "nfsd", "ism", "ssd", "drfs", "other"]
    rows = [
        row(name, i, float(i % 17), seed)
        for name in methods
        for i in range(250)
        for seed in range(4)
    ]
    start = time.perf_counter()
    write_tables(tmp_path, frame(rows))
    assert len(rows) == 10_000 and time.perf_counter() - start < 20
