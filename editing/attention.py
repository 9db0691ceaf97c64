"""Looking into a network's attention while it runs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor, nn


@contextmanager
def recorded(modules: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
    """Collect what the modules return inside the ``with`` block, in the order they run.

    Works with any attention processor, for it is the module's output that is taken. Gradients flow
    through what is collected. The hooks are removed whatever happens.
    """
    outputs: list[Tensor] = []

    def keep(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        outputs.append(output)

    handles = [module.register_forward_hook(keep) for module in modules]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()
