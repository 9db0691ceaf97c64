"""SVG files: what is read, what is refused, and what is written."""

import gzip
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from editing.errors import UserError
from editing.parameters.svg import Drawing, read_svg, render, write_svg

DRAWINGS = sorted((Path(__file__).parent / "drawings").glob("*.svg"))
Read = Callable[[str], Drawing]

HEAD = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 50"'


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


def moved(drawing: Drawing, seed: int = 0, amount: float = 0.012) -> Drawing:
    """A drawing with all its numbers changed, by about a hundredth of its size."""
    generator = torch.Generator().manual_seed(seed)
    size = max(drawing.structure.view_box[2:])
    noise = {k: torch.randn(v.shape, generator=generator) for k, v in drawing.tensors().items()}
    tensors = {name: value + 0.15 * noise[name] for name, value in drawing.tensors().items()}
    tensors["points"] = drawing.points + amount * size * noise["points"]
    tensors["widths"] = drawing.widths * (1 + 0.3 * noise["widths"]).clamp(min=0.3)
    return replace(drawing, **tensors).clamp_()


def psnr(one: torch.Tensor, two: torch.Tensor) -> float:
    return float(-10 * (one - two).square().mean().clamp(min=1e-12).log10())


def tree(data: bytes) -> ET.Element:
    return ET.fromstring(data)


def find(data: bytes, name: str) -> ET.Element:
    (found,) = (element for element in tree(data).iter() if element.get("id") == name)
    return found


# --- reading --------------------------------------------------------------------------------------


def test_points_of_a_path_and_what_belongs_to_what(read: Read) -> None:
    drawing = read(
        '<path fill="#ff8000" stroke="blue" stroke-width="3" stroke-linecap="round" '
        'fill-rule="evenodd" d="M1 2 L5 2 Q8 5 5 8 Z M10 10 C11 11 12 11 13 10 L10 10 Z M20 20h5"/>'
    )
    (shape,) = drawing.structure.shapes
    kinds = [(part.kinds, part.points, part.closed) for part in shape.subpaths]
    assert kinds == [
        ("LCL", (0, 1, 2, 3, 4), True),
        ("CL", (5, 6, 7, 8), True),  # it ends where it began, so that Z has no length
        ("L", (9, 10), False),
    ]
    assert drawing.points[:5].tolist() == pytest.approx(
        torch.tensor([[1, 2], [5, 2], [7, 4], [7, 6], [5, 8]])
    )
    assert drawing.fills.tolist() == [pytest.approx([1, 128 / 255, 0])]
    assert drawing.strokes.tolist() == [[0, 0, 1]] and drawing.widths.tolist() == [3]
    assert shape.evenodd and shape.stroke is not None and shape.stroke.cap == "round"
    assert shape.stroke.join == "miter" and shape.stroke.miter_limit == 4


def test_transforms_units_and_percentages(read: Read) -> None:
    drawing = read(
        '<g transform="translate(10 5) scale(2)"><g transform="rotate(90)">'
        '<line x1="1" y1="0" x2="0" y2="1" stroke="red"/></g>'
        '<rect x="10%" y="1mm" width="1in" height="50%" fill="none" stroke="red" '
        'stroke-width="10%"/></g>'
    )
    line, rect = drawing.points[:2], drawing.points[2:]
    assert line.flatten().tolist() == pytest.approx([10, 7, 8, 5], abs=1e-5)
    top = 5 + 2 * 96 / 25.4
    right = 30 + 2 * 96
    corners = [[30, top], [right, top], [right, top + 50], [30, top + 50]]
    torch.testing.assert_close(rect, torch.tensor(corners))
    diagonal = ((100**2 + 50**2) / 2) ** 0.5
    assert drawing.widths.tolist() == pytest.approx([2, 2 * 0.1 * diagonal])
    assert read('<path d="M0 0h1v1" transform="skewX(45)"/>').points[2].tolist() == pytest.approx(
        [2, 1]
    )


@pytest.mark.parametrize(
    ("markup", "expected"),
    [
        ("fill='lime'", (0, 1, 0)),
        ("fill='#0F08'", (0, 1, 0)),
        ("fill='rgb(0 255 0 / 50%)'", (0, 1, 0)),
        ("fill='rgb(0%, 99.99%, 0.1%)'", (0, 1, 0)),
        ("fill='rgb(0.2, 255.4, -5)'", (0, 1, 0)),
        ("fill='hsl(120, 100%, 50%)'", (0, 1, 0)),
        ("fill='currentColor' color='#00ff00'", (0, 1, 0)),
        ("class='a'", (0, 1, 0)),
        ("class='a' fill='red'", (0, 1, 0)),  # a rule is stronger than an attribute,
        ("class='a' id='b'", (0, 0, 1)),  # an id than a class,
        ("class='a' id='b' style='fill: #ff0000'", (1, 0, 0)),  # and style than all
        ("class='a c'", (1, 1, 1)),  # of two classes the rule that comes last
        ("class='d'", (0, 1, 1)),
        ("", (1, 0, 1)),
    ],
)
def test_the_cascade(read: Read, markup: str, expected: tuple[float, ...]) -> None:
    drawing = read(
        f"<g fill='magenta'><circle r='5' {markup}/></g><style>#b {{ fill: blue }}"
        ".a { fill: #0f0; } /* { */ .c { fill: white } circle.d, x { fill: cyan; }</style>"
    )
    assert drawing.fills[0].tolist() == pytest.approx(expected)


def test_alphas_and_opacities(read: Read) -> None:
    drawing = read(
        '<g opacity="0.5"><g opacity="50%"><circle r="1" fill="rgba(0, 0, 0, 0.5)" '
        'fill-opacity="0.5"/></g><circle r="2" opacity="0.25"/><circle r="3" opacity="1"/></g>'
    )
    assert drawing.opacities.tolist() == [0.5, 0.5, 0.25]
    assert [shape.fades for shape in drawing.structure.shapes] == [(0, 1), (0, 2), (0,)]
    assert drawing.fill_alphas.tolist() == [0.25, 1, 1]


def test_what_is_not_painted_is_not_a_shape(read: Read) -> None:
    drawing = read(
        '<defs><circle r="9"/><linearGradient id="g"/><filter id="f"/></defs><symbol id="s"/>'
        '<metadata><text>cc</text></metadata><x:y xmlns:x="z"/><circle r="1"/><path d=""/>'
        '<rect height="5"/><circle r="5" display="none"/><text display="none">t</text>'
        '<g visibility="hidden"><circle r="5"/><circle r="2" visibility="visible"/></g>'
        '<g style="display:none"><text>t</text></g>'
        '<circle r="5" fill="none"/><line x2="5"/><circle r="5" transform="scale(0 1)"/>'
    )
    assert len(drawing.structure.shapes) == 2
    assert drawing.points[:, 0].amax() == 2


def test_arcs_are_round(read: Read) -> None:
    drawing = read('<path d="M80 25 A30 20 0 1 1 20 25 A30 20 0 0 1 80 25 Z"/>')
    assert drawing.structure.shapes[0].subpaths[0].kinds == "CCCC"
    table, t = drawing.structure.table, torch.linspace(0, 1, 33)[:, None, None]
    a, b, c, d = drawing.points[table.controls].unbind(1)
    curve = (1 - t) ** 3 * a + 3 * (1 - t) ** 2 * t * b + 3 * (1 - t) * t**2 * c + t**3 * d
    radius = ((curve - torch.tensor([50.0, 25])) / torch.tensor([30.0, 20])).norm(dim=-1)
    assert (radius - 1).abs().max() < 3e-4


def test_controls_are_reflected_only_from_curves_of_the_same_degree(read: Read) -> None:
    drawing = read('<path d="M0 0 Q4 4 8 0 T16 0 S20 9 24 0 S32 9 32 0"/>')
    controls = drawing.points[drawing.structure.table.controls]
    assert controls[1, 1].tolist() == pytest.approx([8 + 8 / 3, -8 / 3])
    assert controls[2, 1].tolist() == [16, 0] and controls[3, 1].tolist() == [28, -9]


def test_the_size_of_the_picture(read: Read) -> None:
    def sizes(root: str) -> tuple[object, ...]:
        structure = read(f'<svg {root}><circle r="1"/></svg>').structure
        return structure.view_box, structure.width, structure.height

    assert sizes('viewBox="1,2 30 40"') == ((1, 2, 30, 40), 30, 40)
    assert sizes('viewBox="0 0 30 40" width="60" height="auto"') == ((0, 0, 30, 40), 60, 80)
    assert sizes('width="60px" height="1in"') == ((0, 0, 60, 96), 60, 96)


def test_a_file_with_a_prefix_and_the_doctype_of_the_w3c(read: Read) -> None:
    drawing = read(
        '<?xml version="1.0"?><!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" '
        '"http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd"><svg:svg viewBox="0 0 9 9" '
        'xmlns:svg="http://www.w3.org/2000/svg"><svg:g><svg:circle r="3"/></svg:g></svg:svg>'
    )
    assert len(drawing.structure.shapes) == 1
    assert b"DOCTYPE" not in write_svg(drawing)


# --- what is refused ------------------------------------------------------------------------------

LAUGHS = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 9 if i else "ha"}">' for i in range(9))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<script>alert(1)</script>", "contains a <script>"),
        ('<h:SCRIPT xmlns:h="http://www.w3.org/1999/xhtml"/>', "contains a <script>"),
        ('<circle r="5" onclick="alert(1)"/>', "a script in onclick='alert(1)'"),
        ('<a href="java&#10;script:x()"><circle r="5"/></a>', "contains a script in href="),
        ('<set attributeName="href" to=" JavaScript:x()"/>', "contains a script in to="),
        ('<use href="other.svg#a"/>', "href='other.svg#a', which is never followed"),
        ('<use xlink:href="http://a.b/c#d" xmlns:xlink="x"/>', "xlink:href='http://a.b/c#d'"),
        ('<image href="data:image/png;base64,AA"/>', "holds a file, href='data:image/png"),
        ('<circle r="5" fill="url(http://a.b/#c)"/>', "refers to something elsewhere in fill="),
        ("<circle r='5' style='filter: url( \"//a.b\" )'/>", "elsewhere in style="),
        ("<style>@import 'http://a.b/c.css';</style>", "\"@import 'http"),
        ("<style>.a { mask: url('b.svg#c') }</style>", "elsewhere in <style>"),
        ("<style>.a { fill: u\\72l(x) }</style>", "a backslash in <style>"),
        ("<style>.a { cursor: image-set('https://a.b' 1x) }</style>", "elsewhere in <style>"),
        ('<h:img xmlns:h="x" src="//a.b/c.png"/>', "refers to something elsewhere, src="),
        ('<g xml:base="http://a.b/"/>', "refers to something elsewhere, xml:base="),
        ("<foreignObject/>", "contains <foreignObject>"),
        ('<?xml-stylesheet href="a.css"?><svg/>', "loads a style sheet"),
        (f"<!DOCTYPE svg [{LAUGHS}]><svg>&l8;</svg>", "has a DOCTYPE of its own (svg)"),
        ('<!DOCTYPE svg SYSTEM "file:///etc/passwd"><svg/>', "DOCTYPE of its own (file:///etc"),
        (
            '<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "x" [<!ENTITY a "b">]><svg>&a;</svg>',
            "has a DOCTYPE of its own",
        ),
        ('<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "x"><svg>&a;</svg>', "uses entities"),
    ],
)
def test_dangerous_files_are_refused(read: Read, text: str, said: str) -> None:
    with pytest.raises(UserError) as error:
        read(text)
    assert said in str(error.value)
    check_sentence(str(error.value))


def check_sentence(text: str) -> None:
    assert re.search(r"^'/.*a drawing\.svg' .*[^.]\.$", text) and "\n" not in text, text
    assert len(text) - len(str(text.split("'")[1])) < 220


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<text>hello</text>", "contains <text>, which cannot be drawn: turn it into paths"),
        ('<circle r="5"><animate/></circle>', "contains <animate>"),
        ('<g><svg width="5"/></g>', "contains <svg>"),
        ('<symbol id="s"/><use href="#s"/>', "contains <symbol>"),
        ('<circle r="5" fill="url(#g)"/>', "fill='url(#g)', a gradient or a pattern"),
        ('<g clip-path="url(#c)"><circle r="5"/></g>', "clip-path='url(#c)' on <g>"),
        ('<circle r="5" stroke-dasharray="1 2"/>', "stroke-dasharray='1 2'"),
        ('<circle r="5" style="mix-blend-mode: multiply"/>', "mix-blend-mode='multiply'"),
        ('<circle style="r: 5px"/>', "says r of <circle> in CSS"),
        ('<circle r="5" fill="reddish"/>', "the colour fill='reddish'"),
        ('<circle r="5" fill="rgb(1, 2)"/>', "the colour fill='rgb(1, 2)'"),
        ('<circle r="5" fill="rgb(1, 2, nan)"/>', "the colour fill='rgb(1, 2, nan)'"),
        ('<circle r="5" opacity="half"/>', "opacity='half'"),
        ('<circle r="5" stroke="red" stroke-width="-1"/>', "stroke-width='-1'"),
        ('<circle r="5" stroke="red" stroke-linecap="flat"/>', "give butt, round, square"),
        ('<circle r="5" stroke="red" stroke-miterlimit="0"/>', "stroke-miterlimit='0'"),
        ('<circle r="5" fill-rule="odd"/>', "fill-rule='odd'"),
        ("<style>g circle { fill: red }</style>", "the selector 'g circle'"),
        ("<style>circle { fill: red !important }</style>", "has !important"),
        ("<style>circle { fill: red</style>", ""),
        ("<style>circle fill: red }</style>", "a <style> that cannot be read"),
        ('<path d="M0 0 L nan 5"/>', "d='M0 0 L nan 5', which is not path data"),
        ('<path d="L 5 5"/>', "which is not path data"),
        ('<path d="M0 0 C 1 1"/>', "which is not path data"),
        ('<path d="M0 0 L1e999 0 5 5"/>', "not finite"),
        ('<path d="M0 0 A1e300 1e300 0 0 1 1e300 5"/>', ""),
        ('<path d="M0 0 L1e60 0 5 5z"/>', "has points too large to be used"),
        ('<circle r="NaN"/>', "r='NaN', which is not a length"),
        ('<circle r="5em"/>', "r='5em', which is not a length"),
        ('<polygon points="1 2 3"/>', "points='1 2 3', which are not pairs"),
        ('<polygon points="1 2 inf 3"/>', "not pairs"),
        ('<g transform="rotate(a)"/>', "transform='rotate(a)', which cannot be read"),
        ('<g transform="matrix(1 2 3)"/>', "transform='matrix(1 2 3)'"),
        ('<g transform="scale(1e999)"/>', "transform='scale(1e999)'"),
        ('<use href="#nobody"/>', "a <use> of '#nobody', which it does not contain"),
        ('<g id="a"><use href="#a"/></g>', "of '#a' that shows itself"),
        ('<use id="a" href="#b"/><use id="b" href="#a"/>', "that shows itself"),
        ("<g>" * 120 + "</g>" * 120, "more than 100 elements within each other"),
        ("", "has no shape to draw"),
        ('<circle r="5" fill="none"/>', "has no shape to draw"),
        ("<svg/>", "says neither viewBox nor width and height"),
        ('<svg viewBox="0 0 0 5"/>', "viewBox='0 0 0 5', which shows nothing"),
        ('<svg viewBox="0 0 nan 5"/>', "viewBox='0 0 nan 5', which are not four numbers"),
        ('<svg viewBox="0 0 1e999 5"/>', "shows nothing"),
        ('<svg width="0" height="5"/>', "width='0'"),
        ('<svg viewBox="0 0 5 5" preserveAspectRatio="fill"/>', "preserveAspectRatio='fill'"),
        ('<svg viewBox="0 0 5 5" transform="scale(2)"/>', "a transform on its root"),
        ("<?xml version='1.0'?><html/>", "not an SVG: its root is <html>"),
        ('<svg xmlns="http://elsewhere"/>', "not an SVG"),
        ("<svg><g></svg>", "is not XML that can be read (mismatched tag, line 1)"),
        ("<?xml version='1.0' encoding='klingon'?><svg/>", ""),
    ],
)
def test_what_cannot_be_drawn_is_refused(read: Read, text: str, said: str) -> None:
    with pytest.raises(UserError) as error:
        read(text)
    assert said in str(error.value)
    check_sentence(str(error.value))


def test_uses_of_uses_do_not_explode(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("editing.parameters.svg.walk.MAX_VISITS", 1000)
    levels = "".join(
        f'<g id="l{i}">' + f'<use href="#l{i - 1}"/>' * 40 + "</g>" for i in range(1, 5)
    )
    with pytest.raises(UserError, match="paints more than 1000 elements"):
        read(f'<defs><circle id="l0" r="1"/>{levels}</defs><use href="#l4"/>')
    chain = "".join(f'<use id="l{i}" href="#l{i - 1}"/>' for i in range(1, 9))
    with pytest.raises(UserError, match="within <use>"):
        read(f'<defs><circle id="l0" r="1"/>{chain}</defs><use href="#l8"/>')


def test_long_numbers_are_read_in_no_time(read: Read) -> None:
    for text in (
        f'<path d="M{"1" * 50_000}x"/>',
        f'<polygon points="{"1 " * 50_000}x"/>',
        f'<g transform="matrix({"1 " * 50_000}x)"/>',
        f"<style>{'/*' * 50_000}</style>",
        f"<style>{'a' * 50_000}</style>",
    ):
        with pytest.raises(UserError):
            read(text)


def test_files_that_are_none(tmp_path: Path) -> None:
    empty, packed = tmp_path / "empty.svg", tmp_path / "packed.svg"
    empty.touch()
    packed.write_bytes(gzip.compress(b"<svg/>"))
    for path, said in (
        (tmp_path / "no.svg", "There is no SVG at"),
        (tmp_path, "is a folder, and an SVG is needed here."),
        (empty, "is an empty file (0 bytes)."),
        (packed, "is not XML that can be read"),
    ):
        with pytest.raises(UserError, match=re.escape(said)):
            read_svg(path)


# --- writing --------------------------------------------------------------------------------------


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
