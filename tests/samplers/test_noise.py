"""Fixed-point regularization against closed forms and finite differences."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional.image import structural_similarity_index_measure

from samplers.noise import FixedPointNoise, RandomNoise, distance, posterior_mean, ssim
from samplers.prior import count_evaluations
from samplers.random import make_generators, randn

V = 0.3  # variance of the Gaussian prior


def latents(seed: int, batch: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 3, 4, 6, dtype=torch.float64, generator=generator)


def fixed_point(prior: Any, z: torch.Tensor, t: torch.Tensor, row: int) -> torch.Tensor:
    """z_t whose posterior mean is z, for the Gaussian prior of prompt ``row``."""
    alpha, sigma = prior.alpha_sigma(t)
    mean = prior.means[row, 0]
    return ((alpha**2 * V + sigma**2) * z - sigma**2 * mean) / (alpha * V)


def test_random_noise_is_standard_normal_per_image(gaussian_prior: Any) -> None:
    z, t, cats = latents(0, 2), torch.tensor([300, 300]), gaussian_prior.embed(["a cat"] * 2)
    noise = RandomNoise()(
        gaussian_prior, z, t, cats, guidance=1.0, generators=make_generators(4, [0, 1])
    )
    assert torch.equal(noise, randn(z.shape, make_generators(4, [0, 1]), dtype=z.dtype))


@pytest.mark.parametrize("t", [50, 400, 948])
def test_posterior_mean_of_a_gaussian(gaussian_prior: Any, t: int) -> None:
    steps, z_t = torch.tensor([t, t]), latents(1, 2)
    alpha, sigma = gaussian_prior.alpha_sigma(steps)
    noise = gaussian_prior.predict_noise(z_t, steps, gaussian_prior.embed(["a cat", "a pig"]))
    mean = gaussian_prior.means[:2, 0]
    # conjugate Gaussians: precision-weighted mean of the prior's and the observation z_t / alpha
    precision = alpha**2 / sigma**2
    expected = (mean / V + precision * z_t / alpha) / (1 / V + precision)
    actual = posterior_mean(gaussian_prior, z_t, steps, noise)
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("t", [50, 400, 948])
def test_nothing_moves_at_the_fixed_point(gaussian_prior: Any, t: int) -> None:
    z, steps = latents(1), torch.tensor([t])
    cat = gaussian_prior.embed(["a cat"])
    z_t = fixed_point(gaussian_prior, z, steps, row=0)
    noise = gaussian_prior.predict_noise(z_t, steps, cat)
    torch.testing.assert_close(
        posterior_mean(gaussian_prior, z_t, steps, noise), z, atol=1e-5, rtol=0
    )
    strategy = FixedPointNoise()
    gradient, _ = strategy.differentiate(gaussian_prior, z_t + 1e-3, z, steps, cat, 1.0)
    assert gradient.norm() > 1e-3  # not zero nearby: the norm is not squared


@pytest.mark.parametrize("t", [50, 400, 948])
@pytest.mark.parametrize("iterations", [0, 1, 3])
def test_iterations_of_a_gaussian_in_closed_form(
    gaussian_prior: Any, t: int, iterations: int
) -> None:
    """The posterior mean is linear in z_t with slope k = a v / (a^2 v + s^2), so every iteration
    shortens z_t's distance from the fixed point by lambda k, along a straight line."""
    z, steps, step_size = latents(1), torch.tensor([t]), 0.3
    alpha, sigma = gaussian_prior.alpha_sigma(steps)
    slope = float(alpha * V / (alpha**2 * V + sigma**2))
    end = fixed_point(gaussian_prior, z, steps, row=0)
    away = alpha * z + sigma * randn(z.shape, make_generators(0, [0]), dtype=z.dtype) - end
    expected = end + away * (1 - iterations * step_size * slope / away.norm())
    noise = FixedPointNoise(iterations, step_size)(
        gaussian_prior,
        z,
        steps,
        gaussian_prior.embed(["a cat"]),
        guidance=1.0,
        generators=make_generators(0, [0]),
    )
    torch.testing.assert_close(alpha * z + sigma * noise, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("t", [50, 400, 948])
def test_the_noise_of_the_fixed_point(gaussian_prior: Any, t: int) -> None:
    """With lambda as long as the way, one iteration arrives: e* = s (z - mu) / (a v)."""
    z, steps = latents(1), torch.tensor([t])
    alpha, sigma = gaussian_prior.alpha_sigma(steps)
    slope = alpha * V / (alpha**2 * V + sigma**2)
    first = alpha * z + sigma * randn(z.shape, make_generators(0, [0]), dtype=z.dtype)
    way = (first - fixed_point(gaussian_prior, z, steps, row=0)).norm()
    noise = FixedPointNoise(iterations=1, step_size=float(way / slope))(
        gaussian_prior,
        z,
        steps,
        gaussian_prior.embed(["a cat"]),
        guidance=1.0,
        generators=make_generators(0, [0]),
    )
    expected = sigma * (z - gaussian_prior.means[0, 0]) / (alpha * V)
    torch.testing.assert_close(noise, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["l2", "l1", "ssim"])
@pytest.mark.parametrize("guidance", [1.0, 7.5])
def test_gradient_equals_finite_differences(mixture_prior: Any, kind: Any, guidance: float) -> None:
    """Through the score of a mixture, whose Jacobian is anything but a constant."""
    z, z_t = 0.5 * latents(2, 2), latents(3, 2)
    t, prompts = torch.tensor([400, 700]), mixture_prior.embed(["a cat", "a pig"])

    def loss(z_t: torch.Tensor) -> torch.Tensor:
        noise = mixture_prior.predict_noise(z_t, t, prompts, guidance)
        return distance(posterior_mean(mixture_prior, z_t, t, noise), z, kind)

    strategy = FixedPointNoise(distance=kind)
    gradient, _ = strategy.differentiate(mixture_prior, z_t, z, t, prompts, guidance)
    for seed in range(4):
        direction = latents(10 + seed, 2)
        slope = (loss(z_t + 1e-6 * direction) - loss(z_t - 1e-6 * direction)) / 2e-6
        torch.testing.assert_close(
            (gradient * direction).sum((1, 2, 3)), slope, atol=1e-5, rtol=1e-5
        )


def test_moving_the_noise_instead_of_z_t(mixture_prior: Any) -> None:
    z, t, cat = latents(2), torch.tensor([600]), mixture_prior.embed(["a cat"])
    alpha, sigma = mixture_prior.alpha_sigma(t)
    noise = randn(z.shape, make_generators(0, [0]), dtype=z.dtype).requires_grad_()
    z_t = alpha * z + sigma * noise
    predicted = mixture_prior.predict_noise(z_t, t, cat, 3.0)
    loss = (z - posterior_mean(mixture_prior, z_t, t, predicted)).norm()
    (gradient,) = torch.autograd.grad(loss, noise)
    options = {"guidance": 3.0, "generators": make_generators(0, [0])}
    moved = FixedPointNoise(1, 0.7, variable="noise")(mixture_prior, z, t, cat, **options)
    torch.testing.assert_close(moved, noise.detach() - 0.7 * gradient, atol=1e-5, rtol=0)


def test_distances_are_per_image_and_comparable() -> None:
    x, z = latents(4, 3), latents(5, 3)
    assert distance(x, z, "l2").tolist() == pytest.approx(
        [float((a - b).norm()) for a, b in zip(x, z, strict=True)]
    )
    assert distance(x, z, "l1")[1] == pytest.approx(float((x[1] - z[1]).abs().mean()) * 72**0.5)
    for kind in ("l2", "l1", "ssim"):
        assert distance(z, z, kind).abs().max() < 1e-12  # type: ignore[arg-type]


def test_ssim_equals_torchmetrics() -> None:
    generator = torch.Generator().manual_seed(0)
    z = torch.rand(2, 3, 24, 30, generator=generator, dtype=torch.float64) * 5 - 2
    x = z + torch.randn(z.shape, generator=generator, dtype=torch.float64)
    for index in range(2):
        reference = structural_similarity_index_measure(
            x[index : index + 1],
            z[index : index + 1],
            data_range=float(z[index].max() - z[index].min()),
        )
        assert float(ssim(x, z)[index]) == pytest.approx(float(reference), abs=1e-5)


def test_distances_have_the_scale_of_the_euclidean_norm() -> None:
    """With n numbers of difference d: the norm is sqrt(n) d, and so is l1; ssim is its share."""
    z = torch.rand(2, 3, 12, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    root = math.sqrt(3 * 12 * 16)
    for kind in ("l2", "l1"):
        torch.testing.assert_close(
            distance(z + 0.1, z, kind), torch.full((2,), 0.1 * root).double()
        )
    x = z.flip(-1)
    torch.testing.assert_close(distance(x, z, "ssim"), root * (1 - ssim(x, z)))


def test_guided_predictions_and_backward_passes_are_counted(tiny_prior: Any) -> None:
    z, t = torch.zeros(3, 4, 8, 8), torch.tensor([100, 500, 900])
    cats = tiny_prior.embed(["a cat"] * 3)
    with count_evaluations(tiny_prior) as counted:
        FixedPointNoise(iterations=4)(
            tiny_prior, z, t, cats, guidance=7.5, generators=make_generators(0, range(3))
        )
    assert (counted.forward, counted.backward) == (3 * 4 * 2, 3 * 4 * 2)


def test_settings_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match="iterations"):
        FixedPointNoise(iterations=-1)
    for options in ({"distance": "lpips"}, {"variable": "z"}):
        with pytest.raises((ValueError, TypeError)):  # a TypeError where types are checked
            FixedPointNoise(**options)  # type: ignore[arg-type]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 999), st.floats(0.01, 5), st.integers(1, 6), st.integers(0, 2**20))
def test_one_iteration_never_moves_a_gaussian_further_than_lambda_k(
    gaussian_prior: Any, t: int, step_size: float, iterations: int, seed: int
) -> None:
    z, steps = latents(seed), torch.tensor([t])
    alpha, sigma = gaussian_prior.alpha_sigma(steps)
    slope = float(alpha * V / (alpha**2 * V + sigma**2))
    cat, generators = gaussian_prior.embed(["a cat"]), make_generators(seed, [0])
    first = randn(z.shape, make_generators(seed, [0]), dtype=z.dtype)
    noise = FixedPointNoise(iterations, step_size)(
        gaussian_prior, z, steps, cat, guidance=1.0, generators=generators
    )
    moved = float((sigma * (noise - first)).norm())
    assert moved <= iterations * step_size * slope * (1 + 1e-6) + 1e-9


def corrected(prior: Any, z: torch.Tensor, t: torch.Tensor, **options: Any) -> torch.Tensor:
    """The noise for "a cat", unguided, seed 0."""
    cat = prior.embed(["a cat"] * len(z))
    strategy = FixedPointNoise(**options)
    return strategy(prior, z, t, cat, guidance=1.0, generators=make_generators(0, range(len(z))))


def residuals(prior: Any, z: torch.Tensor, t: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    alpha, sigma = prior.alpha_sigma(t)
    z_t = alpha * z + sigma * noise
    predicted = prior.predict_noise(z_t, t, prior.embed(["a cat"] * len(z)))
    return (posterior_mean(prior, z_t, t, predicted) - z).flatten(1).norm(dim=1)


def test_picard_converges_to_the_exact_fixed_point(gaussian_prior: Any) -> None:
    """Linearly with ratio s^2 / (a^2 v + s^2); with one earlier iterate combined, at once."""
    z, t = latents(0, 3), torch.tensor([60, 300, 500])
    alpha, sigma = gaussian_prior.alpha_sigma(t)
    exact = sigma * (z - gaussian_prior.means[0, 0]) / (alpha * 0.3)
    ratio = sigma**2 / (alpha**2 * 0.3 + sigma**2)
    start = corrected(gaussian_prior, z, t, iterations=0)
    for count in (1, 4):
        found = corrected(gaussian_prior, z, t, iterations=count, gradient="picard")
        torch.testing.assert_close(found - exact, ratio**count * (start - exact))
    mixed = corrected(gaussian_prior, z, t, iterations=2, gradient="picard", anderson=1)
    torch.testing.assert_close(mixed, exact, atol=1e-4, rtol=1e-4)


def test_anderson_converges_faster_on_a_mixture(mixture_prior: Any) -> None:
    z, t = latents(0, 4), torch.tensor([200, 300, 400, 500])
    plain, mixed = (
        residuals(
            mixture_prior,
            z,
            t,
            corrected(mixture_prior, z, t, iterations=8, gradient="picard", anderson=m),
        )
        for m in (0, 3)
    )
    assert (mixed < 0.5 * plain).all()


def test_without_the_jacobian_the_gradient_has_length_one_over_alpha(mixture_prior: Any) -> None:
    z, t = latents(0, 2), torch.tensor([300, 700])
    alpha, sigma = mixture_prior.alpha_sigma(t)
    before, after = (
        corrected(mixture_prior, z, t, iterations=n, step_size=0.2, gradient="jacobian_free")
        for n in (0, 1)
    )
    moved = (sigma * (after - before)).flatten(1).norm(dim=1)
    torch.testing.assert_close(moved, (0.2 / alpha).flatten())
    assert (residuals(mixture_prior, z, t, after) < residuals(mixture_prior, z, t, before)).all()


def test_an_early_stop_keeps_the_best(mixture_prior: Any) -> None:
    """With a step far too long nothing falls, so the noise stays as drawn, image by image."""
    z, t = latents(0, 3), torch.tensor([100, 500, 900])
    drawn = corrected(mixture_prior, z, t, iterations=0)
    options = {"iterations": 5, "step_size": 300.0, "gradient": "jacobian_free"}
    stopped = corrected(mixture_prior, z, t, early_stop=True, **options)
    torch.testing.assert_close(stopped, drawn)
    assert (corrected(mixture_prior, z, t, **options) - drawn).abs().max() > 10
    # where every step helps, it changes nothing
    exact = {"iterations": 3, "step_size": 0.05}
    kept = corrected(mixture_prior, z, t, early_stop=True, **exact)
    torch.testing.assert_close(kept, corrected(mixture_prior, z, t, **exact))


def test_an_early_stop_does_not_depend_on_the_batch(mixture_prior: Any) -> None:
    z, t = latents(0, 3), torch.tensor([100, 500, 900])
    options = {"iterations": 6, "step_size": 2.0, "gradient": "jacobian_free", "early_stop": True}
    together = corrected(mixture_prior, z, t, **options)
    strategy = FixedPointNoise(**options)
    for i in range(3):
        cat = mixture_prior.embed(["a cat"])
        alone = strategy(
            mixture_prior,
            z[i : i + 1],
            t[i : i + 1],
            cat,
            guidance=1.0,
            generators=make_generators(0, [i]),
        )
        torch.testing.assert_close(together[i : i + 1], alone)


def test_only_images_whose_residual_falls_are_evaluated(gaussian_prior: Any) -> None:
    """The second image starts at its fixed point, from where every step leads away."""
    t, z = torch.tensor([500, 500]), latents(0, 2)
    alpha, sigma = gaussian_prior.alpha_sigma(t)
    mean, v = gaussian_prior.means[0, 0], 0.3
    start = z.clone()  # any noise
    start[1] = (sigma * (z - mean) / (alpha * v))[1]  # e* of the second
    noise = FixedPointNoise(iterations=5, step_size=1e-3, early_stop=True)
    cat = gaussian_prior.embed(["a cat"]).expand(2)
    with count_evaluations(gaussian_prior) as counted:
        noise.stop_early(gaussian_prior, alpha * z + sigma * start, z, t, cat, 1.0)
    assert 5 + 2 <= counted.forward <= 5 + 3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"gradient": "picard", "distance": "l1"}, "takes distance=l2 and variable=z_t only"),
        ({"anderson": 2}, "without gradient=picard"),
        ({"gradient": "picard", "step_size": 0.3}, "step_size=0.3 cannot be used"),
    ],
)
def test_what_does_not_go_together_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        FixedPointNoise(**options)
