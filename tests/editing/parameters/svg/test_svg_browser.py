"""The rasteriser and the files that are written, against a browser."""

import base64
import os
import shutil
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
import torch
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from editing.images import to_image, to_tensor
from editing.parameters.svg import Drawing, read_svg, render, write_svg
from tests.editing.parameters.svg.examples import DRAWINGS, moved, psnr

FLAGS = (
    "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update "
    "--disable-sync"
).split()


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
