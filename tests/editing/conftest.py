"""The command line as a function, on a tiny random model."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from editing.run import main

NO_TARGET = ("target",)
INVERTED = ("src", "source", "steps")  # what an inversion brings


@dataclass
class Outcome:
    code: int
    out: str
    err: str


def noise_picture(width: int, height: int, seed: int = 0) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def result_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "result.json").read_text(encoding="utf-8"))


@pytest.fixture
def edit(
    tmp_path: Path,
    tiny_sd: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., Outcome]:
    """Run the command line in a folder with `cat.png`; a word replaces a default of its key."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    Image.effect_noise((48, 32), 64).convert("RGB").save("cat.png")
    defaults = ["src=cat.png", "target=a pig", "source=a cat", "steps=2", f"prior={tiny_sd}"]

    def call(*words: str, without: tuple[str, ...] = ()) -> Outcome:
        skip = {word.partition("=")[0] for word in words} | set(without)
        kept = [word for word in defaults if word.partition("=")[0] not in skip]
        capsys.readouterr()
        code = main([*words, *kept])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


@pytest.fixture
def inverted(edit: Callable[..., Any]) -> Callable[..., Any]:
    """Invert `cat.png` to the folder `inv`."""

    def call(*words: str) -> Any:
        return edit("task=invert", "output=inv", *words, without=NO_TARGET)

    return call
