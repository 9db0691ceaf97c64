"""Callbacks of an edit: a progress bar, and pictures of the way."""

from typing import Any

from jaxtyping import Float
from torch import Tensor

from editing.editor import Step


class Progress:
    """A progress bar with the time left, on standard error.

    Args:
        description: what stands before the bar.
        file: where it is written; standard error by default.
    """

    def __init__(self, description: str = "", file: Any = None) -> None:
        self.description, self.file = description, file
        self.bar: Any = None

    def on_step(self, state: Step) -> None:
        from tqdm import tqdm

        if self.bar is None or state.step == 1:
            self.bar = tqdm(
                desc=self.description,
                total=state.steps,
                initial=state.step - 1,
                file=self.file,
                unit="step",
            )
        self.bar.update()
        if state.step == state.steps:
            self.bar.close()


class Trace:
    """Keeps every ``every``-th picture, and the last, for an animation.

    Args:
        every: of how many steps one is kept.
        frames: in place of that, about how many are kept of every way, however many steps it has; a
            method that inverts and samples goes two.

    Attributes:
        frames: pictures (B, 3, H, W) in [0, 1], on the CPU.
        steps: the step after which each frame was taken.

    Raises:
        ValueError: if either is less than 1.
    """

    def __init__(self, every: int = 10, frames: int | None = None) -> None:
        for name, value in (("every", every), ("frames", frames)):
            if value is not None and value < 1:
                raise ValueError(f"{name} must be 1 or more, got {value}")
        self.every, self.most = every, frames
        self.frames: list[Float[Tensor, "B 3 H W"]] = []
        self.steps: list[int] = []

    def on_step(self, state: Step) -> None:
        last = state.step == state.steps or bool(state.stopped.all())
        every = self.every if self.most is None else max(1, round(state.steps / self.most))
        if last or state.step % every == 0:
            self.frames.append(state.decode())
            self.steps.append(state.step)

    def state_dict(self) -> dict[str, Any]:
        """What it has kept so far."""
        return {"frames": self.frames, "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what was kept."""
        self.frames, self.steps = state["frames"], state["steps"]
