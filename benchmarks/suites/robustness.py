"""How much edits depend on the settings: seed, guidance, steps, and those of FPR.

    python -m benchmarks.run -m suite=robustness method=dds,ids

One setting at a time is moved while the others stay as they are (IDS paper, Table 4, Figures 6 and
7). Methods whose studies share a folder are shown together.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.analysis import ALL, costs, for_json, summary
from benchmarks.frames import frame
from benchmarks.harness import Harness, check_sizes
from benchmarks.identity import editor_identity
from benchmarks.metrics import COLUMNS, Column
from benchmarks.plots import curves
from benchmarks.rows import digest
from benchmarks.suites.base import EDITS
from benchmarks.suites.cat_to_others import CatToOthers
from benchmarks.tables import cost_cells, markdown, table
from editing.build import make_editor
from editing.errors import UserError
from editing.results import to_json, write
from editing.settings import Settings, suggestion

PLAIN = ("seed", "steps", "step_size")  # settings beside those of the method
PLOTTED = ("target_species", "background_psnr", "exact_psnr")
PAGE = """<!doctype html><meta charset="utf-8"><title>Robustness</title>
<style>body {{ font: 14px sans-serif }} svg {{ width: 420px }} .grid {{ stroke: #ddd }}</style>
{}
"""


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
        for axis, values in self.axes.items():
            if not isinstance(values, Sequence) or isinstance(values, str) or not values:
                raise UserError(f"suite.axes.{axis}={values} is no list of values.")
        for axis in self.beside:
            if axis not in self.axes:
                raise UserError(f"There is no axis {axis!r}: {suggestion(axis, self.axes)}")
        self.suite = CatToOthers(self.cases, self.split, self.size)

    def study(self, settings: Settings, prior: Any, output: Path, command: str = "") -> None:
        """Edits, prints a table per axis, and plots all methods studied in `output`.

        Raises:
            UserError: no axis is a setting of the method, or it does not take one of the values.
        """
        folder = output / EDITS
        harness = Harness(self.suite, folder, settings.batch_size)
        check_sizes(harness.cases, prior)
        moved = {
            (axis, str(value)): changed
            for axis, values in self.axes.items()
            for value in values
            if (changed := varied(settings, {**self.beside.get(axis, {}), axis: value}))
        }
        if not moved:
            axes = ", ".join(self.axes)
            raise UserError(f"method={settings.method} has none of the axes {axes}.")
        editors = {place: make_editor(each, prior) for place, each in moved.items()}
        lines: dict[str, list[dict[str, Any]]] = {}
        for (axis, value), each in moved.items():
            what = editor_identity(each, prior)
            harness = Harness(self.suite, folder, settings.batch_size, command)
            tally = harness.run(editors[axis, value], what, prior, each.seed)
            print(f"{settings.method}, {axis}={value}: {tally}", flush=True)
            data = frame(harness.rows({**what, "seed": each.seed}))
            cost = {label: each for (_, group, label), each in costs(data).items() if group == ALL}
            whole = [
                {**line, "group": "", "label": value, "cost": list(cost[line["label"]])}
                for line in summary(data)
                if line["group"] == ALL
            ]
            lines.setdefault(axis, []).extend(whole)
        suite = {"cases": self.cases, "split": self.split, "size": self.size}
        record = {"method": settings.method, "suite": suite, "axes": for_json(lines)}
        record["command"] = command
        name = digest({**editor_identity(settings, prior), "seed": settings.seed, **suite})[:8]
        write(output / f"robustness-{settings.method}-{name}.json", to_json(record))
        for axis, found in lines.items():
            header, cells = table(found)
            named = [axis, *header[1:], "seconds per edit", "peak memory, MiB"]
            cells = [row + cost_cells(x["cost"]) for row, x in zip(cells, found, strict=True)]
            print(f"\n{settings.method}, by {axis}\n\n{markdown(named, cells)}")
        write_plots(output, suite)
        print(f"Plots are in {output / 'robustness.html'}, edits in {folder}.")


def varied(settings: Settings, changes: Mapping[str, Any]) -> Settings | None:
    """The settings with others in their place; None if the method has not all of them."""
    for name, value in changes.items():
        if name in PLAIN:
            settings = replace(settings, **{name: value})
            continue
        distiller = json.loads(json.dumps(settings.distiller))  # a copy, all the way down
        *path, last = name.split(".")
        inner: Any = distiller
        for part in path:
            inner = inner.get(part) if isinstance(inner, dict) else None
        if not isinstance(inner, dict) or last not in inner:
            return None
        inner[last] = value
        settings = replace(settings, distiller=distiller, guidance=distiller.get("guidance"))
    return settings


def write_plots(output: Path, suite: Mapping[str, Any]) -> None:
    """Writes robustness.html: per axis and metric, a line for every study of a suite in `output`.

    Several studies of a method, with other settings, are told apart by the ends of their names.
    """
    records = {
        path.stem.removeprefix("robustness-"): json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(output.glob("robustness-*.json"))
    }
    records = {name: record for name, record in records.items() if record["suite"] == suite}
    methods = [record["method"] for record in records.values()]
    studies = {
        name if methods.count(record["method"]) > 1 else record["method"]: record["axes"]
        for name, record in records.items()
    }
    parts = []
    for axis in dict.fromkeys(axis for study in studies.values() for axis in study):
        said = [line["label"] for study in studies.values() for line in study.get(axis, [])]
        words = [] if all(map(_is_number, said)) else list(dict.fromkeys(said))
        title = ": ".join([axis, *([", ".join(words)] if words else [])])
        for metric in PLOTTED:
            drawn = {
                method: [
                    (_place(line["label"], words), line["metrics"][metric])
                    for line in study[axis]
                    if metric in line["metrics"]
                ]
                for method, study in studies.items()
                if axis in study
            }
            drawn = {method: line for method, line in drawn.items() if line}
            if drawn:
                parts.append(curves(drawn, Column(title, 0), COLUMNS[metric]))
    write(output / "robustness.html", PAGE.format("\n".join(parts)).encode())


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _place(label: str, words: Sequence[str]) -> float:
    """Where a value stands: a number at its own place, one of several words at its turn."""
    return float(words.index(label) if words else label)
