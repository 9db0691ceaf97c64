"""Is an edit reversible? The way back, with the noises of the way there (IDS, Section 4.1)."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from editing.distillers.dds import DDS
from editing.edit import DistillationEditor
from editing.editor import Callback, Edit
from editing.errors import NonFiniteError, UserError
from editing.parameters import Latents
from editing.parameters.latents import LatentCanvas
from editing.schedules import Schedule
from samplers.prior import Prior, PromptPair


class Recorder:
    """Calls a noise strategy or timestep sampler and keeps what it returned.

    Attributes:
        kept: all of it, oldest first.
    """

    def __init__(self, draw: Callable[..., Tensor]) -> None:
        self.draw, self.kept = draw, list[Tensor]()

    def __call__(self, *args: Any, **options: Any) -> Tensor:
        self.kept.append(self.draw(*args, **options))
        return self.kept[-1]


class Replay:
    """Returns what a :class:`Recorder` kept, the last first."""

    def __init__(self, recorder: Recorder) -> None:
        self.left = list(recorder.kept)

    def __call__(self, *args: Any, **options: Any) -> Tensor:
        return self.left.pop()


@dataclass(frozen=True)
class Mirrored:
    """A schedule from its end to its beginning."""

    schedule: Schedule

    def __call__(self, progress: float | int) -> float:
        return self.schedule(1 - progress)


@dataclass(frozen=True)
class GivenLatents(Latents):
    """Starts at latents (B, C, h, w) instead of pictures."""

    def start(self, prior: Prior, sources: Float[Tensor, "B C h w"]) -> LatentCanvas:
        return LatentCanvas(prior, sources)


def there_and_back(
    editor: DistillationEditor,
    sources: Float[Tensor, "B 3 H W"],
    prompts: PromptPair,
    generators: Sequence[torch.Generator],
    callbacks: Sequence[Callback] = (),
    mask: Float[Tensor, "B 1 H W"] | None = None,
) -> tuple[Edit, Edit]:
    """An edit, and the edit of its result back to the source prompt.

    The way back takes the timesteps and noises of the way there in reverse order, source and target
    swapped. If every gradient were exact it would end at the source. Arguments as for the editor;
    ``callbacks`` see the way there.

    Raises:
        UserError: if something else than latents is moved.
        NonFiniteError: with the edit in ``last_good``, also if it is the way back that diverges.
    """
    if type(editor.parameters) is not Latents:
        raise UserError("reverse=true works with parameters=latents only.")
    there, back = copy.copy(editor.distiller), copy.copy(editor.distiller)
    noise, times = Recorder(there.noise), Recorder(there.timesteps)
    there.noise, there.timesteps = noise, times
    edit = replace(editor, distiller=there)(sources, prompts, generators, callbacks, mask)
    back.noise, back.timesteps = Replay(noise), Replay(times)
    if isinstance(back, DDS):  # the noises are fixed points of the source, and not of the edit
        back.source_score = "network"
    returning = replace(
        editor,
        distiller=back,
        parameters=GivenLatents(),
        steps=len(edit.records),
        schedule=Mirrored(editor.schedule),
    )
    swapped = PromptPair(source=prompts.target, target=prompts.source)
    try:
        return edit, returning(edit.latents, swapped, generators, (), mask)
    except NonFiniteError as error:
        error.last_good = edit
        raise


def psnr(x: Float[Tensor, "B 3 H W"], y: Float[Tensor, "B 3 H W"]) -> Float[Tensor, " B"]:
    """Peak signal-to-noise ratio of pictures in [0, 1], dB; at most 100."""
    return -10 * (x - y).square().flatten(1).mean(1).clamp_min(1e-10).log10()
