"""Edits of seven kinds: species, coat, a hat, its colour, no hat, place, style."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from benchmarks.menagerie.captions import SYNONYMS
from benchmarks.menagerie.classifier import (
    ATTRIBUTES,
    labels,
)
from benchmarks.menagerie.scene import (
    COLORS,
    PLACES,
    SPECIES,
    Scene,
    dyes,
    sample_scene,
)
from benchmarks.metrics.psnr import psnr
from benchmarks.suites.base import Case, Measures, Pictures, several
from benchmarks.suites.world import OfScenes, Scenes, region, scene_case, seeds
from editing.errors import UserError
from editing.settings import suggestion, whole

PLAIN = {"coat": "natural", "worn": "none", "style": "photo"}  # what is edited

Turn = tuple[Scene, Scene, tuple[str, str]]  # source, exact answer, prompts


def _species(scene: Scene, turn: int) -> Turn:
    other = SPECIES[1 + turn % (len(SPECIES) - 1)]
    source = scene.replace(species="cat")
    return source, source.replace(species=other), ("a cat", f"a {other}")


def _coat(scene: Scene, turn: int) -> Turn:
    coats = dyes(scene.species)
    coat = coats[turn % len(coats)]
    article = "an" if coat[0] in "aeiou" else "a"
    prompts = f"a {scene.species}", f"{article} {coat} {scene.species}"
    return scene, scene.replace(coat=coat), prompts


def _hat(scene: Scene, turn: int) -> Turn:
    color = COLORS[turn % len(COLORS)]
    prompts = f"a {scene.species}", f"a {scene.species} with a {color} hat"
    return scene, scene.replace(worn="hat", worn_color=color), prompts


def _color(scene: Scene, turn: int) -> Turn:
    before, after = COLORS[turn % len(COLORS)], COLORS[(turn + 1) % len(COLORS)]
    source = scene.replace(worn="hat", worn_color=before)
    said = f"a {scene.species} with a {{}} hat"
    answer = source.replace(worn_color=after)
    return source, answer, (said.format(before), said.format(after))


def _bare(scene: Scene, turn: int) -> Turn:
    bare, hatted, said = _hat(scene, turn)
    return hatted, bare, (said[1], said[0])


def _place(scene: Scene, turn: int) -> Turn:
    step = 1 + turn % (len(PLACES) - 1)
    place = PLACES[(PLACES.index(scene.place) + step) % len(PLACES)]
    said = [f"a {scene.species} {SYNONYMS[name][0]}" for name in (scene.place, place)]
    return scene, scene.replace(place=place), (said[0], said[1])


def _style(scene: Scene, turn: int) -> Turn:
    said = f"a {{}} of a {scene.species}"
    answer = scene.replace(style="drawing")
    return scene, answer, (said.format("photo"), said.format("drawing"))


KINDS: dict[str, Callable[[Scene, int], Turn]] = {
    "species": _species,
    "coat": _coat,
    "hat": _hat,
    "color": _color,
    "bare": _bare,
    "place": _place,
    "style": _style,
}


def changed(scenes: Scenes) -> dict[str, bool]:
    """Of each attribute that can be seen in the answer, whether the edit changes it."""
    source, answer = scenes.source, scenes.answer
    found = {name: getattr(source, name) != getattr(answer, name) for name in ATTRIBUTES}
    if answer.worn == "none":
        del found["worn_color"]
    elif source.worn == "none":
        found["worn_color"] = True
    return found


@dataclass(eq=False)
class MenagerieEdits(OfScenes):
    """Photo-like animals in their own coat that wear nothing, edited in seven ways.

    Measured are: whether the classifier sees all that should have changed; how much it sees of what
    should not have; PSNR to the source where source and exact answer agree; PSNR to the answer
    where they do not.

    Attributes:
        cases: of each kind.
        kinds: of `KINDS`.
        split: `test`, or `validation` to choose defaults on.
        size: of the pictures, in pixels.

    Raises:
        UserError: there is no such kind or split, or it has fewer scenes.
    """

    cases: int = 32
    kinds: Sequence[str] = tuple(KINDS)
    split: str = "test"
    size: int = 64

    name = "menagerie_edits"
    metrics = ("success", "kept", "kept_psnr", "exact_psnr")

    def __post_init__(self) -> None:
        seeds(self.split, self.cases)
        whole("suite.size", self.size, least=8)
        self.kinds = several(self.kinds)
        for kind in self.kinds:
            if kind not in KINDS:
                raise UserError(f"There is no kind {kind!r}: {suggestion(kind, KINDS)}")

    def make_cases(self) -> list[Case]:
        made = []
        for kind in self.kinds:
            for turn, seed in enumerate(seeds(self.split, self.cases)):
                source, answer, prompts = KINDS[kind](sample_scene(seed, **PLAIN), turn)
                scenes = Scenes(source, answer)
                made.append(scene_case(f"{kind}-{seed}", scenes, prompts, self.size, kind))
        return made

    def measure(
        self, cases: Sequence[Case], pictures: Pictures, edited: Float[Tensor, "B 3 H W"]
    ) -> list[Measures]:
        assert pictures.answer is not None
        seen, truth = self.classifier.predict(edited), labels([case.about.answer for case in cases])
        touched = region(pictures.source, pictures.answer)
        kept_psnr = psnr(edited, pictures.source, ~touched).tolist()
        exact_psnr = psnr(edited, pictures.answer, touched).tolist()
        found = []
        for i, case in enumerate(cases):
            moved = changed(case.about)
            right = {name: bool(seen[name][i] == truth[name][i]) for name in moved}
            kept = [right[name] for name in moved if not moved[name]]
            found.append(
                {
                    "success": float(all(right[name] for name in moved if moved[name])),
                    "kept": sum(kept) / len(kept),
                    "kept_psnr": kept_psnr[i],
                    "exact_psnr": exact_psnr[i],
                }
            )
        return found
