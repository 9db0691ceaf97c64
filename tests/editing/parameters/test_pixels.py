from typing import Any

import torch

from editing.parameters import Pixels


def test_a_canvas_starts_at_the_source(tiny_prior: Any, images: torch.Tensor) -> None:
    canvas = Pixels().start(tiny_prior, images)
    target, source = canvas.latents([])
    assert torch.equal(canvas.tensors[0], images)
    torch.testing.assert_close(target, source)
    assert target.requires_grad and not source.requires_grad
    assert torch.equal(canvas.images(), images)


def test_a_gradient_on_the_latents_reaches_every_picture(
    tiny_prior: Any, images: torch.Tensor
) -> None:
    canvas = Pixels(pull="encoder").start(tiny_prior, images)
    target, _ = canvas.latents([])
    target.backward(torch.ones_like(target))
    pixels = canvas.tensors[0]
    expected = images.clone().requires_grad_()
    tiny_prior.encode(expected).sum().backward()
    assert pixels.grad is not None and expected.grad is not None
    torch.testing.assert_close(pixels.grad, expected.grad)
    assert (pixels.grad.flatten(1).norm(dim=1) > 0).all()


def test_pictures_stay_in_range(tiny_prior: Any, images: torch.Tensor) -> None:
    canvas = Pixels().start(tiny_prior, images)
    with torch.no_grad():
        canvas.tensors[0].mul_(10).sub_(3)
    assert (float(canvas.images().min()), float(canvas.images().max())) == (0, 1)
