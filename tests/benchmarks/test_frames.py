"""Rows as a data frame, and what edits are called."""

from typing import Any

from benchmarks.frames import frame, labels
from benchmarks.rows import (
    Asked,
)
from tests.benchmarks.example_rows import row


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


def test_rows_of_an_older_version_are_read_too() -> None:
    old = row("ids", 0, 1.0)
    del old["picture"]
    assert list(frame([old]).picture) == [old["key"]]


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
