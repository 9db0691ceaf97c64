"""The success rate, with a random ResNet."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import ConvNextImageProcessor, ResNetConfig, ResNetForImageClassification

from benchmarks.metrics.success import (
    CLASSES,
    SuccessRate,
    load_classifier,
    named_classes,
    success,
)
from editing.errors import UserError


def resnet(classes: int = 1000) -> ResNetForImageClassification:
    torch.manual_seed(0)
    config = ResNetConfig(
        embedding_size=8, hidden_sizes=[8], depths=[1], layer_type="basic", num_labels=classes
    )
    return ResNetForImageClassification(config).eval()


@pytest.mark.parametrize(
    ("text", "animal"),
    [("a dog", "dog"), ("A photo of a Pig, not a cat", "pig"), ("a doghouse", None), ("", None)],
)
def test_a_text_names_the_classes_of_its_first_animal(text: str, animal: str | None) -> None:
    assert named_classes(text) == (CLASSES[animal] if animal else ())


def test_any_breed_is_a_success() -> None:
    logits = torch.zeros(4, 1000)
    for row, best in enumerate((207, 281, 268, 150)):
        logits[row, best] = 1
    found = success(logits, ["a dog"] * 4)
    assert found.tolist() == [1, 0, 1, 0]
    assert success(logits[:1], ["a clown"]).isnan().all()


def test_classes_do_not_overlap() -> None:
    every = [index for indices in CLASSES.values() for index in indices]
    assert len(set(every)) == len(every)


def test_the_rate_is_that_of_the_classifier(tmp_path: Path) -> None:
    model = resnet()
    model.save_pretrained(tmp_path)
    seen = np.random.default_rng(0).integers(0, 256, (5, 300, 400, 3), dtype=np.uint8)
    images = torch.from_numpy(seen).movedim(-1, 1).float() / 255
    processor = ConvNextImageProcessor(size={"shortest_edge": 224}, crop_pct=0.875, resample=3)
    pixels = processor([Image.fromarray(each) for each in seen], return_tensors="pt").pixel_values
    with torch.no_grad():
        best = int(model(pixels).logits.argmax(1)[0])
    metric = SuccessRate(str(tmp_path))
    CLASSES["wug"] = (best,)
    try:
        metric.update(images, ["a wug"] * 4 + ["a clown"])
    finally:
        del CLASSES["wug"]
    with torch.no_grad():
        expected = (model(pixels).logits.argmax(1)[:4] == best).float().mean()
    assert metric.compute() == pytest.approx(float(expected))


def test_another_classifier_is_refused(tmp_path: Path) -> None:
    resnet(10).save_pretrained(tmp_path / "ten")
    with pytest.raises(UserError, match="has 10 classes: take one of ImageNet-1k"):
        load_classifier(str(tmp_path / "ten"))
    with pytest.raises(UserError, match="is neither a folder nor"):
        load_classifier(str(tmp_path / "nowhere"))
