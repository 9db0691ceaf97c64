"""PIE-Bench's definitions, quirks included."""

import lpips
import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio
from torchmetrics.image import StructuralSimilarityIndexMeasure
from torchvision.transforms import Compose, Normalize, Resize

from benchmarks.metrics.pie import (
    PieClipScore,
    PieLPIPS,
    PieMSE,
    PiePSNR,
    PieSSIM,
    PieStructureDistance,
    pie_clip_score,
    pie_mask,
    pie_mse,
    pie_prompt,
    pie_psnr,
    pie_ssim,
)
from benchmarks.metrics.psnr import psnr
from benchmarks.metrics.structure import StructureDistance
from tests.benchmarks.metrics.test_structure import dino  # noqa: F401  a fixture


def pictures() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(2, 2, 3, 32, 32, generator=generator)
    kept = torch.zeros(2, 1, 32, 32, dtype=torch.bool)
    kept[:, :, :16] = True
    return x, y, kept


def test_a_mask_is_read_row_by_row_and_gets_a_border() -> None:
    mask = pie_mask([2 * 6 + 2, 2, 4 * 6 + 5, 2], size=6)
    inner = torch.zeros(6, 6, dtype=torch.bool)
    inner[2, 2:4] = True
    assert torch.equal(mask[1:-1, 1:-1], inner[1:-1, 1:-1])
    assert mask[0].all() and mask[-1].all() and mask[:, 0].all() and mask[:, -1].all()
    assert pie_mask([0, 10_000], size=6).all(), "a run may not end where the picture does"
    assert pie_mask([], size=6).sum() == pie_mask([36, 4], size=6).sum() == 20


@pytest.mark.parametrize(
    ("runs", "said"), [([1], "pairs"), ([-1, 1], "negative"), ([0, -1], "negative")]
)
def test_a_broken_code_is_refused(runs: list[int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        pie_mask(runs, size=6)


def test_brackets_are_taken_off() -> None:
    assert pie_prompt("a [red] cat on a [wooden bench]") == "a red cat on a wooden bench"


def test_what_is_cut_out_counts_as_kept() -> None:
    x, y, kept = pictures()
    a, b = ((p * kept).permute(0, 2, 3, 1).numpy() for p in (x, y))
    pairs = list(zip(a, b, strict=True))
    expected = [peak_signal_noise_ratio(*p, data_range=1) for p in pairs]
    assert pie_psnr(x, y, kept).tolist() == pytest.approx(expected, abs=1e-3)
    assert pie_mse(x, y, kept).tolist() == pytest.approx([((p - q) ** 2).mean() for p, q in pairs])
    gain = pie_psnr(x, y, kept) - psnr(x, y, kept)
    assert gain.tolist() == pytest.approx([10 * np.log10(2)] * 2, abs=1e-3)
    theirs = StructuralSimilarityIndexMeasure(data_range=1.0)
    for i in range(2):
        expected_ssim = theirs((x * kept)[i : i + 1], (y * kept)[i : i + 1])
        assert pie_ssim(x, y, kept)[i] == pytest.approx(float(expected_ssim), abs=1e-5)


def test_nothing_left_has_no_value() -> None:
    x, y, kept = pictures()
    kept[0] = False
    for measure in (pie_psnr, pie_mse, pie_ssim):
        found = measure(x, y, kept)
        assert found[0].isnan() and found[1].isfinite()
        assert measure(x, y).isfinite().all()
    torch.manual_seed(0)
    metric = PieLPIPS(lpips.LPIPS(net="squeeze", pnet_rand=True, verbose=False).eval())
    metric.update(x, y, kept)
    with torch.no_grad():
        cut = (x * kept)[1:] * 2 - 1, (y * kept)[1:] * 2 - 1
        assert metric.compute() == pytest.approx(float(metric.network(*cut)))


class Brightness:
    """Stands in for CLIP: how bright a picture is, and a text that means bright."""

    def embed_images(self, images: torch.Tensor) -> torch.Tensor:
        bright = images.mean((1, 2, 3))
        return torch.nn.functional.normalize(torch.stack([bright, torch.ones_like(bright)], 1))

    def embed_texts(self, texts: list[str]) -> torch.Tensor:
        return torch.tensor([[1.0, 0.0]]).expand(len(texts), -1)


def test_the_edited_region_alone_is_compared_with_the_text() -> None:
    x, _, kept = pictures()
    edited = ~kept
    edited[1] = False
    found = pie_clip_score(Brightness(), x, ["white"] * 2, edited)
    bright = float((x[0] * edited[0]).mean())
    assert float(found[0]) == pytest.approx(100 * bright / (1 + bright**2) ** 0.5, rel=1e-5)
    assert found[1].isnan()


def test_metrics_are_means_over_the_pictures_that_have_a_value() -> None:
    x, y, kept = pictures()
    kept[0] = False
    pairs = ((PiePSNR, pie_psnr), (PieMSE, pie_mse), (PieSSIM, pie_ssim))
    for kind, measure in pairs:
        metric = kind()
        metric.update(x, y, kept)
        metric.update(x, y)
        each = torch.cat([measure(x, y, kept), measure(x, y)])
        assert float(metric.compute()) == pytest.approx(float(each.nanmean()), rel=1e-5)
    score = PieClipScore(Brightness())
    score.update(x, ["white"] * 2, ~kept)
    each = pie_clip_score(Brightness(), x, ["white"] * 2, ~kept)
    assert float(score.compute()) == pytest.approx(float(each.mean()), rel=1e-5)


def test_the_structure_distance_as_it_was_published(dino: torch.nn.Module) -> None:  # noqa: F811
    """Arrays from 0 to 255, resized and normalised as if they went to 1; cosines of all keys."""
    steps = Compose(
        [Resize(224, max_size=480), Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]
    )
    images = torch.rand(2, 3, 40, 100, generator=torch.Generator().manual_seed(0))
    arrays = (images * 255).round().permute(0, 2, 3, 1).numpy().astype(np.uint8)
    similar = []
    for array in arrays:
        pixels = steps(torch.from_numpy(array.astype(np.float32).transpose(2, 0, 1)))[None]
        assert pixels.shape == (1, 3, 192, 480), "the longer side ends at 480"
        with torch.no_grad():
            inner = dino(pixels, output_hidden_states=True, interpolate_pos_encoding=True)
            last = dino.layers[-1]
            (keys,) = last.attention.k_proj(last.layernorm_before(inner.hidden_states[-2]))
        lengths = keys.norm(dim=1, keepdim=True)
        similar.append(keys @ keys.T / (lengths @ lengths.T).clamp(min=1e-8))
    expected = float(torch.nn.functional.mse_loss(*similar))
    x, y = (torch.from_numpy(array).movedim(-1, 0)[None].float() / 255 for array in arrays)
    assert float(PieStructureDistance(dino).values(x, y)) == pytest.approx(expected, rel=1e-4)
    assert float(StructureDistance(dino).values(x, y)) != pytest.approx(expected, rel=0.01)
