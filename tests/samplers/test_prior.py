from typing import Any

import pytest
import torch

from samplers.prior import Condition, count_evaluations


def condition(*prompts: str) -> Condition:
    numbers = torch.tensor([float(len(prompt)) for prompt in prompts])
    return Condition(prompts, {"length": numbers, "square": numbers[:, None] ** 2})


def test_conditions_are_sliced_and_joined_with_their_tensors() -> None:
    both = Condition.cat([condition("a", "bcd"), condition("ef")])
    assert both.prompts == ("a", "bcd", "ef")
    assert both.tensors["length"].tolist() == [1, 3, 2]
    assert both[1:].prompts == ("bcd", "ef")
    assert both[torch.tensor([2, 0])].prompts == ("ef", "a")
    assert both[torch.tensor([2, 0])].tensors["square"].tolist() == [[4], [1]]
    assert condition("a", "bc").repeat(2).prompts == ("a", "bc", "a", "bc")
    assert condition("abc").expand(2).tensors["length"].tolist() == [3, 3]


def test_conditions_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="2 prompts do not fit 3 images"):
        condition("a", "b").expand(3)
    with pytest.raises(ValueError, match="1 prompts, but length has 2 rows"):
        Condition(("a",), {"length": torch.zeros(2)})


def test_pairs_broadcast_a_single_prompt(gaussian_prior: Any) -> None:
    pair = gaussian_prior.pair(source="a cat", target=["a pig", "a cat", ""])
    assert pair.source.prompts == ("a cat",) * 3
    assert pair.target.prompts == ("a pig", "a cat", "")
    assert pair[1:].target.prompts == ("a cat", "")
    with pytest.raises(ValueError, match="2 prompts do not fit 3 images"):
        gaussian_prior.pair(source=["a cat", "a pig"], target=["a pig"] * 3)


def test_evaluations_are_summed_over_samples(tiny_prior: Any) -> None:
    z = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    t, cats = torch.tensor([100, 500, 900]), tiny_prior.embed(["a cat"]).expand(3)
    with count_evaluations(tiny_prior) as outer:
        tiny_prior.predict_noise(z, t, cats, 7.5)
        with count_evaluations(tiny_prior) as inner:
            noise = tiny_prior.predict_noise(z, t, cats, 1.0)  # no unconditional half
            noise.sum().backward(retain_graph=True)
            noise.sum().backward()
        assert (inner.forward, inner.backward) == (3, 6)
        tiny_prior.predict_noise(z, t, cats, 7.5).sum().backward()
    tiny_prior.predict_noise(z, t, cats, 7.5).sum().backward()  # outside: not counted
    assert (outer.forward, outer.backward) == (15, 12)


def test_evaluations_are_counted_per_prior(tiny_prior: Any, gaussian_prior: Any) -> None:
    z, t = torch.zeros(2, 3, 4, 6, dtype=torch.float64), torch.tensor([1, 2])
    with count_evaluations(tiny_prior) as tiny, count_evaluations(gaussian_prior) as gaussian:
        gaussian_prior.predict_noise(z, t, gaussian_prior.embed(["a cat", "a pig"]), 3.0)
    assert (tiny.forward, gaussian.forward) == (0, 4)
