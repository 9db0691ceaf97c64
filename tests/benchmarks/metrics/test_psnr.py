"""PSNR over a region."""

import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio

from benchmarks.metrics.psnr import masked_psnr


def test_masked_pixels_count_and_no_others() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(2, 2, 3, 8, 8, generator=generator)
    mask = torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    mask[:, :, 2:5, 1:7] = True
    part = [p[:, :, 2:5, 1:7].numpy() for p in (x, y)]
    expected = [peak_signal_noise_ratio(a, b, data_range=1) for a, b in zip(*part, strict=True)]
    assert masked_psnr(x, y, mask).tolist() == pytest.approx(expected, abs=1e-3)


def test_equal_pictures_have_100_and_an_empty_mask_has_nothing() -> None:
    x, mask = torch.rand(2, 3, 4, 4), torch.ones(2, 1, 4, 4, dtype=torch.bool)
    mask[1] = False
    found = masked_psnr(x, x, mask)
    assert found[0] == pytest.approx(100.0) and found[1].isnan()
