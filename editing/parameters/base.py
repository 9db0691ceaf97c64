"""The interface between the optimisation loop and what it optimises."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from samplers.prior import Prior


@runtime_checkable
class Canvas(Protocol):
    """The state of one optimisation: tensors, and how to look at them.

    Attributes:
        tensors: the leaves that the optimiser moves; for pictures, dimension 0 is the image.
    """

    tensors: list[Tensor]

    def latents(
        self, generators: Sequence[torch.Generator]
    ) -> tuple[Float[Tensor, "B C h w"], Float[Tensor, "B C h w"]]:
        """Latents of the edit, with a graph to ``tensors``, and of the source, without one.

        ``generators`` are for what has views to choose from; pictures do not use them.
        """
        ...

    def images(self) -> Float[Tensor, "B 3 H W"]:
        """The edit as pictures in [0, 1], float32, on the CPU."""
        ...


@runtime_checkable
class Parameters(Protocol):
    """Makes a canvas from a source. Holds settings only, never the state of a run."""

    def start(self, prior: Prior, sources: Any) -> Canvas:
        """A canvas that shows ``sources``."""
        ...
