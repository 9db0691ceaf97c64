"""The optimisation loop: one for all distillers and all parameters."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from editing.checkpoint import Checkpoint, memories, remind
from editing.distillers.base import Distillation, ScoreDistiller
from editing.editor import Callback, Edit, Step
from editing.errors import NonFiniteError, UserError
from editing.faults import Faults
from editing.parameters import Canvas, Latents, Parameters
from editing.schedules import Constant, Schedule
from samplers.prior import PromptPair, count_evaluations

# The reference implementations multiply the loss by 2000, divide it by h w = 64 * 64 and take SGD
# steps of 0.1. Kept per element, so that the step does not depend on the resolution.
STEP_SIZE = 2000 * 0.1 / 64**2


@dataclass
class DistillationEditor:
    """Moves parameters along a distiller's gradient.

    An image whose numbers are no longer finite is stopped, and the error raised in the end.

    Attributes:
        distiller: the method.
        parameters: what is moved.
        steps: number of optimisation steps, 1 or more.
        step_size: learning rate per element, at every resolution.
        optimizer: called with the tensors and ``lr``; plain gradient descent, as in the papers.
        schedule: factor of the step size by progress; constant by default.
        callbacks: called after every step, before those of the call.

    Raises:
        UserError: for fewer than one step or a step size that is not positive.
    """

    distiller: ScoreDistiller
    parameters: Parameters = field(default_factory=Latents)
    steps: int = 200
    step_size: float | int = STEP_SIZE
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.SGD
    schedule: Schedule = field(default_factory=Constant)
    callbacks: Sequence[Callback] = ()

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise UserError(f"An edit needs at least one step, got steps={self.steps}.")
        if not self.step_size > 0:
            raise UserError(f"The step size must be positive, got step_size={self.step_size}.")

    def __call__(
        self,
        sources: Any,
        prompts: PromptPair,
        generators: Sequence[torch.Generator],
        callbacks: Sequence[Callback] = (),
        mask: Float[Tensor, "B 1 H W"] | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> Edit:
        """Edit a batch.

        An image that is no longer finite stays as it was before, and the others go on.

        Args:
            sources: what ``parameters`` starts from; pictures (B, 3, H, W) in [0, 1] for latents
                and pixels.
            prompts: one pair per image, or one for all.
            generators: one per image; a result does not depend on the rest of its batch.
            callbacks: called after every step.
            mask: factor of every step of latents and pixels, in [0, 1] and in pixels of the
                sources; latents are masked by how much of them is inside.
            checkpoint: where the state is saved on the way, and from where the edit goes on if
                there is one of the same edit.

        Raises:
            NonFiniteError: at the end, if an image did not stay finite; with the edit in
                ``last_good``.
        """
        start, prior = time.perf_counter(), self.distiller.prior
        canvas = self.parameters.start(prior, sources)
        groups = [{"params": [tensor]} for tensor in canvas.tensors]
        optimizer = self.optimizer(groups, lr=self.step_size)
        inside = None if mask is None else [area(mask, tensor) for tensor in canvas.tensors]
        watchers = (*self.callbacks, *callbacks)
        errors: list[NonFiniteError] = []
        so_far = _SoFar.begin(len(generators))
        moving = (canvas, optimizer, generators, watchers)
        with count_evaluations(prior) as evaluations:
            if checkpoint is not None and (saved := checkpoint.load()) is not None:
                so_far = _SoFar.resume(saved, *moving)
                evaluations.forward, evaluations.backward = saved["evaluations"]
            still, ended, history = so_far.still, so_far.ended, so_far.history
            faults = Faults.begin(still, canvas)
            for step in range(so_far.step + 1, self.steps + 1):
                target, source = canvas.latents(generators)
                progress = (step - 1) / max(self.steps - 1, 1)
                rest = still if canvas.per_image else torch.zeros_like(still)
                drawn = distill_others(
                    self.distiller, rest, target, source, prompts, generators, progress
                )
                for group, rate in zip(optimizer.param_groups, canvas.rates, strict=True):
                    group["lr"] = rate * self.step_size * self.schedule(progress)
                optimizer.zero_grad()
                # views of shared tensors count as their mean: a step is as large for any number
                share = 1 if canvas.per_image else len(target)
                target.backward(drawn.gradient / share)
                good = [tensor.detach().clone() for tensor in canvas.tensors]
                optimizer.step()
                if inside is not None:
                    confine(canvas.tensors, good, inside)
                state = Step(step, self.steps, drawn.t, drawn.gradient, prior.dtype, canvas, still)
                history.append(
                    (drawn.t, torch.linalg.vector_norm(drawn.gradient.flatten(1), dim=1))
                )
                faults.find(state)
                keep_rows(canvas, good, faults.frozen)
                if faults.due(step) or step == self.steps:
                    for row in faults.new(still):
                        errors.append(faults.explain(row, history, self.steps, prior.dtype))
                        ended[row] = str(errors[-1])
                for watcher in watchers:
                    watcher.on_step(state)
                for row in still.nonzero().flatten().tolist():
                    ended[row] = ended[row] or f"no gain at step {step} of {self.steps}"
                if still.any():
                    faults.freeze(still)
                if still.all():
                    break
                if checkpoint is not None and checkpoint.due(step):
                    so_far.step = step
                    spent = {
                        "evaluations": (evaluations.forward, evaluations.backward),
                        "seconds": so_far.seconds + time.perf_counter() - start,
                    }
                    checkpoint.save(so_far.saved(*moving) | spent)
            parameters = tuple(tensor.detach().clone() for tensor in canvas.tensors)
            images, seconds = canvas.images(), so_far.seconds + time.perf_counter() - start
        records = [
            {"step": step, "t": t.tolist(), "gradient_norm": norms.tolist()}
            for step, (t, norms) in enumerate(history, 1)
        ]
        edit = Edit(images, parameters, records, evaluations, seconds, tuple(ended), canvas)
        if errors:
            errors[0].last_good = edit
            raise errors[0]
        return edit


@dataclass
class _SoFar:
    """What an edit has to remember of its steps.

    Attributes:
        step: the last one, when it was saved.
        history: t and the norm of the gradient of every step.
        still: which images change no more.
        ended: why, of each.
        seconds: spent before this process.
    """

    step: int
    history: list[tuple[Tensor, Tensor]]
    still: Bool[Tensor, " B"]
    ended: list[str | None]
    seconds: float = 0.0

    @staticmethod
    def begin(count: int) -> "_SoFar":
        return _SoFar(0, [], torch.zeros(count, dtype=torch.bool), [None] * count)

    @staticmethod
    def resume(
        saved: dict[str, Any],
        canvas: Canvas,
        optimizer: torch.optim.Optimizer,
        generators: Sequence[torch.Generator],
        callbacks: Sequence[Callback],
    ) -> "_SoFar":
        """Set everything that moves to what was :meth:`saved`."""
        canvas.restore(saved["tensors"])
        optimizer.load_state_dict(saved["optimizer"])
        for generator, state in zip(generators, saved["generators"], strict=True):
            generator.set_state(state)
        remind(callbacks, saved["callbacks"])
        names = ("step", "history", "still", "ended", "seconds")
        return _SoFar(**{name: saved[name] for name in names})

    def saved(
        self,
        canvas: Canvas,
        optimizer: torch.optim.Optimizer,
        generators: Sequence[torch.Generator],
        callbacks: Sequence[Callback],
    ) -> dict[str, Any]:
        """Itself and everything that moves, for a checkpoint."""
        return vars(self) | {
            "tensors": canvas.state(),
            "optimizer": optimizer.state_dict(),
            "generators": [generator.get_state() for generator in generators],
            "callbacks": memories(callbacks),
        }


def distill_others(
    distiller: ScoreDistiller,
    still: Bool[Tensor, " B"],
    target: Float[Tensor, "B C h w"],
    source: Float[Tensor, "B C h w"],
    prompts: PromptPair,
    generators: Sequence[torch.Generator],
    progress: float,
) -> Distillation:
    """As :meth:`ScoreDistiller.distill`; images that are ``still`` have 0, and cost nothing."""
    if not still.any():
        return distiller.distill(target, source, prompts, generators, progress)
    rows = (~still).nonzero().flatten()
    chosen = [generators[row] for row in rows.tolist()]
    pairs, there = prompts.expand(len(target)), rows.to(target.device)
    some = distiller.distill(target[there], source[there], pairs[rows], chosen, progress)
    gradient = some.gradient.new_zeros(target.shape).index_copy_(0, there, some.gradient)
    t = some.t.new_zeros(len(target)).index_copy_(0, rows.to(some.t.device), some.t)
    return Distillation(gradient, t)


def area(mask: Float[Tensor, "B 1 H W"], tensor: Tensor) -> Tensor | None:
    """A mask at the size of a tensor (B, C, h, w); None for a tensor of another kind."""
    if tensor.dim() != 4:
        return None
    height, width = tensor.shape[-2:]
    return F.adaptive_avg_pool2d(mask.to(tensor), (height, width)).expand_as(tensor)


@torch.no_grad()
def confine(
    tensors: Sequence[Tensor], before: Sequence[Tensor], inside: Sequence[Tensor | None]
) -> None:
    """Multiply the last step of tensors with their :func:`area`.

    The step and not the gradient, which Adam would divide the mask out of.
    """
    for tensor, kept, share in zip(tensors, before, inside, strict=True):
        if share is not None:
            tensor.copy_(torch.lerp(kept, tensor, share))


@torch.no_grad()
def keep_rows(canvas: Canvas, before: Sequence[Tensor], rows: Bool[Tensor, " B"]) -> None:
    """Set images back to what they were; tensors that they share, if it is all of them."""
    for tensor, kept in zip(canvas.tensors, before, strict=True):
        chosen = rows.view(-1, *[1] * (tensor.dim() - 1)) if canvas.per_image else rows.all()
        tensor.copy_(torch.where(chosen.to(tensor.device), kept, tensor))
