"""The architectures of the embedded model: a small Stable Diffusion 1, plus CLIP and CLIPSeg."""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from jaxtyping import Float, Int64
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from torch import Tensor
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPSegConfig,
    CLIPSegForImageSegmentation,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    CLIPVisionConfig,
)

TOKENS = 32  # of a prompt, the two ends included
_TEXT: dict[str, Any] = {
    "hidden_size": 160,
    "intermediate_size": 640,
    "num_hidden_layers": 3,
    "num_attention_heads": 5,
    "max_position_embeddings": TOKENS,
    "hidden_act": "quick_gelu",
}
_VISION: dict[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "hidden_act": "quick_gelu",
}
PATCHES = 8  # of CLIP, along each side of a picture
_PROJECTION = 96


def train_tokenizer(captions: Iterable[str], vocabulary: int = 1024) -> CLIPTokenizer:
    """A byte-level BPE tokenizer as CLIP's, on a small vocabulary: any text has known tokens."""
    template = CLIPTokenizer().backend_tokenizer
    bpe = Tokenizer(BPE(end_of_word_suffix="</w>"))
    bpe.normalizer, bpe.pre_tokenizer = template.normalizer, template.pre_tokenizer
    alphabet = ByteLevel.alphabet()
    trainer = BpeTrainer(
        vocab_size=vocabulary,
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    bpe.train_from_iterator(captions, trainer)
    learned = json.loads(bpe.to_str())["model"]
    # CLIP lists the alphabet, the alphabet at the end of a word, the merges, and last the two ends.
    order = sorted(alphabet) + [c + "</w>" for c in sorted(alphabet)]
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in learned["merges"]]
    order += ["".join(m) for m in merges] + ["<|startoftext|>", "<|endoftext|>"]
    vocab = {token: i for i, token in enumerate(dict.fromkeys(order))}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=TOKENS)


def moved_embeddings(
    weight: Float[Tensor, "V C"], old: CLIPTokenizer, new: CLIPTokenizer
) -> Float[Tensor, "W C"]:
    """The embeddings of the old tokenizer's tokens, for those of the new one."""
    before = old.get_vocab()
    rows = []
    for token in sorted(new.get_vocab(), key=new.get_vocab().__getitem__):
        pieces = old(token.removesuffix("</w>")).input_ids[1:-1]
        rows.append(weight[before[token]] if token in before else weight[pieces].mean(0))
    return torch.stack(rows)


def _text_config(tokenizer: CLIPTokenizer) -> dict[str, Any]:
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    return {
        **_TEXT,
        "vocab_size": len(tokenizer),
        "projection_dim": _PROJECTION,
        **ends,
        "pad_token_id": ends["eos_token_id"],
    }


def clip(tokenizer: CLIPTokenizer, size: int) -> CLIPModel:
    """CLIP for pictures of `size` pixels, randomly initialised."""
    text = CLIPTextConfig(**_text_config(tokenizer))
    vision = CLIPVisionConfig(
        **_VISION, image_size=size, patch_size=size // PATCHES, projection_dim=_PROJECTION
    )
    return CLIPModel(
        CLIPConfig(
            text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=_PROJECTION
        )
    )


def clip_scores(
    model: CLIPModel, pixel_values: Float[Tensor, "B 3 S S"], *input_ids: Int64[Tensor, "_ _"]
) -> Float[Tensor, "B texts"]:
    """CLIP's logits of pictures for texts, which may come in several lengths."""
    seen = model.visual_projection(model.vision_model(pixel_values=pixel_values).pooler_output)
    said = torch.cat(
        [model.text_projection(model.text_model(input_ids=ids).pooler_output) for ids in input_ids]
    )
    scale = model.logit_scale.exp()
    return scale * F.normalize(seen.float(), dim=-1) @ F.normalize(said.float(), dim=-1).T


def text_encoder(model: CLIPModel) -> CLIPTextModel:
    """A frozen copy of the text tower of a CLIP, as Stable Diffusion uses it."""
    encoder = CLIPTextModel(model.config.text_config)
    encoder.load_state_dict(_renamed(model.text_model.state_dict(), encoder.state_dict()))
    return encoder.requires_grad_(False).eval()


def set_text_encoder(model: CLIPModel, encoder: CLIPTextModel) -> None:
    """Puts a text tower into a CLIP, in place."""
    state = _renamed(encoder.state_dict(), model.text_model.state_dict())
    model.text_model.load_state_dict(state)


def _renamed(state: dict[str, Tensor], like: dict[str, Tensor]) -> dict[str, Tensor]:
    """`state` with the keys of `like`: versions of transformers differ in the prefix text_model."""
    prefix = "text_model."
    bare = {key.removeprefix(prefix): value for key, value in state.items()}
    return {key: bare[key.removeprefix(prefix)] for key in like}


def segmenter(model: CLIPModel, tokenizer: CLIPTokenizer) -> CLIPSegForImageSegmentation:
    """CLIPSeg around a copy of a trained CLIP; its decoder is randomly initialised.

    The patches are half as large as CLIP's: legs and tails are thinner than those. The text tower
    is frozen, the vision tower is not.
    """
    size = model.config.vision_config.image_size
    config = CLIPSegConfig(
        text_config=_text_config(tokenizer),
        vision_config={**_VISION, "image_size": size, "patch_size": size // PATCHES // 2},
        projection_dim=_PROJECTION,
        extract_layers=[0, 1, 2, 3],
        reduce_dim=96,
        decoder_num_attention_heads=4,
        decoder_intermediate_size=384,
        conditional_layer=0,
        use_complex_transposed_convolution=False,
    )
    made = CLIPSegForImageSegmentation(config)
    missing, unexpected = made.clip.load_state_dict(_halved_patches(model), strict=False)
    if missing or unexpected:
        raise ValueError(
            f"CLIPSeg and CLIP do not fit: missing {missing}, unexpected {unexpected}."
        )
    made.clip.requires_grad_(False)
    made.clip.vision_model.requires_grad_(True)
    made.clip.vision_model.post_layernorm.requires_grad_(False)  # the decoder does not see it
    return made


def segmenter_logits(
    model: CLIPSegForImageSegmentation,
    input_ids: Int64[Tensor, "B tokens"],
    pixel_values: Float[Tensor, "B 3 S S"],
) -> Float[Tensor, "B S S"]:
    """What the segmenter's forward pass returns, with a gradient to its vision tower.

    transformers holds that tower for frozen and cuts its gradient.
    """
    seen = model.clip.vision_model(pixel_values=pixel_values, output_hidden_states=True)
    activations = [seen.hidden_states[layer + 1] for layer in model.extract_layers]
    asked = model.get_conditional_embeddings(len(input_ids), input_ids=input_ids)
    return model.decoder(activations, asked).logits


def _halved_patches(model: CLIPModel) -> dict[str, Tensor]:
    """A CLIP's weights for patches of half the size: kernels summed, positions interpolated."""
    state = model.state_dict()
    patches = "vision_model.embeddings.patch_embedding.weight"
    positions = "vision_model.embeddings.position_embedding.weight"
    state[patches] = 4 * F.avg_pool2d(state[patches], 2)
    first, rest = state[positions].split([1, len(state[positions]) - 1])
    side = math.isqrt(len(rest))
    grid = rest.T.unflatten(1, (side, side))[None]
    finer = F.interpolate(grid, scale_factor=2, mode="bilinear", align_corners=False)
    state[positions] = torch.cat([first, finer[0].flatten(1).T])
    return state


def vae(size: int = 64) -> AutoencoderKL:
    """Pictures of `size` pixels to latents of 4 channels: 16 x 16 of them from 64 pixels on."""
    channels = (32, 64, 96, *[96] * (max(size, 64).bit_length() - 7))
    return AutoencoderKL(
        block_out_channels=channels,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=16,
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        sample_size=size,
        mid_block_add_attention=False,
    )


@torch.no_grad()
def normalise_latents(
    model: AutoencoderKL, mean: Float[Tensor, " C"], std: Float[Tensor, " C"]
) -> None:
    """Gives every latent channel mean 0 and deviation 1, in place; reconstructions stay the same.

    A pipeline's one `scaling_factor` cannot do this: what is equally loud to the UNet's noise
    should matter equally to the decoder. The 1 x 1 convolutions on both sides of the latents take
    it up.

    Args:
        model: its `scaling_factor` becomes 1.
        mean: of each channel of the posterior means.
        std: deviation of each channel, likewise.
    """
    channels = len(mean)
    into, out = model.quant_conv, model.post_quant_conv
    out.bias += out.weight.flatten(1) @ mean
    out.weight *= std[:, None, None]
    into.weight[:channels] /= std[:, None, None, None]
    into.bias[:channels] = (into.bias[:channels] - mean) / std
    into.bias[channels:] -= 2 * std.log()  # the log-variances
    model.register_to_config(scaling_factor=1.0)


def unet(latent_size: int = 16) -> UNet2DConditionModel:
    """A UNet of under 1.5 GFLOP a forward pass at 16 x 16 latents."""
    return UNet2DConditionModel(
        sample_size=latent_size,
        in_channels=4,
        out_channels=4,
        block_out_channels=(96, 144, 144),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=_TEXT["hidden_size"],
        attention_head_dim=(3, 4, 4),
        norm_num_groups=16,
    )


def scheduler() -> DDIMScheduler:
    """Stable Diffusion's noise schedule, with v-prediction."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type="v_prediction",
    )


def write_model_index(folder: Path) -> None:
    """The file that makes `folder` a pipeline for `StableDiffusionPipeline.from_pretrained`."""
    index = {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": "0.36.0",
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "feature_extractor": [None, None],
        "safety_checker": [None, None],
        "image_encoder": [None, None],
        "requires_safety_checker": False,
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
