"""One HTML page of one or several runs: tables, plots, and the pictures to look at.

    python -m benchmarks.report runs/cat_to_others [MORE ...] [--out report.html] [--cases 48]

The page holds everything it shows, so it can be sent to somebody and opened without a network.
"""

import argparse
import base64
import sys
from collections.abc import Mapping, Sequence
from importlib import resources
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment

from benchmarks.metrics import COLUMNS
from benchmarks.plots import scatter
from benchmarks.rows import picture_path, read_asked, read_rows
from benchmarks.suites.base import EDITS, REFERENCES
from benchmarks.tables import differences, frame, metrics_of, parts, summary, table
from editing.errors import UserError
from editing.images import read_picture
from editing.results import software, write

SHOWN = 256  # pixels: the longer side of a picture in the page, at most
# What an edit keeps, what it shall reach: the axes of the trade-off, as far as a suite has them.
KEPT = ("background_psnr", "kept_psnr", "kept", "pie_psnr", "residual_psnr", "psnr", "iou")
REACHED = (
    *("target_species", "success", "imagenet", "clip_direction", "exact_psnr"),
    *("clip_score", "pie_clip_whole"),
)


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
    args = parser.parse_args(argv)
    try:
        page = report(args.runs, args.cases)
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


def report(runs: Sequence[Path], cases: int = 48) -> str:
    """The page, as text.

    Raises:
        UserError: a folder has no rows.
    """
    suites = []
    for run in runs:
        rows = list(read_rows(run))
        if not rows:
            inner = f", such as {run / EDITS}" if (run / EDITS).is_dir() else ""
            raise UserError(f"{run} has no rows: give a folder that benchmarks.run wrote{inner}.")
        data = frame(rows, read_asked(run))
        for suite, of_suite in data.groupby("suite"):
            suites.append(_suite(run, str(suite), of_suite, cases))
    source = (resources.files("benchmarks") / "report.html.j2").read_text(encoding="utf-8")
    page = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(source)
    return page.render(suites=suites, software=software())


def _suite(run: Path, name: str, data: pd.DataFrame, cases: int) -> dict[str, Any]:
    """What the page says of one suite of one run."""
    lines = summary(data)
    header, cells = table(lines)
    failed = data[data.status == "failed"]
    seconds = {(line["group"], line["label"]): f"{line['seconds']:.2f}" for line in lines}
    return {
        "run": str(run),
        "name": name,
        "header": [*header, "seconds"],
        "cells": [
            [*row, seconds[line["group"], line["label"]]]
            for row, line in zip(cells, lines, strict=True)
        ],
        "differences": _differences(data),
        "plots": _plots(lines),
        "metrics": [(metric, COLUMNS[metric].title) for metric in metrics_of(data)],
        "groups": sorted(data.group.unique()),
        "gallery": _gallery(run, data, cases),
        "failed": failed[["case", "label", "reason"]].values.tolist(),
    }


def _differences(data: pd.DataFrame) -> list[list[str]]:
    """Rows of the table of paired differences."""
    rows = []
    for line in differences(data):
        column = COLUMNS[line["metric"]]
        scale = 100 if column.share else 1
        mean, low, high = (
            f"{line[end] * scale:+.{column.digits}f}" for end in ("mean", "low", "high")
        )
        verdict = "yes" if line["significant"] else "no"
        names = [line["group"], f"{line['first']} - {line['second']}", column.title]
        rows.append([*names, f"{mean} [{low}, {high}]", f"{line['p_holm']:.3g}", verdict])
    return rows


def _plots(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """A plot for every kind of edit: what is kept against what is reached."""
    made = []
    for group in dict.fromkeys(line["group"] for line in lines):
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
            made.append(scatter(points, COLUMNS[kept], COLUMNS[reached], group))
    return made


def _gallery(run: Path, data: pd.DataFrame, cases: int) -> list[dict[str, Any]]:
    """Pictures and figures of the first cases of every kind, at the lowest seed."""
    shown: list[dict[str, Any]] = []
    order = list(dict.fromkeys(label for (_, _, label), _ in parts(data)))
    done = data[data.status == "done"].sort_values(["seed", "label"])
    for (group, case), rows in done.groupby(["group", "case"], sort=True):
        if sum(each["group"] == group for each in shown) == cases:
            continue
        edits = {}
        for row in rows.drop_duplicates("label").to_dict("records"):
            metrics = {name: row[name] for name in metrics_of(rows) if row[name] == row[name]}
            path = picture_path(run, row["picture"])
            edits[row["label"]] = {"picture": _data_uri(path), "metrics": metrics}
        edits = {label: edits[label] for label in order if label in edits}
        prompts = rows.iloc[0][["source_prompt", "target_prompt"]].tolist()
        shown.append({"case": case, "group": group, "prompts": prompts, "edits": edits})
    return shown


def _data_uri(path: Path) -> str:
    """A picture inside the page, large ones smaller; an empty one if the file is gone."""
    if not path.exists():
        return "data:,"
    data, kind = path.read_bytes(), "png"
    picture = read_picture(path)
    if max(picture.size) > SHOWN:
        picture.thumbnail((SHOWN, SHOWN))
        small = BytesIO()
        picture.save(small, "webp", quality=90)
        data, kind = small.getvalue(), "webp"
    return f"data:image/{kind};base64," + base64.b64encode(data).decode()


if __name__ == "__main__":
    sys.exit(main())
