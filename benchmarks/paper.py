"""The IDS paper's tables beside those of a run, and whether its order of the methods holds there.

    python -m benchmarks.paper runs/cat_to_others

The paper edits photographs with Stable Diffusion 1.4: the numbers are not comparable, the order of
the methods is.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.analysis import ALL, analysis
from benchmarks.metrics import COLUMNS
from benchmarks.show import read_runs
from benchmarks.suites.base import REFERENCES
from benchmarks.tables import markdown
from editing.errors import UserError

SUITE = "cat_to_others"
ORDER = ("ids", "cds", "dds")  # what keeps more of the source first, by the paper
# The paper's metric, ours, and how they differ.
METRICS = (
    ("iou", "iou", "of the animals"),
    ("lpips", "source_distance", "not LPIPS: a distance of the Menagerie's own, to the source"),
    ("psnr", "residual_psnr_paper", "of the background, as the paper defines it"),
)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.paper",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, help="folder that benchmarks.run wrote, or its rows")
    try:
        print(compared(parser.parse_args(argv).run), end="")
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    return 0


def compared(run: Path) -> str:
    """The tables and what follows from them, as text.

    Raises:
        UserError: the run has no rows of the suite.
    """
    data = read_runs([run])
    data = data[data.suite == SUITE]
    if data.empty:
        raise UserError(f"{run} has no rows of suite={SUITE}.")
    record = analysis(data, run if run.is_dir() else None)
    paper = json.loads((resources.files("benchmarks") / "paper.json").read_text(encoding="utf-8"))
    parts = []
    for name, metric, what in METRICS:
        of = paper["psnr_of" if name == "psnr" else "of"]
        title = f"{COLUMNS[metric].title}, {what}\npaper: {name.upper()}, {of}"
        parts += [title, _table(paper[name], record["summary"], metric), _order(record, metric)]
    return "\n\n".join(parts) + "\n"


def _table(
    printed: Mapping[str, Mapping[str, float]], lines: Sequence[Mapping[str, Any]], metric: str
) -> str:
    """The paper's methods and the run's, kind by kind."""
    here: dict[str, dict[str, float]] = {}
    for line in lines:
        if metric in line["metrics"] and line["label"] not in REFERENCES:
            here.setdefault(line["label"], {})[line["group"]] = line["metrics"][metric]["mean"]
    kinds = dict.fromkeys(line["group"] for line in lines)
    cells = [
        [method, origin, *(f"{means[kind]:.{digits}f}" if kind in means else "-" for kind in kinds)]
        for method in dict.fromkeys([*printed, *here])
        for origin, means, digits in (
            ("paper", printed.get(method), 2),
            ("here", here.get(method), COLUMNS[metric].digits),
        )
        if means
    ]
    return markdown(["method", "", *kinds], cells).rstrip("\n")


def _order(record: Mapping[str, Any], metric: str) -> str:
    """Whether each method of `ORDER` does better than the next one, on the same cases."""
    title, sign = COLUMNS[metric].title, COLUMNS[metric].better
    wholes = [each for each in record["differences"] if each["metric"] == metric]
    group = ALL if any(each["group"] == ALL for each in wholes) else ""
    pairs = {(each["first"], each["second"]): each for each in wholes if each["group"] == group}
    said, held = [], True
    for better, other in pairwise(ORDER):
        line = pairs.get((better, other)) or pairs.get((other, better))
        if line is None:
            return f"{title}: the paper's order cannot be tested without {better} and {other}."
        ahead = sign * line["mean"] * (1 if line["first"] == better else -1) > 0
        held = held and ahead
        verdict = "significant" if line["significant"] else "not significant"
        verdict = verdict if line["enough"] else "too few pictures to be significant"
        said.append(
            f"{better.upper()} {'>' if ahead else '<='} {other.upper()} "
            f"(p = {line['p']:.2g}, {line['p_holm']:.2g} after Holm's correction: {verdict})"
        )
    verdict = "holds" if held else "does not hold"
    order = "IDS > CDS > DDS (> keeps more of the source)"
    return f"{title}: the paper's order, {order}, {verdict} here: {', '.join(said)}."


if __name__ == "__main__":
    sys.exit(main())
