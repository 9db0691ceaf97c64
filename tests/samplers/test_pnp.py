"""Plug-and-Play on tiny random pipelines: where and when features are injected."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel

from editing.priors import load_prior
from samplers.attention import Site
from samplers.ddib import DDIB
from samplers.ddim import invert_ddim
from samplers.pnp import PlugAndPlay, _Injection, decoder_sites, first_rows_of
from samplers.prior import PromptPair, count_evaluations
from samplers.trajectory import guided_noise, sampling_times
from tests.conftest import tiny_tokenizer
from tests.tiny_pipelines import save_sdxl

STEPS = 5
SOURCES, TARGETS = ["a cat on the beach", "a dog"], ["a lion on the beach", "a pink dog with hat"]
EMBEDDED = Path(__file__).parents[2] / "editing/priors/menagerie/unet/config.json"


def latents(rows: int = 2) -> torch.Tensor:
    return torch.randn(rows, 4, 8, 8, generator=torch.Generator().manual_seed(1))


def run(method: Any, prompts: PromptPair, z: torch.Tensor | None = None) -> torch.Tensor:
    z = latents(len(prompts)) if z is None else z
    return method(z, prompts, [torch.Generator() for _ in z])


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_the_layers_of_stable_diffusion_are_those_of_the_paper() -> None:
    with torch.device("meta"):
        unet = UNet2DConditionModel(cross_attention_dim=768)
    block, attention = decoder_sites(unet)
    assert block is unet.up_blocks[1].resnets[1].conv2
    chosen = [*unet.up_blocks[1].attentions[1:], *unet.up_blocks[2].attentions]
    chosen += unet.up_blocks[3].attentions
    assert list(attention.values()) == [each.transformer_blocks[0].attn1 for each in chosen]


def test_the_layers_of_the_embedded_model() -> None:
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(EMBEDDED))
    block, attention = decoder_sites(unet)
    assert block is unet.up_blocks[1].resnets[0].conv2
    chosen = unet.up_blocks[1].attentions
    assert list(attention.values()) == [each.transformer_blocks[0].attn1 for each in chosen]


def test_a_decoder_without_attention_is_refused() -> None:
    unet = UNet2DConditionModel(
        block_out_channels=(8, 8),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        cross_attention_dim=8,
        norm_num_groups=4,
    )
    with pytest.raises(ValueError, match="decoder from layer 1 on"):
        decoder_sites(unet)


def test_the_source_s_features_are_those_of_all_rows() -> None:
    layer, x = torch.nn.Linear(3, 2), torch.randn(6, 3)
    with pytest.raises(RuntimeError, match="stop"), first_rows_of(layer, 2):
        torch.testing.assert_close(layer(x), layer(x[[0, 1, 0, 1, 0, 1]]))
        raise RuntimeError("stop")
    assert not layer._forward_hooks
    queries, keys = torch.randn(2, 6, 4, 3)
    found = _Injection(2).queries_keys(Site("attn1", False, 4), queries, keys)
    for before, after in zip((queries, keys), found, strict=True):
        assert torch.equal(after, before[:2].repeat(3, 1, 1))


@pytest.mark.parametrize("guidance", [7.5, 1.0])
def test_without_injection_the_target_is_drawn_alone(tiny_prior_v: Any, guidance: float) -> None:
    prompts = tiny_prior_v.pair(source=SOURCES, target=TARGETS)
    options: dict[str, Any] = {"steps": STEPS, "guidance": guidance}
    expected = run(DDIB(tiny_prior_v, **options), prompts)
    options |= {"source_prompt": "source"}
    none = {"features": 0, "attention": 0}
    close(run(PlugAndPlay(tiny_prior_v, **options, **none), prompts), expected)
    for injection in ({"features": 1.0}, {"attention": 1.0}):
        method = PlugAndPlay(tiny_prior_v, **options, **none | injection)
        assert (run(method, prompts) - expected).abs().max() > 0.01


def test_what_the_network_sees(tiny_prior: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The inverted trajectory beside the target, for as long as something is injected."""
    method = PlugAndPlay(tiny_prior, steps=STEPS, features=0.6, attention=0.4)
    prompts = tiny_prior.pair(source=SOURCES, target=TARGETS)
    inversion = method.invert(latents(), prompts.source, [torch.Generator()] * 2)
    predict, seen = tiny_prior.predict_noise, []

    def spy(z_t: Any, t: Any, condition: Any, guidance: float = 1.0) -> Any:
        hooks = len(method.block._forward_hooks)
        processor = next(iter(method.modules.values())).processor
        seen.append((z_t, condition.prompts, hooks, hasattr(processor, "control")))
        return predict(z_t, t, condition, guidance)

    monkeypatch.setattr(tiny_prior, "predict_noise", spy)
    method.sample(inversion, prompts, [torch.Generator()] * 2)
    for step, (z_t, words, hooks, controlled) in enumerate(seen):
        assert (hooks, controlled) == (int(step < 3), step < 2)
        if step < 3:
            assert torch.equal(z_t[:2], inversion["trajectory"][:, STEPS - step])
            assert torch.equal(z_t[2:4], z_t[4:])
            assert words == ("", "", "", "", *TARGETS)
        else:
            assert words == tuple(TARGETS)


def test_network_evaluations(tiny_prior: Any) -> None:
    prompts = tiny_prior.pair(source=SOURCES, target=TARGETS)
    with count_evaluations(tiny_prior) as evaluations:
        run(PlugAndPlay(tiny_prior, steps=STEPS, substeps=2), prompts)
    assert evaluations.forward == 2 * (2 * STEPS + 4 * 3 + 1 * 2)


@pytest.mark.parametrize("source_prompt", ["empty", "source"])
def test_the_inversion_in_smaller_steps(tiny_prior: Any, source_prompt: str) -> None:
    source = tiny_prior.embed(SOURCES)
    method = PlugAndPlay(tiny_prior, steps=STEPS, substeps=3, source_prompt=source_prompt)
    found = method.invert(latents(), source, [torch.Generator()] * 2)["trajectory"]
    prompt = source if source_prompt == "source" else tiny_prior.null(2)
    times = sampling_times(1000, 3 * STEPS)
    assert times[::3] == method.times

    def predict(z_t: Any, t: int) -> Any:
        return guided_noise(tiny_prior, z_t, t, prompt, 1.0)

    with torch.no_grad():
        assert torch.equal(found, invert_ddim(tiny_prior, latents(), times, predict)[:, ::3])


@pytest.mark.parametrize("source_prompt", ["empty", "source"])
def test_a_row_does_not_depend_on_its_batch(tiny_prior: Any, source_prompt: str) -> None:
    prompts = tiny_prior.pair(source=SOURCES, target=TARGETS)
    method = PlugAndPlay(tiny_prior, steps=STEPS, source_prompt=source_prompt)
    together = run(method, prompts)
    for row in range(2):
        alone = run(method, prompts[row : row + 1], latents()[row : row + 1])
        close(together[row : row + 1], alone)


def test_the_network_is_as_before_after_an_error(
    tiny_prior: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = PlugAndPlay(tiny_prior, steps=STEPS)
    before = [module.processor for module in method.modules.values()]
    prompts = tiny_prior.pair(source="a cat", target="a dog")
    inversion = method.invert(latents(1), prompts.source, [torch.Generator()])

    def fail(*arguments: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(tiny_prior, "run_network", fail)
    with pytest.raises(KeyboardInterrupt):
        method.sample(inversion, prompts, [torch.Generator()])
    assert [module.processor for module in method.modules.values()] == before
    assert not method.block._forward_hooks


def test_sdxl(tmp_path: Path) -> None:
    prior = load_prior(save_sdxl(tmp_path / "xl", tiny_tokenizer(16)), device="cpu")
    prompts = prior.pair(source=SOURCES, target=TARGETS)
    free = PlugAndPlay(prior, steps=STEPS, features=0, attention=0, source_prompt="source")
    close(run(free, prompts), run(DDIB(prior, steps=STEPS), prompts))
    assert (run(PlugAndPlay(prior, steps=STEPS), prompts) - run(free, prompts)).abs().max() > 0.01


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": 1.2}, "features=1.2"),
        ({"attention": -0.1}, "attention=-0.1"),
        ({"source_prompt": "target"}, "source_prompt=target"),
        ({"substeps": 20}, "substeps=20 cannot be used: give a whole number from 1 to 19"),
    ],
)
def test_refusals(tiny_prior: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PlugAndPlay(tiny_prior, **options)


def test_a_prior_without_a_unet_is_refused(gaussian_prior: Any) -> None:
    with pytest.raises(ValueError, match="UNet with cross-attention"):
        PlugAndPlay(gaussian_prior)
