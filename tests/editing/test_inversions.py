"""Inversions on disk: which are taken, and what is wrong with the others."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from editing.inversions import HEADER, read_header
from tests.editing.conftest import INVERTED, noise_picture, result_of


def test_another_precision_is_warned_of(
    edit: Callable[..., Any], inverted: Callable[..., Any]
) -> None:
    assert inverted("method=ddib", "dtype=fp32").code == 0
    words = ("method=ddib", "inversion=inv", "overwrite=true", "output=out")
    same = edit(*words, "dtype=fp32", without=INVERTED)
    assert same.code == 0 and "was made in" not in same.err
    other = edit(*words, "dtype=bf16", without=INVERTED)
    assert other.code == 0 and "made in float32, and this edit runs in bfloat16" in other.err


def test_another_picture_or_model_is_refused(
    edit: Callable[..., Any], inverted: Callable[..., Any], tmp_path: Path
) -> None:
    assert inverted("method=ddib").code == 0
    path = tmp_path / "inv/inversion.safetensors"
    words = ("method=ddib", f"inversion={path}", "output=out")
    header = json.loads(read_header(path).metadata()[HEADER])
    other = tmp_path / "other.safetensors"
    save_file(load_file(path), other, {HEADER: json.dumps(header | {"model": "0"})})
    found = edit("method=ddib", f"inversion={other}", "output=out", without=INVERTED)
    assert found.code == 2 and "with another model" in found.err
    noise_picture(48, 32).save(tmp_path / "cat.png")
    found = edit(*words, without=INVERTED)
    assert found.code == 2 and "it has changed since" in found.err
    (tmp_path / "cat.png").unlink()
    found = edit(*words, without=INVERTED)
    assert found.code == 2 and "no longer at" in found.err


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"options": {"steps": 2, "_target_": "builtins.print"}}, "is no inversion"),
        ({"options": {"steps": {"_target_": "builtins.print"}}}, "is no inversion"),
        ({"options": {"steps": 2, "colour": 3}}, "made with colour, which method=ddib lacks"),
        ({"method": 3}, "is no inversion"),
        ({"prompt": 5}, "is no inversion"),
        ({"seed": "0"}, "is no inversion"),
    ],
)
def test_what_a_file_says_of_itself_is_not_trusted(
    edit: Callable[..., Any],
    inverted: Callable[..., Any],
    tmp_path: Path,
    said: dict[str, Any],
    why: str,
) -> None:
    """It comes from anywhere, and its options would be those that Hydra makes the method of."""
    assert inverted("method=ddib").code == 0
    path = tmp_path / "inv/inversion.safetensors"
    header = json.loads(read_header(path).metadata()[HEADER])
    save_file(load_file(path), path, {HEADER: json.dumps(header | said)})
    found = edit("method=ddib", "inversion=inv", "output=out", without=INVERTED)
    assert found.code == 2 and why in found.err and found.err.count("Error") == 1, found.err


def test_tensors_that_do_not_fit_are_refused(
    edit: Callable[..., Any], inverted: Callable[..., Any], tmp_path: Path
) -> None:
    assert inverted("method=ddib").code == 0
    path = tmp_path / "inv/inversion.safetensors"
    whole, metadata = load_file(path), read_header(path).metadata()
    for broken, why in (
        ({"generator": whole["generator"][:8]}, "is damaged"),
        ({"noises": whole["noise"], "noise": None}, "the inversion has no noise"),
    ):
        tensors = {name: each for name, each in (whole | broken).items() if each is not None}
        save_file(tensors, path, metadata)
        found = edit("method=ddib", "inversion=inv", "output=out", without=INVERTED)
        assert found.code == 2 and why in found.err and found.err.count("Error") == 1, found.err


def test_of_a_folder_what_its_result_lists_counts(
    edit: Callable[..., Any], inverted: Callable[..., Any], tmp_path: Path
) -> None:
    assert inverted("method=ddib").code == 0
    left = tmp_path / "inv/inversion/cat.safetensors"  # by a run that was killed
    left.parent.mkdir()
    shutil.copy(tmp_path / "inv/inversion.safetensors", left)
    assert edit("method=ddib", "inversion=inv", "output=out", without=INVERTED).code == 0
    assert len(result_of(tmp_path / "out")["pictures"]) == 1
