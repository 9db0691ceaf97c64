"""Inversions as tensors: written one file a picture, read again as a batch."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from editing.checkpoint import Checkpoint
from editing.errors import UserError
from editing.inversions import GENERATOR, Header, Known
from samplers.prior import Evaluations
from samplers.trajectory import Inversion

SECONDS = 10.0  # between two savings of an inversion in progress


def to_file(inversion: Inversion, row: int, generator: torch.Generator, header: Header) -> bytes:
    """The contents of the file of one row of an inversion."""
    tensors = {name: each[row].cpu().contiguous() for name, each in inversion.tensors.items()}
    return save(tensors | {GENERATOR: generator.get_state()}, header.metadata())


def read_inversions(
    known: Sequence[Known],
    generators: Sequence[torch.Generator],
    *,
    seed: int,
    model: str,
    device: torch.device,
) -> Inversion:
    """Inversions as one batch.

    With the seed that they were made with, the random numbers go on where the inversion left them:
    an edit is then the same as one that inverts anew.

    Args:
        known: their files.
        generators: of the edit, one each, whose state may be set.
        seed: of the edit.
        model: hash of the model that edits.
        device: where the tensors shall be.

    Raises:
        UserError: if they were made with another model, or are damaged.
    """
    rows: list[dict[str, Tensor]] = []
    for each, generator in zip(known, generators, strict=True):
        if each.header.model != model:
            raise UserError(f"{str(each.path)!r} was made with another model: edit with that one.")
        tensors = load_file(each.path)
        state = tensors.pop(GENERATOR)
        try:
            if seed == each.header.seed:
                generator.set_state(state)
            if rows and _shapes(tensors) != _shapes(rows[0]):
                raise UserError(
                    f"{str(known[0].path)!r} and {str(each.path)!r} do not hold the same: invert "
                    "both pictures again."
                )
        except (RuntimeError, TypeError) as error:
            raise UserError(f"{str(each.path)!r} is damaged: invert the picture again.") from error
        rows.append(tensors)
    stacked = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
    return Inversion({name: tensor.to(device) for name, tensor in stacked.items()})


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in tensors.items()}


@dataclass
class CheckpointStore:
    """A :class:`samplers.trajectory.Store` in a checkpoint.

    Attributes:
        checkpoint: where it is kept.
        generators: of the random numbers, which are saved and set with the tensors.
        device: where the tensors shall be when they are loaded.
        spent: network evaluations, which are saved with the tensors and added when they are loaded.
        last: when it was saved last, by a clock that only goes forward.
    """

    checkpoint: Checkpoint
    generators: Sequence[torch.Generator]
    device: torch.device
    spent: Evaluations = field(default_factory=Evaluations)
    last: float = field(default_factory=time.monotonic)

    def load(self) -> dict[str, Tensor] | None:
        """What was saved last, or None."""
        state = self.checkpoint.load()
        if state is None:
            return None
        for generator, known in zip(self.generators, state["generators"], strict=True):
            generator.set_state(known)
        forward, backward = state["evaluations"]
        self.spent.forward += forward
        self.spent.backward += backward
        return {name: each.to(self.device) for name, each in state["tensors"].items()}

    def save(self, tensors: dict[str, Tensor], at_once: bool = False) -> None:
        """Replace what was saved; unless that was just now, or it has to be ``at_once``."""
        if at_once or time.monotonic() - self.last >= SECONDS:
            states = [generator.get_state() for generator in self.generators]
            counts = (self.spent.forward, self.spent.backward)
            self.checkpoint.save({"tensors": tensors, "generators": states, "evaluations": counts})
            self.last = time.monotonic()
