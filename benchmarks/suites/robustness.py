"""How much edits depend on the settings: seed, guidance, steps, and those of FPR.

    python -m benchmarks.run -m suite=robustness method=dds,ids

One setting at a time is moved while the others stay as they are (IDS paper, Table 4, Figures 6 and
7). Methods whose studies share a folder are shown together.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.suites.axes import check_axes, study, varied
from benchmarks.suites.cat_to_others import CatToOthers
from editing.settings import Settings

PLOTTED = ("target_species", "background_psnr", "exact_psnr")


@dataclass(eq=False)
class Robustness:
    """Cat-to-Others with one setting after the other moved.

    Attributes:
        axes: values of a setting by its name: `seed`, `steps`, `step_size`, or a field of the
            method, such as `guidance` or `noise.iterations`. A method passes over fields it lacks.
        beside: by the name of an axis, other settings while that one is moved.
        cases: see `CatToOthers`, as `split` and `size` are.

    Raises:
        UserError: an axis has no values, or `beside` names none of the axes.
    """

    axes: Mapping[str, Any]
    beside: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    cases: int = 4
    split: str = "test"
    size: int = 64

    def __post_init__(self) -> None:
        check_axes(self.axes, self.beside)
        self.suite = CatToOthers(self.cases, self.split, self.size)

    def study(self, settings: Settings, prior: Any, output: Path, command: str = "") -> None:
        """Edits, prints a table per axis, and plots all methods studied in `output`.

        Raises:
            UserError: no axis is a setting of the method, or it does not take one of the values.
        """
        moved = {
            (axis, str(value)): (changed, self.suite)
            for axis, values in self.axes.items()
            for value in values
            if (changed := varied(settings, {**self.beside.get(axis, {}), axis: value}))
        }
        options = {"cases": self.cases, "split": self.split, "size": self.size}
        study("robustness", moved, options, PLOTTED, settings, prior, output, command)
