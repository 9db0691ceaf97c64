"""Which way a gradient comes back from latents to the picture that they were encoded from."""

from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from samplers.prior import Prior

Pull = Literal["decoder", "encoder"]
STEP = 0.5  # along the gradient, over which the decoder's answer is measured


def pull_of(value: Any) -> Pull:
    """``value`` as one of the ways.

    Raises:
        ValueError: naming it otherwise.
    """
    for way in get_args(Pull):
        if value == way:
            return way
    raise ValueError(f"pull={value} cannot be used: give {' or '.join(get_args(Pull))}.")


def encode(
    prior: Prior, images: Float[Tensor, "B 3 H W"], pull: Pull = "decoder"
) -> Float[Tensor, "B C h w"]:
    """Latents of pictures, and a graph on which a gradient comes back.

    Args:
        prior: the model.
        images: in [0, 1].
        pull: ``encoder`` is the derivative of encoding, as autograd has it. It asks each pixel for
            what moves the latents most, so what it adds up to is a fine pattern that the encoder
            sees and people take for noise. ``decoder`` asks for the change of the picture that a
            step along the gradient would make of its latents, decoded: a step on pixels is a step
            on latents then, and of the same size as long as colours stay in their range, which
            decoding ends at. The encoder keeps no graph, which saves memory.
    """
    if pull == "encoder" or not (torch.is_grad_enabled() and images.requires_grad):
        return prior.encode(images)
    made: Tensor = _DecoderPull.apply(images, prior)
    return made


class _DecoderPull(torch.autograd.Function):
    """Encodes; on the way back the decoder's secant (D(z) - D(z - s g)) / s takes g to pixels."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, prior: Prior) -> Tensor:
        latents = prior.encode(images)
        ctx.prior = prior
        ctx.dtype, ctx.device = images.dtype, images.device
        ctx.save_for_backward(latents)
        return latents

    @staticmethod
    @torch.no_grad()
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (latents,), (gradient,) = ctx.saved_tensors, gradients
        here, there = ctx.prior.decode(torch.cat([latents, latents - STEP * gradient])).chunk(2)
        return ((here - there) / STEP).to(ctx.device, ctx.dtype), None
