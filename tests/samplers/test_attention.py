"""Control of attention: with every processor, and gone afterwards."""

from typing import Any

import pytest
import torch
from diffusers.models.attention_processor import (
    Attention,
    AttnProcessor,
    AttnProcessor2_0,
    SlicedAttnProcessor,
)

from samplers.attention import AttentionControl, Site, controlled, unet_attention


class Identity(AttentionControl):
    """Sees all sites, or none, and changes nothing."""

    def __init__(self, exposed: bool) -> None:
        self.exposed = exposed
        self.seen: dict[str, Any] = {}

    def exposes(self, site: Site) -> bool:
        return self.exposed

    def probabilities(self, site: Site, probabilities: torch.Tensor) -> torch.Tensor:
        self.seen[site.name] = (site, probabilities)
        return probabilities


def run(prior: Any, rows: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    z_t = torch.randn(rows, 4, 8, 8, generator=generator)
    t = torch.tensor([700, 20])[:rows]
    return prior.predict_noise(z_t, t, prior.embed(["a cat", "pig on the beach"])[:rows])


@pytest.mark.parametrize(
    "make",
    [AttnProcessor, AttnProcessor2_0, lambda: SlicedAttnProcessor(1)],
    ids=["plain", "fused", "sliced"],
)
@pytest.mark.parametrize("exposed", [True, False])
def test_seeing_changes_nothing(tiny_prior: Any, make: Any, exposed: bool) -> None:
    modules, identity = unet_attention(tiny_prior), Identity(exposed)
    before = {name: module.processor for name, module in modules.items()}
    chosen = {name: make() for name in modules}
    try:
        for name, module in modules.items():
            module.set_processor(chosen[name])
        expected = run(tiny_prior)
        with controlled(modules, identity):
            found = run(tiny_prior)
        assert all(module.processor is chosen[name] for name, module in modules.items())
    finally:
        for name, module in modules.items():
            module.set_processor(before[name])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert list(identity.seen) == (list(modules) if exposed else [])
    for name, (site, probabilities) in identity.seen.items():
        assert site.cross == name.endswith("attn2")
        keys = 16 if site.cross else site.places
        assert probabilities.shape == (2, modules[name].heads, site.places, keys)
        torch.testing.assert_close(probabilities.sum(-1), torch.ones_like(probabilities[..., 0]))


def test_processors_are_back_after_an_error(tiny_prior: Any) -> None:
    modules = unet_attention(tiny_prior)
    before = [module.processor for module in modules.values()]
    expected = run(tiny_prior)

    class Fails(AttentionControl):
        def probabilities(self, site: Site, probabilities: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"), controlled(modules, Fails()):
        run(tiny_prior)
    assert [module.processor for module in modules.values()] == before
    assert torch.equal(run(tiny_prior), expected)


def test_a_processor_with_weights_is_back_among_the_modules() -> None:
    class Weighted(torch.nn.Module):
        def forward(self, attn: Any, hidden_states: torch.Tensor) -> torch.Tensor:
            return hidden_states

    attention, processor = Attention(8, heads=2, dim_head=4), Weighted()
    attention.set_processor(processor)
    with controlled({"it": attention}, Identity(True)):
        assert attention.processor is not processor
    assert dict(attention.named_children())["processor"] is processor


def test_uniform_probabilities_average_the_values() -> None:
    """What is put in place of the probabilities counts."""

    class Uniform(AttentionControl):
        def probabilities(self, site: Site, probabilities: torch.Tensor) -> torch.Tensor:
            return torch.full_like(probabilities, 1 / probabilities.shape[-1])

    attention, x = Attention(8, heads=2, dim_head=4), torch.randn(3, 5, 8)
    with controlled({"it": attention}, Uniform()), torch.no_grad():
        found = attention(x)
        expected = attention.to_out[0](attention.to_v(x).mean(1, keepdim=True)).expand(3, 5, 8)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("exposed", [True, False])
def test_queries_and_keys_of_another_row(exposed: bool) -> None:
    """With those of the first row, what is attended to is the same in all rows."""

    class First(Identity):
        def queries_keys(self, site: Site, queries: Any, keys: Any) -> Any:
            return queries[:1].expand_as(queries), keys[:1].expand_as(keys)

    attention, x = Attention(8, heads=2, dim_head=4), torch.randn(2, 5, 8)
    exposing = First(True)
    with torch.no_grad():
        with controlled({"it": attention}, exposing):
            probabilities = attention(x) is not None and exposing.seen["it"][1]
        with controlled({"it": attention}, First(exposed)):
            found = attention(x)
        values = attention.to_v(x).unflatten(2, (2, 4)).transpose(1, 2)
        expected = attention.to_out[0]((probabilities[:1] @ values).transpose(1, 2).flatten(2))
    torch.testing.assert_close(found, expected)
    assert torch.equal(probabilities[0], probabilities[1])


@pytest.mark.parametrize("exposed", [True, False])
@pytest.mark.parametrize(
    "options",
    [
        {"norm_num_groups": 2, "residual_connection": True, "rescale_output_factor": 2.0},
        {"qk_norm": "rms_norm", "bias": True},
        {"scale_qk": False},
        {"cross_attention_dim": 6, "cross_attention_norm": "layer_norm"},
    ],
    ids=lambda options: next(iter(options)),
)
def test_all_that_an_attention_module_can_do(options: dict[str, Any], exposed: bool) -> None:
    torch.manual_seed(0)
    attention = Attention(8, heads=2, dim_head=4, **options).eval()
    arguments: dict[str, Any] = {"hidden_states": torch.randn(2, 8, 3, 2)}
    if "cross_attention_dim" in options:
        mask = torch.tensor([[[0.0, 0, 0, -1e4]], [[0, -1e4, 0, 0]]])
        arguments |= {"encoder_hidden_states": torch.randn(2, 4, 6), "attention_mask": mask}
    # AttnProcessor has no qk_norm, and AttnProcessor2_0 no scale of its own
    attention.set_processor(AttnProcessor2_0() if "qk_norm" in options else AttnProcessor())
    with torch.no_grad():
        expected = attention(**arguments)
        with controlled({"it": attention}, Identity(exposed)):
            torch.testing.assert_close(attention(**arguments), expected)


def test_modules_are_those_of_the_unet_in_order(tiny_prior: Any) -> None:
    seen: list[str] = []

    class Order(AttentionControl):
        def exposes(self, site: Site) -> bool:
            seen.append(site.name)
            return False

    modules = unet_attention(tiny_prior)
    with controlled(modules, Order()):
        run(tiny_prior, 1)
    assert seen == list(modules)


def test_a_prior_without_a_unet_is_refused(gaussian_prior: Any) -> None:
    with pytest.raises(ValueError, match="UNet with cross-attention"):
        unet_attention(gaussian_prior)
