"""What is written of a drawing: what has changed, and nothing else."""

import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from editing.parameters.svg import Drawing, read_svg, render, write_svg
from tests.editing.parameters.svg.examples import DRAWINGS, Read, moved, psnr


def tree(data: bytes) -> ET.Element:
    return ET.fromstring(data)


def find(data: bytes, name: str) -> ET.Element:
    (found,) = (element for element in tree(data).iter() if element.get("id") == name)
    return found


@pytest.mark.parametrize("path", DRAWINGS, ids=lambda path: path.stem)
def test_what_has_not_changed_is_written_as_it_was(path: Path) -> None:
    written = tree(write_svg(read_svg(path)))
    for old, new in zip(tree(path.read_bytes()).iter(), written.iter(), strict=True):
        assert (old.tag, old.attrib, old.text) == (new.tag, new.attrib, new.text)


@pytest.mark.parametrize("path", DRAWINGS, ids=lambda path: path.stem)
def test_what_was_written_is_read_again(path: Path, tmp_path: Path) -> None:
    drawing = moved(read_svg(path))
    again = tmp_path / "again.svg"
    again.write_bytes(write_svg(drawing))
    other = read_svg(again)
    assert other.structure == replace(
        drawing.structure, shapes=other.structure.shapes
    ) and strokes_aside(other) == strokes_aside(drawing)
    for name, value in drawing.tensors().items():
        tolerance = 0.5 / 255 + 1e-6 if name in ("fills", "strokes") else 1e-4
        torch.testing.assert_close(getattr(other, name), value, atol=tolerance, rtol=1e-5)
    assert psnr(render(drawing, (96, 96)), render(other, (96, 96))) > 50


def strokes_aside(drawing: Drawing) -> list[object]:
    """Shapes without the pens, whose numbers are rounded in between."""
    return [
        replace(shape, stroke=shape.stroke and replace(shape.stroke, pen=(0.0,) * 4))
        for shape in drawing.structure.shapes
    ]


def test_only_what_has_changed_is_written(read: Read) -> None:
    drawing = read(
        "<!-- kept --><g id='g' class='x' transform='translate(10 0) scale(2)'>"
        "<title>two</title><rect id='r' class='a b' x='1' y='2' width='3' height='4' rx='0' "
        "data-name='wall'/><circle id='c' r='2' fill='#010203' stroke='red'/></g>"
        "<path id='p' d='m 1 1 h 5 v 5'/>"
    )
    points = drawing.points.clone()
    points[0] += torch.tensor([2.0, 4.0])
    fills = drawing.fills.clone()
    fills[1] = torch.tensor([1.0, 0.5, 0.0])
    widths = drawing.widths * 3
    data = write_svg(replace(drawing, points=points, fills=fills, widths=widths))
    assert b"<!-- kept -->" in data and tree(data)[0].get("transform") == "translate(10 0) scale(2)"
    wall = find(data, "r")
    assert wall.tag.endswith("path")
    assert wall.attrib == {
        "id": "r",
        "class": "a b",
        "data-name": "wall",
        "d": "M2 4 L4 2 L4 6 L1 6 Z",
    }
    circle = find(data, "c")
    assert circle.tag.endswith("circle")
    assert circle.attrib == {
        "id": "c",
        "r": "2",
        "fill": "#ff8000",
        "stroke": "red",
        "stroke-width": "3",
    }
    assert find(data, "p").attrib == {"id": "p", "d": "m 1 1 h 5 v 5"}


def test_colours_are_written_where_they_win(read: Read) -> None:
    drawing = read(
        "<style>.a { fill: red; opacity: .5 }</style><g opacity='.5' id='g'>"
        "<circle id='a' class='a' r='1'/><circle id='b' r='2' style='fill:red;cursor:help'/>"
        "<circle id='c' r='3' fill='rgba(255,0,0,.5)' fill-opacity='.5'/></g>"
    )
    assert drawing.opacities.tolist() == [0.5, 0.5]
    data = write_svg(
        replace(drawing, fills=1 - drawing.fills, opacities=torch.tensor([0.25, 0.75]))
    )
    assert find(data, "a").get("style") == "opacity: 0.75; fill: #00ffff"
    assert find(data, "b").get("style") == "fill: #00ffff; cursor: help"
    assert (
        find(data, "c").get("fill") == "#00ffff" and find(data, "c").get("fill-opacity") == "0.25"
    )
    assert find(data, "g").get("opacity") == "0.25"


def test_rules_about_tags_do_not_change_what_became_a_path(read: Read, tmp_path: Path) -> None:
    drawing = read(
        "<style>rect { fill: lime; stroke-width: 3 } path { fill: red; opacity: .5; "
        "stroke: blue }</style><g stroke='black'><rect width='5' height='5'/></g>"
    )
    path = tmp_path / "again.svg"
    path.write_bytes(write_svg(replace(drawing, points=drawing.points + 1)))
    again = read_svg(path)
    assert again.fills.tolist() == [[0, 1, 0]] and again.strokes.tolist() == [[0, 0, 0]]
    assert again.widths.tolist() == [3] and not len(again.opacities)


def test_rules_about_use_and_ids_hold_for_what_it_became(read: Read, tmp_path: Path) -> None:
    drawing = read(
        "<style>use { fill: lime; opacity: 0.5 } #one { stroke: red } g { fill: blue; "
        "stroke-width: 7; opacity: 0.1 }</style><defs><circle id='one' r='5'/></defs>"
        "<use href='#one' x='9'/>"
    )
    path = tmp_path / "again.svg"
    path.write_bytes(write_svg(replace(drawing, points=drawing.points + 1)))
    assert b"<g " in path.read_bytes()
    for name, value in read_svg(path).tensors().items():
        torch.testing.assert_close(value, getattr(drawing, name) + (name == "points"))


def test_uses_become_groups_once_what_they_show_has_changed(read: Read) -> None:
    drawing = read(
        "<defs><g id='two'><circle id='one' r='3'/><use href='#one' x='9'/></g></defs>"
        "<use id='u' href='#two' transform='scale(2)' x='4' fill='red'/><use id='v' href='#two'/>"
        "<path id='p' d='M0 0h5v5'/>"
    )
    assert len(drawing.structure.shapes) == 5
    points = drawing.points.clone()
    points[-1] += 1  # of the path, which nothing shares
    kept = write_svg(replace(drawing, points=points))
    assert kept.count(b"<use") == 3 and find(kept, "p").get("d") == "M0 0 L5 0 L6 6"
    points[0] += 1  # of one of the circles
    data = write_svg(replace(drawing, points=points))
    group = find(data, "u")
    assert group.tag.endswith("}g") and find(data, "v").tag.endswith("}g")
    assert group.attrib == {"id": "u", "transform": "scale(2) translate(4 0)", "fill": "red"}
    tags = [element.tag.rpartition("}")[2] for element in group.iter()]
    assert tags == ["g", "g", "path", "g", "circle"], "what has not moved is still a circle"
    ids = [element.get("id") for element in tree(data).iter() if element.get("id")]
    assert sorted(ids) == ["one", "p", "two", "u", "v"]


def test_what_cannot_be_written_is_said(read: Read) -> None:
    drawing = read('<circle r="5"/>')
    with pytest.raises(ValueError, match="read from a file"):
        write_svg(replace(drawing, document=None))
    with pytest.raises(ValueError, match="fills of the drawing are not finite"):
        write_svg(replace(drawing, fills=drawing.fills * torch.nan))
    wild = replace(drawing, fills=drawing.fills + 7, fill_alphas=drawing.fill_alphas - 3)
    circle = tree(write_svg(wild))[0]
    assert (circle.get("fill"), circle.get("fill-opacity")) == ("#ffffff", "0")
