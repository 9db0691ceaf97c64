"""Edits that are cut short: by Ctrl-C, by values that are not finite, by lack of memory."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from editing import session
from editing.distillers import DDS
from editing.images import read_picture
from tests.editing.conftest import noise_picture, result_of


def edit_of_two(
    edit: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, error: BaseException, at: int
) -> Any:
    """Edit two pictures one by one; the call `at` (from 1) raises `error`."""
    noise_picture(48, 32, seed=1).save("dog.png")
    original, calls = session.Session.run_editor, []

    def failing(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == at:
            raise error
        return original(*arguments)

    monkeypatch.setattr(session.Session, "run_editor", failing)
    return edit("src=*.png", "batch_size=1", "output=out", "method=dds")


def test_ctrl_c_keeps_what_is_finished(
    edit: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = edit_of_two(edit, monkeypatch, KeyboardInterrupt(), at=2)
    assert outcome.code == 130
    assert outcome.err.splitlines()[-1] == "Interrupted; 1 of 2 edits are kept in out."
    result = result_of(tmp_path / "out")
    assert result["status"] == "interrupted"
    assert [picture["edited"] for picture in result["pictures"]] == ["edited/cat.png"]


def test_ctrl_c_before_anything_is_finished_leaves_nothing(
    edit: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = edit_of_two(edit, monkeypatch, KeyboardInterrupt(), at=1)
    assert outcome.code == 130
    assert outcome.err == "Interrupted; nothing of this edit was written.\n"
    assert not (tmp_path / "out").exists()


def test_a_run_that_diverges_keeps_its_last_good_result(
    edit: Callable[..., Any], tmp_path: Path
) -> None:
    outcome = edit("method.step_size=1e38", "guidance=1e38", "method=dds", "output=out")
    assert outcome.code == 2
    message = outcome.err.splitlines()[-1]
    assert message.startswith("Error: ")
    assert "step 1" in message and "float32" in message
    result = result_of(tmp_path / "out")
    assert result["status"] == "stopped"
    assert "not finite" in result["pictures"][0]["stopped"]
    assert read_picture(tmp_path / "out" / "edited.png").size == (48, 32)


def test_a_picture_that_diverges_takes_no_other_with_it(
    edit: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither of its batch nor of the batches that follow."""
    for name in ("a", "b", "c"):
        noise_picture(48, 32, seed=ord(name)).save(f"{name}.png")
    plain = edit("src=[abc].png", "method=dds", "output=plain")
    assert plain.code == 0
    whole = DDS.gradient

    def spoilt(self: Any, target: torch.Tensor, *rest: Any) -> torch.Tensor:
        found = whole(self, target, *rest)
        if len(target) == 2:
            found[0] = torch.nan
        return found

    monkeypatch.setattr(DDS, "gradient", spoilt)
    outcome = edit("src=[abc].png", "method=dds", "output=out", "batch_size=2")
    assert outcome.code == 2 and "image 0 of the batch" in outcome.err
    result = result_of(tmp_path / "out")
    assert [bool(picture["stopped"]) for picture in result["pictures"]] == [True, False, False]
    for name in ("b", "c"):
        made, expected = (
            np.asarray(Image.open(tmp_path / run / "edited" / f"{name}.png"), dtype=int)
            for run in ("out", "plain")
        )
        assert np.abs(made - expected).max() <= 1


def test_no_animation_is_made_that_is_not_asked_for(
    edit: Callable[..., Any], tmp_path: Path
) -> None:
    assert edit("trace=false", "method=dds", "output=out").code == 0
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert files == {"edited.png", "side_by_side.png", "config.yaml", "result.json"}
    assert "trace" not in result_of(tmp_path / "out")["pictures"][0]


def test_running_out_of_memory_says_what_to_do(
    edit: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Any, *arguments: Any, **options: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate ...")

    monkeypatch.setattr("editing.edit.DistillationEditor.__call__", fail)
    outcome = edit("method=dds")
    assert outcome.code == 2
    assert "try batch_size=1" in outcome.err
    assert outcome.err.count("\n") == 1
