"""Looking into a network's attention while it runs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


@contextmanager
def recorded(modules: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
    """Collect what the modules return inside the ``with`` block, in the order they run.

    Works with any attention processor, for it is the module's output that is taken. Gradients flow
    through what is collected. Of a module that returns several tensors, as the joint attention of
    picture and text does, the first is taken. The hooks are removed whatever happens.
    """
    outputs: list[Tensor] = []

    def keep(module: nn.Module, args: Any, output: Tensor | tuple[Tensor, ...]) -> None:
        outputs.append(output[0] if isinstance(output, tuple) else output)

    handles = [module.register_forward_hook(keep) for module in modules]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()
