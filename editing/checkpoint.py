"""Edits that take long are saved on the way, and go on from there to the same result."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch

from editing import results
from editing.errors import UserError


@runtime_checkable
class Resumable(Protocol):
    """A callback that has something to remember."""

    def state_dict(self) -> dict[str, Any]:
        """What it needs to go on: tensors, numbers, texts, and lists of them."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        ...


@dataclass(frozen=True)
class Checkpoint:
    """A file that holds the state of an edit.

    Attributes:
        path: of the file.
        key: of all that determines the result; an edit with another one cannot go on from the file.
        every: steps between two savings.
    """

    path: Path
    key: str
    every: int = 20

    def load(self) -> dict[str, Any] | None:
        """The state that was saved, None if there is none.

        Raises:
            UserError: if the file is broken or of another edit.
        """
        if not self.path.exists():
            return None
        where = f"{str(self.path)!r}"
        try:
            # weights_only: tensors, numbers and texts, never code
            state = torch.load(self.path, map_location="cpu", weights_only=True)
            key = state["key"]
        except Exception as error:  # a broken file may break the reader in any way
            raise UserError(
                f"{where} is broken or no checkpoint: add overwrite=true to start again."
            ) from error
        if key != self.key:
            raise UserError(
                f"{where} is of an edit with other settings: give the same ones to go on, or add "
                "overwrite=true to start again."
            )
        return dict(state)

    def save(self, state: dict[str, Any]) -> None:
        """Replace what was saved; the file is there whole or not at all."""
        buffer = BytesIO()
        torch.save(state | {"key": self.key}, buffer)
        results.write(self.path, buffer.getvalue())

    def discard(self) -> None:
        """Remove what was saved, if it is of this edit."""
        with suppress(UserError):
            if self.load() is not None:
                self.path.unlink()

    def due(self, step: int) -> bool:
        """Whether ``step`` is one after which the state is saved."""
        return step % self.every == 0


def memories(callbacks: Sequence[Any]) -> list[dict[str, Any]]:
    """What the callbacks among them remember that can."""
    return [each.state_dict() for each in callbacks if isinstance(each, Resumable)]


def remind(callbacks: Sequence[Any], states: Sequence[dict[str, Any]]) -> None:
    """Give callbacks back what :func:`memories` took."""
    for each, state in zip(
        [each for each in callbacks if isinstance(each, Resumable)], states, strict=True
    ):
        each.load_state_dict(state)
