from typing import Any

import torch

from editing.parameters import Latents


def test_a_canvas_starts_at_the_source(tiny_prior: Any, images: torch.Tensor) -> None:
    canvas = Latents().start(tiny_prior, images)
    target, source = canvas.latents([])
    assert target is canvas.tensors[0] and target.requires_grad and not source.requires_grad
    assert torch.equal(target, source)
    torch.testing.assert_close(source, tiny_prior.encode(images))
    torch.testing.assert_close(canvas.images(), tiny_prior.decode(source))


def test_moving_the_latents_leaves_the_source_alone(tiny_prior: Any, images: torch.Tensor) -> None:
    canvas = Latents().start(tiny_prior, images)
    with torch.no_grad():
        canvas.tensors[0].add_(1)
    target, source = canvas.latents([])
    torch.testing.assert_close(target - source, torch.ones_like(source))


def test_exact_priors_give_float32_pictures(mixture_prior: Any, images: torch.Tensor) -> None:
    canvas = Latents().start(mixture_prior, images)
    assert canvas.tensors[0].dtype == torch.float64
    torch.testing.assert_close(canvas.images(), images)
