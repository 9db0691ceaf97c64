"""Hooks on attention."""

import pytest
import torch
from torch import nn

from editing.attention import recorded


def test_outputs_are_collected_and_hooks_removed() -> None:
    layers = [nn.Linear(2, 2), nn.Linear(2, 3)]
    x = torch.randn(1, 2, requires_grad=True)
    with recorded(layers) as outputs:
        y = layers[1](layers[0](x))
    layers[0](x)
    assert [tuple(output.shape) for output in outputs] == [(1, 2), (1, 3)]
    assert outputs[1] is y
    (gradient,) = torch.autograd.grad(outputs[0].sum(), x)
    torch.testing.assert_close(gradient[0], layers[0].weight.sum(0))


def test_hooks_are_removed_after_an_error() -> None:
    layer = nn.Linear(2, 2)
    with pytest.raises(RuntimeError, match="stop"), recorded([layer]):
        raise RuntimeError("stop")
    assert not layer._forward_hooks
