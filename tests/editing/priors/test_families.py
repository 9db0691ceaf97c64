"""SDXL, SD3 and FLUX: what reaches the network, against diffusers' own pipelines."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import editing
from editing.errors import UserError
from editing.priors import load_prior
from editing.priors.families import FAMILIES
from editing.priors.flow import FluxPrior
from editing.priors.folders import check_folder
from editing.sizes import check_largest
from samplers.noise import FixedPointNoise
from samplers.random import make_generators
from tests.conftest import tiny_tokenizer
from tests.tiny_pipelines import save_flux, save_sd3, save_sdxl

KINDS: dict[str, tuple[Callable[..., Path], dict[str, Any]]] = {
    "sdxl": (save_sdxl, {}),
    "sdxl without zeros": (save_sdxl, {"zeros": False}),
    "sd3": (save_sd3, {}),
    "sd3 without t5": (save_sd3, {"with_t5": False}),
    "sd35": (save_sd3, {"medium": True}),
    "flux": (save_flux, {}),
    "flux undistilled": (save_flux, {"distilled": False}),
}
METHODS = ("SDS", "DDS", "IDS", "CDS", "PDS", "NFSD", "ISM", "SSD", "DRFS")


@pytest.fixture(scope="module", params=KINDS)
def prior(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    save, options = KINDS[request.param]
    folder = tmp_path_factory.mktemp("pipeline") / "tiny"
    with torch.random.fork_rng():
        save(folder, tiny_tokenizer(16), **options)
    return load_prior(folder, device="cpu")


def pipeline_of(prior: Any) -> Any:
    """The pipeline that diffusers makes of the same folder."""
    import diffusers

    kind = FAMILIES[check_folder(prior.folder)].pipeline
    absent = {
        part: None
        for part in ("text_encoder_3", "tokenizer_3")
        if not (prior.folder / part).is_dir()
    }
    pipeline = getattr(diffusers, kind).from_pretrained(
        prior.folder, **(absent if kind == "StableDiffusion3Pipeline" else {})
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def unpacked(x: torch.Tensor, rows: int, cols: int) -> torch.Tensor:
    """FLUX's tokens as latents."""
    return torch.nn.functional.pixel_shuffle(x.mT.unflatten(2, (rows, cols)), 2)


@torch.no_grad()
def test_the_network_sees_what_diffusers_shows_it(
    prior: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sampling step of the pipeline, its network spied on, and the same prediction here."""
    pipeline = pipeline_of(prior)
    network = pipeline.unet if hasattr(pipeline, "unet") else pipeline.transformer
    seen: list[tuple[Any, Any, Any]] = []
    network.register_forward_hook(
        lambda module, args, kwargs, output: seen.append((args, kwargs, output[0])),
        with_kwargs=True,
    )
    scale: dict[str, Any] = {"guidance_scale": 3.0}
    if isinstance(prior, FluxPrior):
        most = prior.most_tokens  # for [schnell] the pipeline leaves it to its users
        scale = {"true_cfg_scale": 3.0, "negative_prompt": "", "max_sequence_length": most}
    height, width = 32, 48
    pipeline(
        "a cat",
        height=height,
        width=width,
        num_inference_steps=1,
        output_type="latent",
        generator=torch.Generator().manual_seed(0),
        **scale,
    )
    prompt = prior.embed(["a cat"])
    rows = prior.null(1), prompt
    if len(seen) == 2:  # FLUX asks twice, first with the prompt
        seen.reverse()
    else:
        args, kwargs, output = seen[0]
        seen = [
            (
                tuple(x.chunk(2)[i] if x.dim() else x for x in args),
                {
                    k: v.chunk(2)[i] if k in ("hidden_states", "timestep") else v
                    for k, v in kwargs.items()
                },
                output.chunk(2)[i],
            )
            for i in range(2)
        ]
    for condition, (args, kwargs, expected) in zip(rows, seen, strict=True):
        sample = args[0] if args else kwargs["hidden_states"]
        t = torch.tensor([500])
        if args:
            t = args[1].reshape(1).long()
        elif isinstance(prior, FluxPrior):
            level = kwargs["timestep"]
            monkeypatch.setattr(prior, "level", lambda t, level=level: level)
            sample, expected = (unpacked(x, height // 8, width // 8) for x in (sample, expected))
        else:
            level = kwargs["timestep"] / 1000
            monkeypatch.setattr(prior, "level", lambda t, level=level: level)
        found = prior.predict(sample, t, condition)
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_noise_and_velocity_agree(prior: Any) -> None:
    """The noise is what turns z_t into the latents that the network's prediction means."""
    z_t = torch.randn(2, prior.latent_channels, 8, 12, generator=torch.Generator().manual_seed(1))
    t, cats = torch.tensor([100, 900]), prior.embed(["a cat"] * 2)
    alpha, sigma = prior.alpha_sigma(t)
    noise, output = prior.predict_noise(z_t, t, cats), prior.predict(z_t, t, cats)
    if hasattr(prior, "level"):
        torch.testing.assert_close(alpha + sigma, torch.ones_like(alpha))
        torch.testing.assert_close((z_t - sigma * noise) / alpha, z_t - sigma * output)
        torch.testing.assert_close(
            noise - (z_t - sigma * noise) / alpha, output, atol=1e-4, rtol=1e-3
        )
    else:
        torch.testing.assert_close(noise, output)


@torch.no_grad()
def test_guidance_extrapolates_from_the_null_condition(prior: Any) -> None:
    z_t = torch.randn(1, prior.latent_channels, 8, 8, generator=torch.Generator().manual_seed(1))
    t, cat = torch.tensor([400]), prior.embed(["a cat"])
    free, wanted = (prior.predict_noise(z_t, t, c) for c in (prior.null(1), cat))
    found = prior.predict_noise(z_t, t, cat, guidance=4.0)
    torch.testing.assert_close(found, free + 4 * (wanted - free), atol=1e-4, rtol=1e-4)
    assert (free - wanted).abs().max() > 1e-3


@pytest.mark.parametrize("method", METHODS)
def test_every_method_works(prior: Any, method: str) -> None:
    """And an image's gradient does not depend on its batch."""
    z = torch.randn(2, prior.latent_channels, 8, 12, generator=torch.Generator().manual_seed(1))
    prompts = prior.pair(source="a cat", target="a pig")
    distiller = getattr(editing, method)(prior, noise=FixedPointNoise(iterations=1))
    together = distiller.distill(z, 0.9 * z, prompts, make_generators(0, range(2))).gradient
    assert together.isfinite().all() and together.norm() > 0
    alone = distiller.distill(z[1:], 0.9 * z[1:], prompts, make_generators(0, [1])).gradient
    scale = alone.abs().max().item()
    torch.testing.assert_close(together[1:], alone, atol=2e-3 * scale, rtol=2e-3)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("model", ["tiny_prior", "tiny_prior_v"])
def test_every_method_works_on_stable_diffusion_1_and_2(
    request: pytest.FixtureRequest, model: str, method: str
) -> None:
    test_every_method_works(request.getfixturevalue(model), method)


@torch.no_grad()
def test_pictures_go_through_the_vae_and_back(prior: Any, images: torch.Tensor) -> None:
    pipeline, z = pipeline_of(prior), prior.encode(images)
    vae = pipeline.vae
    expected = (vae.encode(2 * images - 1).latent_dist.mode() - 0.1) * 0.7
    torch.testing.assert_close(z, expected, atol=1e-5, rtol=1e-5)
    assert prior.decode(z).shape == images.shape
    with pytest.raises(ValueError, match=f"must be multiples of {prior.size_multiple}"):
        prior.encode(images[..., :30])


def test_half_precision(prior: Any) -> None:
    half = load_prior(prior.folder, device="cpu", dtype="bf16")
    assert half.dtype == torch.bfloat16 and half.vae.dtype == torch.float32
    z_t = torch.randn(1, prior.latent_channels, 8, 8, generator=torch.Generator().manual_seed(1))
    t = torch.tensor([400])
    with torch.no_grad():
        exact, found = (p.predict_noise(z_t, t, p.embed(["a cat"]), 2.0) for p in (prior, half))
    assert found.dtype == torch.float32
    assert (found - exact).abs().mean() < 0.1 * exact.abs().mean()


def test_long_prompts_are_noticed(prior: Any) -> None:
    assert not prior.prompt_was_truncated("a cat")
    if isinstance(prior, FluxPrior):  # [schnell], which takes no guidance, reads less
        distilled = prior.network.config.guidance_embeds
        assert prior.embed(["a cat"]).tensors["text"].shape[1] == (512 if distilled else 256)
    assert prior.prompt_was_truncated("a cat " * 300)


def test_the_hash_covers_every_part(prior: Any) -> None:
    assert set(prior.parts) == set(FAMILIES[check_folder(prior.folder)].modules)
    assert len(prior.model_hash()) == 64


def test_a_part_that_is_missing_is_named(prior: Any, tmp_path: Path) -> None:
    index = json.loads((prior.folder / "model_index.json").read_text())
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    for part in index:
        if part not in ("vae", "text_encoder_3", "tokenizer_3") and (prior.folder / part).is_dir():
            (tmp_path / part).symlink_to(prior.folder / part)
    with pytest.raises(UserError, match=r"style pipeline: it lacks vae\."):
        load_prior(tmp_path)


def changed(folder: Path, part: str, entries: dict[str, Any], to: Path) -> Path:
    """A copy of a pipeline with other entries in the config of a part."""
    shutil.copytree(folder, to)
    (path,) = (to / part).glob("*config.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))
    return to


def test_what_is_larger_than_its_positions_is_refused(tmp_path: Path) -> None:
    with torch.random.fork_rng():
        folder = save_sd3(tmp_path / "tiny", tiny_tokenizer(16))
    prior = load_prior(folder, device="cpu")
    assert prior.largest == 128
    assert prior.encode(torch.rand(1, 3, 128, 32)).shape == (1, 8, 32, 8)
    with pytest.raises(ValueError, match="it takes 128 pixels a side at most"):
        prior.encode(torch.rand(1, 3, 136, 32))
    check_largest([(128, 128)], prior)
    with pytest.raises(UserError, match=r"136 pixels long, and prior=.* takes 128 at most"):
        check_largest([(32, 32), (32, 136)], prior)


def test_a_transformer_that_takes_a_further_picture_is_refused(tmp_path: Path) -> None:
    """FLUX.1 Fill, Depth and Canny."""
    with torch.random.fork_rng():
        folder = save_flux(tmp_path / "tiny", tiny_tokenizer(16), in_channels=64)
    with pytest.raises(UserError, match="takes 64 channels, its VAE makes 8 \\(32 per token\\)"):
        load_prior(folder, device="cpu")


def test_what_a_distilled_network_is_told_is_an_option(tmp_path: Path) -> None:
    with torch.random.fork_rng():
        folder = save_flux(tmp_path / "tiny", tiny_tokenizer(16))
    z_t, t = (
        torch.randn(1, 8, 8, 8, generator=torch.Generator().manual_seed(0)),
        torch.tensor([300]),
    )
    low, high, usual, said = (
        prior.predict_noise(z_t, t, prior.embed(["a cat"])).detach()
        for prior in (
            load_prior(folder, device="cpu", distilled_guidance=g) for g in (1.0, 8.0, None, 3.5)
        )
    )
    assert (low - high).abs().max() > 1e-4 and torch.equal(usual, said)


@pytest.mark.parametrize("name", ["EDMEulerScheduler", "FlowMatchEulerDiscreteScheduler"])
def test_a_schedule_that_is_not_ddpms_is_refused(tmp_path: Path, name: str) -> None:
    with torch.random.fork_rng():
        folder = save_sdxl(tmp_path / "tiny", tiny_tokenizer(16))
    other = changed(folder, "scheduler", {"_class_name": name}, tmp_path / "other")
    with pytest.raises(UserError, match=f"has the schedule {name}: only models trained with DDPM"):
        load_prior(other, device="cpu")
