"""Sheets of pictures."""

from pathlib import Path

from PIL import Image

from benchmarks.frames import frame
from benchmarks.grids import COLUMNS, sheet, write_grids
from benchmarks.rows import picture_path
from tests.benchmarks.example_rows import row


def test_a_sheet_has_a_row_for_each_method_and_the_same_cases(tmp_path: Path) -> None:
    shades = {"source": 0, "exact answer": 250, "ids": 100}
    rows = [row(method, case, 1.0) for method in shades for case in range(12)]
    rows = [r for r in rows if (r["edit"]["method"], r["case"]) != ("ids", "case-0")]
    for i, r in enumerate(rows):
        r["key"] = r["picture"] = f"{i:04}"
        path = picture_path(tmp_path, r["key"])
        path.parent.mkdir(parents=True, exist_ok=True)
        shade = (shades[r["edit"]["method"]], int(r["case"].removeprefix("case-")), 0)
        Image.new("RGB", (64, 64), shade).save(path)
    (path,) = write_grids(tmp_path, frame(rows))
    assert path.name == "cat_to_others.png"
    made = Image.open(path)
    assert made.size == (2 * (COLUMNS * 65 + 1), 2 * (3 * 65 + 1))
    centres = [
        [made.getpixel((130 * x + 60, 130 * y + 60)) for x in range(COLUMNS)] for y in range(3)
    ]
    assert [line[0][0] for line in centres] == [0, 250, 100]
    cases = [[pixel[1] for pixel in line] for line in centres]
    assert cases[0] == cases[1] == cases[2] and 0 not in cases[0] and len(set(cases[0])) == COLUMNS


def test_few_cases_make_a_narrow_sheet_and_large_pictures_stay(tmp_path: Path) -> None:
    pictures = [Image.new("RGB", (128, 128)), Image.new("RGB", (64, 32))]
    assert sheet([pictures]).size == (2 * 129 + 1, 130)
