"""The tables of finished runs, and rows to publish: without running anything.

    python -m benchmarks.show runs/cat_to_others
    python -m benchmarks.show docs/results/cat_to_others.parquet --labels dds ids
    python -m benchmarks.show runs/cat_to_others --save cat_to_others.parquet
    python -m benchmarks.show runs/cat_to_others --metrics exact_psnr clip_direction --plot plot.svg

A run is a folder that benchmarks.run wrote, or a file that `--save` made of some: the rows of
tables and differences, without the pictures.
"""

import argparse
import sys
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from benchmarks.analysis import metrics_of, summary
from benchmarks.frames import KEYS, frame, of_asked
from benchmarks.metrics import COLUMNS
from benchmarks.plots import scatter, standalone
from benchmarks.rows import read_asked, read_rows
from benchmarks.suites.base import REFERENCES
from benchmarks.tables import check_metrics, print_tables, write_tables
from editing.errors import UserError
from editing.images import reason
from editing.results import write

NAMES = ["key", "picture"]  # of files, which a published row no longer has
SAME = ["suite", "group", "case", "label", "seed"]  # rows of one edit


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; 2 with one sentence for what the user can mend."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.show",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("runs", nargs="+", type=Path, help="folders or files")
    parser.add_argument("--labels", nargs="+", help="methods, as the table calls them; all")
    parser.add_argument("--metrics", nargs="+", default=(), help="that are shown; all")
    parser.add_argument("--common", action="store_true", help="only cases that every method has")
    parser.add_argument("--save", type=Path, help="a .parquet file to write instead of printing")
    parser.add_argument("--plot", type=Path, help="an .svg file to write: of two --metrics")
    args = parser.parse_args(argv)
    try:
        data = chosen(read_runs(args.runs), args.labels, check_metrics(args.metrics))
        data = common(data) if args.common else data
        if not (data.status == "done").any():
            raise UserError("There is nothing to show: no case is finished by all of them.")
        if args.save:
            save(data, args.save)
            print(f"{args.save}: {len(data)} rows of {data.label.nunique()} methods")
        if args.plot:
            plot(data, args.metrics, args.plot)
            print(f"{args.plot}: {args.metrics[1]} against {args.metrics[0]}")
        if args.save or args.plot:
            return 0
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    with TemporaryDirectory() as folder:
        write_tables(Path(folder), data)
        print_tables(Path(folder), place=", ".join(map(str, args.runs)))
    return 0


def read_runs(runs: Sequence[Path]) -> pd.DataFrame:
    """The rows of runs together; of an edit that several have, the latest.

    A method that two runs call differently, because they have others beside it, gets the longer of
    the names.

    Raises:
        UserError: one of them has no rows, or two call different edits the same.
    """
    folders = [run for run in runs if run.is_dir()]
    rows = [row for folder in folders for row in read_folder(folder)]
    parts = [frame(rows)] if folders else []  # together, so that labels tell them apart
    parts += [read_file(run) for run in runs if not run.is_dir()]
    data = pd.concat(parts, ignore_index=True)
    names = data.groupby("edit").label.agg(lambda labels: max(labels, key=len))
    data = data.assign(label=data.edit.map(names))
    data = data.drop_duplicates([*SAME, "edit"], keep="last", ignore_index=True)
    several = data[~data.label.isin(REFERENCES)].groupby("label").edit.nunique()
    if (mixed := several[several > 1].index).any():
        raise UserError(f"{mixed[0]!r} is not the same in all of these runs: show them apart.")
    return data


def read_folder(run: Path) -> list[dict[str, Any]]:
    """The rows of a folder, of what was asked for last.

    Raises:
        UserError: it has none.
    """
    rows, asked = list(read_rows(run)), read_asked(run)
    rows = rows if asked is None else of_asked(rows, asked)
    if not rows:
        raise UserError(f"{run} has no rows: give a folder that benchmarks.run wrote.")
    return rows


def read_file(run: Path) -> pd.DataFrame:
    """The rows of a file that :func:`save` wrote.

    Raises:
        UserError: it has none.
    """
    try:
        data = pd.read_parquet(run)
    except (OSError, ValueError) as error:  # pyarrow's own errors are ValueErrors
        why = reason(error) if isinstance(error, OSError) else "it is no file of rows"
        raise UserError(f"{run} cannot be read: {why}.") from error
    if missing := sorted({*KEYS, "cluster", "edit"} - {*data.columns}):
        raise UserError(f"{run} is no file of rows: it has no column {missing[0]!r}.")
    return data.assign(key=data.get("key", ""), picture=data.get("picture", ""))


def chosen(
    data: pd.DataFrame, labels: Sequence[str] | None, metrics: Sequence[str] = ()
) -> pd.DataFrame:
    """The rows of some methods and the references, with some of the metrics.

    Raises:
        UserError: there is no such method.
    """
    for label in labels or ():
        if label not in set(data.label):
            known = ", ".join(sorted({*data.label} - {*REFERENCES}))
            raise UserError(f"There are no rows of {label!r}: there are {known}.")
    if labels:
        data = data[data.label.isin([*labels, *REFERENCES])]
    left_out = [name for name in metrics_of(data) if metrics and name not in metrics]
    return data.drop(columns=left_out).reset_index(drop=True)


def common(data: pd.DataFrame) -> pd.DataFrame:
    """The rows of cases that every method of their suite has finished."""
    done = data[(data.status == "done") & ~data.label.isin(REFERENCES)]
    have = done.groupby(["suite", "case"]).label.nunique()
    needed = done.groupby("suite").label.nunique()
    whole = have[have == have.index.get_level_values("suite").map(needed)].index
    kept = pd.MultiIndex.from_frame(data[["suite", "case"]]).isin(whole)
    return data[kept].reset_index(drop=True)


def plot(data: pd.DataFrame, metrics: Sequence[str], path: Path) -> None:
    """Writes where all methods lie between two metrics, over all kinds of edit.

    Raises:
        UserError: there are not two metrics that a method has, or several suites, or the file
            cannot be written.
    """
    if len(metrics) != 2:
        raise UserError("--plot needs two --metrics: the one across, and the one upwards.")
    if (suites := data.suite.unique()).size > 1:
        raise UserError(f"--plot shows one suite, and there are {', '.join(sorted(suites))}.")
    lines = {line["label"]: line for line in summary(data)}  # of a method, all kinds come last
    points = [
        (label, *(line["metrics"][name] for name in metrics))
        for label, line in lines.items()
        if label not in REFERENCES and set(metrics) <= set(line["metrics"])
    ]
    if not points:
        raise UserError(f"No method has both {' and '.join(metrics)}.")
    across, upwards = (COLUMNS[name] for name in metrics)
    _write(path, standalone(scatter(points, across, upwards)).encode())


def save(data: pd.DataFrame, path: Path) -> None:
    """Writes rows to a file that :func:`read_file` reads.

    Raises:
        UserError: it cannot be written.
    """
    buffer = BytesIO()
    data.drop(columns=NAMES, errors="ignore").to_parquet(buffer, index=False, compression="zstd")
    _write(path, buffer.getvalue())


def _write(path: Path, data: bytes) -> None:
    try:
        write(path, data)
    except OSError as error:
        raise UserError(f"Cannot write to {path}: {reason(error)}.") from error


if __name__ == "__main__":
    sys.exit(main())
