"""A suite, an editor and a prior that need no model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.harness import Harness
from benchmarks.rows import read_rows
from benchmarks.suites.base import Case, Measures, Pictures
from editing.editor import Edit
from samplers.prior import Evaluations

WHAT = {"method": "fake", "steps": 1}


class Brightness:
    """Cases are grey levels; measured is how bright the edit is, the answer being white."""

    name = "brightness"
    metrics = ("exact_psnr",)

    def __init__(self, count: int = 10, version: int = 1) -> None:
        self.count, self.version = count, version

    def make_cases(self) -> list[Case]:
        return [
            Case(f"level-{i}", ("gray", "white"), {"level": i}, size=(8, 8 + 2 * (i % 2)))
            for i in range(self.count)
        ]

    def load(self, cases: Sequence[Case]) -> Pictures:
        levels = torch.tensor([case.identity["level"] / 20 for case in cases])
        source = levels[:, None, None, None].expand(-1, 3, *cases[0].size)
        return Pictures(source, torch.ones_like(source))

    def measure(self, cases: Sequence[Case], pictures: Pictures, edited: Tensor) -> list[Measures]:
        return [{"exact_psnr": float(picture.mean())} for picture in edited]

    def identity(self) -> Mapping[str, Any]:
        return {"version": self.version}


class FakePrior:
    def pair(self, source: list[str], target: list[str]) -> None:
        assert set(source) == {"gray"} and set(target) == {"white"}


class Editor:
    """Adds 0.25 and a little that is drawn; remembers the batches."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, sources: Tensor, prompts: Any, generators: Any, **_: Any) -> Edit:
        self.batches.append(len(sources))
        drawn = torch.stack([torch.rand((), generator=g) for g in generators])
        images = sources + 0.25 + 0.1 * drawn[:, None, None, None]
        return Edit(images, (), [], Evaluations(3 * len(sources), 0), 0.5 * len(sources))


def run(output: Path, editor: Any, suite: Any = None, seed: int = 0, size: int = 3) -> Any:
    harness = Harness(suite or Brightness(), output, size)
    return harness.run(editor, WHAT, FakePrior(), seed)


def rows_of(output: Path, method: str = "fake") -> dict[str, dict[str, Any]]:
    return {r["case"]: r for r in read_rows(output) if r["edit"]["method"] == method}


def measured(output: Path) -> dict[str, float]:
    return {name: row["metrics"]["exact_psnr"] for name, row in rows_of(output).items()}
