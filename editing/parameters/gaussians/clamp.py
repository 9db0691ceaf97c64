"""Clamping that does not trap what left the range."""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


class _Clamp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.bounds = low, high
        return x.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (x,), (low, high), (gradient,) = ctx.saved_tensors, ctx.bounds, gradients
        # descent moves against the gradient: one above the range that is positive leads back
        outwards = ((x < low) & (gradient > 0)) | ((x > high) & (gradient < 0))
        return gradient.masked_fill(outwards, 0.0), None, None


def clamped(
    x: Float[Tensor, "*shape"], low: float = -math.inf, high: float = math.inf
) -> Float[Tensor, "*shape"]:
    """``x`` in [low, high]. Outside, the gradient passes if a descent along it leads back.

    With ``torch.clamp`` a colour that one step of Adam threw out of the range never returns.
    """
    return _Clamp.apply(x, low, high)
