"""Edits of a drawing's numbers, on priors whose scores are exact or random."""

from pathlib import Path
from typing import Any

import pytest
import torch

from editing import DDS, DistillationEditor
from editing.errors import UserError
from editing.parameters import SVG
from editing.parameters.drawing import DrawingCanvas
from editing.parameters.svg import read_svg
from samplers.random import make_generators

CPU = torch.device("cpu")
DRAWING = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 40 20">
  <rect id="wall" width="40" height="20" fill="#204060"/>
  <circle id="sun" cx="12" cy="10" r="5" fill="#e0c030" fill-opacity="0.9"/>
  <path id="line" d="M25 5 L35 15" stroke="#ff0000" stroke-width="2" fill="none"/>
</svg>"""
NAMES = ("points", "fills", "strokes", "widths", "fill_alphas", "stroke_alphas", "opacities")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "drawing.svg").write_text(DRAWING)
    return tmp_path / "drawing.svg"


def start(prior: Any, path: Path, **options: Any) -> DrawingCanvas:
    svg = SVG(**options)
    return svg.start(prior, svg.prepare(svg.read(path, 32, 4), CPU))


def test_a_canvas_starts_at_the_source(tiny_prior: Any, path: Path) -> None:
    canvas = start(tiny_prior, path)
    assert canvas.size == (64, 32)  # as wide as the view box says
    target, source = canvas.latents(make_generators(0, [0, 1]))
    assert target.shape == source.shape == (2, 4, 8, 16)
    assert torch.equal(target, source) and not source.requires_grad
    page = SVG().read(path, 32, 4)
    assert torch.equal(canvas.images(), page.shown)
    assert page.notes["drawing"]["fills"] == 2


@pytest.mark.parametrize("moved", ["points", "colors", "widths"])
def test_what_is_moved_can_be_chosen(moved: str, tiny_prior: Any, path: Path) -> None:
    options = {name: name == moved for name in ("points", "colors", "widths")}
    prompts = tiny_prior.pair(source="a cat", target="a pig")
    svg = SVG(**options)
    page = svg.prepare(svg.read(path, 32, 4), CPU)
    editor = DistillationEditor(DDS(tiny_prior), svg, 2, 0.01, torch.optim.Adam)
    edit = editor(page, prompts, make_generators(0, [0]))
    assert isinstance(edit.canvas, DrawingCanvas)
    before, after = page.drawing.tensors(), edit.canvas.drawing.tensors()
    changed = {name for name in NAMES if not torch.equal(before[name], after[name])}
    expected = {"points": {"points"}, "colors": {"fills", "strokes"}, "widths": {"widths"}}
    assert changed == expected[moved]


def test_a_step_is_a_share_of_the_drawing(tiny_prior: Any, path: Path) -> None:
    """Whatever the units of its view box, and colours and widths stay in range."""
    text = DRAWING.replace("0 0 40 20", "0 0 400 200")
    large = path.with_name("large.svg")
    large.write_text(text)
    rates = [start(tiny_prior, each).rates for each in (path, large)]
    assert rates[1][0] == pytest.approx(10 * rates[0][0]) and rates[1][1] == rates[0][1] == 1.0
    canvas = start(tiny_prior, path)
    with torch.no_grad():
        canvas.drawing.fills.fill_(3.0)
        canvas.drawing.widths.fill_(-1.0)
    picture = canvas.images()
    assert float(picture.max()) <= 1 and float(canvas.drawing.fills.max()) == 1
    assert float(canvas.drawing.widths.min()) == 0


def test_what_is_saved_is_what_is_seen(tiny_prior: Any, path: Path, tmp_path: Path) -> None:
    canvas = start(tiny_prior, path)
    with torch.no_grad():
        canvas.drawing.points.add_(torch.linspace(-1, 1, canvas.drawing.points.numel()).view(-1, 2))
        canvas.drawing.fills.mul_(0.5)
    (tmp_path / "edited.svg").write_bytes(canvas.files()["edited.svg"])
    again = SVG().read(tmp_path / "edited.svg", 32, 4).shown
    assert float((again - canvas.images()).abs().max()) < 0.02
    ids = [shape.strip() for shape in ("wall", "sun", "line")]
    text = (tmp_path / "edited.svg").read_text()
    assert all(f'id="{name}"' in text for name in ids)
    assert len(read_svg(tmp_path / "edited.svg").structure.shapes) == 3


def test_there_must_be_something_to_move(tiny_prior: Any, path: Path) -> None:
    with pytest.raises(ValueError, match="nothing of the drawing is to be moved"):
        SVG(points=False, colors=False, widths=False)
    path.write_text(DRAWING.replace('stroke="#ff0000" stroke-width="2"', 'fill-opacity="0.5"'))
    with pytest.raises(UserError, match="nothing in the drawing that parameters= lets move"):
        start(tiny_prior, path, points=False, colors=False)


def test_a_long_and_thin_drawing_is_refused(path: Path) -> None:
    path.write_text(DRAWING.replace("0 0 40 20", "0 0 400 20"))
    with pytest.raises(UserError, match="400 x 20, too long and thin"):
        SVG().read(path, 32, 4)
