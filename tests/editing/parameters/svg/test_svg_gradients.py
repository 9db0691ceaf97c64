"""Gradients of the rasteriser, and what they are good for."""

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from editing.parameters.svg import render
from tests.editing.parameters.svg.examples import Read, black, exact

SMOOTH = """
<path d="M2.3 4.1 C3.9 0.7 8.8 1.2 9.6 4.9 S5.1 12.4 2.3 4.1 Z" fill="#c04020" opacity="0.6"
      stroke="#2040c0" stroke-width="0.9" stroke-opacity="0.7"/>
<g opacity="0.8" fill="#20a040" fill-opacity="0.9"><path d="M7.2 6.3 L14.1 8.2 L9.3 13.9 Z"/>
<path d="M4.1 7.3 L12.7 9.1 L6.3 14.2 Z M6.6 9.2 L8.9 9.9 L7.1 12.3 Z" fill-rule="evenodd"/></g>
<path d="M1.2 13.7 L4.9 9.3 L6.2 14.4 L12.9 12.1" fill="none" stroke="#806010" stroke-width="1.3"
      stroke-linejoin="JOIN" stroke-linecap="CAP"/>
<ellipse rx="3" ry="1.7" transform="translate(11.1 4.3) rotate(25) scale(0.8 1.4)" fill="none"
         stroke="#602080" stroke-width="0.8"/>
"""


@pytest.mark.parametrize(
    ("join", "cap"), [("miter", "butt"), ("round", "round"), ("bevel", "square")]
)
def test_gradients_are_those_of_the_picture(square: Read, join: str, cap: str) -> None:
    drawing = exact(square(SMOOTH.replace("JOIN", join).replace("CAP", cap)))
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(3, 40, 40, dtype=torch.double, generator=generator)
    weights = F.avg_pool2d(weights[None], 5, 1, 2)[0]

    def value(name: str, tensor: torch.Tensor) -> torch.Tensor:
        changed: dict[str, Any] = {name: tensor}
        return (render(replace(drawing, **changed), (40, 40)) * weights).sum()

    for name, tensor in drawing.tensors().items():
        leaf = tensor.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(value(name, leaf), leaf)
        for index in torch.randperm(tensor.numel(), generator=generator)[:8].tolist():
            step = torch.zeros_like(tensor)
            step.view(-1)[index] = 1e-5
            change = (value(name, tensor + step) - value(name, tensor - step)) / 2e-5
            found = gradient.reshape(-1)[index].item()
            assert found == pytest.approx(change.item(), rel=2e-3, abs=2e-3), (name, index)


@pytest.mark.parametrize("rule", ["nonzero", "evenodd"])
@pytest.mark.parametrize("turn", ["M4 4 H12 V10 H4 Z", "M4 4 V10 H12 V4 Z"])
@pytest.mark.parametrize("hole", ["", "M6 6 H10 V8 H6 Z", "M6 6 V8 H10 V6 Z"])
def test_edges_between_pixels_know_both_sides(
    square: Read, rule: str, turn: str, hole: str
) -> None:
    """Where one pixel ends and the next begins, the gradient is the mean of both sides'."""
    drawing = exact(square(f'<path d="{turn} {hole}" fill-rule="{rule}"/>'))
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(3, 16, 16, dtype=torch.double, generator=generator)
    points = drawing.points.clone().requires_grad_()
    (render(replace(drawing, points=points), (16, 16)) * weights).sum().backward()
    assert points.grad is not None
    for row in range(len(points)):
        step = torch.zeros_like(drawing.points)
        step[row] = torch.tensor([1e-5, 0] if row % 2 else [0, 1e-5])
        one, two = (
            (render(replace(drawing, points=drawing.points + s), (16, 16)) * weights).sum()
            for s in (step, -step)
        )
        found = (points.grad[row] * step[row]).sum().item() / 1e-5
        assert found == pytest.approx(((one - two) / 2e-5).item(), rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("cap", ["butt", "round", "square"])
@pytest.mark.parametrize("join", ["miter", "round", "bevel"])
def test_gradients_are_finite_everywhere(square: Read, cap: str, join: str) -> None:
    style = f'stroke="red" stroke-linecap="{cap}" stroke-linejoin="{join}" stroke-width="2"'
    paths = (
        "M3 3 L3 3 L3 3",
        "M3 3 z",
        "M3 3 L9 3 L3 3",
        "M3 3 L9 3 L9 3 L3 3 z",
        "M3 3 C3 3 3 3 3 3 z",
        "M3 3 C9 9 9 9 3 3 L3 3.0000001",
        "M3 3 C3 3 9 3 9 3 S3 3 9 9",
        "M0 0 H16 V16 H0 Z",
        "M-1e4 8 L1e4 8.5 M8 -1e5 L8.5 1e5",
        "M2.5 2.5 L5.5 2.5 L5.5 2.5000002 L2.5 2.5000002 Z",
        "M100 100 h5 v5",
    )
    drawing = square("".join(f'<path d="{d}" {style} opacity="0.5"/>' for d in paths))
    leaves: dict[str, Any] = {
        name: (
            tensor
            if name != "widths"
            else tensor * torch.tensor([1.0, 0, 1, 1, 1, 1, 1, 1, 0, 1, 1])
        )
        .clone()
        .requires_grad_()
        for name, tensor in drawing.tensors().items()
    }
    picture = render(replace(drawing, **leaves), (16, 16))
    assert picture.isfinite().all() and 0 <= picture.min() and picture.max() <= 1
    picture.square().sum().backward()
    for name, leaf in leaves.items():
        assert leaf.grad is not None and leaf.grad.isfinite().all(), name


@pytest.mark.parametrize("mirror", ["", 'transform="matrix(-1 0 0 1 16 0)"'])
def test_a_stroke_of_no_width_can_grow(square: Read, mirror: str) -> None:
    drawing = square(f'<path d="M3.2 8.3 h9" stroke="black" {mirror}/>')
    widths = torch.zeros(1, requires_grad=True)
    black(replace(drawing, widths=widths)).sum().backward()
    assert widths.grad is not None and widths.grad.item() == pytest.approx(9)


def test_nothing_in_the_picture_has_no_gradient_and_no_cost(square: Read) -> None:
    drawing = square('<circle cx="90" cy="8" r="5" fill="red" stroke="blue"/>')
    leaves: dict[str, Any] = {k: v.clone().requires_grad_() for k, v in drawing.tensors().items()}
    picture = render(replace(drawing, **leaves), (16, 16))
    assert (picture == 1).all()
    picture.sum().backward()
    assert all((leaf.grad == 0).all() for leaf in leaves.values())


def test_a_circle_is_moved_onto_another(square: Read) -> None:
    target = render(square('<circle cx="9.5" cy="7" r="4" fill="#3060c0"/>'), (32, 32))
    drawing = square('<circle cx="7" cy="9" r="3" fill="#3060c0"/>')
    points = drawing.points.clone().requires_grad_()
    optimizer = torch.optim.Adam([points], lr=0.1)
    losses = []
    for _ in range(60):
        loss = (render(replace(drawing, points=points), (32, 32)) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 100


def test_colours_and_widths_are_found_again(square: Read) -> None:
    markup = '<path d="M2 12 C6 2 10 2 14 12" fill="{}" stroke="{}" stroke-width="{}"/>'
    target = render(square(markup.format("#e0a020", "#203080", 2.5)), (32, 32))
    drawing = square(markup.format("#808080", "#808080", 1))
    names = ("fills", "strokes", "widths")
    leaves: dict[str, Any] = {n: getattr(drawing, n).clone().requires_grad_() for n in names}
    optimizer = torch.optim.Adam(leaves.values(), lr=0.1)
    for _ in range(80):
        made = replace(drawing, **leaves)
        optimizer.zero_grad()
        (render(made, (32, 32)) - target).square().mean().backward()
        optimizer.step()
        made.clamp_()
    assert leaves["widths"].item() == pytest.approx(2.5, abs=0.05)
    expected = torch.tensor([[0xE0, 0xA0, 0x20]]) / 255
    torch.testing.assert_close(leaves["fills"].detach(), expected, atol=0.03, rtol=0)


def test_half_precision_around_it_does_not_matter(square: Read) -> None:
    drawing = square(SMOOTH.replace("JOIN", "miter").replace("CAP", "butt"))
    plain = render(drawing, (32, 32))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(render(drawing, (32, 32)), plain)
