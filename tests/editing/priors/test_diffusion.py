"""DiffusionPrior against diffusers' own pipeline, scheduler and VAE."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from editing.errors import UserError
from editing.priors.diffusion import DiffusionPrior
from editing.priors.load import load_prior


@pytest.fixture(scope="module", params=["tiny_sd", "tiny_sd_v"])
def both(request: pytest.FixtureRequest) -> tuple[DiffusionPrior, Any]:
    """A prior and diffusers' pipeline from the same folder."""
    from diffusers import StableDiffusionPipeline

    folder = request.getfixturevalue(request.param)
    prior = request.getfixturevalue(request.param.replace("sd", "prior"))
    return prior, StableDiffusionPipeline.from_pretrained(folder, use_safetensors=True)


def noisy(batch: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(batch, 4, 8, 12, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_predicted_noise_equals_diffusers(both: tuple[DiffusionPrior, Any]) -> None:
    """Guidance as in StableDiffusionPipeline.__call__, v to noise as in DDIMScheduler.step."""
    from diffusers import DDIMScheduler

    prior, pipeline = both
    z_t, t, guidance = noisy(1), 400, 7.5
    positive, negative = pipeline.encode_prompt("a photo of a cat", "cpu", 1, True, "")
    uncond, cond = pipeline.unet(
        torch.cat([z_t, z_t]), t, encoder_hidden_states=torch.cat([negative, positive])
    ).sample.chunk(2)
    output = uncond + guidance * (cond - uncond)
    assert (cond - uncond).norm() > 1e-3 * cond.norm()  # the random network does read prompts
    scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, clip_sample=False)
    scheduler.set_timesteps(1000)
    clean = scheduler.step(output, t, z_t).pred_original_sample
    alpha_bar = scheduler.alphas_cumprod[t]
    expected = (z_t - alpha_bar.sqrt() * clean) / (1 - alpha_bar).sqrt()
    actual = prior.predict_noise(
        z_t, torch.tensor([t]), prior.embed(["a photo of a cat"]), guidance
    )
    torch.testing.assert_close(actual, expected, atol=2e-5, rtol=1e-5)


@torch.no_grad()
def test_velocity_of_known_noise(tiny_prior_v: Any) -> None:
    """For v = alpha eps - sigma z the prediction must be eps: diffusers' get_velocity inverted."""
    from diffusers import DDPMScheduler

    scheduler = DDPMScheduler.from_pretrained(tiny_prior_v.folder, subfolder="scheduler")
    z, noise, t = noisy(2, 1), noisy(2, 2), torch.tensor([50, 948])
    z_t, velocity = scheduler.add_noise(z, noise, t), scheduler.get_velocity(z, noise, t)
    prior = DiffusionPrior.__new__(DiffusionPrior)
    prior.__dict__.update(tiny_prior_v.__dict__)
    prior.predict = lambda *_: velocity  # type: ignore[method-assign]
    alpha, sigma = prior.alpha_sigma(t)
    torch.testing.assert_close(alpha * z + sigma * noise, z_t)
    cats = prior.embed(["a cat", "a dog"])
    torch.testing.assert_close(prior.predict_noise(z_t, t, cats), noise, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_encoding_and_decoding_equal_diffusers(
    both: tuple[DiffusionPrior, Any], images: torch.Tensor
) -> None:
    prior, pipeline = both
    pixels, config = pipeline.image_processor.preprocess(images), pipeline.vae.config
    mean = pipeline.vae.encode(pixels).latent_dist.mean
    z = prior.encode(images)
    assert z.shape == (3, 4, 8, 12)
    torch.testing.assert_close(z, (mean - (config.shift_factor or 0)) * config.scaling_factor)
    # as StableDiffusion3Pipeline does it; Stable Diffusion 1 has no shift
    back = pipeline.vae.decode(z / config.scaling_factor + (config.shift_factor or 0)).sample
    expected = pipeline.image_processor.postprocess(back, output_type="pt")
    torch.testing.assert_close(prior.decode(z), expected, atol=1e-5, rtol=1e-5)


def test_the_input_gets_a_gradient_and_the_parameters_do_not(
    tiny_prior: Any, images: torch.Tensor
) -> None:
    images = images.clone().requires_grad_()
    z = tiny_prior.encode(images)
    noise = tiny_prior.predict_noise(
        z, torch.tensor([9, 99, 999]), tiny_prior.embed(["a cat"] * 3), 3.0
    )
    (tiny_prior.decode(z).sum() + noise.sum()).backward()
    assert images.grad is not None and (images.grad.flatten(1).norm(dim=1) > 0).all()
    for module in (tiny_prior.unet, tiny_prior.vae, tiny_prior.text_encoder):
        assert not module.training
        assert not any(parameter.requires_grad for parameter in module.parameters())


def test_the_gradient_of_the_guided_prediction_is_exact(tiny_prior: Any) -> None:
    """Finite differences through the network, conditional and unconditional half together."""
    z_t, direction, t = noisy(1).double(), noisy(1, 1).double(), torch.tensor([500])
    cat = tiny_prior.embed(["a cat"])
    weights = noisy(1, 2).double()

    def value(z_t: torch.Tensor) -> torch.Tensor:
        return (weights * tiny_prior.predict_noise(z_t.float(), t, cat, 7.5)).sum()

    x = z_t.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(value(x), x)
    with torch.no_grad():  # fourth order: a step small enough for the second drowns in rounding
        near, far = (
            value(z_t + step * direction) - value(z_t - step * direction) for step in (2e-2, 4e-2)
        )
    assert float((gradient * direction).sum()) == pytest.approx(
        float(8 * near - far) / 0.24, rel=2e-3
    )


@torch.no_grad()
def test_a_row_does_not_depend_on_its_batch(tiny_prior: Any) -> None:
    z_t, t = noisy(3), torch.tensor([100, 500, 900])
    prompts = tiny_prior.embed(["a cat", "a photo of a dog", ""])
    together = tiny_prior.predict_noise(z_t, t, prompts, 7.5)
    for row in range(3):
        part = slice(row, row + 1)
        alone = tiny_prior.predict_noise(z_t[part], t[part], prompts[part], 7.5)
        torch.testing.assert_close(together[part], alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
def test_attention_is_plain_where_its_fused_backward_is_slow(tiny_sd: Path, dtype: str) -> None:
    prior = load_prior(tiny_sd, device="cpu", dtype=dtype)
    seen = []
    prior.network.register_forward_hook(
        lambda *_: seen.append(torch.backends.cuda.flash_sdp_enabled())
    )
    z_t, t = noisy(1), torch.tensor([300])
    with torch.no_grad():
        quick = prior.predict_noise(z_t, t, prior.embed(["a cat"]))
    slow = prior.predict_noise(z_t.requires_grad_(), t, prior.embed(["a cat"]))
    (gradient,) = torch.autograd.grad(slow.square().sum(), z_t)
    assert seen == [True, dtype == "fp32"] and torch.backends.cuda.flash_sdp_enabled()
    torch.testing.assert_close(slow, quick, atol=0.03, rtol=0.05)
    assert gradient.isfinite().all() and gradient.norm() > 0


@torch.no_grad()
@pytest.mark.parametrize(("dtype", "tolerance"), [("fp16", 0.01), ("bf16", 0.05)])
@pytest.mark.parametrize("model", ["tiny_sd", "tiny_sd_v"])
def test_half_precision_is_close_to_float32(
    request: pytest.FixtureRequest, images: torch.Tensor, model: str, dtype: str, tolerance: float
) -> None:
    prior = request.getfixturevalue(model.replace("sd", "prior"))
    half = load_prior(request.getfixturevalue(model), device="cpu", dtype=dtype)
    assert half.dtype == next(half.unet.parameters()).dtype != torch.float32
    assert half.vae.dtype == torch.float32
    z, t = prior.encode(images), torch.tensor([50, 500, 948])
    assert torch.equal(half.encode(images), z)
    exact = prior.predict_noise(z, t, prior.embed(["a cat"] * 3))
    rough = half.predict_noise(z, t, half.embed(["a cat"] * 3))
    assert half.predict_noise(z, t, half.embed(["a cat"] * 3), 100.0).isfinite().all()
    assert rough.dtype == torch.float32
    assert ((rough - exact).flatten(1).norm(dim=1) < tolerance * exact.flatten(1).norm(dim=1)).all()


def test_sizes_come_from_the_configs(tiny_prior: Any, tiny_prior_v: Any) -> None:
    assert (tiny_prior.image_size, tiny_prior.vae_factor, tiny_prior.size_multiple) == (32, 4, 4)
    assert (tiny_prior.latent_channels, tiny_prior.num_timesteps) == (4, 1000)
    assert (tiny_prior.scale, tiny_prior.shift) == (0.18215, 0)
    assert (tiny_prior_v.scale, tiny_prior_v.shift) == (0.7, 0.1)


@torch.no_grad()
@pytest.mark.parametrize(("height", "width"), [(8, 8), (40, 16), (24, 64)])
def test_any_multiple_of_the_size_multiple_fits(tiny_prior: Any, height: int, width: int) -> None:
    z = tiny_prior.encode(
        torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    )
    noise = tiny_prior.predict_noise(z, torch.tensor([5]), tiny_prior.embed(["a cat"]), 2.0)
    assert noise.shape == z.shape == (1, 4, height // 4, width // 4)
    assert tiny_prior.decode(z).shape == (1, 3, height, width)


def test_pictures_of_other_sizes_are_refused(tiny_prior: Any) -> None:
    with pytest.raises(ValueError, match=r"34 x 32 pixels.*multiples of 4"):
        tiny_prior.encode(torch.zeros(1, 3, 32, 34))


def test_long_prompts_are_noticed(tiny_prior: Any) -> None:
    assert not tiny_prior.prompt_was_truncated("a photo of a cat")
    assert not tiny_prior.prompt_was_truncated("cat " * 14)  # 16 tokens with begin and end
    assert tiny_prior.prompt_was_truncated("cat " * 15)


def test_the_hash_names_the_weights(tiny_prior: Any, tiny_sd: Path, tmp_path: Path) -> None:
    assert len(tiny_prior.model_hash()) == 64
    assert tiny_prior.model_hash() == load_prior(tiny_sd, device="cpu", dtype="bf16").model_hash()
    copy = Path(shutil.copytree(tiny_sd, tmp_path / "copy"))
    assert load_prior(copy, device="cpu").model_hash() == tiny_prior.model_hash()
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    data = weights.read_bytes()
    weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert load_prior(copy, device="cpu").model_hash() != tiny_prior.model_hash()


def test_models_that_cannot_work_are_refused(tiny_prior: Any) -> None:
    parts = (tiny_prior.unet, tiny_prior.vae, tiny_prior.text_encoder, tiny_prior.tokenizer)
    with pytest.raises(UserError, match="predicts 'sample'; only epsilon and v_prediction"):
        DiffusionPrior(*parts, tiny_prior.alphas_cumprod, "sample", name="odd")
    from diffusers import UNet2DConditionModel

    inpainting = UNet2DConditionModel.from_config(tiny_prior.unet.config, in_channels=9)
    with pytest.raises(UserError, match="takes 9 channels"):
        DiffusionPrior(inpainting, *parts[1:], tiny_prior.alphas_cumprod, name="inpainting")


def test_large_pictures_go_through_the_vae_one_after_the_other(
    tiny_prior: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = torch.rand(3, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    z = tiny_prior.encode(images)
    made, seen = tiny_prior.decode(z), []
    monkeypatch.setattr("editing.priors.latent.VAE_PIXELS", 2 * 32 * 48)
    for name in ("encode", "decode"):
        plain = getattr(tiny_prior.vae, name)

        def watched(x: Any, *args: Any, plain: Any = plain, **options: Any) -> Any:
            seen.append(len(x))
            return plain(x, *args, **options)

        monkeypatch.setattr(tiny_prior.vae, name, watched)
    torch.testing.assert_close(tiny_prior.encode(images), z)
    torch.testing.assert_close(tiny_prior.decode(z), made)
    assert seen == [2, 1, 2, 1]
