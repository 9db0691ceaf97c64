"""Gradients on a Gaussian prior, from its formula alone: nothing of the prior or a sampler helps.

E(z_t, y) = s (z_t - a mu_y) / (a^2 v + s^2) for p(z | y) = N(mu_y, v I).
"""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from editing.distillers import DRFS, ISM, NFSD, SSD
from samplers.random import make_generators

V = {"a cat": 0.3, "a pig": 0.2, "": 0.5}
T = st.integers(300, 900)


@pytest.fixture(scope="module")
def exact() -> tuple[Any, dict[str, Tensor]]:
    """A Gaussian for each of three prompts, the empty one included, and their means."""
    from editing.priors.analytic import GaussianMixturePrior, Mixture

    generator = torch.Generator().manual_seed(7)
    means = {y: torch.randn(1, 3, 2, 4, dtype=torch.float64, generator=generator) for y in V}
    mixtures = {y: Mixture(means[y], torch.tensor([V[y]], dtype=torch.float64)) for y in V}
    return GaussianMixturePrior(mixtures), means


class World:
    """The formula at the levels of one prior."""

    def __init__(self, prior: Any, means: dict[str, Tensor]) -> None:
        self.bar, self.means = prior.alphas_cumprod, means

    def levels(self, t: int) -> tuple[float, float]:
        return math.sqrt(self.bar[t]), math.sqrt(1 - self.bar[t])

    def noise(self, z_t: Tensor, t: int, y: str) -> Tensor:
        a, s = self.levels(t)
        return s * (z_t - a * self.means[y]) / (a * a * V[y] + s * s)

    def guided(self, z_t: Tensor, t: int, y: str, scale: float) -> Tensor:
        of_none = self.noise(z_t, t, "")
        return of_none + scale * (self.noise(z_t, t, y) - of_none)

    def clean(self, z_t: Tensor, t: int, e: Tensor) -> Tensor:
        a, s = self.levels(t)
        return (z_t - s * e) / a

    def walk(self, z: Tensor, e: Tensor, t: int) -> Tensor:
        a, s = self.levels(t)
        return a * z + s * e


def ssd(w: World, x: Tensor, z: Tensor, e: Tensor, t: int) -> Tensor:
    """c_x = 2, c = 7.5, c_e = 5.5, pull 0.075."""
    x_t, z_t = w.walk(x, e, t), w.walk(z, e, t)
    across = w.noise(x_t, t, "a cat") - w.noise(z_t, t, "")
    prompts = w.noise(x_t, t, "a pig") - w.noise(x_t, t, "a cat")
    towards = w.noise(x_t, t, "a pig") - w.noise(x_t, t, "")
    pull = 0.075 * math.exp(t / 1000) * (x_t - z_t)
    return 0.5 * 2 * across + 0.5 * 7.5 * prompts + 5.5 * towards + pull


def nfsd(w: World, x: Tensor, z: Tensor, e: Tensor, t: int) -> Tensor:
    """Above t = 200 the domain is what the negative prompt leaves of the empty one."""
    x_t = w.walk(x, e, t)
    domain = w.noise(x_t, t, "") - w.noise(x_t, t, "a cat")
    return domain + 7.5 * (w.noise(x_t, t, "a pig") - w.noise(x_t, t, ""))


def drfs(w: World, x: Tensor, z: Tensor, e: Tensor, t: int) -> Tensor:
    """Shift 1, growing; guidance 16.5 and 6; V = E - z_{0|t}."""
    _, s = w.levels(t)
    shift = 1 - t / 1000
    x_t, z_t = w.walk(x, e, t) + shift * s * (x - z), w.walk(z, e, t)
    of_target, of_source = w.guided(x_t, t, "a pig", 16.5), w.guided(z_t, t, "a cat", 6.0)
    delta = of_target - w.clean(x_t, t, of_target) - of_source + w.clean(z_t, t, of_source)
    return delta + (1 - shift) * (x - z)


def ism(w: World, x: Tensor, z: Tensor, e: Tensor, t: int) -> Tensor:
    """Strides of 100 to s = t - 80, five of them or from noise at what is left."""
    s = max(0, t - 80)
    here = max(0, s - 500)
    x_t = w.walk(x, e, here)
    while here < s:
        there = min(here + 100, s)
        predicted = w.noise(x_t, here, "")
        x_t, here = w.walk(w.clean(x_t, here, predicted), predicted, there), there
    before = w.noise(x_t, s, "")
    x_t = w.walk(w.clean(x_t, s, before), before, t)
    return w.guided(x_t, t, "a pig", 7.5) - before


FORMULAS: dict[type, Callable[..., Tensor]] = {SSD: ssd, NFSD: nfsd, DRFS: drfs, ISM: ism}


@pytest.mark.parametrize("method", FORMULAS, ids=lambda method: method.__name__)
@settings(max_examples=20, deadline=None)
@given(t=T, seed=st.integers(0, 999))
def test_the_gradient_is_the_formula(
    exact: tuple[Any, dict[str, Tensor]], method: Any, t: int, seed: int
) -> None:
    prior, means = exact
    generator = torch.Generator().manual_seed(seed)
    x, z, e = torch.randn(3, 1, 3, 2, 4, dtype=torch.float64, generator=generator)
    given = {"negative": "a cat"} if method is NFSD else {}
    distiller = method(prior, noise=lambda *args, **options: e, **given)
    prompts = prior.pair(source="a cat", target="a pig")
    found = distiller.gradient(x, z, prompts, torch.tensor([t]), make_generators(0, [0]))
    expected = FORMULAS[method](World(prior, means), x, z, e, t)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
