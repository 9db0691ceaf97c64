"""Fixtures shared by all tests: tiny random Stable Diffusion pipelines and exact priors.

The random pipelines have the layout and the classes of real ones (``model_index.json``, ``unet/``,
``vae/``, ``text_encoder/``, ``tokenizer/``, ``scheduler/``), 32-pixel pictures and 4x8x8 latents.
They draw nothing sensible; they are for shapes, bookkeeping and equivalence with diffusers. What a
method computes is checked on the exact priors.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

torch.set_num_threads(1)  # several threads on a small, shared CPU are far slower than one

TINY_WORDS = (
    "a an the photo drawing of cat dog pig cow lion gray pink with red hat on beach".split()
)


def save_tiny_sd(
    folder: Path,
    prediction_type: str = "epsilon",
    scaling_factor: float = 0.18215,
    shift_factor: float | None = None,
    max_tokens: int = 16,
) -> Path:
    """Write a small random Stable Diffusion pipeline (about 1 MB) to ``folder`` and return it."""
    from diffusers import (
        AutoencoderKL,
        PNDMScheduler,
        StableDiffusionPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextConfig, CLIPTextModel

    tokenizer = tiny_tokenizer(max_tokens)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=4,
                max_position_embeddings=max_tokens,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
                initializer_factor=5.0,  # at 1.0 all prompts look alike to a random UNet
            )
        )
        unet = UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(16, 32),
            layers_per_block=1,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            cross_attention_dim=32,
            attention_head_dim=4,
            norm_num_groups=8,
        )
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            block_out_channels=(8, 8, 16),
            latent_channels=4,
            norm_num_groups=4,
            sample_size=32,
            scaling_factor=scaling_factor,
            shift_factor=shift_factor,
        )
    scheduler = PNDMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type=prediction_type,
        skip_prk_steps=True,
        steps_offset=1,
    )
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder, safe_serialization=True)
    return folder


def tiny_tokenizer(max_tokens: int) -> Any:
    """CLIP tokenizer over the bytes and ``TINY_WORDS``; unknown words fall apart into letters."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    letters = sorted(ByteLevel.alphabet())
    tokens = [*letters, *(letter + "</w>" for letter in letters)]
    merges: list[tuple[str, str]] = []
    for word in TINY_WORDS:  # built up letter by letter: "ph", "pho", "phot", "photo</w>"
        for end in range(2, len(word) + 1):
            last = word[end - 1] + ("</w>" if end == len(word) else "")
            merges.append((word[: end - 1], last))
    tokens += ["".join(merge) for merge in merges] + ["<|startoftext|>", "<|endoftext|>"]
    vocab = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    return CLIPTokenizer(
        vocab=vocab, merges=list(dict.fromkeys(merges)), model_max_length=max_tokens
    )


@pytest.fixture(scope="session")
def make_tiny_sd(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Function that writes a tiny pipeline with the given options to a new folder."""

    def make(**options: Any) -> Path:
        return save_tiny_sd(tmp_path_factory.mktemp("pipeline") / "tiny", **options)

    return make


@pytest.fixture(scope="session")
def tiny_sd(make_tiny_sd: Callable[..., Path]) -> Path:
    """Folder of a noise-predicting tiny pipeline: 32 pixels, VAE factor 4, scale 0.18215."""
    return make_tiny_sd()


@pytest.fixture(scope="session")
def tiny_sd_v(make_tiny_sd: Callable[..., Path]) -> Path:
    """Folder of a v-predicting tiny pipeline whose VAE has scale 0.7 and shift 0.1."""
    return make_tiny_sd(prediction_type="v_prediction", scaling_factor=0.7, shift_factor=0.1)


@pytest.fixture(scope="session")
def tiny_prior(tiny_sd: Path) -> Any:
    """The noise-predicting tiny pipeline as a prior, float32 on the CPU."""
    from editing.priors import load_prior

    return load_prior(tiny_sd, device="cpu")


@pytest.fixture(scope="session")
def tiny_prior_v(tiny_sd_v: Path) -> Any:
    """The v-predicting tiny pipeline as a prior, float32 on the CPU."""
    from editing.priors import load_prior

    return load_prior(tiny_sd_v, device="cpu")


@pytest.fixture(scope="session")
def gaussian_prior() -> Any:
    """Exact prior of one Gaussian of variance 0.3 per prompt, float64: "a cat", "a pig"."""
    from editing.priors.analytic import GaussianMixturePrior, Mixture

    means = torch.randn(2, 3, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    variance = torch.tensor([0.3], dtype=torch.float64)
    return GaussianMixturePrior(
        {"a cat": Mixture(means[:1], variance), "a pig": Mixture(means[1:], variance)}
    )


@pytest.fixture(scope="session")
def mixture_prior() -> Any:
    """Exact prior of a mixture of 3 Gaussians ("a cat") and one of 2 ("a pig"), float64."""
    from editing.priors.analytic import GaussianMixturePrior, Mixture

    generator = torch.Generator().manual_seed(2)
    means = torch.randn(5, 3, 4, 6, dtype=torch.float64, generator=generator)
    variances = torch.tensor([0.2, 0.5, 0.3, 0.4, 0.1], dtype=torch.float64)
    weights = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    return GaussianMixturePrior(
        {
            "a cat": Mixture(means[:3], variances[:3], weights),
            "a pig": Mixture(means[3:], variances[3:]),
        }
    )


@pytest.fixture
def images() -> torch.Tensor:
    """Three pictures (3, 3, 32, 48) in [0, 1]: not square, and all different."""
    generator = torch.Generator().manual_seed(3)
    coarse = torch.rand(3, 3, 4, 6, generator=generator)
    return torch.nn.functional.interpolate(coarse, scale_factor=8, mode="bilinear").clamp(0, 1)
