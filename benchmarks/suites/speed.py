"""What an edit costs, against a textbook implementation and against what the machine can do.

    python -m benchmarks.run -m suite=speed method=dds,cds,ids threads=1

Per method and batch size: milliseconds per image and step of a distiller, or per image and whole
edit of a sampler's method; the pictures a minute that whole edits make, at the method's number of
steps and with encoding and decoding; peak memory; network evaluations per image and step, or edit;
and two ratios. The first is to a textbook implementation (one image, one prediction at a time),
timed in turns with ours so that it holds on a machine that does other things too. The second is to
the floor: the operations of the method's own evaluations at the speed the machine multiplies
matrices with.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.identity import editor_identity
from benchmarks.memory import peak, reset_peak
from benchmarks.rows import digest
from benchmarks.suites.base import several
from benchmarks.suites.textbook import TEXTBOOK, Step, is_textbook
from editing import DistillationEditor
from editing.build import make_editor
from editing.editor import Edit
from editing.priors.latent import LatentPrior
from editing.results import to_json, write
from editing.settings import Settings, whole
from editing.sizes import fitting_size
from editing.trajectory import TrajectoryEditor
from samplers.prior import PromptPair, count_evaluations
from samplers.random import make_generators, randn

MATRIX = {"cpu": 2048, "cuda": 8192}  # side of the matrices that measure the machine
PRODUCTS = {"cpu": 1, "cuda": 20}  # between two looks at the clock: a launch must not count
WIDTHS = {"method": 16, "per": 4, "batch": 5, "ms/image": 8, "images/min": 10, "MiB": 6}
WIDTHS |= {"forward": 7, "backward": 8, "textbook": 8, "floor": 6}


@dataclass(frozen=True)
class Row:
    """What was measured of one method at one batch size.

    Attributes:
        method: its name.
        per: `step` of a distiller, or `edit`: what time and evaluations are of.
        batch: images at once.
        milliseconds: per image and step or edit.
        images_per_minute: of whole edits, at the method's number of steps.
        mebibytes: peak memory, the model's own included.
        forward: network evaluations per image and step or edit.
        backward: likewise.
        textbook: how many times as long the textbook's step takes, per image; 0 if there is none.
        floor: how many times as long as the floor it takes.
    """

    method: str
    per: str
    batch: int
    milliseconds: float
    images_per_minute: float
    mebibytes: float
    forward: float
    backward: float
    textbook: float
    floor: float

    def __str__(self) -> str:
        against = f"{self.textbook:.2f}x" if self.textbook else "-"
        numbers = [f"{self.milliseconds:.1f}", f"{self.images_per_minute:.1f}"]
        numbers += [f"{self.mebibytes:.0f}", f"{self.forward:.1f}", f"{self.backward:.1f}"]
        return _line(
            [self.method, self.per, str(self.batch), *numbers, against, f"{self.floor:.1f}x"]
        )


def _line(cells: Sequence[str]) -> str:
    """A line of the table: names to the left, numbers to the right."""
    parts = zip(cells, WIDTHS.values(), strict=True)
    sides = (c.ljust(w) if place < 2 else c.rjust(w) for place, (c, w) in enumerate(parts))
    return f"| {' | '.join(sides)} |"


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Wall time of one call, the device's queue included."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def matrix_speed(device: torch.device, dtype: torch.dtype, repeats: int) -> float:
    """Floating point operations a second of large products of matrices, the best of `repeats`."""
    side, count = MATRIX.get(device.type, 2048), PRODUCTS.get(device.type, 1)
    x, y = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))

    def work() -> None:
        for _ in range(count):
            torch.mm(x, y)

    seconds(work, device)
    return 2 * count * side**3 / min(seconds(work, device) for _ in range(repeats))


def measure_edit(
    method: str, editor: TrajectoryEditor, batch: int, size: int, speed: float, repeats: int
) -> Row:
    """One row of a sampler's method: whole edits, encoding and decoding included."""
    prior = editor.method.prior
    assert isinstance(prior, LatentPrior)
    device = prior.device
    pictures = torch.rand(batch, 3, size, size, generator=torch.Generator().manual_seed(0))
    prompts = prior.pair(source="a cat", target="a pig").expand(batch)

    def edit() -> Edit:
        return editor(pictures, prompts, make_generators(0, range(batch)))

    edit()  # the first one chooses kernels, or compiles
    reset_peak(device)
    whole = statistics.median(seconds(edit, device) for _ in range(repeats))
    used = peak(device)
    with FlopCounterMode(display=False) as flops:
        evaluations = edit().evaluations
    return Row(
        method,
        "edit",
        batch,
        1000 * whole / batch,
        60 * batch / whole,
        used,
        evaluations.forward / batch,
        evaluations.backward / batch,
        0.0,
        whole * speed / flops.get_total_flops(),
    )


def measure(
    method: str, editor: DistillationEditor, batch: int, size: int, speed: float, repeats: int
) -> Row:
    """One row: ours and the textbook's step in turns, then its evaluations and operations."""
    prior = editor.distiller.prior
    assert isinstance(prior, LatentPrior)
    side = size // prior.vae_factor
    shape, device = (batch, prior.latent_channels, side, side), prior.device
    source = randn(shape, make_generators(0, range(batch)), device)
    target = source + 0.1 * randn(shape, make_generators(1, range(batch)), device)
    prompts = prior.pair(source="a cat", target="a pig").expand(batch)

    def ours() -> Tensor:
        generators = make_generators(2, range(batch))
        return editor.distiller.distill(target, source, prompts, generators).gradient

    def textbook() -> Tensor:
        one = PromptPair(prompts.source[:1], prompts.target[:1])
        t = torch.tensor([500], device=device)
        e = randn((1, *shape[1:]), make_generators(3, [0]), device)
        guidance = editor.distiller.guidance
        return TEXTBOOK[method](Step(prior, target[:1], source[:1], one, t, e, guidance))

    plain = textbook if is_textbook(editor.distiller) else None
    ours(), plain and plain()  # the first calls choose kernels
    reset_peak(device)
    ours()
    used, times, plain_times = peak(device), [], []
    for _ in range(repeats):
        times.append(seconds(ours, device))
        if plain:
            plain_times.append(seconds(plain, device))
    with count_evaluations(prior) as counted, FlopCounterMode(display=False) as flops:
        ours()
    each = statistics.median(times) / batch
    pictures = torch.rand(batch, 3, side * prior.vae_factor, side * prior.vae_factor)
    one_step = replace(editor, steps=1)

    def edit() -> object:
        return one_step(pictures, prompts, make_generators(2, range(batch)))

    edit()
    first = statistics.median(seconds(edit, device) for _ in range(repeats))
    whole = first / batch + (editor.steps - 1) * each
    return Row(
        method,
        "step",
        batch,
        1000 * each,
        60 / whole,
        used,
        counted.forward / batch,
        counted.backward / batch,
        statistics.median(plain_times) / each if plain else 0.0,
        each * batch * speed / flops.get_total_flops(),
    )


@dataclass(eq=False)
class Speed:
    """The cost of a gradient, or of a sampler's whole edit, at several batch sizes.

    Attributes:
        batches: images at once.
        size: of the pictures in pixels; 0 for what the model was trained on.
        repeats: timed rounds, of which the median counts.
    """

    batches: Sequence[int] = (1, 2, 4, 8, 16)
    size: int = 0
    repeats: int = 5

    def __post_init__(self) -> None:
        self.batches = [whole("suite.batches", each, least=1) for each in several(self.batches)]
        whole("suite.repeats", self.repeats, least=1)
        whole("suite.size", self.size, least=0)

    def study(self, settings: Settings, prior: Any, output: Path, command: str = "") -> None:
        """Prints a row for every batch size, and writes all to `speed-METHOD-….json`.

        Another setting has another file.
        """
        editor, method = make_editor(settings, prior), settings.method
        size = fitting_size(self.size or None, prior)
        speed = matrix_speed(prior.device, prior.dtype, self.repeats)
        threads = torch.get_num_threads()
        print(f"{prior.device}, {prior.dtype}, {threads} threads: {speed / 1e9:.0f} GFLOP/s\n")
        for line in (WIDTHS, ["---"] * len(WIDTHS)):
            print(_line(list(line)))
        rows = []
        for batch in self.batches:
            options = batch, size, speed, self.repeats
            if isinstance(editor, TrajectoryEditor):
                rows.append(measure_edit(method, editor, *options))
            else:
                assert isinstance(editor, DistillationEditor)  # there are no other editors
                rows.append(measure(method, editor, *options))
            print(rows[-1], flush=True)
        varied = {"tuning": settings.tuning, "threads": threads, **vars(self)}
        what = {**editor_identity(settings, prior), **varied}
        record = {
            "command": command,
            "edit": what,
            "device": str(prior.device),
            "dtype": str(prior.dtype).removeprefix("torch."),
            "threads": threads,
            "gflops": speed / 1e9,
            "rows": [asdict(row) for row in rows],
        }
        write(output / f"speed-{method}-{digest(what)[:8]}.json", to_json(record))
