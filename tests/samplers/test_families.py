"""Sampler methods on models of every family, small and random, in diffusers' own format."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_module
from hydra.utils import instantiate

from editing.priors import load_prior
from samplers.cyclediffusion import CycleDiffusion
from samplers.null_text import NullText
from samplers.p2p import P2P
from samplers.pnp import PlugAndPlay
from samplers.random import make_generators
from tests.conftest import tiny_tokenizer
from tests.tiny_pipelines import save_flux, save_sd3, save_sdxl

SAVE = {"sdxl": save_sdxl, "sd3": save_sd3, "flux": save_flux}
EVERYWHERE = (
    "cyclediffusion ddib ddpm_inversion edict flowedit latent_top negative_prompt null_text "
    "rf_inversion sdedit"
).split()
UNETS = "direct_inversion p2p pnp".split()


@pytest.fixture(scope="module", params=[*SAVE, "sdxl bf16", "sd3 bf16"])
def prior(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder: Path = tmp_path_factory.mktemp("pipeline") / "tiny"
    family, _, dtype = request.param.partition(" ")
    with torch.random.fork_rng():
        SAVE[family](folder, tiny_tokenizer(16))
    return load_prior(folder, device="cpu", dtype=dtype or "fp32")


def made(name: str, prior: Any) -> Any:
    with initialize_config_module("conf", version_base="1.3"):
        config = compose("config", [f"method={name}", "method.steps=3"])
    return instantiate(config.method)(prior)


@pytest.mark.parametrize("name", [*EVERYWHERE, *UNETS])
def test_a_method_edits(prior: Any, name: str) -> None:
    if name in UNETS and "Transformer" in type(prior.network).__name__:
        with pytest.raises(ValueError, match="UNet"):
            made(name, prior)
        return
    z = torch.randn(1, prior.latent_channels, 8, 12, generator=torch.Generator().manual_seed(0))
    prompts = prior.pair(source="a cat", target="a pig")
    edit = made(name, prior)(z, prompts, make_generators(0, [0]))
    assert edit.shape == z.shape and edit.isfinite().all()
    assert not torch.allclose(edit.float(), z, atol=1e-2)


@pytest.mark.parametrize("method", [CycleDiffusion, NullText, P2P, PlugAndPlay])
def test_an_inversion_of_other_steps_is_refused(tiny_prior: Any, method: Any) -> None:
    options = {"inverter": "direct"} if method is P2P else {}
    few, many = (method(tiny_prior, steps=steps, **options) for steps in (2, 4))
    z = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    prompts = tiny_prior.pair(source="a cat", target="a pig")
    for made, used in ((few, many), (many, few)):
        found = made.invert(z, prompts.source, make_generators(0, [0]))
        with pytest.raises(ValueError, match=r"the inversion has \d"):
            used.sample(found, prompts, make_generators(0, [0]))
