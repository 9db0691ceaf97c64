"""Held-out cats, each turned into the seven other species, against the exact answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from jaxtyping import Float
from torch import Tensor

from benchmarks.menagerie.scene import SPECIES, sample_scene
from benchmarks.menagerie.stages import EMBEDDED
from benchmarks.metrics.background import background_psnr, background_psnr_paper
from benchmarks.metrics.clip import directional_score
from benchmarks.metrics.iou import iou
from benchmarks.metrics.lpips import menagerie_distance
from benchmarks.metrics.psnr import psnr, ssim
from benchmarks.metrics.segment import ClipSeg
from benchmarks.suites.base import Case, Measures, Pictures
from benchmarks.suites.world import OfScenes, Scenes, around, scene_case, seeds
from editing.caption import Clip
from editing.settings import whole

OTHERS = SPECIES[1:]


@dataclass(eq=False)
class CatToOthers(OfScenes):
    """Photo-like cats in their own coat, wearing nothing, at held-out seeds.

    Measured are: whether the classifier takes the edit for the target species; CLIP's direction;
    the overlap of the cat with what the segmenter finds in the edit, asked for the target; PSNR to
    the source where neither animal is, the source's or the answer's, and where the residual says
    that little changed (the IDS paper's two readings); the distance to the source;
    distance, PSNR and SSIM to the exact answer, where either animal is and (`outside`) elsewhere.

    Attributes:
        cases: number of cats; each becomes all seven other species.
        split: `test`, or `validation` to choose defaults on.
        size: of the pictures, in pixels.

    Raises:
        UserError: there is no such split, or it has fewer cats.
    """

    cases: int = 32
    split: str = "test"
    size: int = 64

    name = "cat_to_others"
    judges = ("clip", "segmenter")
    metrics = (
        "target_species",
        "clip_direction",
        "iou",
        "background_psnr",
        "residual_psnr",
        "residual_psnr_paper",
        "source_distance",
        "exact_distance",
        "exact_psnr",
        "exact_ssim",
        "outside_distance",
        "outside_psnr",
        "outside_ssim",
    )

    def __post_init__(self) -> None:
        seeds(self.split, self.cases)
        whole("suite.size", self.size, least=8)

    def make_cases(self) -> list[Case]:
        made = []
        for seed in seeds(self.split, self.cases):
            cat = sample_scene(seed, species="cat", coat="natural", worn="none", style="photo")
            for other in OTHERS:
                scenes = Scenes(cat, cat.replace(species=other))
                prompts = "a cat", f"a {other}"
                made.append(scene_case(f"{seed}-{other}", scenes, prompts, self.size, other))
        return made

    @cached_property
    def clip(self) -> Clip:
        return Clip(EMBEDDED)

    @cached_property
    def segmenter(self) -> ClipSeg:
        return ClipSeg(EMBEDDED / "segmenter")

    @torch.no_grad()
    def measure(
        self, cases: Sequence[Case], pictures: Pictures, edited: Float[Tensor, "B 3 H W"]
    ) -> list[Measures]:
        source, answer = pictures.source, pictures.answer
        assert answer is not None
        before, after = (list(prompts) for prompts in zip(*(c.prompts for c in cases), strict=True))
        wanted = torch.tensor([SPECIES.index(case.about.answer.species) for case in cases])
        embed, texts = self.clip.embed_images, self.clip.embed_texts
        distance = partial(menagerie_distance, self.classifier)
        animals = around(pictures.masks["animal"] > 0)
        columns = {
            "target_species": (self.classifier.predict(edited)["species"] == wanted).float(),
            "clip_direction": directional_score(
                embed(source), embed(edited), texts(before), texts(after)
            ),
            "iou": iou(pictures.masks["source"] > 0.5, self.segmenter(edited, after)),
            "background_psnr": psnr(edited, source, ~animals),
            "residual_psnr": background_psnr(source, edited),
            "residual_psnr_paper": background_psnr_paper(source, edited),
            "source_distance": distance(edited, source),
            "exact_distance": distance(torch.where(animals, edited, answer), answer),
            "exact_psnr": psnr(edited, answer, animals),
            "exact_ssim": ssim(edited, answer, animals),
            "outside_distance": distance(torch.where(animals, answer, edited), answer),
            "outside_psnr": psnr(edited, answer, ~animals),
            "outside_ssim": ssim(edited, answer, ~animals),
        }
        rows = torch.stack([columns[name] for name in self.metrics], 1).tolist()
        return [dict(zip(self.metrics, row, strict=True)) for row in rows]
