"""What every distiller gets from its base, and that methods to come fit it."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from editing.distillers import DDS, IDS, SDS, ScoreDistiller
from samplers.noise import FixedPointNoise
from samplers.prior import PromptPair, count_evaluations
from samplers.random import make_generators, randn
from samplers.timesteps import AnnealedTimesteps

METHODS = [SDS, DDS, IDS]


def latents(prior: Any, batch: int, seed: int) -> torch.Tensor:
    """Latents of the prior's own kind: 4x8x12 float32 for the tiny pipelines."""
    exact = prior.dtype == torch.float64
    shape, dtype = ((3, 4, 6), torch.float64) if exact else ((4, 8, 12), torch.float32)
    return torch.randn(batch, *shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "noise", [None, FixedPointNoise(2, distance="ssim"), FixedPointNoise(2, variable="noise")]
)
@pytest.mark.parametrize("model", ["tiny_prior", "tiny_prior_v", "mixture_prior"])
def test_an_image_gets_the_same_gradient_alone_and_in_a_batch(
    request: pytest.FixtureRequest, model: str, method: Any, noise: Any
) -> None:
    prior = request.getfixturevalue(model)
    distiller = method(prior, noise=noise)
    target, source = latents(prior, 3, 1), latents(prior, 3, 2)
    prompts = prior.pair(source=["a cat", "a cat", "a pig"], target=["a pig", "", "a cat"])
    together = distiller.distill(target, source, prompts, make_generators(0, range(3)))
    assert len(set(together.t.tolist())) == 3
    for row in range(3):
        part = slice(row, row + 1)
        alone = distiller.distill(
            target[part], source[part], prompts[part], make_generators(0, [row])
        )
        assert torch.equal(alone.t, together.t[part])
        torch.testing.assert_close(alone.gradient, together.gradient[part], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(
    ("method", "forward", "backward"),
    [(SDS, 2, 0), (DDS, 4, 0), (IDS, 4 + 2 * 3, 2 * 3)],
)
def test_network_evaluations_per_image(
    tiny_prior: Any, method: Any, forward: int, backward: int
) -> None:
    target, source = latents(tiny_prior, 2, 1).requires_grad_(), latents(tiny_prior, 2, 2)
    prompts = tiny_prior.pair(source="a cat", target="a pig")
    with count_evaluations(tiny_prior) as counted:
        method(tiny_prior)(target, source, prompts).backward()
    assert (counted.forward, counted.backward) == (2 * forward, 2 * backward)


@pytest.mark.parametrize("iterations", [0, 1, 5])
def test_network_evaluations_of_ids_are_4_plus_2n(tiny_prior: Any, iterations: int) -> None:
    z, prompts = latents(tiny_prior, 1, 1), tiny_prior.pair(source="a cat", target="a pig")
    with count_evaluations(tiny_prior) as counted:
        IDS(tiny_prior, noise=FixedPointNoise(iterations)).distill(z, z, prompts)
    assert (counted.forward, counted.backward) == (4 + 2 * iterations, 2 * iterations)


@pytest.mark.parametrize("method", [DDS, IDS])
def test_target_and_source_share_one_network_call(
    tiny_prior: Any, method: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches, forward = [], tiny_prior.unet.forward
    monkeypatch.setattr(
        tiny_prior.unet, "forward", lambda z, *a, **k: batches.append(len(z)) or forward(z, *a, **k)
    )
    z, prompts = latents(tiny_prior, 2, 1), tiny_prior.pair(source="a cat", target="a pig")
    method(tiny_prior).distill(z, z, prompts)
    assert batches == ([4] * 3 if method is IDS else []) + [8]


@pytest.mark.parametrize("method", METHODS)
def test_the_loss_has_exactly_the_methods_gradient(mixture_prior: Any, method: Any) -> None:
    source, weights = latents(mixture_prior, 2, 1), latents(mixture_prior, 2, 2).requires_grad_()
    prompts, distiller = mixture_prior.pair(source="a cat", target="a pig"), method(mixture_prior)
    expected = distiller.distill(3 * weights, source, prompts, make_generators(0, range(2)))
    loss = distiller(3 * weights, source, prompts, make_generators(0, range(2)))
    loss.backward()
    assert torch.equal(weights.grad, 3 * expected.gradient)
    assert float(loss.detach()) == pytest.approx(float(expected.gradient.square().sum()) / 2)


@pytest.mark.parametrize("method", METHODS)
def test_half_precision_latents_are_widened(tiny_prior: Any, method: Any) -> None:
    target = latents(tiny_prior, 1, 1).bfloat16().requires_grad_()
    source, distiller = latents(tiny_prior, 1, 2).bfloat16(), method(tiny_prior)
    prompts = tiny_prior.pair(source="a cat", target="a pig")
    drawn = distiller.distill(target, source, prompts, make_generators(0, [0]))
    wide = distiller.distill(target.float(), source.float(), prompts, make_generators(0, [0]))
    assert torch.equal(drawn.gradient, wide.gradient)
    distiller(target, source, prompts).backward()
    assert target.grad is not None and target.grad.dtype == torch.bfloat16


def test_progress_reaches_the_timesteps(mixture_prior: Any) -> None:
    z, prompts = latents(mixture_prior, 4, 1), mixture_prior.pair(source="a cat", target="a pig")
    distiller = DDS(mixture_prior, timesteps=AnnealedTimesteps(final=0.06))
    generators = [make_generators(0, range(4)) for _ in range(2)]
    early, late = (
        distiller.distill(z, z, prompts, g, progress).t
        for g, progress in zip(generators, (0.0, 1.0), strict=True)
    )
    assert (late < 0.06 * mixture_prior.num_timesteps).all() and (early > late).all()


def test_without_generators_every_call_draws_anew_and_repeatably(mixture_prior: Any) -> None:
    z, prompts = latents(mixture_prior, 2, 1), mixture_prior.pair(source="a cat", target="a pig")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        first, second = (DDS(mixture_prior).distill(z, z, prompts).gradient for _ in range(2))
        torch.manual_seed(0)
        again = DDS(mixture_prior).distill(z, z, prompts).gradient
    assert not torch.equal(first, second)
    assert torch.equal(first, again)


def test_numbers_that_do_not_fit(mixture_prior: Any) -> None:
    z = latents(mixture_prior, 3, 1)
    pair = mixture_prior.pair(source="a cat", target=["a pig", "a cat"])
    with pytest.raises(ValueError, match="2 prompts do not fit 3 images"):
        DDS(mixture_prior).distill(z, z, pair)
    with pytest.raises(ValueError, match="3 images need as many generators, got 2"):
        IDS(mixture_prior).distill(
            z, z, mixture_prior.pair(source="a cat", target="a pig"), make_generators(0, range(2))
        )


class WithFeatures(DDS):
    """DDS and a differentiable term on the network's features, as CDS has it."""

    def gradient(
        self,
        target: Float[Tensor, "B C h w"],
        source: Float[Tensor, "B C h w"],
        prompts: PromptPair,
        t: Int64[Tensor, " B"],
        generators: Sequence[torch.Generator],
    ) -> Float[Tensor, "B C h w"]:
        delta = super().gradient(target, source, prompts, t, generators)
        features: list[Tensor] = []
        block = self.prior.unet.mid_block  # type: ignore[attr-defined]
        hook = block.register_forward_hook(lambda module, args, output: features.append(output))
        try:
            with torch.enable_grad():
                target = target.detach().requires_grad_()
                self.prior.predict_noise(target, t, prompts.target)
                self.prior.predict_noise(source, t, prompts.source)
                term = (features[0] - features[1].detach()).square().sum()
                (cut,) = torch.autograd.grad(term, target)
        finally:
            hook.remove()
        return delta + cut


def test_a_method_with_a_differentiable_term_fits(tiny_prior: Any) -> None:
    target, source = latents(tiny_prior, 2, 1).requires_grad_(), latents(tiny_prior, 2, 2)
    prompts, generators = tiny_prior.pair(source="a cat", target="a pig"), range(2)
    WithFeatures(tiny_prior)(target, source, prompts, make_generators(0, generators)).backward()
    delta = (
        DDS(tiny_prior).distill(target, source, prompts, make_generators(0, generators)).gradient
    )
    assert target.grad is not None and (target.grad - delta).norm() > 1e-6
    assert all(parameter.grad is None for parameter in tiny_prior.unet.parameters())


class TwoNoises(ScoreDistiller):
    """Differences of z_{t-1}, with a noise at t and one at t - 1, as PDS has it."""

    def gradient(
        self,
        target: Float[Tensor, "B C h w"],
        source: Float[Tensor, "B C h w"],
        prompts: PromptPair,
        t: Int64[Tensor, " B"],
        generators: Sequence[torch.Generator],
    ) -> Float[Tensor, "B C h w"]:
        options: dict[str, Any] = {"guidance": self.guidance, "generators": generators}
        at_t = self.noise(self.prior, source, t, prompts.source, **options)
        before = self.noise(self.prior, source, t - 1, prompts.source, **options)
        return target - source + at_t - before


def test_a_method_with_two_noises_fits(mixture_prior: Any) -> None:
    z, prompts = latents(mixture_prior, 2, 1), mixture_prior.pair(source="a cat", target="a pig")
    generators = make_generators(0, range(2))
    gradient = TwoNoises(mixture_prior).distill(z, z, prompts, generators).gradient
    repeat = make_generators(0, range(2))
    TwoNoises(mixture_prior).timesteps(1000, repeat, 0.0)
    at_t = randn(z.shape, repeat, dtype=z.dtype)
    torch.testing.assert_close(gradient, at_t - randn(z.shape, repeat, dtype=z.dtype))


def test_the_base_alone_is_no_method(mixture_prior: Any) -> None:
    z, prompts = latents(mixture_prior, 1, 1), mixture_prior.pair(source="a cat", target="a pig")
    with pytest.raises(NotImplementedError):
        ScoreDistiller(mixture_prior).distill(z, z, prompts)


def test_the_loss_of_half_precision_latents_does_not_overflow(gaussian_prior: Any) -> None:
    """A gradient of norm 1000 has a loss beyond the largest float16."""
    target = torch.full((1, 3, 4, 6), 30.0, dtype=torch.float16, requires_grad=True)
    prompts = gaussian_prior.pair(source="a cat", target="a pig")
    distiller = DDS(gaussian_prior, guidance=1000.0)
    generators = make_generators(0, [0])
    expected = distiller.distill(target, 0 * target, prompts, generators).gradient
    loss = distiller(target, 0 * target, prompts, make_generators(0, [0]))
    value = float(loss.detach())
    assert value == pytest.approx(0.5 * float(expected.square().sum()), rel=1e-5)
    assert value > 65504
    loss.backward()
    assert target.grad is not None
    torch.testing.assert_close(target.grad, expected.half())
