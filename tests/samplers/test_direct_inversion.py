"""Direct inversion: the source comes back exactly, whatever the guidance."""

from typing import Any

import pytest
import torch

from samplers.direct_inversion import DirectInversion
from samplers.p2p import P2P

STEPS = 5


def latents() -> torch.Tensor:
    return torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("guidance", [1.0, 7.5])
def test_the_source_comes_back_exactly(tiny_prior_v: Any, guidance: float) -> None:
    method = DirectInversion(tiny_prior_v, steps=STEPS, guidance=guidance)
    prompts = tiny_prior_v.pair(source=["a cat", "a dog"], target=["a cat", "a dog"])
    assert torch.equal(method(latents(), prompts, [torch.Generator()] * 2), latents())


def test_only_the_row_whose_prompt_stays_is_the_source(tiny_prior: Any) -> None:
    method = DirectInversion(tiny_prior, steps=STEPS)
    prompts = tiny_prior.pair(source=["a cat", "a cat"], target=["a cat", "a dog"])
    found = method(latents(), prompts, [torch.Generator()] * 2)
    assert torch.equal(found[0], latents()[0])
    assert (found[1] - latents()[1]).abs().max() > 0.1


def test_the_target_attends_as_the_undisturbed_source(
    tiny_prior: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside the target the network sees the inverted trajectory, time by time."""
    method = DirectInversion(tiny_prior, steps=STEPS)
    prompts = tiny_prior.pair(source="a cat", target="a dog")
    inversion = method.invert(latents()[:1], prompts.source, [torch.Generator()])
    predict, seen = tiny_prior.predict_noise, []

    def spy(z_t: Any, *arguments: Any) -> Any:
        seen.append(z_t[1])  # after the target's unconditional row
        return predict(z_t, *arguments)

    monkeypatch.setattr(tiny_prior, "predict_noise", spy)
    method.sample(inversion, prompts, [torch.Generator()])
    assert torch.equal(torch.stack(seen), inversion["trajectory"][0].flip(0)[:-1])


def test_it_is_prompt_to_prompt_with_the_settings_of_its_authors(tiny_prior: Any) -> None:
    prompts = tiny_prior.pair(source=["a cat", "a dog"], target=["a pig", "a red dog"])
    options: dict[str, Any] = {"edit": "refine", "cross_replace": 0.4, "self_replace": 0.6}
    same = P2P(tiny_prior, steps=STEPS, inverter="direct", **options)
    generators = [torch.Generator()] * 2
    found = DirectInversion(tiny_prior, steps=STEPS)(latents(), prompts, generators)
    assert torch.equal(found, same(latents(), prompts, generators))
