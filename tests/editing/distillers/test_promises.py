"""What all methods promise: rows that do not see each other, guidance that is linear, a cost."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from editing.distillers import CDS, DDS, DRFS, IDS, ISM, NFSD, PDS, SDS, SSD
from samplers.prior import count_evaluations
from samplers.random import make_generators
from samplers.timesteps import UniformTimesteps

METHODS = {method.__name__: method for method in (CDS, DDS, DRFS, IDS, ISM, NFSD, PDS, SDS, SSD)}
UNCHANGED = {"DDS": {}, "IDS": {}, "PDS": {}, "DRFS": {"source_guidance": None}}
COST = {  # forward and backward evaluations per image
    "SDS": (2, 0),
    "DDS": (4, 0),
    "IDS": (10, 6),
    "CDS": (4, 1),
    "PDS": (4, 0),
    "NFSD": (3, 0),
    "ISM": (8, 0),
    "SSD": (4, 0),
    "DRFS": (4, 0),
}
GIVEN = {"NFSD": {"negative": "a cat"}}  # exact priors know two prompts
SEEDS = st.integers(0, 2**20)


def latents(batch: int, seed: int, like: torch.Tensor) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, *like.shape[1:], generator=generator, dtype=like.dtype)


def prior_of(name: str, request: pytest.FixtureRequest) -> tuple[Any, torch.Tensor]:
    """A prior that a method runs on, and latents of its kind."""
    if name == "CDS":  # exact priors have no attention
        return request.getfixturevalue("tiny_prior"), torch.zeros(1, 4, 8, 12)
    return request.getfixturevalue("mixture_prior"), torch.zeros(1, 3, 4, 6, dtype=torch.float64)


def gradient(
    name: str, prior: Any, target: torch.Tensor, source: torch.Tensor, seeds: list[int], **how: Any
) -> torch.Tensor:
    prompts = prior.pair(source="a cat", target="a pig").expand(len(target))
    generators = make_generators(0, seeds)
    how = GIVEN.get(name, {}) | how
    return METHODS[name](prior, **how).distill(target, source, prompts, generators, 0.5).gradient


@pytest.mark.parametrize("name", METHODS)
@settings(max_examples=5, deadline=None)
@given(seed=SEEDS)
def test_a_row_depends_on_no_other(request: pytest.FixtureRequest, name: str, seed: int) -> None:
    prior, like = prior_of(name, request)
    target, source = latents(3, seed, like), latents(3, seed + 1, like)
    seeds = [seed, seed + 5, seed + 7]
    together = gradient(name, prior, target, source, seeds)
    order = [2, 0, 1]
    shuffled = gradient(name, prior, target[order], source[order], [seeds[i] for i in order])
    tolerance = {"atol": 1e-4, "rtol": 1e-4} if name == "CDS" else {}
    torch.testing.assert_close(shuffled, together[order], **tolerance)
    alone = gradient(name, prior, target[1:2], source[1:2], seeds[1:2])
    torch.testing.assert_close(alone, together[1:2], **tolerance)


@pytest.mark.parametrize("name", sorted(METHODS.keys() - {"IDS"}))
@settings(max_examples=5, deadline=None)
@given(seed=SEEDS, low=st.floats(-3, 3), high=st.floats(4, 30))
def test_guidance_is_linear(
    request: pytest.FixtureRequest, name: str, seed: int, low: float, high: float
) -> None:
    """But for IDS, whose noise depends on it."""
    prior, like = prior_of(name, request)
    pair = latents(1, seed, like), latents(1, seed + 1, like)
    first, last, middle = (
        gradient(name, prior, *pair, [seed], guidance=g) for g in (low, high, (low + high) / 2)
    )
    tolerance = {"atol": 2e-3, "rtol": 1e-3} if name == "CDS" else {}
    if name == "DRFS":  # its source has a scale of its own
        assert METHODS[name](prior, guidance=low).source_guidance == 6.0
    torch.testing.assert_close(middle, (first + last) / 2, **tolerance)


@pytest.mark.parametrize("name", UNCHANGED)
@settings(max_examples=5, deadline=None)
@given(seed=SEEDS)
def test_nothing_moves_what_is_to_stay_as_it_is(
    request: pytest.FixtureRequest, name: str, seed: int
) -> None:
    prior, like = prior_of(name, request)
    z = latents(2, seed, like)
    prompts = prior.pair(source="a cat", target="a cat").expand(2)
    distiller = METHODS[name](prior, **UNCHANGED[name])
    found = distiller.distill(z, z, prompts, make_generators(seed, range(2)), 0.3).gradient
    assert found.abs().max() < 1e-9


@pytest.mark.parametrize("name", METHODS)
def test_the_cost_is_what_is_said(request: pytest.FixtureRequest, name: str) -> None:
    prior, like = prior_of(name, request)
    target, source = latents(2, 0, like), latents(2, 1, like)
    with count_evaluations(prior) as counted:
        gradient(name, prior, target, source, [0, 1], timesteps=UniformTimesteps(0.9, 0.95))
    assert (counted.forward / 2, counted.backward / 2) == COST[name]


def test_ism_takes_only_the_strides_that_there_are(mixture_prior: Any) -> None:
    like = torch.zeros(1, 3, 4, 6, dtype=torch.float64)
    target, source = latents(1, 0, like), latents(1, 1, like)
    low = UniformTimesteps(0.25, 0.26)  # s is at 0.17, two strides of 0.1 from the beginning
    with count_evaluations(mixture_prior) as counted:
        gradient("ISM", mixture_prior, target, source, [0], timesteps=low)
    assert counted.forward == 2 + 3
