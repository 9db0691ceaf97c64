"""Gradients that come back from latents to pictures."""

from typing import Any

import pytest
import torch

from editing.distillers import DDS
from editing.edit import DistillationEditor
from editing.parameters import Latents, Pixels
from editing.parameters.pull import STEP, encode, pull_of
from samplers.random import make_generators


def pulled(prior: Any, images: torch.Tensor, gradient: torch.Tensor, pull: Any) -> torch.Tensor:
    leaf = images.clone().requires_grad_()
    latents = encode(prior, leaf, pull)
    torch.testing.assert_close(latents.detach(), prior.encode(images))
    latents.backward(gradient)
    assert leaf.grad is not None
    return leaf.grad


def test_the_decoder_pulls_as_it_would_draw_a_step(tiny_prior: Any, images: torch.Tensor) -> None:
    latents = tiny_prior.encode(images)
    gradient = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
    here, there = tiny_prior.decode(latents), tiny_prior.decode(latents - STEP * gradient)
    found = pulled(tiny_prior, images, gradient, "decoder")
    assert float(found.abs().max()) > 0
    torch.testing.assert_close(images - STEP * found, images + there - here)


def test_the_encoder_pulls_as_autograd_does(tiny_prior: Any, images: torch.Tensor) -> None:
    latents = tiny_prior.encode(images)
    leaf = images.clone().requires_grad_()
    expected = torch.autograd.grad(tiny_prior.encode(leaf).sum(), leaf)[0]
    found = pulled(tiny_prior, images, torch.ones_like(latents), "encoder")
    torch.testing.assert_close(found, expected)


def test_a_picture_pulls_alone(tiny_prior: Any, images: torch.Tensor) -> None:
    gradient = torch.randn(tiny_prior.encode(images).shape)
    both = pulled(tiny_prior, images, gradient, "decoder")
    alone = pulled(tiny_prior, images[1:2], gradient[1:2], "decoder")
    torch.testing.assert_close(both[1:2], alone, atol=1e-5, rtol=1e-4)


def test_what_has_no_graph_gets_none(tiny_prior: Any, images: torch.Tensor) -> None:
    assert not encode(tiny_prior, images).requires_grad
    with torch.no_grad():
        assert not encode(tiny_prior, images.clone().requires_grad_()).requires_grad


def test_a_pull_ends_where_colours_do(gaussian_prior: Any) -> None:
    """Decoding is (z + 1) / 2 here, in [0, 1]."""
    images = torch.tensor([0.5, 0.2, 0.0, 1.0]).view(1, 1, 2, 2).expand(1, 3, 2, 2)
    for gradient, expected in (
        (0.2, [0.1, 0.1, 0.0, 0.1]),
        (-0.2, [-0.1, -0.1, -0.1, 0.0]),
        (20.0, [0.5 / STEP, 0.2 / STEP, 0.0, 1 / STEP]),
    ):
        found = pulled(gaussian_prior, images, torch.full((1, 3, 2, 2), gradient), "decoder")
        torch.testing.assert_close(found[0, 0].flatten(), torch.tensor(expected))


def test_pixels_that_the_decoder_pulls_follow_the_latents(
    gaussian_prior: Any, images: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where decoding is linear, an edit of pixels is the edit of latents."""
    monkeypatch.setattr("editing.parameters.pull.STEP", 0.01)  # within the range of colours
    prompts = gaussian_prior.pair(source="a cat", target="a pig")
    grey = 0.5 + 0.1 * (images[:, :, ::8, ::8] - 0.5)  # nothing is clipped
    by_pixels, by_latents = (
        DistillationEditor(DDS(gaussian_prior), parameters, steps=5, step_size=0.01)(
            grey, prompts, make_generators(0, range(len(grey)))
        ).images
        for parameters in (Pixels(), Latents())
    )
    assert float((by_latents - grey).abs().max()) > 0.01
    torch.testing.assert_close(by_pixels, by_latents, atol=1e-5, rtol=0)


@pytest.mark.parametrize("way", ["decode", None, 1])
def test_other_ways_are_refused(way: Any) -> None:
    with pytest.raises(ValueError, match="give decoder or encoder"):
        pull_of(way)
