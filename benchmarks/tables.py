"""Tables for people: Markdown and LaTeX, and the files that a run leaves."""

import json
from collections.abc import Collection, Mapping, Sequence
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.analysis import SUMMARY, analysis, costs, of_suite
from benchmarks.frames import COST
from benchmarks.metrics import COLUMNS, Column
from benchmarks.suites.base import REFERENCES
from editing.errors import UserError
from editing.results import to_json, write
from editing.settings import suggestion

ARROWS = {1: " ↑", -1: " ↓", 0: ""}
# What an edit keeps, what it shall reach: the axes of the trade-off, as far as a suite has them.
KEPT = ("background_psnr", "kept_psnr", "kept", "pie_psnr", "residual_psnr", "psnr", "iou")
REACHED = (
    *("target_species", "success", "imagenet", "clip_direction", "exact_psnr"),
    *("clip_score", "pie_clip_whole"),
)
DIFFERENCES = ("kind", "methods", "metric", "difference", "p (Holm)", "significant")
WORSE = (
    "(*): worse than the best of its kind on the same cases, p < 0.05: sign-flip permutation test "
    "of the mean over the pictures, Holm's correction for all tests of a kind."
)
TOO_FEW = "Too few pictures for any difference to be significant."

Parts = tuple[list[str], list[list[str]]]  # the header and the cells of a table


def mean_cell(metric: str, value: Mapping[str, Any] | None) -> str:
    """The mean of an estimate, `-` where there is none."""
    return "-" if value is None else _mean(COLUMNS[metric], value["mean"])


def _mean(column: Column, mean: float) -> str:
    return f"{100 * mean:.{column.digits}f} %" if column.share else f"{mean:.{column.digits}f}"


def _interval(column: Column, value: Mapping[str, Any], sign: str = "") -> str:
    """Mean and interval in numbers, with their sign if that is asked for."""
    scale, unit = 100 if column.share else 1, " %" if column.share and not sign else ""
    mean, low, high = (
        "" if value[end] is None else f"{value[end] * scale:{sign}.{column.digits}f}"
        for end in ("mean", "low", "high")
    )
    there = value["low"] is not None and not np.isnan(value["low"])
    return f"{mean}{unit} [{low}, {high}]" if there else mean + unit


def _cell(column: Column, value: Mapping[str, Any] | None, cases: int, mark: str = "") -> str:
    """Mean and interval; of how many cases, if some have no value."""
    if value is None:
        return "-"
    of_some = f" ({value['cases']} of {cases})" if value["cases"] < cases else ""
    return f"{_interval(column, value)}{mark}{of_some}"


def table(lines: Sequence[Mapping[str, Any]], marked: Collection[Any] = ()) -> Parts:
    """Header and cells of one suite's summary; `marked` are the :func:`worse` ones."""
    metrics = [name for name in COLUMNS if any(name in line["metrics"] for line in lines)]
    groups = any(line["group"] for line in lines)
    header = ["kind"] * groups + ["method", "cases", *map(_title, metrics)]
    cells = []
    for line in lines:
        place = (line["group"], line["label"])
        cost = "-" if line["label"] in REFERENCES else evaluations_cell(line["evaluations"])
        marks = {name: "*" * ((*place, name) in marked) for name in metrics}
        measured = [
            _cell(COLUMNS[name], line["metrics"].get(name), line["cases"], marks[name])
            for name in metrics
        ]
        first = [line["group"]] * groups + [line["label"], str(line["cases"])]
        cells.append([*first, *measured, cost])
    return [*header, "evaluations"], cells


def _title(metric: str) -> str:
    return COLUMNS[metric].title + ARROWS[COLUMNS[metric].better]


def best(lines: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], str]:
    """By group and metric of one suite, the label of the best of several methods."""
    known: dict[tuple[str, str], dict[str, float]] = {}
    for line in lines:
        for name, value in line["metrics"].items():
            if line["label"] not in REFERENCES and COLUMNS[name].better:
                known.setdefault((line["group"], name), {})[line["label"]] = value["mean"]
    return {
        place: max(means, key=lambda label: COLUMNS[place[1]].better * means[label])
        for place, means in known.items()
        if len(means) > 1
    }


def worse(
    lines: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Any]]
) -> set[tuple[str, str, str]]:
    """Group, label and metric of what is significantly worse than the best, in one suite."""
    leading, marked = best(lines), set[tuple[str, str, str]]()
    for line in found:
        group, metric = line["group"], line["metric"]
        ahead = line["mean"] * COLUMNS[metric].better
        winner, loser = (line["first"], line["second"])[:: 1 if ahead > 0 else -1]
        if line["significant"] and leading.get((group, metric)) == winner:
            marked.add((group, loser, metric))
    return marked


def chosen(lines: Sequence[Mapping[str, Any]], metrics: Sequence[str] = ()) -> list[str]:
    """The metrics of a pivot table: those that are asked for, or what is reached and kept."""
    known = {name for line in lines for name in line["metrics"]}
    if metrics:
        return [name for name in metrics if name in known]
    firsts = (next((name for name in names if name in known), None) for names in (REACHED, KEPT))
    return list(dict.fromkeys(name for name in firsts if name))


def check_metrics(names: Sequence[str]) -> Sequence[str]:
    """The names of metrics, if all are known.

    Raises:
        UserError: naming the first that is not.
    """
    for name in names:
        if name not in COLUMNS:
            raise UserError(f"There is no metric {name!r}: {suggestion(name, COLUMNS)}")
    return names


def pivot(
    lines: Sequence[Mapping[str, Any]], metrics: Sequence[str], marked: Collection[Any] = ()
) -> tuple[list[tuple[str, str]], list[list[str]], set[tuple[int, int]]]:
    """Methods as rows and kinds of edit with metrics as columns, as papers have them.

    Returns:
        kind and metric above every column but the first; the cells; and the places of the best.
    """
    groups = list(dict.fromkeys(line["group"] for line in lines))
    header = [(group, metric) for group in groups for metric in metrics]
    labels = list(dict.fromkeys(x["label"] for x in lines if x["label"] not in REFERENCES))
    means = {(x["group"], x["label"], m): v["mean"] for x in lines for m, v in x["metrics"].items()}
    leading, cells, places = best(lines), [], set()
    for row, label in enumerate(labels):
        cells.append([label])
        for column, (group, metric) in enumerate(header):
            mean, mark = means.get((group, label, metric)), (group, label, metric) in marked
            text = "-" if mean is None else _mean(COLUMNS[metric], mean) + "*" * mark
            cells[-1].append(text)
            first = leading.get((group, metric))
            if first is not None and mean == means[group, first, metric]:  # or as good
                places.add((row, column + 1))
    return header, cells, places


def difference_rows(found: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Cells of the table of paired differences, under `DIFFERENCES`."""
    rows = []
    for line in found:
        column = COLUMNS[line["metric"]]
        verdict = "yes" if line["significant"] else "no" if line["enough"] else "too few"
        names = [line["group"], f"{line['first']} - {line['second']}", _title(line["metric"])]
        rows.append([*names, _interval(column, line, "+"), f"{line['p_holm']:.3g}", verdict])
    return rows


def markdown(
    header: Sequence[str], cells: Sequence[Sequence[str]], bold: Collection[tuple[int, int]] = ()
) -> str:
    """A Markdown table whose columns line up."""
    body = [
        [f"**{cell}**" if (i, j) in bold else cell for j, cell in enumerate(line)]
        for i, line in enumerate(cells)
    ]
    lines = [header, ["---"] * len(header), *body]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    text = [
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) + " |"
        for line in lines
    ]
    return "\n".join(text) + "\n"


def latex(header: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """A tabular of the booktabs package."""
    return _tabular("l" * 2 + "r" * (len(header) - 2), [_row(header)], cells)


def latex_pivot(
    header: Sequence[tuple[str, str]],
    cells: Sequence[Sequence[str]],
    bold: Collection[tuple[int, int]],
) -> str:
    """A tabular of a :func:`pivot`: kinds above their metrics, the best in bold."""
    groups = list(dict.fromkeys(group for group, _ in header))
    width = len(header) // max(1, len(groups))
    kinds = [rf"\multicolumn{{{width}}}{{c}}{{{_escaped(group)}}}" for group in groups]
    rules = [rf"\cmidrule(lr){{{2 + i * width}-{1 + (i + 1) * width}}}" for i in range(len(groups))]
    above = [" & ".join(["", *kinds]) + r" \\", " ".join(rules)] if any(groups) else []
    names = _row(["method", *(_title(metric) for _, metric in header)])
    return _tabular("l" + "r" * len(header), [*above, names], cells, bold)


def _row(line: Sequence[str]) -> str:
    return " & ".join(_escaped(cell) for cell in line) + r" \\"


def _tabular(
    columns: str,
    head: Sequence[str],
    cells: Sequence[Sequence[str]],
    bold: Collection[tuple[int, int]] = (),
) -> str:
    body = [
        " & ".join(
            rf"\textbf{{{_escaped(cell)}}}" if (i, j) in bold else _escaped(cell)
            for j, cell in enumerate(line)
        )
        + r" \\"
        for i, line in enumerate(cells)
    ]
    begin = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule"]
    return "\n".join([*begin, *head, r"\midrule", *body, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _escaped(text: str) -> str:
    for sign in "%_&#":
        text = text.replace(sign, f"\\{sign}")
    return text.replace("↑", r"$\uparrow$").replace("↓", r"$\downarrow$")


def write_tables(output: Path, data: pd.DataFrame, metrics: Sequence[str] = ()) -> None:
    """Writes rows.csv and rows.parquet, summary.json, cost.md, and .md and .tex of three tables.

    These are table, pivot (methods by kinds, of some `metrics`) and differences. All but cost.md,
    rows.csv and rows.parquet, which say how long things took, are the same however many workers
    there were. Numbers of rows.csv have five digits, those of rows.parquet all they have.
    """
    csv, parquet = StringIO(), BytesIO()
    data.to_csv(csv, index=False, float_format="%.5g")
    data.to_parquet(parquet, index=False)
    write(output / "rows.csv", csv.getvalue().encode())
    write(output / "rows.parquet", parquet.getvalue())
    record = analysis(data)
    write(output / SUMMARY, to_json(record))
    made: dict[str, list[str]] = {}
    for suite in dict.fromkeys(line["suite"] for line in record["summary"]):
        for name, text in _texts(suite, record, metrics).items():
            made.setdefault(name, []).append(text)
    for name, texts in made.items():
        write(output / name, "\n".join(texts).encode())
    header = ["suite", "kind", "method", "seconds per edit", "peak memory, MiB"]
    cost = [[*part, *cost_cells(each)] for part, each in costs(data).items()]
    write(output / "cost.md", markdown(header, cost).encode())


def evaluations_cell(counts: Mapping[str, float]) -> str:
    """Network evaluations as a table has them, forward and backward."""
    return " + ".join(f"{counts[name]:.0f}" for name in COST)


def cost_cells(cost: Sequence[float]) -> list[str]:
    """Seconds and memory as a table has them."""
    seconds, memory = cost
    return [f"{seconds:.2f}", "-" if np.isnan(memory) else f"{memory:.0f}"]


def notes(marked: Collection[Any], found: Sequence[Mapping[str, Any]]) -> str:
    """What stands below a table whose differences are marked."""
    if marked:
        return WORSE
    return TOO_FEW if found and not any(line["enough"] for line in found) else ""


def _texts(suite: str, record: Mapping[str, Any], metrics: Sequence[str]) -> dict[str, str]:
    """The parts of the files about one suite."""
    lines, found = of_suite(record, suite)
    marked = worse(lines, found)
    note = notes(marked, found)
    below, comment = (f"\n{note}\n", f"% {note}\n") if note else ("", "")
    whole, rows = table(lines, marked), difference_rows(found)
    above, cells, places = pivot(lines, chosen(lines, metrics), marked)
    named = ["method", *(f"{group} {_title(metric)}".strip() for group, metric in above)]
    return {
        "table.md": f"{suite}\n\n{markdown(*whole)}{below}",
        "table.tex": f"% {suite}\n{latex(*whole)}{comment}",
        "pivot.md": f"{suite}\n\n{markdown(named, cells, places)}{below}",
        "pivot.tex": f"% {suite}\n{latex_pivot(above, cells, places)}{comment}",
        "differences.md": f"{suite}\n\n{markdown(DIFFERENCES, rows)}",
        "differences.tex": f"% {suite}\n{latex(DIFFERENCES, rows)}",
    }


def print_tables(output: Path, place: str = "") -> None:
    """Prints what `write_tables` wrote for people to read, and where the rest is, or the `place`.

    Of the differences those of all kinds of edit together.
    """
    print((output / "table.md").read_text())
    record = json.loads((output / SUMMARY).read_bytes())
    for suite in dict.fromkeys(line["suite"] for line in record["differences"]):
        _, found = of_suite(record, suite)
        last = found[-1]["group"]  # of all kinds, or the only one
        rows = difference_rows([line for line in found if line["group"] == last])
        print(f"{suite}: differences on the same cases\n\n{markdown(DIFFERENCES, rows)}")
    print((output / "cost.md").read_text())
    print(f"All of it is in {place or output}.")
