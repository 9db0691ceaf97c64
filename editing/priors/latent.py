"""What all models in the latent space of a VAE share, whatever their network predicts."""

import hashlib
from abc import abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from editing.paths import expanded
from samplers.prior import Condition, Prior, record_backward, record_evaluations

VAE_PIXELS = 2**20  # of all pictures that go through a VAE at once


class LatentPrior(Prior):
    """A network in the latent space of a VAE.

    The network runs in its own dtype; the VAE, the noise schedule, guidance and all that enters or
    leaves the network are float32. The modules are moved and frozen in place.

    Args:
        network: UNet or transformer.
        vae: diffusers ``AutoencoderKL`` in float32.
        name: for messages and results.
        folder: where the weights were read from.
        device: where everything runs.
        adapters: files of weights that were added to the folder's, and by what factor.
        patch: side of the patches the network cuts latents into, latent elements.

    Attributes:
        image_size: side of the square pictures the model was trained on, pixels.
        vae_factor: pixels per latent element, along one side.
        size_multiple: height and width of a picture must be multiples of this, pixels.
        largest: the most that each may be, pixels; None if there is no such limit.
        latent_channels: C.
        self_attention: modules whose outputs describe what is where in a picture.
        graphed: whether the network is a CUDA graph, whose outputs share one place in memory.
    """

    parts: tuple[str, ...] = ()  # folders of weights that the model's hash covers
    self_attention: list[Any]
    largest: int | None = None
    graphed = False

    def __init__(
        self,
        network: Any,
        vae: Any,
        *,
        name: str = "",
        folder: Path | None = None,
        device: torch.device | str = "cpu",
        adapters: Mapping[Path, float] | None = None,
        patch: int = 1,
    ) -> None:
        self.name, self.folder, self.adapters = name, folder, dict(adapters or {})
        self.device, self.dtype = torch.device(device), network.dtype
        self.network, self.vae = frozen(network, self.device), frozen(vae, self.device)
        # the configs may leave these out: shift_factor is None for most models
        self.scale = float(vae.config.scaling_factor)
        self.shift = float(vae.config.shift_factor or 0.0)
        self.latent_channels = int(vae.config.latent_channels)
        self.vae_factor = 2 ** (len(vae.config.block_out_channels) - 1)
        self.size_multiple = self.vae_factor * patch
        side = getattr(network.config, "sample_size", None) or 128  # FLUX does not say
        side = side if isinstance(side, int) else min(side)
        self.image_size = side * self.vae_factor

    def predict_noise(
        self,
        z_t: Float[Tensor, "B C h w"],
        t: Int64[Tensor, " B"],
        condition: Condition,
        guidance: float = 1.0,
    ) -> Float[Tensor, "B C h w"]:
        """See :meth:`Prior.predict_noise`; the unconditional half of the batch comes first."""
        if guidance == 1.0:
            output = self.predict(z_t, t, condition)
        else:
            both = Condition.cat([self.null(len(condition)), condition])
            output = self.predict(z_t.repeat(2, 1, 1, 1), t.repeat(2), both)
            unconditional, conditional = output.chunk(2)
            output = unconditional + guidance * (conditional - unconditional)
        return self.to_noise(output, z_t, t)

    def predict(
        self, z_t: Float[Tensor, "N C h w"], t: Int64[Tensor, " N"], condition: Condition
    ) -> Float[Tensor, "N C h w"]:
        """The network's own prediction, float32 in and out."""
        known = z_t.requires_grad  # then its gradient counts, and no other
        z_t = record_evaluations(self, z_t).to(self.dtype)
        tensors = {}
        for name, tensor in condition.tensors.items():
            if tensor.requires_grad and not known:
                tensor, known = record_backward(self, tensor), True
            tensors[name] = tensor.to(self.dtype)
        with backward_kernel(self.network, self.device):
            output = self.run_network(z_t, t.to(self.device), tensors)
        # a CUDA graph writes every output to the same place: what is kept has to be a copy
        return output.clone().float() if self.graphed else output.float()

    @abstractmethod
    def run_network(
        self, z_t: Float[Tensor, "N C h w"], t: Int64[Tensor, " N"], tensors: dict[str, Tensor]
    ) -> Float[Tensor, "N C h w"]:
        """The network on latents and condition in its own dtype."""

    @abstractmethod
    def to_noise(
        self,
        output: Float[Tensor, "B C h w"],
        z_t: Float[Tensor, "B C h w"],
        t: Int64[Tensor, " B"],
    ) -> Float[Tensor, "B C h w"]:
        """The noise that a prediction of the network means."""

    def null(self, batch: int) -> Condition:
        """See :meth:`Prior.null`; embedded once."""
        return self.null_condition.expand(batch)

    @cached_property
    def null_condition(self) -> Condition:
        """The row of :meth:`null`."""
        return self.embed_null()

    def embed_null(self) -> Condition:
        """What the model was trained with in place of a prompt; one row."""
        return self.embed([""])

    def encode(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C h w"]:
        """Mean of the VAE's posterior, shifted and scaled by the VAE's own config.

        Raises:
            ValueError: unless H and W are multiples of ``size_multiple``, ``largest`` at most.
        """
        height, width = images.shape[-2:]
        if height % self.size_multiple or width % self.size_multiple:
            raise ValueError(
                f"a picture of {width} x {height} pixels does not fit {self.name}: "
                f"both sides must be multiples of {self.size_multiple}"
            )
        if self.largest and max(height, width) > self.largest:
            raise ValueError(
                f"a picture of {width} x {height} pixels does not fit {self.name}: "
                f"it takes {self.largest} pixels a side at most"
            )
        images = 2 * images.to(self.device, torch.float32) - 1
        parts = images.split(self.rows(height, width))
        modes = [self.vae.encode(part).latent_dist.mode() for part in parts]
        return (torch.cat(modes) - self.shift) * self.scale

    def decode(self, latents: Float[Tensor, "B C h w"]) -> Float[Tensor, "B 3 H W"]:
        latents = latents.to(self.device, torch.float32) / self.scale + self.shift
        height, width = (side * self.vae_factor for side in latents.shape[-2:])
        parts = latents.split(self.rows(height, width))
        images = [self.vae.decode(part, return_dict=False)[0] for part in parts]
        return (torch.cat(images) / 2 + 0.5).clamp(0, 1)

    def rows(self, height: int, width: int) -> int:
        """How many pictures go through the VAE at once: its activations outgrow the network's."""
        return max(1, VAE_PIXELS // (height * width))

    def model_hash(self) -> str:
        """SHA-256 over names and contents of the safetensors files of network, VAE and text.

        Adapters count by their contents and factors.

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
        for part in self.parts:
            for path in sorted((self.folder / part).glob("*.safetensors")):
                digest.update(f"{part}/{path.name}\n".encode())
                with path.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
        for path, factor in self.adapters.items():
            digest.update(hashlib.sha256(expanded(path).read_bytes()).digest())
            digest.update(repr(factor).encode())
        return digest.hexdigest()


def frozen(module: Any, device: torch.device) -> Any:
    """A module on the device, in evaluation mode, without gradients for its weights."""
    return module.to(device=device).eval().requires_grad_(False)


def backward_kernel(network: Any, device: torch.device) -> AbstractContextManager[None]:
    """Attention by plain products where a gradient goes through it in half precision on a CPU.

    There torch's fused attention is fast forwards, but slow backwards. With checkpointing the
    network runs again during the backward pass, out of reach.
    """
    half = device.type == "cpu" and network.dtype != torch.float32
    again = getattr(network, "is_gradient_checkpointing", False)
    slow = half and torch.is_grad_enabled() and not again
    return sdpa_kernel(SDPBackend.MATH) if slow else nullcontext()


def too_long(tokenizer: Any, prompt: str, most: int | None = None) -> bool:
    """Whether a tokenizer sees only the beginning of ``prompt``, ``most`` tokens at most."""
    limit = tokenizer.model_max_length if most is None else most
    return len(tokenizer(prompt, verbose=False).input_ids) > limit
