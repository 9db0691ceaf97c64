"""Exact priors against autograd of the log density and against direct sums."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from editing.errors import UserError
from editing.priors.analytic import FiniteSetPrior, GaussianMixturePrior, Mixture
from samplers.noise import posterior_mean


def noisy(batch: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 3, 4, 6, dtype=torch.float64, generator=generator)


def noise_by_autograd(
    prior: Any, z_t: torch.Tensor, t: int, means: torch.Tensor, variances: Any, weights: Any
) -> torch.Tensor:
    """-sigma grad log p_t from torch's own mixture density, for one image."""
    alpha, sigma = (float(x) for x in prior.alpha_sigma(torch.tensor([t])))
    scale = (alpha**2 * variances + sigma**2).sqrt()[:, None].expand(-1, z_t.numel())
    normals = Independent(Normal(alpha * means.flatten(1), scale), 1)
    x = z_t.flatten().clone().requires_grad_()
    log_density = MixtureSameFamily(Categorical(weights), normals).log_prob(x)
    return -sigma * torch.autograd.grad(log_density, x)[0].view_as(z_t)


@pytest.mark.parametrize("t", [0, 300, 999])
def test_scores_equal_autograd_of_the_log_density(mixture_prior: Any, t: int) -> None:
    z_t, means = noisy(2), mixture_prior.means
    actual = mixture_prior.predict_noise(
        z_t, torch.tensor([t, t]), mixture_prior.embed(["a cat", "a pig"])
    )
    variances = torch.tensor([0.2, 0.5, 0.3, 0.4, 0.1], dtype=torch.float64)
    weights = torch.tensor([0.2, 0.5, 0.3, 0.5, 0.5], dtype=torch.float64)
    cat = noise_by_autograd(mixture_prior, z_t[0], t, means[0, :3], variances[:3], weights[:3])
    pig = noise_by_autograd(mixture_prior, z_t[1], t, means[1, :2], variances[3:], weights[3:])
    torch.testing.assert_close(actual, torch.stack([cat, pig]), atol=1e-5, rtol=0)


def test_the_empty_prompt_is_the_even_mixture_of_all(mixture_prior: Any) -> None:
    z_t, t = noisy(1), 500
    means = torch.cat([mixture_prior.means[0, :3], mixture_prior.means[1, :2]])
    variances = torch.tensor([0.2, 0.5, 0.3, 0.4, 0.1], dtype=torch.float64)
    weights = torch.tensor([0.1, 0.25, 0.15, 0.25, 0.25], dtype=torch.float64)
    expected = noise_by_autograd(mixture_prior, z_t[0], t, means, variances, weights)
    actual = mixture_prior.predict_noise(z_t, torch.tensor([t]), mixture_prior.embed([""]))
    torch.testing.assert_close(actual[0], expected, atol=1e-5, rtol=0)


def test_guidance_has_one_meaning(mixture_prior: Any) -> None:
    z_t, t = noisy(2), torch.tensor([200, 600])
    cats, nothing = mixture_prior.embed(["a cat"] * 2), mixture_prior.embed([""] * 2)
    conditional = mixture_prior.predict_noise(z_t, t, cats)
    unconditional = mixture_prior.predict_noise(z_t, t, nothing)
    for guidance in (0.0, 1.0, 7.5):
        torch.testing.assert_close(
            mixture_prior.predict_noise(z_t, t, cats, guidance),
            unconditional + guidance * (conditional - unconditional),
        )


def test_gaussian_closed_form(gaussian_prior: Any) -> None:
    z_t, t = noisy(2), torch.tensor([100, 800])
    alpha, sigma = gaussian_prior.alpha_sigma(t)
    expected = sigma * (z_t - alpha * gaussian_prior.means[:2, 0]) / (alpha**2 * 0.3 + sigma**2)
    actual = gaussian_prior.predict_noise(z_t, t, gaussian_prior.embed(["a cat", "a pig"]))
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=0)


def test_a_finite_set_is_denoised_as_theorem_1_says() -> None:
    points = noisy(5, seed=1)
    prior = FiniteSetPrior({"a cat": points})
    # close to one of the points relative to the noise, so that no weight is exactly 0 or 1
    t, z_t = torch.tensor([700]), 0.3 * points[:1] + noisy(1, seed=2)
    alpha, sigma = (float(x) for x in prior.alpha_sigma(t))
    weights = torch.stack(
        [torch.exp(-((z_t[0] - alpha * y) ** 2).sum() / (2 * sigma**2)) for y in points]
    )
    weights = weights / weights.sum()
    assert 0.01 < weights.max() < 0.99
    mean = sum(weight * y for weight, y in zip(weights, points, strict=True))
    expected = (z_t - alpha * mean) / sigma
    actual = prior.predict_noise(z_t, t, prior.embed(["a cat"]))
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=0)


def test_a_finite_set_remembers_its_points() -> None:
    points = noisy(4, seed=1)
    prior = FiniteSetPrior({"a cat": points[:2], "a pig": points[2:]})
    t = torch.tensor([10])
    alpha, sigma = prior.alpha_sigma(t)
    z_t = alpha * points[3:] + sigma * noisy(1, seed=3)
    for prompt, nearest in (("a pig", points[3:]),):
        noise = prior.predict_noise(z_t, t, prior.embed([prompt]))
        torch.testing.assert_close(posterior_mean(prior, z_t, t, noise), nearest)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 999), st.floats(0.0, 100.0), st.integers(0, 1000))
def test_predictions_are_finite_anywhere(t: int, far: float, seed: int) -> None:
    prior = FiniteSetPrior({"a cat": noisy(3, seed=1)})
    z_t = far * noisy(1, seed)
    assert prior.predict_noise(z_t, torch.tensor([t]), prior.embed(["a cat"]), 7.5).isfinite().all()


def test_a_row_does_not_depend_on_its_batch(mixture_prior: Any) -> None:
    z_t, t = noisy(3), torch.tensor([100, 500, 900])
    prompts = mixture_prior.embed(["a cat", "a pig", ""])
    together = mixture_prior.predict_noise(z_t, t, prompts, 7.5)
    for row in range(3):
        part = slice(row, row + 1)
        alone = mixture_prior.predict_noise(z_t[part], t[part], prompts[part], 7.5)
        torch.testing.assert_close(together[part], alone, atol=1e-12, rtol=0)


def test_signal_and_noise_levels(gaussian_prior: Any) -> None:
    alpha, sigma = gaussian_prior.alpha_sigma(torch.tensor([0, 500, 999]))
    assert alpha.shape == (3, 1, 1, 1)
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones_like(alpha))
    assert float(alpha[0] ** 2) == pytest.approx(1 - 0.00085)


def test_pictures_go_in_and_out(gaussian_prior: Any, images: torch.Tensor) -> None:
    z = gaussian_prior.encode(images)
    assert float(z.min()) >= -1 and float(z.max()) <= 1
    torch.testing.assert_close(gaussian_prior.decode(z).float(), images)
    assert gaussian_prior.decode(5 * z).max() == 1


def test_unknown_prompts_are_named() -> None:
    prior = GaussianMixturePrior({"a cat": Mixture(noisy(1), torch.ones(1))})
    with pytest.raises(UserError, match="no prompt 'a dog'; it knows 'a cat', ''"):
        prior.embed(["a cat", "a dog"])
