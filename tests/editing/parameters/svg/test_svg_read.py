"""What is read of an SVG file."""

import pytest
import torch

from editing.parameters.svg import write_svg
from tests.editing.parameters.svg.examples import Read


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
