"""From rows to tables: CSV and Parquet of all rows, means with intervals, Markdown and LaTeX."""

import json
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from importlib import resources
from io import BytesIO, StringIO
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from benchmarks.metrics import COLUMNS, Column
from benchmarks.rows import Asked, digest
from benchmarks.statistics import decidable, estimates, holm, sign_flip
from benchmarks.suites.base import REFERENCES
from editing.errors import UserError
from editing.results import to_json, write
from editing.settings import suggestion

COST = ("forward", "backward")
KEYS = ("suite", "group", "case", "method", "label", "seed", "status")
ARROWS = {1: " ↑", -1: " ↓", 0: ""}
ALL = "all"  # the group of all groups of a suite
LEVEL = 0.05  # of significance
VERSION = 1  # of what is computed from rows: another one makes every saved summary stale
SUMMARY = "summary.json"
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
# The noise that a method has by default says nothing, and FPR's has a short name.
NOISE, RANDOM, FPR = "distiller.noise._target_", "RandomNoise", "FixedPointNoise"

Parts = tuple[list[str], list[list[str]]]  # the header and the cells of a table


def frame(rows: Sequence[Mapping[str, Any]], asked: Sequence[Asked] | None = None) -> pd.DataFrame:
    """A line per row: `KEYS`, the metrics, the cost, and what else is known of it.

    Only those count that are `asked` for, if that is said: a folder may hold those of other cases
    and judges. A suite that is asked for with several options is several, each named by them.
    """
    if asked is not None:
        rows = of_asked(rows, asked)
    rows = _latest(rows)
    named = labels([row["edit"] for row in rows])
    lines = []
    for row, label in zip(rows, named, strict=True):
        known = row.get("evaluations", {})
        metrics = {name: _number(value) for name, value in row.get("metrics", {}).items()}
        lines.append(
            {
                "suite": row["suite"],
                "group": row["group"],
                "case": row["case"],
                "cluster": row["cluster"],
                "method": row["edit"]["method"],
                "label": label,
                "seed": row["edit"].get("seed", -1),
                "status": row["status"],
                **metrics,
                **{name: float(known.get(name, 0)) for name in COST},
                "seconds": float(row.get("seconds", 0)),
                "memory": _number(row.get("memory")),
                "batch_size": row.get("batch_size", 0),
                "source_prompt": row["prompts"][0],
                "target_prompt": row["prompts"][1],
                "reason": row.get("reason", ""),
                "key": row["key"],
                "picture": row.get("picture", row["key"]),  # older rows: one name for both
            }
        )
    made = pd.DataFrame(lines, columns=None if lines else [*KEYS, "cluster", "key", *COST])
    return made.sort_values(["suite", "group", "label", "case", "seed", "key"], ignore_index=True)


def of_asked(rows: Sequence[Mapping[str, Any]], asked: Sequence[Asked]) -> list[dict[str, Any]]:
    """The rows that are asked for, each with the name of its suite among those asked for."""
    return [
        {**row, "suite": title}
        for title, each in zip(titles(asked), asked, strict=True)
        for variants in [set(each.cases)]
        for row in rows
        if row["variant"] in variants
    ]


def titles(asked: Sequence[Asked]) -> list[str]:
    """The name of each suite, with those of its options that make it another."""
    named = []
    for each in asked:
        same = [other.options for other in asked if other.suite == each.suite]
        differ = [n for n in each.options if len({options.get(n) for options in same}) > 1]
        named.append(" ".join([each.suite, *(f"{n}={each.options[n]}" for n in differ)]))
    return named


def _latest(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Of each case and edit the latest row."""
    found: dict[tuple[str, str, str], Mapping[str, Any]] = {}
    for row in sorted(rows, key=lambda row: (row["time"], row["key"])):
        edit = json.dumps(row["edit"], sort_keys=True)
        found[row["suite"], row["case"], edit] = row
    return list(found.values())


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def labels(edits: Sequence[Mapping[str, Any]]) -> list[str]:
    """What to call each edit: its method, and of its settings those in which methods differ.

    A setting that only some of them have is implied by what brings it, unless it differs there.
    """
    texts = [json.dumps({**edit, "seed": 0}, sort_keys=True) for edit in edits]
    flat = {text: _flat(edit) for text, edit in zip(texts, edits, strict=True)}
    by_method: dict[str, list[dict[str, str]]] = {}
    for edit in flat.values():
        by_method.setdefault(edit["method"], []).append(edit)
    differ = {method: _differ(edits_of) for method, edits_of in by_method.items()}
    names = {}
    for text, edit in flat.items():
        words = [_word(name, edit[name]) for name in differ[edit["method"]] if name in edit]
        names[text] = " ".join([with_noise(edit), *words])
    return [names[text] for text in texts]


@cache
def fpr_by_default() -> frozenset[str]:
    """The methods whose configs choose FPR's noise."""
    files = (resources.files("conf") / "method").iterdir()
    return frozenset(
        file.name.removesuffix(".yaml")
        for file in files
        if file.name.endswith(".yaml") and ".noise: fpr" in file.read_text(encoding="utf-8")
    )


def with_noise(edit: Mapping[str, str]) -> str:
    """The name of a method, with its noise where that is not its default: `cds+fpr`."""
    method, noise = edit["method"], edit.get(NOISE, "").rpartition(".")[2]
    usual = FPR if method in fpr_by_default() else RANDOM
    if noise == usual or noise not in (RANDOM, FPR):
        return method
    return f"{method}+fpr" if noise == FPR else f"{method} noise={noise}"


def _differ(edits: Sequence[Mapping[str, str]]) -> list[str]:
    """The settings that tell edits of one method apart, beside what `with_noise` says."""
    values: dict[str, set[str]] = {}
    for edit in edits:
        for name, value in edit.items():
            values.setdefault(name, set()).add(value)
    said = [name for name, found in values.items() if len(found) > 1]
    told = {tuple(edit.get(name) for name in said) for edit in edits}
    if len(told) < len({tuple(sorted(edit.items())) for edit in edits}):
        said = [n for n in values if len({edit.get(n) for edit in edits}) > 1]
    noises = {each.rpartition(".")[2] for each in values.get(NOISE, ())}
    return [name for name in said if name != NOISE or not noises <= {RANDOM, FPR}]


def _word(name: str, value: str) -> str:
    """`distiller.noise._target_`, `samplers.noise.RandomNoise`: `noise=RandomNoise`."""
    name = name.removeprefix("distiller.")
    if name.endswith("._target_"):
        name, value = name.removesuffix("._target_"), value.rpartition(".")[2]
    return f"{name}={value[:8]}" if name in ("model", "files") else f"{name}={value}"


def _flat(edit: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Dotted names of the settings, without the seed."""
    found: dict[str, str] = {}
    for name, value in edit.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{name}.")
        elif f"{prefix}{name}" != "seed":
            found[f"{prefix}{name}"] = str(value)
    return found


def metrics_of(data: pd.DataFrame) -> list[str]:
    """The metrics that rows have, in the order of `COLUMNS`."""
    return [name for name in COLUMNS if name in data.columns]


def parts(data: pd.DataFrame) -> list[tuple[tuple[str, str, str], pd.DataFrame]]:
    """Suite, group and label with their finished rows; references first, then as they are named."""
    done = data[data.status == "done"]
    found = list(done.groupby(["suite", "group", "label"], sort=True))

    def order(part: tuple[Any, pd.DataFrame]) -> tuple[str, bool, str, int, str]:
        suite, group, label = part[0]
        place = REFERENCES.index(label) if label in REFERENCES else len(REFERENCES)
        return suite, group == ALL, group, place, label

    return sorted(found, key=order)


def with_all(data: pd.DataFrame) -> pd.DataFrame:
    """The rows, and of suites with several groups all of them again, as the group `all`."""
    several = data.groupby("suite").group.transform("nunique") > 1
    return pd.concat([data, data[several].assign(group=ALL)], ignore_index=True)


def summary(data: pd.DataFrame) -> list[dict[str, Any]]:
    """Per suite, group and label: how many cases and seeds, and an `Estimate` of every metric.

    A mean is that of all rows, and its interval that of the clusters of cases: neither several
    edits of one picture nor several seeds are independent. `count` of an estimate is that of the
    clusters, `cases` how many cases have a value.
    """
    metrics = metrics_of(data)
    lines = []
    for (suite, group, label), rows in parts(with_all(data)):
        clusters = rows.groupby("cluster")[metrics]
        values, sizes = clusters.mean().to_numpy(float), clusters.count().to_numpy(float)
        known = rows.groupby("case")[metrics].count().gt(0).sum()
        found = zip(metrics, estimates(values, sizes), strict=True)
        lines.append(
            {
                "suite": suite,
                "group": group,
                "label": label,
                "cases": int(rows.case.nunique()),
                "seeds": int(rows.seed.nunique()),
                "metrics": {
                    name: {**vars(value), "cases": int(known[name])}
                    for name, value in found
                    if value.count
                },
                "evaluations": {name: float(rows[name].mean()) for name in COST},
            }
        )
    return lines


def costs(data: pd.DataFrame) -> dict[tuple[str, str, str], tuple[float, float]]:
    """Per suite, group and label: mean seconds of an edit, and the most memory, MiB or NaN."""
    return {
        part: (float(rows.seconds.mean()), float(rows.memory.max()))
        for part, rows in parts(with_all(data))
    }


def differences(data: pd.DataFrame) -> list[dict[str, Any]]:
    """Of every two methods of a suite and group, metric by metric.

    Compared are the cases and seeds that both have a value for, cluster by cluster: mean, interval
    and p value are of the same thing, the mean over all of them. `significant` is said at the 5 %
    level for all the tests of a suite and group together (Holm); `enough` says whether there are
    clusters enough for that, whatever the values.
    """
    whole = with_all(data)
    whole = whole[(whole.status == "done") & ~whole.label.isin(REFERENCES)]
    found: list[dict[str, Any]] = []
    order = list(dict.fromkeys(part[:2] for part, _ in parts(whole)))
    for suite, group in order:
        rows = whole[(whole.suite == suite) & (whole.group == group)]
        found += _differences(suite, group, rows, metrics_of(data))
    return found


def _differences(
    suite: str, group: str, rows: pd.DataFrame, metrics: Sequence[str]
) -> list[dict[str, Any]]:
    """Those of one suite and group."""
    methods, clusters, values = _grid(rows, metrics)
    pairs = list(combinations(range(len(methods)), 2))
    if not pairs or not metrics:
        return []
    first, second = np.array(pairs).T
    change = (values[:, first] - values[:, second]).reshape(len(values), -1)
    starts = np.flatnonzero(np.r_[True, clusters[1:] != clusters[:-1]])
    there = np.isfinite(change)
    sizes = np.add.reduceat(there.astype(float), starts)
    sums = np.add.reduceat(np.where(there, change, 0.0), starts)
    means = np.where(sizes > 0, sums / np.maximum(sizes, 1), np.nan)
    estimated, p = estimates(means, sizes), sign_flip(means, sizes)
    tests = [i for i, each in enumerate(estimated) if each.count > 1]
    adjusted = holm(p[tests])
    enough = decidable(np.array([estimated[i].count for i in tests], int), LEVEL)
    lines = []
    for i, together, may in zip(tests, adjusted.tolist(), enough.tolist(), strict=True):
        a, b = pairs[i // len(metrics)]
        where = {"suite": suite, "group": group, "first": methods[a], "second": methods[b]}
        change = {"metric": metrics[i % len(metrics)], **vars(estimated[i]), "p": float(p[i])}
        verdict = {"p_holm": together, "significant": together < LEVEL, "enough": may}
        lines.append({**where, **change, **verdict})
    return lines


def _grid(
    rows: pd.DataFrame, metrics: Sequence[str]
) -> tuple[list[str], np.ndarray, Float[np.ndarray, "edits methods metrics"]]:
    """Methods; of every case and seed its cluster, in order; and all values, NaN where missing."""
    methods = sorted(rows.label.unique())
    edits = pd.MultiIndex.from_frame(rows[["cluster", "case", "seed"]])
    places = edits.unique().sort_values()
    values = np.full((len(places), len(methods), len(metrics)), np.nan)
    across = pd.Index(methods).get_indexer(rows.label)
    values[places.get_indexer(edits), across] = rows[list(metrics)].to_numpy(float)
    return methods, places.get_level_values("cluster").to_numpy(), values


def analysis(data: pd.DataFrame, output: Path | None = None) -> dict[str, Any]:
    """`summary` and `differences` of rows, as JSON; what a folder has saved of them, if current.

    Nothing of it depends on how long things took, or on how many workers there were.
    """
    columns = ["suite", "group", "label", "seed", "case", "status", "key"]
    of = digest({"version": VERSION, "rows": data[columns].to_numpy().tolist()})
    if output is not None and (output / SUMMARY).exists():
        try:
            record = json.loads((output / SUMMARY).read_bytes())
            if record["of"] == of:
                return record
        except (ValueError, KeyError, TypeError):  # of an older version, or cut off
            pass
    made = for_json({"summary": summary(data), "differences": differences(data)})
    return {"of": of, **made}


# --- Markdown and LaTeX --------------------------------------------------------------------------


def _mean(column: Column, mean: float) -> str:
    return f"{100 * mean:.{column.digits}f} %" if column.share else f"{mean:.{column.digits}f}"


def _interval(column: Column, value: Mapping[str, Any], sign: str = "") -> str:
    """Mean and interval in numbers, with their sign if that is asked for."""
    scale, unit = (100, " %") if column.share and not sign else (1, "")
    scale = 100 if column.share else scale
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
        counts, place = line["evaluations"], (line["group"], line["label"])
        cost = "-" if line["label"] in REFERENCES else " + ".join(f"{counts[n]:.0f}" for n in COST)
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


def cost_cells(cost: Sequence[float]) -> list[str]:
    """Seconds and memory as a table has them."""
    seconds, memory = cost
    return [f"{seconds:.2f}", "-" if np.isnan(memory) else f"{memory:.0f}"]


def of_suite(record: Mapping[str, Any], suite: str) -> tuple[list[Any], list[Any]]:
    """Summary and differences of one suite."""
    lines, found = (
        [line for line in record[part] if line["suite"] == suite]
        for part in ("summary", "differences")
    )
    return lines, found


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


def for_json(value: Any) -> Any:
    """NaN as null, and numbers to five digits.

    The last bits of a network's output depend on where its arrays lie in memory: they differ
    between processes.
    """
    if isinstance(value, Mapping):
        return {key: for_json(each) for key, each in value.items()}
    if isinstance(value, list):
        return [for_json(each) for each in value]
    if isinstance(value, float):
        return None if np.isnan(value) else float(f"{value:.5g}")
    return value


def print_tables(output: Path) -> None:
    """Prints what `write_tables` wrote for people to read, and where the rest is.

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
    print(f"All of it is in {output}.")
