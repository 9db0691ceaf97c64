"""Tiny random pipelines of SDXL, SD3 and FLUX, saved in the layout of the real ones."""

from pathlib import Path
from typing import Any

import torch


def clip(tokenizer: Any, projected: bool, width: int = 32) -> Any:
    """A text encoder of CLIP, with or without a projection."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        projection_dim=width,
        max_position_embeddings=tokenizer.model_max_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_factor=5.0,  # at 1.0 all prompts look alike to a random network
    )
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config)


def t5(width: int = 32) -> tuple[Any, Any]:
    """A text encoder of T5 and its tokenizer."""
    from transformers import T5Config, T5EncoderModel, T5TokenizerFast

    letters = [(letter, -4.0) for letter in "abcdefghijklmnopqrstuvwxyz,."]
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    words = [(f"▁{word}", -1.0) for word in ("a", "cat", "pig")]
    tokenizer = T5TokenizerFast(vocab=special + letters + words, extra_ids=0)
    config = T5Config(
        vocab_size=len(tokenizer), d_model=width, d_kv=8, d_ff=64, num_layers=2, num_heads=4
    )
    return T5EncoderModel(config), tokenizer


def vae(channels: int) -> Any:
    """4 pixels to a latent element."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(8, 8, 16),
        latent_channels=channels,
        norm_num_groups=4,
        sample_size=32,
        scaling_factor=0.7,
        shift_factor=0.1,
    )


def save_sdxl(folder: Path, tokenizer: Any, zeros: bool = True) -> Path:
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel

    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=64,
        attention_head_dim=4,
        norm_num_groups=8,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 32,
    )
    StableDiffusionXLPipeline(
        vae=vae(4),
        text_encoder=clip(tokenizer, projected=False),
        text_encoder_2=clip(tokenizer, projected=True),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=unet,
        scheduler=EulerDiscreteScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"
        ),
        force_zeros_for_empty_prompt=zeros,
        add_watermarker=False,
    ).save_pretrained(folder, safe_serialization=True)
    return folder


def save_sd3(folder: Path, tokenizer: Any, with_t5: bool = True, medium: bool = False) -> Path:
    """Of 3.5 medium the blocks attend to the picture a second time, and queries are normalised."""
    from diffusers import (
        FlowMatchEulerDiscreteScheduler,
        SD3Transformer2DModel,
        StableDiffusion3Pipeline,
    )

    torch.manual_seed(0)
    encoder, t5_tokenizer = t5(64) if with_t5 else (None, None)
    transformer = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=8,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        caption_projection_dim=32,
        joint_attention_dim=64,  # T5's width, and that of the two CLIPs together
        pooled_projection_dim=64,
        out_channels=8,
        pos_embed_max_size=16,
        **({"dual_attention_layers": (0,), "qk_norm": "rms_norm"} if medium else {}),
    )
    StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=vae(8),
        text_encoder=clip(tokenizer, projected=True),
        tokenizer=tokenizer,
        text_encoder_2=clip(tokenizer, projected=True),
        tokenizer_2=tokenizer,
        text_encoder_3=encoder,
        tokenizer_3=t5_tokenizer,
    ).save_pretrained(folder, safe_serialization=True)
    return folder


def save_flux(
    folder: Path, tokenizer: Any, distilled: bool = True, in_channels: int = 4 * 8
) -> Path:
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

    torch.manual_seed(0)
    encoder, t5_tokenizer = t5()
    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=in_channels,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        guidance_embeds=distilled,
        axes_dims_rope=(4, 4, 8),
    )
    FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=vae(8),
        text_encoder=clip(tokenizer, projected=False),
        tokenizer=tokenizer,
        text_encoder_2=encoder,
        tokenizer_2=t5_tokenizer,
        transformer=transformer,
    ).save_pretrained(folder, safe_serialization=True)
    return folder
