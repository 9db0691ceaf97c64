"""Prompt-to-Prompt on tiny random pipelines: what it does to attention, and what that leads to."""

from typing import Any

import pytest
import torch

from editing.priors import load_prior
from samplers.alignment import Alignment
from samplers.attention import Site
from samplers.blend import WordMaps
from samplers.ddib import DDIB
from samplers.null_text import NullText
from samplers.p2p import P2P, _Control
from samplers.prior import PromptPair, count_evaluations
from samplers.trajectory import Inversion
from tests.conftest import tiny_tokenizer
from tests.tiny_pipelines import save_sdxl

STEPS = 5
SOURCES, TARGETS = ["a cat on the beach", "a dog"], ["a lion on the beach", "a pink dog with hat"]
CROSS, SELF = Site("attn2", True, 9), Site("attn1", False, 9)


def latents(rows: int = 2) -> torch.Tensor:
    return torch.randn(rows, 4, 8, 8, generator=torch.Generator().manual_seed(1))


def run(method: Any, prompts: PromptPair, z: torch.Tensor | None = None) -> torch.Tensor:
    z = latents(len(prompts)) if z is None else z
    return method(z, prompts, [torch.Generator() for _ in z])


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.fixture(params=["epsilon", "v"])
def prior(request: pytest.FixtureRequest, tiny_prior: Any, tiny_prior_v: Any) -> Any:
    return tiny_prior if request.param == "epsilon" else tiny_prior_v


@pytest.mark.parametrize("guidance", [7.5, 1.0])
def test_the_same_prompt_gives_the_source_branch(prior: Any, guidance: float) -> None:
    """Which is drawn as if it were alone; and so is a second branch, if something asks for it."""
    prompts = prior.pair(source=SOURCES, target=SOURCES)
    alone = run(DDIB(prior, steps=STEPS, guidance=guidance), prompts)
    for reweight in (None, {"a": 1.0}):
        close(run(P2P(prior, steps=STEPS, guidance=guidance, reweight=reweight), prompts), alone)


@pytest.mark.parametrize("guidance", [7.5, 1.0])
@pytest.mark.parametrize("inverter", ["ddim", "direct"])
def test_without_control_the_target_is_drawn_alone(
    prior: Any, guidance: float, inverter: str
) -> None:
    prompts = prior.pair(source=SOURCES, target=TARGETS)
    options: dict[str, Any] = {"steps": STEPS, "guidance": guidance}
    free = P2P(prior, inverter=inverter, cross_replace=0, self_replace=0, **options)
    expected = run(DDIB(prior, **options), prompts)
    close(run(free, prompts), expected)
    for control in ({"cross_replace": 1.0}, {"self_replace": 1.0}):
        method = P2P(prior, **options, **{"cross_replace": 0, "self_replace": 0} | control)
        assert (run(method, prompts) - expected).abs().max() > 0.01


def test_attention_is_edited_by_the_alignment() -> None:
    """Against loops, in a batch of null, sources and targets, two pictures each."""
    generator = torch.Generator().manual_seed(2)
    before = torch.rand(8, 3, 9, 5, generator=generator)
    matrix, own, weights = (
        torch.rand(*shape, generator=generator) for shape in ((2, 5, 5), (2, 5), (2, 5))
    )
    control = _Control(2, 1, Alignment(matrix, own), weights, None)
    after = control.probabilities(CROSS, before)
    assert torch.equal(after[:6], before[:6])
    for row in range(2):
        for k in range(5):
            taken = sum(before[4 + row, ..., j] * matrix[row, j, k] for j in range(5))
            expected = weights[row, k] * (taken + own[row, k] * before[6 + row, ..., k])
            torch.testing.assert_close(after[6 + row, ..., k], expected)
    after = control.probabilities(SELF, before)
    assert torch.equal(after, torch.cat([before[:6], before[4:6]]))


def test_attention_is_edited_for_the_first_steps_only() -> None:
    empty = Alignment(torch.zeros(1, 5, 5), torch.zeros(1, 5))
    control = _Control(2, 1, empty, torch.ones(1, 5), None)
    seen = []
    for control.step in range(3):
        seen.append((control.exposes(CROSS), control.exposes(SELF)))
    assert seen == [(True, True), (True, False), (False, False)]
    control.step = 0
    assert not control.exposes(Site("attn1", False, 64**2))
    assert control.exposes(Site("attn2", True, 64**2))
    assert not control.exposes(Site("attn1", False, 32 * 48))
    control.step, control.maps = 2, WordMaps(torch.ones(2, 5))  # which need them, unedited
    probabilities = torch.rand(4, 1, 9, 5)
    assert control.exposes(CROSS)
    assert torch.equal(control.probabilities(CROSS, probabilities), probabilities)


def test_a_picture_that_is_no_square_has_more_places_edited(tiny_prior: Any) -> None:
    prompts = tiny_prior.pair(source="a cat", target="a pig")
    wide = (64, 256, 2 * 32**2)  # as many as memory bears
    for height, width, places in ((64, 64, 32**2), (64, 96, 32 * 48), (96, 64, 48 * 32), wide):
        control = P2P(tiny_prior)._control(prompts, torch.zeros(1, 4, height, width))
        assert control.exposes(Site("attn1", False, places))
        assert not control.exposes(Site("attn1", False, places + 1))


def test_maps_do_not_go_with_cuda_graphs(tiny_prior: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny_prior, "graphed", True)
    P2P(tiny_prior)
    with pytest.raises(ValueError, match=r"give tuning\.compile=true"):
        P2P(tiny_prior, blend="cat")


def test_the_control_follows_the_steps(tiny_prior: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the network: 3 of 5 steps of cross-attention, 2 of self-attention."""
    seen: dict[bool, set[int]] = {True: set(), False: set()}
    edit = _Control.probabilities

    def spy(self: _Control, site: Site, probabilities: torch.Tensor) -> torch.Tensor:
        seen[site.cross].add(self.step)
        assert len(probabilities) == 8
        return edit(self, site, probabilities)

    monkeypatch.setattr(_Control, "probabilities", spy)
    method = P2P(tiny_prior, steps=STEPS, cross_replace=0.6, self_replace=0.4)
    run(method, tiny_prior.pair(source=SOURCES, target=TARGETS))
    assert seen == {True: {0, 1, 2}, False: {0, 1}}


def test_replace_and_refine_are_chosen_by_the_words(tiny_prior: Any) -> None:
    """The first pair has the same number of words, the second has not."""
    prompts = tiny_prior.pair(source=SOURCES, target=TARGETS)
    auto = run(P2P(tiny_prior, steps=STEPS), prompts)
    replaced = run(P2P(tiny_prior, steps=STEPS, edit="replace"), prompts[:1], latents()[:1])
    refined = run(P2P(tiny_prior, steps=STEPS, edit="refine"), prompts)
    close(auto[:1], replaced)
    close(auto[1:], refined[1:])
    assert (replaced - refined[:1]).abs().max() > 0.01
    with pytest.raises(ValueError, match="same number of words"):
        run(P2P(tiny_prior, steps=STEPS, edit="replace"), prompts)


def test_reweighting_is_of_the_tokens_of_the_words(tiny_prior: Any) -> None:
    method = P2P(tiny_prior, steps=STEPS, reweight={"dog": 3, "pink": 0.5})
    prompts = tiny_prior.pair(source="a cat", target="a pink dog")
    control = method._control(prompts, latents(1))
    assert control.weights.tolist() == [[1, 1, 0.5, 3] + [1] * 12]
    prompts = tiny_prior.pair(source="a dog", target="a dog")
    plain = run(P2P(tiny_prior, steps=STEPS), prompts)
    heavy = run(P2P(tiny_prior, steps=STEPS, reweight={"dog": 3}), prompts)
    assert (heavy - plain).abs().max() > 0.01
    with pytest.raises(ValueError, match="no 'cow' in the prompt 'a dog'"):
        run(P2P(tiny_prior, steps=STEPS, reweight={"cow": 3}), prompts)


def test_what_is_not_blended_in_is_the_source(tiny_prior: Any) -> None:
    """With nothing above the threshold all of it, with everything nothing."""
    prompts = tiny_prior.pair(source="a cat", target="a dog")
    options: dict[str, Any] = {"steps": STEPS, "inverter": "direct"}
    plain = run(P2P(tiny_prior, **options), prompts)
    blended = P2P(tiny_prior, blend=["cat", "dog"], blend_threshold=1.0, **options)
    assert torch.equal(run(blended, prompts), latents(1))
    blended = P2P(tiny_prior, blend=["cat", "dog"], blend_threshold=0.0, **options)
    close(run(blended, prompts), plain)
    blended = P2P(tiny_prior, blend="a", blend_threshold=0.95, blend_start=0, **options)
    kept = (run(blended, prompts) == latents(1)).all(1).float().mean()
    assert 0 < kept < 1
    with pytest.raises(ValueError, match="no 'cow' in the prompt 'a cat'"):
        run(P2P(tiny_prior, blend="cow", **options), prompts)


def test_blending_begins_after_its_steps(tiny_prior: Any) -> None:
    prompts = tiny_prior.pair(source="a cat", target="a dog")
    options: dict[str, Any] = {"blend": "a", "blend_threshold": 1.0, "inverter": "direct"}
    method = P2P(tiny_prior, steps=STEPS, blend_start=0.4, **options)
    inversion = method.invert(latents(1), prompts.source, [torch.Generator()])
    same = []

    def watch(visit: Any) -> torch.Tensor:
        same.append(torch.equal(visit.z_t, inversion["trajectory"][:, STEPS - visit.step]))
        return visit.z_t

    method.sample(inversion, prompts, [torch.Generator()], watch)
    assert same == [False, False, True, True, True]


@pytest.mark.parametrize("inverter", ["ddim", "direct", "null_text"])
def test_a_row_does_not_depend_on_its_batch(tiny_prior: Any, inverter: str) -> None:
    """The embeddings of null-text inversion are found once, for Adam magnifies rounding."""
    prompts = tiny_prior.pair(source=SOURCES, target=TARGETS)
    method = P2P(tiny_prior, steps=3, inverter=inverter, blend="a", reweight={"a": 2.0})
    if method.null_text is not None:
        method.null_text.iterations = 2
    generators = [torch.Generator()] * 2
    found = method.invert(latents(), prompts.source, generators)
    together = method.sample(found, prompts, generators)
    for row in range(2):
        one = slice(row, row + 1)
        if inverter == "null_text":
            own = Inversion({name: tensor[one] for name, tensor in found.tensors.items()})
        else:
            own = method.invert(latents()[one], prompts.source[one], generators[:1])
        close(method.sample(own, prompts[one], generators[:1]), together[one])


def test_null_text_embeddings_are_those_of_the_steps(tiny_prior: Any) -> None:
    """The source's branch is what null-text inversion itself draws, and comes back further."""
    prompts = tiny_prior.pair(source=SOURCES[:1], target=SOURCES[:1])
    found = run(P2P(tiny_prior, steps=3, inverter="null_text"), prompts)
    close(found, run(NullText(tiny_prior, steps=3), prompts))
    plain = run(P2P(tiny_prior, steps=3), prompts)
    assert (found - latents(1)).norm() < (plain - latents(1)).norm()


@pytest.mark.parametrize(
    ("inverter", "guidance", "each"),
    [("ddim", 7.5, 4), ("direct", 7.5, 3), ("ddim", 1.0, 2)],
)
def test_network_evaluations(tiny_prior: Any, inverter: str, guidance: float, each: int) -> None:
    prompts = tiny_prior.pair(source=SOURCES, target=TARGETS)
    method = P2P(tiny_prior, steps=STEPS, inverter=inverter, guidance=guidance)
    with count_evaluations(tiny_prior) as evaluations:
        run(method, prompts)
    assert evaluations.forward == 2 * STEPS * (1 + each)


def test_processors_are_put_back(tiny_prior: Any) -> None:
    method = P2P(tiny_prior, steps=STEPS)
    before = [module.processor for module in method.modules.values()]

    def fail(visit: Any) -> torch.Tensor:
        raise KeyboardInterrupt

    prompts = tiny_prior.pair(source="a cat", target="a dog")
    inversion = method.invert(latents(1), prompts.source, [torch.Generator()])
    with pytest.raises(KeyboardInterrupt):
        method.sample(inversion, prompts, [torch.Generator()], fail)
    assert [module.processor for module in method.modules.values()] == before


def test_the_watcher_sees_the_target_and_may_change_it(tiny_prior: Any) -> None:
    prompts = tiny_prior.pair(source=SOURCES, target=TARGETS)
    method = P2P(tiny_prior, steps=STEPS)
    inversion = method.invert(latents(), prompts.source, [torch.Generator()] * 2)
    shapes = []

    def watch(visit: Any) -> torch.Tensor:
        shapes.append((visit.step, visit.z_t.shape, visit.mean.shape))
        return torch.full_like(visit.z_t, visit.step)

    found = method.sample(inversion, prompts, [torch.Generator()] * 2, watch)
    assert torch.equal(found, torch.full((2, 4, 8, 8), float(STEPS)))
    assert shapes == [(step, (2, 4, 8, 8), (2, 4, 8, 8)) for step in range(1, STEPS + 1)]


@pytest.fixture(scope="module")
def sdxl(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load_prior(save_sdxl(tmp_path_factory.mktemp("xl") / "tiny", tiny_tokenizer(16)))


def test_sdxl(sdxl: Any) -> None:
    prompts = sdxl.pair(source=SOURCES, target=TARGETS)
    free = P2P(sdxl, steps=STEPS, cross_replace=0, self_replace=0)
    close(run(free, prompts), run(DDIB(sdxl, steps=STEPS), prompts))
    method = P2P(sdxl, steps=STEPS, blend="a", reweight={"a": 2.0})
    assert (run(method, prompts) - run(free, prompts)).abs().max() > 0.01
    row = prompts[:1]
    assert run(P2P(sdxl, steps=1, inverter="null_text"), row).isfinite().all()
    same = sdxl.pair(source="a cat", target="a cat")
    assert torch.equal(run(P2P(sdxl, steps=STEPS, inverter="direct"), same), latents(1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inverter": "edict"}, "one of ddim, null_text, direct"),
        ({"edit": "swap"}, "one of auto, replace, refine"),
        ({"cross_replace": 1.2}, "cross_replace=1.2"),
        ({"self_replace": -0.1}, "self_replace=-0.1"),
        ({"reweight": {"pig": -1}}, "reweight.pig=-1"),
        ({"blend": ["a", "b", "c"]}, "a word, or two"),
        ({"blend": ""}, "a word, or two"),
        ({"blend": 3}, "blend=3 cannot be used"),
        ({"blend": [1, 2]}, "a word, or two"),
        ({"blend": {"a": 1}}, "a word, or two"),
        ({"reweight": 2}, "reweight=2 cannot be used: give factors"),
        ({"reweight": "pig"}, "give factors"),
        ({"blend": "a", "blend_threshold": 2}, "blend_threshold=2"),
    ],
)
def test_refusals(tiny_prior: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        P2P(tiny_prior, **options)


def test_a_prior_without_a_unet_is_refused(gaussian_prior: Any) -> None:
    with pytest.raises(ValueError, match="UNet with cross-attention"):
        P2P(gaussian_prior)
