"""What editors have in common: the edit they return, the step that callbacks see."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from editing.parameters import Canvas
from samplers.prior import Evaluations, PromptPair


@dataclass(frozen=True)
class Edit:
    """The result of an editor.

    Attributes:
        images: the edited pictures (B, 3, H, W) in [0, 1], float32, on the CPU.
        parameters: copies of the optimised tensors; for pictures one, its rows the images.
        records: one dict per step: ``step`` from 1 and ``t``, one number per image. Of a distiller
            also ``gradient_norm`` (Euclidean, in latent units), likewise, 0 for an image that has
            stopped; of a sampler ``sampling``, False while it inverts.
        evaluations: network evaluations, summed over images and steps.
        seconds: wall time, encoding and decoding included.
        stopped: of each image, why it changed no more before the last step, or None.
        canvas: what was optimised.
    """

    images: Float[Tensor, "B 3 H W"]
    parameters: tuple[Tensor, ...]
    records: list[dict[str, Any]]
    evaluations: Evaluations
    seconds: float
    stopped: tuple[str | None, ...] = ()
    canvas: Canvas | None = None

    @property
    def latents(self) -> Tensor:
        """The first (for latents: the only) optimised tensor."""
        return self.parameters[0]


@dataclass(frozen=True)
class Step:
    """What a callback sees after a step.

    Attributes:
        step: 1 .. ``steps``.
        steps: how many there are.
        t: timestep of each image, (B,).
        gradient: the distiller's gradient at this step, (B, C, h, w); of a sampler, which has none,
            the clean latents that it expects.
        dtype: precision of the network.
        canvas: what is optimised, after the step.
        stopped: which images change no more, (B,) on the CPU; a callback may set more of them, but
            for samplers, which run to their end.
    """

    step: int
    steps: int
    t: Int64[Tensor, " B"]
    gradient: Float[Tensor, "B C h w"]
    dtype: torch.dtype
    canvas: Canvas
    stopped: Bool[Tensor, " B"]

    @property
    def latents(self) -> Tensor:
        """The first (for latents: the only) optimised tensor, without a graph; do not change it."""
        return self.canvas.tensors[0].detach()

    def decode(self) -> Float[Tensor, "B 3 H W"]:
        """The pictures as they are now, in [0, 1]; costs a decoder call for latents."""
        return self.canvas.images()


@runtime_checkable
class Callback(Protocol):
    """Looks at every step; may stop the run by raising."""

    def on_step(self, state: Step) -> None:
        """Called after every step."""
        ...


@runtime_checkable
class Editor(Protocol):
    """Edits a batch: what distillation and trajectory methods have in common."""

    def __call__(
        self,
        sources: Any,
        prompts: PromptPair,
        generators: Sequence[torch.Generator],
        callbacks: Sequence[Callback] = (),
        mask: Float[Tensor, "B 1 H W"] | None = None,
    ) -> Edit:
        """Edit ``sources`` (for pictures: (B, 3, H, W) in [0, 1]) from source to target prompts.

        Where ``mask`` is 0 nothing changes, where it is 1 everything may.
        """
        ...
