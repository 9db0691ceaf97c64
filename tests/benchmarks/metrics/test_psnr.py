"""PSNR, SSIM and squared error, whole and over a region."""

import pytest
import torch
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity

from benchmarks.metrics.psnr import MSE, PSNR, SSIM, mse, psnr, ssim


def pictures(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(2, 3, 24, 20, generator=generator)
    return x, (x + 0.2 * torch.randn(x.shape, generator=generator)).clamp(0, 1)


def region() -> torch.Tensor:
    mask = torch.zeros(2, 1, 24, 20, dtype=torch.bool)
    mask[:, :, 2:15, 1:17] = True
    return mask


def test_whole_pictures_against_scikit_image() -> None:
    x, y = pictures()
    a, b = (p.permute(0, 2, 3, 1).double().numpy() for p in (x, y))
    pairs = list(zip(a, b, strict=True))
    assert mse(x, y).tolist() == pytest.approx([mean_squared_error(*p) for p in pairs])
    expected = [peak_signal_noise_ratio(*p, data_range=1) for p in pairs]
    assert psnr(x, y).tolist() == pytest.approx(expected, abs=1e-3)
    # Theirs leaves the border out, where windows are not whole.
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    maps = [
        structural_similarity(*p, data_range=1, channel_axis=2, full=True, **options)[1]
        for p in pairs
    ]
    inner = torch.zeros(2, 1, 24, 20, dtype=torch.bool)
    inner[:, :, 5:-5, 5:-5] = True
    expected = [each[5:-5, 5:-5].mean() for each in maps]
    assert ssim(x, y, inner).tolist() == pytest.approx(expected, abs=1e-4)


def test_masked_pixels_count_and_no_others() -> None:
    x, y = pictures()
    part = [p[:, :, 2:15, 1:17].permute(0, 2, 3, 1).numpy() for p in (x, y)]
    expected = [peak_signal_noise_ratio(a, b, data_range=1) for a, b in zip(*part, strict=True)]
    assert psnr(x, y, region()).tolist() == pytest.approx(expected, abs=1e-3)
    changed = torch.where(region(), y, 1 - y)
    assert torch.equal(psnr(x, changed, region()), psnr(x, y, region()))


def test_equal_pictures_have_100_and_an_empty_mask_has_nothing() -> None:
    x, mask = pictures()[0], region()
    mask[1] = False
    for measure, best in ((psnr, 100.0), (mse, 0.0), (ssim, 1.0)):
        found = measure(x, x, mask)
        assert found[0] == pytest.approx(best) and found[1].isnan()


@pytest.mark.parametrize(("metric", "measure"), [(PSNR, psnr), (MSE, mse), (SSIM, ssim)])
def test_metrics_average_pictures_over_batches(metric: type, measure: object) -> None:
    made = metric()
    (x, y), mask = pictures(), region()
    mask[0] = False
    made.update(x, y)
    made.update(x, y, mask)
    values = torch.cat([measure(x, y), measure(x, y, mask)[1:]])  # type: ignore[operator]
    assert made.compute() == pytest.approx(float(values.mean()))
