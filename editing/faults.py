"""Images that are no longer finite: found without waiting for the device, stopped, explained."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from editing.editor import Step
from editing.errors import NonFiniteError
from editing.parameters import Canvas

LOOK = 10  # steps between two looks at whether all is finite, where a look makes a device wait


@dataclass
class Faults:
    """Which images are no longer finite, on the device: to read it is to wait for the device.

    Attributes:
        frozen: which images change no more, for whatever reason, (B,).
        first: the step at which each was first not finite, 0 for none, (B,).
        of_gradient: whether it was its gradient then, (B,).
        every: steps between two looks.
    """

    frozen: Bool[Tensor, " B"]
    first: Int64[Tensor, " B"]
    of_gradient: Bool[Tensor, " B"]
    every: int

    @staticmethod
    def begin(still: Bool[Tensor, " B"], canvas: Canvas) -> "Faults":
        device = canvas.tensors[0].device
        frozen = still.to(device)
        every = 1 if device.type == "cpu" else LOOK
        return Faults(frozen, torch.zeros_like(frozen, dtype=torch.int64), frozen, every)

    def find(self, state: Step) -> None:
        """Note which images are not finite after a step, and freeze them."""
        bad = not_finite(state).to(self.frozen.device)
        gradient = ~state.gradient.isfinite().flatten(1).all(1)
        begins = bad & (self.first == 0)
        self.first = torch.where(begins, state.step, self.first)
        self.of_gradient = torch.where(begins, gradient.to(bad.device), self.of_gradient)
        self.frozen = self.frozen | bad

    def freeze(self, still: Bool[Tensor, " B"]) -> None:
        """Images that are stopped change no more."""
        self.frozen = self.frozen | still.to(self.frozen.device)

    def due(self, step: int) -> bool:
        """Whether it is time for a look."""
        return step % self.every == 0

    def new(self, still: Bool[Tensor, " B"]) -> list[int]:
        """The rows that are not finite and not yet among the ``still`` ones, which they join."""
        found = (self.first > 0).cpu() & ~still
        still |= found
        return found.nonzero().flatten().tolist()

    def explain(
        self, row: int, history: Sequence[tuple[Tensor, Tensor]], steps: int, dtype: torch.dtype
    ) -> NonFiniteError:
        """An error that names step, the bad image, its t, and the network's precision."""
        step = int(self.first[row])
        what = "gradient" if self.of_gradient[row] else "result"
        name = str(dtype).removeprefix("torch.")
        return NonFiniteError(
            f"The {what} is not finite at step {step} of {steps}, image {row} of the batch "
            f"(t = {int(history[step - 1][0][row])}, network in {name}); the last good result is "
            "kept, and a smaller guidance or step size, or dtype=fp32, may help."
        )


def not_finite(state: Step) -> Bool[Tensor, " B"]:
    """Which images have a gradient or a result that is not finite.

    All of them, if they share their tensors.
    """
    bad = ~state.gradient.isfinite().flatten(1).all(1)
    for tensor in state.canvas.tensors:
        finite = tensor.detach().isfinite()
        if state.canvas.per_image:
            bad = bad | ~finite.flatten(1).all(1)
        else:
            bad = (bad.any() | ~finite.all()).expand(len(bad))
    return bad
