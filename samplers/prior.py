"""The interface between a text-to-image model and everything that samples or distils from it.

Notation, here and everywhere: ``z`` clean latents, ``z_t = alpha z + sigma eps`` noisy ones,
``B`` images, ``C h w`` the shape of one latent.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor


@dataclass(frozen=True)
class Condition:
    """Prompts and what the prior computed from them, aligned along the batch.

    Attributes:
        prompts: the B prompts.
        tensors: named tensors, each (B, ...).
    """

    prompts: tuple[str, ...]
    tensors: dict[str, Tensor]

    def __post_init__(self) -> None:
        for name, tensor in self.tensors.items():
            if len(tensor) != len(self.prompts):
                raise ValueError(f"{len(self.prompts)} prompts, but {name} has {len(tensor)} rows")

    def __len__(self) -> int:
        return len(self.prompts)

    def __getitem__(self, index: slice | Int[Tensor, " n"]) -> "Condition":
        """The chosen rows; ``index`` is a slice or an integer tensor."""
        rows = torch.arange(len(self))[index.cpu() if isinstance(index, Tensor) else index]
        return Condition(
            tuple(self.prompts[row] for row in rows.tolist()),
            {name: tensor[rows.to(tensor.device)] for name, tensor in self.tensors.items()},
        )

    @staticmethod
    def cat(conditions: "Sequence[Condition]") -> "Condition":
        """One batch after the other; all must hold the same names."""
        return Condition(
            tuple(prompt for condition in conditions for prompt in condition.prompts),
            {
                name: torch.cat([condition.tensors[name] for condition in conditions])
                for name in conditions[0].tensors
            },
        )

    def repeat(self, count: int) -> "Condition":
        """The whole batch ``count`` times, one after the other."""
        return Condition.cat([self] * count)

    def expand(self, batch: int) -> "Condition":
        """Broadcast one prompt over ``batch`` images.

        Raises:
            ValueError: if the length is neither 1 nor ``batch``.
        """
        if len(self) == batch:
            return self
        if len(self) != 1:
            raise ValueError(f"{len(self)} prompts do not fit {batch} images")
        return self.repeat(batch)


@dataclass(frozen=True)
class PromptPair:
    """What the source image shows and what the edit shall show; B prompts each."""

    source: Condition
    target: Condition

    def __len__(self) -> int:
        return len(self.target)

    def __getitem__(self, index: slice | Int[Tensor, " n"]) -> "PromptPair":
        return PromptPair(self.source[index], self.target[index])

    def expand(self, batch: int) -> "PromptPair":
        """Broadcast one pair of prompts over ``batch`` images; see :meth:`Condition.expand`."""
        return PromptPair(self.source.expand(batch), self.target.expand(batch))


@runtime_checkable
class Prior(Protocol):
    """A pretrained text-to-image model, whatever its network predicts.

    Attributes:
        num_timesteps: length T of the noise schedule; t is in 0 .. T - 1.
        device: where the network is; latents are made there.
        dtype: precision of the network; the rest is float32 (float64 for exact priors).
        schedule_shift: how much denser the steps of a sampler are where there is more noise, see
            :func:`samplers.trajectory.sampling_times`; 1 for even steps.
    """

    num_timesteps: int
    device: torch.device
    dtype: torch.dtype
    schedule_shift: float = 1.0

    def alpha_sigma(
        self, t: Int64[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B 1 1 1"], Float[Tensor, "B 1 1 1"]]:
        """Signal and noise level: z_t = alpha z + sigma eps."""
        ...

    def predict_noise(
        self,
        z_t: Float[Tensor, "B C h w"],
        t: Int64[Tensor, " B"],
        condition: Condition,
        guidance: float = 1.0,
    ) -> Float[Tensor, "B C h w"]:
        """Guided noise eps = eps_uncond + guidance (eps_cond - eps_uncond), in one network call.

        Papers that write (1 + w) eps_cond - w eps_uncond (IDS, Eq. 2) mean guidance = 1 + w. At
        guidance 1 the unconditional half is not evaluated. Differentiable with respect to ``z_t``.
        """
        ...

    def embed(self, prompts: list[str]) -> Condition:
        """Encode prompts."""
        ...

    def null(self, batch: int) -> Condition:
        """The empty prompt, once for each of ``batch`` images."""
        return self.embed([""]).expand(batch)

    def encode(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C h w"]:
        """Images in [0, 1] to latents; differentiable."""
        ...

    def decode(self, latents: Float[Tensor, "B C h w"]) -> Float[Tensor, "B 3 H W"]:
        """Latents to images, clipped to [0, 1]; differentiable where nothing is clipped."""
        ...

    def pair(self, *, source: str | list[str] = "", target: str | list[str]) -> PromptPair:
        """Embed a source and a target prompt, or one of each per image.

        Raises:
            ValueError: if the two lists differ in length and neither holds a single prompt.
        """
        sources = [source] if isinstance(source, str) else list(source)
        targets = [target] if isinstance(target, str) else list(target)
        pair = PromptPair(self.embed(sources), self.embed(targets))
        return pair.expand(max(len(sources), len(targets)))


@dataclass
class Evaluations:
    """Network evaluations, summed over samples.

    A guided prediction of one latent counts two forward evaluations (conditional and
    unconditional), a backward pass through it two backward ones.
    """

    forward: int = 0
    backward: int = 0


# A context variable and not a field of the prior, so that two requests sharing a prior in two
# threads do not count each other's evaluations.
_counting: ContextVar[tuple[tuple[object, Evaluations], ...]] = ContextVar("counting", default=())


@contextmanager
def count_evaluations(prior: Prior) -> Iterator[Evaluations]:
    """Count the network evaluations of ``prior`` inside the ``with`` block."""
    evaluations = Evaluations()
    token = _counting.set((*_counting.get(), (prior, evaluations)))
    try:
        yield evaluations
    finally:
        _counting.reset(token)


def record_evaluations(prior: Prior, z_t: Float[Tensor, "N ..."]) -> Float[Tensor, "N ..."]:
    """Count an evaluation of N samples, and one backward when a gradient arrives at ``z_t``.

    A prior calls this on what enters its network, and hands what it returns to the network.
    """
    for counter in _counters(prior):
        counter.forward += len(z_t)
    return record_backward(prior, z_t)


def record_backward(prior: Prior, entering: Float[Tensor, "N ..."]) -> Float[Tensor, "N ..."]:
    """Count N backward evaluations when a gradient arrives at what enters the network.

    A prior calls this on an embedding that a gradient is asked of, where none is of the latents.
    """
    counters = _counters(prior)

    def count(_: Tensor) -> None:
        for counter in counters:
            counter.backward += len(entering)

    if counters and entering.requires_grad:
        entering = entering.view_as(entering)  # a hook on the caller's own tensor would stay there
        entering.register_hook(count)
    return entering


def _counters(prior: Prior) -> list[Evaluations]:
    return [counter for counted, counter in _counting.get() if counted is prior]
