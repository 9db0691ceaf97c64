"""Methods that run a sampler, against exact priors and each other."""

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from samplers.cyclediffusion import CycleDiffusion
from samplers.ddib import DDIB
from samplers.ddim import invert_ddim, sample_ddim, stochastic_step
from samplers.ddpm_inversion import DDPMInversion
from samplers.edict import EDICT
from samplers.flow import flow_levels, velocities
from samplers.flowedit import FlowEdit
from samplers.negative_prompt import NegativePromptInversion
from samplers.prior import PromptPair, count_evaluations
from samplers.random import make_generators
from samplers.rf_inversion import RFInversion
from samplers.sdedit import SDEdit
from samplers.trajectory import (
    TrajectoryMethod,
    Visit,
    guided_noise,
    partial_times,
    sampling_times,
)

METHODS: dict[type[TrajectoryMethod], dict[str, Any]] = {
    DDIB: {},
    NegativePromptInversion: {},
    SDEdit: {},
    CycleDiffusion: {},
    DDPMInversion: {},
    EDICT: {},
    RFInversion: {},
    FlowEdit: {"strength": 0.7},
}
# Those that find the source again, and with which settings.
REVERSIBLE: dict[type[TrajectoryMethod], dict[str, Any]] = {
    DDIB: {"guidance": 1.0, "iterations": 60, "steps": 20},
    NegativePromptInversion: {"iterations": 60, "steps": 20},
    CycleDiffusion: {"source_guidance": 3.0},
    DDPMInversion: {"source_guidance": 3.0},
    EDICT: {},
    RFInversion: {"eta": 1.0, "stop": 1.0},
    FlowEdit: {"source_guidance": 3.0, "strength": 0.7},
}


def latents(batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(batch, 3, 4, 6, dtype=torch.float64, generator=generator)


def made(method: Any, prior: Any, **options: Any) -> TrajectoryMethod:
    return method(prior, **{"steps": 10, "guidance": 3.0} | options)


def both(prior: Any, batch: int, target: str = "a pig") -> PromptPair:
    return prior.pair(source="a cat", target=target).expand(batch)


def round_trip(prior: Any, steps: int, iterations: int = 1) -> float:
    """How far latents are from themselves after inversion and sampling."""
    z, cat = latents(), prior.embed(["a cat"]).expand(2)
    times = sampling_times(prior.num_timesteps, steps)

    def predict(z_t: Tensor, t: int) -> Tensor:
        return guided_noise(prior, z_t, t, cat, 1.0)

    trajectory = invert_ddim(prior, z, times, predict, iterations)
    assert trajectory.shape == (2, steps + 1, 3, 4, 6)
    return float((sample_ddim(prior, trajectory[:, -1], times, predict) - z).abs().max())


def test_the_round_trip_of_ddim_converges_at_first_order(gaussian_prior: Any) -> None:
    errors = [round_trip(gaussian_prior, steps) for steps in (50, 100, 200, 400)]
    for before, after in pairwise(errors):
        assert 0.85 < math.log2(before / after) < 1.15, errors


def test_the_fixed_point_of_every_step_is_inverted_exactly(gaussian_prior: Any) -> None:
    assert round_trip(gaussian_prior, 50, iterations=40) < 1e-13
    assert round_trip(gaussian_prior, 50) > 0.1


def test_a_bridge_between_gaussians_is_a_shift(gaussian_prior: Any) -> None:
    """Of one variance: an exact flow leads from one mean to the other and changes nothing else."""
    z = latents()
    means = gaussian_prior.means[:, 0]
    shifted = z + means[1] - means[0]
    found = []
    for steps in (100, 400):
        method = made(DDIB, gaussian_prior, steps=steps, guidance=1.0)
        edit = method(z, both(gaussian_prior, 2), make_generators(0, range(2)))
        found.append(float((edit - shifted).abs().max()))
    # the schedule ends before all is noise, and a little of the source's mean stays
    assert found[1] < found[0] and found[1] < 0.2 * float((shifted - z).abs().max())


@pytest.mark.parametrize("method", REVERSIBLE, ids=lambda method: method.__name__)
def test_the_source_is_found_again(gaussian_prior: Any, method: Any) -> None:
    z, prompts = latents(), both(gaussian_prior, 2, target="a cat")
    how = made(method, gaussian_prior, **REVERSIBLE[method])
    found = how(z, prompts, make_generators(0, range(2)))
    torch.testing.assert_close(found, z, atol=1e-7, rtol=1e-7)
    edit = how(z, both(gaussian_prior, 2), make_generators(0, range(2)))
    if method is not RFInversion:  # which with these settings only ever goes back
        assert (edit - z).abs().max() > 0.1


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)
def test_a_row_depends_on_no_other(mixture_prior: Any, method: Any) -> None:
    z, how = latents(3), made(method, mixture_prior, **METHODS[method])
    together = how(z, both(mixture_prior, 3), make_generators(0, [4, 5, 6]))
    order = [2, 0, 1]
    shuffled = how(z[order], both(mixture_prior, 3), make_generators(0, [6, 4, 5]))
    torch.testing.assert_close(shuffled, together[order])
    alone = how(z[1:2], both(mixture_prior, 1), make_generators(0, [5]))
    torch.testing.assert_close(alone, together[1:2])


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)
def test_an_inversion_serves_again(mixture_prior: Any, method: Any) -> None:
    z, how = latents(), made(method, mixture_prior, **METHODS[method])
    prompts, generators = both(mixture_prior, 2), make_generators(0, range(2))
    expected = how(z, prompts, generators)
    generators = make_generators(0, range(2))
    inversion = how.invert(z, prompts.source, generators)
    assert len(inversion) == 2 and all(len(tensor) == 2 for tensor in inversion.tensors.values())
    states = [generator.get_state() for generator in generators]
    for _ in range(2):
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)
        torch.testing.assert_close(how.sample(inversion, prompts, generators), expected)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)
def test_every_step_is_seen_and_may_be_changed(mixture_prior: Any, method: Any) -> None:
    z, how = latents(), made(method, mixture_prior, **METHODS[method])
    seen: list[Visit] = []

    def watch(visit: Visit) -> Tensor:
        seen.append(visit)
        last = visit.sampling and visit.step == visit.steps
        return torch.zeros_like(visit.z_t) if last else visit.z_t

    found = how(z, both(mixture_prior, 2), make_generators(0, range(2)), watch)
    assert not found.any()
    sampled = [visit for visit in seen if visit.sampling]
    assert [visit.step for visit in sampled] == list(range(1, sampled[0].steps + 1))
    assert sampled[-1].t == 0 and all(visit.mean.shape == z.shape for visit in seen)
    times = [visit.t for visit in seen if not visit.sampling]
    if method not in (SDEdit, FlowEdit):  # which need no inversion
        assert times in (sorted(times), sorted(times, reverse=True)) and times


def test_sdedit_ends_without_noise(gaussian_prior: Any) -> None:
    """Its last step arrives at what is expected of the one before."""
    z, prompts = latents(), gaussian_prior.pair(source="a cat", target="a pig").expand(2)
    seen: list[Visit] = []

    def watch(visit: Visit) -> torch.Tensor:
        seen.append(visit)
        return visit.z_t

    how = SDEdit(gaussian_prior, steps=10, guidance=1.0)
    how(z, prompts, make_generators(0, range(2)), watch)
    (before, last), t = seen[-2:], torch.tensor([seen[-2].t] * 2)
    noise = gaussian_prior.predict_noise(before.z_t, t, prompts.target)
    centre, deviation = stochastic_step(gaussian_prior, before.z_t, before.t, 0, noise, 1.0)
    assert deviation.max() > 1e-3
    torch.testing.assert_close(last.z_t, centre)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_sdedit_keeps_more_the_weaker_it_is(mixture_prior: Any, eta: float) -> None:
    z, prompts = latents(), both(mixture_prior, 2)
    moved = []
    for strength in (0.1, 0.4, 0.9):
        how = made(SDEdit, mixture_prior, strength=strength, eta=eta, steps=40)
        edit = how(z, prompts, make_generators(0, range(2)))
        moved.append(float((edit - z).square().mean()))
    assert moved == sorted(moved)


def test_sampling_from_noise_has_the_prior_s_moments(gaussian_prior: Any) -> None:
    """SDEdit from the top of the schedule is sampling: N(mu, 0.3), with little of the source."""
    pigs = gaussian_prior.pair(source="a cat", target="a pig").expand(400)
    how = SDEdit(gaussian_prior, steps=100, guidance=1.0, strength=1.0)
    drawn = how(
        torch.zeros(400, 3, 4, 6, dtype=torch.float64), pigs, make_generators(1, range(400))
    )
    mean = gaussian_prior.means[1, 0]
    assert (drawn.mean(0) - mean).abs().mean() < 0.06
    assert float(drawn.var(0).mean()) == pytest.approx(0.3, rel=0.15)


def test_negative_prompts_make_guidance_harmless(mixture_prior: Any) -> None:
    z, prompts = latents(), both(mixture_prior, 2, target="a cat")
    plain, strong = (
        made(NegativePromptInversion, mixture_prior, guidance=guidance)(
            z, prompts, make_generators(0, range(2))
        )
        for guidance in (1.0, 7.5)
    )
    torch.testing.assert_close(plain, strong)
    bridge = made(DDIB, mixture_prior, guidance=7.5)(z, prompts, make_generators(0, range(2)))
    assert not torch.allclose(bridge, strong, atol=0.1)


def test_independent_latents_need_larger_noises(mixture_prior: Any) -> None:
    """What edit-friendly inversion is known for."""
    z, cat = latents(), mixture_prior.embed(["a cat"]).expand(2)
    spread = {}
    for method in (CycleDiffusion, DDPMInversion):
        how = made(method, mixture_prior, steps=40, eta=1.0, source_guidance=1.0, strength=1.0)
        spread[method] = how.invert(z, cat, make_generators(0, range(2)))["noises"].std()
    assert spread[DDPMInversion] > 1.5 * spread[CycleDiffusion]


def test_flow_coordinates(gaussian_prior: Any) -> None:
    """x is (1 - sigma) z + sigma e, and the velocity its derivative along a line."""
    times = sampling_times(1000, 10)
    levels = flow_levels(gaussian_prior, times)
    assert (levels[1:] > levels[:-1]).all() and levels[0] < 0.05 and levels[-1] > 0.9
    z, e = torch.randn(2, 2, 3, 4, 6, dtype=torch.float64)
    alpha, sigma = gaussian_prior.alpha_sigma(torch.tensor([times[4]]))
    x = (1 - levels[4]) * z + levels[4] * e
    torch.testing.assert_close((alpha + sigma) * x, alpha * z + sigma * e)
    cat, pig = gaussian_prior.embed(["a cat"]), gaussian_prior.embed(["a pig"])
    with count_evaluations(gaussian_prior) as counted:
        (of_cat, of_pig), (mean, _) = velocities(
            gaussian_prior, x, times[4], [cat, pig], [1.0, 3.0]
        )
    assert counted.forward == 3
    t = torch.tensor([times[4]])
    noise = gaussian_prior.predict_noise((alpha + sigma) * x[:1], t, cat)
    torch.testing.assert_close(of_cat, noise - mean)
    guided = gaussian_prior.predict_noise((alpha + sigma) * x[1:], t, pig, 3.0)
    clean = ((alpha + sigma) * x[1:] - sigma * guided) / alpha
    torch.testing.assert_close(of_pig, guided - clean)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        (RFInversion, {"eta": 0.0}),
        (FlowEdit, {"strength": 1.0, "last": 400}),
        (FlowEdit, {"strength": 1.0, "source_guidance": 1.0}),
    ],
)
def test_flows_arrive_where_ddim_does(gaussian_prior: Any, method: Any, options: Any) -> None:
    """Between Gaussians of one variance that is a shift by the distance of their means."""
    z, prompts = latents(), both(gaussian_prior, 2)
    shift = gaussian_prior.means[1, 0] - gaussian_prior.means[0, 0]
    slopes = []
    for how in (
        made(DDIB, gaussian_prior, steps=400, guidance=1.0),
        made(method, gaussian_prior, steps=400, guidance=1.0, **options),
    ):
        there = how(z, prompts, make_generators(0, range(2)))
        again = how(z, both(gaussian_prior, 2, target="a cat"), make_generators(0, range(2)))
        slopes.append(float(((there - again) * shift).sum() / (2 * shift.square().sum())))
    assert slopes[1] == pytest.approx(slopes[0], abs=0.012), slopes


def test_what_is_changed_from_outside_is_changed_in_both_of_edict(gaussian_prior: Any) -> None:
    """A watcher that gives back equal latents, though others, changes nothing."""
    z, prompts = latents(), both(gaussian_prior, 2)
    how = made(EDICT, gaussian_prior)
    free = how(z, prompts, make_generators(0, range(2)))
    same = how(z, prompts, make_generators(0, range(2)), lambda visit: visit.z_t.clone())
    assert torch.equal(free, same)
    inversion = how.invert(z, prompts.source, make_generators(0, range(2)))
    moved = how.sample(inversion, prompts, make_generators(0, [0, 1]), lambda visit: visit.z_t + 1)
    assert (moved - free).abs().max() > 1


def test_flowedit_averages_and_ends_with_sampling(mixture_prior: Any) -> None:
    z, prompts = latents(), both(mixture_prior, 2)
    once, often = (made(FlowEdit, mixture_prior, strength=0.7, averages=count) for count in (1, 3))
    with count_evaluations(mixture_prior) as counted:
        often(z, prompts, make_generators(0, range(2)))
    assert counted.forward == 2 * 7 * 3 * 4
    sampled = made(FlowEdit, mixture_prior, strength=0.7, last=3)
    with count_evaluations(mixture_prior) as counted:
        edit = sampled(z, prompts, make_generators(0, range(2)))
    assert counted.forward == 2 * (4 * 4 + 3 * 2)
    assert not torch.allclose(edit, once(z, prompts, make_generators(0, range(2))))


def test_times() -> None:
    assert sampling_times(1000, 4) == (0, 250, 500, 749, 999)
    # Stable Diffusion 3's: diffusers' scheduler has sigma = 3 u / (1 + 2 u)
    assert sampling_times(1001, 4, shift=3.0) == (0, 500, 750, 900, 1000)
    with pytest.raises(ValueError, match="steps=900 are too many"):
        sampling_times(1000, 900, shift=3.0)
    assert partial_times((0, 1, 2, 3, 4), 0.5) == (0, 1, 2)
    assert partial_times((0, 1, 2, 3, 4), 0.0) == (0, 1)


@pytest.mark.parametrize(
    ("method", "options", "said"),
    [
        (DDIB, {"steps": 1000}, "steps=1000"),
        (DDIB, {"iterations": 0}, "iterations=0"),
        (SDEdit, {"strength": 1.5}, "strength=1.5"),
        (CycleDiffusion, {"eta": 0.0}, "eta=0.0"),
        (EDICT, {"mix": 0.0}, "mix=0.0"),
        (FlowEdit, {"last": 60}, "last=60"),
        (RFInversion, {"gamma": 2.0}, "gamma=2.0"),
    ],
)
def test_what_cannot_be(mixture_prior: Any, method: Any, options: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        method(mixture_prior, **options)
