"""From rows to tables: CSV and Parquet of all rows, means with intervals, Markdown and LaTeX."""

from collections.abc import Mapping, Sequence
from io import BytesIO, StringIO
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.metrics import COLUMNS, Column
from benchmarks.rows import Asked, digest
from benchmarks.statistics import Estimate, difference, estimate, holm
from benchmarks.suites.base import REFERENCES
from editing.results import to_json, write

COST = ("forward", "backward")
KEYS = ("suite", "group", "case", "method", "label", "seed", "status")
ARROWS = {1: " ↑", -1: " ↓", 0: ""}
ALL = "all"  # the group of all groups of a suite


def frame(rows: Sequence[Mapping[str, Any]], asked: Sequence[Asked] | None = None) -> pd.DataFrame:
    """A line per row: `KEYS`, the metrics, the cost, and what else is known of it.

    Only those count that are `asked` for, if that is said: a folder may hold those of other cases
    and judges. A suite that is asked for with several options is several, each named by them.
    """
    if asked is not None:
        rows = [
            {**row, "suite": title}
            for title, each in zip(_titles(asked), asked, strict=True)
            for variants in [set(each.cases)]
            for row in rows
            if row["variant"] in variants
        ]
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


def _titles(asked: Sequence[Asked]) -> list[str]:
    """The name of each suite, with those of its options that make it another."""
    titles = []
    for each in asked:
        same = [other.options for other in asked if other.suite == each.suite]
        differ = [n for n in each.options if len({options.get(n) for options in same}) > 1]
        titles.append(" ".join([each.suite, *(f"{n}={each.options[n]}" for n in differ)]))
    return titles


def _latest(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Of each case and edit the latest row."""
    found: dict[str, Mapping[str, Any]] = {}
    for row in sorted(rows, key=lambda row: (row["time"], row["key"])):
        found[digest({name: row[name] for name in ("suite", "case", "edit")})] = row
    return list(found.values())


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def labels(edits: Sequence[Mapping[str, Any]]) -> list[str]:
    """What to call each edit: its method, and of its settings those in which methods differ.

    A setting that only some of them have is implied by what brings it, unless it differs there.
    """
    flat = [_flat(edit) for edit in edits]
    by_method: dict[str, list[dict[str, str]]] = {}
    for edit in flat:
        by_method.setdefault(edit["method"], []).append(edit)
    differ = {}
    for method, edits_of in by_method.items():
        values: dict[str, set[str]] = {}
        for edit in edits_of:
            for name, value in edit.items():
                values.setdefault(name, set()).add(value)
        said = [name for name, found in values.items() if len(found) > 1]
        told = {tuple(edit.get(name) for name in said) for edit in edits_of}
        if len(told) < len({tuple(sorted(edit.items())) for edit in edits_of}):
            said = [n for n in values if len({edit.get(n) for edit in edits_of}) > 1]
        differ[method] = said
    names = []
    for edit in flat:
        words = [_word(name, edit[name]) for name in differ[edit["method"]] if name in edit]
        names.append(" ".join([edit["method"], *words]))
    return names


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


def estimated(rows: pd.DataFrame, metric: str) -> Estimate:
    """The mean of a metric over all rows, and its interval over the clusters of cases.

    Neither several edits of one picture nor several seeds are independent.
    """
    found = rows.groupby("cluster")[metric].agg(["mean", "count"])
    return estimate(found["mean"].to_numpy(), found["count"].to_numpy(float))


def with_all(data: pd.DataFrame) -> pd.DataFrame:
    """The rows, and of suites with several groups all of them again, as the group `all`."""
    several = data.groupby("suite").group.transform("nunique") > 1
    return pd.concat([data, data[several].assign(group=ALL)], ignore_index=True)


def summary(data: pd.DataFrame) -> list[dict[str, Any]]:
    """Per suite, group and label: how many cases and seeds, and an `Estimate` of every metric.

    `count` of an estimate is that of the independent clusters, `cases` how many cases have a value.
    """
    lines = []
    for (suite, group, label), rows in parts(with_all(data)):
        found = {name: estimated(rows, name) for name in metrics_of(rows)}
        known = {name: int(rows.case[rows[name].notna()].nunique()) for name in found}
        lines.append(
            {
                "suite": suite,
                "group": group,
                "label": label,
                "cases": int(rows.case.nunique()),
                "seeds": int(rows.seed.nunique()),
                "metrics": {
                    name: {**vars(value), "cases": known[name]}
                    for name, value in found.items()
                    if value.count
                },
                "evaluations": {name: float(rows[name].mean()) for name in COST},
                "seconds": float(rows.seconds.mean()),
            }
        )
    return lines


def differences(data: pd.DataFrame) -> list[dict[str, Any]]:
    """Of every two methods of a suite and group, metric by metric.

    Compared are the cases and seeds that both have a value for, cluster by cluster.
    `significant` is said at the 5 % level for all the tests of a suite and group together (Holm).
    """
    found: list[dict[str, Any]] = []
    by_group: dict[tuple[str, str], dict[str, pd.DataFrame]] = {}
    for (suite, group, label), rows in parts(with_all(data)):
        if label not in REFERENCES:
            rows = rows.set_index(["cluster", "case", "seed"])
            by_group.setdefault((suite, group), {})[label] = rows
    for (suite, group), methods in by_group.items():
        lines: list[dict[str, Any]] = []
        for first, second in combinations(methods, 2):
            for metric in metrics_of(data):
                both = pd.concat(
                    [methods[first][metric], methods[second][metric]], axis=1, join="inner"
                )
                clusters = both.dropna().groupby(level="cluster")
                means, sizes = clusters.mean().to_numpy(), clusters.size().to_numpy(float)
                if len(means) < 2:
                    continue
                found_here = difference(means[:, 0], means[:, 1], sizes)
                key = {"suite": suite, "group": group, "first": first, "second": second}
                change = vars(found_here.estimate)
                lines.append({**key, "metric": metric, **change, "p": found_here.p})
        adjusted = holm(np.array([line["p"] for line in lines]))
        for line, p in zip(lines, adjusted.tolist(), strict=True):
            line |= {"p_holm": p, "significant": p < 0.05}
        found += lines
    return found


# --- Markdown and LaTeX --------------------------------------------------------------------------


def _cell(column: Column, value: Mapping[str, Any] | None, cases: int) -> str:
    """Mean and interval; of how many cases, if some have no value."""
    if value is None:
        return "-"
    found = Estimate(*(value[name] for name in ("mean", "low", "high", "count")))
    of_some = f" ({value['cases']} of {cases})" if value["cases"] < cases else ""
    scale, unit = (100, " %") if column.share else (1, "")
    mean = f"{found.mean * scale:.{column.digits}f}{unit}"
    if np.isnan(found.low):
        return mean + of_some
    low, high = (f"{end * scale:.{column.digits}f}" for end in (found.low, found.high))
    return f"{mean} [{low}, {high}]{of_some}"


def table(lines: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Header and cells of one suite's summary."""
    metrics = [name for name in COLUMNS if any(name in line["metrics"] for line in lines)]
    groups = any(line["group"] for line in lines)
    titles = [f"{COLUMNS[name].title}{ARROWS[COLUMNS[name].better]}" for name in metrics]
    header = ["kind"] * groups + ["method", "cases", *titles]
    cells = []
    for line in lines:
        counts = line["evaluations"]
        cost = "-" if line["label"] in REFERENCES else " + ".join(f"{counts[n]:.0f}" for n in COST)
        cells.append(
            [line["group"]] * groups
            + [line["label"], str(line["cases"])]
            + [_cell(COLUMNS[name], line["metrics"].get(name), line["cases"]) for name in metrics]
            + [cost]
        )
    return [*header, "evaluations"], cells


def markdown(header: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns line up."""
    lines = [header, ["---"] * len(header), *cells]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    text = [
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) + " |"
        for line in lines
    ]
    return "\n".join(text) + "\n"


def latex(header: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """A tabular of the booktabs package."""

    def row(line: Sequence[str]) -> str:
        return " & ".join(_escaped(cell) for cell in line) + r" \\"

    columns = "l" * 2 + "r" * (len(header) - 2)
    body = [row(header), r"\midrule", *(row(line) for line in cells)]
    begin = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule"]
    return "\n".join([*begin, *body, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _escaped(text: str) -> str:
    for sign in "%_&#":
        text = text.replace(sign, f"\\{sign}")
    return text.replace("↑", r"$\uparrow$").replace("↓", r"$\downarrow$")


def write_tables(output: Path, data: pd.DataFrame) -> None:
    """Writes rows.csv, rows.parquet, summary.json, table.md, table.tex and cost.md.

    All but cost.md, rows.csv and rows.parquet, which say how long things took, are the same
    however many workers there were.
    """
    csv, parquet = StringIO(), BytesIO()
    data.to_csv(csv, index=False)
    data.to_parquet(parquet, index=False)
    write(output / "rows.csv", csv.getvalue().encode())
    write(output / "rows.parquet", parquet.getvalue())
    lines = summary(data)
    cost = [
        [line["suite"], line["group"], line["label"], f"{line['seconds']:.2f}"] for line in lines
    ]
    timeless = [{k: v for k, v in line.items() if k != "seconds"} for line in lines]
    record = {"summary": timeless, "differences": differences(data)}
    write(output / "summary.json", to_json(for_json(record)))
    texts, tex = [], []
    for suite in dict.fromkeys(line["suite"] for line in lines):
        made = table([line for line in lines if line["suite"] == suite])
        texts.append(f"{suite}\n\n{markdown(*made)}")
        tex.append(f"% {suite}\n{latex(*made)}")
    write(output / "table.md", "\n".join(texts).encode())
    write(output / "table.tex", "\n".join(tex).encode())
    header = ["suite", "kind", "method", "seconds per edit"]
    write(output / "cost.md", markdown(header, cost).encode())


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
    """Prints what `write_tables` wrote for people to read, and where the rest is."""
    for name in ("table.md", "cost.md"):
        if (output / name).exists():
            print((output / name).read_text())
    print(f"All of it is in {output}.")
