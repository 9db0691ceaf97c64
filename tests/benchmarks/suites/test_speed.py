"""The textbook computes what the toolkit computes, and the table says what was measured."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.suites import speed
from benchmarks.suites.base import Study
from benchmarks.suites.textbook import TEXTBOOK, Step, is_textbook
from editing.distillers import CDS, DDS, IDS, PDS
from editing.edit import DistillationEditor
from editing.errors import UserError
from samplers.noise import FixedPointNoise
from samplers.random import make_generators
from tests.benchmarks.suites.conftest import settings_of


class Given:
    """A timestep or noise that is always the same, as a strategy."""

    def __init__(self, value: torch.Tensor) -> None:
        self.value = value

    def __call__(self, *args: Any, **options: Any) -> torch.Tensor:
        return self.value


@pytest.mark.parametrize(("name", "method"), [("dds", DDS), ("cds", CDS), ("ids", IDS)])
def test_the_textbook_agrees(
    tiny_prior: Any, name: str, method: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(0)
    source, target, e = (torch.randn(1, 4, 8, 12, generator=generator) for _ in range(3))
    prompts, t = tiny_prior.pair(source="a cat", target="a pig"), torch.tensor([400])
    ours = method(tiny_prior, guidance=3.0, timesteps=Given(t))
    if name == "ids":  # its strategy draws the noise itself
        monkeypatch.setattr("samplers.noise.randn", lambda *args: e)
    else:
        ours.noise = Given(e)
    found = ours.distill(target, source, prompts, make_generators(0, [0])).gradient
    expected = TEXTBOOK[name](Step(tiny_prior, target, source, prompts, t, e, 3.0))
    torch.testing.assert_close(found, expected, atol=2e-3, rtol=2e-3)


def test_a_row_counts_and_measures(
    tiny_prior: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(speed, "MATRIX", {"cpu": 64})
    study = speed.Speed((1, 2), repeats=2)
    assert isinstance(study, Study)
    found = {}
    for method in ("dds", "pds"):  # of pds there is no textbook version
        study.study(settings_of(f"method={method}", "steps=100"), tiny_prior, tmp_path)
        (path,) = tmp_path.glob(f"speed-{method}-*.json")
        found[method] = json.loads(path.read_text())
        assert found[method]["edit"]["steps"] == 100
    data = {**found["dds"], "rows": found["dds"]["rows"] + found["pds"]["rows"]}
    assert (data["device"], data["dtype"]) == ("cpu", "float32")
    assert data["gflops"] > 0
    assert [(r["method"], r["batch"], r["forward"], r["backward"]) for r in data["rows"]] == [
        ("dds", 1, 4, 0),
        ("dds", 2, 4, 0),
        ("pds", 1, 4, 0),
        ("pds", 2, 4, 0),
    ]
    for row in data["rows"]:
        assert row["milliseconds"] > 0 and row["mebibytes"] > 100 and row["floor"] > 0
        assert 0 < row["images_per_minute"] < 1.01 * 600 / row["milliseconds"]
        assert (row["textbook"] > 0) == (row["method"] == "dds")
    printed = capsys.readouterr().out
    assert "GFLOP/s" in printed and printed.count("| dds") == 2


def test_of_a_sampler_a_whole_edit_is_measured(
    tiny_prior: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(speed, "MATRIX", {"cpu": 64})
    study = speed.Speed((1, 2), repeats=1)
    study.study(settings_of("method=ddib", "steps=3"), tiny_prior, tmp_path, "as typed")
    (path,) = tmp_path.glob("speed-ddib-*.json")
    record = json.loads(path.read_text())
    assert record["command"] == "as typed"
    for row, batch in zip(record["rows"], (1, 2), strict=True):
        assert (row["per"], row["batch"]) == ("edit", batch)
        assert (row["forward"], row["backward"]) == (3 + 2 * 3, 0), "there, and back with guidance"
        assert row["images_per_minute"] == pytest.approx(60_000 / row["milliseconds"])
        assert row["floor"] > 0 and row["textbook"] == 0
    with pytest.raises(UserError, match="size=66 does not fit"):
        speed.Speed((1,), size=66).study(settings_of("method=ddib"), tiny_prior, tmp_path)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert len({len(line) for line in lines}) == 1, "columns line up"
    assert lines[-1].startswith("| ddib             | edit |     2 |")


def test_the_floor_is_the_time_of_the_operations_alone(tiny_prior: Any) -> None:
    fast = speed.matrix_speed(torch.device("cpu"), torch.float32, 3)
    assert 1e9 < fast < 1e13
    editor = DistillationEditor(DDS(tiny_prior), steps=2)
    row = speed.measure("dds", editor, 2, 32, 5e9, repeats=1)
    z = torch.zeros(8, 4, 8, 8)  # 2 images, target and source, with and without a prompt
    text = tiny_prior.embed(["a cat"]).expand(8)
    with FlopCounterMode(display=False) as flops, torch.no_grad():
        tiny_prior.predict(z, torch.full((8,), 500), text)
    took = 2 * row.milliseconds / 1000
    assert row.floor == pytest.approx(took * 5e9 / flops.get_total_flops(), rel=1e-3)


def test_only_the_papers_settings_have_a_textbook(tiny_prior: Any) -> None:
    same = (DDS(tiny_prior), IDS(tiny_prior), CDS(tiny_prior), DDS(tiny_prior, guidance=3.0))
    other = (
        DDS(tiny_prior, noise=FixedPointNoise()),
        IDS(tiny_prior, noise=FixedPointNoise(iterations=1)),
        IDS(tiny_prior, source_score="fixed_point"),
        CDS(tiny_prior, patches=64),
        PDS(tiny_prior),
    )
    assert all(map(is_textbook, same)) and not any(map(is_textbook, other))
