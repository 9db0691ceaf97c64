"""Held-out cats, each turned into the seven other species, against the exact answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from benchmarks.menagerie.classifier import FILE, AttributeClassifier, load_classifier
from benchmarks.menagerie.scene import SPECIES, sample_scene
from benchmarks.menagerie.stages import EMBEDDED
from benchmarks.metrics.psnr import psnr
from benchmarks.suites.base import Case, Measures, Pictures
from benchmarks.suites.world import Scenes, around, file_digest, load_scenes, scene_case, seeds

OTHERS = SPECIES[1:]


@dataclass(eq=False)
class CatToOthers:
    """Photo-like cats in their own coat, wearing nothing, at held-out seeds.

    Measured are: whether the classifier takes the edit for the target species; PSNR to the source
    where neither animal is, the source's or the answer's; PSNR to the exact answer where either is.

    Attributes:
        cats: each becomes all seven other species.
        split: `test`, or `validation` to choose defaults on.
        size: of the pictures, in pixels.

    Raises:
        UserError: there is no such split, or it has fewer cats.
    """

    cats: int = 32
    split: str = "test"
    size: int = 64

    name = "cat_to_others"
    metrics = ("target_species", "background_psnr", "exact_psnr")

    def __post_init__(self) -> None:
        seeds(self.split, self.cats)

    def cases(self) -> list[Case]:
        made = []
        for seed in seeds(self.split, self.cats):
            cat = sample_scene(seed, species="cat", coat="natural", worn="none", style="photo")
            for other in OTHERS:
                scenes = Scenes(cat, cat.replace(species=other))
                prompts = "a cat", f"a {other}"
                made.append(scene_case(f"{seed}-{other}", scenes, prompts, self.size))
        return made

    def load(self, cases: Sequence[Case]) -> Pictures:
        return load_scenes(cases)

    @cached_property
    def judge(self) -> AttributeClassifier:
        return load_classifier(EMBEDDED)

    def identity(self) -> Mapping[str, Any]:
        return {"metrics": 1, "classifier": file_digest(EMBEDDED, FILE)}

    def measure(
        self, cases: Sequence[Case], pictures: Pictures, edited: Float[Tensor, "B 3 H W"]
    ) -> list[Measures]:
        assert pictures.answer is not None
        wanted = torch.tensor([SPECIES.index(case.about.answer.species) for case in cases])
        right = self.judge.predict(edited)["species"] == wanted
        animals = around(pictures.masks["animal"] > 0)
        background = psnr(edited, pictures.source, ~animals)
        exact = psnr(edited, pictures.answer, animals)
        rows = torch.stack([right.float(), background, exact], 1).tolist()
        return [dict(zip(self.metrics, row, strict=True)) for row in rows]
