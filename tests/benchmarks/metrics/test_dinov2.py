"""The direction of change, on a small random DINOv2 and against its own processor."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import BitImageProcessor, Dinov2Config, Dinov2Model

from benchmarks.metrics.dinov2 import Dinov2Direction, load_dinov2
from editing.errors import UserError


def small() -> Dinov2Model:
    config = Dinov2Config(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=224, patch_size=14
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Dinov2Model(config).eval().requires_grad_(False)


def test_pictures_are_prepared_as_by_the_models_own_processor() -> None:
    values = np.random.default_rng(0).integers(0, 256, (300, 420, 3), dtype=np.uint8)
    picture = Image.fromarray(values).resize((420, 300))
    processor = BitImageProcessor(
        size={"shortest_edge": 256},
        resample=Image.Resampling.BICUBIC,
        crop_size={"height": 224, "width": 224},
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    )
    model = small()
    theirs = processor(picture, return_tensors="pt").pixel_values
    expected = model(pixel_values=theirs).last_hidden_state[:, 0]
    ours = torch.from_numpy(np.array(picture)).movedim(-1, 0)[None].float() / 255
    found = Dinov2Direction(model).embed(ours)
    torch.testing.assert_close(found, expected, atol=0.02, rtol=0.02)  # theirs rounds to 8 bits


def test_the_direction_by_hand() -> None:
    model = small()
    metric = Dinov2Direction(model)
    source, edited, reference = torch.rand(3, 2, 3, 64, 64, generator=torch.manual_seed(0))
    tokens = [metric.embed(x).double() for x in (source, edited, reference)]
    moved, wanted = tokens[1] - tokens[0], tokens[2] - tokens[0]
    cosine = (moved * wanted).sum(1) / (moved.norm(dim=1) * wanted.norm(dim=1))
    torch.testing.assert_close(metric.values(source, edited, reference).double(), cosine)
    torch.testing.assert_close(metric.values(source, reference, reference), torch.ones(2))
    assert metric.values(source, source, reference).isnan().all()
    metric.update(source, edited, reference)
    assert float(metric.compute()) == pytest.approx(float(cosine.mean()), abs=1e-6)


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"needs the model .*nothing, which cannot be loaded"):
        load_dinov2(str(tmp_path / "nothing"))
