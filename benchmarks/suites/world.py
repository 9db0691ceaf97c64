"""What the suites on the Menagerie share: cases with exact answers, and editing them."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from hydra import compose, initialize_config_module
from jaxtyping import Float
from torch import Tensor

from benchmarks.menagerie.render import Rendering, render
from benchmarks.menagerie.scene import TEST_SEEDS, VALIDATION_SEEDS, Scene
from editing import DistillationEditor, build, load_prior
from editing.command import group_choices
from editing.settings import read_settings, suggestion
from samplers.random import make_generators

SPLITS = {"test": TEST_SEEDS, "validation": VALIDATION_SEEDS}


@dataclass
class SuiteOptions:
    """Options of every suite."""

    methods: str = "ids,dds"  # names of conf/method, with commas
    steps: int = 0  # 0: the method's default for this model
    guidance: float = 0.0  # 0: likewise
    settings: str = ""  # more of editing.run's: "method.step_size=0.03 timesteps.high=0.8"
    split: str = "test"  # test, or validation to choose defaults on
    dtype: str = "auto"
    batch_size: int = 14
    seed: int = 0
    grid: str = ""  # where to write the pictures: rows of source, exact answer, and each method

    def named_methods(self) -> list[str]:
        """The methods, one by one.

        Raises:
            SystemExit: with one sentence for an unknown method or split.
        """
        methods, known = self.methods.split(","), list(group_choices("method"))
        for method in methods:
            if method not in known:
                raise SystemExit(f"There is no method {method!r}: {suggestion(method, known)}")
        if self.split not in SPLITS:
            raise SystemExit(f"There is no split {self.split!r}: there are {', '.join(SPLITS)}.")
        return methods


@dataclass(frozen=True)
class Case:
    """One edit and its exact answer.

    Attributes:
        source: what is edited.
        answer: what it should become.
        prompts: what is said of the two.
    """

    source: Scene
    answer: Scene
    prompts: tuple[str, str]


def drawn(scenes: Sequence[Scene], size: int) -> Rendering:
    """All scenes, each drawn alone and once."""
    once = {scene: render([scene], size) for scene in dict.fromkeys(scenes)}
    return Rendering(
        *(
            torch.cat([getattr(once[scene], field.name) for scene in scenes])
            for field in dataclasses.fields(Rendering)
        )
    )


def make_editor(method: str, opts: SuiteOptions) -> DistillationEditor:
    """The editor `python -m editing.run method=...` uses, with its defaults for this model."""
    words = [f"method={method}", "src=-", "target=-", f"dtype={opts.dtype}", *opts.settings.split()]
    if opts.steps:
        words.append(f"steps={opts.steps}")
    if opts.guidance:
        words.append(f"guidance={opts.guidance}")
    with initialize_config_module("conf", version_base="1.3"):
        given = [word.partition("=")[0] for word in words]
        settings = read_settings(compose("config", words), method, "menagerie", given)
    prior = load_prior(settings.model, dtype=settings.dtype)
    editor = build.make_editor(settings, prior)
    assert isinstance(editor, DistillationEditor)
    return editor


def edit_all(
    editor: DistillationEditor,
    todo: Sequence[Case],
    sources: Float[Tensor, "B 3 S S"],
    opts: SuiteOptions,
) -> tuple[Float[Tensor, "B 3 S S"], float, float]:
    """Edited pictures, and seconds and network evaluations per edit."""
    pictures, seconds, evaluations = [], 0.0, 0
    for start in range(0, len(todo), opts.batch_size):
        part = todo[start : start + opts.batch_size]
        source, target = zip(*(case.prompts for case in part), strict=True)
        pair = editor.distiller.prior.pair(source=list(source), target=list(target))
        generators = make_generators(opts.seed, range(start, start + len(part)))
        edit = editor(sources[start : start + len(part)], pair, generators)
        pictures.append(edit.images)
        seconds += edit.seconds
        evaluations += edit.evaluations.forward + edit.evaluations.backward
    return torch.cat(pictures), seconds / len(todo), evaluations / len(todo)
