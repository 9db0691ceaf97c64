"""CDS: the score of DDS, and the gradient of the contrast, on a tiny random network."""

import math
from typing import Any

import pytest
import torch

from editing.attention import recorded
from editing.distillers import CDS, DDS
from editing.distillers.cds import as_grid, draw_patches, patch_nce
from samplers.prior import count_evaluations
from samplers.random import make_generators, randn


def latents(batch: int, seed: int = 0, size: tuple[int, int] = (8, 12)) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 4, *size, generator=generator)


@pytest.mark.parametrize("guidance", [1.0, 7.5])
def test_without_contrast_it_is_dds(tiny_prior: Any, guidance: float) -> None:
    target, source = latents(2, 1), latents(2, 2)
    prompts = tiny_prior.pair(source="a cat", target="a pig")
    found = [
        method.distill(target, source, prompts, make_generators(0, range(2))).gradient
        for method in (
            CDS(tiny_prior, weight=0, guidance=guidance),
            DDS(tiny_prior, guidance=guidance),
        )
    ]
    torch.testing.assert_close(found[0], found[1], atol=1e-4, rtol=1e-4)


def contrast(
    prior: Any, target: torch.Tensor, source: torch.Tensor, t: Any, e: Any
) -> torch.Tensor:
    """The contrast as the papers write it: all patches, every image for itself."""
    alpha, sigma = prior.alpha_sigma(t)
    features = []
    for z, text in ((target, "a pig"), (source, "a cat")):
        with recorded(prior.self_attention) as outputs:
            prior.predict_noise(alpha * z + sigma * e, t, prior.embed([text] * len(z)))
        features.append(outputs)
    total = torch.zeros(())
    for x, y in zip(*features, strict=True):
        for i in range(len(x)):
            for side in (1, 2):
                grids = [as_grid(f[i : i + 1], target.shape[-2:]) for f in (x, y)]
                pooled = [torch.nn.functional.avg_pool2d(g, side)[0].flatten(1) for g in grids]
                key, query = (p / p.norm(dim=0) for p in pooled)
                logits = query.T @ key / 0.07
                total = total + (logits.logsumexp(1) - logits.diagonal()).mean()
    return total


def test_the_pull_is_the_gradient_of_the_contrast(tiny_prior: Any) -> None:
    """Against autograd through the textbook's formula, and against finite differences of it."""
    target, source = latents(2, 1), latents(2, 2)
    prompts = tiny_prior.pair(source="a cat", target="a pig")
    cds = CDS(tiny_prior, guidance=3.0)
    drawn = cds.distill(target, source, prompts, make_generators(4, range(2)))
    plain = CDS(tiny_prior, guidance=3.0, weight=0)
    plain_drawn = plain.distill(target, source, prompts, make_generators(4, range(2)))
    pull = (drawn.gradient - plain_drawn.gradient) * 2000 / (3.0 * 8 * 12)
    again = make_generators(4, range(2))
    t = cds.timesteps(1000, again, 0.0)
    e = randn(source.shape, again)
    leaf = target.clone().requires_grad_()
    (expected,) = torch.autograd.grad(contrast(tiny_prior, leaf, source, t, e), leaf)
    torch.testing.assert_close(pull, expected, atol=2e-3 * expected.abs().max().item(), rtol=2e-2)
    along = expected / expected.norm()
    with torch.no_grad():
        up, down = (contrast(tiny_prior, target + h * along, source, t, e) for h in (0.05, -0.05))
    assert ((up - down) / 0.1).item() == pytest.approx(expected.norm().item(), rel=0.05)


def test_an_image_does_not_depend_on_its_batch(tiny_prior: Any) -> None:
    target, source = latents(3, 1), latents(3, 2)
    prompts = tiny_prior.pair(source="a cat", target="a pig")
    cds = CDS(tiny_prior, patches=20)
    together = cds.distill(target, source, prompts, make_generators(0, range(3))).gradient
    for i in range(3):
        alone = cds.distill(target[i : i + 1], source[i : i + 1], prompts, make_generators(0, [i]))
        torch.testing.assert_close(together[i : i + 1], alone.gradient, atol=1e-4, rtol=1e-3)


def test_every_prediction_is_made_once(tiny_prior: Any) -> None:
    z, prompts = latents(2), tiny_prior.pair(source="a cat", target="a pig")
    with count_evaluations(tiny_prior) as evaluations:
        CDS(tiny_prior).distill(z, z, prompts)
    assert (evaluations.forward, evaluations.backward) == (8, 2)
    assert not any(module._forward_hooks for module in tiny_prior.self_attention)


def test_a_prior_without_attention_is_refused(gaussian_prior: Any) -> None:
    with pytest.raises(ValueError, match="no self-attention"):
        CDS(gaussian_prior)


def test_patch_nce_by_hand() -> None:
    """Two patches at right angles: the right one has logit 1 / T, the wrong one 0."""
    x = torch.eye(2, dtype=torch.float64)[None]
    expected = math.log(1 + math.exp(-1 / 0.5))
    assert patch_nce(x, 3 * x, 0.5).item() == pytest.approx(expected)
    swapped = patch_nce(x, x.flip(1), 0.5).item()
    assert swapped == pytest.approx(math.log(1 + math.exp(1 / 0.5)))
    # softmax runs over the keys of the one query
    query = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
    key = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    wanted = 0.5 * (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(1)))
    assert patch_nce(query, key, 1.0).item() == pytest.approx(wanted)


@pytest.mark.parametrize(("size", "tokens", "grid"), [((8, 12), 24, (4, 6)), ((9, 5), 15, (5, 3))])
def test_tokens_are_laid_out_as_the_latents(
    size: tuple[int, int], tokens: int, grid: tuple[int, int]
) -> None:
    features = torch.arange(tokens).float()[None, :, None]
    laid = as_grid(features, torch.Size(size))
    assert laid.shape == (1, 1, *grid)
    assert torch.equal(laid.flatten(), features.flatten())
    with pytest.raises(ValueError, match="7 tokens are no map of 8 x 12 latents"):
        as_grid(torch.zeros(1, 7, 3), torch.Size((8, 12)))


def test_patches_are_drawn_without_repetition() -> None:
    drawn = draw_patches(30, 20, make_generators(0, range(2)))
    assert drawn.shape == (2, 20)
    assert all(len(set(row)) == 20 for row in drawn.tolist())
    assert drawn[0].tolist() != drawn[1].tolist()
    assert draw_patches(5, 20, make_generators(0, [0])).shape == (1, 5)
