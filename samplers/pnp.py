"""Plug-and-Play diffusion features (Tumanyan et al. 2023): the source's features in the target."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from samplers.attention import AttentionControl, Site, check_uncompiled, controlled, unet_attention
from samplers.checks import number, whole
from samplers.ddim import invert_ddim, sample_ddim
from samplers.prior import Condition, Prior, PromptPair
from samplers.trajectory import (
    Inversion,
    Store,
    TrajectoryMethod,
    Watcher,
    everywhere,
    guided_noise,
    sampling_times,
    unwatched,
)

PROMPTS = ("empty", "source")


class PlugAndPlay(TrajectoryMethod):
    """Draws the target from the source's noise, with the source's layout put into the decoder.

    Injected are the output of one residual block, and queries and keys of self-attention from there
    on. Of the 12 layers of Stable Diffusion's decoder the paper takes the residual block of layer 4
    and the self-attention of layers 4 to 11, counted from 0; here that is a third of the layers of
    any decoder. The authors invert with 999 steps, here ``substeps``, and sample with a negative
    prompt about bad pictures, here the empty one.

    Args:
        prior: see :class:`TrajectoryMethod`, as ``steps`` and ``guidance`` are. Its network must be
            a UNet with attention.
        features: how much of the steps, from the first, features are injected (the paper's tau_f).
        attention: how much of the steps, from the first, queries and keys are (its tau_A).
        source_prompt: with which the source is inverted and run beside the target, at guidance 1:
            the ``empty`` one, as in the authors' code, or that of the ``source``.
        substeps: steps of the inversion to each one of the sampling.

    Raises:
        ValueError: for a prior without such a network or with a compiled one, or another value that
            cannot be used.
    """

    inverts_with: tuple[str, ...] = ("steps", "source_prompt", "substeps")

    def __init__(
        self,
        prior: Prior,
        *,
        features: float | int = 0.8,
        attention: float | int = 0.5,
        source_prompt: str = "empty",
        substeps: int = 1,
        **options: Any,
    ) -> None:
        super().__init__(prior, **options)
        unet_attention(prior)
        check_uncompiled(prior, "pnp")
        self.block, self.modules = decoder_sites(prior.network)  # type: ignore[attr-defined]
        self.feature_steps = round(number("features", features, 0, 1) * self.steps)
        self.attention_steps = round(number("attention", attention, 0, 1) * self.steps)
        if source_prompt not in PROMPTS:
            raise ValueError(f"source_prompt={source_prompt} cannot be used: it is empty or source")
        self.source_prompt, self.reads_source = source_prompt, source_prompt == "source"
        self.substeps = whole("substeps", substeps, 1, (prior.num_timesteps - 1) // self.steps)

    @torch.no_grad()
    def invert(
        self,
        z: Float[Tensor, "B C h w"],
        source: Condition,
        generators: Sequence[torch.Generator],
        watch: Watcher = unwatched,
        store: Store | None = None,
    ) -> Inversion:
        own = self._own(source.expand(len(z)))

        def predict(z_t: Tensor, t: int) -> Tensor:
            return guided_noise(self.prior, z_t, t, own, 1.0)

        times = sampling_times(
            self.prior.num_timesteps, self.steps * self.substeps, self.prior.schedule_shift
        )
        found = invert_ddim(self.prior, z, times, predict, watch=watch)
        return Inversion({"trajectory": found[:, :: self.substeps].contiguous()})

    @torch.no_grad()
    def sample(
        self,
        inversion: Inversion,
        prompts: PromptPair,
        generators: Sequence[torch.Generator],
        watch: Watcher = unwatched,
    ) -> Float[Tensor, "B C h w"]:
        trajectory, batch = inversion.along("trajectory", self.steps + 1), len(inversion)
        prompts = prompts.expand(batch)
        own, target = self._own(prompts.source), prompts.target
        conditions = [own, target]
        if self.guidance != 1.0:
            conditions.insert(1, self.prior.null(batch))
        joint = Condition.cat(conditions)

        def predict(z_t: Tensor, t: int) -> Tensor:
            index = self.times.index(t)
            step = self.steps - index  # those that are done
            if step >= max(self.feature_steps, self.attention_steps):
                return guided_noise(self.prior, z_t, t, target, self.guidance)
            z_all = torch.cat([trajectory[:, index].to(z_t), *[z_t] * (len(conditions) - 1)])
            with ExitStack() as stack:
                if step < self.feature_steps:
                    stack.enter_context(first_rows_of(self.block, batch))
                if step < self.attention_steps:
                    stack.enter_context(controlled(self.modules, _Injection(batch)))
                found = self.prior.predict_noise(z_all, everywhere(t, z_all), joint)
            _, *unconditional, conditional = found.chunk(len(conditions))
            if not unconditional:
                return conditional
            return unconditional[0] + self.guidance * (conditional - unconditional[0])

        return sample_ddim(self.prior, trajectory[:, -1], self.times, predict, watch)

    def _own(self, source: Condition) -> Condition:
        return source if self.source_prompt == "source" else self.prior.null(len(source))


def decoder_sites(unet: Any) -> tuple[Any, dict[str, Any]]:
    """The module that makes a residual block's features, and self-attention from that layer on.

    Raises:
        ValueError: if there is no self-attention there.
    """
    layers = [
        layer
        for block in unet.up_blocks
        for layer in zip_longest(block.resnets, getattr(block, "attentions", ()))
    ]
    first = len(layers) // 3
    attention = {
        f"{index}.{name}": module
        for index, (_, transformer) in enumerate(layers[first:], first)
        if transformer is not None
        for name, module in transformer.named_modules()
        if name.endswith("attn1")
    }
    if not attention:
        raise ValueError(f"it needs self-attention in the UNet's decoder from layer {first} on")
    return layers[first][0].conv2, attention


@contextmanager
def first_rows_of(module: Any, batch: int) -> Iterator[None]:
    """Inside, the module's output for the first ``batch`` rows is that of all others too."""

    def inject(module: Any, args: Any, output: Tensor) -> Tensor:
        return _spread(output, batch)

    handle = module.register_forward_hook(inject)
    try:
        yield
    finally:
        handle.remove()


@dataclass(frozen=True)
class _Injection(AttentionControl):
    """Queries and keys of the first ``batch`` rows in place of all others'."""

    batch: int

    def exposes(self, site: Site) -> bool:
        return False

    def queries_keys(
        self, site: Site, queries: Float[Tensor, "N P D"], keys: Float[Tensor, "N K D"]
    ) -> tuple[Float[Tensor, "N P D"], Float[Tensor, "N K D"]]:
        return _spread(queries, self.batch), _spread(keys, self.batch)


def _spread(x: Tensor, batch: int) -> Tensor:
    return x[:batch].repeat(len(x) // batch, *[1] * (x.ndim - 1))
