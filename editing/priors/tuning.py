"""Trading time for memory and the reverse, without changing what a prior computes."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from editing.errors import UserError
from editing.priors.latent import LatentPrior


@dataclass(frozen=True)
class Tuning:
    """How a prior's network runs.

    Attributes:
        compile: compile the network with torch; pays on CUDA, after a minute.
        channels_last: keep its convolutions' tensors in that memory format.
        gradient_checkpointing: recompute activations where a gradient goes through the network.
        attention: ``sdpa``, torch's fused attention; or ``sliced``, one head after the other.
        cpu_offload: keep every module in the computer's memory until it is called.
    """

    compile: bool = False
    channels_last: bool = False
    gradient_checkpointing: bool = False
    attention: Literal["sdpa", "sliced"] = "sdpa"
    cpu_offload: bool = False


def tune(prior: LatentPrior, tuning: Tuning, device: torch.device) -> None:
    """Applies the options to a prior, in place.

    With ``cpu_offload`` the prior is loaded to the CPU, and computes on ``device`` from here on.

    Raises:
        UserError: if its network knows no such option.
    """
    network = prior.network
    if tuning.channels_last:
        network.to(memory_format=torch.channels_last)
    if tuning.gradient_checkpointing:
        network.enable_gradient_checkpointing()
    if tuning.attention == "sliced":
        if not hasattr(network, "set_attention_slice"):
            raise UserError(f"{type(network).__name__} has no sliced attention: leave it at sdpa.")
        network.set_attention_slice("max")
    if tuning.cpu_offload:
        offload(prior, device)
    if tuning.compile:
        network.compile()


def offload(prior: LatentPrior, device: torch.device) -> None:
    """Every module moves to the device when it is called, and back when another one is."""
    from accelerate import cpu_offload_with_hook

    prior.device = device
    if hasattr(prior, "alphas_cumprod"):
        prior.alphas_cumprod = prior.alphas_cumprod.to(device)
    hook = None
    for module in modules(prior):
        _, hook = cpu_offload_with_hook(module, device, prev_module_hook=hook)


def modules(prior: LatentPrior) -> list[nn.Module]:
    """What a prior is made of, in the order of an edit: text encoders, VAE, network."""
    pipeline: Any = getattr(prior, "pipeline", None)
    parts = pipeline.components if pipeline is not None else {}
    texts = [part for name, part in parts.items() if name.startswith("text_encoder") and part]
    if not texts and hasattr(prior, "text_encoder"):
        texts = [prior.text_encoder]
    return [*texts, prior.vae, prior.network]
