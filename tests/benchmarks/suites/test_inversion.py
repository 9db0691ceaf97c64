"""Finding pictures again: what is compared with what, and what is moved."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.menagerie.captions import caption
from benchmarks.menagerie.scene import OWN_COAT
from benchmarks.rows import read_rows
from benchmarks.suites.base import Study, Suite
from benchmarks.suites.inversion import METRICS, PROMPTS, Inversion, Reconstructions
from editing.errors import UserError
from tests.benchmarks.suites.conftest import settings_of


def test_prompts_say_what_they_are_called() -> None:
    for case in Reconstructions(cases=100, size=32).make_cases():
        scene = case.about.source
        said = {name: text(scene) for name, text in PROMPTS.items()}
        assert case.prompts == (said["own"],) * 2 == (caption(scene),) * 2
        assert said["empty"] == "" and len(set(said.values())) == 5, said
        natural = f"{OWN_COAT.get(scene.species)} {scene.species}"
        assert natural not in said["wrong adjective"], "that would be true"


def test_noise_is_in_the_picture_and_the_same_again() -> None:
    clean, noisy, again = (Reconstructions(cases=3, size=32, noise=n) for n in (0, 10, 10))
    cases = clean.make_cases()
    a, b = clean.load(cases).source, noisy.load(cases).source
    inside = (a > 0.2) & (a < 0.8)  # where nothing is cut off
    assert ((b - a)[inside].std() * 255).item() == pytest.approx(10, rel=0.05)
    assert torch.equal(b[1:2], again.load(cases[1:2]).source), "whatever the batch"
    assert clean.load(cases).answer is None


def test_what_is_found_is_compared_with_what_was_inverted() -> None:
    suite = Reconstructions(cases=2, size=64, noise=20)
    cases = suite.make_cases()
    pictures = suite.load(cases)
    same, other = suite.measure(cases, pictures, pictures.source)
    assert same == other == {"psnr": 100.0, "ssim": pytest.approx(1), "source_distance": 0.0}
    (worse, _) = suite.measure(cases, pictures, (pictures.source + 0.1).clamp(0, 1))
    assert worse["psnr"] == pytest.approx(20, abs=1) and worse["source_distance"] > 0


def test_one_thing_after_the_other_is_moved(
    tiny_prior: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    axes = {"guidance": [1.0, 7.5], "noise": [0, 20], "prompt": ["own", "empty"]}
    beside = {"noise": {"guidance": 7.5}, "prompt": {"guidance": 7.5}}
    study = Inversion(axes, beside, cases=2, size=32)
    assert isinstance(study, Study) and not isinstance(study, Suite)
    for method in ("autoencoder", "ddib"):
        study.study(settings_of(f"method={method}", "steps=2"), tiny_prior, tmp_path, "as typed")
    assert "ddib, by prompt" in capsys.readouterr().out
    (path,) = tmp_path.glob("inversion-ddib-*.json")
    record = json.loads(path.read_text())
    found = {axis: {x["label"]: x for x in lines} for axis, lines in record["axes"].items()}
    own, plain = found["prompt"]["own"]["metrics"], found["guidance"]["7.5"]["metrics"]
    assert own == plain == found["noise"]["0"]["metrics"] and set(own) == set(METRICS)
    assert own["psnr"] != found["guidance"]["1.0"]["metrics"]["psnr"]
    counted = [found["guidance"][g]["evaluations"]["forward"] for g in ("1.0", "7.5")]
    assert counted == [2 + 2, 2 + 4]
    edits = [row for row in read_rows(tmp_path / "edits") if row["edit"]["method"] == "ddib"]
    assert len(edits) == 2 * 4, "what is asked for on several axes is made once"
    text = (tmp_path / "inversion.md").read_text()
    assert text.count("| method ") == 15 and text.count("| ddib ") == 15
    costs = text.split("network evaluations, by guidance")[1].splitlines()
    assert [word.strip() for word in costs[5].split("|")[1:-1]] == ["ddib", "4 + 0", "6 + 0"]
    assert (tmp_path / "inversion.html").read_text().count("<svg") == 9
    plots = sorted(path.name for path in (tmp_path / "plots").iterdir())
    assert len(plots) == 9 and plots[0] == "inversion-guidance-psnr.svg"
    assert "xmlns" in (tmp_path / "plots" / plots[0]).read_text()


def test_what_cannot_be_moved_is_said(tiny_prior: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no prompt 'onw': did you mean 'own'"):
        Inversion({"prompt": ["onw"]})
    with pytest.raises(UserError, match=r"suite\.axes\.noise"):
        Inversion({"noise": [-1]})
    with pytest.raises(UserError, match="noise can only be an axis"):
        Inversion({"guidance": [1.0]}, {"guidance": {"noise": 5}})
    with pytest.raises(UserError, match="method=ddib has none of the axes of suite=inversion"):
        Inversion({"eta": [0.1]}, cases=1, size=32).study(
            settings_of("method=ddib"), tiny_prior, tmp_path
        )
    study = Inversion({"noise": [0]}, cases=1, size=32)
    with pytest.raises(UserError, match="methods that run a sampler, which method=dds does not"):
        study.study(settings_of("method=dds"), tiny_prior, tmp_path)
