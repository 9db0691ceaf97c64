"""The paper's tables beside those of a run."""

import json
from importlib import resources
from pathlib import Path

import pytest

from benchmarks.paper import main
from benchmarks.rows import write_row
from tests.benchmarks.example_rows import row


def run(folder: Path, shifts: dict[str, float], cats: int = 8) -> Path:
    """Methods on two kinds of edit, all cats alike but for a little."""
    for method, shift in shifts.items():
        for cat in range(cats):
            for kind in ("pig", "tiger"):
                made = row(method, cat, 20.0)
                made |= {"group": kind, "case": f"{cat}-{kind}", "cluster": f"cat-{cat}"}
                made["metrics"] = {
                    "iou": 0.5 + shift + 0.002 * cat,
                    "source_distance": 0.5 - shift,
                    "residual_psnr_paper": 20 - shift,
                }
                write_row(folder, f"{method}-{cat}-{kind}", made)
    return folder


def test_the_order_of_the_methods_is_stated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run(tmp_path, {"dds": 0.0, "cds": 0.1, "ids": 0.2, "source": 0.5}, cats=20)
    assert main([str(folder)]) == 0
    said = capsys.readouterr().out
    assert said.count("as printed in the IDS paper") == 3 and "Stable Diffusion 1.4" in said
    assert "not LPIPS" in said and "source" not in said.split("| dds ")[1].split("\n")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in said.splitlines()]
    assert ["dds", "paper", "0.69", "0.71", "-"] in rows and [
        "p2p",
        "paper",
        "0.42",
        "0.47",
        "-",
    ] in rows
    assert ["dds", "paper", "-", "-", "26.02"] in rows
    assert ["ids", "here", "0.719", "0.719", "0.719"] in rows
    overlap, distance, psnr = (line for line in said.splitlines() if "the paper's order" in line)
    assert overlap.startswith(
        "IoU: the paper's order, IDS > CDS > DDS (> keeps more of the source)"
    )
    assert "holds here: IDS > CDS (p = " in overlap
    assert "after Holm's correction: significant)" in overlap and "holds here" in distance
    assert "does not hold here: IDS <= CDS" in psnr


def test_few_pictures_and_missing_methods_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(run(tmp_path / "few", {"dds": 0.0, "cds": 0.1, "ids": 0.2}, cats=4))]) == 0
    assert "too few pictures to be significant" in capsys.readouterr().out
    assert main([str(run(tmp_path / "two", {"dds": 0.0, "ids": 0.2}))]) == 0
    assert "cannot be tested without ids and cds" in capsys.readouterr().out
    assert main([str(tmp_path)]) == 2
    assert "has no rows: give a folder" in capsys.readouterr().err
    write_row(tmp_path / "other", "one", row("dds", 0, 1.0) | {"suite": "ip2p"})
    assert main([str(tmp_path / "other")]) == 2
    assert "has no rows of suite=cat_to_others" in capsys.readouterr().err


def test_the_numbers_are_whole() -> None:
    """Five methods; seven kinds of edit, and one number for the PSNR."""
    paper = json.loads((resources.files("benchmarks") / "paper.json").read_text())
    for metric, count in (("iou", 7), ("lpips", 7), ("psnr", 1)):
        assert {method: len(kinds) for method, kinds in paper[metric].items()} == dict.fromkeys(
            ("p2p", "pnp", "dds", "cds", "ids"), count
        )
