"""The figures of the model card, on parts whose figures are known beforehand."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zlib import crc32

import pytest
import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from benchmarks.menagerie import evaluate
from benchmarks.menagerie.captions import caption, one_slot_captions
from benchmarks.menagerie.classifier import AttributeClassifier, labels
from benchmarks.menagerie.evaluate import (
    SpeciesClassifier,
    classifier_accuracy,
    clip_accuracy,
    denoising_errors,
    generate,
    reconstructed,
    retrieval,
    segmentation,
)
from benchmarks.menagerie.scene import SPECIES, Scene
from benchmarks.menagerie.stages import EMBEDDED
from editing.caption import Clip


@pytest.fixture
def pipeline(tiny_sd: Path) -> StableDiffusionPipeline:
    made = StableDiffusionPipeline.from_pretrained(tiny_sd, safety_checker=None)
    made.set_progress_bar_config(disable=True)
    return made


def test_reconstructions_are_the_decoded_means(
    pipeline: StableDiffusionPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Latents are pictures in [-1, 1], and decoded they are 0.1 and 1 too bright."""
    wrong = torch.tensor([0.1, 1.0])[:, None, None, None] * 2
    latents = lambda x: SimpleNamespace(latent_dist=SimpleNamespace(mean=x))  # noqa: E731
    monkeypatch.setattr(pipeline.vae, "encode", latents)
    monkeypatch.setattr(pipeline.vae, "decode", lambda z: SimpleNamespace(sample=z + wrong))
    found = reconstructed(pipeline, torch.full((2, 3, 8, 8), 0.5))
    torch.testing.assert_close(found[0], torch.full((3, 8, 8), 0.6))
    assert torch.equal(found[1], torch.ones(3, 8, 8))


@torch.no_grad()
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_denoising_errors_are_those_of_the_noise(
    pipeline: StableDiffusionPipeline, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    """A network that knows the picture and predicts this share of the noise."""
    images = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    z = pipeline.vae.encode(2 * images - 1).latent_dist.mode() * pipeline.vae.config.scaling_factor
    alphas = pipeline.scheduler.alphas_cumprod

    def network(z_t: Tensor, t: Tensor, **_: Any) -> tuple[Tensor]:
        alpha_bar = alphas[t][:, None, None, None]
        return (share * (z_t - alpha_bar.sqrt() * z) / (1 - alpha_bar).sqrt(),)

    monkeypatch.setattr(pipeline.unet, "forward", network)
    errors = denoising_errors(pipeline, images, ["a cat"] * 6, (50, 500, 950))
    assert errors == pytest.approx([(1 - share) ** 2] * 3, abs=0.1)
    assert max(errors) - min(errors) < 1e-4


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


class WordClip(Clip):
    """Embeds a text as its words, and a picture, which holds its number, as what it shows."""

    def __init__(self, shown: list[str]) -> None:
        self.shown = shown

    def embed_texts(self, texts: list[str]) -> Tensor:
        found = torch.zeros(len(texts), 4096)
        for row, text in zip(found, texts, strict=True):
            row[[crc32(word.encode()) % 4096 for word in text.split()]] = 1
        return torch.nn.functional.normalize(found, dim=1)

    def embed_images(self, images: Tensor) -> Tensor:
        return self.embed_texts([self.shown[int(image[0, 0, 0])] for image in images])


def numbered(count: int) -> Tensor:
    return torch.arange(count).float()[:, None, None, None].expand(-1, 3, 8, 8)


def test_retrieval_counts_both_ways() -> None:
    """The first two pictures share a caption; the last two show what the other's caption says."""
    captions = ["a cat", "a cat", "a pig at night", "a dog in the snow", "a cow on a beach"]
    shown = [*captions[:3], captions[4], captions[3]]
    clip = WordClip(shown)
    assert retrieval(clip, numbered(5), captions) == (0.6, 0.6)
    clip = WordClip([captions[0]] * 5)
    assert retrieval(clip, numbered(5), captions) == (0.4, 0.4)


def test_clip_is_asked_slot_by_slot() -> None:
    scenes = [
        Scene(species="pig", coat="blue", worn="hat", worn_color="red", place="snow"),
        Scene(species="dog", style="drawing"),
    ]
    clip = WordClip([caption(scene) for scene in scenes])
    assert clip_accuracy(clip, numbered(2), scenes) == dict.fromkeys(one_slot_captions(), 1.0)
    wrong = [scenes[0].replace(coat="gray", species="pig"), scenes[1].replace(place="night")]
    found = clip_accuracy(clip, numbered(2), wrong)
    assert found == dict.fromkeys(one_slot_captions(), 1.0) | {"coat": 0.5, "place": 0.5}


def test_the_classifier_is_asked_for_the_colour_of_what_is_worn_only() -> None:
    scenes = [Scene(species="pig"), Scene(species="cat", worn="hat", worn_color="blue")]
    seen = labels([scenes[0].replace(worn_color="green"), scenes[1].replace(species="dog")])
    judge: Any = AttributeClassifier()
    judge.predict = lambda images: seen
    found = classifier_accuracy(judge, numbered(2), scenes)
    assert found == dict.fromkeys(found, 1.0) | {"species": 0.5}


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
