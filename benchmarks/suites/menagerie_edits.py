"""Edits of seven kinds on held-out scenes: species, coat, a hat, its colour, no hat, place, style.

    python -m benchmarks.suites.menagerie_edits scenes=32 methods=ids,dds grid=docs/edits

Prints, per kind and method: how often the classifier sees all that should have changed; how often
it sees each of the things that should not have changed; PSNR to the source where source and exact
answer agree; PSNR to the exact answer where they do not, which for the untouched source is the
first row; seconds and network evaluations per edit. `grid` is a folder for a picture per kind.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor
from torchvision.utils import make_grid

from benchmarks import options
from benchmarks.menagerie.captions import SYNONYMS
from benchmarks.menagerie.classifier import (
    ATTRIBUTES,
    AttributeClassifier,
    labels,
    load_classifier,
)
from benchmarks.menagerie.dataset import png
from benchmarks.menagerie.evaluate import masked_psnr
from benchmarks.menagerie.scene import (
    COATS,
    COLORS,
    OWN_COAT,
    PLACES,
    SPECIES,
    Scene,
    sample_scene,
)
from benchmarks.menagerie.stages import EMBEDDED
from benchmarks.suites.world import SPLITS, Case, SuiteOptions, drawn, edit_all, make_editor
from editing import DistillationEditor
from editing.results import write

SHOWN = 8  # cases in a grid
AGREE = 2 / 255  # largest difference of colours that counts as none
_HEADER = """\
| kind    | method       | success | kept   | kept PSNR | PSNR to exact | seconds | evaluations |
| ---     | ---          | ---     | ---    | ---       | ---           | ---     | ---         |"""


@dataclass
class Options(SuiteOptions):
    scenes: int = 32  # of each kind
    kinds: str = "species,coat,hat,color,bare,place,style"
    size: int = 64


def _species(scene: Scene, turn: int) -> Case:
    other = SPECIES[1 + turn % (len(SPECIES) - 1)]
    source = scene.replace(species="cat")
    return Case(source, source.replace(species=other), ("a cat", f"a {other}"))


def _coat(scene: Scene, turn: int) -> Case:
    dyes = [coat for coat in COATS[1:] if coat != OWN_COAT.get(scene.species)]
    coat = dyes[turn % len(dyes)]
    article = "an" if coat[0] in "aeiou" else "a"
    prompts = f"a {scene.species}", f"{article} {coat} {scene.species}"
    return Case(scene, scene.replace(coat=coat), prompts)


def _hat(scene: Scene, turn: int) -> Case:
    color = COLORS[turn % len(COLORS)]
    prompts = f"a {scene.species}", f"a {scene.species} with a {color} hat"
    return Case(scene, scene.replace(worn="hat", worn_color=color), prompts)


def _color(scene: Scene, turn: int) -> Case:
    before, after = COLORS[turn % len(COLORS)], COLORS[(turn + 1) % len(COLORS)]
    source = scene.replace(worn="hat", worn_color=before)
    said = f"a {scene.species} with a {{}} hat"
    answer = source.replace(worn_color=after)
    return Case(source, answer, (said.format(before), said.format(after)))


def _bare(scene: Scene, turn: int) -> Case:
    added = _hat(scene, turn)
    return Case(added.answer, added.source, (added.prompts[1], added.prompts[0]))


def _place(scene: Scene, turn: int) -> Case:
    step = 1 + turn % (len(PLACES) - 1)
    place = PLACES[(PLACES.index(scene.place) + step) % len(PLACES)]
    said = [f"a {scene.species} {SYNONYMS[name][0]}" for name in (scene.place, place)]
    return Case(scene, scene.replace(place=place), (said[0], said[1]))


def _style(scene: Scene, turn: int) -> Case:
    said = f"a {{}} of a {scene.species}"
    answer = scene.replace(style="drawing")
    return Case(scene, answer, (said.format("photo"), said.format("drawing")))


KINDS: dict[str, Callable[[Scene, int], Case]] = {
    "species": _species,
    "coat": _coat,
    "hat": _hat,
    "color": _color,
    "bare": _bare,
    "place": _place,
    "style": _style,
}


def cases(kind: str, count: int, split: str = "test") -> list[Case]:
    """Cases of one kind, from photo-like animals in their own coat that wear nothing."""
    plain = {"coat": "natural", "worn": "none", "style": "photo"}
    seeds = SPLITS[split][:count]
    return [KINDS[kind](sample_scene(seed, **plain), turn) for turn, seed in enumerate(seeds)]


def changed(case: Case) -> dict[str, bool]:
    """Of each attribute that can be seen in the answer, whether the edit changes it."""
    source, answer = case.source, case.answer
    found = {name: getattr(source, name) != getattr(answer, name) for name in ATTRIBUTES}
    if answer.worn == "none":
        del found["worn_color"]
    elif source.worn == "none":
        found["worn_color"] = True
    return found


def region(
    source: Float[Tensor, "B 3 S S"], answer: Float[Tensor, "B 3 S S"]
) -> Bool[Tensor, "B 1 S S"]:
    """Where two pictures differ, and one pixel around."""
    differs = ((source - answer).abs().amax(1, keepdim=True) > AGREE).float()
    return F.max_pool2d(differs, 3, 1, 1) > 0


@dataclass(frozen=True)
class Scores:
    """Means over the edits of one kind.

    Attributes:
        success: share of the edits in which the classifier sees all that should have changed.
        kept: share of what should not have changed that it sees.
        kept_psnr: to the source where source and answer agree, dB; NaN if they do nowhere.
        exact_psnr: to the answer where they do not, dB.
    """

    success: float
    kept: float
    kept_psnr: float
    exact_psnr: float

    @classmethod
    def of(
        cls,
        pictures: Float[Tensor, "B 3 S S"],
        source: Float[Tensor, "B 3 S S"],
        answer: Float[Tensor, "B 3 S S"],
        todo: list[Case],
        judge: AttributeClassifier,
    ) -> "Scores":
        """Scores of the edited pictures of the cases."""
        seen, truth = judge.predict(pictures), labels([case.answer for case in todo])
        success, kept = [], []
        for i, case in enumerate(todo):
            moved = changed(case)
            right = {name: bool(seen[name][i] == truth[name][i]) for name in moved}
            success.append(all(right[name] for name in moved if moved[name]))
            kept += [right[name] for name in moved if not moved[name]]
        touched = region(source, answer)
        return cls(
            sum(success) / len(success),
            sum(kept) / len(kept),
            float(masked_psnr(pictures, source, ~touched).nanmean()),
            float(masked_psnr(pictures, answer, touched).nanmean()),
        )


def edit_kind(
    kind: str, editors: dict[str, DistillationEditor], judge: AttributeClassifier, opts: Options
) -> None:
    """Edits the cases of one kind with every method, and prints its rows."""
    todo = cases(kind, opts.scenes, opts.split)
    source = drawn([case.source for case in todo], opts.size).image
    answer = drawn([case.answer for case in todo], opts.size).image
    made = {"source": (source, 0.0, 0.0), "exact answer": (answer, 0.0, 0.0)}
    for name in [*made, *editors]:
        if name in editors:
            made[name] = edit_all(editors[name], todo, source, opts)
        pictures, seconds, evaluations = made[name]
        s = Scores.of(pictures, source, answer, todo, judge)
        same = "-" if math.isnan(s.kept_psnr) else f"{s.kept_psnr:.1f}"
        figures = f"{s.success:7.1%} | {s.kept:6.1%} | {same:>9} | {s.exact_psnr:13.1f}"
        cost = f"{seconds:7.1f} | {evaluations:11.0f}"
        print(f"| {kind:7} | {name:12} | {figures} | {cost} |", flush=True)
    if opts.grid:
        rows = torch.cat([pictures[:SHOWN] for pictures, _, _ in made.values()])
        sheet = make_grid(rows, min(SHOWN, len(todo)), padding=1)
        sheet = F.interpolate(sheet[None], scale_factor=2, mode="nearest")
        Path(opts.grid).mkdir(parents=True, exist_ok=True)
        write(Path(opts.grid) / f"{kind}.png", png(sheet))


def main(argv: list[str] | None = None) -> None:
    opts = options.read(Options, __doc__, argv)
    methods, kinds = opts.named_methods(), opts.kinds.split(",")
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise SystemExit(f"There is no kind {unknown[0]!r}: there are {', '.join(KINDS)}.")
    judge = load_classifier(EMBEDDED)
    editors = {method: make_editor(method, opts) for method in methods}
    print(f"{opts.scenes} scenes of each kind, {opts.split} seeds, seed {opts.seed}\n")
    print(_HEADER)
    for kind in kinds:
        edit_kind(kind, editors, judge, opts)


if __name__ == "__main__":
    main()
