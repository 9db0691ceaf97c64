"""What the methods that run a sampler share: its times, guidance, what an inversion finds.

Notation: ``t_0 = 0 < t_1 < ... < t_S`` the times of S steps. As in Stable Diffusion's own samplers,
clean latents are taken to be those of t_0.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from samplers.checks import number, whole
from samplers.prior import Condition, Prior, PromptPair


class PromptError(ValueError):
    """A method cannot do with the prompts what it was set to."""


class InversionError(ValueError):
    """An inversion does not hold what a method needs."""


@dataclass(frozen=True)
class Inversion:
    """What a method found out about source latents; it can be sampled from as often as wanted.

    Attributes:
        tensors: by name, dimension 0 the image.
    """

    tensors: dict[str, Tensor]

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.tensors:
            raise InversionError(f"the inversion has no {name}")
        return self.tensors[name]

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    def along(self, name: str, steps: int) -> Tensor:
        """The tensor of a name, whose dimension 1 are steps.

        Raises:
            InversionError: if there are not so many of them.
        """
        found = self[name]
        if found.shape[1] != steps:
            raise InversionError(
                f"the inversion has {found.shape[1]} {name} and {steps} are needed"
            )
        return found


@dataclass(frozen=True)
class Visit:
    """A step of a sampler, as a watcher sees it.

    Attributes:
        step: 1 .. ``steps``.
        steps: of this run of the sampler.
        t: the time that it arrived at.
        z_t: latents there, (B, C, h, w).
        mean: the clean latents that it expects, (B, C, h, w).
        sampling: False while it inverts.
        noisy: whether ``z_t`` is as noisy as ``t`` says; otherwise it is clean all the way.
    """

    step: int
    steps: int
    t: int
    z_t: Float[Tensor, "B C h w"]
    mean: Float[Tensor, "B C h w"]
    sampling: bool = True
    noisy: bool = True


# Sees every step and returns the latents to go on with, ``z_t`` itself or others.
Watcher = Callable[[Visit], Tensor]


def unwatched(visit: Visit) -> Tensor:
    """Goes on with the latents as they are."""
    return visit.z_t


@runtime_checkable
class Store(Protocol):
    """Keeps what a long inversion has found so far, so that it can go on after an interruption."""

    def load(self) -> dict[str, Tensor] | None:
        """What was saved last, or None; called once, before anything is saved."""
        ...

    def save(self, tensors: dict[str, Tensor], at_once: bool = False) -> None:
        """Replace what was saved; perhaps not every time, unless it has to be ``at_once``."""
        ...


class TrajectoryMethod(ABC):
    """Edits latents by running a sampler: what can be found out about the source, then sampling.

    A method overrides :meth:`invert` and :meth:`sample`. It keeps nothing of a picture between
    calls, and rows do not see each other. ``inverts_with`` names the arguments on which its
    inversion depends, without the prior; ``reads_source`` whether it needs the source's prompt.

    Args:
        prior: the model that is asked.
        steps: S, of the whole schedule.
        guidance: of the target, eps_uncond + guidance (eps_cond - eps_uncond).
    """

    inverts_with: tuple[str, ...] = ("steps",)
    reads_source: bool = True

    def __init__(self, prior: Prior, *, steps: int = 50, guidance: float | int = 7.5) -> None:
        self.prior = prior
        self.steps = whole("steps", steps, 1, prior.num_timesteps - 1)
        self.guidance = number("guidance", guidance, least=-math.inf)
        self.times = sampling_times(prior.num_timesteps, self.steps, prior.schedule_shift)

    def __call__(
        self,
        z: Float[Tensor, "B C h w"],
        prompts: PromptPair,
        generators: Sequence[torch.Generator],
        watch: Watcher = unwatched,
    ) -> Float[Tensor, "B C h w"]:
        """Edited latents; arguments as for :meth:`invert` and :meth:`sample`."""
        inversion = self.invert(z, prompts.source, generators, watch)
        return self.sample(inversion, prompts, generators, watch)

    def check_prompts(self, prompts: PromptPair) -> None:  # noqa: B027 - here any will do
        """Refuse prompts that the method cannot do with, before anything is computed.

        Only their texts are looked at: they may come without tensors.

        Raises:
            PromptError: saying why.
        """

    @abstractmethod
    def invert(
        self,
        z: Float[Tensor, "B C h w"],
        source: Condition,
        generators: Sequence[torch.Generator],
        watch: Watcher = unwatched,
        store: Store | None = None,
    ) -> Inversion:
        """What the method finds out about source latents.

        Args:
            z: latents of the sources.
            source: their prompts, one each.
            generators: one per image.
            watch: sees every step.
            store: where a method that optimises keeps what it has so far.
        """

    @abstractmethod
    def sample(
        self,
        inversion: Inversion,
        prompts: PromptPair,
        generators: Sequence[torch.Generator],
        watch: Watcher = unwatched,
    ) -> Float[Tensor, "B C h w"]:
        """Clean latents for the target prompts; for the source itself, if they are the source's.

        Args:
            inversion: what :meth:`invert` found.
            prompts: one pair per image.
            generators: one per image.
            watch: sees every step, and may change the latents.
        """

    def reconstructing(self) -> "TrajectoryMethod":
        """The method without what is said of a target's words, to sample the source again."""
        return self


def sampling_times(num_timesteps: int, steps: int, shift: float = 1.0) -> tuple[int, ...]:
    """``steps`` + 1 times from 0 to T - 1, as even as whole numbers can be.

    With ``shift`` above 1 they are denser where there is more noise: u of the schedule becomes
    shift u / (1 + (shift - 1) u), as large pictures need it (Esser et al. 2024, Eq. 23).

    Raises:
        ValueError: if so many steps are not different ones.
    """
    times = tuple(
        round(shift * step * (num_timesteps - 1) / (steps + (shift - 1) * step))
        for step in range(steps + 1)
    )
    if len(set(times)) < len(times):
        raise ValueError(f"steps={steps} are too many for the model's schedule")
    return times


def partial_times(times: Sequence[int], strength: float) -> tuple[int, ...]:
    """The lowest ``strength``, a fraction, of the times; one step at least."""
    return tuple(times[: max(1, round(strength * (len(times) - 1))) + 1])


def descent(times: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Each time with the next lower one, from the highest."""
    return pairwise(reversed(times))


def everywhere(t: int, like: Tensor) -> Int64[Tensor, " B"]:
    """The same time for every image."""
    return torch.full((len(like),), t, device=like.device)


def guided_noise(
    prior: Prior,
    z_t: Float[Tensor, "B C h w"],
    t: int,
    condition: Condition,
    guidance: float,
    null: Condition | None = None,
) -> Float[Tensor, "B C h w"]:
    """The guided prediction with another ``null`` in place of the empty prompt's, in one call."""
    times = everywhere(t, z_t)
    if null is None or guidance == 1.0:
        return prior.predict_noise(z_t, times, condition, guidance)
    both = Condition.cat([null, condition])
    noise = prior.predict_noise(z_t.repeat(2, 1, 1, 1), times.repeat(2), both)
    unconditional, conditional = noise.chunk(2)
    return unconditional + guidance * (conditional - unconditional)
