"""One HTML page of one or several runs: tables, plots, and the pictures to look at.

    python -m benchmarks.report runs/cat_to_others [MORE ...] [--out report.html] [--cases 48]

The page holds everything it shows, so it can be sent to somebody and opened without a network. Runs
of the same cases, measured alike, are shown together, as if they had shared a folder.
"""

import argparse
import base64
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment
from PIL import Image

from benchmarks.analysis import ALL, analysis, costs, metrics_of, of_suite, parts
from benchmarks.frames import frame, of_asked
from benchmarks.metrics import COLUMNS
from benchmarks.plots import scatter
from benchmarks.rows import picture_path, read_asked, read_rows
from benchmarks.suites.base import EDITS, REFERENCES
from benchmarks.tables import (
    DIFFERENCES,
    KEPT,
    REACHED,
    check_metrics,
    chosen,
    cost_cells,
    difference_rows,
    notes,
    pivot,
    table,
    worse,
)
from editing.errors import UserError
from editing.images import read_picture
from editing.results import software, write

SHOWN = 256  # pixels: the longer side of a picture in the page, at most


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("runs", nargs="+", type=Path, help="folders that benchmarks.run wrote")
    parser.add_argument("--out", type=Path, default=Path("report.html"))
    parser.add_argument(
        "--cases", type=_positive, default=48, help="cases shown of each kind of edit"
    )
    parser.add_argument(
        "--columns", nargs="+", default=(), metavar="METRIC", help="of the table by kinds"
    )
    args = parser.parse_args(argv)
    try:
        page = report(args.runs, args.cases, check_metrics(args.columns))
    except (UserError, ValueError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    try:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        write(args.out, page.encode())
    except OSError as error:
        print(f"Error: Cannot write to {args.out}: {error.strerror}.", file=sys.stderr)
        return 2
    print(f"{args.out}: {len(page) / 2**20:.1f} MiB")
    return 0


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("give a whole number of 1 or more")
    return int(text)


@dataclass
class Part:
    """What is shown together: the same cases, from one or several runs.

    Attributes:
        runs: their folders.
        rows: of all of them.
        pictures: by the key of a picture, the folder that has it.
    """

    runs: list[Path] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    pictures: dict[str, Path] = field(default_factory=dict)

    def add(self, run: Path, rows: Sequence[dict[str, Any]]) -> None:
        """Takes the rows of one more run."""
        self.runs += [run] if run not in self.runs else []
        self.rows += rows
        self.pictures |= {row.get("picture", row["key"]): run for row in rows}


def collected(runs: Sequence[Path]) -> list[Part]:
    """Suites of runs; those whose cases are the same, and measured alike, as one.

    Raises:
        UserError: a folder has no rows.
    """
    found: dict[tuple[str, frozenset[str]], Part] = {}
    for run in runs:
        rows = list(read_rows(run))
        if not rows:
            inner = f", such as {run / EDITS}" if (run / EDITS).is_dir() else ""
            raise UserError(f"{run} has no rows: give a folder that benchmarks.run wrote{inner}.")
        asked = read_asked(run)
        by_suite: dict[str, list[dict[str, Any]]] = {}
        for row in rows if asked is None else of_asked(rows, asked):
            by_suite.setdefault(row["suite"], []).append(row)
        for suite, of_suite_ in by_suite.items():
            variants = frozenset(row["variant"] for row in of_suite_)
            found.setdefault((suite, variants), Part()).add(run, of_suite_)
    return list(found.values())


def report(runs: Sequence[Path], cases: int = 48, metrics: Sequence[str] = ()) -> str:
    """The page, as text; `metrics` are those of the table of methods by kinds.

    Raises:
        UserError: a folder has no rows.
    """
    suites = [_suite(part, cases, metrics) for part in collected(runs)]
    source = (resources.files("benchmarks") / "report.html.j2").read_text(encoding="utf-8")
    page = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(source)
    return page.render(suites=suites, software=software(), differences=DIFFERENCES)


def _suite(part: Part, cases: int, metrics: Sequence[str]) -> dict[str, Any]:
    """What the page says of one suite."""
    data = frame(part.rows)
    name = str(data.suite.iloc[0])
    saved = part.runs[0] if len(part.runs) == 1 else None
    lines, found = of_suite(analysis(data, saved), name)
    marked = worse(lines, found)
    header, cells = table(lines, marked)
    above, means, places = pivot(lines, chosen(lines, metrics), marked)
    failed, cost = data[data.status == "failed"], costs(data)
    whole = lines[-1]["group"] if lines else ""  # of all kinds, or the only one
    rows: dict[bool, list[list[str]]] = {True: [], False: []}
    for row, line in zip(cells, lines, strict=True):
        measured = cost_cells(cost[name, line["group"], line["label"]])
        rows[line["group"] == whole].append([*row, *measured])
    return {
        "run": ", ".join(map(str, part.runs)),
        "name": name,
        "header": [*header, "seconds", "memory, MiB"],
        "cells": rows[True],
        "by_kind": rows[False],
        "note": notes(marked, found),
        "pivot": {
            "kinds": list(dict.fromkeys(group for group, _ in above)),
            "titles": [COLUMNS[metric].title for _, metric in above],
            "cells": means,
            "best": places,
        },
        "differences": difference_rows(found),
        "plots": _plots(lines),
        "metrics": [(metric, COLUMNS[metric].title) for metric in metrics_of(data)],
        "groups": sorted(data.group.unique()),
        "gallery": _gallery(part, data, cases),
        "failed": failed[["case", "label", "reason"]].values.tolist(),
    }


def _plots(lines: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """By kind of edit, that of all of them first: plots of what is kept against what is reached."""
    made: dict[str, list[str]] = {}
    groups = list(dict.fromkeys(line["group"] for line in lines))
    for group in sorted(groups, key=lambda group: group != ALL):
        here = [
            line for line in lines if line["group"] == group and line["label"] not in REFERENCES
        ]
        known = {name for line in here for name in line["metrics"]}
        kept = next((name for name in KEPT if name in known), None)
        for reached in (name for name in REACHED if name in known and kept):
            assert kept is not None
            points = [
                (line["label"], line["metrics"][kept], line["metrics"][reached])
                for line in here
                if {kept, reached} <= set(line["metrics"])
            ]
            if points:
                plot = scatter(points, COLUMNS[kept], COLUMNS[reached], group)
                made.setdefault(group, []).append(plot)
    return made


def _gallery(part: Part, data: pd.DataFrame, cases: int) -> list[dict[str, Any]]:
    """Pictures and figures of the first cases of every kind, at the lowest seed."""
    shown: list[dict[str, Any]] = []
    order = list(dict.fromkeys(label for (_, _, label), _ in parts(data)))
    metrics, count = metrics_of(data), dict[str, int]()
    done = data[data.status == "done"].sort_values(["seed", "label"])
    for (group, case), rows in done.groupby(["group", "case"], sort=True):
        if count.setdefault(group, 0) == cases:
            continue
        count[group] += 1
        edits = {}
        for row in rows.drop_duplicates("label").to_dict("records"):
            measured = {name: row[name] for name in metrics if row[name] == row[name]}
            path = picture_path(part.pictures[row["picture"]], row["picture"])
            edits[row["label"]] = {"picture": _data_uri(path), "metrics": measured}
        edits = {label: edits[label] for label in order if label in edits}
        prompts = rows.iloc[0][["source_prompt", "target_prompt"]].tolist()
        shown.append({"case": case, "group": group, "prompts": prompts, "edits": edits})
    return shown


def _data_uri(path: Path) -> str:
    """A picture inside the page, large ones smaller; an empty one if the file is gone or broken."""
    try:
        data, kind = path.read_bytes(), "png"
        if max(Image.open(BytesIO(data), formats=["PNG"]).size) > SHOWN:
            picture = read_picture(path)
            picture.thumbnail((SHOWN, SHOWN))
            small = BytesIO()
            picture.save(small, "webp", quality=90)
            data, kind = small.getvalue(), "webp"
    except (OSError, UserError):
        return "data:,"
    return f"data:image/{kind};base64," + base64.b64encode(data).decode()


if __name__ == "__main__":
    sys.exit(main())
