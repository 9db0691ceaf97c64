"""The rasteriser: against exact areas, against a browser, and its gradients."""

import base64
import math
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from editing.images import to_image, to_tensor
from editing.parameters.svg import Drawing, read_svg, render, write_svg
from tests.editing.parameters.test_svg import DRAWINGS, moved, psnr

FLAGS = (
    "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update "
    "--disable-sync"
).split()
Read = Callable[[str], Drawing]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Reads shapes in a drawing of 16 x 16 units."""

    def call(text: str) -> Drawing:
        path = tmp_path / "drawing.svg"
        path.write_text(f'<svg viewBox="0 0 16 16">{text}</svg>', "utf-8")
        return read_svg(path)

    return call


def black(drawing: Drawing, size: tuple[int, int] = (16, 16)) -> torch.Tensor:
    """How black every pixel is."""
    return 1 - render(drawing, size)[0]


# --- areas ----------------------------------------------------------------------------------------


def test_a_pixel_has_the_average_of_what_is_in_it(read: Read) -> None:
    shares = black(read('<rect x="2.25" y="3.5" width="4" height="1.25"/>'))
    across = torch.zeros(16)
    across[2:7] = torch.tensor([0.75, 1, 1, 1, 0.25])
    down = torch.zeros(16)
    down[3:5] = torch.tensor([0.5, 0.75])
    torch.testing.assert_close(shares, down[:, None] * across)


def test_a_pixel_at_the_inner_side_of_a_corner_counts_once(read: Read) -> None:
    style = 'fill="none" stroke="black" stroke-width="2"'
    shares = black(read(f'<path d="M4.3 4.4 V11.6 H12.3" {style}/>'))
    assert shares[10, 5].item() == pytest.approx(0.3 + 0.4 - 0.3 * 0.4, abs=1e-5)
    ring = black(read(f'<circle cx="8" cy="8" r="4" {style}/>'), (64, 64)).double()
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
def test_areas_of_shapes(read: Read, markup: str, area: float) -> None:
    for scale in (1, 3):
        found = black(read(markup), (16 * scale, 16 * scale)).double().sum() / scale**2
        assert found.item() == pytest.approx(area, rel=8e-3 / scale, abs=1e-4)


def test_the_view_box_is_fitted_into_the_picture(read: Read, tmp_path: Path) -> None:
    markup = '<rect width="16" height="16" fill="black"/>'
    inside = black(read(markup), (32, 16))
    assert inside[:, 8:24].min() == 1 and inside[:, :8].max() == inside[:, 24:].max() == 0
    path = tmp_path / "stretched.svg"
    path.write_text(f'<svg viewBox="0 0 16 16" preserveAspectRatio="none">{markup}</svg>')
    assert black(read_svg(path), (32, 16)).min() == 1
    path.write_text(f'<svg viewBox="0 0 16 16" preserveAspectRatio="xMaxYMin slice">{markup}</svg>')
    assert black(read_svg(path), (32, 16)).min() == 1


def test_a_group_lets_through_what_it_painted_as_one(read: Read) -> None:
    two = '<rect width="8" height="16" fill="red"/><rect width="16" height="8" fill="lime"/>'
    grouped = render(read(f'<g opacity="0.5">{two}</g>'), (16, 16))
    assert grouped[:, 2, 2].tolist() == [0.5, 1, 0.5], "of red nothing is seen through the green"
    single = render(read(two.replace("width", 'opacity="0.5" width')), (16, 16))
    assert single[:, 2, 2].tolist() == [0.5, 0.75, 0.25]
    nested = f'<g opacity="0.5"><g opacity="0.5">{two}</g><circle cx="14" cy="14" r="1"/></g>'
    assert render(read(nested), (16, 16))[:, 2, 2].tolist() == [0.75, 1, 0.75]
    shape = '<circle cx="8" cy="8" r="4" fill="red" stroke="lime" stroke-width="4" opacity="0.5"/>'
    assert render(read(shape), (16, 16))[:, 8, 11].tolist() == [0.5, 1, 0.5]


# --- against a browser ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """A browser that is not allowed to reach anything."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        assert "CI" not in os.environ, "where everything must pass there must be a chromium"
        pytest.skip("there is no chromium on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser.new_page(viewport={"width": 256, "height": 256}, offline=True)
        browser.close()


def photographed(page: Page, data: bytes) -> torch.Tensor:
    """An SVG file as the browser shows it, 256 x 256."""
    url = "data:image/svg+xml;base64," + base64.b64encode(data).decode()
    style = "display: block; width: 256px; height: 256px"
    page.set_content(f'<body style="margin: 0"><img style="{style}" src="{url}">')
    page.wait_for_function("document.images[0].complete && document.images[0].naturalWidth > 0")
    return to_tensor(Image.open(BytesIO(page.screenshot())).convert("RGB"))


@pytest.mark.parametrize("path", DRAWINGS, ids=lambda path: path.stem)
def test_pictures_are_those_of_a_browser(page: Page, path: Path) -> None:
    found = psnr(shown(read_svg(path)), photographed(page, path.read_bytes()))
    print(f"{path.name}: {found:.1f} dB")
    assert found > (34 if path.stem == "thin" else 36)


@pytest.mark.parametrize("path", DRAWINGS, ids=lambda path: path.stem)
def test_what_is_written_is_what_is_rendered(page: Page, path: Path) -> None:
    drawing = moved(read_svg(path), seed=1)
    found = psnr(shown(drawing), photographed(page, write_svg(drawing)))
    print(f"{path.name}, moved: {found:.1f} dB")
    assert found > (34 if path.stem == "thin" else 36)


def shown(drawing: Drawing) -> torch.Tensor:
    return to_tensor(to_image(render(drawing, (256, 256))))


# --- gradients ------------------------------------------------------------------------------------

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


def exact(drawing: Drawing) -> Drawing:
    tensors: dict[str, Any] = {k: v.double() for k, v in drawing.tensors().items()}
    return replace(drawing, **tensors)


@pytest.mark.parametrize(
    ("join", "cap"), [("miter", "butt"), ("round", "round"), ("bevel", "square")]
)
def test_gradients_are_those_of_the_picture(read: Read, join: str, cap: str) -> None:
    drawing = exact(read(SMOOTH.replace("JOIN", join).replace("CAP", cap)))
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
def test_edges_between_pixels_know_both_sides(read: Read, rule: str, turn: str, hole: str) -> None:
    """Where one pixel ends and the next begins, the gradient is the mean of both sides'."""
    drawing = exact(read(f'<path d="{turn} {hole}" fill-rule="{rule}"/>'))
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
def test_gradients_are_finite_everywhere(read: Read, cap: str, join: str) -> None:
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
    drawing = read("".join(f'<path d="{d}" {style} opacity="0.5"/>' for d in paths))
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
def test_a_stroke_of_no_width_can_grow(read: Read, mirror: str) -> None:
    drawing = read(f'<path d="M3.2 8.3 h9" stroke="black" {mirror}/>')
    widths = torch.zeros(1, requires_grad=True)
    black(replace(drawing, widths=widths)).sum().backward()
    assert widths.grad is not None and widths.grad.item() == pytest.approx(9)


def test_nothing_in_the_picture_has_no_gradient_and_no_cost(read: Read) -> None:
    drawing = read('<circle cx="90" cy="8" r="5" fill="red" stroke="blue"/>')
    leaves: dict[str, Any] = {k: v.clone().requires_grad_() for k, v in drawing.tensors().items()}
    picture = render(replace(drawing, **leaves), (16, 16))
    assert (picture == 1).all()
    picture.sum().backward()
    assert all((leaf.grad == 0).all() for leaf in leaves.values())


def test_a_circle_is_moved_onto_another(read: Read) -> None:
    target = render(read('<circle cx="9.5" cy="7" r="4" fill="#3060c0"/>'), (32, 32))
    drawing = read('<circle cx="7" cy="9" r="3" fill="#3060c0"/>')
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


def test_colours_and_widths_are_found_again(read: Read) -> None:
    markup = '<path d="M2 12 C6 2 10 2 14 12" fill="{}" stroke="{}" stroke-width="{}"/>'
    target = render(read(markup.format("#e0a020", "#203080", 2.5)), (32, 32))
    drawing = read(markup.format("#808080", "#808080", 1))
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


# --- memory, and what is wrong --------------------------------------------------------------------


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


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch, read: Read) -> None:
    """What is kept for the backward pass does not grow with the number of large shapes."""
    monkeypatch.setattr("editing.parameters.svg.raster.BUDGET", 200_000)

    def kept(count: int) -> int:
        circles = '<circle cx="8" cy="8" r="8"/>' * count
        drawing = read(f'<g opacity="0.9">{circles}</g>')
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


def test_what_cannot_be_rendered_is_said(read: Read) -> None:
    drawing = read('<circle r="5"/>')
    with pytest.raises(ValueError, match="size must be positive, got 0 x 5"):
        render(drawing, (0, 5))
    with pytest.raises(ValueError, match="points of the drawing are not finite"):
        render(replace(drawing, points=drawing.points * np.nan), (5, 5))


def test_half_precision_around_it_does_not_matter(read: Read) -> None:
    drawing = read(SMOOTH.replace("JOIN", "miter").replace("CAP", "butt"))
    plain = render(drawing, (32, 32))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(render(drawing, (32, 32)), plain)
