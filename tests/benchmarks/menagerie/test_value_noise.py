import pytest
import torch
from torch import Tensor

from benchmarks.menagerie.noise import value_noise


def points(axes: int) -> Tensor:
    generator = torch.Generator().manual_seed(axes)
    return 40 * torch.rand(2000, axes, generator=generator) - 20


def seed(value: int) -> Tensor:
    return torch.tensor([value])


@pytest.mark.parametrize("axes", [2, 3])
def test_values_fill_the_range_and_never_leave_it(axes: int) -> None:
    values = value_noise(points(axes), seed(3))
    assert values.min() >= -1
    assert values.max() <= 1
    assert values.min() < -0.7
    assert values.max() > 0.7
    assert values.mean().abs() < 0.1


@pytest.mark.parametrize("axes", [2, 3])
def test_the_seed_alone_decides(axes: int) -> None:
    p = points(axes)
    assert torch.equal(value_noise(p, seed(3)), value_noise(p, seed(3)))
    # Another seed is another field, not a shifted or scaled one.
    pair = torch.stack([value_noise(p, seed(3)), value_noise(p, seed(4))])
    assert torch.corrcoef(pair)[0, 1].abs() < 0.1


@pytest.mark.parametrize("axes", [2, 3])
def test_it_is_continuous_across_cells(axes: int) -> None:
    p = points(axes)
    p[: len(p) // 2] = p[: len(p) // 2].round()  # half of them on the lattice
    for axis in range(axes):
        step = torch.zeros(axes)
        step[axis] = 1e-3
        change = value_noise(p + step, seed(3)) - value_noise(p - step, seed(3))
        # Smoothstep rises at most 1.5 a unit, between values at most 2 apart.
        assert change.abs().max() < 2 * 1e-3 * 3 * 1.1


def test_lattice_values_are_pinned() -> None:
    p = torch.tensor([[0.0, 0.0, 0.0], [1.5, -2.25, 3.0]])
    assert value_noise(p, torch.tensor([5, 5])).tolist() == pytest.approx(
        [-0.54003906, -0.28424263]
    )
