"""Edits the cases of a suite with one method, batch by batch, and keeps a row for each.

What is there already is not done again; whoever else works in the same folder is left to it.
"""

import dataclasses
import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from accelerate.utils.memory import should_reduce_batch_size
from torch import Tensor
from tqdm import tqdm

from benchmarks.claims import claim
from benchmarks.identity import suite_identity
from benchmarks.memory import peak, reset_peak
from benchmarks.menagerie.dataset import png
from benchmarks.rows import (
    Asked,
    digest,
    has_picture,
    picture_path,
    read_cost,
    read_row,
    write_asked,
    write_edit,
    write_row,
)
from benchmarks.suites.base import REFERENCES, Case, CaseError, Pictures, SceneSuite, Suite, shown
from benchmarks.tally import Tally
from editing import results
from editing.editor import Edit, Editor
from editing.errors import NonFiniteError, UserError
from editing.images import read_picture, to_tensor
from samplers.random import make_generators

NO_MEMORY = "out of memory"
POLL = 1.0  # seconds between two looks at what other workers are doing

# From the cases of a batch and their pictures to the edits: with their cost, or as they are.
Make = Callable[[Sequence[Case], Pictures], Edit | Tensor | None]


class Harness:
    """One suite, one method, one seed, one folder.

    Args:
        suite: the cases and how they are measured.
        output: folder that the rows go to, shared with other runs and workers.
        batch_size: cases edited at once; fewer when memory runs out.
        command: what was typed.
        launch: what the jobs of one command have in common.
    """

    def __init__(
        self, suite: Suite, output: Path, batch_size: int, command: str = "", launch: str = ""
    ) -> None:
        self.suite, self.output, self.batch_size = suite, output, batch_size
        self.fits = batch_size  # workers agree on what to claim by `batch_size`, so that one stays
        self.command, self.launch = command, launch
        self.cases = suite.make_cases()
        if not self.cases:
            raise UserError(f"suite={suite.name} has no cases with these options.")
        self.tally = Tally(batch_size=(batch_size, batch_size))
        self.started = time.time()
        self.measured_by = suite_identity(suite)
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
        if self._has_answers():
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

    def _has_answers(self) -> bool:
        """Whether the suite has exact answers, as the first case says that can be read."""
        for case in self.cases:
            with suppress(CaseError):
                return self.suite.load([case]).answer is not None
        return False

    def _asked(self) -> Asked:
        suite: Any = self.suite
        named = dataclasses.fields(suite) if dataclasses.is_dataclass(suite) else ()
        options = {each.name: str(getattr(suite, each.name)) for each in named}
        variants = [self._variant(case) for case in self.cases]
        said = self.command, time.time(), self.launch
        return Asked(suite.name, options, variants, *said)

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
        """Those without a row and its picture; what failed in an earlier run is tried again."""
        rows = {case.name: read_row(self.output, keys[case.name]) for case in batch}
        return [case for case in batch if not self._counts(rows[case.name])]

    def _counts(self, row: dict[str, Any] | None) -> bool:
        if row is None:
            return False
        if row["status"] == "failed":
            return row["time"] >= self.started
        return has_picture(self.output, row["picture"])

    def _try(
        self, batch: Sequence[Case], keys: dict[str, str], what: dict[str, Any], make: Make
    ) -> None:
        """Rows of a batch; of its halves where memory runs out; case by case where one fails.

        What the user can mend is no failure of a case, and ends the run.
        """
        if len(batch) > self.fits:
            self._each(_parts(batch, self.fits), keys, what, make)
            return
        if not batch:
            return
        try:
            self._make(batch, keys, what, make)
            return
        except CaseError as error:
            reason, parts = " ".join(str(error).split()), self._apart(batch)
        except Exception as error:  # whatever a case provokes, the others go on
            if isinstance(error, UserError) and not isinstance(error, NonFiniteError):
                raise
            reason, parts = " ".join(f"{type(error).__name__}: {error}".split()), _parts(batch, 1)
            if _no_memory(error):
                self.fits = min(self.fits, max(1, len(batch) // 2))
                self.tally.batch_size = (self.batch_size, self.fits)
                reason, parts = NO_MEMORY, _parts(batch, self.fits)
        if reason == NO_MEMORY:  # not before the error is gone, which holds on to what it had
            _free_memory()
        if len(batch) > 1:
            self._each(parts, keys, what, make)
            return
        case = batch[0]
        row = read_row(self.output, keys[case.name])
        if row is not None and row["status"] == "done":  # by another worker, meanwhile
            return
        self.tally.failed[case.name] = reason
        self.tally.made += 1
        row = {**self._about(case, what), "status": "failed", "reason": reason}
        write_row(self.output, keys[case.name], row)

    def _each(
        self,
        parts: Sequence[Sequence[Case]],
        keys: dict[str, str],
        what: dict[str, Any],
        make: Make,
    ) -> None:
        for part in parts:
            self._try(part, keys, what, make)

    def _apart(self, batch: Sequence[Case]) -> list[Sequence[Case]]:
        """The cases that can be loaded together, and the others one by one."""
        good: list[Case] = []
        for case in batch:
            with suppress(CaseError):
                self.suite.load([case])
                good.append(case)
        if len(good) == len(batch):
            return _parts(batch, 1)
        return [good, *([case] for case in batch if case not in good)]

    def _make(
        self, batch: Sequence[Case], keys: dict[str, str], what: dict[str, Any], make: Make
    ) -> None:
        edited = {case.name: self._edited(case, what) for case in batch}
        missing = [case for case in batch if edited[case.name] is None]
        self._edit(missing, what, make)
        edited |= {case.name: self._edited(case, what) for case in missing}
        pictures = self.suite.load(batch)
        found = [picture for picture in edited.values() if picture is not None]
        if len(found) < len(batch):
            raise OSError("the edit cannot be read back")
        seen = torch.stack(found)
        start = time.perf_counter()
        measures = self.suite.measure(batch, pictures, seen)
        self.tally.seconds["measure"] += time.perf_counter() - start
        for case, measured in zip(batch, measures, strict=True):
            row = {
                **self._about(case, what),
                "status": "done",
                "metrics": {name: _finite(value) for name, value in measured.items()},
                **(self._cost(case, what) or {}),
            }
            write_row(self.output, keys[case.name], row)
            self.tally.made += 1

    def _edited(self, case: Case, what: dict[str, Any]) -> Tensor | None:
        """The edit of a case as it was written; None if it is not there, or not whole."""
        if self._cost(case, what) is None:
            return None
        with suppress(UserError):
            return to_tensor(read_picture(picture_path(self.output, self._picture(case, what))))
        return None

    def _cost(self, case: Case, what: dict[str, Any]) -> dict[str, Any] | None:
        return read_cost(self.output, self._picture(case, what))

    def _edit(self, batch: Sequence[Case], what: dict[str, Any], make: Make) -> None:
        """Pictures of the cases."""
        if not batch:
            return
        pictures = self.suite.load(batch)
        device = torch.device(what.get("device", "cpu"))
        with suppress(OSError):
            reset_peak(device)
        start = time.perf_counter()
        broken: NonFiniteError | None = None
        try:
            made = make(batch, pictures)
        except NonFiniteError as error:
            broken, made = error, error.last_good
            if made is None:
                raise
        self.tally.seconds["edit"] += time.perf_counter() - start
        used = peak(device)
        assert made is not None, "asked for exact answers that there are not"
        cost: dict[str, Any] = {"batch_size": len(batch), "batch_size_asked": self.batch_size}
        if isinstance(made, Edit):
            each = {name: count / len(batch) for name, count in vars(made.evaluations).items()}
            cost |= {"seconds": made.seconds / len(batch), "evaluations": each}
            cost["memory"] = _finite(used)
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


def _parts(batch: Sequence[Case], size: int) -> list[Sequence[Case]]:
    return [batch[start : start + size] for start in range(0, len(batch), size)]


def _free_memory() -> None:
    """Give back what nobody needs any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _no_memory(error: Exception) -> bool:
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or should_reduce_batch_size(error)  # on a CPU it has no class of its own


def _finite(value: float) -> float | None:
    """JSON has no NaN."""
    return None if value != value else float(value)
