"""Background PSNR, against loops over windows."""

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.metrics.background import (
    BackgroundPSNR,
    background,
    background_psnr,
    background_psnr_paper,
    local_deviation,
)


def edit(size: int = 64) -> tuple[Tensor, Tensor]:
    """A picture of noise, changed a little everywhere and a lot in a square."""
    generator = torch.Generator().manual_seed(0)
    source = 0.2 + 0.6 * torch.rand(2, 3, size, size, generator=generator)
    edited = source + 0.01 * torch.randn(source.shape, generator=generator)
    edited[:, :, 8:24, 8:24] = torch.rand(2, 3, 16, 16, generator=generator)
    return source, edited.clamp(0, 1)


@pytest.mark.parametrize("window", [1, 4, 5])
def test_local_deviation_against_loops(window: int) -> None:
    residual = torch.randn(1, 3, 11, 9, generator=torch.Generator().manual_seed(1)).double()
    found = local_deviation(residual, window)[0, 0]
    values, before = residual[0].numpy(), window // 2
    for i in range(11):
        for j in range(9):
            rows = slice(max(0, i - before), i - before + window)
            columns = slice(max(0, j - before), j - before + window)
            assert found[i, j] == pytest.approx(values[:, rows, columns].std(), abs=1e-6)


def test_a_shift_of_brightness_hides_no_deviation() -> None:
    """Of a thousandth around a half: in float32 the squares are equal to four digits."""
    generator = torch.Generator().manual_seed(2)
    residual = 0.5 + 1e-4 * torch.randn(2, 3, 32, 32, generator=generator)
    exact = local_deviation(residual.double(), 5)
    assert torch.allclose(local_deviation(residual, 5).double(), exact, rtol=1e-3)


def test_the_background_is_where_little_changed() -> None:
    source, edited = edit()
    for threshold in ("mean", "median"):
        kept = background(source, edited, threshold)
        assert not kept[:, :, 8:24, 8:24].any()
        assert kept[:, :, 40:, 40:].float().mean() > 0.4
    share = background(source, edited, "median").float().mean((1, 2, 3))
    assert share.tolist() == pytest.approx([0.5, 0.5], abs=0.02)


def test_psnr_of_the_background_is_that_of_the_small_change() -> None:
    source, edited = edit()
    assert background_psnr(source, edited).tolist() == pytest.approx([40, 40], abs=0.7)


def test_the_paper_counts_what_is_masked_as_kept() -> None:
    source, edited = edit()
    kept = background(source, edited)
    for i in range(2):
        a, b = (np.asarray((p * kept)[i].double()) for p in (source, edited))
        expected = -10 * np.log10(((a - b) ** 2).mean())
        assert background_psnr_paper(source, edited)[i] == pytest.approx(expected, abs=1e-3)
    gain = -10 * kept.float().mean((1, 2, 3)).log10()
    difference = background_psnr_paper(source, edited) - background_psnr(source, edited)
    assert difference.tolist() == pytest.approx(gain.tolist(), abs=1e-3)


def test_the_window_grows_with_the_picture() -> None:
    source, edited = edit()
    large = [p.repeat_interleave(4, -1).repeat_interleave(4, -2) for p in (source, edited)]
    small = background(source, edited).repeat_interleave(4, -1).repeat_interleave(4, -2)
    assert (background(*large) == small).float().mean() > 0.97


def test_equal_pictures_are_all_background() -> None:
    source, _ = edit()
    assert background_psnr(source, source).tolist() == [100.0, 100.0]


def test_the_metrics_are_named_apart() -> None:
    source, edited = edit()
    for paper, measure in ((False, background_psnr), (True, background_psnr_paper)):
        metric = BackgroundPSNR("median", paper)
        metric.update(source, edited)
        assert metric.compute() == pytest.approx(float(measure(source, edited, "median").mean()))
    with pytest.raises(ValueError, match="mean or median, got 'mode'"):
        background(source, edited, "mode")
