"""Embeddings that are learnt: null-text inversion and latent trajectory optimisation."""

import weakref
from typing import Any

import pytest
import torch
from torch import Tensor

from samplers.ddib import DDIB
from samplers.latent_top import LatentTOP
from samplers.null_text import NullText, with_text
from samplers.prior import Condition, count_evaluations
from samplers.random import make_generators
from samplers.trajectory import Visit

METHODS = (NullText, LatentTOP)
STEPS, GUIDANCE = 4, 5.0


class Memory:
    """A store in memory that breaks off after some savings."""

    def __init__(self, most: int = 10**6) -> None:
        self.kept: dict[str, Tensor] | None = None
        self.left = most

    def load(self) -> dict[str, Tensor] | None:
        return self.kept

    def save(self, tensors: dict[str, Tensor], at_once: bool = False) -> None:
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        self.kept = {name: tensor.clone() for name, tensor in tensors.items()}


def latents(batch: int = 2) -> Tensor:
    return torch.randn(batch, 4, 8, 8, generator=torch.Generator().manual_seed(3))


def made(method: Any, prior: Any, **options: Any) -> Any:
    plain = {"tolerance": 0.0} if method is NullText else {"starts": 3, "hops": 2}
    return method(prior, **{"steps": STEPS, "guidance": GUIDANCE} | plain | options)


@pytest.mark.parametrize("method", METHODS)
def test_guided_sampling_finds_the_source_better(tiny_prior: Any, method: Any) -> None:
    z, prompts = latents(), tiny_prior.pair(source="a cat", target="a cat").expand(2)
    bridge = DDIB(tiny_prior, steps=STEPS, guidance=GUIDANCE)
    how = made(method, tiny_prior, iterations=20, rate=0.05)
    errors = [
        (each(z, prompts, make_generators(0, range(2))) - z).square().flatten(1).mean(1)
        for each in (bridge, how)
    ]
    assert (errors[1] < 0.7 * errors[0]).all(), errors


@pytest.mark.parametrize("method", METHODS)
def test_a_row_depends_on_no_other(tiny_prior: Any, method: Any) -> None:
    z, how = latents(3), made(method, tiny_prior, iterations=2)

    def edit(rows: list[int]) -> Tensor:
        prompts = tiny_prior.pair(source="a cat", target="a pig").expand(len(rows))
        return how(z[rows], prompts, make_generators(0, rows))

    together = edit([0, 1, 2])
    torch.testing.assert_close(edit([1]), together[1:2], atol=2e-3, rtol=2e-3)
    torch.testing.assert_close(edit([2, 0, 1]), together[[2, 0, 1]], atol=2e-3, rtol=2e-3)


def test_the_cost_is_what_is_said(tiny_prior: Any) -> None:
    z, cat = latents(1), tiny_prior.embed(["a cat"])
    iterations = 6
    how = made(NullText, tiny_prior, iterations=iterations)
    with count_evaluations(tiny_prior) as counted:
        how.invert(z, cat, make_generators(0, [0]))
    assert (counted.forward, counted.backward) == (STEPS * (iterations + 3), STEPS * iterations)
    how = made(LatentTOP, tiny_prior, iterations=iterations, starts=3, hops=2)
    with count_evaluations(tiny_prior) as counted:
        how.invert(z, cat, make_generators(0, [0]))
    first = 2 * (1 + 3 + 2) + 3 * iterations + 2  # the plain beginning, starts and hops, then steps
    assert counted.forward == STEPS + first + (STEPS - 1) * (iterations + 2)
    assert counted.backward == 2 * iterations + (STEPS - 1) * iterations


@pytest.mark.parametrize("method", METHODS)
def test_at_guidance_1_no_embedding_is_learnt(tiny_prior: Any, method: Any) -> None:
    """As none would be seen."""
    z, cat = latents(1), tiny_prior.embed(["a cat"])
    how = made(method, tiny_prior, guidance=1.0, iterations=3)
    with count_evaluations(tiny_prior) as counted:
        found = how.invert(z, cat, make_generators(0, [0]))
    assert counted.backward == (0 if method is NullText else 2 * 3)  # which moves the noise
    assert torch.equal(found["null"], found["null"][:, :1].expand_as(found["null"]))


def test_both_biases_follow_the_gradient_of_the_first_step(tiny_prior: Any) -> None:
    """Which is found in two parts: the first step of Adam has the sign of the whole."""
    z, cat = latents(), tiny_prior.embed(["a cat"]).expand(2)
    how = made(LatentTOP, tiny_prior, iterations=3, rate=1e-4, noise_rate=1e-4)
    t, to = how.times[-1], how.times[-2]
    null, goal = tiny_prior.null(2).tensors["text"].float(), 0.5 * z.flip(0)
    found = how.fit_both(z, null, t, to, cat, goal)
    noise, text = z.clone().requires_grad_(), null.clone().requires_grad_()
    conditional = tiny_prior.predict_noise(noise, torch.tensor([t, t]), cat)
    error = (how.step(text, noise, t, to, conditional)[0] - goal).square().flatten(1).mean(1).sum()
    for moved, start, whole in zip(
        found, (z, null), torch.autograd.grad(error, [noise, text]), strict=True
    ):
        clear = whole.abs() > 0.1 * whole.abs().median()
        assert torch.equal((start - moved).sign()[clear], whole.sign()[clear])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("saved", [1, 2, 4])
def test_an_inversion_goes_on_where_it_was_interrupted(
    tiny_prior: Any, method: Any, saved: int
) -> None:
    z, cat = latents(), tiny_prior.embed(["a cat"]).expand(2)
    how = made(method, tiny_prior, iterations=2)
    expected = how.invert(z, cat, make_generators(0, range(2)))
    store = Memory(saved)
    with pytest.raises(KeyboardInterrupt):
        how.invert(z, cat, make_generators(0, range(2)), store=store)
    store.left = 10**6
    with count_evaluations(tiny_prior) as counted:
        found = how.invert(z, cat, make_generators(0, range(2)), store=store)
    for name, tensor in expected.tensors.items():
        assert torch.equal(found[name], tensor), name
    with count_evaluations(tiny_prior) as whole:
        how.invert(z, cat, make_generators(0, range(2)))
    assert counted.forward < whole.forward


def test_nothing_is_learnt_where_nothing_is_wrong(tiny_prior: Any) -> None:
    """An image that is near enough keeps its embedding."""
    z, cat = latents(), tiny_prior.embed(["a cat"]).expand(2)
    how = made(NullText, tiny_prior, tolerance=1e6)
    found = how.invert(z, cat, make_generators(0, range(2)))
    empty = tiny_prior.null(2).tensors["text"]
    assert torch.equal(found["null"], empty[:, None].expand(-1, STEPS, -1, -1))


def test_the_best_start_is_taken(tiny_prior: Any) -> None:
    z, cat = latents(), tiny_prior.embed(["a cat"]).expand(2)
    how = made(LatentTOP, tiny_prior, starts=0, hops=0, iterations=0)
    found = how.invert(z, cat, make_generators(0, range(2)))
    bridge = DDIB(tiny_prior, steps=STEPS).invert(z, cat, make_generators(0, range(2)))
    torch.testing.assert_close(found["noise"], bridge["noise"])
    t, to = how.times[-1], how.times[-2]

    def error(noise: Tensor, null: Tensor) -> Tensor:
        conditional = tiny_prior.predict_noise(noise, torch.tensor([t, t]), cat)
        return (how.step(null, noise, t, to, conditional)[0] - goal).square().flatten(1).mean(1)

    goal = 3 * z.flip(0)  # far away, so that half of all small changes lead towards it
    several = made(LatentTOP, tiny_prior, starts=8, hops=4, scale=0.02)
    with torch.no_grad():
        best = several.begin(bridge["noise"], cat, goal, make_generators(0, range(2)))
        plain = error(bridge["noise"], tiny_prior.null(2).tensors["text"])
        assert (error(*best) < plain).all()


@pytest.mark.parametrize("method", METHODS)
def test_weights_get_no_gradient(tiny_prior: Any, method: Any) -> None:
    """Not even those that ask for it."""
    weights = list(tiny_prior.unet.parameters())
    try:
        for weight in weights:
            weight.requires_grad_(True)
        made(method, tiny_prior, iterations=1).invert(
            latents(1), tiny_prior.embed(["a cat"]), make_generators(0, [0])
        )
        assert all(weight.grad is None for weight in weights)
    finally:
        tiny_prior.unet.requires_grad_(False)


class Held:
    """Counts the bytes that graphs hold on to, and how many they were at most."""

    def __init__(self) -> None:
        self.now = self.most = 0

    def watched(self) -> Any:
        def pack(tensor: Tensor) -> tuple[Tensor, object]:
            size = tensor.numel() * tensor.element_size()
            self.now += size
            self.most = max(self.most, self.now)
            ticket = Ticket()
            weakref.finalize(ticket, self.free, size)
            return tensor, ticket

        return torch.autograd.graph.saved_tensors_hooks(pack, lambda packed: packed[0])

    def free(self, size: int) -> None:
        self.now -= size


class Ticket:
    """Gone when the graph is."""


def test_memory_is_that_of_one_forward_and_backward(tiny_prior: Any) -> None:
    """Activations are held for one step at a time, however many steps and iterations there are."""
    z, cat = latents(1), tiny_prior.embed(["a cat"])
    once, whole = Held(), Held()
    text = tiny_prior.null(1).tensors["text"].clone().requires_grad_()
    with once.watched():
        empty = Condition(("",), tiny_prior.null(1).tensors | {"text": text})
        tiny_prior.predict_noise(z, torch.tensor([900]), empty).sum().backward()
    with whole.watched():
        made(LatentTOP, tiny_prior, iterations=4).invert(z, cat, make_generators(0, [0]))
    assert 0 < whole.most <= 1.3 * once.most, (whole.most, once.most)


def test_a_prior_without_embeddings_is_refused(mixture_prior: Any) -> None:
    with pytest.raises(ValueError, match="no text embeddings"):
        NullText(mixture_prior)


class Flush(torch.autograd.Function):
    """Loses the gradients that half precision has no normal numbers for."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return torch.where(gradient.abs() < torch.finfo(torch.float16).tiny, 0.0, gradient)


@pytest.mark.parametrize("method", METHODS)
def test_small_gradients_survive_half_precision(
    tiny_prior: Any, method: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of a mean over many elements."""
    how, cat = made(method, tiny_prior, iterations=1), tiny_prior.embed(["a cat"])
    t, to, null = how.times[-1], how.times[-2], tiny_prior.null(1).tensors["text"].float()
    noise = torch.randn(1, 4, 64, 64, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        conditional = tiny_prior.predict_noise(noise, torch.tensor([t]), cat)
        goal = how.step(0.99 * null, noise, t, to, conditional)[0]
    ask = tiny_prior.predict_noise

    def learn() -> list[Tensor]:
        found = [how.fit(null, noise, t, to, conditional, goal, 1) - null]
        if method is LatentTOP:
            both = how.fit_both(noise, null, t, to, cat, goal)
            found += [both[0] - noise, both[1] - null]
        return found

    exact = learn()
    monkeypatch.setattr(tiny_prior, "predict_noise", lambda *args: Flush.apply(ask(*args)))
    for one, other in zip(exact, learn(), strict=True):
        flat = one.flatten(), other.flatten()
        assert one.any() and torch.nn.functional.cosine_similarity(*flat, dim=0) > 0.99


@pytest.mark.parametrize("method", METHODS)
def test_a_watcher_sees_each_step_once_and_what_is_expected(tiny_prior: Any, method: Any) -> None:
    z, cat = latents(), tiny_prior.embed(["a cat"]).expand(2)
    how, store = made(method, tiny_prior, iterations=2), Memory(3)
    seen: list[Visit] = []

    def watch(visit: Visit) -> Tensor:
        seen.append(visit)
        return visit.z_t

    with pytest.raises(KeyboardInterrupt):
        how.invert(z, cat, make_generators(0, range(2)), watch, store)
    store.left = 10**6
    how.invert(z, cat, make_generators(0, range(2)), watch, store)
    fitted = [visit for visit in seen if visit.t < how.times[-1]][-STEPS:]
    assert [visit.step for visit in fitted] == [1, 2, 3, 4]
    for visit, t in zip(fitted, reversed(how.times[:-1]), strict=True):
        alpha, sigma = tiny_prior.alpha_sigma(torch.tensor([t] * 2))
        noise = (visit.z_t - alpha * visit.mean) / sigma
        assert visit.t == t and 0.3 < noise.std() < 3  # of the steps' predictions


def test_few_iterations_move_the_noise_too(tiny_prior: Any) -> None:
    z, cat = latents(), tiny_prior.embed(["a cat"]).expand(2)
    found = [
        made(LatentTOP, tiny_prior, iterations=count, starts=0, hops=0).invert(
            z, cat, make_generators(0, range(2))
        )
        for count in (0, 1)
    ]
    assert not torch.equal(found[0]["noise"], found[1]["noise"])


def test_an_empty_prompt_of_zeros_gets_biases_too(
    tiny_prior: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Stable Diffusion XL has it."""
    z, cat = latents(), tiny_prior.embed(["a cat"]).expand(2)
    empty = with_text(tiny_prior.null(2), torch.zeros_like(tiny_prior.null(2).tensors["text"]))
    monkeypatch.setattr(tiny_prior, "null", lambda count: empty)
    how = made(LatentTOP, tiny_prior, starts=8, hops=0, scale=0.02)
    with torch.no_grad():
        _, null = how.begin(z, cat, 3 * z.flip(0), make_generators(0, range(2)))
    assert (null != 0).any()
