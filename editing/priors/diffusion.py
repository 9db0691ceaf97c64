"""Models that predict noise or v: Stable Diffusion 1 and 2, the Menagerie's, and XL."""

from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from editing.errors import UserError
from editing.priors.latent import LatentPrior, frozen, too_long
from samplers.prior import Condition

PREDICTIONS = ("epsilon", "v_prediction")


class DiffusionPrior(LatentPrior):
    """A UNet that predicts noise or v in the latent space of a VAE, conditioned on CLIP text.

    The text encoder runs in float32; for the rest see :class:`LatentPrior`.

    Args:
        unet: diffusers ``UNet2DConditionModel``.
        vae: diffusers ``AutoencoderKL`` in float32.
        text_encoder: transformers ``CLIPTextModel`` in float32.
        tokenizer: its ``CLIPTokenizer``.
        alphas_cumprod: alpha-bar of the noise schedule, (T,).
        prediction_type: what the network predicts, ``epsilon`` or ``v_prediction``.
        pipeline: the same parts as a diffusers pipeline, which knows words of several tokens.
        **options: ``name``, ``folder``, ``device`` and ``adapters``, see :class:`LatentPrior`.

    Raises:
        UserError: if the network predicts something else, or takes more than noisy latents.
    """

    parts: tuple[str, ...] = ("text_encoder", "unet", "vae")

    def __init__(
        self,
        unet: Any,
        vae: Any,
        text_encoder: Any,
        tokenizer: Any,
        alphas_cumprod: Float[Tensor, " T"],
        prediction_type: str = "epsilon",
        *,
        pipeline: Any = None,
        **options: Any,
    ) -> None:
        name = options.get("name") or options.get("folder")
        if prediction_type not in PREDICTIONS:
            raise UserError(
                f"The model {name} predicts {prediction_type!r}; "
                f"only {' and '.join(PREDICTIONS)} are supported."
            )
        if unet.config.in_channels != vae.config.latent_channels:
            raise UserError(
                f"The UNet of {name} takes {unet.config.in_channels} channels, its VAE "
                f"makes {vae.config.latent_channels}; inpainting and upscaling models do not work."
            )
        # diffusers' UNets take latents of any size
        super().__init__(unet, vae, **options)
        self.pipeline = pipeline
        self.prediction_type = prediction_type
        self.tokenizer = tokenizer
        self.text_encoder = frozen(text_encoder, self.device)
        # Trained to a signal of zero, a model has no clean latents at the last t: as diffusers'
        # Euler scheduler does, a little signal is left there.
        alphas_cumprod = alphas_cumprod.to(self.device, torch.float32)
        self.alphas_cumprod = alphas_cumprod.clamp_min(2**-24)
        self.num_timesteps = len(alphas_cumprod)
        blocks = unet.up_blocks.named_modules()
        self.self_attention = [block for key, block in blocks if key.endswith("attn1")]

    @property
    def unet(self) -> Any:
        """The network."""
        return self.network

    def alpha_sigma(
        self, t: Int64[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B 1 1 1"], Float[Tensor, "B 1 1 1"]]:
        alpha_bar = self.alphas_cumprod[t.to(self.device)][:, None, None, None]
        return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()

    def run_network(
        self, z_t: Float[Tensor, "N C h w"], t: Int64[Tensor, " N"], tensors: dict[str, Tensor]
    ) -> Float[Tensor, "N C h w"]:
        text = tensors["text"]
        return self.network(z_t, t, encoder_hidden_states=text, return_dict=False)[0]

    def to_noise(
        self,
        output: Float[Tensor, "B C h w"],
        z_t: Float[Tensor, "B C h w"],
        t: Int64[Tensor, " B"],
    ) -> Float[Tensor, "B C h w"]:
        if self.prediction_type == "epsilon":
            return output
        alpha, sigma = self.alpha_sigma(t)  # v = alpha eps - sigma z (Salimans and Ho 2022, App. D)
        return alpha * output + sigma * z_t

    @torch.no_grad()
    def embed(self, prompts: list[str]) -> Condition:
        """The text encoder's last hidden states, (B, tokens, width), as in diffusers' pipelines.

        Long prompts are cut; see :meth:`prompt_was_truncated`.
        """
        texts = list(prompts)
        if self.pipeline is not None:
            texts = self.pipeline.maybe_convert_prompt(texts, self.tokenizer)
        tokens = self.tokenizer(
            texts,
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

    def prompt_was_truncated(self, prompt: str) -> bool:
        """Whether the text encoder sees only the beginning of ``prompt``."""
        return too_long(self.tokenizer, prompt)


class SDXLPrior(DiffusionPrior):
    """Stable Diffusion XL: two text encoders, and the size of the picture as a condition.

    Args:
        pipeline: diffusers ``StableDiffusionXLPipeline``, VAE and text encoders in float32.
        alphas_cumprod: alpha-bar of the noise schedule, (T,).
        prediction_type: what the network predicts, ``epsilon`` or ``v_prediction``.
        **options: see :class:`DiffusionPrior`.
    """

    parts = ("text_encoder", "text_encoder_2", "unet", "vae")

    def __init__(
        self,
        pipeline: Any,
        alphas_cumprod: Float[Tensor, " T"],
        prediction_type: str = "epsilon",
        **options: Any,
    ) -> None:
        super().__init__(
            pipeline.unet,
            pipeline.vae,
            pipeline.text_encoder,
            pipeline.tokenizer,
            alphas_cumprod,
            prediction_type,
            pipeline=pipeline,
            **options,
        )
        frozen(pipeline.text_encoder_2, self.device)

    def run_network(
        self, z_t: Float[Tensor, "N C h w"], t: Int64[Tensor, " N"], tensors: dict[str, Tensor]
    ) -> Float[Tensor, "N C h w"]:
        height, width = (side * self.vae_factor for side in z_t.shape[-2:])
        # original size, crop, target size: nothing was resized or cut off
        ids = torch.tensor([height, width, 0, 0, height, width], device=z_t.device, dtype=z_t.dtype)
        added = {"text_embeds": tensors["pooled"], "time_ids": ids.expand(len(z_t), -1)}
        return self.network(
            z_t,
            t,
            encoder_hidden_states=tensors["text"],
            added_cond_kwargs=added,
            return_dict=False,
        )[0]

    @torch.no_grad()
    def embed(self, prompts: list[str]) -> Condition:
        """Hidden states of both encoders, (B, tokens, width), and the second's pooled text."""
        text, _, pooled, _ = self.pipeline.encode_prompt(
            list(prompts), device=self.device, do_classifier_free_guidance=False
        )
        return Condition(tuple(prompts), {"text": text, "pooled": pooled})

    def embed_null(self) -> Condition:
        """Zeros for a model that was trained with them, else the empty prompt."""
        null = self.embed([""])
        if not self.pipeline.config.force_zeros_for_empty_prompt:
            return null
        return Condition(("",), {key: torch.zeros_like(x) for key, x in null.tensors.items()})

    def prompt_was_truncated(self, prompt: str) -> bool:
        tokenizers = (self.pipeline.tokenizer, self.pipeline.tokenizer_2)
        return any(too_long(tokenizer, prompt) for tokenizer in tokenizers)
