"""PIE-Bench (Ju et al. 2024): 700 pictures, ten kinds of edit, the edited region of each."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.metrics.pie import pie_mask, pie_prompt
from benchmarks.suites.base import Case, Pictures, several
from benchmarks.suites.pictures import PictureSuite
from editing.errors import UserError
from editing.paths import expanded
from editing.settings import whole

KINDS = (
    "random",
    "change object",
    "add object",
    "delete object",
    "change content",
    "change pose",
    "change color",
    "change material",
    "change background",
    "change style",
)
SIDE = 512  # of the pictures, in pixels, and of their masks


@dataclass(eq=False, kw_only=True)
class PieBench(PictureSuite):
    """The published data, edited and measured as the published code does.

    Attributes:
        src: folder with `mapping_file.json` and `annotation_images/`.
        kinds: numbers of the kinds of edit, 0 to 9.

    Raises:
        UserError: there is no such kind.
    """

    src: str
    kinds: Sequence[Any] = range(10)
    metrics: Sequence[str] = (
        "pie_structure",
        "pie_psnr",
        "pie_lpips",
        "pie_mse",
        "pie_ssim",
        "pie_clip_source",
        "pie_clip_whole",
        "pie_clip_edited",
    )
    size: int = SIDE

    name = "pie_bench"
    masked = True

    def __post_init__(self) -> None:
        super().__post_init__()
        last = len(KINDS) - 1
        self.kinds = [whole("suite.kinds", kind, 0, last) for kind in several(self.kinds)]
        if self.size != SIDE:
            raise UserError(f"suite.size={self.size}: PIE-Bench and its masks have {SIDE} pixels.")

    def make_cases(self) -> list[Case]:
        folder = expanded(self.src)
        path = folder / "mapping_file.json"
        try:
            entries = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(
                f"{path} cannot be read: give PIE-Bench's folder as suite.src."
            ) from error
        made = []
        for key, entry in sorted(entries.items()):
            try:
                kind = int(entry["editing_type_id"])
                if kind in self.kinds:
                    made.append(self._case(folder, key, entry, kind))
            except (KeyError, TypeError, ValueError) as error:
                raise UserError(f"{path}: the entry {key} cannot be read: {error}.") from error
        return self.checked(made)

    def _case(self, folder: Path, key: str, entry: dict[str, Any], kind: int) -> Case:
        runs = entry["mask"]
        runs = [int(number) for number in (runs.split() if isinstance(runs, str) else runs)]
        pie_mask(runs, SIDE)  # refuses what is no mask
        said = pie_prompt(entry["original_prompt"]), pie_prompt(entry["editing_prompt"])
        path = folder / "annotation_images" / entry["image_path"]
        return self.picture_case(key, path, said, KINDS[kind], {"mask": runs})

    def load(self, cases: Sequence[Case]) -> Pictures:
        pictures = super().load(cases)
        masks = [pie_mask(case.identity["mask"], SIDE) for case in cases]
        kept = 1 - torch.stack(masks)[:, None].float()
        return Pictures(pictures.source, None, {"kept": kept})
