"""Self-similarity, on a small random transformer."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import ViTConfig, ViTModel

from benchmarks.metrics.structure import (
    StructureDistance,
    last_keys,
    load_dino,
    structure_distance,
)
from editing.errors import UserError


@pytest.fixture(scope="module")
def dino() -> ViTModel:
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        image_size=32,
        patch_size=16,
    )
    return ViTModel(config, add_pooling_layer=False).eval().requires_grad_(False)


def test_the_distance_by_hand() -> None:
    x, y = torch.randn(2, 2, 5, 8, generator=torch.Generator().manual_seed(0))
    for i, found in enumerate(structure_distance(x, y)):
        a, b = (p[i].double().numpy() for p in (x, y))
        similar = [
            (k @ k.T) / np.outer(np.linalg.norm(k, axis=1), np.linalg.norm(k, axis=1))
            for k in (a, b)
        ]
        assert found == pytest.approx(((similar[0] - similar[1]) ** 2).mean(), abs=1e-6)


def test_keys_are_those_of_the_last_layer(dino: ViTModel) -> None:
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    found = last_keys(dino, pixels)
    before = dino(pixels, output_hidden_states=True).hidden_states[-2]
    last = dino.layers[-1]
    assert torch.allclose(found, last.attention.k_proj(last.layernorm_before(before)), atol=1e-5)
    assert found.shape == (2, 5, 32)


def test_structure_sees_parts_that_move_and_not_colour(dino: ViTModel) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(2, 3, 64, 96, generator=generator)
    metric = StructureDistance(dino)
    assert metric.values(x, x).abs().max() < 1e-9
    moved, darker = x.roll(32, -1), 0.9 * x
    assert (metric.values(x, moved) > 5 * metric.values(x, darker)).all()


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"needs the model .*nowhere, which cannot be loaded"):
        load_dino(str(tmp_path / "nowhere"))


def test_a_model_is_loaded_from_a_folder(dino: ViTModel, tmp_path: Path) -> None:
    dino.save_pretrained(tmp_path)
    x, y = torch.rand(2, 1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    expected = StructureDistance(dino).values(x, y)
    assert torch.equal(StructureDistance(str(tmp_path)).values(x, y), expected)
