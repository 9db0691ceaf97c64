from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from benchmarks.menagerie.classifier import (
    ATTRIBUTES,
    FILE,
    AttributeClassifier,
    classification_loss,
    labels,
    load_classifier,
)
from benchmarks.menagerie.scene import CHOICES, Scene


@pytest.fixture
def model() -> AttributeClassifier:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return AttributeClassifier().eval()


def test_every_attribute_has_its_choices(model: AttributeClassifier) -> None:
    for side in (32, 64):
        logits = model(torch.rand(2, 3, side, side))
        assert {name: x.shape[1] for name, x in logits.items()} == {
            name: len(CHOICES[name]) for name in ATTRIBUTES
        }


def test_labels_are_what_the_scenes_say() -> None:
    scenes = [Scene(species="pig", worn="hat", worn_color="blue"), Scene(place="night")]
    for name, indices in labels(scenes).items():
        assert [CHOICES[name][i] for i in indices] == [getattr(scene, name) for scene in scenes]


def test_the_colour_of_nothing_does_not_count() -> None:
    truth = labels([Scene(), Scene(worn="hat", worn_color="blue")])
    logits = {name: torch.zeros(2, len(CHOICES[name])) for name in ATTRIBUTES}
    before = classification_loss(logits, truth)
    logits["worn_color"][0, 3] = 9.0
    assert classification_loss(logits, truth) == before
    logits["worn_color"][1, 3] = 9.0
    assert classification_loss(logits, truth) > before + 5
    assert classification_loss(logits, labels([Scene(), Scene()])).isfinite()


def test_a_classifier_is_read_as_it_was_written(model: AttributeClassifier, tmp_path: Path) -> None:
    save_file({name: p.half() for name, p in model.state_dict().items()}, tmp_path / FILE)
    images = torch.rand(5, 3, 64, 64)
    read = load_classifier(tmp_path)
    assert not read.training
    for name, found in read.predict(images).items():
        assert torch.equal(found, model.predict(images)[name])
    assert sum(p.numel() for p in read.parameters()) < 200_000
