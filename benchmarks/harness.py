"""Edits the cases of a suite with one method, batch by batch, and keeps a row for each.

What is there already is not done again; whoever else works in the same folder is left to it.
"""

import dataclasses
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate.utils.memory import should_reduce_batch_size
from torch import Tensor
from tqdm import tqdm

from benchmarks.claims import claim
from benchmarks.menagerie.dataset import png
from benchmarks.rows import (
    Asked,
    digest,
    file_digest,
    picture_path,
    read_cost,
    read_row,
    write_asked,
    write_edit,
    write_row,
)
from benchmarks.suites.base import REFERENCES, Case, Pictures, SceneSuite, Suite, shown
from editing import results
from editing.edit import Edit, Editor
from editing.errors import NonFiniteError, UserError
from editing.images import read_picture, to_tensor
from editing.settings import Settings
from samplers.random import make_generators

LIBRARIES = ("torch", "diffusers", "transformers")  # whose versions may change an edit
POLL = 1.0  # seconds between two looks at what other workers are doing

# From the cases of a batch and their pictures to the edits: with their cost, or as they are.
Make = Callable[[Sequence[Case], Pictures], Edit | Tensor | None]


@dataclass
class Tally:
    """What a run did.

    Attributes:
        made: rows that it wrote, failed ones included.
        kept: rows that were there.
        failed: names of the cases that could not be edited, with the reason.
        seconds: wall time, and of it the time spent editing and measuring.
    """

    made: int = 0
    kept: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(
        default_factory=lambda: {"wall": 0.0, "edit": 0.0, "measure": 0.0}
    )

    def __str__(self) -> str:
        wall, edit, measure = (self.seconds[name] for name in ("wall", "edit", "measure"))
        return (
            f"{self.made} rows made, {self.kept} kept, {wall:.0f} s: editing {edit:.0f} s, "
            f"measuring {measure:.0f} s, all else {wall - edit - measure:.1f} s"
        )


def editor_identity(settings: Settings, prior: Any) -> dict[str, Any]:
    """All that determines an edit but its case and seed. JSON."""
    return {
        "method": settings.method,
        "steps": settings.steps,
        "step_size": settings.step_size,
        "distiller": settings.distiller,
        "parameters": settings.parameters,
        "optimizer": settings.optimizer,
        "schedule": settings.schedule,
        "model": prior.model_hash(),
        "files": file_digest(prior.folder, "*/*.json") if prior.folder else "",
        "distilled_guidance": settings.distilled_guidance,
        "lora_scale": settings.lora_scale if settings.lora else 0.0,
        "dtype": str(prior.dtype).removeprefix("torch."),
        "device": prior.device.type,
        "software": results.software(),
        "versions": {name: results.versions()[name] for name in LIBRARIES},
    }


class Harness:
    """One suite, one method, one seed, one folder.

    Args:
        suite: the cases and how they are measured.
        output: folder that the rows go to, shared with other runs and workers.
        batch_size: cases edited at once; halved when memory runs out.
    """

    def __init__(self, suite: Suite, output: Path, batch_size: int) -> None:
        self.suite, self.output, self.batch_size = suite, output, batch_size
        self.cases = suite.make_cases()
        if not self.cases:
            raise UserError(f"suite={suite.name} has no cases with these options.")
        self.tally = Tally()
        self.started = time.time()
        self.measured_by = dict(suite.identity())
        self.revision = results.git_revision()

    def run(self, editor: Editor, what: dict[str, Any], prior: Any, seed: int) -> Tally:
        """Edits and measures every case that has no row yet.

        Args:
            editor: makes the edits.
            what: its `editor_identity`.
            prior: the model behind it, for embedding the prompts.
            seed: of the random numbers.
        """
        began = time.perf_counter()
        write_asked(self.output, self._asked())
        self._all({"method": REFERENCES[0]}, None, lambda _, pictures: pictures.source)
        if self.suite.load(self.cases[:1]).answer is not None:
            self._all({"method": REFERENCES[1]}, None, lambda _, pictures: pictures.answer)

        def edit(batch: Sequence[Case], pictures: Pictures) -> Edit:
            before, after = zip(*(case.prompts for case in batch), strict=True)
            pair = prior.pair(source=list(before), target=list(after))
            if isinstance(self.suite, SceneSuite):
                return self.suite.edit(editor, batch, pair, seed)
            generators = make_generators(seed, [case.index for case in batch])
            return editor(pictures.source, pair, generators)

        self._all({**what, "seed": seed}, what["method"], edit)
        self.tally.seconds["wall"] += time.perf_counter() - began
        return self.tally

    def _asked(self) -> Asked:
        suite: Any = self.suite
        named = dataclasses.fields(suite) if dataclasses.is_dataclass(suite) else ()
        options = {each.name: str(getattr(suite, each.name)) for each in named}
        variants = [self._variant(case) for case in self.cases]
        return Asked(suite.name, options, variants, shlex.join(sys.argv), time.time())

    def rows(self, what: dict[str, Any]) -> list[dict[str, Any]]:
        """The rows of all cases for an edit: its `editor_identity` and seed."""
        found = (read_row(self.output, self._key(case, what)) for case in self.cases)
        return [row for row in found if row is not None]

    def _all(self, what: dict[str, Any], bar: str | None, make: Make) -> None:
        """Rows of all cases, made as `make` says; waits for those that others are making."""
        keys = {case.name: self._key(case, what) for case in self.cases}
        waiting = list(batches(self.cases, self.batch_size))
        with tqdm(desc=bar, total=len(self.cases), unit="edit", disable=bar is None) as progress:
            while waiting:
                left = []
                for batch in waiting:
                    if self._done(batch, keys, what, make):
                        progress.update(len(batch))
                    else:
                        left.append(batch)
                waiting = left
                if waiting:
                    time.sleep(POLL)

    def _done(
        self, batch: Sequence[Case], keys: dict[str, str], what: dict[str, Any], make: Make
    ) -> bool:
        """Sees to it that a batch has its rows; False if another worker is at it."""
        if not self._missing(batch, keys):
            self.tally.kept += len(batch)
            return True
        with claim(self.output, digest({"batch": [keys[case.name] for case in batch]})) as ours:
            if ours:
                missing = self._missing(batch, keys)  # another may just have finished
                self.tally.kept += len(batch) - len(missing)
                self._try(missing, keys, what, make)
            return ours

    def _key(self, case: Case, what: dict[str, Any]) -> str:
        """Name of a row."""
        return digest({"picture": self._picture(case, what), "measured_by": self.measured_by})

    def _picture(self, case: Case, what: dict[str, Any]) -> str:
        """Name of a picture."""
        return digest({**self._about_case(case), "edit": what})

    def _variant(self, case: Case) -> str:
        """Of a case by its name: its pictures, prompts and judges, which options may change."""
        return digest({**self._about_case(case), "measured_by": self.measured_by})

    def _about_case(self, case: Case) -> dict[str, Any]:
        return {
            "suite": self.suite.name,
            "case": dict(case.identity),
            "name": [case.group, case.name],  # it seeds the random numbers
            "prompts": case.prompts,
        }

    def _missing(self, batch: Sequence[Case], keys: dict[str, str]) -> list[Case]:
        """Those without a row; one that failed in an earlier run is tried again."""
        missing = []
        for case in batch:
            row = read_row(self.output, keys[case.name])
            if row is None or (row["status"] == "failed" and row["time"] < self.started):
                missing.append(case)
        return missing

    def _try(
        self, batch: Sequence[Case], keys: dict[str, str], what: dict[str, Any], make: Make
    ) -> None:
        """Rows of a batch; of its halves where memory runs out; case by case where one fails.

        What the user can mend is no failure of a case, and ends the run.
        """
        if len(batch) > self.batch_size:
            for start in range(0, len(batch), self.batch_size):
                self._try(batch[start : start + self.batch_size], keys, what, make)
            return
        if not batch:
            return
        try:
            self._make(batch, keys, what, make)
            return
        except Exception as error:  # whatever a case provokes, the others go on
            if isinstance(error, UserError) and not isinstance(error, NonFiniteError):
                raise
            if _no_memory(error):
                reason, each = "out of memory", max(1, len(batch) // 2)
                self.batch_size = min(self.batch_size, each)
            else:
                reason, each = " ".join(f"{type(error).__name__}: {error}".split()), 1
        if len(batch) > 1:
            for start in range(0, len(batch), each):
                self._try(batch[start : start + each], keys, what, make)
            return
        case = batch[0]
        row = read_row(self.output, keys[case.name])
        if row is not None and row["status"] == "done":  # by another worker, meanwhile
            return
        self.tally.failed[case.name] = reason
        self.tally.made += 1
        row = {**self._about(case, what), "status": "failed", "reason": reason}
        write_row(self.output, keys[case.name], row)

    def _make(
        self, batch: Sequence[Case], keys: dict[str, str], what: dict[str, Any], make: Make
    ) -> None:
        self._edit([case for case in batch if self._cost(case, what) is None], what, make)
        pictures = self.suite.load(batch)
        names = [self._picture(case, what) for case in batch]
        paths = [picture_path(self.output, name) for name in names]
        edited = torch.stack([to_tensor(read_picture(path)) for path in paths])
        start = time.perf_counter()
        measures = self.suite.measure(batch, pictures, edited)
        self.tally.seconds["measure"] += time.perf_counter() - start
        for case, found in zip(batch, measures, strict=True):
            row = {
                **self._about(case, what),
                "status": "done",
                "metrics": {name: _finite(value) for name, value in found.items()},
                **(self._cost(case, what) or {}),
            }
            write_row(self.output, keys[case.name], row)
            self.tally.made += 1

    def _cost(self, case: Case, what: dict[str, Any]) -> dict[str, Any] | None:
        return read_cost(self.output, self._picture(case, what))

    def _edit(self, batch: Sequence[Case], what: dict[str, Any], make: Make) -> None:
        """Pictures of the cases."""
        if not batch:
            return
        pictures = self.suite.load(batch)
        start = time.perf_counter()
        broken: NonFiniteError | None = None
        try:
            made = make(batch, pictures)
        except NonFiniteError as error:
            broken, made = error, error.last_good
            if made is None:
                raise
        self.tally.seconds["edit"] += time.perf_counter() - start
        assert made is not None, "asked for exact answers that there are not"
        cost: dict[str, Any] = {"batch_size": len(batch)}
        if isinstance(made, Edit):
            each = {name: count / len(batch) for name, count in vars(made.evaluations).items()}
            cost |= {"seconds": made.seconds / len(batch), "evaluations": each}
        images = shown(made.images if isinstance(made, Edit) else made)
        ended = made.stopped if isinstance(made, Edit) and made.stopped else (None,) * len(batch)
        for case, image, reason in zip(batch, images, ended, strict=True):
            if reason is None or "not finite" not in reason:
                write_edit(self.output, self._picture(case, what), png(image), cost)
        if broken:  # the others are kept, this one is tried alone
            raise broken

    def _about(self, case: Case, what: dict[str, Any]) -> dict[str, Any]:
        return {
            "suite": self.suite.name,
            "case": case.name,
            "group": case.group,
            "cluster": case.cluster or case.name,
            "variant": self._variant(case),
            "prompts": list(case.prompts),
            "edit": what,
            "picture": self._picture(case, what),
            "revision": self.revision,
            "time": time.time(),
        }


def check_sizes(cases: Sequence[Case], prior: Any) -> None:
    """Refuses pictures that the prior cannot take.

    Raises:
        UserError: naming the first.
    """
    multiple = prior.size_multiple
    for case in cases:
        if any(side % multiple for side in case.size):
            raise UserError(
                f"The picture of {case.name} has {case.size[1]} x {case.size[0]} pixels, and "
                f"prior={prior.name} takes multiples of {multiple}."
            )


def batches(cases: Sequence[Case], size: int) -> Iterator[list[Case]]:
    """Cases of one picture size at a time, at most `size` of them.

    Which cases share a batch depends on nothing else: workers with the same `size` agree on it.
    """
    shapes: dict[tuple[int, int], list[Case]] = {}
    for case in cases:
        shapes.setdefault(case.size, []).append(case)
    for same in shapes.values():
        for start in range(0, len(same), size):
            yield same[start : start + size]


def _no_memory(error: Exception) -> bool:
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or should_reduce_batch_size(error)  # on a CPU it has no class of its own


def _finite(value: float) -> float | None:
    """JSON has no NaN."""
    return None if value != value else float(value)
