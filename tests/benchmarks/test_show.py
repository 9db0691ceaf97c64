"""Tables without running anything: from folders, and from rows that were published."""

from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest

from benchmarks.paper import main as paper
from benchmarks.rows import write_row
from benchmarks.show import main, read_runs
from tests.benchmarks.example_rows import row, some_rows


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    for made in some_rows():
        write_row(folder, made["key"].replace("/", "-"), made)
    return folder


def said(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    assert main([str(word) for word in words]) == 0
    return capsys.readouterr().out


def test_published_rows_say_what_the_folder_says(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rows.parquet"
    from_folder = said(capsys, run)
    assert "120 rows of 4 methods" in said(capsys, run, "--save", path)
    assert not {"key", "picture"} & set(pd.read_parquet(path).columns)
    assert said(capsys, path).replace(str(path), str(run)) == from_folder
    assert "ids" in from_folder and "PSNR to exact" in from_folder
    assert paper([str(run)]) == 0
    of_folder = capsys.readouterr().out
    assert paper([str(path)]) == 0 and capsys.readouterr().out == of_folder


def test_some_methods_and_metrics(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, run, "--labels", "ids", "--metrics", "exact_psnr")
    assert "| ids " in text and "| dds " not in text and "| source " in text
    assert "PSNR to exact" in text and "target species" not in text


def test_of_an_edit_in_several_runs_the_latest_counts(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    write_row(other, "again", row("dds", 0, 50.0) | {"key": "again", "time": 1.0})
    data = read_runs([run, other])
    (value,) = data[(data.label == "dds") & (data.case == "case-0") & (data.seed == 0)].exact_psnr
    assert value == 50.0 and len(data) == 120


def test_cases_that_all_methods_have(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    for case in range(5):
        write_row(other, f"{case}", row("cds", case, 1.0))
    text = said(capsys, run, other, "--common")
    counts = [line.split("|")[2].strip() for line in text.splitlines() if line.startswith("| ")]
    assert counts[2:7] == ["5"] * 5


def test_one_edit_has_one_name(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Though its name is shorter where nothing else of its method is beside it."""
    alone, path = tmp_path / "alone", tmp_path / "rows.parquet"
    for case in range(20):
        write_row(alone, f"{case}", row("dds", case, 1.0, guidance=99))
    said(capsys, alone, "--save", path)
    assert set(pd.read_parquet(path).label) == {"dds"}
    write_row(run, "99", row("dds", 0, 2.0, guidance=99))
    data = read_runs([run, path])
    assert (data.label == "dds guidance=99").sum() == 20 and (data.label == "dds").sum() == 40


def test_different_edits_are_never_called_the_same(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other, path = tmp_path / "other", tmp_path / "rows.parquet"
    for case in range(20):
        write_row(other, f"{case}", row("dds", case, 1.0, guidance=99))
    text = said(capsys, run, other)
    assert "| dds guidance=99 " in text, "labels of folders are made together"
    said(capsys, run, "--save", path)
    assert main([str(path), str(other)]) == 2
    assert "'dds' is not the same in all of these runs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["none"], "none cannot be read"),
        (["empty"], "empty has no rows"),
        (["text.parquet"], "it is no file of rows"),
        (["other.parquet"], "it has no column"),
        (["run", "--labels", "idss"], "no rows of 'idss': there are dds, ids"),
        (["run", "--metrics", "psrn"], "no metric 'psrn'"),
        (["run", "--save", "run"], "Cannot write to run"),
        (["run", "apart", "--common"], "nothing to show"),
    ],
)
def test_what_cannot_be_shown_is_said(
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    expected: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    write_row(Path("apart"), "1", row("cds", 50, 1.0))
    Path("text.parquet").write_text("no parquet")
    pd.DataFrame({"a": [1]}).to_parquet("other.parquet")
    assert main(words) == 2
    error = capsys.readouterr().err
    assert expected in error and error.count("\n") == 1


def test_a_plot_of_two_metrics(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "plot.svg"
    words = ("--metrics", "exact_psnr", "target_species")
    assert "target_species against exact_psnr" in said(capsys, run, *words, "--plot", path)
    root = ElementTree.fromstring(path.read_bytes())
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    names = {title.text for title in root.iter("{http://www.w3.org/2000/svg}title")}
    assert names == {"dds", "ids"}, "the references are none of the methods"
    assert main([str(run), "--plot", str(path)]) == 2
    assert "--plot needs two --metrics" in capsys.readouterr().err
    assert main([str(run), "--metrics", "exact_psnr", "iou", "--plot", str(path)]) == 2
    assert "No method has both exact_psnr and iou" in capsys.readouterr().err
