"""Null-text inversion (Mokady et al. 2023): an empty prompt of its own for every step."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from samplers.checks import number, whole
from samplers.ddim import ddim_step, invert_ddim, sample_ddim
from samplers.noise import posterior_mean
from samplers.prior import Condition, Prior, PromptPair
from samplers.trajectory import (
    Inversion,
    Store,
    TrajectoryMethod,
    Visit,
    Watcher,
    descent,
    everywhere,
    guided_noise,
    unwatched,
)

TEXT = "text"  # the tensor of a condition that is learnt


class NullText(TrajectoryMethod):
    """DDIM inversion at guidance 1; then, step by step, embeddings of the empty prompt with which
    guided sampling stays on its trajectory.

    Costs S (N + 3) forward and S N backward network evaluations per image for the inversion.

    Args:
        prior: see :class:`TrajectoryMethod`, as ``steps`` and ``guidance`` are. Its conditions must
            have a text embedding.
        iterations: N, steps of Adam for every time.
        rate: its learning rate at the first step; it falls to half of that.
        tolerance: an image whose mean squared error is below this has its embedding; it grows by
            twice that with every step.

    Raises:
        ValueError: for a prior without text embeddings.
    """

    inverts_with: tuple[str, ...] = ("steps", "guidance", "iterations", "rate", "tolerance")

    def __init__(
        self,
        prior: Prior,
        *,
        iterations: int = 10,
        rate: float | int = 0.01,
        tolerance: float | int = 1e-5,
        **options: Any,
    ) -> None:
        super().__init__(prior, **options)
        check_text(prior)
        self.iterations = whole("iterations", iterations, least=0)
        self.rate = number("rate", rate, least=0)
        self.tolerance = number("tolerance", tolerance, least=0)

    @torch.no_grad()
    def invert(
        self,
        z: Float[Tensor, "B C h w"],
        source: Condition,
        generators: Sequence[torch.Generator],
        watch: Watcher = unwatched,
        store: Store | None = None,
    ) -> Inversion:
        source, saved = source.expand(len(z)), (store and store.load()) or {}
        trajectory = prior_trajectory(self.prior, z, self.times, source, watch, store, saved)
        z_t, nulls = saved.get("z_t", trajectory[:, -1]), saved.get("null")
        if nulls is None:
            nulls = self.prior.null(len(z)).tensors[TEXT].float()[:, None]
        for step, (t, to) in enumerate(descent(self.times), 1):
            if step < nulls.shape[1]:
                continue  # saved by an earlier run
            goal = trajectory[:, self.steps - step]
            conditional = guided_noise(self.prior, z_t, t, source, 1.0)
            null = self.fit(nulls[:, -1], z_t, t, to, conditional, goal, step)
            z_t, mean = self.step(null, z_t, t, to, conditional)
            nulls = torch.cat([nulls, null[:, None]], 1)
            if store is not None:
                store.save({"trajectory": trajectory, "z_t": z_t, "null": nulls})
            watch(Visit(step, self.steps, to, z_t, mean, sampling=False))
        return Inversion({"noise": trajectory[:, -1], "null": nulls[:, 1:]})

    def step(
        self,
        null: Float[Tensor, "B n c"],
        z_t: Float[Tensor, "B C h w"],
        t: int,
        to: int,
        conditional: Float[Tensor, "B C h w"],
    ) -> tuple[Float[Tensor, "B C h w"], Float[Tensor, "B C h w"]]:
        """A step of DDIM whose unconditional prediction is that of embeddings.

        Returned are the latents at ``to`` and the clean ones that are expected.
        """
        empty = with_text(self.prior.null(len(z_t)), null)
        unconditional = guided_noise(self.prior, z_t, t, empty, 1.0)
        noise = unconditional + self.guidance * (conditional - unconditional)
        here, there = everywhere(t, z_t), everywhere(to, z_t)
        mean = posterior_mean(self.prior, z_t, here, noise)
        return ddim_step(self.prior, z_t, here, there, noise), mean

    def fit(
        self,
        null: Float[Tensor, "B n c"],
        z_t: Float[Tensor, "B C h w"],
        t: int,
        to: int,
        conditional: Float[Tensor, "B C h w"],
        goal: Float[Tensor, "B C h w"],
        step: int,
    ) -> Float[Tensor, "B n c"]:
        """Embeddings with which the step from ``z_t`` ends nearest to ``goal`` (Eq. 3)."""
        if self.guidance == 1.0:
            return null  # of which the step does not depend
        with torch.enable_grad():
            null = null.clone().requires_grad_()
            rate = self.rate * (1 - (step - 1) / (2 * self.steps))
            optimizer = torch.optim.Adam([null], lr=rate)
            done = torch.zeros(len(null), dtype=torch.bool, device=null.device)
            for _ in range(self.iterations):
                error = mean_square(self.step(null, z_t, t, to, conditional)[0] - goal)
                done = done | (error.detach() < self.tolerance * (1 + 2 * (step - 1)))
                if done.all():
                    break
                size = goal[0].numel()
                (gradient,) = torch.autograd.grad(size * error.sum(), [null])
                move(optimizer, [null], [gradient / size], done)
        return null.detach()

    @torch.no_grad()
    def sample(
        self,
        inversion: Inversion,
        prompts: PromptPair,
        generators: Sequence[torch.Generator],
        watch: Watcher = unwatched,
    ) -> Float[Tensor, "B C h w"]:
        target = prompts.expand(len(inversion)).target
        nulls = inversion.along("null", self.steps)
        place = {t: row for row, (t, _) in enumerate(descent(self.times))}

        def predict(z_t: Tensor, t: int) -> Tensor:
            null = with_text(self.prior.null(len(z_t)), nulls[:, place[t]])
            return guided_noise(self.prior, z_t, t, target, self.guidance, null)

        return sample_ddim(self.prior, inversion["noise"], self.times, predict, watch)


def check_text(prior: Prior) -> None:
    """Refuses a prior whose conditions have no embedding that could be learnt.

    Raises:
        ValueError: saying so.
    """
    if TEXT not in prior.null(1).tensors:
        raise ValueError("the prior has no text embeddings to optimise")


def with_text(condition: Condition, text: Float[Tensor, "B n c"]) -> Condition:
    """A condition with another text embedding."""
    return Condition(condition.prompts, condition.tensors | {TEXT: text})


def prior_trajectory(
    prior: Prior,
    z: Float[Tensor, "B C h w"],
    times: Sequence[int],
    source: Condition,
    watch: Watcher,
    store: Store | None,
    saved: Mapping[str, Tensor],
) -> Float[Tensor, "B S_plus_1 C h w"]:
    """The trajectory of DDIM inversion at guidance 1; what an earlier run ``saved``, if it did."""
    if "trajectory" in saved:
        return saved["trajectory"]

    def predict(z_t: Tensor, t: int) -> Tensor:
        return guided_noise(prior, z_t, t, source, 1.0)

    trajectory = invert_ddim(prior, z, times, predict, watch=watch)
    if store is not None:
        store.save({"trajectory": trajectory}, at_once=True)
    return trajectory


def mean_square(x: Float[Tensor, "B C h w"]) -> Float[Tensor, " B"]:
    """Of each image.

    Gradients are to be taken of it times C h w: otherwise they vanish in a network of half
    precision.
    """
    return x.square().flatten(1).mean(1)


def move(
    optimizer: torch.optim.Optimizer,
    moved: Sequence[Tensor],
    gradients: Sequence[Tensor],
    still: Bool[Tensor, " B"],
) -> None:
    """A step along the gradients, of all rows but those that stay ``still``."""
    before = [tensor.detach().clone() for tensor in moved]
    for tensor, gradient in zip(moved, gradients, strict=True):
        tensor.grad = gradient
    optimizer.step()
    with torch.no_grad():
        for tensor, kept in zip(moved, before, strict=True):
            tensor[still] = kept[still]
