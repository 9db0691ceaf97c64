"""Tables as Markdown and LaTeX, and the files of a run."""

import json
import random
import time
from io import BytesIO
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from benchmarks.frames import frame
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
from benchmarks.tables import TOO_FEW, check_metrics, markdown, print_tables, write_tables
from editing.errors import UserError
from editing.results import to_json
from tests.benchmarks.example_rows import SHIFT, row, some_rows


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
