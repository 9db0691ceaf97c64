from pathlib import Path

from PIL import Image

from benchmarks.menagerie import sheet
from benchmarks.menagerie.scene import SPECIES


def test_a_row_for_each_species_and_a_column_for_each_scene(tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    sheet.main([f"out={out}", "scenes=2", "size=12"])
    with Image.open(out) as picture:
        assert picture.size == (2 * 13 + 1, len(SPECIES) * 13 + 1)
