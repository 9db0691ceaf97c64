"""What the pipelines of each family of models are made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field

_CLIP = "transformers.CLIPTextModel"
_CLIP_PROJECTED = "transformers.CLIPTextModelWithProjection"
T5 = "transformers.T5EncoderModel"
_CLIP_TOKENIZER, _T5_TOKENIZER = "transformers.CLIPTokenizer", "transformers.T5TokenizerFast"


@dataclass(frozen=True)
class Family:
    """What the pipelines of one kind are made of.

    Attributes:
        name: for messages.
        pipeline: class of diffusers.
        modules: class of each part with weights; the first is the network.
        tokenizers: class of each tokenizer.
        optional: parts that a pipeline may lack.
    """

    name: str
    pipeline: str
    modules: Mapping[str, str]
    tokenizers: Mapping[str, str]
    optional: tuple[str, ...] = field(default=())


_UNET = {"unet": "diffusers.UNet2DConditionModel", "vae": "diffusers.AutoencoderKL"}
FAMILIES = {
    "sd": Family(
        "Stable Diffusion 1 or 2",
        "StableDiffusionPipeline",
        {**_UNET, "text_encoder": _CLIP},
        {"tokenizer": _CLIP_TOKENIZER},
    ),
    "sdxl": Family(
        "Stable Diffusion XL",
        "StableDiffusionXLPipeline",
        {**_UNET, "text_encoder": _CLIP, "text_encoder_2": _CLIP_PROJECTED},
        {"tokenizer": _CLIP_TOKENIZER, "tokenizer_2": _CLIP_TOKENIZER},
    ),
    "sd3": Family(
        "Stable Diffusion 3",
        "StableDiffusion3Pipeline",
        {
            "transformer": "diffusers.SD3Transformer2DModel",
            "vae": "diffusers.AutoencoderKL",
            "text_encoder": _CLIP_PROJECTED,
            "text_encoder_2": _CLIP_PROJECTED,
            "text_encoder_3": T5,
        },
        {
            "tokenizer": _CLIP_TOKENIZER,
            "tokenizer_2": _CLIP_TOKENIZER,
            "tokenizer_3": _T5_TOKENIZER,
        },
        optional=("text_encoder_3", "tokenizer_3"),
    ),
    "flux": Family(
        "FLUX",
        "FluxPipeline",
        {
            "transformer": "diffusers.FluxTransformer2DModel",
            "vae": "diffusers.AutoencoderKL",
            "text_encoder": _CLIP,
            "text_encoder_2": T5,
        },
        {"tokenizer": _CLIP_TOKENIZER, "tokenizer_2": _T5_TOKENIZER},
    ),
}
