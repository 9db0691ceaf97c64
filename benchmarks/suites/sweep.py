"""Every combination of some settings on validation scenes, to choose a model's defaults by.

    python -m benchmarks.suites.sweep method=dds scenes=4 guidance=2,3,4 step_size=0.03,0.05

Prints a row per combination, each the mean over the kinds of `menagerie_edits`: how often all that
should change does; how often what should stay does; PSNR to the source where nothing should change;
PSNR to the exact answer where something should; seconds and network evaluations per edit.
"""

import dataclasses
import itertools
from dataclasses import dataclass

import torch

from benchmarks import options
from benchmarks.menagerie.classifier import load_classifier
from benchmarks.menagerie.stages import EMBEDDED
from benchmarks.suites.menagerie_edits import KINDS, Scores, cases
from benchmarks.suites.world import SuiteOptions, drawn, edit_all, make_editor

SETTINGS = {"guidance": "guidance", "steps": "steps", "step_size": "method.step_size"}
SETTINGS |= {"low": "timesteps.low", "high": "timesteps.high"}
_HEADER = """\
| setting                      | success | kept   | kept PSNR | exact PSNR | s    | evaluations |
| ---                          | ---     | ---    | ---       | ---        | ---  | ---         |"""


@dataclass
class Options:
    method: str = "dds"
    scenes: int = 4  # of each kind
    kinds: str = "species,coat,hat,color,bare,place,style"
    guidance: str = ""  # values with commas; the method's default if left out
    steps: str = ""
    step_size: str = ""
    low: str = ""  # of the timesteps, as a fraction of the schedule
    high: str = ""
    split: str = "validation"
    dtype: str = "auto"
    batch_size: int = 14
    seed: int = 0
    size: int = 64


def combinations(opts: Options) -> list[str]:
    """The settings to try, each as words for `editing.run`."""
    lists = [
        [f"{SETTINGS[name]}={value}" for value in getattr(opts, name).split(",")]
        for name in SETTINGS
        if getattr(opts, name)
    ]
    return [" ".join(words) for words in itertools.product(*lists)]


def main(argv: list[str] | None = None) -> None:
    opts = options.read(Options, __doc__, argv)
    kinds = opts.kinds.split(",")
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise SystemExit(f"There is no kind {unknown[0]!r}: there are {', '.join(KINDS)}.")
    shared = {field.name for field in dataclasses.fields(SuiteOptions)} - {"guidance", "steps"}
    kept = {name: value for name, value in vars(opts).items() if name in shared}
    suite = SuiteOptions(methods=opts.method, **kept)
    suite.named_methods()
    judge = load_classifier(EMBEDDED)
    todo = {kind: cases(kind, opts.scenes, opts.split) for kind in kinds}
    sources = {k: drawn([case.source for case in todo[k]], opts.size).image for k in kinds}
    answers = {k: drawn([case.answer for case in todo[k]], opts.size).image for k in kinds}
    print(f"{opts.method}, {opts.scenes} scenes of each kind, {opts.split} seeds\n")
    print(_HEADER)
    for words in combinations(opts):
        editor = make_editor(opts.method, dataclasses.replace(suite, settings=words))
        rows = []
        for kind in kinds:
            pictures, seconds, evaluations = edit_all(editor, todo[kind], sources[kind], suite)
            scores = Scores.of(pictures, sources[kind], answers[kind], todo[kind], judge)
            rows.append([*dataclasses.astuple(scores), seconds, evaluations])
        s = torch.tensor(rows).nanmean(0).tolist()
        figures = f"{s[0]:7.1%} | {s[1]:6.1%} | {s[2]:9.1f} | {s[3]:10.1f} | {s[4]:4.1f}"
        print(f"| {words or 'defaults':28} | {figures} | {s[5]:11.0f} |", flush=True)


if __name__ == "__main__":
    main()
