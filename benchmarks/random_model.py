"""A pipeline of Stable Diffusion 1.5's size with random weights, to measure speed and memory.

    python -m benchmarks.random_model sd15-random
    python -m benchmarks.run -m suite=speed method=dds,ids prior=./sd15-random dtype=bf16 \\
        suite.size=512 tuning.compile=false,max-autotune

What a network costs does not depend on what its weights are. It draws nothing.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.menagerie.stages import EMBEDDED
from editing.images import reason

UNET = (320, 640, 1280, 1280)
VAE = (128, 256, 512, 512)
TEXT = 768


def random_sd15(
    folder: Path,
    unet: Sequence[int] = UNET,
    vae: Sequence[int] = VAE,
    text: int = TEXT,
    layers: int = 12,
    dtype: torch.dtype = torch.float16,
) -> Path:
    """Writes the pipeline, 2 GB in half precision, to a folder.

    Args:
        folder: that it is written to.
        unet: channels of the network's levels.
        vae: of the autoencoder's.
        text: width of the text encoder, in heads of 64.
        layers: of the text encoder.
        dtype: of the weights.
    """
    from diffusers import (
        AutoencoderKL,
        PNDMScheduler,
        StableDiffusionPipeline,
        UNet2DConditionModel,
    )
    from transformers import AutoTokenizer, CLIPTextConfig, CLIPTextModel

    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED / "tokenizer")
    tokenizer.model_max_length = 77
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=text,
        intermediate_size=4 * text,
        num_hidden_layers=layers,
        num_attention_heads=text // 64,
        max_position_embeddings=77,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    parts: dict[str, Any] = {
        "text_encoder": CLIPTextModel(config),
        "unet": UNet2DConditionModel(
            sample_size=64, block_out_channels=tuple(unet), cross_attention_dim=text
        ),
        "vae": AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * len(vae),
            up_block_types=("UpDecoderBlock2D",) * len(vae),
            block_out_channels=tuple(vae),
            layers_per_block=2,
            sample_size=512,
        ),
    }
    pipeline = StableDiffusionPipeline(
        **{name: part.to(dtype) for name, part in parts.items()},
        tokenizer=tokenizer,
        scheduler=PNDMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            skip_prk_steps=True,
            steps_offset=1,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder)
    return folder


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; 2 for a folder that cannot be written."""
    parser = argparse.ArgumentParser("python -m benchmarks.random_model", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("folder", type=Path, help="where the pipeline is written")
    parser.add_argument("--seed", type=int, default=0, help="of the weights (default: 0)")
    arguments = parser.parse_args(argv)
    if arguments.folder.exists():
        print(f"Error: {str(arguments.folder)!r} exists: name a new folder.", file=sys.stderr)
        return 2
    torch.manual_seed(arguments.seed)
    try:
        random_sd15(arguments.folder)
    except OSError as error:
        why = f"{str(arguments.folder)!r} cannot be written: {reason(error)}."
        print(f"Error: {why}", file=sys.stderr)
        return 2
    print(f"prior={arguments.folder} is of Stable Diffusion 1.5's size and draws nothing.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
