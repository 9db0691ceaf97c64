"""Laying colours over a canvas of four channels: premultiplied red, green and blue, and alpha."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Paint:
    """One fill or one stroke in its window of the picture."""

    colour: Tensor  # (4,), the last is 1
    alpha: Tensor
    cover: Float[Tensor, "h w"]
    left: int
    top: int


class _Blend(torch.autograd.Function):
    """Lays a colour over a part of a canvas, in place: most shapes are much smaller than it."""

    @staticmethod
    def forward(
        ctx: Any, canvas: Tensor, cover: Tensor, colour: Tensor, alpha: Tensor, left: int, top: int
    ) -> Tensor:
        height, width = cover.shape
        ctx.part = slice(None), slice(top, top + height), slice(left, left + width)
        part = canvas[ctx.part]
        ctx.save_for_backward(part.clone(), cover, colour, alpha)
        part.lerp_(colour[:, None, None], cover * alpha)
        ctx.mark_dirty(canvas)
        return canvas

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        before, cover, colour, alpha = ctx.saved_tensors
        gradient = gradients[0].clone()
        part = gradient[ctx.part]
        towards = (part * (colour[:, None, None] - before)).sum(0)
        passed = part * (cover * alpha)
        part -= passed
        return gradient, towards * alpha, passed.sum((1, 2)), (towards * cover).sum(), None, None


def blend(canvas: Tensor, paint: Paint, alpha: Tensor) -> Tensor:
    """A canvas with a colour laid over it, as opaque as ``alpha`` where it covers all."""
    if not paint.cover.numel():
        return canvas
    made: Tensor = _Blend.apply(canvas, paint.cover, paint.colour, alpha, paint.left, paint.top)
    return made


def over(canvas: Tensor, layer: Tensor) -> Tensor:
    """A canvas with another laid over it, both premultiplied."""
    return canvas * (1 - layer[3]) + layer
