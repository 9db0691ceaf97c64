"""Held-out cats, each turned into the seven other species, against the exact answers.

    python -m benchmarks.suites.cat_to_others cats=16 methods=ids,dds grid=docs/cat_to_others.png

Prints, per method: how often CLIP takes the edit for the target species; PSNR to the source outside
the animals (source's and answer's together); PSNR to the exact answer inside them, beside that of
the untouched source; seconds and network evaluations per edit.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from hydra import compose, initialize_config_module
from jaxtyping import Bool, Float
from torch import Tensor
from torchvision.utils import make_grid

from benchmarks import options
from benchmarks.menagerie.dataset import png
from benchmarks.menagerie.evaluate import SpeciesClassifier, masked_psnr
from benchmarks.menagerie.render import Rendering, render
from benchmarks.menagerie.scene import SPECIES, TEST_SEEDS, VALIDATION_SEEDS, Scene, sample_scene
from benchmarks.menagerie.stages import EMBEDDED
from editing import DistillationEditor, load_prior, session
from editing.results import write
from editing.run import group_choices
from editing.settings import read_settings, suggestion
from samplers.random import make_generators

OTHERS = SPECIES[1:]
SPLITS = {"test": TEST_SEEDS, "validation": VALIDATION_SEEDS}
_HEADER = """\
| method       | target species | background PSNR | PSNR to exact | seconds | evaluations |
| ---          | ---            | ---             | ---           | ---     | ---         |"""


@dataclass
class Options:
    cats: int = 16
    methods: str = "ids,dds"  # names of conf/method, with commas
    steps: int = 0  # 0: the method's default for this model
    guidance: float = 0.0  # 0: likewise
    split: str = "test"  # test, or validation to choose defaults on
    dtype: str = "auto"
    batch_size: int = 14
    seed: int = 0
    grid: str = ""  # where to write the pictures: rows of source, exact answer, and each method


@dataclass(frozen=True)
class Case:
    """One edit and its exact answer.

    Attributes:
        source: what is edited.
        answer: what it should become.
    """

    source: Scene
    answer: Scene

    def prompts(self) -> tuple[str, str]:
        """Source and target prompt."""
        return f"a {self.source.species}", f"a {self.answer.species}"


def cases(cats: int, split: str = "test") -> list[Case]:
    """Photo-like cats in their own coat, wearing nothing, at held-out seeds."""
    sources = [
        sample_scene(s, species="cat", coat="natural", worn="none", style="photo")
        for s in SPLITS[split][:cats]
    ]
    return [Case(source, source.replace(species=other)) for source in sources for other in OTHERS]


def region(source: Rendering, answer: Rendering) -> Bool[Tensor, "B 1 S S"]:
    """Where the animal of the source or of the answer is, and one pixel around."""
    touched = torch.maximum(source.animal, answer.animal) > 0
    return F.max_pool2d(touched.float(), 3, 1, 1) > 0


def make_editor(method: str, opts: Options) -> DistillationEditor:
    """The editor `python -m editing.run method=...` uses, with its defaults for this model."""
    words = [f"method={method}", "src=-", "target=-", f"dtype={opts.dtype}"]
    if opts.steps:
        words.append(f"steps={opts.steps}")
    if opts.guidance:
        words.append(f"guidance={opts.guidance}")
    with initialize_config_module("conf", version_base="1.3"):
        settings = read_settings(compose("config", words), method, "menagerie", given=())
    editor = session.make_editor(settings, load_prior(settings.prior, dtype=settings.dtype))
    assert isinstance(editor, DistillationEditor)
    return editor


def edit_all(
    editor: DistillationEditor,
    todo: Sequence[Case],
    sources: Float[Tensor, "B 3 S S"],
    opts: Options,
) -> tuple[Float[Tensor, "B 3 S S"], float, float]:
    """Edited pictures, and seconds and network evaluations per edit."""
    pictures, seconds, evaluations = [], 0.0, 0
    for start in range(0, len(todo), opts.batch_size):
        part = todo[start : start + opts.batch_size]
        source, target = zip(*(case.prompts() for case in part), strict=True)
        pair = editor.distiller.prior.pair(source=list(source), target=list(target))
        generators = make_generators(opts.seed, range(start, start + len(part)))
        edit = editor(sources[start : start + len(part)], pair, generators)
        pictures.append(edit.images)
        seconds += edit.seconds
        evaluations += edit.evaluations.forward + edit.evaluations.backward
    return torch.cat(pictures), seconds / len(todo), evaluations / len(todo)


def _joined(renderings: list[Rendering]) -> Rendering:
    columns = ([getattr(r, f.name) for r in renderings] for f in dataclasses.fields(Rendering))
    return Rendering(*(torch.cat(column) for column in columns))


def main(argv: list[str] | None = None) -> None:
    opts = options.read(Options, __doc__, argv)
    methods, known = opts.methods.split(","), list(group_choices("method"))
    for method in methods:
        if method not in known:
            raise SystemExit(f"There is no method {method!r}: {suggestion(method, known)}")
    if opts.split not in SPLITS:
        raise SystemExit(f"There is no split {opts.split!r}: there are {', '.join(SPLITS)}.")
    todo = cases(opts.cats, opts.split)
    classify = SpeciesClassifier(EMBEDDED)
    source = _joined([render([case.source], classify.size) for case in todo])
    answer = _joined([render([case.answer], classify.size) for case in todo])
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
