"""What the suites on the Menagerie share: scenes as cases, drawn, with exact answers."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from benchmarks.menagerie.classifier import FILE, AttributeClassifier, load_classifier
from benchmarks.menagerie.dataset import WORLD
from benchmarks.menagerie.render import Rendering, render
from benchmarks.menagerie.scene import TEST_SEEDS, VALIDATION_SEEDS, Scene
from benchmarks.menagerie.stages import EMBEDDED
from benchmarks.rows import digest, file_digest
from benchmarks.suites.base import Case, Pictures, shown
from editing.errors import UserError
from editing.settings import suggestion, whole

AGREE = 2 / 255  # largest difference of colours that counts as none
SPLITS = {"test": TEST_SEEDS, "validation": VALIDATION_SEEDS}


@dataclass(frozen=True)
class Scenes:
    """What a case of the Menagerie is about.

    Attributes:
        source: what is edited.
        answer: what it should become.
    """

    source: Scene
    answer: Scene


def seeds(split: str, count: Any) -> range:
    """The first seeds of a split.

    Raises:
        UserError: there is no such split, or it has not so many seeds.
    """
    if split not in SPLITS:
        raise UserError(f"There is no split {split!r}: {suggestion(split, SPLITS)}")
    return SPLITS[split][: whole("suite.cases", count, 1, len(SPLITS[split]))]


def scene_case(
    name: str, scenes: Scenes, prompts: tuple[str, str], size: int, group: str = ""
) -> Case:
    """A case whose pictures are those of two scenes."""
    identity = {
        "world": WORLD,
        "size": size,
        "source": dataclasses.asdict(scenes.source),
        "answer": dataclasses.asdict(scenes.answer),
    }
    # All edits of one picture say little more than one of them.
    cluster = digest({"source": dataclasses.asdict(scenes.source)})
    return Case(name, prompts, identity, group, (size, size), scenes, cluster)


class OfScenes:
    """What the suites of scenes share: their pictures are drawn, and the classifier judges.

    Attributes:
        judges: parts of the embedded model that measure too.
    """

    judges: tuple[str, ...] = ()

    def load(self, cases: Sequence[Case]) -> Pictures:
        """Source and exact answer; in `masks` the source's animal, and either's: `animal`."""
        size = cases[0].size[0]
        source = drawn([case.about.source for case in cases], size)
        answer = drawn([case.about.answer for case in cases], size)
        animal = torch.maximum(source.animal, answer.animal)
        masks = {"source": source.animal, "animal": animal}
        return Pictures(shown(source.image), shown(answer.image), masks)

    @cached_property
    def classifier(self) -> AttributeClassifier:
        return load_classifier(EMBEDDED)

    def identity(self) -> Mapping[str, Any]:
        parts = {part: file_digest(EMBEDDED / part, "*.safetensors") for part in self.judges}
        return {"metrics": 1, "classifier": file_digest(EMBEDDED, FILE), **parts}


def drawn(scenes: Sequence[Scene], size: int) -> Rendering:
    """All scenes, each drawn alone."""
    found = [_drawn(scene, size) for scene in scenes]
    fields = (field.name for field in dataclasses.fields(Rendering))
    return Rendering(*(torch.cat([getattr(one, name) for one in found]) for name in fields))


@cache
def _drawn(scene: Scene, size: int) -> Rendering:
    return render([scene], size)


def around(mask: Bool[Tensor, "B 1 H W"]) -> Bool[Tensor, "B 1 H W"]:
    """A region and one pixel around it."""
    return F.max_pool2d(mask.float(), 3, 1, 1) > 0


def region(
    source: Float[Tensor, "B 3 S S"], answer: Float[Tensor, "B 3 S S"]
) -> Bool[Tensor, "B 1 S S"]:
    """Where two pictures differ, and one pixel around."""
    return around((source - answer).abs().amax(1, keepdim=True) > AGREE)
