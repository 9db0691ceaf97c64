"""The figures of the model card, on parts whose figures are known beforehand."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from benchmarks.menagerie import evaluate
from benchmarks.menagerie.evaluate import SpeciesClassifier, generate, reconstruction, segmentation
from benchmarks.menagerie.scene import SPECIES, Scene
from benchmarks.menagerie.stages import EMBEDDED


@pytest.fixture
def pipeline(tiny_sd: Path) -> StableDiffusionPipeline:
    made = StableDiffusionPipeline.from_pretrained(tiny_sd, safety_checker=None)
    made.set_progress_bar_config(disable=True)
    return made


def test_reconstruction_is_the_mean_psnr(
    pipeline: StableDiffusionPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Latents are pictures in [-1, 1], and decoded they are 0.1 and 0.01 too bright."""
    wrong = torch.tensor([0.1, 0.01])[:, None, None, None] * 2
    latents = lambda x: SimpleNamespace(latent_dist=SimpleNamespace(mean=x))  # noqa: E731
    monkeypatch.setattr(pipeline.vae, "encode", latents)
    monkeypatch.setattr(pipeline.vae, "decode", lambda z: SimpleNamespace(sample=z + wrong))
    found = reconstruction(pipeline, torch.full((2, 3, 8, 8), 0.5))
    assert found == pytest.approx((20 + 40) / 2, abs=1e-3)


def test_segmentation_is_the_mean_iou(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first half of the picture is found; the animals fill the same half, and the whole."""
    asked = []

    def found(input_ids: Tensor, pixel_values: Tensor) -> Any:
        asked.append(input_ids)
        logits = torch.full((len(pixel_values), 8, 8), -1.0)
        logits[:, :4] = 1.0
        return SimpleNamespace(logits=logits)

    model = SimpleNamespace(eval=lambda: found)
    loader = SimpleNamespace(from_pretrained=lambda *_, **__: model)
    monkeypatch.setattr(evaluate, "CLIPSegForImageSegmentation", loader)
    masks = torch.ones(2, 1, 8, 8)
    masks[0, :, 4:] = 0
    scenes = [Scene(species="cat"), Scene(species="pig")]
    images = torch.zeros(2, 3, 8, 8)
    assert segmentation(EMBEDDED, images, masks, scenes) == pytest.approx((1 + 0.5) / 2)
    assert not torch.equal(asked[0][0], asked[0][1])


def test_species_are_those_whose_prompt_is_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    classify = SpeciesClassifier(EMBEDDED)
    order = torch.tensor([3, 0, 7])
    seen = torch.lerp(classify.named[order], classify.named[[0, 1, 2]], 0.3)
    monkeypatch.setattr(classify.clip, "embed_images", lambda images: seen)
    assert len(classify.named) == len(SPECIES)
    assert classify(torch.rand(3, 3, 64, 64)).tolist() == order.tolist()


def test_a_sample_depends_on_its_own_seed_only(pipeline: StableDiffusionPipeline) -> None:
    two = generate(pipeline, ["a cat", "a pig"])
    assert two.shape[:2] == (2, 3) and 0 <= two.min() and two.max() <= 1
    assert torch.allclose(generate(pipeline, ["a cat"]), two[:1], atol=1e-4)
    assert not torch.allclose(generate(pipeline, ["a cat"], seed=1), two[:1], atol=1e-2)
