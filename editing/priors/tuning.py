"""Trading time for memory and the reverse, without changing what a prior computes."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from editing.errors import UserError
from editing.priors.latent import LatentPrior
from editing.settings import COMPILE_MODES

GRAPHS = COMPILE_MODES[1:]  # those that use CUDA graphs


@dataclass(frozen=True)
class Tuning:
    """How a prior's network runs.

    Attributes:
        compile: compile the network with torch; pays on CUDA, after a minute. Or one of
            `COMPILE_MODES`, of which the last two use CUDA graphs and compile anew for every size.
        channels_last: keep its convolutions' tensors in that memory format.
        gradient_checkpointing: recompute activations where a gradient goes through the network.
        attention: ``sdpa``, torch's fused attention; or ``sliced``, one head after the other.
        cpu_offload: keep every module in the computer's memory until it is called.
    """

    compile: bool | str = False
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
        mode = "default" if tuning.compile is True else tuning.compile
        prior.graphed = mode in GRAPHS
        network.compile(mode=mode, dynamic=False if prior.graphed else None)


def offload(prior: LatentPrior, device: torch.device) -> None:
    """Only the module that was called last is on the device.

    One that a gradient may have to go through stays there: autograd keeps its weights.
    """
    from accelerate.hooks import ModelHook, add_hook_to_module
    from accelerate.utils import send_to_device

    resident: list[nn.Module] = []
    held: list[nn.Module] = []

    class Alone(ModelHook):
        def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            if module not in resident and module not in held:
                while resident:
                    resident.pop().to("cpu")
                resident.append(module.to(device))
            if torch.is_grad_enabled() and module in resident:
                resident.remove(module)
                held.append(module)
            return send_to_device(args, device), send_to_device(kwargs, device)

    prior.device = device
    if hasattr(prior, "alphas_cumprod"):
        prior.alphas_cumprod = prior.alphas_cumprod.to(device)
    for module in modules(prior):
        add_hook_to_module(module, Alone())


def modules(prior: LatentPrior) -> list[nn.Module]:
    """What a prior is made of: text encoders, VAE, network."""
    pipeline: Any = getattr(prior, "pipeline", None)
    parts = pipeline.components if pipeline is not None else {}
    texts = [part for name, part in parts.items() if name.startswith("text_encoder") and part]
    if not texts and hasattr(prior, "text_encoder"):
        texts = [prior.text_encoder]
    return [*texts, prior.vae, prior.network]
