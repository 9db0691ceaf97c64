"""Rectified flows, whose transformers predict a velocity: Stable Diffusion 3 and FLUX."""

import hashlib
import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from editing.errors import UserError
from editing.priors.latent import LatentPrior, frozen, too_long
from samplers.prior import Condition

PATCH = 2  # latent elements along the side of a transformer's token


class FlowPrior(LatentPrior):
    """z_t = (1 - s) z + s eps with s = (t + 1/2) / T, so that neither end is reached.

    The network predicts the velocity eps - z. t is not shifted by the resolution: a distiller's
    choice of t says where it looks. The steps of samplers are, by ``schedule_shift``.

    Args:
        pipeline: diffusers pipeline with a ``transformer``; its VAE in float32.
        schedule_shift: of the pipeline's scheduler, see :func:`scheduler_shift`.
        **options: ``name``, ``folder`` and ``device``, see :class:`LatentPrior`.

    Raises:
        UserError: if the transformer takes more than noisy latents.
    """

    num_timesteps = 1000
    packed = 1  # latent elements in a token of the transformer's input

    def __init__(self, pipeline: Any, *, schedule_shift: float = 1.0, **options: Any) -> None:
        taken, made = pipeline.transformer.config.in_channels, pipeline.vae.config.latent_channels
        if taken != self.packed * made:
            raise UserError(
                f"The transformer of {options.get('name') or options.get('folder')} takes {taken} "
                f"channels, its VAE makes {made} ({self.packed * made} per token): models that "
                "take a further picture, for filling, depth or edges, do not work."
            )
        super().__init__(pipeline.transformer, pipeline.vae, patch=PATCH, **options)
        self.pipeline = pipeline
        self.schedule_shift = schedule_shift
        for name, part in pipeline.components.items():
            if name.startswith("text_encoder") and part is not None:
                frozen(part, self.device)
        self.self_attention = [block.attn for block in pipeline.transformer.transformer_blocks]

    def level(self, t: Int64[Tensor, " B"]) -> Float[Tensor, " B"]:
        """The noise level s."""
        return (t.to(self.device, torch.float32) + 0.5) / self.num_timesteps

    def alpha_sigma(
        self, t: Int64[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B 1 1 1"], Float[Tensor, "B 1 1 1"]]:
        level = self.level(t)[:, None, None, None]
        return 1 - level, level

    def to_noise(
        self,
        output: Float[Tensor, "B C h w"],
        z_t: Float[Tensor, "B C h w"],
        t: Int64[Tensor, " B"],
    ) -> Float[Tensor, "B C h w"]:
        alpha, _ = self.alpha_sigma(t)
        return z_t + alpha * output


def scheduler_shift(config: Mapping[str, Any]) -> float:
    """The shift of the steps of diffusers' ``FlowMatchEulerDiscreteScheduler``.

    One that grows with the resolution, as FLUX.1 [dev]'s, is that of the largest pictures.
    """
    if not config.get("use_dynamic_shifting"):
        return float(config.get("shift", 1.0))
    largest = float(config.get("max_shift", 1.15))
    return largest if config.get("time_shift_type") == "linear" else math.exp(largest)


class SD3Prior(FlowPrior):
    """Stable Diffusion 3 and 3.5: three text encoders, of which T5 may be missing."""

    parts = ("text_encoder", "text_encoder_2", "text_encoder_3", "transformer", "vae")

    def __init__(self, pipeline: Any, **options: Any) -> None:
        super().__init__(pipeline, **options)
        # it cuts its table of positions out of one of this size
        self.largest = pipeline.transformer.config.pos_embed_max_size * self.size_multiple

    def run_network(
        self, z_t: Float[Tensor, "N C h w"], t: Int64[Tensor, " N"], tensors: dict[str, Tensor]
    ) -> Float[Tensor, "N C h w"]:
        return self.network(
            z_t,
            timestep=self.level(t) * 1000,
            encoder_hidden_states=tensors["text"],
            pooled_projections=tensors["pooled"],
            return_dict=False,
        )[0]

    @torch.no_grad()
    def embed(self, prompts: list[str]) -> Condition:
        """Hidden states of the encoders, (B, tokens, width), and CLIP's pooled text."""
        text, _, pooled, _ = self.pipeline.encode_prompt(
            list(prompts), None, None, device=self.device, do_classifier_free_guidance=False
        )
        return Condition(tuple(prompts), {"text": text, "pooled": pooled})

    def prompt_was_truncated(self, prompt: str) -> bool:
        """Whether every text encoder sees only the beginning of ``prompt``."""
        pipeline = self.pipeline
        cut = too_long(pipeline.tokenizer, prompt) and too_long(pipeline.tokenizer_2, prompt)
        if pipeline.text_encoder_3 is None:
            return cut
        return cut and too_long(pipeline.tokenizer_3, prompt, 256)


class FluxPrior(FlowPrior):
    """FLUX: T5 text and CLIP's pooled text; latents in packs of 2 x 2.

    A guidance-distilled network takes a guidance scale as an input. That is ``distilled_guidance``;
    the guidance of a distiller is the true one, of two predictions, as for any other model.

    Args:
        pipeline: diffusers ``FluxPipeline``.
        distilled_guidance: what a guidance-distilled network is told.
        **options: ``name``, ``folder`` and ``device``, see :class:`LatentPrior`.
    """

    parts = ("text_encoder", "text_encoder_2", "transformer", "vae")
    packed = PATCH**2

    def __init__(
        self, pipeline: Any, *, distilled_guidance: float | int = 3.5, **options: Any
    ) -> None:
        super().__init__(pipeline, **options)
        self.distilled_guidance = float(distilled_guidance)
        # FLUX.1 [schnell], which takes no guidance, was trained with shorter prompts.
        self.most_tokens = 512 if pipeline.transformer.config.guidance_embeds else 256

    def model_hash(self) -> str:
        """See :meth:`LatentPrior.model_hash`; ``distilled_guidance`` counts where it is taken."""
        own = super().model_hash()
        if not self.network.config.guidance_embeds:
            return own
        return hashlib.sha256(f"{own} {self.distilled_guidance!r}".encode()).hexdigest()

    def run_network(
        self, z_t: Float[Tensor, "N C h w"], t: Int64[Tensor, " N"], tensors: dict[str, Tensor]
    ) -> Float[Tensor, "N C h w"]:
        rows, cols = (side // PATCH for side in z_t.shape[-2:])
        place = torch.zeros(rows, cols, 3, device=z_t.device, dtype=z_t.dtype)
        place[..., 1] = torch.arange(rows, device=z_t.device)[:, None]
        place[..., 2] = torch.arange(cols, device=z_t.device)
        guidance = None
        if self.network.config.guidance_embeds:
            guidance = torch.full((len(z_t),), self.distilled_guidance, device=z_t.device)
        output = self.network(
            hidden_states=F.pixel_unshuffle(z_t, PATCH).flatten(2).mT,
            timestep=self.level(t).to(z_t.dtype),
            guidance=guidance,
            pooled_projections=tensors["pooled"],
            encoder_hidden_states=tensors["text"],
            txt_ids=torch.zeros(tensors["text"].shape[1], 3, device=z_t.device, dtype=z_t.dtype),
            img_ids=place.flatten(0, 1),
            return_dict=False,
        )[0]
        return F.pixel_shuffle(output.mT.unflatten(2, (rows, cols)), PATCH)

    @torch.no_grad()
    def embed(self, prompts: list[str]) -> Condition:
        """T5's hidden states, (B, tokens, width), and CLIP's pooled text."""
        text, pooled, _ = self.pipeline.encode_prompt(
            list(prompts), None, device=self.device, max_sequence_length=self.most_tokens
        )
        return Condition(tuple(prompts), {"text": text, "pooled": pooled})

    def prompt_was_truncated(self, prompt: str) -> bool:
        """Whether T5 sees only the beginning of ``prompt``."""
        return too_long(self.pipeline.tokenizer_2, prompt, self.most_tokens)
