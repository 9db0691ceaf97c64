"""What rows say: means with intervals, paired differences of methods, cost."""

import json
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from benchmarks.frames import COST
from benchmarks.metrics import COLUMNS
from benchmarks.rows import digest
from benchmarks.statistics import decidable, estimates, holm, sign_flip
from benchmarks.suites.base import REFERENCES

ALL = "all"  # the group of all groups of a suite
LEVEL = 0.05  # of significance
VERSION = 1  # of what is computed from rows: another one makes every saved summary stale
SUMMARY = "summary.json"


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


def of_suite(record: Mapping[str, Any], suite: str) -> tuple[list[Any], list[Any]]:
    """Summary and differences of one suite."""
    lines, found = (
        [line for line in record[part] if line["suite"] == suite]
        for part in ("summary", "differences")
    )
    return lines, found


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
