"""Overlap of masks."""

import pytest
import torch
from torchmetrics.functional.classification import binary_jaccard_index

from benchmarks.metrics.iou import IoU, iou


def masks() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.rand(2, 3, 1, 9, 7, generator=generator) > 0.5
    return a, b


def test_against_torchmetrics() -> None:
    a, b = masks()
    expected = [float(binary_jaccard_index(x, y)) for x, y in zip(a, b, strict=True)]
    assert iou(a, b).tolist() == pytest.approx(expected)
    assert iou(a, a).tolist() == [1.0] * 3 and iou(a, ~a).tolist() == [0.0] * 3


def test_what_is_not_found_is_neither_0_nor_1() -> None:
    a, b = masks()
    a[0], b[1] = False, False
    a[2], b[2] = False, False
    assert iou(a, b).isnan().all()
    metric = IoU()
    metric.update(a, b)
    metric.update(*masks())
    assert metric.compute() == pytest.approx(float(iou(*masks()).mean()))
    assert metric.missing == 3
