"""Runs a trajectory method on pictures: encoding, watching, masking and decoding around it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from editing.edit import area
from editing.editor import Callback, Edit, Step
from editing.errors import NonFiniteError, UserError
from editing.parameters.latents import LatentCanvas
from samplers.prior import Condition, Evaluations, Prior, PromptPair, count_evaluations
from samplers.random import randn
from samplers.trajectory import (
    Inversion,
    InversionError,
    PromptError,
    Store,
    TrajectoryMethod,
    Visit,
)


@dataclass
class TrajectoryEditor:
    """Edits pictures by a sampler's trajectory; an :class:`editing.editor.Editor`.

    Attributes:
        method: inversion and sampling.
        callbacks: called after every step, before those of the call.
        inversion: what the method has found out about the sources of the next calls, if that is
            known; otherwise it is found out anew.
    """

    method: TrajectoryMethod
    callbacks: Sequence[Callback] = ()
    inversion: Inversion | None = None

    def check_prompts(self, prompts: PromptPair) -> None:
        """Refuse prompts that the method cannot do with.

        Raises:
            UserError: saying why.
        """
        try:
            self.method.check_prompts(prompts)
        except PromptError as unfit:
            raise UserError(f"The prompts do not fit the method: {unfit}.") from unfit

    @torch.no_grad()
    def invert(
        self,
        sources: Float[Tensor, "B 3 H W"],
        source: Condition,
        generators: Sequence[torch.Generator],
        callbacks: Sequence[Callback] = (),
        store: Store | None = None,
    ) -> tuple[Inversion, Evaluations]:
        """What the method finds out about pictures in [0, 1], and the network evaluations it took.

        Args:
            sources: the pictures.
            source: their prompts, one each.
            generators: one per image.
            callbacks: called after every step.
            store: where a method that optimises keeps what it has so far.
        """
        prior = self.method.prior
        with count_evaluations(prior) as evaluations:
            z = prior.encode(sources.to(prior.device))
            watch = _Watch(prior, z, generators, (*self.callbacks, *callbacks), None)
            return self.method.invert(z, source, generators, watch, store), evaluations

    @torch.no_grad()
    def __call__(
        self,
        sources: Float[Tensor, "B 3 H W"],
        prompts: PromptPair,
        generators: Sequence[torch.Generator],
        callbacks: Sequence[Callback] = (),
        mask: Float[Tensor, "B 1 H W"] | None = None,
    ) -> Edit:
        """Edit a batch.

        Where ``mask`` is 0, latents are set back to those of the source, with as much noise as they
        should have, after every step of the sampling (Avrahami et al. 2022, "Blended Diffusion").

        Args:
            sources: pictures in [0, 1].
            prompts: one pair per image, or one for all.
            generators: one per image; a result does not depend on the rest of its batch.
            callbacks: called after every step; a step of the inversion shows the latents expected
                of it, as one of the sampling does.
            mask: how much of every place may change, in [0, 1].

        Raises:
            UserError: if the prompts or the inversion do not fit the method.
            NonFiniteError: if an image did not stay finite; with the edit in ``last_good``.
        """
        start, prior = time.perf_counter(), self.method.prior
        prompts = prompts.expand(len(sources))
        self.check_prompts(prompts)
        with count_evaluations(prior) as evaluations:
            z = prior.encode(sources.to(prior.device))
            watch = _Watch(prior, z, generators, (*self.callbacks, *callbacks), mask)
            inversion = self.inversion
            if inversion is None:
                inversion = self.method.invert(z, prompts.source, generators, watch)
            watch.begin_sampling()  # with the random numbers that an inversion leaves
            try:
                z_edit = self.method.sample(inversion, prompts, generators, watch)
            except InversionError as unfit:
                raise UserError(f"It cannot be gone on from: {unfit}; invert again.") from unfit
            canvas = LatentCanvas(prior, z_edit.to(z))
            images = canvas.images()
        finite = [each.isfinite().flatten(1).all(1).cpu() for each in (z_edit, images)]
        ended = tuple(_not_finite(row, prior.dtype) for row in finite[0] & finite[1])
        seconds = time.perf_counter() - start
        edit = Edit(images, (z_edit,), watch.records, evaluations, seconds, ended, canvas)
        for reason in filter(None, ended):
            error = NonFiniteError(reason)
            error.last_good = edit
            raise error
        return edit


def _not_finite(finite: Tensor, dtype: torch.dtype) -> str | None:
    name = str(dtype).removeprefix("torch.")
    return None if finite else f"The result is not finite (network in {name}): try dtype=fp32."


@dataclass
class _Watch:
    """Shows the callbacks every step, and keeps what is outside the mask."""

    prior: Prior
    source: Float[Tensor, "B C h w"]
    generators: Sequence[torch.Generator]
    callbacks: Sequence[Callback]
    mask: Float[Tensor, "B 1 H W"] | None
    records: list[dict[str, Any]] = field(default_factory=list)

    def begin_sampling(self) -> None:
        """Draw the noise of what is kept."""
        if self.mask is not None:
            inside = area(self.mask, self.source)
            assert inside is not None  # latents of pictures have its four dimensions
            self.inside, source = inside, self.source
            self.noise = randn(source.shape, self.generators, source.device, source.dtype)

    def __call__(self, visit: Visit) -> Float[Tensor, "B C h w"]:
        z_t = visit.z_t
        t = torch.full((len(z_t),), visit.t, device=z_t.device)
        if self.mask is not None and visit.sampling:
            kept = self.source
            if visit.noisy and visit.step < visit.steps:
                alpha, sigma = self.prior.alpha_sigma(t)
                kept = alpha * self.source + sigma * self.noise
            z_t = torch.lerp(kept.to(z_t), z_t, self.inside.to(z_t))
        self.records.append({"step": visit.step, "t": t.tolist(), "sampling": visit.sampling})
        canvas = LatentCanvas(self.prior, visit.mean.float())
        still = torch.zeros(len(z_t), dtype=torch.bool)
        step = Step(visit.step, visit.steps, t, visit.mean, self.prior.dtype, canvas, still)
        for callback in self.callbacks:
            callback.on_step(step)
        return z_t
