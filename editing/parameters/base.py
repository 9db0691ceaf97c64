"""The interface between the optimisation loop and what it optimises."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from samplers.prior import Prior


@runtime_checkable
class Canvas(Protocol):
    """The state of one optimisation: tensors, and how to look at them.

    Attributes:
        tensors: the leaves that the optimiser moves.
        rates: factors of the step size, one for every tensor.
        per_image: whether dimension 0 of every tensor is the image, as for pictures; otherwise all
            images are views of the same tensors, as for a NeRF.
    """

    tensors: list[Tensor]
    rates: Sequence[float]
    per_image: bool

    def latents(
        self, generators: Sequence[torch.Generator]
    ) -> tuple[Float[Tensor, "B C h w"], Float[Tensor, "B C h w"]]:
        """Latents of the edit, with a graph to ``tensors``, and of the source, without one.

        ``generators`` are for what has views to choose from; pictures do not use them.
        """
        ...

    def images(self) -> Float[Tensor, "N 3 H W"]:
        """The edit as pictures in [0, 1], float32, on the CPU."""
        ...

    def files(self) -> dict[str, bytes]:
        """The edit in formats of its own, by file name; nothing for what is only pictures."""
        return {}

    def state(self) -> dict[str, Tensor]:
        """Copies of ``tensors``, to be saved."""
        return {f"{i}": tensor.detach().clone() for i, tensor in enumerate(self.tensors)}

    @torch.no_grad()
    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Set ``tensors`` to a saved :meth:`state`.

        Raises:
            ValueError: if their number or shapes differ.
        """
        shapes = [tensor.shape for tensor in self.tensors]
        if [state[key].shape for key in sorted(state, key=int)] != shapes:
            raise ValueError("what was saved is of another shape")
        for i, tensor in enumerate(self.tensors):
            tensor.copy_(state[f"{i}"])


@runtime_checkable
class Parameters(Protocol):
    """Makes a canvas from a source. Holds settings only, never the state of a run."""

    def start(self, prior: Prior, sources: Any) -> Canvas:
        """A canvas that shows ``sources``."""
        ...


@runtime_checkable
class Source(Protocol):
    """What a :class:`SceneParameters` starts from."""

    @property
    def shown(self) -> Float[Tensor, "N 3 H W"]:
        """The pictures that a canvas made from it shows, as they are before the edit."""
        ...

    @property
    def notes(self) -> dict[str, Any]:
        """What `result.json` says of it."""
        ...

    @property
    def files(self) -> dict[str, bytes]:
        """What is kept of it before the edit begins, by file name."""
        ...


@runtime_checkable
class SceneParameters(Parameters, Protocol):
    """Parameters whose source is no picture, but a file or folder of its own.

    Attributes:
        views: how many views a step looks at.
    """

    views: int

    def read(self, path: Path, size: int, multiple: int) -> Any:
        """What is at ``path``, to be seen ``size`` pixels wide or high, whichever is less.

        Raises:
            UserError: if it cannot be used.
        """
        ...

    def check(self, path: Path) -> None:
        """Refuse at once what :meth:`read` could not read, as far as that can be seen quickly.

        Raises:
            UserError: if it cannot be used.
        """
        ...

    def kept(self, folder: Path) -> "SceneParameters":
        """The same, with what an interrupted run left of its :attr:`Source.files` in a folder."""
        ...

    def prepare(
        self,
        found: Any,
        device: torch.device,
        seed: int,
        progress: Callable[[int, int], None] | None,
    ) -> Source:
        """The source of an edit from what was read; ``progress`` takes steps done and to do."""
        ...
