"""Reading markup as drawings."""

import re
from pathlib import Path

import pytest

from editing.parameters.svg import Drawing, read_svg
from tests.editing.parameters.svg.examples import HEAD, Read


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Reads markup; without a root it is put into one of 100 x 50 units."""

    def call(text: str) -> Drawing:
        path = tmp_path / "a drawing.svg"
        path.write_text(
            text if re.match(r"<([?]|!D|svg\b)", text) else f"{HEAD}>{text}</svg>", "utf-8"
        )
        return read_svg(path)

    return call


@pytest.fixture
def square(tmp_path: Path) -> Read:
    """Reads shapes in a drawing of 16 x 16 units."""

    def call(text: str) -> Drawing:
        path = tmp_path / "drawing.svg"
        path.write_text(f'<svg viewBox="0 0 16 16">{text}</svg>', "utf-8")
        return read_svg(path)

    return call
