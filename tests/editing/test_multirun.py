"""`-m`: every combination of values, and flags among the options."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from editing.command import fields_of_swept_groups, flags_last
from tests.editing.conftest import result_of


def test_multirun_runs_every_combination(edit: Callable[..., Any], tmp_path: Path) -> None:
    outcome = edit("-m", "method=dds,sds", "seed=1,2", "target=a pig, or a cow")
    assert outcome.code == 0, outcome.err
    results = [result_of(path.parent) for path in tmp_path.glob("results/*/result.json")]
    assert sorted((r["method"], r["seed"]) for r in results) == [
        ("dds", 1),
        ("dds", 2),
        ("sds", 1),
        ("sds", 2),
    ]
    assert {r["pictures"][0]["target_prompt"] for r in results} == {"a pig, or a cow"}
    assert len(list((tmp_path / "results").iterdir())) == 4


@pytest.mark.parametrize("place", [0, 1, 2])
def test_flags_may_stand_anywhere(edit: Callable[..., Any], tmp_path: Path, place: int) -> None:
    words = ["method=dds", "seed=1,2"]
    words.insert(place, "-m")
    assert edit(*words, "steps=1").code == 0
    assert len(list((tmp_path / "results").iterdir())) == 2


def test_flags_keep_their_values() -> None:
    typed = ["a=1", "--config-dir", "x", "b=2", "-m", "--cfg", "job"]
    assert flags_last(typed) == ["a=1", "b=2", "--config-dir", "x", "-m", "--cfg", "job"]


def test_a_field_that_several_methods_have_is_set_in_each(
    edit: Callable[..., Any], tmp_path: Path
) -> None:
    """And need not be one of the default method."""
    words = ("method=ddib,cyclediffusion", "method.source_guidance=2.0")
    assert edit("-m", *words, "trace=false").code == 0
    results = [result_of(path.parent) for path in tmp_path.glob("results/*/result.json")]
    assert sorted(result["method"] for result in results) == ["cyclediffusion", "ddib"]
    configs = [path.read_text() for path in tmp_path.glob("results/*/config.yaml")]
    assert all("source_guidance: 2.0" in config for config in configs)


def test_only_fields_of_swept_groups_are_made_sweeps() -> None:
    typed = ["-m", "method=a,b", "method.x=1", "method.y=[1,2]", "method.z=1,2", "noise.k=3"]
    made = ["method.x=choice(1)", "method.y=choice([1,2])", "method.z=1,2", "noise.k=3"]
    assert fields_of_swept_groups(typed) == ["-m", "method=a,b", *made]
    for plain in (typed[1:], ["-m", "method=a", "method.x=1"], ["-m", "src=a,b", "src.x=1"]):
        assert fields_of_swept_groups(plain) == plain


def test_a_multirun_that_cannot_begin_leaves_nothing(
    edit: Callable[..., Any], tmp_path: Path
) -> None:
    for words in (("src=dog.png",), ("overwrite=true",), ("src=dog.png", "output=out")):
        outcome = edit("-m", "seed=0,1", *words)
        assert outcome.code == 2
        assert "dog.png" in outcome.err or "overwrite=true" in outcome.err
        assert [path.name for path in tmp_path.iterdir()] == ["cat.png"]


def test_output_holds_all_results_of_a_multirun(edit: Callable[..., Any], tmp_path: Path) -> None:
    outcome = edit("-m", "method=dds", "seed=1,2", "output=all, of them")
    assert outcome.code == 0, outcome.err
    assert not (tmp_path / "results").exists()
    names = ["cat-a_pig-dds", "cat-a_pig-dds-2"]
    assert sorted(path.name for path in (tmp_path / "all, of them").iterdir()) == names
    seeds = [result_of(tmp_path / "all, of them" / name)["seed"] for name in names]
    assert seeds == [1, 2]


def test_a_bad_job_does_not_stop_a_multirun(edit: Callable[..., Any], tmp_path: Path) -> None:
    outcome = edit("-m", "method=dds", "steps=0,1")
    assert outcome.code == 2
    assert "steps=0 cannot be used" in outcome.err
    assert "Error executing job with overrides" in outcome.err  # Hydra's, naming the job
    assert "Traceback" not in outcome.err
    assert [result_of(p)["steps"] for p in tmp_path.glob("results/cat*")] == [1]
