"""The rasteriser: against exact areas, and within its memory."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from editing.parameters.svg import read_svg, render
from tests.editing.parameters.svg.examples import DRAWINGS, Read, black, exact


def test_a_pixel_has_the_average_of_what_is_in_it(square: Read) -> None:
    shares = black(square('<rect x="2.25" y="3.5" width="4" height="1.25"/>'))
    across = torch.zeros(16)
    across[2:7] = torch.tensor([0.75, 1, 1, 1, 0.25])
    down = torch.zeros(16)
    down[3:5] = torch.tensor([0.5, 0.75])
    torch.testing.assert_close(shares, down[:, None] * across)


def test_a_pixel_at_the_inner_side_of_a_corner_counts_once(square: Read) -> None:
    style = 'fill="none" stroke="black" stroke-width="2"'
    shares = black(square(f'<path d="M4.3 4.4 V11.6 H12.3" {style}/>'))
    assert shares[10, 5].item() == pytest.approx(0.3 + 0.4 - 0.3 * 0.4, abs=1e-5)
    ring = black(square(f'<circle cx="8" cy="8" r="4" {style}/>'), (64, 64)).double()
    y, x = torch.meshgrid(*(torch.arange(64 * 16) + 0.5,) * 2, indexing="ij")
    inside = (((x / 64 - 8) ** 2 + (y / 64 - 8) ** 2).sqrt() - 4).abs() < 1
    exactly = F.avg_pool2d(inside.double()[None], 16)[0]
    assert (ring - exactly).abs().max() < 0.03


@pytest.mark.parametrize(
    ("markup", "area"),
    [
        ('<path d="M1 1 L14 3.3 L5.7 12.1 Z"/>', (13 * 11.1 - 4.7 * 2.3) / 2),
        ('<path d="M5.7 12.1 L14 3.3 L1 1 Z"/>', (13 * 11.1 - 4.7 * 2.3) / 2),
        ('<circle cx="8.3" cy="7.9" r="5"/>', 25 * math.pi),
        ('<path d="M2 2h12v12h-12z M5 5h4v4h-4z" fill-rule="evenodd"/>', 144 - 16),
        ('<path d="M2 2h12v12h-12z M5 5h4v4h-4z"/>', 144),
        ('<path d="M2 2h12v12h-12z M5 5v4h4v-4z"/>', 144 - 16),
        ('<path d="M2.5 2.5h8v8h-8z M4 4h8v8h-8z"/>', 128 - 6.5**2),
        ('<path d="M2 2h8v8h-8z M4 4h8v8h-8z" fill-rule="evenodd"/>', 2 * 28),
        ('<path d="M-50 3 H 80 V 5.5 H -50 Z"/>', 16 * 2.5),
        ('<path d="M3 -50 V 80 H 5.5 V -50 Z"/>', 16 * 2.5),
        ('<path d="M-900 -900 H 900 V 900 H -900 Z"/>', 256),
        ('<path d="M-8 0 L8 -16 L24 0 L8 16 Z" transform="translate(0 8)"/>', 256),
        ('<line x1="3" y1="8" x2="12" y2="8" stroke="black" stroke-width="3"/>', 27),
        ('<line x1="3" y1="8" x2="12" y2="8" stroke="black" stroke-width="0.2"/>', 1.8),
        (
            '<path d="M4 4 L12 10" stroke="black" stroke-width="3" stroke-linecap="square"/>',
            3 * 13,
        ),
        (
            '<path d="M4 4 L12 10" stroke="black" stroke-width="3" stroke-linecap="round"/>',
            3 * 10 + math.pi * 2.25,
        ),
        ('<path d="M4 4 V12 H12" fill="none" stroke="black" stroke-width="2"/>', 32),
        (
            '<path d="M4 4 V12 H12" fill="none" stroke="black" stroke-width="2" '
            'stroke-linejoin="bevel"/>',
            31.5,
        ),
        (
            '<path d="M4 4 V12 H12" fill="none" stroke="black" stroke-width="2" '
            'stroke-linejoin="round"/>',
            31 + math.pi / 4,
        ),
        (
            '<circle cx="8" cy="8" r="4" fill="none" stroke="black" stroke-width="2"/>',
            math.pi * 16,
        ),
        (
            '<circle r="2" fill="none" stroke="black" transform="translate(8 8) scale(3 1.5)"/>',
            math.pi * 4 * 4.5,
        ),
        ('<path d="M8 8 z" stroke="black" stroke-width="4" stroke-linecap="round"/>', math.pi * 4),
        ('<path d="M8 8 h0" stroke="black" stroke-width="4" stroke-linecap="square"/>', 16),
        ('<path d="M8 8 h0" stroke="black" stroke-width="4"/>', 0),
        ('<path d="M3 3 h3 h0 h3" stroke="black" stroke-width="1"/>', 6),
    ],
)
def test_areas_of_shapes(square: Read, markup: str, area: float) -> None:
    for scale in (1, 3):
        found = black(square(markup), (16 * scale, 16 * scale)).double().sum() / scale**2
        assert found.item() == pytest.approx(area, rel=8e-3 / scale, abs=1e-4)


def test_the_view_box_is_fitted_into_the_picture(square: Read, tmp_path: Path) -> None:
    markup = '<rect width="16" height="16" fill="black"/>'
    inside = black(square(markup), (32, 16))
    assert inside[:, 8:24].min() == 1 and inside[:, :8].max() == inside[:, 24:].max() == 0
    path = tmp_path / "stretched.svg"
    path.write_text(f'<svg viewBox="0 0 16 16" preserveAspectRatio="none">{markup}</svg>')
    assert black(read_svg(path), (32, 16)).min() == 1
    path.write_text(f'<svg viewBox="0 0 16 16" preserveAspectRatio="xMaxYMin slice">{markup}</svg>')
    assert black(read_svg(path), (32, 16)).min() == 1


def test_a_group_lets_through_what_it_painted_as_one(square: Read) -> None:
    two = '<rect width="8" height="16" fill="red"/><rect width="16" height="8" fill="lime"/>'
    grouped = render(square(f'<g opacity="0.5">{two}</g>'), (16, 16))
    assert grouped[:, 2, 2].tolist() == [0.5, 1, 0.5], "of red nothing is seen through the green"
    single = render(square(two.replace("width", 'opacity="0.5" width')), (16, 16))
    assert single[:, 2, 2].tolist() == [0.5, 0.75, 0.25]
    nested = f'<g opacity="0.5"><g opacity="0.5">{two}</g><circle cx="14" cy="14" r="1"/></g>'
    assert render(square(nested), (16, 16))[:, 2, 2].tolist() == [0.75, 1, 0.75]
    shape = '<circle cx="8" cy="8" r="4" fill="red" stroke="lime" stroke-width="4" opacity="0.5"/>'
    assert render(square(shape), (16, 16))[:, 8, 11].tolist() == [0.5, 1, 0.5]


@pytest.mark.parametrize("path", DRAWINGS, ids=lambda path: path.stem)
def test_in_many_small_pieces_it_is_the_same_picture(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawing = exact(read_svg(path))
    found = []
    for budget in (10**9, 3000):
        monkeypatch.setattr("editing.parameters.svg.raster.BUDGET", budget)
        leaves: dict[str, Any] = {
            k: v.clone().requires_grad_() for k, v in drawing.tensors().items()
        }
        picture = render(replace(drawing, **leaves), (48, 40))
        picture.square().sum().backward()
        found.append([picture.detach(), *(leaf.grad for leaf in leaves.values())])
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch, square: Read) -> None:
    """What is kept for the backward pass does not grow with the number of large shapes."""
    monkeypatch.setattr("editing.parameters.svg.raster.BUDGET", 200_000)

    def kept(count: int) -> int:
        circles = '<circle cx="8" cy="8" r="8"/>' * count
        drawing = square(f'<g opacity="0.9">{circles}</g>')
        points = drawing.points.clone().requires_grad_()
        total = 0

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal total
            total += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            render(replace(drawing, points=points), (128, 128))
        return total

    few, many = kept(20), kept(60)
    canvases = 4 * 128 * 128 * (60 - 20) / (200_000 // 128**2)
    assert many - few < 2 * canvases


def test_what_cannot_be_rendered_is_said(square: Read) -> None:
    drawing = square('<circle r="5"/>')
    with pytest.raises(ValueError, match="size must be positive, got 0 x 5"):
        render(drawing, (0, 5))
    with pytest.raises(ValueError, match="points of the drawing are not finite"):
        render(replace(drawing, points=drawing.points * np.nan), (5, 5))
