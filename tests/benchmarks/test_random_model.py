"""A pipeline to measure speed with: the real one's sizes, and loaded as any other."""

from pathlib import Path

import pytest
import torch

from benchmarks.random_model import UNET, main, random_sd15
from editing import DDS, load_prior
from samplers.random import make_generators


def test_it_has_the_size_of_stable_diffusion() -> None:
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        unet = UNet2DConditionModel(
            sample_size=64, block_out_channels=UNET, cross_attention_dim=768
        )
    assert sum(p.numel() for p in unet.parameters()) == 859_520_964  # SD 1.5's own


def test_it_loads_and_gives_gradients(tmp_path: Path) -> None:
    folder = random_sd15(tmp_path / "tiny", (32, 32, 64, 64), (32, 32, 32), 64, 1, torch.float32)
    prior = load_prior(folder, device="cpu")
    z = torch.randn(2, 4, 8, 8)
    prompts = prior.pair(source="a cat", target="a pig")
    drawn = DDS(prior).distill(z, 0.9 * z, prompts, make_generators(0, range(2)))
    assert drawn.gradient.isfinite().all() and drawn.gradient.abs().max() > 0


def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 2
    assert "exists: name a new folder" in capsys.readouterr().err
