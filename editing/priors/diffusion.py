"""Stable-Diffusion-style latent diffusion models (SD1, SD2, the Menagerie's) as priors."""

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from editing.errors import UserError
from samplers.prior import Condition, Prior, record_evaluations

PREDICTIONS = ("epsilon", "v_prediction")


class DiffusionPrior(Prior):
    """A UNet that predicts noise or v in the latent space of a VAE, conditioned on CLIP text.

    The UNet runs in ``unet.dtype``; the text encoder, the VAE, the noise schedule, guidance and all
    that enters or leaves the network are float32. The modules are moved and frozen in place.

    Args:
        unet: diffusers ``UNet2DConditionModel``.
        vae: diffusers ``AutoencoderKL`` in float32.
        text_encoder: transformers ``CLIPTextModel`` in float32.
        tokenizer: its ``CLIPTokenizer``.
        alphas_cumprod: alpha-bar of the noise schedule, (T,).
        prediction_type: what the network predicts, ``epsilon`` or ``v_prediction``.
        name: for messages and results.
        folder: where the weights were read from.
        device: where everything runs.

    Attributes:
        image_size: side of the square pictures the model was trained on, pixels.
        vae_factor: pixels per latent element, along one side.
        size_multiple: height and width of a picture must be multiples of this, pixels.
        latent_channels: C.

    Raises:
        UserError: if the network predicts something else, or takes more than noisy latents.
    """

    def __init__(
        self,
        unet: Any,
        vae: Any,
        text_encoder: Any,
        tokenizer: Any,
        alphas_cumprod: Float[Tensor, " T"],
        prediction_type: str = "epsilon",
        *,
        name: str = "",
        folder: Path | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        if prediction_type not in PREDICTIONS:
            raise UserError(
                f"The model {name or folder} predicts {prediction_type!r}; "
                f"only {' and '.join(PREDICTIONS)} are supported."
            )
        if unet.config.in_channels != vae.config.latent_channels:
            raise UserError(
                f"The UNet of {name or folder} takes {unet.config.in_channels} channels, its VAE "
                f"makes {vae.config.latent_channels}; inpainting and upscaling models do not work."
            )
        self.name, self.folder = name, folder
        self.device, self.dtype = torch.device(device), unet.dtype
        self.prediction_type = prediction_type
        self.tokenizer = tokenizer
        self.unet = _frozen(unet, self.device)
        self.text_encoder = _frozen(text_encoder, self.device)
        self.vae = _frozen(vae, self.device)
        self.alphas_cumprod = alphas_cumprod.to(self.device, torch.float32)
        self.num_timesteps = len(alphas_cumprod)
        # the configs may leave these out: shift_factor is None for most models
        self.scale = float(vae.config.scaling_factor)
        self.shift = float(vae.config.shift_factor or 0.0)
        self.latent_channels = int(vae.config.latent_channels)
        self.vae_factor = 2 ** (len(vae.config.block_out_channels) - 1)
        self.size_multiple = self.vae_factor  # diffusers' UNets take latents of any size
        self.image_size = int(unet.config.sample_size) * self.vae_factor

    def alpha_sigma(
        self, t: Int64[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B 1 1 1"], Float[Tensor, "B 1 1 1"]]:
        alpha_bar = self.alphas_cumprod[t.to(self.device)][:, None, None, None]
        return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()

    def predict_noise(
        self,
        z_t: Float[Tensor, "B C h w"],
        t: Int64[Tensor, " B"],
        condition: Condition,
        guidance: float = 1.0,
    ) -> Float[Tensor, "B C h w"]:
        """See :meth:`Prior.predict_noise`; the unconditional half of the batch comes first."""
        text = condition.tensors["text"]
        if guidance == 1.0:
            output = self.network(z_t, t, text)
        else:
            text = torch.cat([self.null(len(text)).tensors["text"], text])
            output = self.network(z_t.repeat(2, 1, 1, 1), t.repeat(2), text)
            unconditional, conditional = output.chunk(2)
            output = unconditional + guidance * (conditional - unconditional)
        if self.prediction_type == "epsilon":
            return output
        alpha, sigma = self.alpha_sigma(t)  # v = alpha eps - sigma z (Salimans and Ho 2022, App. D)
        return alpha * output + sigma * z_t

    def network(
        self,
        z_t: Float[Tensor, "N C h w"],
        t: Int64[Tensor, " N"],
        text: Float[Tensor, "N tokens width"],
    ) -> Float[Tensor, "N C h w"]:
        """The UNet's own prediction, float32 in and out."""
        z_t, text = record_evaluations(self, z_t).to(self.dtype), text.to(self.dtype)
        output = self.unet(z_t, t, encoder_hidden_states=text, return_dict=False)[0]
        return output.float()

    @torch.no_grad()
    def embed(self, prompts: list[str]) -> Condition:
        """The text encoder's last hidden states, (B, tokens, width), as in diffusers' pipelines.

        Long prompts are cut; see :meth:`prompt_was_truncated`.
        """
        tokens = self.tokenizer(
            list(prompts),
            padding="max_length",
            max_length=self.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        ).to(self.device)
        masked = getattr(self.text_encoder.config, "use_attention_mask", False)
        text = self.text_encoder(
            tokens.input_ids, attention_mask=tokens.attention_mask if masked else None
        ).last_hidden_state
        return Condition(tuple(prompts), {"text": text})

    def null(self, batch: int) -> Condition:
        """See :meth:`Prior.null`; embedded once."""
        return self._null.expand(batch)

    @cached_property
    def _null(self) -> Condition:
        return self.embed([""])

    @cached_property
    def self_attention(self) -> list[Any]:
        """The self-attention modules of the UNet's up blocks."""
        modules = self.unet.up_blocks.named_modules()
        return [module for name, module in modules if name.endswith("attn1")]

    def prompt_was_truncated(self, prompt: str) -> bool:
        """Whether the text encoder sees only the beginning of ``prompt``."""
        tokens = self.tokenizer(prompt, verbose=False).input_ids
        return len(tokens) > self.tokenizer.model_max_length

    def encode(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C h w"]:
        """Mean of the VAE's posterior, shifted and scaled by the VAE's own config.

        Raises:
            ValueError: unless H and W are multiples of ``size_multiple``.
        """
        height, width = images.shape[-2:]
        if height % self.size_multiple or width % self.size_multiple:
            raise ValueError(
                f"a picture of {width} x {height} pixels does not fit {self.name}: "
                f"both sides must be multiples of {self.size_multiple}"
            )
        posterior = self.vae.encode(2 * images.to(self.device, torch.float32) - 1).latent_dist
        return (posterior.mode() - self.shift) * self.scale

    def decode(self, latents: Float[Tensor, "B C h w"]) -> Float[Tensor, "B 3 H W"]:
        latents = latents.to(self.device, torch.float32) / self.scale + self.shift
        return (self.vae.decode(latents, return_dict=False)[0] / 2 + 0.5).clamp(0, 1)

    def model_hash(self) -> str:
        """SHA-256 over names and contents of the safetensors files of UNet, VAE and text encoder.

        Raises:
            ValueError: for a prior that was not loaded from a folder.
        """
        if self.folder is None:
            raise ValueError("a prior that was not loaded from a folder has no model hash")
        return self._model_hash

    @cached_property
    def _model_hash(self) -> str:
        assert self.folder is not None
        digest = hashlib.sha256()
        for part in ("text_encoder", "unet", "vae"):
            for path in sorted((self.folder / part).glob("*.safetensors")):
                digest.update(f"{part}/{path.name}\n".encode())
                with path.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()


def _frozen(module: Any, device: torch.device) -> Any:
    return module.to(device=device).eval().requires_grad_(False)
