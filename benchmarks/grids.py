"""Pictures of a folder of rows: a sheet for each kind of edit, a row for each method."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from PIL import Image
from torchvision.utils import make_grid

from benchmarks.analysis import parts
from benchmarks.rows import picture_path
from editing.errors import UserError
from editing.images import read_picture, to_image, to_tensor
from editing.results import png, slug, write

COLUMNS = 8  # cases shown


def write_grids(output: Path, data: pd.DataFrame) -> list[Path]:
    """Writes `grids/SUITE-KIND.png` of every suite and kind: the same cases in every row.

    Rows are the source, the exact answer and the methods in the order of the table. Cases are
    spread over those that all of them have, at their lowest seed.
    """
    by_group: dict[tuple[str, str], list[pd.DataFrame]] = {}
    for (suite, group, _), rows in parts(data):
        by_group.setdefault((suite, group), []).append(rows.sort_values("seed"))
    written = []
    for (suite, group), methods in by_group.items():
        common = sorted(set.intersection(*(set(rows.case) for rows in methods)))
        if not common:
            continue
        shown = [common[i * len(common) // COLUMNS] for i in range(COLUMNS)]
        rows = [
            [rows[rows.case == case].picture.iloc[0] for case in dict.fromkeys(shown)]
            for rows in methods
        ]
        path = output / "grids" / f"{slug('-'.join(filter(None, (suite, group))))}.png"
        path.parent.mkdir(exist_ok=True)
        pictures = [[_picture(output, key) for key in row] for row in rows]
        write(path, png(sheet(pictures), {}))
        written.append(path)
    return written


def _picture(output: Path, key: str) -> Image.Image:
    """A small white one where the file is gone or broken."""
    try:
        return read_picture(picture_path(output, key))
    except UserError:
        return Image.new("RGB", (8, 8), "white")


def sheet(rows: Sequence[Sequence[Image.Image]]) -> Image.Image:
    """Pictures side by side and below each other, all as large as the first; small ones doubled."""
    size = rows[0][0].size
    scale = 2 if size[1] < 128 else 1
    pictures = [picture.resize(size) for row in rows for picture in row]
    made = make_grid([to_tensor(picture) for picture in pictures], len(rows[0]), padding=1)
    whole = to_image(made)
    return whole.resize((scale * whole.width, scale * whole.height), Image.Resampling.NEAREST)
