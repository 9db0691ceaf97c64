"""Held-out cats, each turned into the seven other species, against the exact answers.

    python -m benchmarks.suites.cat_to_others cats=16 methods=ids,dds grid=docs/cat_to_others.png

Prints, per method: how often CLIP takes the edit for the target species; PSNR to the source outside
the animals (source's and answer's together); PSNR to the exact answer inside them, beside that of
the untouched source; seconds and network evaluations per edit.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Bool
from torch import Tensor
from torchvision.utils import make_grid

from benchmarks import options
from benchmarks.menagerie.dataset import png
from benchmarks.menagerie.evaluate import SpeciesClassifier, masked_psnr
from benchmarks.menagerie.render import Rendering
from benchmarks.menagerie.scene import SPECIES, sample_scene
from benchmarks.menagerie.stages import EMBEDDED
from benchmarks.suites.world import SPLITS, Case, SuiteOptions, drawn, edit_all, make_editor
from editing.results import write

OTHERS = SPECIES[1:]
_HEADER = """\
| method       | target species | background PSNR | PSNR to exact | seconds | evaluations |
| ---          | ---            | ---             | ---           | ---     | ---         |"""


@dataclass
class Options(SuiteOptions):
    cats: int = 16


def cases(cats: int, split: str = "test") -> list[Case]:
    """Photo-like cats in their own coat, wearing nothing, at held-out seeds."""
    sources = [
        sample_scene(s, species="cat", coat="natural", worn="none", style="photo")
        for s in SPLITS[split][:cats]
    ]
    return [
        Case(source, source.replace(species=other), ("a cat", f"a {other}"))
        for source in sources
        for other in OTHERS
    ]


def region(source: Rendering, answer: Rendering) -> Bool[Tensor, "B 1 S S"]:
    """Where the animal of the source or of the answer is, and one pixel around."""
    touched = torch.maximum(source.animal, answer.animal) > 0
    return F.max_pool2d(touched.float(), 3, 1, 1) > 0


def main(argv: list[str] | None = None) -> None:
    opts = options.read(Options, __doc__, argv)
    methods = opts.named_methods()
    todo = cases(opts.cats, opts.split)
    classify = SpeciesClassifier(EMBEDDED)
    source = drawn([case.source for case in todo], classify.size)
    answer = drawn([case.answer for case in todo], classify.size)
    inside = region(source, answer)
    wanted = torch.tensor([SPECIES.index(case.answer.species) for case in todo])

    def print_row(name: str, pictures: Tensor, seconds: float, evaluations: float) -> None:
        rate = (classify(pictures) == wanted).float().mean()
        background = masked_psnr(pictures, source.image, ~inside).mean()
        answered = masked_psnr(pictures, answer.image, inside).mean()
        figures = f"{rate:14.1%} | {background:15.1f} | {answered:13.1f}"
        print(f"| {name:12} | {figures} | {seconds:7.1f} | {evaluations:11.0f} |")

    print(f"{opts.cats} cats x {len(OTHERS)} species, {opts.split} seeds, seed {opts.seed}\n")
    print(_HEADER)
    print_row("source", source.image, 0.0, 0.0)
    print_row("exact answer", answer.image, 0.0, 0.0)
    rows = [source.image, answer.image]
    for method in methods:
        editor = make_editor(method, opts)
        pictures, seconds, evaluations = edit_all(editor, todo, source.image, opts)
        print_row(method, pictures, seconds, evaluations)
        rows.append(pictures)
    if opts.grid:
        # Eight cats, each another species.
        shown = torch.arange(8) * len(OTHERS) + torch.arange(8) % len(OTHERS)
        shown = shown[shown < len(todo)]
        sheet = make_grid(torch.cat([pictures[shown] for pictures in rows]), len(shown), padding=1)
        sheet = F.interpolate(sheet[None], scale_factor=2, mode="nearest")
        write(Path(opts.grid), png(sheet))


if __name__ == "__main__":
    main()
