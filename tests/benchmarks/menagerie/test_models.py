import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.menagerie import models
from benchmarks.menagerie.captions import caption
from benchmarks.menagerie.scene import sample_scene

SIZE = 64  # pixels of the shipped model


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    rng = random.Random(0)
    return models.train_tokenizer(caption(sample_scene(seed), rng) for seed in range(300))


@pytest.fixture(scope="module")
def clip(tokenizer: Any) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return models.clip(tokenizer, SIZE).eval()


def mebibytes(modules: Iterable[nn.Module]) -> float:
    """Of all parameters and buffers in half precision."""
    return sum(2 * value.numel() for m in modules for value in m.state_dict().values()) / 2**20


def test_a_forward_pass_of_the_unet_is_cheap() -> None:
    unet = models.unet(SIZE // 4)
    assert unet.config.sample_size == SIZE // 4
    states = torch.zeros(1, models.TOKENS, unet.config.cross_attention_dim)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        out = unet(torch.zeros(1, 4, SIZE // 4, SIZE // 4), torch.tensor([5]), states).sample
    assert out.shape == (1, 4, SIZE // 4, SIZE // 4)
    assert 0.3e9 < counter.get_total_flops() <= 1.5e9


def test_all_weights_together_are_small(clip: Any, tokenizer: Any) -> None:
    parts = [clip, models.text_encoder(clip), models.vae(), models.unet(SIZE // 4)]
    assert mebibytes([*parts, models.segmenter(clip, tokenizer)]) <= 32


def test_the_vae_keeps_the_size() -> None:
    vae = models.vae().eval()
    with torch.no_grad():
        latents = vae.encode(torch.zeros(1, 3, 32, 48)).latent_dist.mean
        assert latents.shape == (1, 4, 8, 12)
        assert vae.decode(latents).sample.shape == (1, 3, 32, 48)


@torch.no_grad()
def test_latents_are_made_normal_and_reconstructions_kept() -> None:
    vae = models.vae().eval()
    x = 2 * torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0)) - 1
    before = vae.encode(x).latent_dist
    kept = vae.decode(before.mean).sample
    models.normalise_latents(vae, before.mean.mean((0, 2, 3)), before.mean.std((0, 2, 3)))
    after = vae.encode(x).latent_dist
    torch.testing.assert_close(vae.decode(after.mean).sample, kept, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(after.mean.mean((0, 2, 3)), torch.zeros(4), atol=1e-3, rtol=0)
    torch.testing.assert_close(after.mean.std((0, 2, 3)), torch.ones(4), atol=1e-3, rtol=0)
    ratio = before.mean.std((0, 2, 3))[:, None, None]
    torch.testing.assert_close(after.std * ratio, before.std, atol=1e-4, rtol=1e-3)
    assert vae.config.scaling_factor == 1


@pytest.mark.parametrize(
    "text", ["a photo of a cat", "zebra, 42!", "naïve façade", "日本の猫", "🐈", "<|x|>", ""]
)
def test_any_text_has_known_tokens(tokenizer: Any, text: str) -> None:
    ids = tokenizer(text).input_ids
    assert ids[0] == tokenizer.bos_token_id
    assert ids[-1] == tokenizer.eos_token_id
    assert all(0 <= i < len(tokenizer) for i in ids)
    ends = {tokenizer.bos_token_id, tokenizer.eos_token_id}
    assert not ends & set(ids[1:-1]), "an unknown character became an end"
    said = tokenizer.decode(ids, skip_special_tokens=True)
    assert said.replace(" ", "") == text.lower().replace(" ", "")


def test_the_words_of_captions_are_single_tokens(tokenizer: Any) -> None:
    text = "a photo of a cat on a meadow"
    assert len(tokenizer(text).input_ids) == len(text.split()) + 2


def test_prompts_are_lower_cased_cut_and_padded(tokenizer: Any) -> None:
    assert tokenizer("A Photo of a CAT").input_ids == tokenizer("a photo of a cat").input_ids
    long = tokenizer("a cat " * 100, truncation=True).input_ids
    assert len(long) == models.TOKENS
    assert long[-1] == tokenizer.eos_token_id
    short = tokenizer("a cat", padding="max_length").input_ids
    assert len(short) == models.TOKENS


def test_the_tokenizer_survives_being_saved(tokenizer: Any, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    again = type(tokenizer).from_pretrained(tmp_path)
    text = "a drawing of a blue penguin, really"
    assert again(text).input_ids == tokenizer(text).input_ids
    assert again.model_max_length == models.TOKENS


@torch.no_grad()
def test_the_text_encoder_is_the_text_tower(clip: Any, tokenizer: Any) -> None:
    prompts = ["a cat", "a photo of a pig in the snow"]
    ids = tokenizer(prompts, padding="max_length", return_tensors="pt").input_ids
    encoder = models.text_encoder(clip)
    expected = clip.text_model(input_ids=ids)
    found = encoder(ids)
    torch.testing.assert_close(found.last_hidden_state, expected.last_hidden_state)
    torch.testing.assert_close(found.pooler_output, expected.pooler_output)
    assert not any(p.requires_grad for p in encoder.parameters())


@torch.no_grad()
def test_a_text_tower_can_be_put_back(clip: Any, tokenizer: Any) -> None:
    other = models.clip(tokenizer, 32).eval()
    ids = tokenizer(["a cat"], padding="max_length", return_tensors="pt").input_ids
    wanted = clip.text_model(input_ids=ids).last_hidden_state
    assert not torch.allclose(other.text_model(input_ids=ids).last_hidden_state, wanted)
    models.set_text_encoder(other, models.text_encoder(clip))
    torch.testing.assert_close(other.text_model(input_ids=ids).last_hidden_state, wanted)


def test_the_segmenter_draws_at_the_size_of_the_picture(clip: Any, tokenizer: Any) -> None:
    segmenter = models.segmenter(clip, tokenizer).eval()
    ids = tokenizer(["a cat", "a hat"], padding="max_length", return_tensors="pt").input_ids
    with torch.no_grad():
        logits = segmenter(input_ids=ids, pixel_values=torch.rand(2, 3, SIZE, SIZE)).logits
    assert logits.shape == (2, SIZE, SIZE)
    assert not any(p.requires_grad for p in segmenter.clip.text_model.parameters())
    trained = {name for name, p in segmenter.named_parameters() if p.requires_grad}
    pictures = torch.rand(2, 3, SIZE, SIZE)
    with_gradient = models.segmenter_logits(segmenter, ids, pictures)
    torch.testing.assert_close(
        with_gradient, segmenter(input_ids=ids, pixel_values=pictures).logits
    )
    with_gradient.sum().backward()
    assert trained == {name for name, p in segmenter.named_parameters() if p.grad is not None}
    assert any(name.startswith("clip.vision_model.embeddings") for name in trained)
    assert any(name.startswith("decoder") for name in trained)
    refined = {f"vision_model.embeddings.{n}_embedding.weight" for n in ("patch", "position")}
    for name, value in clip.state_dict().items():
        assert (name in refined) != torch.equal(segmenter.clip.state_dict()[name], value)


@torch.no_grad()
def test_finer_patches_see_what_coarse_ones_saw(clip: Any, tokenizer: Any) -> None:
    """A smooth picture has the same patch embeddings; positions lie between CLIP's."""
    coarse = clip.vision_model.embeddings
    fine = models.segmenter(clip, tokenizer).clip.vision_model.embeddings
    flat = torch.full((1, 3, SIZE, SIZE), 0.7)
    seen, refined = coarse.patch_embedding(flat), fine.patch_embedding(flat)
    assert refined.shape[-1] == 2 * seen.shape[-1]
    torch.testing.assert_close(refined, seen.repeat_interleave(2, -1).repeat_interleave(2, -2))
    before, after = coarse.position_embedding.weight, fine.position_embedding.weight
    assert torch.equal(before[0], after[0]) and len(after) == 4 * (len(before) - 1) + 1
    side = SIZE // 8
    inner = after[1:].unflatten(0, (2 * side, 2 * side))[1:-1, 1:-1].mean((0, 1))
    assert before[1:].amin(0).le(inner).all() and before[1:].amax(0).ge(inner).all()


@pytest.mark.parametrize(("size", "factor"), [(32, 4), (64, 4), (128, 8), (256, 16)])
def test_larger_pictures_have_no_larger_latents(tokenizer: Any, size: int, factor: int) -> None:
    assert 2 ** (len(models.vae(size).config.block_out_channels) - 1) == factor
    assert models.clip(tokenizer, size).config.vision_config.patch_size == size // 8


def test_the_schedule_is_stable_diffusions_and_predicts_v(tmp_path: Path) -> None:
    models.scheduler().save_pretrained(tmp_path)
    schedule = DDIMScheduler.from_pretrained(tmp_path)
    assert schedule.config.prediction_type == "v_prediction"
    assert schedule.alphas_cumprod[0].item() == pytest.approx(1 - 0.00085)
    assert schedule.alphas_cumprod[-1].item() == pytest.approx(0.0047, abs=1e-4)


def test_normalised_latents_draw_the_same_pictures() -> None:
    torch.manual_seed(0)
    vae = models.vae().eval()
    x = 2 * torch.rand(2, 3, 16, 16) - 1
    with torch.no_grad():
        before = vae.encode(x).latent_dist
        pictures = vae.decode(before.mean).sample
        mean, std = before.mean.mean((0, 2, 3)), before.mean.std((0, 2, 3))
        models.normalise_latents(vae, mean, std)
        after = vae.encode(x).latent_dist
        torch.testing.assert_close(vae.decode(after.mean).sample, pictures, atol=1e-4, rtol=0)
    torch.testing.assert_close(after.mean.mean((0, 2, 3)), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(after.mean.std((0, 2, 3)), torch.ones(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(after.std * std[:, None, None], before.std, atol=1e-5, rtol=0)
    assert vae.config.scaling_factor == 1.0
