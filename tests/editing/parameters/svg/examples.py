"""Drawings and what the tests do with them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from editing.parameters.svg import Drawing, render

DRAWINGS = sorted((Path(__file__).parent / "drawings").glob("*.svg"))
Read = Callable[[str], Drawing]
HEAD = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 50"'


def moved(drawing: Drawing, seed: int = 0, amount: float = 0.012) -> Drawing:
    """A drawing with all its numbers changed, by about a hundredth of its size."""
    generator = torch.Generator().manual_seed(seed)
    size = max(drawing.structure.view_box[2:])
    noise = {k: torch.randn(v.shape, generator=generator) for k, v in drawing.tensors().items()}
    tensors = {name: value + 0.15 * noise[name] for name, value in drawing.tensors().items()}
    tensors["points"] = drawing.points + amount * size * noise["points"]
    tensors["widths"] = drawing.widths * (1 + 0.3 * noise["widths"]).clamp(min=0.3)
    return replace(drawing, **tensors).clamp_()


def psnr(one: torch.Tensor, two: torch.Tensor) -> float:
    return float(-10 * (one - two).square().mean().clamp(min=1e-12).log10())


def exact(drawing: Drawing) -> Drawing:
    tensors: dict[str, Any] = {k: v.double() for k, v in drawing.tensors().items()}
    return replace(drawing, **tensors)


def black(drawing: Drawing, size: tuple[int, int] = (16, 16)) -> torch.Tensor:
    """How black every pixel is."""
    return 1 - render(drawing, size)[0]
