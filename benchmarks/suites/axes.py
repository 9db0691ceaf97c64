"""What studies share that move one setting after the other: edits, a table per axis, plots."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.analysis import costs, for_json, summary
from benchmarks.frames import frame
from benchmarks.harness import Harness, check_sizes
from benchmarks.identity import editor_identity
from benchmarks.metrics import COLUMNS, Column
from benchmarks.plots import curves, standalone
from benchmarks.rows import digest
from benchmarks.suites.base import EDITS, Suite
from benchmarks.tables import cost_cells, evaluations_cell, markdown, mean_cell, table
from editing.build import make_editor
from editing.errors import UserError
from editing.results import to_json, write
from editing.settings import Settings, suggestion

PLAIN = ("seed", "steps", "step_size")  # settings beside those of the method
PAGE = """<!doctype html><meta charset="utf-8"><title>{title}</title>
<style>body {{ font: 14px sans-serif }} svg {{ width: 420px }} .grid {{ stroke: #ddd }}</style>
{body}
"""

Moved = Mapping[tuple[str, str], tuple[Settings, Suite]]  # by axis and value


def check_axes(axes: Mapping[str, Any], beside: Mapping[str, Any]) -> None:
    """Refuses an axis without values, and settings beside an axis that is not there.

    Raises:
        UserError: naming it.
    """
    for axis, values in axes.items():
        if not isinstance(values, Sequence) or isinstance(values, str) or not values:
            raise UserError(f"suite.axes.{axis}={values} is no list of values.")
    for axis in beside:
        if axis not in axes:
            raise UserError(f"There is no axis {axis!r}: {suggestion(axis, axes)}")


def study(
    name: str,
    moved: Moved,
    options: Mapping[str, Any],
    plotted: Sequence[str],
    settings: Settings,
    prior: Any,
    output: Path,
    command: str,
) -> None:
    """Edits, prints a table per axis, and plots all methods studied in `output`.

    Args:
        name: of the study: its files are `NAME-METHOD-….json`, `NAME.md`, `NAME.html` and
            `plots/NAME-AXIS-METRIC.svg`.
        moved: settings and suite at every value of every axis.
        options: of the study, without its axes; those with others are not plotted together.
        plotted: the metrics of the plots.
        settings: as they are where nothing is moved.
        prior: the model.
        output: folder of the study.
        command: what was typed.

    Raises:
        UserError: no axis is a setting of the method, or it or the prior does not take one of
            the values.
    """
    if not moved:
        raise UserError(f"method={settings.method} has none of the axes of suite={name}.")
    folder = output / EDITS
    editors = {place: make_editor(each, prior) for place, (each, _) in moved.items()}
    for suite in {id(suite): suite for _, suite in moved.values()}.values():
        check_sizes(suite.make_cases(), prior)
    lines: dict[str, list[dict[str, Any]]] = {}
    for (axis, value), (each, suite) in moved.items():
        what = editor_identity(each, prior)
        harness = Harness(suite, folder, settings.batch_size, command)
        tally = harness.run(editors[axis, value], what, prior, each.seed)
        print(f"{settings.method}, {axis}={value}: {tally}", flush=True)
        data = frame(harness.rows({**what, "seed": each.seed}))
        cost = costs(data)
        whole = [
            {**line, "group": "", "label": value, "cost": list(cost[line_place(line)])}
            for line in summary(data)[-1:]  # of all groups, or of the only one
        ]
        lines.setdefault(axis, []).extend(whole)
    record = {"method": settings.method, "suite": options, "axes": for_json(lines)}
    record["command"] = command
    of = digest({**editor_identity(settings, prior), "seed": settings.seed, **options})[:8]
    write(output / f"{name}-{settings.method}-{of}.json", to_json(record))
    for axis, found in lines.items():
        header, cells = table(found)
        named = [axis, *header[1:], "seconds per edit", "peak memory, MiB"]
        cells = [row + cost_cells(x["cost"]) for row, x in zip(cells, found, strict=True)]
        print(f"\n{settings.method}, by {axis}\n\n{markdown(named, cells)}")
    studies = studies_in(name, output, options)
    plots = draw(studies, plotted)
    page = PAGE.format(title=name, body="\n".join(plots.values()))
    write(output / f"{name}.html", page.encode())
    for old in (output / "plots").glob(f"{name}-*.svg"):
        old.unlink()
    for of_what, plot in plots.items():
        write(output / "plots" / f"{name}-{of_what}.svg", standalone(plot).encode())
    write(output / f"{name}.md", overview(studies, plotted).encode())
    print(
        f"All methods together are in {output / f'{name}.md'}, plots in "
        f"{output / f'{name}.html'}, edits in {folder}."
    )


def line_place(line: Mapping[str, Any]) -> tuple[str, str, str]:
    """Suite, group and label of a line of a summary."""
    return line["suite"], line["group"], line["label"]


def varied(settings: Settings, changes: Mapping[str, Any]) -> Settings | None:
    """The settings with others in their place; None if the method has not all of them."""
    for name, value in changes.items():
        if name in PLAIN and name not in settings.distiller:  # a sampler's steps are its own
            if settings.trajectory and name != "seed":
                return None
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
        if name in PLAIN:
            settings = replace(settings, **{name: value})
    return settings


def studies_in(
    study: str, output: Path, options: Mapping[str, Any]
) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """By method, the lines of every axis of the studies with `options` in `output`.

    Several studies of a method, with other settings, are told apart by the ends of their names.
    """
    records = {
        path.stem.removeprefix(f"{study}-"): json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(output.glob(f"{study}-*.json"))
    }
    records = {name: record for name, record in records.items() if record["suite"] == options}
    methods = [record["method"] for record in records.values()]
    return {
        name if methods.count(record["method"]) > 1 else record["method"]: record["axes"]
        for name, record in records.items()
    }


def overview(studies: Mapping[str, Mapping[str, Any]], metrics: Sequence[str]) -> str:
    """A table per axis and metric: methods as rows, values of the axis as columns. Markdown.

    Below them two of what the axis costs: network evaluations, forward and backward, and seconds.
    """
    cells: dict[str, Callable[[Mapping[str, Any]], str]] = {
        **{metric: partial(_metric_cell, metric) for metric in metrics},
        "network evaluations": lambda line: evaluations_cell(line["evaluations"]),
        "seconds per edit": lambda line: cost_cells(line["cost"])[0],
    }
    parts = []
    for axis in dict.fromkeys(axis for study in studies.values() for axis in study):
        lines = {
            method: {line["label"]: line for line in study[axis]}
            for method, study in studies.items()
            if axis in study
        }
        values = list(dict.fromkeys(value for found in lines.values() for value in found))
        for title, cell in cells.items():
            rows = [
                [method, *(cell(found[value]) if value in found else "-" for value in values)]
                for method, found in lines.items()
            ]
            parts.append(f"{title}, by {axis}\n\n{markdown(['method', *values], rows)}")
    return "\n".join(parts)


def _metric_cell(metric: str, line: Mapping[str, Any]) -> str:
    return mean_cell(metric, line["metrics"].get(metric))


def draw(studies: Mapping[str, Mapping[str, Any]], plotted: Sequence[str]) -> dict[str, str]:
    """A plot per axis and metric, by `AXIS-METRIC`, with a line for every study."""
    plots = {}
    for axis in dict.fromkeys(axis for study in studies.values() for axis in study):
        said = [line["label"] for study in studies.values() for line in study.get(axis, [])]
        words = [] if all(map(_is_number, said)) else list(dict.fromkeys(said))
        title = ": ".join([axis, *([", ".join(words)] if words else [])])
        for metric in plotted:
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
                plots[f"{axis}-{metric}"] = curves(drawn, Column(title, 0), COLUMNS[metric])
    return plots


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _place(label: str, words: Sequence[str]) -> float:
    """Where a value stands: a number at its own place, one of several words at its turn."""
    return float(words.index(label) if words else label)
