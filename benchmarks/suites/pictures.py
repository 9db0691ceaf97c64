"""Edits of real pictures: which metrics there are, and reading the pictures."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from benchmarks.metrics.background import background_psnr, background_psnr_paper
from benchmarks.metrics.clip import clip_score, directional_score
from benchmarks.metrics.dinov2 import Dinov2Direction
from benchmarks.metrics.iou import iou
from benchmarks.metrics.lpips import FILES, LPIPS
from benchmarks.metrics.pie import (
    PieLPIPS,
    PieStructureDistance,
    pie_clip_score,
    pie_mse,
    pie_psnr,
    pie_ssim,
)
from benchmarks.metrics.psnr import mse, psnr, ssim
from benchmarks.metrics.segment import Segmenter, load_segmenter
from benchmarks.metrics.structure import StructureDistance
from benchmarks.metrics.success import SuccessRate, named_classes
from benchmarks.rows import file_digest
from benchmarks.suites.base import Case, CaseError, Measures, Pictures, several
from editing.caption import Clip, load_clip
from editing.errors import UserError
from editing.images import fit, fitted_size, read_picture, to_tensor
from editing.paths import is_file
from editing.priors.load import resolve_device
from editing.settings import suggestion, whole


@dataclass(frozen=True)
class Batch:
    """What a metric sees.

    Attributes:
        source: in [0, 1].
        edited: in [0, 1].
        before: source prompts.
        after: target prompts.
        kept: where nothing should change, if the suite knows.
        references: for each, somebody else's edit of the source, if the suite has one.
    """

    source: Float[Tensor, "B 3 H W"]
    edited: Float[Tensor, "B 3 H W"]
    before: Sequence[str]
    after: Sequence[str]
    kept: Bool[Tensor, "B 1 H W"] | None = None
    references: Sequence[Float[Tensor, "3 H W"] | None] = ()


class Judges:
    """The models behind the metrics, each loaded when it is first asked.

    Args:
        clip: folder or hub name of a CLIP.
        segmenter: see `load_segmenter`.
        lpips: backbone of LPIPS.
        dino: folder or hub name of a vision transformer.
        dinov2: of a DINOv2.
        classifier: of a classifier of ImageNet.
        device: where they run.
    """

    def __init__(
        self,
        clip: str,
        segmenter: str,
        lpips: str,
        dino: str,
        dinov2: str,
        classifier: str,
        device: str = "cpu",
    ) -> None:
        self.names = {"clip": clip, "segmenter": segmenter, "lpips": lpips, "dino": dino}
        self.names |= {"dinov2": dinov2, "classifier": classifier}
        self.device = resolve_device(device)

    def identity(self, metrics: Sequence[str]) -> dict[str, str]:
        """Of those behind some metrics: their names, and what is in them if they are folders."""
        found = {}
        for judge in sorted({judge for name in metrics for judge in JUDGED_BY.get(name, ())}):
            folders = [Path(part) for part in self.names[judge].split("+")]
            digests = [file_digest(each, "**/*.safetensors") for each in folders if each.is_dir()]
            found[judge] = " ".join([self.names[judge], *digests])
        return found

    @cached_property
    def clip(self) -> Clip:
        return load_clip(self.names["clip"], self.device)

    @cached_property
    def segmenter(self) -> Segmenter:
        return load_segmenter(self.names["segmenter"], self.device)

    @cached_property
    def lpips(self) -> LPIPS:
        return LPIPS(self.names["lpips"]).to(self.device)  # type: ignore[arg-type]

    @cached_property
    def structure(self) -> StructureDistance:
        return StructureDistance(self.names["dino"]).to(self.device)

    @cached_property
    def dinov2(self) -> Dinov2Direction:
        return Dinov2Direction(self.names["dinov2"]).to(self.device)

    @cached_property
    def success(self) -> SuccessRate:
        return SuccessRate(self.names["classifier"]).to(self.device)

    @cached_property
    def pie_lpips(self) -> PieLPIPS:
        return PieLPIPS().to(self.device)

    @cached_property
    def pie_structure(self) -> PieStructureDistance:
        return PieStructureDistance(self.names["dino"]).to(self.device)


def _direction(judges: Judges, b: Batch) -> Tensor:
    embed, say = judges.clip.embed_images, judges.clip.embed_texts
    before, after = say(list(b.before)), say(list(b.after))
    return directional_score(embed(b.source), embed(b.edited), before, after)


def _dinov2_direction(judges: Judges, b: Batch) -> Tensor:
    """NaN where there is no reference."""
    found = torch.full((len(b.source),), torch.nan, device=b.source.device)
    for row, reference in enumerate(b.references):
        if reference is not None:
            trio = (x[None] for x in (b.source[row], b.edited[row], reference))
            found[row] = judges.dinov2.values(*trio)[0]
    return found


def _score(judges: Judges, b: Batch) -> Tensor:
    clip = judges.clip
    return clip_score(clip.embed_images(b.edited), clip.embed_texts(list(b.after)))


def _pie_source(judges: Judges, b: Batch) -> Tensor:
    """Of the source with its own prompt: what the score of an edit is to be compared with."""
    clip = judges.clip
    return clip_score(clip.embed_images(b.source), clip.embed_texts(list(b.before)))


def _pie_score(judges: Judges, b: Batch) -> Tensor:
    """Of the edited region alone, the rest set to 0; NaN where there is none."""
    if b.kept is None:
        return torch.full((len(b.source),), torch.nan, device=b.source.device)
    return pie_clip_score(judges.clip, b.edited, b.after, ~b.kept)


def _overlap(judges: Judges, b: Batch) -> Tensor:
    return iou(judges.segmenter(b.source, b.before), judges.segmenter(b.edited, b.after))


METRICS: dict[str, Callable[[Judges, Batch], Tensor]] = {
    "clip_score": _score,
    "clip_direction": _direction,
    "dinov2_direction": _dinov2_direction,
    "imagenet": lambda judges, b: judges.success.values(b.edited, b.after),
    "iou": _overlap,
    "residual_psnr": lambda _, b: background_psnr(b.source, b.edited),
    "residual_psnr_median": lambda _, b: background_psnr(b.source, b.edited, "median"),
    "residual_psnr_paper": lambda _, b: background_psnr_paper(b.source, b.edited),
    "residual_psnr_paper_median": lambda _, b: background_psnr_paper(b.source, b.edited, "median"),
    "lpips": lambda judges, b: judges.lpips.values(b.source, b.edited),
    "structure": lambda judges, b: judges.structure.values(b.source, b.edited),
    "psnr": lambda _, b: psnr(b.source, b.edited),
    "ssim": lambda _, b: ssim(b.source, b.edited),
    "mse": lambda _, b: mse(b.source, b.edited),
    "pie_structure": lambda judges, b: judges.pie_structure.values(b.edited, b.source),
    "pie_psnr": lambda _, b: pie_psnr(b.edited, b.source, b.kept),
    "pie_lpips": lambda judges, b: judges.pie_lpips.values(b.edited, b.source, b.kept),
    "pie_mse": lambda _, b: pie_mse(b.edited, b.source, b.kept),
    "pie_ssim": lambda _, b: pie_ssim(b.edited, b.source, b.kept),
    "pie_clip_source": _pie_source,
    "pie_clip_whole": _score,
    "pie_clip_edited": _pie_score,
}


JUDGED_BY = {
    **dict.fromkeys(
        ("clip_score", "clip_direction", "pie_clip_source", "pie_clip_whole", "pie_clip_edited"),
        ("clip",),
    ),
    **dict.fromkeys(("structure", "pie_structure"), ("dino",)),
    "dinov2_direction": ("dinov2",),
    "imagenet": ("classifier",),
    "iou": ("segmenter",),
    "lpips": ("lpips",),
}


# Of what a mask leaves or cuts out, each with what takes its place where there is none.
MASKED = {
    "pie_psnr": "psnr",
    "pie_lpips": "lpips",
    "pie_mse": "mse",
    "pie_ssim": "ssim",
    "pie_clip_edited": "clip_score",
}


# What a case must have for a metric to have a value.
NEEDED = {
    "dinov2_direction": "somebody else's edit",
    "imagenet": "a target that is an animal of ImageNet",
    "clip_direction": "two prompts that differ",
}
NEEDS: dict[str, Callable[["PictureSuite", Case], bool]] = {
    "dinov2_direction": lambda suite, case: suite.reference(case) is not None,
    "imagenet": lambda _, case: bool(named_classes(case.prompts[1])),
    "clip_direction": lambda _, case: case.prompts[0] != case.prompts[1],
}


@dataclass(eq=False, kw_only=True)
class PictureSuite:
    """What suites of real pictures share; they bring `name` and `cases`.

    Attributes:
        metrics: of `METRICS`, in the order of the table.
        size: shorter side of the edit, in pixels.
        multiple: what both sides are multiples of.
        clip: folder or hub name of the CLIP that judges.
        segmenter: `lang_sam`, `DETECTOR+SAM` or a CLIPSeg; see `load_segmenter`.
        lpips: backbone of LPIPS: alex, vgg or squeeze.
        dino: folder or hub name of the vision transformer.
        dinov2: of the DINOv2 that compares with somebody else's edit, where there is one.
        classifier: of the classifier of ImageNet.
        device: where the judges run.

    Raises:
        UserError: there is no such metric or backbone.
    """

    metrics: Sequence[str] = ("clip_score", "clip_direction", "residual_psnr", "lpips")
    size: int = 512
    multiple: int = 64
    clip: str = "openai/clip-vit-large-patch14"
    segmenter: str = "IDEA-Research/grounding-dino-tiny+facebook/sam-vit-base"
    lpips: str = "alex"
    dino: str = "facebook/dino-vitb8"
    dinov2: str = "facebook/dinov2-base"
    classifier: str = "microsoft/resnet-50"
    device: str = "cpu"

    masked = False  # whether the suite knows where nothing should change

    def __post_init__(self) -> None:
        self.metrics = several(self.metrics)
        if self.lpips not in FILES:
            raise UserError(f"There is no backbone {self.lpips!r}: {suggestion(self.lpips, FILES)}")
        whole("suite.multiple", self.multiple, least=1)
        if whole("suite.size", self.size, least=8) % self.multiple:
            raise UserError(f"suite.size={self.size} is no multiple of {self.multiple}.")
        for metric in self.metrics:
            if metric not in METRICS:
                raise UserError(f"There is no metric {metric!r}: {suggestion(metric, METRICS)}")
            if metric in MASKED and not self.masked:
                raise UserError(
                    f"The metric {metric} needs masks, and this suite has none: take "
                    f"{MASKED[metric]}."
                )

    def checked(self, cases: list[Case]) -> list[Case]:
        """The cases, if every metric can have a value for one of them.

        Raises:
            UserError: naming the first that cannot.
        """
        for metric in self.metrics:
            if cases and metric in NEEDS and not any(NEEDS[metric](self, case) for case in cases):
                raise UserError(
                    f"No case has what the metric {metric} needs, {NEEDED[metric]}: leave it out."
                )
        return cases

    @cached_property
    def judges(self) -> Judges:
        names = self.clip, self.segmenter, self.lpips, self.dino, self.dinov2, self.classifier
        return Judges(*names, self.device)

    def identity(self) -> Mapping[str, Any]:
        return {"metrics": 1, "which": list(self.metrics), **self.judges.identity(self.metrics)}

    def picture_case(
        self,
        name: str,
        path: Path,
        prompts: tuple[str, str],
        group: str = "",
        identity: Mapping[str, Any] | None = None,
    ) -> Case:
        """A case whose picture is a file; loading it says what is wrong with the file."""
        try:
            width, height = fitted_size(*read_picture(path).size, self.size, self.multiple)
        except UserError:
            width = height = self.size
        digest = hashlib.sha256(path.read_bytes()).hexdigest() if is_file(path) else ""
        what = {"picture": digest, "size": [height, width], **(identity or {})}
        return Case(name, prompts, what, group, (height, width), path, digest or name)

    def load(self, cases: Sequence[Case]) -> Pictures:
        return Pictures(torch.stack([self.read(case.about) for case in cases]))

    def read(self, path: Path) -> Float[Tensor, "3 H W"]:
        """A picture as it is edited.

        Raises:
            CaseError: it cannot be read.
        """
        try:
            return to_tensor(fit(read_picture(path), self.size, self.multiple))
        except UserError as error:
            raise CaseError(str(error)) from error

    def reference(self, case: Case) -> Path | None:
        """Somebody else's edit; a suite that has some overrides this."""
        return None

    @torch.no_grad()
    def measure(
        self, cases: Sequence[Case], pictures: Pictures, edited: Float[Tensor, "B 3 H W"]
    ) -> list[Measures]:
        before, after = zip(*(case.prompts for case in cases), strict=True)
        device = self.judges.device
        kept = pictures.masks.get("kept")
        kept = None if kept is None else kept.to(device) > 0.5
        others = [self.reference(case) for case in cases]
        references = [self.read(path).to(device) if path else None for path in others]
        source, edited = pictures.source.to(device), edited.to(device)
        batch = Batch(source, edited, before, after, kept, references)
        columns = [METRICS[name](self.judges, batch).cpu() for name in self.metrics]
        rows = torch.stack(columns, 1).tolist()
        return [dict(zip(self.metrics, row, strict=True)) for row in rows]
